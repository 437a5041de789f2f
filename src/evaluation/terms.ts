/**
 * Activations as sums of named parts: a dictionary's bias, its features in groups, and what it leaves out, so that nothing is lost:
 *   a = b + Σ_g Σ_{j in g} f_j d_j + (a − â)
 * Only the Dictionary interface is used: b is what no feature decodes to, so that any dictionary can be taken apart.
 */
import { SupervisedCodes, type Dictionary, type Examples } from '../dictionary/index.ts';
import { ShapeError } from '../errors.ts';
import { matmul, mul, scatterRows, sub, sumColumns, Tensor } from '../tensor/index.ts';
import { quantile } from './formulas.ts';

/** Which group each feature belongs to. */
export interface FeatureGroups {
  names: readonly string[];
  /** [features]; a number from `names.length` on is in no group, and its feature counts as part of the last term, `error`. */
  of: Uint32Array;
}

/** Names of the two terms that every dictionary has. */
export const BIAS = 'bias';
export const ERROR = 'error';

/** One group for each term of a supervised dictionary's parametrization: `IO`, `S`, `Pos`, or `IO∧Pos`. */
export function supervisedGroups(dictionary: SupervisedCodes): FeatureGroups {
  const of = new Uint32Array(dictionary.features);
  dictionary.terms.forEach(({ first, values }, group) => of.fill(group, first, first + values));
  return { names: dictionary.terms.map(({ columns }) => columns.join('∧')), of };
}

/** The features given each in a group of its own, in their order, and all others in one. */
export function singledOut(features: number, chosen: readonly number[]): FeatureGroups {
  const of = new Uint32Array(features).fill(chosen.length);
  chosen.forEach((feature, group) => { of[feature] = group; });
  return { names: [...chosen.map((feature) => `feature ${feature}`), 'other features'], of };
}

/**
 * The terms of supervised codes; of other dictionaries the `count` features that move most along vectors `against` [n, d], one for each
 * example, singled out: those with the largest mean of (f_j d_j·v)².
 */
export async function groupsFor(dictionary: Dictionary, examples: Examples, against: Tensor, count: number): Promise<FeatureGroups> {
  if (dictionary instanceof SupervisedCodes) return supervisedGroups(dictionary);
  const importance = await against.gpu.scope(() => {
    const moved = mul(dictionary.additions?.(examples) ?? dictionary.encode(examples), matmul(against, decoderRows(against, dictionary), { transposeB: true }));
    return sumColumns(mul(moved, moved)).read();
  });
  const ranked = Array.from(importance, (_, feature) => feature).sort((a, b) => importance[b]! - importance[a]! || a - b);
  return singledOut(dictionary.features, ranked.slice(0, count));
}

/** Features that are decoded at a time: an identity matrix of all of them may be too large. */
const DECODED_AT_ONCE = 1024;

/** What each feature decodes to with code 1, less the bias: [features, d]. */
function decoderRows({ gpu }: Tensor, dictionary: Dictionary): Tensor {
  const { features, dIn } = dictionary;
  if (dictionary.directions) return dictionary.directions(Array.from({ length: features }, (_, feature) => feature));
  return gpu.scope(() => {
    const rows = Tensor.empty(gpu, [features, dIn]);
    for (let first = 0; first < features; first += DECODED_AT_ONCE) {
      const count = Math.min(DECODED_AT_ONCE, features - first);
      const ones = new Float32Array(count * features);
      for (let row = 0; row < count; row++) ones[row * features + first + row] = 1;
      const part = gpu.scope(() => sub(dictionary.decode(Tensor.from(gpu, ones, [count, features])), dictionary.decode(Tensor.zeros(gpu, [count, features]))));
      gpu.copy(part, { storage: rows.storage, byteOffset: rows.byteOffset + first * dIn * 4, byteLength: part.byteLength }, part.byteLength);
    }
    return rows;
  });
}

/** The terms of activations [n, d], in the order of `names`: [n, names, d]. */
export interface Terms {
  names: readonly string[];
  values: Tensor;
}

/** Splits activations into the bias, one term a group, and the error. The sum over terms is the activation, to rounding. */
export function splitActivations(dictionary: Dictionary, examples: Examples, groups: FeatureGroups): Terms {
  const { activations } = examples;
  const { gpu } = activations;
  const [n = 0, d = 0] = activations.shape;
  if (groups.of.length !== dictionary.features) throw new ShapeError(`groups of ${groups.of.length} features do not fit dictionary ${dictionary.name}, which has ${dictionary.features}`);
  const names = [BIAS, ...groups.names, ERROR];
  return gpu.scope(() => {
    const codes = dictionary.encode(examples);
    const bias = dictionary.decode(Tensor.zeros(gpu, codes.shape), examples);
    const values = Tensor.empty(gpu, [n, names.length * d]);
    const rows = everyRow(activations, n);
    let rest = sub(activations, bias);
    scatterRows(values, rows, bias);
    groups.names.forEach((_, group) => {
      const mask = Float32Array.from(groups.of, (own) => (own === group ? 1 : 0));
      const part = sub(dictionary.decode(mul(codes, Tensor.from(gpu, mask, [mask.length])), examples), bias);
      scatterRows(values, rows, part, { offset: (group + 1) * d });
      rest = sub(rest, part);
    });
    scatterRows(values, rows, rest, { offset: (names.length - 1) * d });
    return { names, values: values.reshape([n, names.length, d]) };
  });
}

/** 0 … n − 1 as an index of rows. */
export function everyRow({ gpu }: Pick<Tensor, 'gpu'>, n: number): Tensor {
  return Tensor.from(gpu, Uint32Array.from({ length: n }, (_, i) => i), [n]);
}

/** What a box plot shows of one number per prompt. */
export interface Box {
  mean: number;
  meanAbsolute: number;
  least: number;
  percentile5: number;
  quartile1: number;
  median: number;
  quartile3: number;
  percentile95: number;
  most: number;
}

/** Throws ShapeError for no numbers. */
export function boxOf(values: ArrayLike<number>): Box {
  if (values.length === 0) throw new ShapeError('there are no numbers to describe');
  const list = Float64Array.from(values);
  const at = (q: number): number => quantile(list, q)!;
  let [sum, absolute] = [0, 0];
  for (const value of list) {
    sum += value;
    absolute += Math.abs(value);
  }
  return {
    mean: sum / list.length, meanAbsolute: absolute / list.length, least: at(0), percentile5: at(0.05), quartile1: at(0.25), median: at(0.5), quartile3: at(0.75),
    percentile95: at(0.95), most: at(1),
  };
}
