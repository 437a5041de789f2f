/**
 * Supervised dictionaries by mean codes, independent parametrization (arXiv 2405.08366, section 3 and A.5):
 *
 *   u_{i=v} = mean of a(p) over prompts p whose attribute i has value v, minus the mean ā of all;     â(p) = ā + Σ_i u_{i = a_i(p)}
 *
 * A value that the prompts never show has the zero vector. A feature is one attribute's value; exactly one feature of each attribute is
 * active, with code 1. The code of an attribute does not depend on which others are in the dictionary, and one that the activation does not
 * carry goes to zero as prompts grow in number. Attributes that share signal are counted twice: mean codes suit independent attributes.
 */
import { ShapeError } from '../errors.ts';
import {
  add, gatherRows, matmul, meanColumns, mul, reciprocalRows, segments, segmentSum, sub, sumRows, Tensor,
} from '../tensor/index.ts';
import type { Dictionary, EditOptions, EditResult, Examples } from './dictionary.ts';

/** An attribute and how many values it may have. */
export interface AttributeSpace {
  name: string;
  values: number;
}

export class MeanCodes implements Dictionary {
  readonly name = 'supervised';
  readonly dIn: number;
  readonly features: number;
  /** u of every feature, attribute after attribute in the order given: [features, dIn]. */
  readonly vectors: Tensor;
  /** ā: [dIn]. */
  readonly mean: Tensor;
  private readonly spaces: readonly (AttributeSpace & { first: number })[];

  private constructor(vectors: Tensor, mean: Tensor, spaces: readonly (AttributeSpace & { first: number })[]) {
    this.vectors = vectors;
    this.mean = mean;
    this.features = vectors.shape[0]!;
    this.dIn = vectors.shape[1]!;
    this.spaces = spaces;
  }

  /** Fits to activations [n, d] and their attributes, on the GPU. Throws ShapeError if there are none or a value is out of range. */
  static fit(examples: Examples, attributes: readonly AttributeSpace[]): MeanCodes {
    const { activations } = examples;
    const { gpu } = activations;
    const [n = 0, width = 0] = activations.shape;
    if (n === 0) throw new ShapeError('mean codes need at least one example');
    const fitted = gpu.scope(() => {
      const mean = meanColumns(activations);
      const centred = sub(activations, mean);
      const features = attributes.reduce((sum, { values }) => sum + values, 0);
      const vectors = Tensor.empty(gpu, [features, width]);
      let first = 0;
      const spaces = attributes.map((space) => {
        const { order, starts } = segments(idsOf(examples, space, n), space.values);
        const sums = segmentSum(centred, Tensor.from(gpu, order, [n]), Tensor.from(gpu, starts, [space.values + 1]));
        const shares = new Float32Array(space.values * width);
        for (let value = 0; value < space.values; value++) {
          const size = starts[value + 1]! - starts[value]!;
          shares.fill(size > 0 ? 1 / size : 0, value * width, (value + 1) * width);
        }
        const means = mul(sums, Tensor.from(gpu, shares, [space.values, width]));
        const target = { storage: vectors.storage, byteOffset: vectors.byteOffset + first * width * 4, byteLength: means.byteLength };
        gpu.copy(means, target, means.byteLength);
        const placed = { ...space, first };
        first += space.values;
        return placed;
      });
      return { vectors, mean, spaces };
    });
    return new MeanCodes(fitted.vectors, fitted.mean, fitted.spaces);
  }

  /** One-hot codes per attribute: [n, features]. */
  encode(examples: Examples): Tensor {
    const n = examples.activations.shape[0]!;
    const codes = new Float32Array(n * this.features);
    for (const space of this.spaces) {
      const ids = idsOf(examples, space, n);
      for (let row = 0; row < n; row++) codes[row * this.features + space.first + ids[row]!] = 1;
    }
    return Tensor.from(examples.activations.gpu, codes, [n, this.features]);
  }

  /** ā + codes · u: [n, dIn]. */
  decode(codes: Tensor): Tensor {
    return matmul(codes, this.vectors, { bias: this.mean });
  }

  /** Weight of u_i in r = Σ u, u_i·r / ‖r‖², at the active features: [n, features]. */
  contributions(codes: Tensor): Tensor {
    return codes.gpu.scope(() => {
      const along = reciprocalRows(matmul(codes, this.vectors));
      return mul(codes, matmul(along, this.vectors, { transposeB: true }));
    });
  }

  /** a − u_{old} + u_{new} for every attribute named (section 3.4): the reconstruction's error stays. `k` is not read: one feature goes and one comes. */
  edit(source: Examples, target: Examples, { attributes }: Pick<EditOptions, 'attributes'>): EditResult {
    const { gpu } = source.activations;
    const n = source.activations.shape[0]!;
    const spaces = attributes.map((name) => this.space(name));
    return gpu.scope(() => {
      const along = reciprocalRows(this.signal(source, n));
      let activations = source.activations;
      let removed: Tensor | null = null;
      for (const space of spaces) {
        const oldIds = idsOf(source, space, n);
        const oldCodes = this.rowsOf(space, oldIds);
        const newCodes = this.rowsOf(space, idsOf(target, space, n));
        activations = add(sub(activations, oldCodes), newCodes);
        removed = removed ? add(removed, oldCodes) : oldCodes;
      }
      const weightRemoved = removed ? sumRows(mul(removed, along)) : Tensor.zeros(gpu, [n]);
      return { activations: removed ? activations : activations.clone(), weightRemoved };
    });
  }

  dispose(): void {
    this.vectors.dispose();
    this.mean.dispose();
  }

  /** r = Σ_i u_{i = a_i}: [n, dIn]. */
  private signal(examples: Examples, n: number): Tensor {
    return this.spaces.map((space) => this.rowsOf(space, idsOf(examples, space, n))).reduce((sum, rows) => add(sum, rows));
  }

  private rowsOf(space: AttributeSpace & { first: number }, ids: Uint32Array): Tensor {
    return gatherRows(this.vectors, Tensor.from(this.vectors.gpu, ids.map((id) => space.first + id), [ids.length]));
  }

  private space(name: string): AttributeSpace & { first: number } {
    const space = this.spaces.find((candidate) => candidate.name === name);
    if (!space) throw new ShapeError(`the supervised dictionary has no attribute ${name}; it has ${this.spaces.map((s) => s.name).join(', ')}`);
    return space;
  }
}

function idsOf(examples: Examples, space: AttributeSpace, n: number): Uint32Array {
  const ids = examples.attributes[space.name];
  if (!ids || ids.length !== n) throw new ShapeError(`${n} examples come with ${ids?.length ?? 'no'} values of attribute ${space.name}`);
  for (const id of ids) if (id >= space.values) throw new ShapeError(`attribute ${space.name} has ${space.values} values, an example has number ${id}`);
  return ids;
}
