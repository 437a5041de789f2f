/** Matrix products: GPT-2 Small's, squares, batches of small ones as 220 SAEs need, the width of a large SAE, and every kernel that can take a shape. */
import { Tensor, matmul } from '../../src/tensor/index.ts';
import { matmulVariants, type MatmulVariant } from '../../src/tensor/matmul-plan.ts';
import type { MatmulWork } from '../peers/peer.ts';
import { inputs } from '../numbers.ts';
import { inTurns, lazy, sampled, type Case } from './case.ts';

interface Product { batch?: number; m: number; k: number; n: number; transposeA?: boolean; transposeB?: boolean; long?: boolean; what: string; variant?: MatmulVariant }

/** GPT-2 Small's products for a number of rows (prompts × positions); the unembedding is the embedding's matrix, transposed. */
function gpt2(m: number): Product[] {
  const product = (k: number, n: number, what: string): Product => ({ m, k, n, what, transposeB: n === 50257, long: m > 1024 || (m === 1024 && n === 50257) });
  return [product(768, 2304, 'q, k, v'), product(768, 768, 'attention out'), product(768, 3072, 'MLP in'), product(3072, 768, 'MLP out'), product(768, 50257, 'logits')];
}

const products: Product[] = [
  ...[1, 19, 128, 1024, 4096].flatMap(gpt2),
  ...[256, 512, 1024, 2048, 4096].map((m): Product => ({ m, k: m, n: m, what: 'square', long: m > 1024 })),
  { batch: 220, m: 512, k: 64, n: 512, transposeB: true, what: '220 SAEs, encoder' },
  { batch: 220, m: 512, k: 512, n: 64, what: '220 SAEs, decoder', long: true },
  { batch: 220, m: 512, k: 512, n: 64, transposeA: true, what: '220 SAEs, weight gradient', long: true },
  { batch: 220, m: 512, k: 64, n: 512, what: '220 SAEs, code gradient', long: true },
  { batch: 22, m: 512, k: 64, n: 512, transposeB: true, what: '22 SAEs, encoder' },
  { batch: 22, m: 512, k: 512, n: 64, transposeA: true, what: '22 SAEs, weight gradient' },
  { m: 4096, k: 768, n: 24576, what: 'large SAE, encoder', long: true },
  { m: 515, k: 133, n: 277, what: 'odd sizes' },
];

export function matmulCases(): Case[] {
  const compared: Product = { m: 256, k: 768, n: 768, what: 'each kernel at one shape' };
  return [...products.map(matmulCase), ...matmulVariants.map((variant) => matmulCase({ ...compared, variant }))];
}

function matmulCase(p: Product): Case {
  const { batch = 1, m, k, n, transposeA = false, transposeB = false, variant } = p;
  const data = lazy(() => ({ a: inputs(batch * m * k, 1), b: inputs(batch * k * n, 2) }));
  const head = p.batch ? [batch] : [];
  return {
    group: 'kernels',
    kernel: 'matmul',
    shape: `${p.batch ? `${batch} × ` : ''}${m}×${k}×${n}${transposeA ? ' aᵀ' : ''}${transposeB ? ' bᵀ' : ''}, ${p.what}`,
    variant,
    flops: 2 * batch * m * n * k,
    bytes: 4 * batch * (m * k + k * n + m * n),
    long: p.long,
    prepare(gpu, sets) {
      const { a: x, b: y } = data.get();
      const turns = inTurns(sets, () => ({
        a: Tensor.from(gpu, x, [...head, ...(transposeA ? [k, m] : [m, k])]),
        b: Tensor.from(gpu, y, [...head, ...(transposeB ? [n, k] : [k, n])]),
      }), ({ a, b }) => matmul(a, b, { transposeA, transposeB, variant }));
      return {
        ...turns,
        error: sampled(batch * m * n, 400, (at) => {
          const [z, i, j] = [Math.floor(at / (m * n)), Math.floor(at / n) % m, at % n];
          let sum = 0;
          for (let q = 0; q < k; q++) sum += x[z * m * k + (transposeA ? q * m + i : i * k + q)]! * y[z * k * n + (transposeB ? j * k + q : q * n + j)]!;
          return sum;
        }),
        dispose() {
          turns.dispose();
          data.forget();
        },
      };
    },
    ...(variant ? {} : { peerWork: (): MatmulWork => ({ op: 'matmul', batch, m, k, n, transposeA, transposeB, ...data.get() }) }),
  };
}
