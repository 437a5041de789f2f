/** What the tuner tunes: for each class of shapes that GPT-2 Small, ioi-mini and the training of SAEs meet, one shape that stands for it. */
import type { Gpu } from '../src/gpu/index.ts';
import { Tensor, matmul } from '../src/tensor/index.ts';
import { matmulAdapter } from '../src/tensor/matmul.ts';
import { matmulCandidates, matmulClass, type MatmulAdapter, type MatmulShape } from '../src/tensor/matmul-plan.ts';
import { setsFor } from './measure.ts';
import { inputs } from './numbers.ts';
import type { TuneCase, TuneWork } from './tune.ts';

export interface Product { batch?: number; m: number; k: number; n: number; transposeA?: boolean; transposeB?: boolean }

/** Operations of a representative, at most; less than 10 ms on two cores. Larger products are made smaller within their class, or left out. */
const MOST_FLOPS = { software: 0.21e9, real: 2e11 };

/** Matrix products of a transformer of some width for a number of rows. */
function transformer(width: number, vocabulary: number, m: number): Product[] {
  return [
    { m, k: width, n: 3 * width }, { m, k: width, n: width }, { m, k: width, n: 4 * width }, { m, k: 4 * width, n: width },
    { m, k: width, n: vocabulary, transposeB: true },
  ];
}

/** The products of a training step of SAEs: encoding, decoding, and the gradients of codes and weights. */
function autoencoders(batch: number, rows: number, width: number, features: number): Product[] {
  return [
    { batch, m: rows, k: width, n: features, transposeB: true }, { batch, m: rows, k: features, n: width },
    { batch, m: rows, k: width, n: features }, { batch, m: width, k: rows, n: features, transposeA: true }, { batch, m: features, k: rows, n: width, transposeA: true },
  ];
}

/** The most typical first. */
const PRODUCTS: readonly Product[] = [
  ...[128, 1024, 1, 19, 4096].flatMap((m) => transformer(768, 50257, m)), ...[1216, 19].flatMap((m) => transformer(128, 1026, m)),
  ...autoencoders(220, 512, 64, 512), ...autoencoders(8, 512, 64, 512), ...autoencoders(1, 512, 64, 512), ...autoencoders(1, 4096, 768, 24576),
];

/** One case a class, from its first product; the quicker ones first, which leave time for the others. */
export function matmulCases(gpu: Gpu, products: readonly Product[] = PRODUCTS): TuneCase[] {
  const most = gpu.software ? MOST_FLOPS.software : MOST_FLOPS.real;
  // The candidates are the adapter's own, whatever a tuning file already says of it.
  const adapter: MatmulAdapter = { ...matmulAdapter(gpu), tuned: undefined };
  const representatives = new Map<string, Product>();
  for (const product of products) {
    const name = matmulClass(shapeOf(product));
    const small = representatives.has(name) ? null : shrunk(product, most);
    if (small) representatives.set(name, small);
  }
  return [...representatives].sort(([, x], [, y]) => flops(x) - flops(y)).map(([name, product]) => ({
    operation: 'matmul', name, shape: textOf(product), candidates: matmulCandidates(shapeOf(product), adapter), prepare: (device) => prepareMatmul(device, product),
  }));
}

/** The product with sides halved, within its class, until it takes no more than so many operations; null where that cannot be. */
function shrunk(product: Product, most: number): Product | null {
  let small = product;
  while (flops(small) > most) {
    const name = matmulClass(shapeOf(small));
    const halves = (['batch', 'm', 'n', 'k'] as const).map((side) => ({ ...small, [side]: half(small[side] ?? 0) }));
    const next = halves.find((p) => flops(p) > 0 && matmulClass(shapeOf(p)) === name);
    if (!next) return null;
    small = next;
  }
  return small;
}

/** Half of a side; of a long one to a multiple of 4, which kernels can read as vectors. */
function half(side: number): number {
  return side >= 32 ? Math.floor(side / 8) * 4 : Math.floor(side / 2);
}

function flops({ batch = 1, m, n, k }: Product): number {
  return 2 * batch * m * n * k;
}

function textOf({ batch, m, n, k, transposeA, transposeB }: Product): string {
  return `${batch ? `${batch} × ` : ''}${m}×${k}×${n}${transposeA ? ' aᵀ' : ''}${transposeB ? ' bᵀ' : ''}`;
}

function shapeOf({ batch, m, n, k, transposeA = false, transposeB = false }: Product): MatmulShape {
  return { batch: batch ?? 1, m, n, k, transposeA, transposeB, sharedB: !batch, outWidth: n, outColumn: 0, residualWidth: 0, residualColumn: 0, biasBatch: 0 };
}

function prepareMatmul(gpu: Gpu, product: Product): TuneWork {
  const { batch = 1, m, k, n, transposeA = false, transposeB = false } = product;
  const head = product.batch ? [batch] : [];
  const sets = setsFor(4 * batch * (m * k + k * n));
  const [a, b] = [inputs(batch * m * k, 1), inputs(batch * k * n, 2)];
  const tensors = Array.from({ length: sets }, () => ({
    a: Tensor.from(gpu, a, [...head, ...(transposeA ? [k, m] : [m, k])]),
    b: Tensor.from(gpu, b, [...head, ...(transposeB ? [n, k] : [k, n])]),
  }));
  const out = Tensor.empty(gpu, [...head, m, n]);
  return {
    out,
    run(turn) {
      const set = tensors[turn % sets]!;
      matmul(set.a, set.b, { transposeA, transposeB, out });
    },
    dispose() {
      for (const tensor of [out, ...tensors.flatMap((set) => [set.a, set.b])]) tensor.dispose();
    },
  };
}
