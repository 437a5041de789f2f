/**
 * Ways of editing with a sparse autoencoder (arXiv 2405.08366, section 5.1 and A.12), beside the greedy one. With codes α of the source and β of
 * the target, decoder rows d_j, and w_j the weights of the source's features in its reconstruction:
 *
 *   aware      for every edited attribute, of old value v and new value v': the first k/2 features active in the source of those ranked for v go,
 *              the first k/2 active in the target of those ranked for v' come:   a − Σ α_j d_j + Σ β_j d_j
 *   threshold  features whose weight exceeds 0.1 in one of the two and not in the other take the target's code:   a + Σ (β_j − α_j) d_j
 *
 * Either keeps the reconstruction's error. The weight removed is Σ w_j over what goes, or over all that change.
 */
import { ShapeError } from '../errors.ts';
import { activeMask, add, affine, matmul, mul, pickRanked, reciprocalRows, sub, sumRows, Tensor } from '../tensor/index.ts';
import type { EditOptions, EditResult, Examples } from './dictionary.ts';

/** From which weight on a feature counts in a threshold edit. */
export const WEIGHT_THRESHOLD = 0.1;

/** For each attribute the features of a dictionary by falling F1 with each value: u32 [values, features]. */
export type Rankings = Readonly<Record<string, Tensor>>;

/** What a way of editing knows of the two sides. */
export interface EditedCodes { source: Examples; target: Examples; sourceCodes: Tensor; targetCodes: Tensor; decoder: Tensor }

/** Weights per unit of code, d_j·(â − b) / ‖â − b‖²: [n, features]. */
export function unitWeights(codes: Tensor, decoder: Tensor): Tensor {
  return matmul(reciprocalRows(matmul(codes, decoder)), decoder, { transposeB: true });
}

/** Throws ShapeError for an attribute that is not ranked. */
export function awareEdit({ source, target, sourceCodes, targetCodes, decoder }: EditedCodes, { attributes, k }: Pick<EditOptions, 'attributes' | 'k'>, rankings: Rankings): EditResult {
  const { gpu } = sourceCodes;
  const [gone, come] = [Tensor.zeros(gpu, sourceCodes.shape), Tensor.zeros(gpu, targetCodes.shape)];
  for (const attribute of attributes) {
    const ranking = rankings[attribute];
    if (!ranking) throw new ShapeError(`features are not ranked for attribute ${attribute}`);
    for (const [side, codes, out] of [[source, sourceCodes, gone], [target, targetCodes, come]] as const) {
      const ids = side.attributes[attribute]!;
      pickRanked(codes, ranking, Tensor.from(gpu, ids, [ids.length]), Math.floor(k / 2), out);
    }
  }
  return {
    activations: add(sub(source.activations, matmul(gone, decoder)), matmul(come, decoder)),
    weightRemoved: sumRows(mul(gone, unitWeights(sourceCodes, decoder))),
  };
}

export function thresholdEdit({ source, sourceCodes, targetCodes, decoder }: EditedCodes): EditResult {
  const weights = mul(sourceCodes, unitWeights(sourceCodes, decoder));
  const heavy = (of: Tensor): Tensor => activeMask(affine(of, 1, -WEIGHT_THRESHOLD));
  const [before, after] = [heavy(weights), heavy(mul(targetCodes, unitWeights(targetCodes, decoder)))];
  // In one and not in the other: x + y − 2xy.
  const changed = sub(add(before, after), affine(mul(before, after), 2));
  return {
    activations: add(source.activations, matmul(mul(changed, sub(targetCodes, sourceCodes)), decoder)),
    weightRemoved: sumRows(mul(changed, weights)),
  };
}
