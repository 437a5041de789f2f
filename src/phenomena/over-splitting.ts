/**
 * Feature over-splitting on a model (arXiv 2405.08366, section 6.2 and A.15): an attribute with few values, such as Pos, is spread over many
 * features, each active on a small part of a value's prompts and on hardly any of the other's.
 *
 * A feature belongs to the value, of all values of all attributes, for which its F1 is largest, if it is precise enough and active often enough
 * to tell. Recall has no threshold: to split is to have little of it. A feature for a name that fires in one order only belongs to the name.
 *
 * Whether splits are over-fitted is asked by training again from other initial weights and on other prompts. Between the features of the
 * attribute in two dictionaries, each feature's best partner in the other is measured by |cos| of the decoder rows and by the Jaccard index of the
 * sets of prompts they are active on (|A ∩ B| / |A ∪ B|, on prompts that neither was trained on). The paper names no measure. The baseline
 * permutes: entries of the other's decoder rows, each row by itself, for |cos|; prompts within the values of the attribute for the Jaccard index,
 * so that features which only agree on the attribute itself do not look alike.
 */
import * as z from 'zod';
import type { Examples, Sae } from '../dictionary/index.ts';
import { UsageError } from '../errors.ts';
import { f1Score, mean, quantile } from '../evaluation/index.ts';
import { seededRandom } from '../task/index.ts';
import { trainSaes, type SaeJob, type TrainSettings } from '../training/index.ts';
import { bestF1, LabelledExamples, type Labels, type ValueCounts } from './coverage.ts';
import type { Watch } from './watching.ts';

/** Activations of one site: datasets to train on, equally many examples each, and prompts that are in none of them. */
export interface OverSplittingData {
  site: string;
  datasets: readonly Examples[];
  scored: Examples;
  /** The attribute that may be split, and all that features may stand for, it among them. */
  attribute: string;
  attributes: readonly { name: string; values: readonly string[] }[];
}

export interface OverSplittingOptions extends Partial<Omit<TrainSettings, 'seed'>> {
  /** λ, in the trainer's units. */
  lambda: number;
  /** Initial weights on the first dataset; the other datasets take the first of them. */
  seeds: readonly number[];
  /** Least precision of a feature for its value, and least share of the value's prompts that it is active on. */
  precision: number;
  share: number;
  /** Permutations of the baseline. */
  permutations: number;
}

export const overSplittingDefaults: OverSplittingOptions = {
  lambda: 1, seeds: [0, 1], precision: 0.9, share: 0.005, permutations: 5, features: 256, epochs: 30, batch: 128,
};

const dictionaryRow = z.object({
  dataset: z.int(), seed: z.int(), features: z.int(), alive: z.int().describe('features active on some scored prompt'), l0: z.number(),
  splits: z.array(z.object({
    value: z.string(),
    features: z.int().describe('features that belong to the value'),
    covered: z.number().describe('share of the value\'s prompts on which at least one of them is active'),
    medianShare: z.number().nullable().describe('median over them of the share of the value\'s prompts that they are active on'),
    overlap: z.number().nullable().describe('mean Jaccard index over pairs of them: small where they are disjoint; null for fewer than two'),
    bestF1: z.number().nullable().describe('largest F1 of any feature for the value; null where none is active'),
  })),
});

const comparisonRow = z.object({
  kind: z.enum(['seed', 'dataset']), first: z.string(), second: z.string(), value: z.string(),
  features: z.tuple([z.int(), z.int()]).describe('features that belong to the value in either'),
  cosine: z.number().nullable().describe('mean over features of the first of the largest |cos| with one of the second; null where either has none'),
  cosineBaseline: z.number().nullable().describe('the same with permuted rows, mean over permutations'),
  jaccard: z.number().nullable().describe('mean over features of the first of the largest Jaccard index with one of the second'),
  jaccardBaseline: z.number().nullable().describe('the same with prompts permuted within the value'),
});

export const overSplittingSchema = z.object({
  site: z.string(), attribute: z.string(), lambda: z.number(), precision: z.number(), share: z.number(), permutations: z.int(), scored: z.int(),
  dictionaries: z.array(dictionaryRow), comparisons: z.array(comparisonRow),
});

export type OverSplitting = z.infer<typeof overSplittingSchema>;

/** What is kept of a trained dictionary: features of each value, their rows and where they are active. */
interface Looked { name: string; dataset: number; seed: number; members: number[][]; row: (feature: number) => Float32Array; active: (feature: number) => Uint8Array }

/** Trains on each dataset and from each seed, all together, and compares. Throws UsageError for options that make no sense. */
export async function overSplitting(data: OverSplittingData, given: Partial<OverSplittingOptions> = {}, watching: Watch = {}): Promise<OverSplitting> {
  const options = { ...overSplittingDefaults, ...given };
  const { lambda, seeds, precision, share, permutations, ...training } = options;
  const [first] = data.datasets;
  if (!first || seeds.length === 0) throw new UsageError('over-splitting: needs at least one dataset and one seed');
  const place = data.attributes.findIndex(({ name }) => name === data.attribute);
  for (const { name } of data.attributes) if (!data.scored.attributes[name]) throw new UsageError(`over-splitting: the scored prompts have no attribute ${name}`);
  if (place < 0) throw new UsageError(`over-splitting: there is no attribute ${data.attribute}; there are ${data.attributes.map(({ name }) => name).join(', ')}`);
  const { values } = data.attributes[place]!;
  const { gpu } = first.activations;
  const runs = [...seeds.map((seed) => ({ dataset: 0, seed })), ...data.datasets.slice(1).map((_, i) => ({ dataset: i + 1, seed: seeds[0]! }))];
  const jobs = runs.map(({ dataset, seed }): SaeJob => ({ name: `vanilla dataset ${dataset} seed ${seed}`, data: data.datasets[dataset]!.activations, l1: lambda, seed }));
  const { saes } = await trainSaes(gpu, jobs, { ...training, seed: seeds[0], logEvery: training.epochs, signal: watching.signal, onStep: watching.onProgress });
  const labels = data.attributes.map(({ name, values: all }): Labels => ({ ids: data.scored.attributes[name]!, values: all.length }));
  const { ids } = labels[place]!;
  const labelled = new LabelledExamples(gpu, data.scored, labels);
  try {
    watching.signal?.throwIfAborted();
    const dictionaries: OverSplitting['dictionaries'] = [];
    const looked: Looked[] = [];
    for (const [i, sae] of saes.entries()) {
      const own = await lookAt(sae, labelled, labels[place]!, place, options, runs[i]!);
      looked.push(own.looked);
      dictionaries.push({ ...runs[i]!, ...own.figures, splits: own.splits.map((split, value) => ({ value: values[value]!, ...split })) });
    }
    const comparisons = looked.slice(1).flatMap((other) => values.map((value, v) => compare(looked[0]!, other, { value, v, ids, permutations, seed: seeds[0]! })));
    return { site: data.site, attribute: data.attribute, lambda, precision, share, permutations, scored: ids.length, dictionaries, comparisons };
  } finally {
    labelled.dispose();
    for (const sae of saes) sae.dispose();
  }
}

type Split = Omit<OverSplitting['dictionaries'][0]['splits'][0], 'value'>;

/** The attribute's features in one dictionary; `place` is where the attribute stands among the labels. */
async function lookAt(
  sae: Sae, labelled: LabelledExamples, labels: Labels, place: number, options: OverSplittingOptions, run: { dataset: number; seed: number },
): Promise<{ looked: Looked; figures: Pick<OverSplitting['dictionaries'][0], 'features' | 'alive' | 'l0'>; splits: Split[] }> {
  const counts = await labelled.count(sae);
  const { features, active } = counts[place]!;
  const rows = await sae.weights.decoder.read();
  const n = labels.ids.length;
  const members = membersOf(counts, place, options);
  const sets = await labelled.activity(sae, members.flat());
  const looked: Looked = {
    name: `dataset ${run.dataset} seed ${run.seed}`, ...run, members,
    row: (feature) => rows.subarray(feature * sae.dIn, (feature + 1) * sae.dIn),
    active: (feature) => sets.get(feature)!,
  };
  const total = Array.from({ length: features }, (_, f) => active[f]!);
  const best = bestF1(counts[place]!);
  return {
    looked, figures: { features, alive: total.filter((count) => count > 0).length, l0: total.reduce((a, b) => a + b, 0) / n },
    splits: members.map((own, value) => splitOf(own, looked, labels, value, best[value]!)),
  };
}

/** The features that belong to each value of the attribute at `place`, from counts of all attributes. */
export function membersOf(counts: readonly ValueCounts[], place: number, { precision, share }: Pick<OverSplittingOptions, 'precision' | 'share'>): number[][] {
  const { features, active, both, holds } = counts[place]!;
  const members: number[][] = Array.from({ length: holds.length }, () => []);
  for (let feature = 0; feature < features; feature++) {
    let best = { f1: -Infinity, attribute: -1, value: -1 };
    counts.forEach((own, attribute) => {
      for (let value = 0; value < own.holds.length; value++) {
        const { f1 } = f1Score(own.both[value * features + feature]!, own.active[feature]!, own.holds[value]!);
        if (f1 > best.f1) best = { f1, attribute, value };
      }
    });
    if (best.attribute !== place) continue;
    const here = both[best.value * features + feature]!;
    if (here > 0 && here >= precision * active[feature]! && here >= share * holds[best.value]!) members[best.value]!.push(feature);
  }
  return members;
}

function splitOf(members: readonly number[], { active }: Looked, { ids }: Labels, value: number, best: number): Split {
  const own = Array.from(ids, (_, i) => i).filter((i) => ids[i] === value);
  const sets = members.map(active);
  const covered = own.filter((i) => sets.some((set) => set[i] === 1)).length;
  const shares = sets.map((set) => own.filter((i) => set[i] === 1).length / own.length);
  const overlaps = sets.flatMap((set, a) => sets.slice(a + 1).map((other) => jaccard(set, other)));
  return {
    features: members.length, covered: own.length > 0 ? covered / own.length : 0, medianShare: quantile(shares, 0.5),
    overlap: overlaps.length > 0 ? mean(overlaps) : null, bestF1: Number.isFinite(best) ? best : null,
  };
}

/** |A ∩ B| / |A ∪ B| of sets given by ones; 0 for two empty sets. */
export function jaccard(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [both, either] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    if (a[i] && b[i]) both++;
    if (a[i] || b[i]) either++;
  }
  return either > 0 ? both / either : 0;
}

/** Cosine of two vectors; 0 where one has no length. */
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [product, left, right] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    product += a[i]! * b[i]!;
    left += a[i]! ** 2;
    right += b[i]! ** 2;
  }
  return left > 0 && right > 0 ? product / Math.sqrt(left * right) : 0;
}

/** Mean over the first list of the largest likeness with one of the second; null where either is empty. */
export function meanBest<T>(first: readonly T[], second: readonly T[], likeness: (a: T, b: T) => number): number | null {
  if (first.length === 0 || second.length === 0) return null;
  return mean(first.map((a) => second.reduce((best, b) => Math.max(best, likeness(a, b)), -Infinity)));
}

interface Comparing { value: string; v: number; ids: Uint32Array; permutations: number; seed: number }

function compare(a: Looked, b: Looked, { value, v, ids, permutations, seed }: Comparing): OverSplitting['comparisons'][0] {
  const [rowsA, rowsB] = [a, b].map(({ members, row }) => members[v]!.map(row)) as [Float32Array[], Float32Array[]];
  const [setsA, setsB] = [a, b].map(({ members, active }) => members[v]!.map(active)) as [Uint8Array[], Uint8Array[]];
  const absolute = (x: ArrayLike<number>, y: ArrayLike<number>): number => Math.abs(cosine(x, y));
  const random = seededRandom(seed, `over-splitting ${a.name} ${b.name} ${value}`);
  const baselines = Array.from({ length: rowsA.length && rowsB.length ? permutations : 0 }, () => {
    const rows = rowsB.map((row) => Float32Array.from(random.shuffle([...row])));
    const moved = withinValues(ids, random);
    return { cosine: meanBest<ArrayLike<number>>(rowsA, rows, absolute)!, jaccard: meanBest<ArrayLike<number>>(setsA, setsB.map((set) => moved.map((i) => set[i]!)), jaccard)! };
  });
  const over = (pick: (baseline: { cosine: number; jaccard: number }) => number): number | null => (baselines.length > 0 ? mean(baselines.map(pick)) : null);
  return {
    kind: a.dataset === b.dataset ? 'seed' : 'dataset', first: a.name, second: b.name, value, features: [rowsA.length, rowsB.length],
    cosine: meanBest<ArrayLike<number>>(rowsA, rowsB, absolute), cosineBaseline: over((baseline) => baseline.cosine),
    jaccard: meanBest<ArrayLike<number>>(setsA, setsB, jaccard), jaccardBaseline: over((baseline) => baseline.jaccard),
  };
}

/** A permutation of the prompts that keeps each within its value. */
export function withinValues(ids: Uint32Array, random: { shuffle<T>(list: T[]): T[] }): Uint32Array {
  const out = new Uint32Array(ids.length);
  const places = new Map<number, number[]>();
  ids.forEach((id, i) => {
    const own = places.get(id);
    if (own) own.push(i);
    else places.set(id, [i]);
  });
  for (const own of places.values()) {
    const moved = random.shuffle([...own]);
    own.forEach((place, i) => { out[place] = moved[i]!; });
  }
  return out;
}
