/**
 * Which matmul kernel serves a shape, in which windows and with how many workgroups: pure functions of shapes and facts about the
 * adapter, so that they are tested without one.
 */
import { chooseMatmul, defaultConstants, type MatmulAdapter, type MatmulShape, type MatmulVariant } from './matmul-choice.ts';
import { place, windows, type Range, type Window } from './matmul-windows.ts';

export {
  canBroadcast, chooseVariant, matmulCandidates, matmulClass, matmulVariants, refuseMatmul,
  type MatmulAdapter, type MatmulChoice, type MatmulShape, type MatmulVariant,
} from './matmul-choice.ts';
export type { Range } from './matmul-windows.ts';

/** One dispatch. */
export interface MatmulStep {
  window: Window;
  /** What is bound of each tensor; starts are multiples of 256 bytes. */
  bound: { a: Range; b: Range; bias: Range; residual: Range; out: Range };
  /** Constants that this step's window and alignment settle. */
  constants: Record<string, number | boolean>;
  params: Record<string, number>;
  groups: number;
  /** Neighbouring workgroups take neighbouring rows. */
  rowsFastest: boolean;
  /** It adds to what an earlier step left in `out`. */
  accumulate: boolean;
  /** The sum is complete: bias, activation and residual apply. */
  last: boolean;
}

export interface MatmulPlan {
  variant: MatmulVariant;
  constants: Record<string, number>;
  /** Parts of k that are computed apart and then added up; with more than one there is one step, which computes all of them. */
  splits: number;
  steps: MatmulStep[];
}

/** What overrides the choice of the kernel, and of its constants. */
export interface Forced { variant?: MatmulVariant; constants?: Readonly<Record<string, number>> }

/** The plan for a shape. No steps where there is nothing to compute. */
export function planMatmul(shape: MatmulShape, adapter: MatmulAdapter, forced: Forced = {}): MatmulPlan {
  const choice = forced.variant ? { variant: forced.variant, constants: defaultConstants(forced.variant, shape, adapter) } : chooseMatmul(shape, adapter);
  const { variant } = choice;
  const constants = { ...choice.constants, ...forced.constants };
  const parts = windows(shape, adapter.bindingBytes);
  const whole = parts.length === 1 && shape.batch === 1 && shape.k > 0;
  const room = constants.SPLITS! * shape.m * shape.n * 4 <= adapter.bindingBytes;
  if (constants.SPLITS! > 1 && !(whole && room)) constants.SPLITS = 1;
  return { variant, constants, splits: constants.SPLITS ?? 1, steps: parts.map((w) => makeStep(shape, w, variant, constants)) };
}

function makeStep(s: MatmulShape, window: Window, variant: MatmulVariant, sizes: Record<string, number>): MatmulStep {
  const { batch, rows, columns, ks } = window;
  const aStride = s.transposeA ? s.m : s.k;
  const bStride = s.transposeB ? s.k : s.n;
  const accumulate = ks.start > 0;
  const last = ks.start + ks.count === s.k;
  const a = s.transposeA
    ? place(batch, s.m * s.k, aStride, ks, rows) : place(batch, s.m * s.k, aStride, rows, ks);
  const ownB = s.sharedB ? { start: 0, count: 1 } : batch;
  const bytesB = s.halfB ? 2 : 4;
  const b = s.transposeB
    ? place(ownB, s.k * s.n, bStride, columns, ks, bytesB) : place(ownB, s.k * s.n, bStride, ks, columns, bytesB);
  const out = place(batch, s.m * s.outWidth, s.outWidth, rows, { start: s.outColumn + columns.start, count: columns.count });
  const residual = place(batch, s.m * s.residualWidth, s.residualWidth, rows, { start: s.residualColumn + columns.start, count: s.residualWidth ? columns.count : 0 });
  const bias = place(s.biasBatch ? batch : { start: 0, count: 1 }, s.biasBatch, 0, { start: 0, count: 1 }, columns);
  const alignment = aligned(variant, s, { a: a.base, b: b.base, k: ks.count });
  const { rowBlocks, columnBlocks } = blocks(variant, sizes, rows.count, columns.count);
  return {
    window, accumulate, last, groups: (sizes.SPLITS ?? 1) * batch.count * rowBlocks * columnBlocks,
    bound: { a: a.bound, b: b.bound, bias: bias.bound, residual: residual.bound, out: out.bound },
    constants: { TRANSPOSE_A: s.transposeA, TRANSPOSE_B: s.transposeB, B_HALF: s.halfB ?? false, ...alignment },
    // The larger operand is read once, the smaller one stays in the caches.
    rowsFastest: columns.count >= 4096 && columns.count > rows.count,
    params: {
      batches: batch.count, m: rows.count, n: columns.count, k: ks.count, aStride, bStride, bBatch: s.sharedB ? 0 : s.k * s.n, outStride: s.outWidth, residualStride: s.residualWidth,
      aBase: a.base, bBase: b.base, outBase: out.base, biasBase: bias.base, residualBase: residual.base,
    },
  };
}

/** Where whole vec4s can be read. False where a kernel makes no use of it, so that fewer pipelines are needed. */
function aligned(variant: MatmulVariant, s: MatmulShape, at: { a: number; b: number; k: number }): Record<string, boolean> {
  const quarters = (...numbers: number[]): boolean => numbers.every((x) => x % 4 === 0);
  const a = s.transposeA ? quarters(at.a, s.m) : quarters(at.a, s.k, at.k);
  const b = s.transposeB ? quarters(at.b, s.k, at.k) : quarters(at.b, s.n);
  if (variant === 'tiled' || variant === 'large') return { ALIGNED_A: a, ALIGNED_B: b };
  if (variant === 'subgroup') return { ALIGNED_B: !s.transposeB && b };
  // Both other kernels read four k of a at once only beside four k of b; `registers` also four rows of a transposed a.
  const alongK = s.transposeB && b && !s.transposeA && a;
  if (variant === 'vector') return { ALIGNED_A: alongK, ALIGNED_B: b };
  return { ALIGNED_A: alongK || (s.transposeA && a), ALIGNED_B: s.transposeB ? alongK : b };
}

/** Workgroups along rows and columns. */
function blocks(variant: MatmulVariant, sizes: Record<string, number>, rows: number, columns: number): { rowBlocks: number; columnBlocks: number } {
  const { WORKGROUP = 0, COLUMN_THREADS = 1, ROW_THREADS = 1, LANES = 1, ROWS = 1, COLUMNS = 1, SUBGROUP = 1 } = sizes;
  const [height, width] = variant === 'subgroup' ? [ROWS, 4 * SUBGROUP] : variant === 'registers' ? [8 * WORKGROUP / COLUMN_THREADS, 4 * COLUMN_THREADS]
    : variant === 'vector' ? [ROWS, 4 * WORKGROUP / LANES] : [ROW_THREADS * ROWS, COLUMN_THREADS * COLUMNS];
  return { rowBlocks: Math.ceil(rows / height), columnBlocks: Math.ceil(columns / width) };
}

