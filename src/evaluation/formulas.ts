/**
 * The plain arithmetic of the three tests, free of tensors and devices. Every function takes numbers per prompt and gives one number.
 * Symbols: LD = logit(correct) - logit(incorrect) at the last position; weights as in section "weight removed" of control.ts.
 */

/** A score that may not exist, with the reason why. */
export interface Score {
  value: number | null;
  note: string | null;
}

/**
 * A ratio is undefined when its denominator is below this share of the mean clean logit difference: below it the quotient measures rounding
 * and sampling noise (per-site values up to 27 are on record for a score that should lie in [0, 1]).
 */
export const DENOMINATOR_GUARD = 0.01;

/** Arithmetic mean; NaN for no numbers. Summed in float64 in the order given. */
export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum / values.length;
}

/** Mean of the numbers that are not NaN, and how many were. */
export function meanIgnoringNaN(values: ArrayLike<number>): { mean: number; skipped: number } {
  let sum = 0;
  let used = 0;
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i]!)) continue;
    sum += values[i]!;
    used++;
  }
  return { mean: sum / used, skipped: values.length - used };
}

/** Population standard deviation. */
export function deviation(values: ArrayLike<number>): number {
  const centre = mean(values);
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i]! - centre) ** 2;
  return Math.sqrt(sum / values.length);
}

/** The `q`-quantile (0 to 1) by linear interpolation between order statistics; null for no numbers. */
export function quantile(values: ArrayLike<number>, q: number): number | null {
  if (values.length === 0) return null;
  const sorted = Float64Array.from(values).sort();
  const place = q * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.ceil(place);
  return sorted[below]! + (place - below) * (sorted[above]! - sorted[below]!);
}

/** How numbers are spread: what plots of them need. */
export interface Distribution {
  /** numbers that are counted; those that are NaN are not */
  count: number;
  mean: number | null;
  quantiles: { '0.05': number | null; '0.25': number | null; '0.5': number | null; '0.75': number | null; '0.95': number | null };
  /** bins of equal width from `low` to `high`; the first and the last take what lies outside */
  histogram: { low: number; high: number; counts: number[] };
}

/** Numbers that are NaN are left out. The upper end is the largest number unless given. */
export function distribution(values: ArrayLike<number>, { low = 0, high, bins = 20 }: { low?: number; high?: number; bins?: number } = {}): Distribution {
  const numbers = Array.from(values).filter((value) => !Number.isNaN(value));
  const top = high ?? numbers.reduce((most, value) => Math.max(most, value), low);
  const counts = new Array<number>(bins).fill(0);
  for (const value of numbers) {
    const bin = top > low ? Math.floor(((value - low) / (top - low)) * bins) : 0;
    counts[Math.min(bins - 1, Math.max(0, bin))]!++;
  }
  const at = (q: number) => quantile(numbers, q);
  return {
    count: numbers.length, mean: numbers.length > 0 ? mean(numbers) : null,
    quantiles: { '0.05': at(0.05), '0.25': at(0.25), '0.5': at(0.5), '0.75': at(0.75), '0.95': at(0.95) },
    histogram: { low, high: top, counts },
  };
}

/** Mean over prompts of |a - b|. */
export function meanAbsoluteDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  sameLength(a, b);
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += Math.abs(a[i]! - b[i]!);
  return sum / a.length;
}

/** Share of prompts whose predicted tokens agree: the edit accuracy of Test 2. */
export function agreement(a: ArrayLike<number>, b: ArrayLike<number>): number {
  sameLength(a, b);
  let same = 0;
  for (let i = 0; i < a.length; i++) if (a[i] === b[i]) same++;
  return same / a.length;
}

/** Share of `values` that are above zero. */
export function positiveShare(values: ArrayLike<number>): number {
  let positive = 0;
  for (let i = 0; i < values.length; i++) if (values[i]! > 0) positive++;
  return positive / values.length;
}

/**
 * Sufficiency: mean LD with reconstructions patched in / mean clean LD, a ratio of means (arXiv 2405.08366, figure 2). Best 1.
 * Null when |mean clean LD| is zero, or below the guard times the mean of |clean LD|, where a model has no preference to preserve.
 */
export function sufficiency(patched: ArrayLike<number>, clean: ArrayLike<number>): Score {
  sameLength(patched, clean);
  const denominator = mean(clean);
  const floor = DENOMINATOR_GUARD * mean(Array.from(clean, Math.abs));
  if (!(Math.abs(denominator) > floor)) {
    return { value: null, note: `the mean clean logit difference is ${denominator.toPrecision(3)}, too near zero to divide by` };
  }
  return { value: mean(patched) / denominator, note: null };
}

/**
 * Necessity: 1 - |LD_mean - LD_int| / |LD_mean - LD_clean| of mean logit differences, where LD_int replaces a by mean + (a - reconstruction)
 * (arXiv 2405.08366, A.3). 1 when what is left beside the reconstruction does nothing (LD_int = LD_mean); 0 when the reconstruction carried nothing.
 * Null when mean ablation changes the logit difference by less than the guard times |LD_clean|: there is no effect to be necessary for.
 */
export function necessity(intervened: ArrayLike<number>, meanAblated: ArrayLike<number>, clean: ArrayLike<number>): Score {
  sameLength(intervened, clean);
  sameLength(meanAblated, clean);
  const ablated = mean(meanAblated);
  const denominator = Math.abs(ablated - mean(clean));
  if (!(denominator > DENOMINATOR_GUARD * Math.abs(mean(clean)))) {
    return { value: null, note: `mean ablation changes the logit difference by only ${denominator.toPrecision(3)}, too little to divide by` };
  }
  return { value: 1 - Math.abs(ablated - mean(intervened)) / denominator, note: null };
}

/** Part of the way from no edit (0) to the supervised edit (1): the vertical axis of the paper's figure 4. Null when the two do not differ. */
export function relativeAccuracy(accuracy: number, noEdit: number, supervised: number): number | null {
  return Math.abs(supervised - noEdit) > DENOMINATOR_GUARD ? (accuracy - noEdit) / (supervised - noEdit) : null;
}

/** Part of the way from the supervised weight (0) to removing everything (1): the horizontal axis of the paper's figure 4. */
export function relativeWeight(weight: number, supervised: number): number | null {
  return Math.abs(1 - supervised) > DENOMINATOR_GUARD ? (weight - supervised) / (1 - supervised) : null;
}

export interface F1 {
  precision: number;
  recall: number;
  /** harmonic mean; -Infinity where precision or recall is 0/0, so that such a pair never wins */
  f1: number;
}

/**
 * F1 of a feature that is active on `active` prompts against a property that holds on `holds`, both on `both` of them.
 * F1 = a guarantees precision and recall of at least a / (2 - a).
 */
export function f1Score(both: number, active: number, holds: number): F1 {
  const precision = both / active;
  const recall = both / holds;
  if (Number.isNaN(precision) || Number.isNaN(recall)) return { precision, recall, f1: -Infinity };
  return { precision, recall, f1: (2 * both) / (active + holds) };
}

/** Statistics of the weights of features in reconstructions (section 5.5): share and mean of negative ones, share above 1. */
export function weightStatistics(weights: ArrayLike<number>): { negative: number; meanNegative: number | null; aboveOne: number } {
  let negative = 0;
  let negativeSum = 0;
  let aboveOne = 0;
  for (let i = 0; i < weights.length; i++) {
    if (weights[i]! < 0) {
      negative++;
      negativeSum += weights[i]!;
    }
    if (weights[i]! > 1) aboveOne++;
  }
  const total = Math.max(1, weights.length);
  return { negative: negative / total, meanNegative: negative > 0 ? negativeSum / negative : null, aboveOne: aboveOne / total };
}

function sameLength(a: ArrayLike<number>, b: ArrayLike<number>): void {
  if (a.length !== b.length) throw new RangeError(`numbers of ${a.length} prompts cannot be compared with those of ${b.length}`);
}

/** Spearman's rank correlation, equal values sharing the mean of their ranks; null for fewer than two pairs, or where one side is constant or holds NaN. */
export function spearman(a: ArrayLike<number>, b: ArrayLike<number>): number | null {
  sameLength(a, b);
  const [x, y] = [ranks(a), ranks(b)];
  const [centreX, centreY] = [mean(x), mean(y)];
  let [both, squaresX, squaresY] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    both += (x[i]! - centreX) * (y[i]! - centreY);
    squaresX += (x[i]! - centreX) ** 2;
    squaresY += (y[i]! - centreY) ** 2;
  }
  const value = both / Math.sqrt(squaresX * squaresY);
  return Number.isFinite(value) ? value : null;
}

/** Ranks from 1; NaN where a value is. */
function ranks(values: ArrayLike<number>): Float64Array {
  const order = Array.from({ length: values.length }, (_, i) => i).sort((a, b) => values[a]! - values[b]!);
  const out = new Float64Array(values.length);
  for (let start = 0; start < order.length;) {
    let end = start + 1;
    while (end < order.length && values[order[end]!] === values[order[start]!]) end++;
    for (let i = start; i < end; i++) out[order[i]!] = Number.isNaN(values[order[i]!]!) ? NaN : (start + 1 + end) / 2;
    start = end;
  }
  return out;
}
