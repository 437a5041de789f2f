/** Matrix products, batched, with the epilogues that a transformer and an SAE need. */
import anySource from '../../kernels/matmul-any.wgsl';
import dotSource from '../../kernels/matmul-dot.wgsl';
import registersSource from '../../kernels/matmul-registers.wgsl';
import tiledSource from '../../kernels/matmul-tiled.wgsl';
import vectorSource from '../../kernels/matmul-vector.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel, type BufferSlice, type Gpu, type Kernel, type Variant } from '../gpu/index.ts';
import { canRun, layOut, planMatmul, type MatmulShape, type MatmulVariant } from './matmul-plan.ts';
import { Tensor, elements, sameShape, showShape } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const kernels: Record<MatmulVariant, Kernel> = {
  registers: defineKernel('matmul-registers', registersSource),
  dot: defineKernel('matmul-dot', dotSource),
  tiled: defineKernel('matmul-tiled', tiledSource),
  vector: defineKernel('matmul-vector', vectorSource),
  any: defineKernel('matmul-any', anySource),
};
const ACTIVATIONS = { relu: 1, gelu: 2 } as const;

export interface MatmulOptions {
  /** a is [...batch, K, M]. */
  transposeA?: boolean;
  /** b is [...batch, N, K]. */
  transposeB?: boolean;
  /** [N], or [...batch, N]; added before the activation. */
  bias?: Tensor;
  /** `gelu` is GPT-2's tanh form. */
  activation?: 'gelu' | 'relu';
  /** Added last; as many elements as the result. */
  residual?: Tensor;
  /** Multiplies the product, before the bias. */
  scale?: number;
  /** Written into instead of a new tensor; its rows may be longer than N. */
  out?: Tensor;
  /** First column of `out` that is written. */
  outColumn?: number;
  /** Forces a kernel; the planner chooses otherwise. For tests and benchmarks. */
  variant?: MatmulVariant;
}

/** One product as it is dispatched: sizes, what is bound, and strides between matrices of a batch in numbers. */
interface Product extends MatmulShape {
  a: BufferSlice; b: BufferSlice; bias: BufferSlice | null; residual: BufferSlice | null; out: BufferSlice;
  aBatch: number; bBatch: number; biasBatch: number; outBatch: number;
}

/**
 * act(scale · A·B + bias) + residual.
 * a [...batch, M, K]; b [...batch, K, N], or [K, N] for the whole batch; returns [...batch, M, N], or `out`.
 * Operands and results beyond the binding limit are computed in windows: of rows of a and out, of rows of a transposed b, or of
 * whole matrices of a batch. Throws ShapeError, LimitError.
 */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const { transposeA = false, transposeB = false, bias, residual, outColumn = 0 } = options;
  const fail = (why: string): never => {
    throw new ShapeError(`matmul: ${why}; a ${showShape(a.shape)}${transposeA ? 'ᵀ' : ''}, b ${showShape(b.shape)}${transposeB ? 'ᵀ' : ''}`);
  };
  if (a.shape.length < 2 || b.shape.length < 2) fail('operands need at least two axes');
  const batchShape = a.shape.slice(0, -2);
  const [a1, a2] = a.shape.slice(-2) as [number, number];
  const [b1, b2] = b.shape.slice(-2) as [number, number];
  const [m, k] = transposeA ? [a2, a1] : [a1, a2];
  const [inner, n] = transposeB ? [b2, b1] : [b1, b2];
  const shared = b.shape.length === 2;
  const batch = elements(batchShape);
  if (k !== inner) fail(`inner sizes ${k} and ${inner} differ`);
  if (!shared && !sameShape(b.shape.slice(0, -2), batchShape)) fail('batches differ');
  if (residual && residual.size !== batch * m * n) fail(`residual ${showShape(residual.shape)} does not fit`);
  if (bias && bias.size !== n && bias.size !== batch * n) fail(`bias ${showShape(bias.shape)} does not fit`);
  const out = options.out ?? Tensor.empty(a.gpu, [...batchShape, m, n]);
  const outRow = out.shape.at(-1)!;
  if (out.size !== batch * m * outRow || outColumn + n > outRow) fail(`out ${showShape(out.shape)} does not fit`);

  const ownBias = bias !== undefined && bias.size !== n;
  const sizes = { n, k, transposeA, transposeB, outRow, column: outColumn, biasBatch: ownBias ? n : 0 };
  if (shared && !transposeA && !ownBias) rowsAtATime(a, b, out, { ...sizes, batch: 1, m: batch * m }, options);
  else matricesAtATime(a, b, out, { ...sizes, batch, m }, shared, options);
  return out;
}

/** All kernels that `matmul` may use for GPT-2's shapes on this adapter, for `gpu.prepare`. */
export function matmulPipelines(gpu: Gpu, uses: readonly { shape: MatmulShape; options: MatmulOptions }[]): ({ kernel: Kernel } & Variant)[] {
  return uses.map(({ shape, options }) => {
    const plan = planMatmul(shape, gpu.software);
    return { kernel: kernels[plan.variant], constants: { ...plan.constants, ...flags(plan.variant, shape, options, options.bias !== undefined, options.residual !== undefined) } };
  });
}

type Sizes = MatmulShape & { biasBatch: number };

/** One matrix b for all rows of a: windows of rows of a and out, and of rows of a transposed b, which are columns of out. */
function rowsAtATime(a: Tensor, b: Tensor, out: Tensor, sizes: Sizes, options: MatmulOptions): void {
  const { n, k, m, outRow, transposeB } = sizes;
  const { bias, residual } = options;
  const rowBytes = { a: k * 4, out: outRow * 4, residual: n * 4 };
  const blocks = transposeB ? rowWindows(a.gpu, n, [rowBytes.a, 4]) : [{ start: 0, count: n }];
  if (blocks.length > 1 && residual) throw new ShapeError('matmul: a residual cannot be added where b is bound in windows');
  const windows = rowWindows(a.gpu, m, [rowBytes.a, rowBytes.out, ...(residual ? [rowBytes.residual] : [])]);
  for (const block of blocks) {
    for (const window of windows) {
      dispatch(a.gpu, {
        ...sizes, m: window.count, n: block.count, column: sizes.column + block.start,
        a: windowOf(a, window, rowBytes.a), b: blocks.length > 1 ? windowOf(b, block, rowBytes.a) : b,
        bias: bias ? windowOf(bias, block, 4) : null, residual: residual ? windowOf(residual, window, rowBytes.residual) : null, out: windowOf(out, window, rowBytes.out),
        aBatch: 0, bBatch: 0, biasBatch: 0, outBatch: 0,
      }, options);
    }
  }
}

/** A matrix b for each matrix a: windows of whole matrices. */
function matricesAtATime(a: Tensor, b: Tensor, out: Tensor, sizes: Sizes, shared: boolean, options: MatmulOptions): void {
  const { m, n, k, outRow, biasBatch } = sizes;
  const { bias, residual } = options;
  const bytes = { a: m * k * 4, b: k * n * 4, bias: biasBatch * 4, out: m * outRow * 4, residual: m * n * 4 };
  const used = [bytes.a, bytes.out, ...(shared ? [] : [bytes.b]), ...(biasBatch ? [bytes.bias] : []), ...(residual ? [bytes.residual] : [])];
  for (const window of rowWindows(a.gpu, sizes.batch, used)) {
    dispatch(a.gpu, {
      ...sizes, batch: window.count,
      a: windowOf(a, window, bytes.a), b: shared ? b : windowOf(b, window, bytes.b),
      bias: bias ? (biasBatch ? windowOf(bias, window, bytes.bias) : bias) : null,
      residual: residual ? windowOf(residual, window, bytes.residual) : null, out: windowOf(out, window, bytes.out),
      aBatch: m * k, bBatch: shared ? 0 : k * n, outBatch: m * outRow,
    }, options);
  }
}

function dispatch(gpu: Gpu, p: Product, options: MatmulOptions): void {
  if (p.batch * p.m * p.n === 0) return;
  if (options.variant && !canRun(options.variant, p)) throw new ShapeError(`matmul: the ${options.variant} kernel cannot compute m ${p.m}, n ${p.n}, k ${p.k}`);
  const plan = options.variant ? layOut(options.variant, p) : planMatmul(p, gpu.software);
  gpu.dispatch({
    kernel: kernels[plan.variant],
    constants: { ...plan.constants, ...flags(plan.variant, p, options, p.bias !== null, p.residual !== null) },
    // A kernel without bias or residual never reads their bindings; a stands in.
    bindings: [p.a, p.b, p.bias ?? p.a, p.residual ?? p.a, p.out],
    params: {
      batch: p.batch, m: p.m, n: p.n, k: p.k, a_batch: p.aBatch, b_batch: p.bBatch, bias_batch: p.biasBatch, out_batch: p.outBatch,
      out_row: p.outRow, column: p.column, tiles_m: plan.tilesM, tiles_n: plan.tilesN, scale: options.scale ?? 1,
    },
    groups: plan.groups,
  });
}

function flags(variant: MatmulVariant, s: MatmulShape, options: MatmulOptions, bias: boolean, residual: boolean): Record<string, number | boolean> {
  return {
    BIAS: bias, RESIDUAL: residual, ACTIVATION: options.activation ? ACTIVATIONS[options.activation] : 0,
    ...(variant === 'dot' ? {} : { TRANSPOSE_A: s.transposeA }),
    ...(variant === 'tiled' || variant === 'any' ? { TRANSPOSE_B: s.transposeB } : {}),
  };
}
