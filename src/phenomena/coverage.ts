/** Which values of an attribute have a feature of their own: best F1 between "the feature is active" and "the attribute has the value". */
import type { Dictionary, Examples } from '../dictionary/index.ts';
import { countActive, f1Score, placeGroupings, type PlacedGrouping } from '../evaluation/index.ts';
import type { Gpu } from '../gpu/index.ts';

/** An attribute of some examples: `ids[example]` is its value, of `values`. */
export interface Labels {
  ids: Uint32Array;
  values: number;
}

/** How often features are active where an attribute has each value. */
export interface ValueCounts {
  features: number;
  /** [features], over all examples */
  active: ArrayLike<number>;
  /** [values * features], row-major */
  both: ArrayLike<number>;
  /** [values], examples that have the value */
  holds: ArrayLike<number>;
}

/** Labels as the GPU reads them, for many dictionaries over the same examples. The caller disposes them. */
export class LabelledExamples {
  private readonly labels: readonly Labels[];
  private readonly placed: readonly PlacedGrouping[];
  readonly examples: Examples;

  constructor(gpu: Gpu, examples: Examples, labels: readonly Labels[]) {
    this.examples = examples;
    this.labels = labels;
    this.placed = placeGroupings(gpu, labels.map(({ ids, values }) => ({ ids, groups: values })));
    for (const { order, starts } of this.placed) {
      gpu.keep(order);
      gpu.keep(starts);
    }
  }

  /** Counts of one dictionary for each labelling, in their order. */
  async count(dictionary: Dictionary): Promise<ValueCounts[]> {
    const codes = dictionary.encode(this.examples);
    const { features, active, byGroup } = await countActive(codes, this.placed);
    codes.dispose();
    return this.labels.map((labels, i) => ({ features, active, both: byGroup[i]!, holds: holdsOf(labels) }));
  }

  dispose(): void {
    for (const { order, starts } of this.placed) {
      order.dispose();
      starts.dispose();
    }
  }
}

/** Examples that have each value. */
export function holdsOf({ ids, values }: Labels): Float64Array {
  const holds = new Float64Array(values);
  for (const id of ids) holds[id]!++;
  return holds;
}

/** For each value the largest F1 of any feature; −Infinity for a value that no example has, or where no feature is ever active. */
export function bestF1({ features, active, both, holds }: ValueCounts): Float64Array {
  return Float64Array.from({ length: holds.length }, (_, value) => {
    let best = -Infinity;
    for (let feature = 0; feature < features; feature++) {
      const { f1 } = f1Score(both[value * features + feature]!, active[feature]!, holds[value]!);
      if (f1 > best) best = f1;
    }
    return best;
  });
}

/** How many values have a feature with F1 of at least `threshold`. */
export function coverage(counts: ValueCounts, threshold: number): number {
  return bestF1(counts).filter((f1) => f1 >= threshold).length;
}
