/**
 * Choosing among candidates by timing: successive halving, then a duel of the best with the default. Pure: the clock and the work come
 * from the caller.
 *
 * Machines drift (clocks, other programs), so no time is compared with one taken much earlier: every few candidates the default is
 * timed anew, and what counts is the ratio to it. The rounds that pick the finalists are biased towards those that were lucky; the final
 * therefore takes samples of its own, in pairs with the default.
 */
import { summarise } from './statistics.ts';

export interface SearchOptions<C> {
  /** Milliseconds of one sample of a candidate; null stands for the default. */
  time(candidate: C | null): Promise<number>;
  /** Asked before each sample; false ends the search with what it knows. */
  mayGoOn(): boolean;
}

export interface Finding<C> { winner: C; ms: number; defaultMs: number }

/** What a winner must save at least, as a share of the default's time: pays for a pipeline of its own. */
export const MARGIN = 0.03;
/** Pairs of the final, and the least to judge by. */
const FINAL_PAIRS = 9;
const LEAST_PAIRS = 5;
const FINALISTS = 2;
/** Candidates that share one sample of the default. */
const BESIDE_ONE_DEFAULT = 3;
/** A candidate that is so much slower than the default even at its best is not worth another sample. */
const HOPELESS = 1.3;

/** The candidate that beats the default by more than the noise, or null. Candidates of equal merit are taken in their order. */
export async function search<C>(candidates: readonly C[], options: SearchOptions<C>): Promise<Finding<C> | null> {
  let field = candidates.map((candidate) => ({ candidate, ratios: [] as number[] }));
  for (let passes = 1; field.length > FINALISTS; passes *= 2) {
    for (let pass = 0; pass < passes; pass++) {
      let beside = 0;
      for (const [at, entry] of field.entries()) {
        if (at % BESIDE_ONE_DEFAULT === 0) {
          if (!options.mayGoOn()) return null;
          beside = await options.time(null);
        }
        if (!options.mayGoOn()) return null;
        entry.ratios.push(await options.time(entry.candidate) / beside);
      }
    }
    field = field.filter(({ ratios }) => Math.min(...ratios) < HOPELESS)
      .sort((a, b) => median(a.ratios) - median(b.ratios)).slice(0, Math.max(FINALISTS, Math.ceil(field.length / 2)));
  }
  return final(field.map((entry) => entry.candidate), options);
}

async function final<C>(finalists: readonly C[], { time, mayGoOn }: SearchOptions<C>): Promise<Finding<C> | null> {
  if (finalists.length === 0) return null;
  const defaults: number[] = [];
  const times = finalists.map(() => [] as number[]);
  for (let pair = 0; pair < FINAL_PAIRS; pair++) {
    // Turns about, so that whatever follows from the order strikes all alike.
    const order = [-1, ...finalists.keys()];
    if (pair % 2) order.reverse();
    const round = new Map<number, number>();
    for (const at of order) {
      if (!mayGoOn()) return judge(finalists, defaults, times);
      round.set(at, await time(at < 0 ? null : finalists[at]!));
    }
    defaults.push(round.get(-1)!);
    for (const at of finalists.keys()) times[at]!.push(round.get(at)!);
  }
  return judge(finalists, defaults, times);
}

function judge<C>(finalists: readonly C[], defaults: readonly number[], times: readonly (readonly number[])[]): Finding<C> | null {
  let best: { at: number; ratio: number } | null = null;
  for (const [at, own] of times.entries()) {
    const { ratio, surelyBelow } = compare(own, defaults);
    if (surelyBelow < 1 - MARGIN && (!best || ratio < best.ratio)) best = { at, ratio };
  }
  return best && { winner: finalists[best.at]!, ms: median(times[best.at]!), defaultMs: median(defaults) };
}

/**
 * The median ratio of paired samples, and what it lies below but for chance: the median of the logarithms plus two standard errors,
 * taken as 1.2533 · 1.4826 · MAD / √n (median of a normal sample; MAD: median absolute deviation). Infinity of too few pairs.
 */
export function compare(times: readonly number[], defaults: readonly number[]): { ratio: number; surelyBelow: number } {
  const logs = times.map((ms, i) => Math.log(ms / defaults[i]!));
  if (logs.length === 0) return { ratio: Infinity, surelyBelow: Infinity };
  const middle = median(logs);
  const deviation = median(logs.map((x) => Math.abs(x - middle)));
  const error = 1.2533 * 1.4826 * deviation / Math.sqrt(logs.length);
  return { ratio: Math.exp(middle), surelyBelow: logs.length < LEAST_PAIRS ? Infinity : Math.exp(middle + 2 * error) };
}

function median(values: readonly number[]): number {
  return summarise(values).ms;
}
