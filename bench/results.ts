/**
 * The benchmark's JSON: every number it reports, typed once. The zod schemas are the only definition; types and the short form follow from
 * them. What was not measured is null, and a field beside it says why.
 */
import * as z from 'zod';

export const BENCH_FORMAT = 'diffract.bench/1';

const positive = z.number().nonnegative();

const versus = z.object({
  ms: positive.nullable().describe('median milliseconds of one run of the other, by the wall clock; null where it was not timed'),
  spread: positive.nullable().describe('half the distance between its quickest and slowest sample, as a share of ms'),
  ours: positive.nullable().describe('our milliseconds in this very comparison: runs taken in turns with the other, same clock, same bytes moved'),
  oursSpread: positive.nullable(),
  ratio: positive.nullable().describe('ms / ours: above 1 we are quicker'),
  transfers: z.object({ upload: positive, download: positive }).nullable().describe('bytes that the other moves between host and device at every run; ours moves as many here'),
  error: z.number().nullable().describe('relative error of its result against the reference of the row; null where it has none of its own'),
  firstUseMs: positive.nullable().describe('its preparation and first run: upload, compilation'),
  note: z.string().optional().describe('what a reader of the time must know'),
  skipped: z.string().optional().describe('why there is no time'),
});

const row = z.object({
  group: z.enum(['kernels', 'model', 'training']),
  kernel: z.string(),
  shape: z.string(),
  variant: z.string().optional(),
  ms: positive.nullable().describe('median milliseconds of one run; null where the result was wrong or the row left out'),
  spread: positive.nullable().describe('half the distance between the quickest and the slowest sample, as a share of ms'),
  least: positive.nullable(),
  most: positive.nullable(),
  samples: z.int().nonnegative(),
  share: positive.nullable().describe('share of the ceiling that binds'),
  bound: z.enum(['compute', 'memory']).describe('the ceiling that would take longer for this many operations and bytes'),
  gflops: positive.nullable(),
  gbps: positive.nullable(),
  flops: positive.describe('floating-point operations that one run needs'),
  bytes: positive.describe('bytes that one run must move at least once between memory and registers'),
  hostMs: positive.nullable().describe('milliseconds of the calling thread to record one run'),
  firstUseMs: positive.nullable().describe('the first run in this process, with whatever had to be compiled, by the wall clock'),
  error: z.number().nullable().describe('‖out − reference‖ / ‖reference‖ against a float64 reference, over a sample of the outputs where there are many'),
  tolerance: positive,
  source: z.enum(['timestamp', 'wall']).nullable().describe('what timed the row'),
  note: z.string().optional(),
  figures: z.record(z.string(), z.number()).describe('further numbers of the row by what they are, with their unit'),
  peers: z.record(z.string(), versus).describe('other engines by name, each timed in turns with ours'),
  against: z.record(z.string(), versus).describe("this engine's own other ways to the same result, timed in turns"),
  skipped: z.string().optional().describe('why the row was not measured'),
  wrong: z.string().optional().describe('why the row counts as a failure'),
});

export const benchSchema = z.object({
  format: z.literal(BENCH_FORMAT),
  version: z.string(),
  date: z.string().describe('ISO 8601'),
  where: z.object({ kind: z.enum(['node', 'browser']), name: z.string(), version: z.string(), platform: z.string() }),
  adapter: z.object({ vendor: z.string(), architecture: z.string(), device: z.string(), description: z.string(), isFallback: z.boolean(), software: z.boolean() }),
  ceilings: z.object({
    copyGBps: positive, gflops: positive, f16Gflops: positive.nullable(), subgroupGops: positive.nullable(), dispatchesPerSecond: positive, source: z.enum(['timestamp', 'wall']),
  }),
  settings: z.object({ samples: z.int().positive(), full: z.boolean(), names: z.array(z.string()), budgetSeconds: z.number().nullable(), tuned: z.boolean().default(false).describe('kernels took settings from a tuning file') }),
  peers: z.array(z.object({ name: z.string(), version: z.string() })),
  missingPeers: z.array(z.object({ name: z.string(), why: z.string() })),
  seconds: positive,
  interrupted: z.boolean(),
  rows: z.array(row),
});

export type BenchResult = z.infer<typeof benchSchema>;
export type Row = z.infer<typeof row>;
export type Versus = z.infer<typeof versus>;
export type Group = Row['group'];
export type Where = BenchResult['where'];

export const GROUPS: readonly Group[] = ['kernels', 'model', 'training'];

/** Checks a parsed file. Throws zod's error. */
export function parseBench(value: unknown): BenchResult {
  return benchSchema.parse(value);
}

/** The result as a file's text; times to nine digits. */
export function benchText(result: BenchResult): string {
  return `${JSON.stringify(result, (_key, value) => (typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(9)) : value), 1)}\n`;
}

export interface ShortForm {
  adapter: string;
  ceilings: BenchResult['ceilings'];
  rows: (Pick<Row, 'kernel' | 'shape' | 'ms' | 'spread' | 'share' | 'firstUseMs'> & { peers: Record<string, number | null> })[];
}

/** The few numbers that most readers want: each peer as its milliseconds alone. */
export function shortForm({ adapter, ceilings, rows }: BenchResult): ShortForm {
  return {
    adapter: adapterName(adapter), ceilings,
    rows: rows.map(({ kernel, shape, ms, spread, share, firstUseMs, peers }) => ({
      kernel, shape, ms, spread, share, firstUseMs, peers: Object.fromEntries(Object.entries(peers).map(([name, peer]) => [name, peer.ms])),
    })),
  };
}

export function adapterName({ description, vendor, architecture, device }: BenchResult['adapter']): string {
  // Some drivers say the device's name in both.
  const named = description.toLowerCase().includes(device.toLowerCase().split(/\W/)[0]!) ? [description] : [device, description];
  return named.filter(Boolean).join(', ') || `${vendor} ${architecture}`.trim() || 'unnamed adapter';
}

/** What tells rows of one result apart, and finds the same row in another. */
export function rowKey({ group, kernel, shape, variant }: Pick<Row, 'group' | 'kernel' | 'shape' | 'variant'>): string {
  return [group, kernel, shape, variant ?? ''].join(' | ');
}

/** The geometric mean of positive numbers; null of none. */
export function geometricMean(values: readonly number[]): number | null {
  return values.length ? Math.exp(values.reduce((sum, v) => sum + Math.log(v), 0) / values.length) : null;
}
