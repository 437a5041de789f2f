/**
 * The kinds of sparse autoencoder (evaluation.md §7.2), all of the form x̂ = f W_dec + b_dec: what each consists of. How codes f come about
 * and what the loss adds stands in sae-variants/, one file a kind.
 */
import { ShapeError } from '../errors.ts';
import type { Tensor } from './tensor.ts';

export type SaeVariant = 'vanilla' | 'gated' | 'topk' | 'batchtopk' | 'jumprelu';
export const saeVariants: readonly SaeVariant[] = ['vanilla', 'gated', 'topk', 'batchtopk', 'jumprelu'];

/** Weights of one SAE, or of D stacked along a first axis. */
export interface SaeWeights {
  /** [D?, features, d]: the transpose of W_enc; of W_gate in a gated one. */
  encoder: Tensor;
  /** [D?, features]; b_gate in a gated one. */
  encoderBias: Tensor;
  /** [D?, features, d] */
  decoder: Tensor;
  /** [D?, d] */
  decoderBias: Tensor;
  /** Gated: r_mag, [D?, features]; W_mag is e^r W_gate. */
  magnitudeScale?: Tensor;
  /** Gated: b_mag, [D?, features]. */
  magnitudeBias?: Tensor;
  /** JumpReLU in training: log θ, [D?, features], which keeps θ above zero whatever step is taken. */
  logThreshold?: Tensor;
  /** JumpReLU and BatchTopK where they are used: θ, [D?, features]. Codes not above it are zero. */
  threshold?: Tensor;
}

export type SaePart = keyof SaeWeights;

/** How codes are made from pre-activations. */
export interface SaeKind {
  variant: SaeVariant;
  /** Top-k: active features of an example; one number, or [D]. */
  k?: number | Tensor;
  /** As released with the paper: top-k without ReLU and encoder bias, gated magnitudes without ReLU, so that codes may be negative. */
  signed?: boolean;
}

const PARTS: Readonly<Record<SaeVariant, readonly SaePart[]>> = {
  vanilla: ['encoder', 'encoderBias', 'decoder', 'decoderBias'],
  gated: ['encoder', 'encoderBias', 'decoder', 'decoderBias', 'magnitudeScale', 'magnitudeBias'],
  topk: ['encoder', 'encoderBias', 'decoder', 'decoderBias'],
  batchtopk: ['encoder', 'encoderBias', 'decoder', 'decoderBias'],
  jumprelu: ['encoder', 'encoderBias', 'decoder', 'decoderBias', 'logThreshold'],
};

/** The tensors that training changes, in the order in which checkpoints list them. */
export function saeParts(variant: SaeVariant): readonly SaePart[] {
  return PARTS[variant];
}

/** The tensors that a finished dictionary consists of. */
export function finishedParts(variant: SaeVariant): readonly SaePart[] {
  if (variant === 'batchtopk') return [...PARTS.batchtopk, 'threshold'];
  return PARTS[variant].map((part) => (part === 'logThreshold' ? 'threshold' : part));
}

/** Shape of a part of one dictionary. */
export function partShape(part: SaePart, { features, width }: { features: number; width: number }): number[] {
  if (part === 'encoder' || part === 'decoder') return [features, width];
  return part === 'decoderBias' ? [width] : [features];
}

/** The tensor of that name. Throws ShapeError where a kind needs it and it is not there. */
export function partOf(weights: SaeWeights, part: SaePart, variant: SaeVariant): Tensor {
  const tensor = weights[part];
  if (!tensor) throw new ShapeError(`sae: a ${variant} dictionary needs the tensor ${part}`);
  return tensor;
}
