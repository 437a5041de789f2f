/**
 * Dictionaries whose answers to the three tests are known beforehand (the thought experiments of arXiv 2405.08366, A.10). All are made from
 * supervised codes u and reconstruct exactly as those do, but divide the reconstruction among features in other ways:
 *
 *   group+value   u_v = g + (u_v − g), g the mean code of the values in v's group, such as names of one gender. One more feature than the
 *                 supervised edit has to change when the group changes, none when it does not.
 *   overlapping   features stand for sets of values, every value belongs to several, u_v = Σ_{sets with v} d. An edit has to change all sets
 *                 that hold one value and not the other; a feature says little of any one value.
 *   over-fitted   one feature for every combination of values that occurs, Σ u. An edit replaces the whole reconstruction, so that the weight
 *                 removed is 1; a feature is active for a value only in one combination: precision 1, small recall. A greedy edit, which takes
 *                 a feature only if that helps by itself, finds the pair where old and new share less than half of their squared length.
 *
 * Which features are active is read from the labels, each with code 1; edits are greedy and blind to labels, like an SAE's.
 */
import { ShapeError, UsageError } from '../errors.ts';
import { seededRandom } from '../task/index.ts';
import { greedyApply, greedyChoose, greedyWeightRemoved, gramMatrix, matmul, mul, reciprocalRows, Tensor } from '../tensor/index.ts';
import type { Dictionary, EditOptions, EditResult, Examples } from './dictionary.ts';
import { termIds, type Term } from './parametrization.ts';
import type { SupervisedCodes } from './supervised.ts';

/** Stands for no feature in a list of active ones. */
const NONE = 0xffffffff;

/** The active feature of each of n examples, or `NONE`. */
type Slot = (attributes: Examples['attributes'], n: number) => Uint32Array;

export class SyntheticDictionary implements Dictionary {
  /** `synthetic` and the kind. */
  readonly name: string;
  readonly dIn: number;
  readonly features: number;
  /** [features, dIn]; rows are not of unit length. */
  readonly decoder: Tensor;
  /** ā: [dIn]. */
  readonly bias: Tensor;
  private readonly slots: readonly Slot[];
  private gram: Tensor | null | undefined;

  /** Takes over the tensors. As many features are active at once as there are slots. */
  constructor(kind: string, decoder: Tensor, bias: Tensor, slots: readonly Slot[]) {
    this.name = `synthetic ${kind}`;
    [this.features, this.dIn] = decoder.shape as [number, number];
    this.decoder = decoder;
    this.bias = bias;
    this.slots = slots;
  }

  /**
   * Divides the codes of each term named among a feature per group and one per value. `groups[column]` has the group of each of the column's
   * values. Throws UsageError for columns that are not a term of their own.
   */
  static async groupAndValue(codes: SupervisedCodes, groups: Readonly<Record<string, Uint32Array>>): Promise<SyntheticDictionary> {
    const vectors = await rowsOf(codes);
    const named = new Map(Object.entries(groups).map(([column, groupOf]) => [singleTerm(codes, column, groupOf.length), groupOf]));
    const builder = new Builder();
    for (const term of codes.terms) {
      const own = vectors.slice(term.first, term.first + term.values);
      const groupOf = named.get(term);
      if (!groupOf) {
        builder.valueFeatures(term, own);
        continue;
      }
      const means = groupMeans(own, groupOf);
      const firstGroup = builder.push(means);
      builder.valueFeatures(term, own.map((vector, value) => vector.map((entry, d) => entry - means[groupOf[value]!]![d]!)));
      builder.slot((attributes, n) => termIds(term, attributes, n).map((value) => firstGroup + groupOf[value]!));
    }
    return builder.finish('group+value', codes);
  }

  /**
   * Divides the codes of each column named among features that stand for sets of its values, by the shortest vectors with u_v = Σ d. Throws
   * UsageError for columns that are not a term of their own, and where the sets do not tell all values apart.
   */
  static async overlapping(codes: SupervisedCodes, sets: Readonly<Record<string, readonly (readonly number[])[]>>): Promise<SyntheticDictionary> {
    const { divided } = await import('./divide.ts');
    const vectors = await rowsOf(codes);
    const named = new Map(Object.entries(sets).map(([column, lists]) => [singleTerm(codes, column), lists]));
    const builder = new Builder();
    for (const term of codes.terms) {
      const own = vectors.slice(term.first, term.first + term.values);
      const lists = named.get(term);
      if (!lists) {
        builder.valueFeatures(term, own);
        continue;
      }
      const first = builder.push(divided(own, lists, term.columns[0]!));
      const setsOf = own.map((_, value) => [...lists.keys()].filter((set) => lists[set]!.includes(value)));
      for (let slot = 0; slot < Math.max(...setsOf.map(({ length }) => length)); slot++) {
        builder.slot((attributes, n) => termIds(term, attributes, n).map((value) => (setsOf[value]![slot] === undefined ? NONE : first + setsOf[value]![slot]!)));
      }
    }
    return builder.finish('overlapping', codes);
  }

  /** One feature for every combination of the terms' values in `seen`. A combination that is not there has no active feature, and reconstructs as ā. */
  static async overfitted(codes: SupervisedCodes, seen: readonly Examples['attributes'][]): Promise<SyntheticDictionary> {
    const vectors = await rowsOf(codes);
    const features = new Map<string, number>();
    const builder = new Builder();
    const combinations = (attributes: Examples['attributes'], n: number) => {
      const ids = codes.terms.map((term) => termIds(term, attributes, n));
      return Array.from({ length: n }, (_, row) => ids.map((own, at) => codes.terms[at]!.first + own[row]!));
    };
    for (const attributes of seen) {
      const n = attributes[codes.terms[0]!.columns[0]!]?.length ?? 0;
      for (const combination of combinations(attributes, n)) {
        const key = combination.join();
        if (!features.has(key)) features.set(key, builder.push([sumOf(combination.map((feature) => vectors[feature]!))]));
      }
    }
    if (features.size === 0) throw new ShapeError('an over-fitted dictionary needs at least one example');
    builder.slot((attributes, n) => Uint32Array.from(combinations(attributes, n), (combination) => features.get(combination.join()) ?? NONE));
    return builder.finish('over-fitted', codes);
  }

  /** 1 for active features, [n, features]. */
  encode(examples: Examples): Tensor {
    const n = examples.activations.shape[0]!;
    const codes = new Float32Array(n * this.features);
    for (const slot of this.slots) {
      slot(examples.attributes, n).forEach((feature, row) => { if (feature !== NONE) codes[row * this.features + feature] = 1; });
    }
    return Tensor.from(examples.activations.gpu, codes, [n, this.features]);
  }

  decode(codes: Tensor): Tensor {
    return matmul(codes, this.decoder, { bias: this.bias });
  }

  contributions(codes: Tensor): Tensor {
    return codes.gpu.scope(() => mul(codes, matmul(reciprocalRows(matmul(codes, this.decoder)), this.decoder, { transposeB: true })));
  }

  /** The greedy edit of at most k features towards the target's activations, as an SAE does it (section 5.1 of the paper). */
  edit(source: Examples, target: Examples, { k }: Pick<EditOptions, 'k'>): EditResult {
    const { decoder } = this;
    if (this.gram === undefined) {
      this.gram = gramMatrix(decoder);
      if (this.gram) decoder.gpu.keep(this.gram);
    }
    const { gram } = this;
    return decoder.gpu.scope(() => {
      const sourceCodes = this.encode(source);
      const choice = greedyChoose({ source: source.activations, target: target.activations, sourceCodes, targetCodes: this.encode(target), decoder, gram }, k);
      return { activations: greedyApply(source.activations, decoder, choice), weightRemoved: greedyWeightRemoved(sourceCodes, decoder, choice) };
    });
  }

  dispose(): void {
    this.decoder.dispose();
    this.bias.dispose();
    this.gram?.dispose();
    this.gram = undefined;
  }
}

/** `count` sets of values, every value in `each` of them, drawn by seed. Enough sets (half as many again as values) tell all values apart. */
export function randomSets(values: number, count: number, each: number, seed: number): number[][] {
  if (each > count) throw new UsageError(`a value cannot be in ${each} of ${count} sets`);
  const random = seededRandom(seed, 'sets of values');
  const sets: number[][] = Array.from({ length: count }, () => []);
  for (let value = 0; value < values; value++) {
    const order = random.shuffle([...sets.keys()]);
    for (const set of order.slice(0, each)) sets[set]!.push(value);
  }
  return sets;
}

/** Collects features and what says which of them are active. */
class Builder {
  private readonly vectors: number[][] = [];
  private readonly slots: Slot[] = [];

  /** Adds features; returns the number of the first. */
  push(vectors: readonly number[][]): number {
    const first = this.vectors.length;
    for (const vector of vectors) this.vectors.push(vector);
    return first;
  }

  slot(slot: Slot): void {
    this.slots.push(slot);
  }

  /** One feature for each value of a term. */
  valueFeatures(term: Term, vectors: readonly number[][]): void {
    const first = this.push(vectors);
    this.slot((attributes, n) => termIds(term, attributes, n).map((value) => first + value));
  }

  finish(kind: string, codes: SupervisedCodes): SyntheticDictionary {
    const { gpu } = codes.mean;
    const decoder = Tensor.from(gpu, Float32Array.from(this.vectors.flat()), [this.vectors.length, codes.dIn]);
    return new SyntheticDictionary(kind, decoder, codes.mean.clone(), this.slots);
  }
}

async function rowsOf({ vectors, features, dIn }: SupervisedCodes): Promise<number[][]> {
  const read = await vectors.read();
  return Array.from({ length: features }, (_, feature) => [...read.subarray(feature * dIn, (feature + 1) * dIn)]);
}

function singleTerm(codes: SupervisedCodes, column: string, values?: number): Term {
  const term = codes.terms.find(({ columns }) => columns.length === 1 && columns[0] === column);
  if (!term) throw new UsageError(`codes of ${column} alone are to be divided, but ${codes.name} has no such term`);
  if (values !== undefined && values !== term.values) throw new ShapeError(`${values} values of ${column} come with a group, but there are ${term.values}`);
  return term;
}

function sumOf(vectors: readonly number[][]): number[] {
  return vectors.reduce((sum, vector) => sum.map((entry, d) => entry + vector[d]!));
}

/** Mean vector of each group's values, leaving out values without a code; zeros for groups without any. */
function groupMeans(vectors: readonly number[][], groupOf: Uint32Array): number[][] {
  const groups = groupOf.reduce((most, group) => Math.max(most, group + 1), 0);
  return Array.from({ length: groups }, (_, group) => {
    const members = vectors.filter((vector, value) => groupOf[value] === group && vector.some((entry) => entry !== 0));
    return members.length > 0 ? sumOf(members).map((entry) => entry / members.length) : vectors[0]!.map(() => 0);
  });
}
