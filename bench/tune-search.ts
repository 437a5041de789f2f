/**
 * Choosing among candidates by timing: successive halving, then a duel of the best with the default. Pure: the clock and the work come
 * from the caller.
 *
 * Other programs and changing clocks make samples longer, now and then by twice, and never shorter than the work takes. So rounds go by
 * the least of equally many samples, taken in turns, forth and back. That favours who was lucky; the final therefore takes samples of its
 * own, in turns with the default's, and asks for a rank that luck hardly gives.
 */
export interface SearchOptions<C> {
  /** Milliseconds of one sample of a candidate; null stands for the default. */
  time(candidate: C | null): Promise<number>;
  /** Asked before each sample; false ends the search with what it knows. */
  mayGoOn(): boolean;
}

/** Times are the least of the final's samples. */
export interface Finding<C> { winner: C; ms: number; defaultMs: number }

/** What a winner must save at least, as a share of the default's time: pays for a pipeline of its own. */
export const MARGIN = 0.03;
/** Turns of the final, and samples of the winner that must lie below all of the default's. */
const FINAL_TURNS = 12;
const BELOW_ALL = 5;
const FINALISTS = 2;
/** A candidate whose least sample is so many times the default's is not worth another; less may be bad luck. */
const HOPELESS = 2;

/** The candidate that beats the default by more than the noise, or null. Candidates of equal merit are taken in their order. */
export async function search<C>(candidates: readonly C[], options: SearchOptions<C>): Promise<Finding<C> | null> {
  let field = [...candidates];
  const least = new Map<C | null, number>();
  while (field.length > FINALISTS) {
    for (const order of [[null, ...field], [...[...field].reverse(), null]]) {
      for (const candidate of order) {
        if (!options.mayGoOn()) return null;
        least.set(candidate, Math.min(least.get(candidate) ?? Infinity, await options.time(candidate)));
      }
    }
    const worthy = field.filter((candidate) => least.get(candidate)! < HOPELESS * least.get(null)!);
    field = worthy.sort((a, b) => least.get(a)! - least.get(b)!).slice(0, Math.max(FINALISTS, Math.ceil(field.length / 2)));
  }
  return final(field, options);
}

async function final<C>(finalists: readonly C[], { time, mayGoOn }: SearchOptions<C>): Promise<Finding<C> | null> {
  const defaults: number[] = [];
  const times = finalists.map(() => [] as number[]);
  for (let turn = 0; turn < FINAL_TURNS && finalists.length > 0; turn++) {
    const order = [-1, ...finalists.keys()];
    if (turn % 2) order.reverse();
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
  const defaultMs = Math.min(...defaults);
  let best: Finding<C> | null = null;
  for (const [at, own] of times.entries()) {
    const ms = Math.min(...own);
    if (surelyQuicker(own, defaults) && (!best || ms < best.ms)) best = { winner: finalists[at]!, ms, defaultMs };
  }
  return best;
}

/**
 * Whether five samples, the margin added, are below every sample of the default. Of two that are equally quick, with 12 samples each in any
 * order, the five least are all the one's in 12·11·10·9·8 / (24·23·22·21·20) = 2 % of cases, margin aside; with 5 each, in 0.4 %.
 */
export function surelyQuicker(times: readonly number[], defaults: readonly number[]): boolean {
  const below = (1 - MARGIN) * Math.min(...defaults);
  return times.filter((ms) => ms < below).length >= BELOW_ALL;
}
