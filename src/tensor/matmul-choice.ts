/**
 * Which matmul kernel serves a shape, with which constants: pure functions of the shape and of facts about the adapter.
 *
 * Software drivers want registers and no barriers, and each number loaded by one lane only: with broadcasts lavapipe computes three to
 * four times as many products a second as with every lane loading for itself, and twice as many that way as through workgroup memory.
 * Real GPUs want each number loaded once for a whole tile, and enough workgroups and threads, which for small results only smaller tiles
 * and a split of k give.
 *
 * Subgroup matrices are not used: they take their operands as f16 or bf16, or for f32 exist on few devices, and are experimental in Dawn.
 * Subgroup broadcasts are left to CPU drivers: a GPU reads workgroup memory about as fast as it shuffles.
 */
export const matmulVariants = ['subgroup', 'registers', 'tiled', 'large', 'vector'] as const;
/** `tiled` and `large` are one kernel, with tiles of up to 64 by 64 and of 128 by 128. */
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
  /** A GPU in the processor's package, with a tenth of a card's threads. */
  integrated?: boolean;
  /** What was found best on this adapter, by `matmulClass`. */
  tuned?: Readonly<Record<string, { variant: string; constants: Readonly<Record<string, number>> }>>;
}

const FEW_ROWS = 4;
/** Threads that fill a real GPU well enough for the latency of memory to hide. */
const ENOUGH_THREADS = 16384;
const SUBGROUP_MOST_ROWS = 32;
/** Workgroups and threads that keep all of a GPU busy. */
const BUSY = { card: { groups: 128, threads: 16384 }, integrated: { groups: 24, threads: 3072 } } as const;
/**
 * Tiles in workgroup memory, and the share of the arithmetic rate that each allows as long as there are enough of them: by each number that
 * is read from workgroup memory, a thread does 4 multiply-adds with 8 by 8 sums, 2 with 4 by 4.
 */
const TILES = [
  { variant: 'large', share: 1, sizes: { ROW_THREADS: 16, COLUMN_THREADS: 16, ROWS: 8, COLUMNS: 8 } },
  { variant: 'tiled', share: 0.85, sizes: { ROW_THREADS: 8, COLUMN_THREADS: 8, ROWS: 8, COLUMNS: 8 } },
  { variant: 'tiled', share: 0.65, sizes: { ROW_THREADS: 8, COLUMN_THREADS: 8, ROWS: 4, COLUMNS: 8 } },
  { variant: 'tiled', share: 0.5, sizes: { ROW_THREADS: 8, COLUMN_THREADS: 8, ROWS: 4, COLUMNS: 4 } },
  { variant: 'tiled', share: 0.45, sizes: { ROW_THREADS: 4, COLUMN_THREADS: 16, ROWS: 4, COLUMNS: 4 } },
] as const;
/** What writing the parts of a split k, and reading them again, leaves of the rate. */
const SPLIT_SHARE = 0.75;
const MOST_SPLITS = 16;
/** A part of a split k is at least so long. */
const LEAST_PART = 128;
const MOST_PART_BYTES = 64 * 2 ** 20;

/** The kernel for a shape: what tuning found for its class if that fits the adapter, else the default. */
export function chooseMatmul(shape: MatmulShape, adapter: MatmulAdapter): MatmulChoice {
  const tuned = adapter.tuned?.[matmulClass(shape)];
  if (tuned && isVariant(tuned.variant) && refuseMatmul(tuned, adapter) === null) return { variant: tuned.variant, constants: { ...tuned.constants } };
  const variant = chooseVariant(shape, adapter);
  return { variant, constants: defaultConstants(variant, shape, adapter) };
}

/** The default kernel for a shape. */
export function chooseVariant(shape: MatmulShape, adapter: MatmulAdapter): MatmulVariant {
  const { software, subgroupSize } = adapter;
  const { m, n, k, transposeB, halfB } = shape;
  if (software && canBroadcast(subgroupSize)) {
    // For one row, broadcasts save a fifth of the reads, or a third where b's are half as many; lavapipe gains by the latter, SwiftShader by neither.
    return m > 1 || (halfB && !transposeB && subgroupSize >= 8) ? 'subgroup' : 'vector';
  }
  if (m <= FEW_ROWS) return 'vector';
  // A tile of few columns or k is mostly empty.
  if (software || n <= 16 || k < 16) return 'registers';
  return bestTile(shape, adapter)?.variant ?? 'registers';
}

/** The tile that promises the highest share of a GPU's arithmetic rate, of one variant if it is given; null if the adapter can run none. */
function bestTile(shape: MatmulShape, adapter: MatmulAdapter, variant?: MatmulVariant): MatmulChoice | null {
  const { batch, m, n, k } = shape;
  if (batch * m * n === 0) return null;
  const busy = BUSY[adapter.integrated ? 'integrated' : 'card'];
  let best: MatmulChoice | null = null;
  let highest = 0;
  for (const tile of TILES) {
    if (variant && tile.variant !== variant) continue;
    const sizes = withStep(tile, adapter);
    if (!sizes) continue;
    const [height, width] = [sizes.ROW_THREADS! * sizes.ROWS!, sizes.COLUMN_THREADS! * sizes.COLUMNS!];
    const threads = sizes.ROW_THREADS! * sizes.COLUMN_THREADS!;
    const tiles = batch * Math.ceil(m / height) * Math.ceil(n / width);
    const filled = batch * m * n / (tiles * height * width);
    const wanted = Math.ceil(Math.max(busy.groups / tiles, busy.threads / (tiles * threads)));
    const partBytes = 4 * m * n;
    const most = batch > 1 ? 1 : Math.min(MOST_SPLITS, Math.floor(k / LEAST_PART), Math.floor(Math.min(MOST_PART_BYTES, adapter.bindingBytes) / partBytes));
    for (const splits of new Set([1, splitsOf(k, Math.max(1, Math.min(most, wanted)), sizes.K_STEP!)])) {
      const used = Math.min(1, tiles * splits / busy.groups, tiles * splits * threads / busy.threads);
      const share = tile.share * filled * used * (splits > 1 ? SPLIT_SHARE : 1);
      if (share <= highest) continue;
      highest = share;
      best = { variant: tile.variant, constants: { ...sizes, SPLITS: splits } };
    }
  }
  return best;
}

/** The number of parts of k that are left when each is a whole number of steps, as the kernel makes them. */
function splitsOf(k: number, splits: number, step: number): number {
  return splits > 1 && k > 0 ? Math.ceil(k / (Math.ceil(k / splits / step) * step)) : 1;
}

/** A tile with the longest step, and if possible two buffers, that the adapter has workgroup memory for; null if it cannot run it. */
function withStep({ variant, sizes }: { variant: MatmulVariant; sizes: Record<string, number> }, adapter: MatmulAdapter): Record<string, number> | null {
  for (const [K_STEP, BUFFERS] of [[16, 2], [8, 2], [16, 1], [8, 1]] as const) {
    const constants = { ...sizes, K_STEP, BUFFERS };
    if (refuseMatmul({ variant, constants }, adapter) === null) return constants;
  }
  return null;
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
  if (variant === 'tiled' || variant === 'large') {
    // Forced onto an adapter that refuses it, it is tried as it is.
    return bestTile(shape, adapter, variant)?.constants ?? { ...TILES.find((tile) => tile.variant === variant)!.sizes, K_STEP: 8, BUFFERS: 1, SPLITS: 1 };
  }
  const rows = m === 1 ? 1 : 4;
  if (adapter.software) return { WORKGROUP: 8, LANES: 1, ROWS: rows };
  const sets = batch * Math.ceil(m / rows) * Math.ceil(n / 4);
  const lanes = Math.min(64, powerOfTwo(ENOUGH_THREADS / Math.max(1, sets)), powerOfTwo(k / 16));
  return { WORKGROUP: 64, LANES: lanes, ROWS: rows };
}

/** Rows of a tile of the subgroup kernel: as few tiles as possible, then as even; in steps that keep the pipelines few. */
function subgroupRows(m: number, most = SUBGROUP_MOST_ROWS): number {
  if (m === 1) return 1;
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
  const { batch, m, n, k } = shape;
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
    const most = batch > 1 ? 1 : Math.min(MOST_SPLITS, Math.floor(k / LEAST_PART), Math.floor(Math.min(MOST_PART_BYTES, adapter.bindingBytes) / (4 * m * n)));
    for (const { variant, sizes } of TILES) for (const K_STEP of [16, 8, 32]) for (const BUFFERS of [2, 1]) for (const SPLITS of [1, 2, 4, 8, 16]) {
      if (SPLITS === 1 || (SPLITS <= most && splitsOf(k, SPLITS, K_STEP) === SPLITS && BUFFERS === 2 && K_STEP === 16)) add(variant, { ...sizes, K_STEP, BUFFERS, SPLITS });
    }
  }
  for (const WORKGROUP of software ? [8, 16, 32] : [64, 128, 32]) for (const COLUMN_THREADS of [2, 4, 8, 16, 32]) {
    if (COLUMN_THREADS <= WORKGROUP && (COLUMN_THREADS * 2 <= n || COLUMN_THREADS === 2)) add('registers', { WORKGROUP, COLUMN_THREADS });
  }
  const textOf = ({ variant, constants }: MatmulChoice): string => `${variant} ${Object.entries(constants).sort().join(' ')}`;
  const used = new Set([textOf(chooseMatmul(shape, untuned))]);
  return all.filter((choice) => {
    const text = textOf(choice);
    const fits = !used.has(text) && refuseMatmul(choice, adapter) === null;
    used.add(text);
    return fits;
  });
}

/** Why an adapter cannot run a kernel so, in a few words; null where it can. */
export function refuseMatmul({ variant, constants }: { variant: string; constants: Readonly<Record<string, number>> }, adapter: Omit<MatmulAdapter, 'bindingBytes' | 'software'>): string | null {
  const { WORKGROUP = 0, COLUMN_THREADS = 1, LANES = 1, ROWS = 1, SUBGROUP = 0 } = constants;
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
  return refuseTile(constants, adapter) ?? tooLarge((constants.ROW_THREADS ?? 8) * (constants.COLUMN_THREADS ?? 8));
}

function refuseTile(constants: Readonly<Record<string, number>>, { workgroupBytes }: { workgroupBytes: number }): string | null {
  const { ROW_THREADS = 8, COLUMN_THREADS = 8, ROWS = 8, COLUMNS = 8, K_STEP = 16, BUFFERS = 2, SPLITS = 1 } = constants;
  const powers = [ROW_THREADS, COLUMN_THREADS, K_STEP / 4].every((x) => x >= 1 && Number.isInteger(Math.log2(x)));
  if (!powers || K_STEP > 32 || ![ROWS, COLUMNS].every((x) => x === 4 || x === 8)) return `${ROW_THREADS} by ${COLUMN_THREADS} threads of ${ROWS} by ${COLUMNS} and ${K_STEP} k a step are no tile`;
  if (BUFFERS < 1 || BUFFERS > 2 || SPLITS < 1 || SPLITS > 256) return `${BUFFERS} buffers and ${SPLITS} splits cannot be`;
  const across = ROW_THREADS * ROWS + COLUMN_THREADS * COLUMNS;
  if (across * K_STEP > 32 * ROW_THREADS * COLUMN_THREADS) return 'its threads cannot bring in two pieces each';
  const bytes = BUFFERS * K_STEP * across * 4;
  return bytes > workgroupBytes ? `${bytes} bytes of workgroup memory, at most ${workgroupBytes}` : null;
}

function isVariant(name: string): name is MatmulVariant {
  return (matmulVariants as readonly string[]).includes(name);
}

/** The least power of two that is no less than `x`, at least 1. */
function powerOfTwo(x: number): number {
  return 2 ** Math.max(0, Math.ceil(Math.log2(Math.max(1, x))));
}
