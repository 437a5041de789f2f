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

/** Examples that are encoded at a time: codes of wide dictionaries on all of them may be more than a buffer holds. */
const CHUNK = 4096;

interface Chunk { examples: Examples; groupings: PlacedGrouping[] }

/** Labels as the GPU reads them, for many dictionaries over the same examples. The caller disposes them; the activations stay the caller's. */
export class LabelledExamples {
  private readonly labels: readonly Labels[];
  private readonly chunks: readonly Chunk[];

  constructor(gpu: Gpu, { activations, attributes }: Examples, labels: readonly Labels[]) {
    this.labels = labels;
    const [n = 0] = activations.shape;
    this.chunks = Array.from({ length: Math.ceil(n / CHUNK) }, (_, i): Chunk => {
      const [start, end] = [i * CHUNK, Math.min(n, (i + 1) * CHUNK)];
      const part = (ids: Uint32Array): Uint32Array => ids.subarray(start, end);
      return {
        examples: { activations: gpu.keep(activations.rows(start, end - start)), attributes: Object.fromEntries(Object.entries(attributes).map(([name, ids]) => [name, part(ids)])) },
        groupings: placeGroupings(gpu, labels.map(({ ids, values }) => ({ ids: part(ids), groups: values }))).map(({ order, starts }) => ({ order: gpu.keep(order), starts: gpu.keep(starts) })),
      };
    });
  }

  /** Counts of one dictionary for each labelling, in their order. */
  async count(dictionary: Dictionary): Promise<ValueCounts[]> {
    const { features } = dictionary;
    const active = new Float64Array(features);
    const both = this.labels.map(({ values }) => new Float64Array(values * features));
    for (const { examples, groupings } of this.chunks) {
      const codes = dictionary.encode(examples);
      const counts = await countActive(codes, groupings);
      codes.dispose();
      addTo(active, counts.active);
      counts.byGroup.forEach((table, i) => addTo(both[i]!, table));
    }
    return this.labels.map((labels, i) => ({ features, active, both: both[i]!, holds: holdsOf(labels) }));
  }

  /** Where each of the features given is active: one list of ones and zeros a feature, over all examples. */
  async activity(dictionary: Dictionary, features: readonly number[]): Promise<Map<number, Uint8Array>> {
    const n = this.labels[0]?.ids.length ?? 0;
    const sets = new Map(features.map((feature) => [feature, new Uint8Array(n)]));
    for (const [chunk, { examples }] of this.chunks.entries()) {
      const codes = dictionary.encode(examples);
      const values = await codes.read();
      codes.dispose();
      for (const [feature, set] of sets) {
        for (let row = 0; row * dictionary.features < values.length; row++) set[chunk * CHUNK + row] = values[row * dictionary.features + feature] === 0 ? 0 : 1;
      }
    }
    return sets;
  }

  dispose(): void {
    for (const { examples, groupings } of this.chunks) {
      examples.activations.dispose();
      for (const { order, starts } of groupings) {
        order.dispose();
        starts.dispose();
      }
    }
  }
}

function addTo(sums: Float64Array, values: ArrayLike<number>): void {
  for (let i = 0; i < sums.length; i++) sums[i] = sums[i]! + values[i]!;
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
