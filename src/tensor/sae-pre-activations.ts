/**
 * Codes in two steps, for whoever wants to see or change what lies between: pre-activations, as SAELens' `hook_sae_acts_pre` has them, and codes of
 * these. With W_enc the transpose of `encoder`, for all kinds but two  pre = (x − b_dec) W_enc + b_enc:
 *
 *   vanilla               f = ReLU(pre)
 *   topk                  f = ReLU of the K largest pre; signed: pre has no b_enc, f no ReLU
 *   batchtopk, jumprelu   f = pre where pre > max(θ, 0)
 *   gated                 pre = (x − b_dec)(W_gate e^r) + b_mag;  f = ReLU(pre) where (x − b_dec) W_gate + b_gate > 0; signed: without ReLU
 *
 * Both steps together give the very numbers of `saeCodes`.
 */
import { ShapeError } from '../errors.ts';
import { activeMask } from './codes.ts';
import { add, affine, fill, mul, relu, sub } from './elementwise.ts';
import { saeWidths } from './sae.ts';
import { activation, preActivations } from './sae-encode.ts';
import { finishedParts, partOf, type SaeKind, type SaeWeights } from './sae-variant.ts';
import { recordGated } from './sae-variants/gated.ts';
import { showShape, Tensor } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

/** A gate's bias that no product outweighs. */
const OPEN = 1e38;

/** Pre-activations [n, features] of x [n, d]; weights of one SAE. ShapeError for weights that do not fit x or that lack a tensor of the kind. */
export function saePreActivations(x: Tensor, weights: SaeWeights, kind: SaeKind): Tensor {
  check(x, weights, kind);
  const { gpu } = x;
  return gpu.scope(() => {
    const u = preActivations(shifted(x, weights), weights, kind, false);
    if (kind.variant !== 'gated') return u;
    // The kernel that makes codes gives every magnitude as it is where all gates are open and nothing is rectified.
    const open = Tensor.empty(gpu, weights.encoderBias.shape);
    fill(open, OPEN);
    const pre = Tensor.empty(gpu, u.shape);
    const [n, features] = u.shape as [number, number];
    const gates = Tensor.empty(gpu, [1]);
    for (const window of rowWindows(gpu, n, [features * 4])) {
      const [from, to] = [windowOf(u, window, features * 4), windowOf(pre, window, features * 4)];
      recordGated(gpu, { dictionaries: 1, rows: window.count, features, first: 0 }, { u: from, weights: { ...weights, encoderBias: open }, codes: to, gates }, true, false);
    }
    return pre;
  });
}

/** Codes [n, features] of pre-activations [n, features], which stay as they are; x [n, d] is what a gated kind's gates are of. Throws as `saePreActivations` does. */
export function saeActivate(pre: Tensor, x: Tensor, weights: SaeWeights, kind: SaeKind): Tensor {
  check(x, weights, kind);
  const [n, features] = pre.shape as [number, number];
  if (pre.shape.length !== 2 || n !== x.shape[0] || features !== weights.encoder.shape[0]) {
    throw new ShapeError(`saeActivate: pre-activations ${showShape(pre.shape)} do not fit activations ${showShape(x.shape)} and an encoder of shape ${showShape(weights.encoder.shape)}`);
  }
  const { gpu } = x;
  const { variant, signed = false } = kind;
  return gpu.scope(() => {
    if (variant === 'gated') {
      const gates = activeMask(add(preActivations(shifted(x, weights), weights, kind), weights.encoderBias));
      return mul(signed ? pre : relu(pre), gates);
    }
    const codes = variant === 'topk' && signed ? pre.clone() : relu(pre);
    const activate = activation(gpu, weights, kind, 1);
    if (!activate) return codes;
    for (const window of rowWindows(gpu, n, [features * 4])) {
      const own = windowOf(codes, window, features * 4);
      activate({ dictionaries: 1, rows: window.count, features, first: 0 }, own, own);
    }
    return codes;
  });
}

/** b_dec − x, as the encoder's product takes it, which turns the sign. */
function shifted(x: Tensor, { decoderBias }: SaeWeights): Tensor {
  return affine(sub(x, decoderBias), -1);
}

function check(x: Tensor, weights: SaeWeights, kind: SaeKind): void {
  const { width, batched } = saeWidths(weights);
  if (batched || x.shape.length !== 2 || x.shape[1] !== width) throw new ShapeError(`sae: activations ${showShape(x.shape)} do not fit an encoder of shape ${showShape(weights.encoder.shape)}`);
  for (const part of finishedParts(kind.variant)) partOf(weights, part, kind.variant);
  if (kind.variant === 'topk' && kind.k === undefined) throw new ShapeError('sae: a topk dictionary needs the number k of its active features');
}
