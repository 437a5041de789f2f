/**
 * Test 3: which property of the prompt does each feature stand for (arXiv 2405.08366, section 6 and A.12)?
 *
 * A feature is a detector of the property with the highest F1 between "the feature is active" and "the property holds". Which properties there are
 * stands in predicates.ts: single values, values at a place, and unions of the m values with the best single F1 of one kind, for every m up to a
 * limit. Where the values of a kind exclude each other, counts of a union are sums of counts; where two can hold at once (a name anywhere in
 * the sentence) unions are counted prompt by prompt (interpreter.ts).
 * Supervised codes are scored the same way as SAEs: their features are the attribute values, active where the code is not zero.
 */
import type { Prompts } from '../task/index.ts';
import { f1Score, mean, quantile, type F1 } from './formulas.ts';
import { groupSizes, type Properties, type PropertyKind } from './predicates.ts';
import type { InterpretabilityRow, Thresholds } from './results.ts';
import { UsageError } from '../errors.ts';

export { groupSizes, propertiesOf, type Grouping, type Properties, type PropertyKind } from './predicates.ts';

/** At most this many values in a union, unless told. */
export const UNION_LIMIT = 10;
/** The same for features of dictionaries of a whole language (arXiv 2405.08366, A.12). */
export const TEXT_UNION_LIMIT = 30;

/**
 * Refuses prompts on which some value never occurs: its recall would be 0/0, and a ranking of features for it arbitrary (the trap of the
 * released code, whose counterfactual names are absent from the prompts it ranks on).
 */
export function assertEveryValue(prompts: Prompts): void {
  for (const [name, value] of missingValues(prompts)) {
    throw new UsageError(`${name}=${value} occurs in none of the ${prompts.count} prompts that features are interpreted on; use more prompts`);
  }
}

/** Pairs of attribute and value that occur in none of the prompts. */
export function missingValues(prompts: Prompts): [attribute: string, value: string][] {
  return Object.entries(prompts.attributes).flatMap(([name, { values, ids }]) => {
    const present = new Set(ids);
    return values.flatMap((value, id): [string, string][] => (present.has(id) ? [] : [[name, value]]));
  });
}

/** How often each feature is active in each group. */
export interface ActiveCounts {
  /** number of features */
  features: number;
  /** per feature, over all prompts: [features] */
  active: ArrayLike<number>;
  /** per grouping: [groups * features], row-major */
  byGroup: ArrayLike<number>[];
}

/** The best interpretation of one feature. */
export interface Interpretation extends F1 {
  feature: number;
  active: number;
  kind: string;
  property: string;
}

/** Unions of one kind whose predicates may overlap; they join in the order of `bestPredicates`. */
export interface UnionCounts {
  /** prompts where the feature is active and one of its first m + 1 predicates holds: [limit * features] */
  both: ArrayLike<number>;
  /** prompts where one of its first m + 1 predicates holds: [features * limit] */
  holds: ArrayLike<number>;
}

export interface InterpretOptions {
  /** Most values in a union; UNION_LIMIT unless told. */
  unionLimit?: number;
  /** Counts of unions of kinds whose predicates overlap; such kinds have no unions without. */
  overlapping?: ReadonlyMap<PropertyKind, UnionCounts>;
}

/** How often each predicate of a kind holds, and holds where each feature is active. */
export interface KindCounts {
  kind: PropertyKind;
  /** [predicates] */
  holds: Float64Array;
  /** [predicates * features] */
  both: Float32Array;
}

/** Counts of all predicates of one kind, from counts by group. */
export function kindCounts(properties: Properties, kind: PropertyKind, { features, byGroup }: ActiveCounts): KindCounts {
  const places = properties.groupings.flatMap(({ groups }, grouping) => Array.from({ length: groups }, (_, group) => ({ grouping, group })));
  const sizes = properties.groupings.map(groupSizes);
  const holds = new Float64Array(kind.labels.length);
  const both = new Float32Array(kind.labels.length * features);
  kind.members.forEach((members, predicate) => {
    for (const member of members) {
      const { grouping, group } = places[member]!;
      holds[predicate]! += sizes[grouping]![group]!;
      const table = byGroup[grouping]!;
      for (let f = 0; f < features; f++) both[predicate * features + f]! += table[group * features + f]!;
    }
  });
  return { kind, holds, both };
}

/**
 * A feature's predicates by falling F1, the earlier first among equals, written to `order`; at most as many as fit, and only those that hold
 * somewhere where the feature is active: others lower the F1 of any union. Returns how many there are.
 */
export function bestPredicates({ holds, both }: KindCounts, features: number, feature: number, active: number, order: Uint32Array, scores: Float64Array): number {
  const limit = scores.length;
  let found = 0;
  for (let predicate = 0; predicate < holds.length; predicate++) {
    const shared = both[predicate * features + feature]!;
    if (shared === 0) continue;
    const f1 = (2 * shared) / (active + holds[predicate]!);
    if (found === limit && f1 <= scores[limit - 1]!) continue;
    let at = found < limit ? found++ : limit - 1;
    for (; at > 0 && scores[at - 1]! < f1; at--) {
      scores[at] = scores[at - 1]!;
      order[at] = order[at - 1]!;
    }
    scores[at] = f1;
    order[at] = predicate;
  }
  return found;
}

/**
 * The property with the highest F1 for each feature that is active at all; the earliest kind wins ties, a smaller union before a larger. Features that
 * no property ever meets have none.
 */
export function interpretFeatures(properties: Properties, counts: ActiveCounts, options: InterpretOptions = {}): Interpretation[] {
  const { features } = counts;
  const best = new Array<Candidate | null>(features).fill(null);
  for (const kind of properties.kinds) {
    const table = kindCounts(properties, kind, counts);
    const search = new KindSearch(table, counts, options);
    for (let feature = 0; feature < features; feature++) {
      if (counts.active[feature]! === 0) continue;
      const candidate = search.best(feature);
      if (candidate && candidate.f1 > (best[feature]?.f1 ?? -Infinity)) best[feature] = candidate;
    }
  }
  return best.flatMap((candidate, feature): Interpretation[] => {
    if (!candidate) return [];
    const active = counts.active[feature]!;
    const { kind, predicates, both, holds } = candidate;
    const property = predicates.map((predicate) => kind.labels[predicate]!).join(' or ');
    return [{ ...f1Score(both, active, holds), feature, active, kind: predicates.length > 1 ? `union of ${kind.kind}` : kind.kind, property }];
  });
}

interface Candidate { kind: PropertyKind; predicates: number[]; f1: number; both: number; holds: number }

/** The best property of one kind, feature by feature. */
class KindSearch {
  private readonly table: KindCounts;
  private readonly counts: ActiveCounts;
  private readonly overlap: UnionCounts | null;
  private readonly order: Uint32Array;
  private readonly scores: Float64Array;

  constructor(table: KindCounts, counts: ActiveCounts, { unionLimit = UNION_LIMIT, overlapping }: InterpretOptions) {
    const { unions } = table.kind;
    this.table = table;
    this.counts = counts;
    this.overlap = overlapping?.get(table.kind) ?? null;
    const limit = unions === 'exclusive' || this.overlap ? unionLimit : 1;
    this.order = new Uint32Array(limit);
    this.scores = new Float64Array(limit);
  }

  best(feature: number): Candidate | null {
    const { table: { kind, holds, both }, counts: { features }, order, overlap } = this;
    const active = this.counts.active[feature]!;
    const found = bestPredicates(this.table, features, feature, active, order, this.scores);
    if (found === 0) return null;
    let size = 1;
    let best = { f1: this.scores[0]!, both: both[order[0]! * features + feature]!, holds: holds[order[0]!]! };
    let union = best;
    for (let m = 1; m < found; m++) {
      const shared = overlap ? overlap.both[m * features + feature]! : union.both + both[order[m]! * features + feature]!;
      const held = overlap ? overlap.holds[feature * order.length + m]! : union.holds + holds[order[m]!]!;
      union = { f1: (2 * shared) / (active + held), both: shared, holds: held };
      if (union.f1 <= best.f1) continue;
      best = union;
      size = m + 1;
    }
    return { kind, predicates: [...order.subarray(0, size)], ...best };
  }
}

/** One row of results.json from the interpretations of a dictionary's features. `prompts` is how many the counts are over. */
export function interpretabilityRow(
  where: { site: string; dictionary: string }, counts: ActiveCounts, interpretations: Interpretation[], prompts: number,
): InterpretabilityRow {
  const byProperty: Record<string, Thresholds> = {};
  const interpretable = noneAbove();
  const bins = new Array<number>(20).fill(0);
  for (const { kind, f1 } of interpretations) {
    const own = (byProperty[kind] ??= noneAbove());
    for (const threshold of ['0.5', '0.6', '0.8'] as const) {
      if (f1 < Number(threshold)) continue;
      interpretable[threshold]++;
      own[threshold]++;
    }
    const bin = Math.min(19, Math.floor(f1 * 20));
    bins[bin] = bins[bin]! + 1;
  }
  const scores = interpretations.map(({ f1 }) => f1);
  const byScore = [...interpretations].sort((a, b) => b.f1 - a.f1 || b.active - a.active || a.feature - b.feature);
  let activeTotal = 0;
  for (let feature = 0; feature < counts.features; feature++) activeTotal += counts.active[feature]!;
  return {
    ...where,
    features: counts.features,
    alive: interpretations.length,
    interpretable,
    byProperty: Object.fromEntries(Object.entries(byProperty).sort(([a], [b]) => (a < b ? -1 : 1))),
    f1: { bins, mean: scores.length > 0 ? mean(scores) : null, median: quantile(scores, 0.5), percentile90: quantile(scores, 0.9) },
    best: byScore.slice(0, 10).map(({ feature, property, kind, f1, precision, recall, active }) => ({ feature, property, kind, f1, precision, recall, active })),
    activePerPrompt: activeTotal / prompts,
  };
}

function noneAbove(): Thresholds {
  return { '0.5': 0, '0.6': 0, '0.8': 0 };
}
