/**
 * Which matmul kernel serves a shape, in which windows and with how many workgroups: pure functions of shapes and facts about the
 * adapter, so that they are tested without one.
 *
 * Software drivers want registers and no barriers, and each number loaded by one lane only: with broadcasts lavapipe computes three to
 * four times as many products a second as with every lane loading for itself, and twice as many that way as through workgroup memory.
 * Real GPUs want each number loaded once for a whole tile, and for few rows enough threads, which only a split of k gives.
 */
export const matmulVariants = ['subgroup', 'registers', 'tiled', 'large', 'vector'] as const;
/** `tiled` and `large` are one kernel, with tiles of 64 by 64 and of 128 by 128. */
export type MatmulVariant = (typeof matmulVariants)[number];

/** One product of a batch of matrices: op(a) [batch, m, k] times op(b) [batch, k, n], all dense. */
export interface MatmulShape {
  batch: number; m: number; n: number; k: number;
  transposeA: boolean; transposeB: boolean;
  /** One b for the whole batch. */
  sharedB: boolean;
  /** Row length of the output, and the first column written. */
  outWidth: number; outColumn: number;
  /** Row length of a residual in a binding of its own, and its first column used; 0 without one. */
  residualWidth: number; residualColumn: number;
  /** Numbers between the biases of two matrices: n, or 0 for one bias. */
  biasBatch: number;
}

/** What the planner needs to know of an adapter; `subgroupSize` is 0 where subgroups are missing or vary in size. */
export interface MatmulAdapter { software: boolean; subgroupSize: number; bindingBytes: number; workgroupInvocations: number; workgroupBytes: number }

/** A range of a tensor, in numbers from its start. */
export interface Range { start: number; count: number }

/** One dispatch. */
export interface MatmulStep {
  /** What it computes: matrices, rows, columns, and the part of k. */
  window: { batch: Range; rows: Range; columns: Range; ks: Range };
  /** What is bound of each tensor; starts are multiples of 64 numbers (256 bytes). */
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

export interface MatmulPlan { variant: MatmulVariant; constants: Record<string, number>; steps: MatmulStep[] }

/** Numbers between places where a binding may start. */
const ALIGNMENT = 64;
const FEW_ROWS = 4;
/** Threads that fill a real GPU well enough for the latency of memory to hide. */
const ENOUGH_THREADS = 16384;
/** Workgroups of the large tile from which it pays. */
const ENOUGH_LARGE_TILES = 256;
const K_STEP = 16;
const SUBGROUP_MOST_ROWS = 32;
/** Threads along each side of a tile; each computes 8 by 8. */
const TILE_THREADS = { tiled: 8, large: 16 } as const;

/** The plan for a shape. A `variant` overrides the choice of the kernel. No steps where there is nothing to compute. */
export function planMatmul(shape: MatmulShape, adapter: MatmulAdapter, variant: MatmulVariant = chooseVariant(shape, adapter)): MatmulPlan {
  const constants = settle(variant, shape, adapter);
  return { variant, constants, steps: windows(shape, adapter.bindingBytes).map((w) => makeStep(shape, w, variant, constants)) };
}

/** The kernel for a shape. */
export function chooseVariant({ batch, m, n }: MatmulShape, { software, subgroupSize, workgroupInvocations, workgroupBytes }: MatmulAdapter): MatmulVariant {
  if (software && canBroadcast(subgroupSize)) return m === 1 ? 'vector' : 'subgroup';
  if (m <= FEW_ROWS) return 'vector';
  // Less than a few tiles of 64 by 64 would leave most of a GPU idle.
  const small = batch * m * n < 8 * 64 * 64;
  const fits = (threads: number): boolean => workgroupInvocations >= threads * threads && workgroupBytes >= tileBytes(threads);
  if (software || small || !fits(TILE_THREADS.tiled)) return 'registers';
  const largeTiles = batch * Math.ceil(m / 128) * Math.ceil(n / 128);
  return largeTiles >= ENOUGH_LARGE_TILES && fits(TILE_THREADS.large) ? 'large' : 'tiled';
}

/** Whether the subgroup kernel is written for subgroups of this size. */
export function canBroadcast(subgroupSize: number): boolean {
  return subgroupSize >= 4 && subgroupSize <= 32;
}

/** Rows of a tile of the subgroup kernel: as few tiles as possible, then as even; in steps that keep the pipelines few. */
function subgroupRows(m: number): number {
  const tiles = Math.max(1, Math.ceil(m / SUBGROUP_MOST_ROWS));
  return Math.max(4, Math.ceil(m / tiles / 4) * 4);
}

function tileBytes(threads: number): number {
  return 2 * K_STEP * 8 * threads * 4;
}

/** Sizes of a kernel for a shape. */
function settle(variant: MatmulVariant, shape: MatmulShape, adapter: MatmulAdapter): Record<string, number> {
  const { batch, m, n, k } = shape;
  if (variant === 'subgroup') return { SUBGROUP: adapter.subgroupSize, ROWS: subgroupRows(m) };
  if (variant === 'registers') {
    // 8 lanes are what a software driver computes at once, and threads of one row let it read a once for all of them.
    const workgroup = adapter.software ? 8 : 64;
    return { WORKGROUP: workgroup, COLUMN_THREADS: n <= 16 ? 2 : adapter.software ? 8 : 16 };
  }
  if (variant === 'tiled' || variant === 'large') return { THREADS: TILE_THREADS[variant] };
  const rows = m === 1 ? 1 : 4;
  if (adapter.software) return { WORKGROUP: 8, LANES: 1, ROWS: rows };
  const sets = batch * Math.ceil(m / rows) * Math.ceil(n / 4);
  const lanes = Math.min(64, powerOfTwo(ENOUGH_THREADS / Math.max(1, sets)), powerOfTwo(k / 16));
  return { WORKGROUP: 64, LANES: lanes, ROWS: rows };
}

/** The least power of two that is no less than `x`, at least 1. */
function powerOfTwo(x: number): number {
  return 2 ** Math.max(0, Math.ceil(Math.log2(Math.max(1, x))));
}

type Window = MatmulStep['window'];

/**
 * Windows such that what each operand spans fits a binding: one for everything, else whole matrices of the batch, else parts of one matrix.
 * Parts of k come last, so that a window's sum is complete before the next one begins.
 */
function windows(shape: MatmulShape, bindingBytes: number): Window[] {
  const { batch, m, n, k, sharedB, outWidth, residualWidth, biasBatch } = shape;
  if (batch * m * n === 0) return [];
  // A binding starts at a multiple of 64 numbers, up to 63 before the window does.
  const limit = Math.floor(bindingBytes / 4);
  const room = Math.max(4, limit - (ALIGNMENT - 1));
  const whole = { rows: { start: 0, count: m }, columns: { start: 0, count: n }, ks: { start: 0, count: k } };
  const shared = sharedB ? k * n : 0;
  const perMatrix = Math.max(m * k, sharedB ? 0 : k * n, m * outWidth, m * residualWidth, biasBatch);
  if (batch * perMatrix <= limit && shared <= limit && n <= limit) return [{ batch: { start: 0, count: batch }, ...whole }];
  if (perMatrix <= room && shared <= limit && n <= room) return pieces(batch, Math.max(1, Math.floor(room / perMatrix))).map((b) => ({ batch: b, ...whole }));
  const { rows, columns, ks } = partOfMatrix(shape, room);
  const all: Window[] = [];
  for (const b of pieces(batch, 1)) for (const c of pieces(n, columns)) for (const r of pieces(m, rows)) {
    for (const q of k ? pieces(k, ks) : [{ start: 0, count: 0 }]) all.push({ batch: b, rows: r, columns: c, ks: q });
  }
  return all;
}

/** The largest numbers of rows, columns and k whose spans in every operand have at most `room` numbers. */
function partOfMatrix({ m, n, k, transposeA, transposeB, outWidth, residualWidth }: MatmulShape, room: number): { rows: number; columns: number; ks: number } {
  let [rows, columns, ks] = [m, n, k];
  // A span along lines of `width` numbers: whole lines while at least one fits, else a part of one.
  const lines = (count: number, width: number): number => Math.max(1, Math.min(count, Math.floor(room / Math.max(1, width))));
  for (const width of [outWidth, residualWidth]) {
    rows = lines(rows, width);
    if (width > room) columns = Math.min(columns, room);
  }
  if (transposeA) {
    ks = lines(ks, m);
    if (m > room) rows = Math.min(rows, room);
  } else {
    rows = lines(rows, k);
    if (k > room) ks = Math.min(ks, room);
  }
  if (transposeB) {
    columns = lines(columns, k);
    if (k > room) ks = Math.min(ks, room);
  } else {
    ks = lines(ks, n);
    if (n > room) columns = Math.min(columns, room);
  }
  return { rows: roundDown(rows, m, 8), columns: roundDown(Math.min(columns, room), n, 4), ks: roundDown(ks, k, 4) };
}

function roundDown(count: number, all: number, step: number): number {
  return count >= all || count < step ? count : count - (count % step);
}

function pieces(all: number, most: number): Range[] {
  return Array.from({ length: Math.ceil(all / most) }, (_, i) => ({ start: i * most, count: Math.min(most, all - i * most) }));
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
  const b = s.transposeB
    ? place(ownB, s.k * s.n, bStride, columns, ks) : place(ownB, s.k * s.n, bStride, ks, columns);
  const out = place(batch, s.m * s.outWidth, s.outWidth, rows, { start: s.outColumn + columns.start, count: columns.count });
  const residual = place(batch, s.m * s.residualWidth, s.residualWidth, rows, { start: s.residualColumn + columns.start, count: s.residualWidth ? columns.count : 0 });
  const bias = place(s.biasBatch ? batch : { start: 0, count: 1 }, s.biasBatch, 0, { start: 0, count: 1 }, columns);
  const alignment = aligned(variant, s, { a: a.base, b: b.base, k: ks.count });
  const { rowBlocks, columnBlocks } = blocks(variant, sizes, rows.count, columns.count);
  return {
    window, accumulate, last, groups: batch.count * rowBlocks * columnBlocks,
    bound: { a: a.bound, b: b.bound, bias: bias.bound, residual: residual.bound, out: out.bound },
    constants: { TRANSPOSE_A: s.transposeA, TRANSPOSE_B: s.transposeB, ...alignment },
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
  const { WORKGROUP = 0, COLUMN_THREADS = 1, THREADS = 0, LANES = 1, ROWS = 1, SUBGROUP = 1 } = sizes;
  const [height, width] = variant === 'subgroup' ? [ROWS, 4 * SUBGROUP] : variant === 'registers' ? [8 * WORKGROUP / COLUMN_THREADS, 4 * COLUMN_THREADS]
    : variant === 'vector' ? [ROWS, 4 * WORKGROUP / LANES] : [8 * THREADS, 8 * THREADS];
  return { rowBlocks: Math.ceil(rows / height), columnBlocks: Math.ceil(columns / width) };
}

/** The span of `lines` by `across` in matrices of `size` numbers with lines of `width`: what to bind, and where in it the window begins. */
function place(batch: Range, size: number, width: number, lines: Range, across: Range): { bound: Range; base: number } {
  const first = batch.start * size + lines.start * width + across.start;
  const beyond = (batch.count - 1) * size + (lines.count - 1) * width + across.count;
  const start = Math.floor(first / ALIGNMENT) * ALIGNMENT;
  const count = across.count === 0 || lines.count === 0 ? 0 : first - start + beyond;
  return { bound: { start: count ? start : 0, count }, base: count ? first - start : 0 };
}
