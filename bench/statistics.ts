/** The few statistics that the benchmark needs. */

export interface Summary { ms: number; least: number; most: number; spread: number; samples: number }

/** Median, extremes and spread (half their distance, as a share of the median) of timed samples. */
export function summarise(times: readonly number[]): Summary {
  if (times.length === 0) throw new RangeError('no samples');
  const sorted = [...times].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const ms = sorted.length % 2 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
  const [least, most] = [sorted[0]!, sorted.at(-1)!];
  return { ms, least, most, spread: ms > 0 ? (most - least) / 2 / ms : 0, samples: sorted.length };
}

/** Runs to start in one timed sample so that it lasts long enough for the clock. */
export function repeatsFor(onceMs: number, longEnoughMs: number, most: number): number {
  return Math.max(1, Math.min(most, Math.ceil(longEnoughMs / Math.max(onceMs, 1e-6))));
}

/** Samples that fit into a budget: at most as many as wanted, at least three of what takes a second, two of what takes three, one of what takes longer. */
export function samplesFor(onceMs: number, wanted: number, budgetMs: number): number {
  const least = onceMs <= 1000 ? 3 : onceMs <= 3000 ? 2 : 1;
  return Math.min(wanted, Math.max(least, Math.floor(budgetMs / Math.max(onceMs, 1e-6))));
}
