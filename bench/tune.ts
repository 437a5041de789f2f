/**
 * `bench --tune`: searches the constants of kernels on this adapter, within a budget of time, and writes what beats the defaults as a
 * small JSON file for `openGpu({ tuning })`.
 *
 * Every class of shapes gets an equal share of the time that is left. A candidate is first run into an output filled with nonsense and
 * compared with the default's result; only what is right is timed. Candidates are tried through `gpu.tuning`, the very way that the
 * file's choices take later.
 */
import { DeviceLostError, GpuOutOfMemoryError, LimitError } from '../src/errors.ts';
import { NO_TUNING, tuningFile, type Choice, type Gpu, type TuningFile } from '../src/gpu/index.ts';
import { fill, sub, sumSquaresRows, type Tensor } from '../src/tensor/index.ts';
import { repeatsFor } from './statistics.ts';
import { search } from './tune-search.ts';
import { reason } from './versus.ts';

export interface TuneCase {
  /** The operation and the class, as a tuning file names them. */
  operation: string;
  name: string;
  /** For people. */
  shape: string;
  /** In a settled order; without the default. */
  candidates: readonly Choice[];
  prepare(gpu: Gpu): TuneWork;
}

export interface TuneWork {
  /** Records one run into `out`, on input set `turn` modulo their number: what the planner chooses, with what `gpu.tuning` says. */
  run(turn: number): void;
  out: Tensor;
  dispose(): void;
}

export interface TuneOptions {
  cases: readonly TuneCase[];
  /** The whole search ends within this many seconds, but for the run that is under way. */
  seconds: number;
  /** Ends the search with what it has found. */
  signal?: AbortSignal;
  /** Milliseconds of what `fn` records; by the device's clock if not given. */
  time?(gpu: Gpu, fn: () => void): Promise<number>;
  onStep?(at: number, total: number, what: string): void;
  onRow?(row: TuneRow): void;
}

/** What was found for one class of shapes. */
export interface TuneRow {
  operation: string;
  /** The class, and the shape that stood for it. */
  name: string;
  shape: string;
  candidates: number;
  /** The candidate that replaces the default; null where the default stays. */
  choice: Choice | null;
  ms: number;
  defaultMs: number;
  /** Candidates with a wrong result or none, each with the reason; also a default that fails. */
  wrong: string[];
  /** Why nothing could be compared. */
  skipped?: string;
}

export interface TuneResult { file: TuningFile; rows: TuneRow[]; interrupted: boolean; seconds: number }

const TOLERANCE = 1e-5;
/** No result of inputs between −1 and 1 comes near it. */
const NONSENSE = 1e30;
const LONG_ENOUGH_MS = 8;
const MOST_REPEATS = 100;
/** A candidate whose single run takes so many times the default's is dropped at once. */
const FAR_SLOWER = 3;
/** Share of a class's time for compiling and checking; candidates that are not reached by then are left out. */
const CHECKING = 0.6;
/** Less time than this for a class is not worth its inputs. */
const LEAST_CLASS_MS = 500;

/** Searches; a single class that fails is named in its row. Leaves the device with its defaults. Throws DeviceLostError. */
export async function tune(gpu: Gpu, options: TuneOptions): Promise<TuneResult> {
  const { cases, seconds, signal } = options;
  const started = performance.now();
  const end = started + seconds * 1000;
  const rows: TuneRow[] = [];
  const choices: TuningFile['choices'] = {};
  try {
    for (const [at, item] of cases.entries()) {
      if (signal?.aborted) break;
      const left = end - performance.now();
      const deadline = performance.now() + left / (cases.length - at);
      options.onStep?.(at, cases.length, `${item.operation} ${item.shape}`);
      const row = deadline - performance.now() < LEAST_CLASS_MS ? { ...rowOf(item), skipped: 'no time was left' } : await tuneClass(gpu, item, deadline, options);
      rows.push(row);
      options.onRow?.(row);
      if (row.choice) (choices[item.operation] ??= {})[item.name] = { ...row.choice, ms: rounded(row.ms), defaultMs: rounded(row.defaultMs) };
    }
  } finally {
    gpu.tuning = NO_TUNING;
  }
  const operations = [...new Set(cases.map((item) => item.operation))];
  const file = await tuningFile(gpu, operations, choices, new Date().toISOString());
  return { file, rows, interrupted: signal?.aborted ?? false, seconds: (performance.now() - started) / 1000 };
}

function rowOf(item: TuneCase): TuneRow {
  return { operation: item.operation, name: item.name, shape: item.shape, candidates: item.candidates.length, choice: null, ms: 0, defaultMs: 0, wrong: [] };
}

const byDevice = async (gpu: Gpu, fn: () => void): Promise<number> => (await gpu.time(fn)).ms;

async function tuneClass(gpu: Gpu, item: TuneCase, deadline: number, { signal, time = byDevice }: TuneOptions): Promise<TuneRow> {
  const row = rowOf(item);
  let work: TuneWork | null = null;
  const use = (choice: Choice | null): void => {
    gpu.tuning = choice ? { used: true, choices: { [item.operation]: { [item.name]: choice } } } : NO_TUNING;
  };
  let longest = 0;
  let ended = false;
  const mayGoOn = (): boolean => !(ended ||= signal?.aborted || performance.now() + longest > deadline);
  let turn = 0;
  const sample = async (choice: Choice | null, repeats: number): Promise<number> => {
    use(choice);
    const start = performance.now();
    const ms = await time(gpu, () => { for (let r = 0; r < repeats; r++) work!.run(turn++); });
    longest = Math.max(longest, performance.now() - start);
    return ms / repeats;
  };
  try {
    use(null);
    work = item.prepare(gpu);
    const expected = await resultOf(work);
    try {
      const once = Math.min(await sample(null, 1), await sample(null, 1));
      const right: Choice[] = [];
      const checked = performance.now() + CHECKING * (deadline - performance.now());
      for (const candidate of item.candidates) {
        if (!mayGoOn() || performance.now() > checked) break;
        use(candidate);
        const wrong = await whatIsWrong(work, expected);
        if (wrong) row.wrong.push(`${nameOf(candidate)}: ${wrong}`);
        else if (await sample(candidate, 1) < FAR_SLOWER * once) right.push(candidate);
      }
      const repeats = repeatsFor(once, LONG_ENOUGH_MS, MOST_REPEATS);
      longest = 0;
      const found = await search(right, { mayGoOn, time: (candidate) => sample(candidate, repeats) });
      if (found) Object.assign(row, { choice: found.winner, ms: found.ms, defaultMs: found.defaultMs });
      else if (ended) row.skipped = signal?.aborted ? 'interrupted' : 'its time was up';
    } finally {
      expected.dispose();
    }
  } catch (error) {
    if (error instanceof DeviceLostError) throw error;
    row.skipped = reason(error);
    if (!(error instanceof LimitError || error instanceof GpuOutOfMemoryError)) row.wrong.push(`the default: ${row.skipped}`);
  } finally {
    work?.dispose();
    await gpu.trim();
  }
  return row;
}

/** The result of a run on the first input set, in a tensor of its own. */
async function resultOf(work: TuneWork): Promise<Tensor> {
  fill(work.out, NONSENSE);
  work.run(0);
  const result = work.out.clone();
  try {
    await work.out.gpu.idle();
  } catch (error) {
    result.dispose();
    throw error;
  }
  return result;
}

/** How a candidate's result differs from the expected one, or the error that it ends in; null if it is right. */
async function whatIsWrong(work: TuneWork, expected: Tensor): Promise<string | null> {
  try {
    const result = await resultOf(work);
    const error = await relativeError(result, expected).finally(() => result.dispose());
    return error <= TOLERANCE ? null : `relative error ${error.toExponential(1)}`;
  } catch (error) {
    if (error instanceof DeviceLostError) throw error;
    return reason(error);
  }
}

/** ‖x − expected‖ / ‖expected‖, computed on the device, where large results stay; NaN where x has no numbers. */
async function relativeError(x: Tensor, expected: Tensor): Promise<number> {
  const sums = await x.gpu.scope(async () => {
    const parts = [sumSquaresRows(sub(x, expected)), sumSquaresRows(expected)];
    const rows = await Promise.all(parts.map((part) => part.read()));
    return rows.map((values) => values.reduce((sum, value) => sum + value, 0));
  });
  return Math.sqrt(sums[0]!) / Math.sqrt(sums[1]!);
}

export function nameOf({ variant, constants }: Choice): string {
  return [variant, ...Object.entries(constants).map(([name, value]) => `${name}=${value}`)].join(' ');
}

function rounded(value: number): number {
  return Number(value.toPrecision(4));
}
