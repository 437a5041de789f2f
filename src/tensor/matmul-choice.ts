/**
 * Which matmul kernel serves a shape, with which constants: pure functions of the shape and of facts about the adapter.
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
  /** b is stored as f16. */
  halfB?: boolean;
  /** Row length of the output, and the first column written. */
  outWidth: number; outColumn: number;
  /** Row length of a residual in a binding of its own, and its first column used; 0 without one. */
  residualWidth: number; residualColumn: number;
  /** Numbers between the biases of two matrices: n, or 0 for one bias. */
  biasBatch: number;
}

/** A kernel and the values of its constants. */
export interface MatmulChoice { variant: MatmulVariant; constants: Record<string, number> }

/** What the planner needs to know of an adapter; `subgroupSize` is 0 where subgroups are missing or vary in size. */
export interface MatmulAdapter {
  software: boolean; subgroupSize: number; bindingBytes: number; workgroupInvocations: number; workgroupBytes: number;
  /** What was found best on this adapter, by `matmulClass`. */
  tuned?: Readonly<Record<string, { variant: string; constants: Readonly<Record<string, number>> }>>;
}

const FEW_ROWS = 4;
/** Threads that fill a real GPU well enough for the latency of memory to hide. */
const ENOUGH_THREADS = 16384;
/** Workgroups of the large tile from which it pays. */
const ENOUGH_LARGE_TILES = 256;
const SUBGROUP_MOST_ROWS = 32;
/** Threads along each side of a tile; each computes 8 by 8. */
const TILE_THREADS = { tiled: 8, large: 16 } as const;
const K_STEP = 16;

/** The kernel for a shape: what tuning found for its class if that fits the adapter, else the default. */
export function chooseMatmul(shape: MatmulShape, adapter: MatmulAdapter): MatmulChoice {
  const tuned = adapter.tuned?.[matmulClass(shape)];
  if (tuned && isVariant(tuned.variant) && refuseMatmul(tuned, adapter) === null) return { variant: tuned.variant, constants: { ...tuned.constants } };
  const variant = chooseVariant(shape, adapter);
  return { variant, constants: defaultConstants(variant, shape, adapter) };
}

/** The default kernel for a shape. */
export function chooseVariant({ batch, m, n }: MatmulShape, adapter: MatmulAdapter): MatmulVariant {
  const { software, subgroupSize } = adapter;
  if (software && canBroadcast(subgroupSize)) return m === 1 ? 'vector' : 'subgroup';
  if (m <= FEW_ROWS) return 'vector';
  // Less than a few tiles of 64 by 64 would leave most of a GPU idle.
  const small = batch * m * n < 8 * 64 * 64;
  const fits = (variant: 'tiled' | 'large'): boolean => refuseMatmul({ variant, constants: { THREADS: TILE_THREADS[variant] } }, adapter) === null;
  if (software || small || !fits('tiled')) return 'registers';
  const largeTiles = batch * Math.ceil(m / 128) * Math.ceil(n / 128);
  return largeTiles >= ENOUGH_LARGE_TILES && fits('large') ? 'large' : 'tiled';
}

/** Whether the subgroup kernel is written for subgroups of this size. */
export function canBroadcast(subgroupSize: number): boolean {
  return subgroupSize >= 4 && subgroupSize <= 32;
}

/** Constants of a kernel for a shape where nothing was tuned. */
export function defaultConstants(variant: MatmulVariant, shape: MatmulShape, adapter: MatmulAdapter): Record<string, number> {
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

/** Rows of a tile of the subgroup kernel: as few tiles as possible, then as even; in steps that keep the pipelines few. */
function subgroupRows(m: number, most = SUBGROUP_MOST_ROWS): number {
  const tiles = Math.max(1, Math.ceil(m / most));
  return Math.max(4, Math.ceil(m / tiles / 4) * 4);
}

/** A coarse class of shapes that are served alike, such as `nn m<=32 n<=1024 k<=1024 batch<=1`. */
export function matmulClass({ batch, m, n, k, transposeA, transposeB, halfB }: MatmulShape): string {
  const layout = `${transposeA ? 't' : 'n'}${transposeB ? 't' : 'n'}${halfB ? ' f16' : ''}`;
  return [layout, bucket('m', m, [1, 4, 32, 256, 2048]), bucket('n', n, [16, 128, 1024, 8192]), bucket('k', k, [128, 1024]), bucket('batch', batch, [1, 16])].join(' ');
}

function bucket(name: string, x: number, ends: readonly number[]): string {
  const end = ends.find((e) => x <= e);
  return end === undefined ? `${name}>${ends.at(-1)}` : `${name}<=${end}`;
}

/** What a tuner should compare with the default for a shape: kernels and constants that the adapter can run, in a settled order. */
export function matmulCandidates(shape: MatmulShape, adapter: MatmulAdapter): MatmulChoice[] {
  const untuned = { ...adapter, tuned: undefined };
  const all: MatmulChoice[] = [];
  const add = (variant: MatmulVariant, constants: Record<string, number>): void => void all.push({ variant, constants });
  const { m, n } = shape;
  const { software, subgroupSize } = adapter;
  if (canBroadcast(subgroupSize) && software) {
    for (const most of [32, 24, 16, 8, 4]) add('subgroup', { SUBGROUP: subgroupSize, ROWS: subgroupRows(m, most) });
  }
  if (m <= 64) {
    const rows = m === 1 ? [1] : m === 2 ? [2] : [4, 2];
    const lanes = software ? [1] : [1, 2, 4, 8, 16, 32, 64];
    for (const WORKGROUP of software ? [8, 16] : [64, 128]) for (const LANES of lanes) for (const ROWS of rows) add('vector', { WORKGROUP, LANES, ROWS });
  }
  if (!software && m > 4) {
    for (const THREADS of [8, 16]) for (const K_STEP of [16, 32, 8]) add(THREADS === 8 ? 'tiled' : 'large', { THREADS, K_STEP });
  }
  for (const WORKGROUP of software ? [8, 16, 32] : [64, 128, 32]) for (const COLUMN_THREADS of [2, 4, 8, 16, 32]) {
    if (COLUMN_THREADS <= WORKGROUP && (COLUMN_THREADS * 2 <= n || COLUMN_THREADS === 2)) add('registers', { WORKGROUP, COLUMN_THREADS });
  }
  const used = new Set([textOf(chooseMatmul(shape, untuned))]);
  return all.filter((choice) => {
    const text = textOf(choice);
    const fits = !used.has(text) && refuseMatmul(choice, adapter) === null;
    used.add(text);
    return fits;
  });
}

/** A choice with all constants that matter written out, so that equal ones look equal. */
function textOf({ variant, constants }: MatmulChoice): string {
  const all: Record<string, number> = { ...(variant === 'tiled' || variant === 'large' ? { K_STEP } : {}), ...constants };
  return `${variant === 'large' ? 'tiled' : variant} ${Object.keys(all).sort().map((name) => `${name}=${all[name]}`).join(' ')}`;
}

/** Why an adapter cannot run a kernel so, in a few words; null where it can. */
export function refuseMatmul({ variant, constants }: { variant: string; constants: Readonly<Record<string, number>> }, adapter: Omit<MatmulAdapter, 'bindingBytes' | 'software'>): string | null {
  const { WORKGROUP = 0, COLUMN_THREADS = 1, LANES = 1, ROWS = 1, SUBGROUP = 0, THREADS = 8, K_STEP: step = K_STEP } = constants;
  const tooLarge = (threads: number): string | null => (threads <= adapter.workgroupInvocations ? null : `${threads} threads a workgroup, at most ${adapter.workgroupInvocations}`);
  if (variant === 'subgroup') {
    if (SUBGROUP !== adapter.subgroupSize || !canBroadcast(SUBGROUP)) return `it needs subgroups of ${SUBGROUP}`;
    return ROWS >= 1 && ROWS <= 32 ? null : `${ROWS} rows a thread, at most 32`;
  }
  if (variant === 'registers') {
    return WORKGROUP < 1 || COLUMN_THREADS < 1 || WORKGROUP % COLUMN_THREADS ? `${COLUMN_THREADS} threads along columns do not divide ${WORKGROUP}` : tooLarge(WORKGROUP);
  }
  if (variant === 'vector') {
    if (WORKGROUP < 1 || LANES < 1 || WORKGROUP % LANES || !Number.isInteger(Math.log2(LANES))) return `${LANES} lanes do not divide ${WORKGROUP}, or are no power of two`;
    if (ROWS < 1 || ROWS > 4) return `${ROWS} rows a thread, at most 4`;
    return LANES > 1 && WORKGROUP * 16 > adapter.workgroupBytes ? 'too little workgroup memory' : tooLarge(WORKGROUP);
  }
  if (variant !== 'tiled' && variant !== 'large') return `there is no variant ${variant}`;
  if (THREADS < 1 || step < 4 || step % 4) return `${step} k a step are no multiple of 4`;
  const bytes = 2 * step * 8 * THREADS * 4;
  return bytes > adapter.workgroupBytes ? `${bytes} bytes of workgroup memory, at most ${adapter.workgroupBytes}` : tooLarge(THREADS * THREADS);
}

function isVariant(name: string): name is MatmulVariant {
  return (matmulVariants as readonly string[]).includes(name);
}

/** The least power of two that is no less than `x`, at least 1. */
function powerOfTwo(x: number): number {
  return 2 ** Math.max(0, Math.ceil(Math.log2(Math.max(1, x))));
}
