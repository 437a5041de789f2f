/** Times one case: checked first, then the median of several timed runs. */
import type { Ceilings } from '../src/gpu/ceilings.ts';
import type { Gpu } from '../src/gpu/index.ts';

/** A kernel at one shape. */
export interface Case {
  kernel: string;
  shape: string;
  /** Floating-point operations, and bytes that must move between memory and registers at least once. */
  flops: number;
  bytes: number;
  /** Largest relative error of a right result; TOLERANCE if not given. */
  tolerance?: number;
  /** Left out of the default run, which is kept short on software drivers. */
  long?: boolean;
  prepare(gpu: Gpu): Prepared | Promise<Prepared>;
}

export interface Prepared {
  /** Records the work once, and frees what it makes. */
  run(): void;
  /** Relative error against a float64 reference, ‖out − ref‖ / ‖ref‖, perhaps over a sample of the outputs. */
  check(): Promise<number>;
  dispose(): void;
}

export interface Row {
  kernel: string;
  shape: string;
  /** Median, least and greatest milliseconds of one run; null where the result was wrong. */
  ms: number | null;
  least: number | null;
  most: number | null;
  /** Compiling and the first run, in milliseconds by the wall clock. */
  firstUseMs: number;
  error: number;
  gflops: number | null;
  gbps: number | null;
  /** Share of the ceiling that binds the kernel on this device, and which one that is. */
  share: number | null;
  bound: 'compute' | 'memory';
  source: 'timestamp' | 'wall';
}

export const TOLERANCE = 1e-5;
const LONG_ENOUGH_MS = 15;
const MOST_REPEATS = 200;

export async function measure(gpu: Gpu, item: Case, ceilings: Ceilings, samples: number): Promise<Row> {
  const prepared = await item.prepare(gpu);
  try {
    await gpu.idle();
    const start = performance.now();
    prepared.run();
    await gpu.idle();
    const firstUseMs = performance.now() - start;
    const error = await prepared.check();
    const bound = item.flops / (ceilings.gflops * 1e9) > item.bytes / (ceilings.copyGBps * 1e9) ? 'compute' : 'memory';
    const row: Row = { kernel: item.kernel, shape: item.shape, ms: null, least: null, most: null, firstUseMs, error, gflops: null, gbps: null, share: null, bound, source: 'wall' };
    if (!(error <= (item.tolerance ?? TOLERANCE))) return row;
    const { ms: once } = await gpu.time(() => prepared.run());
    const repeats = Math.max(1, Math.min(MOST_REPEATS, Math.ceil(LONG_ENOUGH_MS / once)));
    const times: number[] = [];
    for (let i = 0; i < samples; i++) {
      const timed = await gpu.time(() => { for (let r = 0; r < repeats; r++) prepared.run(); });
      times.push(timed.ms / repeats);
      row.source = timed.source;
    }
    times.sort((a, b) => a - b);
    const ms = times[Math.floor(times.length / 2)]!;
    const gflops = item.flops / (ms * 1e6);
    const gbps = item.bytes / (ms * 1e6);
    return { ...row, ms, least: times[0]!, most: times.at(-1)!, gflops, gbps, share: bound === 'compute' ? gflops / ceilings.gflops : gbps / ceilings.copyGBps };
  } finally {
    prepared.dispose();
    await gpu.trim();
  }
}
