/** How weights are drawn (evaluation.md §7.2). */
import type { Gpu } from '../gpu/index.ts';
import { affine, padRows, randomNormal, randomUniform, scaleRows, type SaePart, type Tensor } from '../tensor/index.ts';
import type { TrainSettings } from './settings.ts';
import type { TrainVariant } from './variants.ts';

export type InitialSettings = Pick<TrainSettings, 'features' | 'encoderStart' | 'gatedStart' | 'topkDecoder' | 'initialThreshold'>;

/**
 * Both matrices of one dictionary, [features, 4·⌈width/4⌉] with zeros beyond the width. Decoder rows have unit length: a uniform distribution
 * brought to it (Kaiming's, whose bound that cancels), or for gated SAEs a normal one. The encoder is the decoder's transpose, at unit length
 * or balanced (`encoderStart`); an untied gated one is Kaiming-uniform for `width` inputs, as are both matrices of top-k SAEs whose rows are free. `draw` tells the draws of a seed apart.
 */
export function initialMatrices(gpu: Gpu, variant: TrainVariant, settings: InitialSettings, width: number, { seed, draw }: { seed: number; draw: number }): { encoder: Tensor; decoder: Tensor } {
  const shape = [settings.features, width];
  const uniform = (bound: number, stream: number): Tensor => randomUniform(gpu, shape, { seed, stream, low: -bound, high: bound });
  const kaiming = Math.sqrt(6 / width);
  const topk = variant === 'topk' || variant === 'batchtopk';
  if (topk && settings.topkDecoder === 'free') {
    const both = padRows(uniform(kaiming, 2 * draw));
    return { encoder: both, decoder: both };
  }
  const decoder = padRows(scaleRows(variant === 'gated' ? randomNormal(gpu, shape, { seed, stream: 2 * draw }) : uniform(1, 2 * draw)));
  if (variant === 'gated' && settings.gatedStart === 'untied') return { encoder: padRows(uniform(kaiming, 2 * draw + 1)), decoder };
  // Half of all codes d·x are above zero: the mean of Σ ReLU(d·x) d over directions d is features / (2 · width) times x.
  const balance = topk || settings.encoderStart === 'unit' ? 1 : Math.min(1, (2 * width) / settings.features);
  return { encoder: balance === 1 ? decoder : affine(decoder, balance), decoder };
}

/** What every number of a part that is not a matrix begins as. */
export function initialValue(part: SaePart, { initialThreshold }: Pick<TrainSettings, 'initialThreshold'>): number {
  return part === 'logThreshold' ? Math.log(initialThreshold) : 0;
}
