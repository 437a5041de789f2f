/** One case to one row: checked first, then timed; other ways and other engines after it, in turns with ours. */
import { DeviceLostError, GpuOutOfMemoryError, LimitError } from '../src/errors.ts';
import type { Ceilings, Gpu } from '../src/gpu/index.ts';
import { TOLERANCE, type Case, type Prepared } from './cases/case.ts';
import type { Peer } from './peers/peer.ts';
import type { Row } from './results.ts';
import { repeatsFor, samplesFor, summarise, type Summary } from './statistics.ts';
import { reason, versusOwn, versusPeer } from './versus.ts';

export interface MeasureSettings {
  /** Timed samples, of which fewer are taken where they do not fit into the budget. */
  samples: number;
  budgetMs: number;
  peers?: readonly Peer[];
  /** Called before each part of the work, with what it is. */
  onStep?: (step: string) => void;
}

const LONG_ENOUGH_MS = 30;
const MOST_REPEATS = 200;
/** Input sets that are taken in turn hold this much together, which passes the caches of most devices. */
const ROTATED_BYTES = 128 * 2 ** 20;
const MOST_SETS = 64;

/** Input sets for a case whose one run touches so many bytes. */
export function setsFor(bytes: number): number {
  return Math.max(1, Math.min(MOST_SETS, Math.ceil(ROTATED_BYTES / Math.max(bytes, 1))));
}

type Highest = Pick<Ceilings, 'gflops' | 'copyGBps'>;

/** Rates of a row's time, which ceiling binds, and the share of it; a row that counts nothing has none. */
export function rates({ ms, flops, bytes }: Pick<Row, 'ms' | 'flops' | 'bytes'>, ceilings: Highest): Pick<Row, 'bound' | 'gflops' | 'gbps' | 'share'> {
  const bound = flops / (ceilings.gflops * 1e9) > bytes / (ceilings.copyGBps * 1e9) ? 'compute' : 'memory';
  if (ms === null || flops + bytes === 0) return { bound, gflops: null, gbps: null, share: null };
  const [gflops, gbps] = [flops / (ms * 1e6), bytes / (ms * 1e6)];
  return { bound, gflops, gbps, share: bound === 'compute' ? gflops / ceilings.gflops : gbps / ceilings.copyGBps };
}

/** The row of a case that was not measured. */
export function emptyRow(item: Case, ceilings: Highest): Row {
  return {
    group: item.group, kernel: item.kernel, shape: item.shape, ...(item.variant ? { variant: item.variant } : {}),
    ms: null, spread: null, least: null, most: null, samples: 0, ...rates({ ms: null, flops: item.flops, bytes: item.bytes }, ceilings), flops: item.flops, bytes: item.bytes,
    hostMs: null, firstUseMs: null, error: null, tolerance: item.tolerance ?? TOLERANCE, source: null, ...(item.note ? { note: item.note } : {}),
    figures: {}, peers: {}, against: {},
  };
}

/** Measures a case. What the adapter cannot hold is named as left out, any other failure as wrong; only what has a right result has a time. */
export async function measure(gpu: Gpu, item: Case, ceilings: Highest, settings: MeasureSettings): Promise<Row> {
  const row = emptyRow(item, ceilings);
  let prepared: Prepared | null = null;
  try {
    settings.onStep?.('preparing');
    prepared = await item.prepare(gpu, setsFor(item.bytes));
    await gpu.idle();
    const start = performance.now();
    await prepared.run(0);
    await gpu.idle();
    row.firstUseMs = performance.now() - start;
    settings.onStep?.('checking');
    const error = await prepared.error(await prepared.read());
    row.error = Number.isFinite(error) ? error : null;
    if (error <= row.tolerance) await timeRow(gpu, item, prepared, row, ceilings, settings);
    else row.wrong = `relative error ${error.toExponential(1)}, at most ${row.tolerance.toExponential(0)}`;
  } catch (error) {
    if (error instanceof DeviceLostError) throw error;
    if (error instanceof LimitError || error instanceof GpuOutOfMemoryError) row.skipped ??= reason(error);
    else row.wrong = reason(error);
    // What follows from a failure is no measurement.
    Object.assign(row, { ms: null, spread: null, least: null, most: null, samples: 0, ...rates({ ...row, ms: null }, ceilings) });
  }
  try {
    prepared?.dispose();
    await gpu.trim();
  } catch (error) {
    if (error instanceof DeviceLostError) throw error;
    row.wrong ??= reason(error);
  }
  return row;
}

/** Fills in everything that only a right result has. */
async function timeRow(gpu: Gpu, item: Case, prepared: Prepared, row: Row, ceilings: Highest, settings: MeasureSettings): Promise<void> {
  settings.onStep?.('timing');
  Object.assign(row, prepared.time ? await byItself(prepared.time, settings) : await onDevice(gpu, prepared, settings));
  Object.assign(row, rates(row, ceilings));
  if (prepared.figures) row.figures = await prepared.figures(row.ms!, ceilings);
  for (const [name, run] of Object.entries(prepared.against ?? {})) {
    settings.onStep?.(`against ${name}`);
    row.against[name] = await versusOwn(gpu, prepared, run, settings);
  }
  for (const peer of item.peerWork ? settings.peers ?? [] : []) {
    settings.onStep?.(`beside ${peer.name}`);
    row.peers[peer.name] = await versusPeer(gpu, item, prepared, peer, settings);
  }
}

type Timing = Summary & Pick<Row, 'hostMs' | 'source'>;

/** Runs recorded one after the other into one submit, by the device's timestamps where it has them. */
async function onDevice(gpu: Gpu, prepared: Prepared, { samples, budgetMs }: MeasureSettings): Promise<Timing> {
  let turn = 0;
  let hostMs = Infinity;
  const timed = (repeats: number) => gpu.time(() => {
    const start = performance.now();
    for (let r = 0; r < repeats; r++) void prepared.run(turn++);
    hostMs = Math.min(hostMs, (performance.now() - start) / repeats);
  });
  // The second run still grows the pool of buffers; by the third nothing is new.
  const { ms: once } = await timed(1);
  const repeats = repeatsFor(once, LONG_ENOUGH_MS, MOST_REPEATS);
  const times: number[] = [];
  let source: Row['source'] = 'wall';
  const count = samplesFor(once * repeats, samples, budgetMs);
  for (let i = 0; i < count; i++) {
    const sample = await timed(repeats);
    times.push(sample.ms / repeats);
    source = sample.source;
  }
  return { ...summarise(times), hostMs, source };
}

async function byItself(time: () => Promise<number>, { samples, budgetMs }: MeasureSettings): Promise<Timing> {
  const times = [await time()];
  for (const count = samplesFor(times[0]!, samples, budgetMs); times.length < count; ) times.push(await time());
  return { ...summarise(times), hostMs: null, source: 'wall' };
}
