/**
 * How often features are active on what a dictionary was trained on, and dictionaries without those that hardly ever are (arXiv 2405.08366, A.11:
 * dead features and those of ultra-low frequency are dropped before a dictionary of a whole language is judged on a task).
 */
import { ShapeError, UsageError } from '../errors.ts';
import { gatherRows, Tensor, type SaePart, type SaeWeights } from '../tensor/index.ts';
import { Sae } from './sae.ts';

/** Added to a frequency before its logarithm, as SAELens does: what a dead feature has. */
const LOG_FLOOR = 1e-10;

/** log10 of shares of examples, as SAELens writes them. */
export function logFrequencies(frequencies: ArrayLike<number>): Float32Array {
  return Float32Array.from(frequencies, (share) => Math.log10(share + LOG_FLOOR));
}

/** Numbers of the features that are active on at least `least` of the examples, growing. */
export function frequentFeatures(frequencies: ArrayLike<number>, least: number): Uint32Array {
  return Uint32Array.from(Array.from(frequencies, (_, feature) => feature).filter((feature) => frequencies[feature]! >= least));
}

/**
 * A dictionary of some of another's features: feature i of it is feature `kept[i]` of the other, which stays as it is. Of a top-k dictionary features
 * that were crowded out by one that is gone may become active. UsageError if none is kept, ShapeError for one that is not there.
 */
export function withFeatures(sae: Sae, kept: Uint32Array): Sae {
  const { features, weights, variant, k, kind: { signed }, normalization, warnings, frequencies } = sae;
  if (kept.length === 0) throw new UsageError(`dictionary ${sae.name}: none of its ${features} features is left`);
  const missing = kept.find((feature) => feature >= features);
  if (missing !== undefined) throw new ShapeError(`dictionary ${sae.name} has features 0 to ${features - 1}, not ${missing}`);
  const { gpu } = weights.decoder;
  const own = gpu.scope(() => {
    const rows = Tensor.from(gpu, kept, [kept.length]);
    const parts = Object.entries(weights) as [SaePart, Tensor][];
    return Object.fromEntries(parts.map(([part, tensor]) => {
      if (part === 'decoderBias') return [part, tensor.clone()];
      const matrix = tensor.shape.length === 2;
      const picked = gatherRows(matrix ? tensor : tensor.reshape([features, 1]), rows);
      return [part, matrix ? picked : picked.reshape([kept.length])];
    })) as unknown as SaeWeights;
  });
  return new Sae(sae.name, own, sae.metadata, {
    variant, normalization, warnings, ...(signed ? { signed } : {}), ...(k === null ? {} : { k: Math.min(k, kept.length) }),
    frequencies: frequencies && Float32Array.from(kept, (feature) => frequencies[feature]!),
  });
}
