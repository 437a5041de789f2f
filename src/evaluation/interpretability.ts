/**
 * Test 3: which property of the prompt does each feature stand for (arXiv 2405.08366, section 6 and A.12)?
 *
 * A feature is a detector of the property with the highest F1 between "the feature is active" and "the property holds". Properties here:
 *   A            one attribute has one value (S = "Mary", Pos = "ABB")
 *   A∧B          a many-valued attribute and a two-valued one together (S = "Mary" and Pos = "ABB")
 *   union of A   any of the 2 to 10 values with the best single F1, and union of A∧B the same with B held fixed; valid because the values of
 *                one attribute exclude each other, so that counts of a union are sums of counts
 * Supervised codes are scored the same way as SAEs: their features are the attribute values, active where the code is not zero.
 */
import type { Prompts } from '../task/index.ts';
import { f1Score, mean, quantile, type F1 } from './formulas.ts';
import type { InterpretabilityRow, Thresholds } from './results.ts';
import { UsageError } from '../errors.ts';

/** At most this many values in a union. */
export const UNION_LIMIT = 10;

/** One group of prompts per id: `ids[p]` is the group that prompt p falls into, `groups` how many there are. */
export interface Grouping {
  ids: Uint32Array;
  groups: number;
}

/** A kind of property. Its predicates exclude each other; predicate i holds exactly on group `firstGroup + i * groupStride` of grouping `grouping`. */
export interface PropertyKind {
  kind: string;
  labels: string[];
  grouping: number;
  firstGroup: number;
  groupStride: number;
  /** whether unions of predicates are properties too */
  unions: boolean;
}

/** Groupings of the prompts and the properties that are read from them. */
export interface Properties {
  groupings: Grouping[];
  kinds: PropertyKind[];
}

/** Properties of the prompts from their attributes alone: every single value, and many-valued ∧ two-valued pairs. */
export function propertiesOf(prompts: Prompts): Properties {
  const groupings: Grouping[] = [];
  const kinds: PropertyKind[] = [];
  const attributes = Object.entries(prompts.attributes);
  for (const [name, { values, ids }] of attributes) {
    kinds.push({
      kind: name, labels: values.map((value) => `${name}=${value}`), grouping: groupings.length, firstGroup: 0, groupStride: 1,
      unions: values.length > 2,
    });
    groupings.push({ ids, groups: values.length });
  }
  for (const [name, many] of attributes) {
    if (many.values.length <= 2) continue;
    for (const [otherName, other] of attributes) {
      const width = other.values.length;
      if (width !== 2) continue;
      for (let side = 0; side < width; side++) {
        kinds.push({
          kind: `${name}∧${otherName}`, labels: many.values.map((value) => `${name}=${value}∧${otherName}=${other.values[side]}`),
          grouping: groupings.length, firstGroup: side, groupStride: width, unions: true,
        });
      }
      groupings.push({ ids: many.ids.map((id, prompt) => id * width + other.ids[prompt]!), groups: many.values.length * width });
    }
  }
  return { groupings, kinds };
}

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

/** The property with the highest F1 for each feature that is active at all; the earliest property wins ties, a smaller union before a larger. */
export function interpretFeatures(properties: Properties, counts: ActiveCounts): Interpretation[] {
  const sizes = properties.groupings.map(groupSizes);
  const interpretations: Interpretation[] = [];
  for (let feature = 0; feature < counts.features; feature++) {
    const active = counts.active[feature]!;
    if (active === 0) continue;
    let best: Interpretation | null = null;
    for (const kind of properties.kinds) {
      const candidate = bestOfKind(kind, sizes[kind.grouping]!, counts.byGroup[kind.grouping]!, counts.features, feature, active);
      if (candidate && (best === null || candidate.f1 > best.f1)) best = candidate;
    }
    if (best) interpretations.push(best);
  }
  return interpretations;
}

function bestOfKind(kind: PropertyKind, sizes: Float64Array, table: ArrayLike<number>, features: number, feature: number, active: number): Interpretation | null {
  const singles: { index: number; both: number; holds: number; score: F1 }[] = [];
  for (let index = 0; index < kind.labels.length; index++) {
    const group = kind.firstGroup + index * kind.groupStride;
    const both = table[group * features + feature]!;
    const holds = sizes[group]!;
    const score = f1Score(both, active, holds);
    if (score.f1 > -Infinity) singles.push({ index, both, holds, score });
  }
  if (singles.length === 0) return null;
  singles.sort((a, b) => b.score.f1 - a.score.f1 || a.index - b.index);
  const first = singles[0]!;
  let best: Interpretation = { ...first.score, feature, active, kind: kind.kind, property: kind.labels[first.index]! };
  if (!kind.unions) return best;
  let both = first.both;
  let holds = first.holds;
  for (let size = 2; size <= Math.min(UNION_LIMIT, singles.length); size++) {
    both += singles[size - 1]!.both;
    holds += singles[size - 1]!.holds;
    const score = f1Score(both, active, holds);
    if (score.f1 <= best.f1) continue;
    const members = singles.slice(0, size).map((single) => kind.labels[single.index]!);
    best = { ...score, feature, active, kind: `union of ${kind.kind}`, property: members.join(' or ') };
  }
  return best;
}

/** Number of prompts in each group. */
export function groupSizes({ ids, groups }: Grouping): Float64Array {
  const sizes = new Float64Array(groups);
  for (const id of ids) sizes[id]!++;
  return sizes;
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
