/** Two ways to one result, timed in turns by the wall clock: ours and another engine's, or ours and another way of ours. */
import type { Gpu } from '../src/gpu/index.ts';
import { TOLERANCE, type Case, type Prepared } from './cases/case.ts';
import type { Peer, PeerRun } from './peers/peer.ts';
import type { Versus } from './results.ts';
import { repeatsFor, samplesFor, summarise, type Summary } from './statistics.ts';
import { CANNOT } from './table.ts';

/** One side of a comparison: work that is started, and a wait for all that was started. */
export interface Side {
  start(turn: number): void | Promise<void>;
  done(): Promise<void>;
}

export interface VersusSettings { samples: number; budgetMs: number; now?: () => number }

const LONG_ENOUGH_MS = 30;
const MOST_REPEATS = 50;
/** A peer may be this much less exact than we must be: other orders of summation and approximations are no mistakes. */
const PEER_TOLERANCE = 1e-3;

/** Samples of both sides in the order A B A B …, each of several runs started one after the other and then waited for. */
export async function inAlternation(a: Side, b: Side, { samples, budgetMs, now = () => performance.now() }: VersusSettings): Promise<{ a: Summary; b: Summary }> {
  const timed = async (side: Side, repeats: number): Promise<number> => {
    const start = now();
    for (let turn = 0; turn < repeats; turn++) {
      const started = side.start(turn);
      // Waiting for what is no promise would hand the turn to others.
      if (started) await started;
    }
    await side.done();
    return (now() - start) / repeats;
  };
  const [onceA, onceB] = [await timed(a, 1), await timed(b, 1)];
  const affordable = Math.max(1, Math.floor(budgetMs / (onceA + onceB) / 3));
  const repeats = Math.min(affordable, repeatsFor(Math.min(onceA, onceB), LONG_ENOUGH_MS, MOST_REPEATS));
  const rounds = samplesFor((onceA + onceB) * repeats, samples, budgetMs);
  const [timesA, timesB]: [number[], number[]] = [[], []];
  for (let round = 0; round < rounds; round++) {
    timesA.push(await timed(a, repeats));
    timesB.push(await timed(b, repeats));
  }
  return { a: summarise(timesA), b: summarise(timesB) };
}

/** Our side of a comparison. With transfers it uploads and reads back as many bytes at every run as the other must. */
export function ourSide(gpu: Gpu, prepared: Pick<Prepared, 'run'>, transfers: PeerRun['transfers']): Side & { dispose(): void } {
  if (!transfers) return { start: () => prepared.run(0), done: () => gpu.idle(), dispose() {} };
  const { upload, download } = transfers;
  const [up, down] = [gpu.allocate(Math.max(4, upload), true), gpu.allocate(Math.max(4, download))];
  const data = new Uint8Array(Math.ceil(upload / 4) * 4);
  const slice = (storage: typeof up, byteLength: number) => ({ storage, byteOffset: 0, byteLength });
  return {
    async start() {
      gpu.upload(slice(up, data.length), data);
      prepared.run(0);
      await gpu.download(slice(down, download), Math.ceil(download / 4) * 4);
    },
    done: () => gpu.idle(),
    dispose() {
      gpu.release(up);
      gpu.release(down);
    },
  };
}

const NOTHING: Versus = { ms: null, spread: null, ours: null, oursSpread: null, ratio: null, transfers: null, error: null, firstUseMs: null };

function figures(ours: Summary, theirs: Summary): Pick<Versus, 'ms' | 'spread' | 'ours' | 'oursSpread' | 'ratio'> {
  return { ms: theirs.ms, spread: theirs.spread, ours: ours.ms, oursSpread: ours.spread, ratio: theirs.ms / ours.ms };
}

/** A peer at a case: its result checked, then timed in turns with ours. Whatever goes wrong with it is named in the outcome; nothing is thrown. */
export async function versusPeer(gpu: Gpu, item: Case, prepared: Prepared, peer: Peer, settings: VersusSettings): Promise<Versus> {
  const outcome = await comparePeer(gpu, item, prepared, peer, settings);
  try {
    // A peer may share our device, and what it got refused there would be reported as a fault of the next row.
    await gpu.idle();
  } catch (error) {
    return outcome.skipped ? outcome : { ...NOTHING, skipped: reason(error) };
  }
  return outcome;
}

async function comparePeer(gpu: Gpu, item: Case, prepared: Prepared, peer: Peer, settings: VersusSettings): Promise<Versus> {
  let run: PeerRun | null = null;
  try {
    const work = await item.peerWork!(gpu);
    const start = performance.now();
    run = await peer.prepare(work);
    if (!run) return { ...NOTHING, skipped: CANNOT };
    await run.run();
    await run.done();
    const firstUseMs = performance.now() - start;
    const error = await prepared.error(await run.read());
    const known = { ...NOTHING, transfers: run.transfers, error: Number.isFinite(error) ? error : null, firstUseMs };
    if (!(error <= Math.max(PEER_TOLERANCE, item.tolerance ?? TOLERANCE))) return { ...known, skipped: `wrong result: relative error ${error.toExponential(1)}` };
    const ours = ourSide(gpu, prepared, run.transfers);
    try {
      const theirs: Side = { start: () => run!.run(), done: () => run!.done() };
      const { a, b } = await inAlternation(ours, theirs, settings);
      return { ...known, ...figures(a, b), ...(run.note ? { note: run.note } : {}) };
    } finally {
      ours.dispose();
    }
  } catch (error) {
    return { ...NOTHING, skipped: reason(error) };
  } finally {
    try {
      await run?.dispose();
    } catch { /* its result stands */ }
  }
}

/** Another way of this engine to the same result. */
export async function versusOwn(gpu: Gpu, prepared: Prepared, run: () => void, settings: VersusSettings): Promise<Versus> {
  const start = performance.now();
  run();
  await gpu.idle();
  const firstUseMs = performance.now() - start;
  const { a, b } = await inAlternation(ourSide(gpu, prepared, null), { start: run, done: () => gpu.idle() }, settings);
  return { ...NOTHING, firstUseMs, ...figures(a, b) };
}

/** The first line of what was thrown, cut to a length that fits a table's footnote. */
export function reason(error: unknown): string {
  const text = (error instanceof Error ? error.message || error.name : String(error)).trim().split('\n')[0]!.trim();
  return text.length > 160 ? `${text.slice(0, 159)}…` : text || 'unknown error';
}
