/** Codes of finished sparse autoencoders of every kind (sae-variants/), and how trained weights become a finished dictionary's. */
import { ShapeError } from '../errors.ts';
import type { BufferSlice, Gpu } from '../gpu/index.ts';
import { add, affine, exp } from './elementwise.ts';
import { matmul } from './matmul.ts';
import { countRows, recordShift, recordTurn, saeVariant, saeWidths } from './sae.ts';
import { finishedParts, partOf, type SaeKind, type SaeVariant, type SaeWeights } from './sae-variant.ts';
import { recordGated } from './sae-variants/gated.ts';
import { recordThreshold } from './sae-variants/threshold.ts';
import { recordTopK } from './sae-variants/topk.ts';
import { showShape, Tensor } from './tensor.ts';
import { rowWindows, windowOf, type RowWindow } from './windows.ts';

const VANILLA: SaeKind = { variant: 'vanilla' };

/**
 * Codes. x [n, d] with weights of one SAE gives [n, features]; weights stacked D deep take x [P, n, d] and a pool for each dictionary
 * (by default dictionary i reads pool i) and give [D, n, features]. Throws ShapeError for weights that do not fit x or that lack a tensor
 * of the kind, and for a top-k kind without its k.
 */
export function saeCodes(x: Tensor, weights: SaeWeights, pool?: readonly number[], kind: SaeKind = VANILLA): Tensor {
  const { gpu } = x;
  const { dictionaries, features, width, batched } = saeWidths(weights);
  const [n = 0, d = 0] = x.shape.slice(-2);
  const pools = batched ? x.shape[0]! : 1;
  const pick = pool ?? Array.from({ length: dictionaries }, (_, i) => i);
  if (x.shape.length !== (batched ? 3 : 2) || d !== width || pick.length !== dictionaries || pick.some((p) => p >= pools)) {
    throw new ShapeError(`saeEncode: activations ${showShape(x.shape)} do not fit an encoder of shape ${showShape(weights.encoder.shape)}`);
  }
  for (const part of finishedParts(kind.variant)) partOf(weights, part, kind.variant);
  if (kind.variant === 'topk' && kind.k === undefined) throw new ShapeError('saeEncode: a topk dictionary needs the number k of its active features');
  return gpu.scope(() => {
    const head = batched ? [dictionaries] : [];
    const shift = Tensor.empty(gpu, [...head, n, width]);
    if (dictionaries * n * features === 0) return Tensor.empty(gpu, [...head, n, features]);
    const poolOf = Tensor.from(gpu, Uint32Array.from(pick), [dictionaries]);
    // Windows of rows are contiguous in a single dictionary only; a batch is small enough for one binding or refused by name.
    const windows = (bytesPerRow: number): RowWindow[] => (batched ? [{ start: 0, count: n }] : rowWindows(gpu, n, [bytesPerRow]));
    const part = (tensor: Tensor, window: RowWindow, bytesPerRow: number): BufferSlice => (batched ? tensor : windowOf(tensor, window, bytesPerRow));
    for (const window of windows(width * 4)) {
      recordShift(gpu, { dictionaries, rows: window.count, width, first: 0 }, { x: part(x, window, width * 4), decoderBias: weights.decoderBias, pool: poolOf, out: part(shift, window, width * 4) });
    }
    const pre = preActivations(shift, weights, kind);
    const activate = activation(gpu, weights, kind, dictionaries);
    if (!activate) return pre;
    // A gated dictionary's codes go where there is room, the others' stay in place.
    const out = kind.variant === 'gated' ? Tensor.empty(gpu, pre.shape) : pre;
    for (const window of windows(features * 4)) {
      activate({ dictionaries, rows: window.count, features, first: 0 }, part(pre, window, features * 4), part(out, window, features * 4));
    }
    return out;
  });
}

/** The encoder's product, with what of the activation is the same for every code: its bias where all codes have one, and unless told otherwise ReLU. */
export function preActivations(shift: Tensor, weights: SaeWeights, { variant, signed = false }: SaeKind, rectified = true): Tensor {
  const { gpu } = shift;
  const [n, width] = shift.shape.slice(-2) as [number, number];
  const features = weights.encoder.shape.at(-2)!;
  const bare = variant === 'gated' || (variant === 'topk' && signed);
  const turned = gpu.software && shift.byteLength <= gpu.limits.bindingBytes && turn(shift);
  return matmul(turned || shift, weights.encoder, {
    transposeA: turned !== false, transposeB: true, scale: -1, variant: saeVariant(gpu, n, features, width), ...(bare ? {} : { bias: weights.encoderBias, ...(rectified ? { activation: 'relu' } : {}) }),
  });
}

/** What makes codes of pre-activations, on one window after the other; null where nothing is left to do. */
export function activation(gpu: Gpu, weights: SaeWeights, { variant, k, signed = false }: SaeKind, dictionaries: number): ((size: Parameters<typeof recordTopK>[1], pre: BufferSlice, out: BufferSlice) => void) | null {
  switch (variant) {
    case 'vanilla': return null;
    case 'topk': {
      const most = k instanceof Tensor ? k : Tensor.from(gpu, new Float32Array(dictionaries).fill(k!), [dictionaries]);
      return (size, pre) => recordTopK(gpu, size, { values: pre, k: most }, signed);
    }
    // The product's ReLU changes nothing where only codes above a threshold of at least zero are kept.
    case 'batchtopk': case 'jumprelu': return (size, pre) => recordThreshold(gpu, size, { codes: pre, threshold: weights.threshold! }, true);
    case 'gated': {
      const gates = Tensor.empty(gpu, [1]);
      return (size, pre, out) => recordGated(gpu, size, { u: pre, weights, codes: out, gates }, signed, false);
    }
  }
}

/** [D?, n, width] -> [D?, width, n]. */
function turn(x: Tensor): Tensor {
  const [rows, width] = x.shape.slice(-2) as [number, number];
  const dictionaries = x.shape.length === 3 ? x.shape[0]! : 1;
  const out = Tensor.empty(x.gpu, [...x.shape.slice(0, -2), width, rows]);
  recordTurn(x.gpu, { dictionaries, rows, width }, x, out);
  return out;
}

/** Codes, as `saeCodes` gives them, and how many are active (not zero) in each row: u32 [D?, n]. */
export function saeEncode(x: Tensor, weights: SaeWeights, pool?: readonly number[], kind: SaeKind = VANILLA): { codes: Tensor; counts: Tensor } {
  const codes = saeCodes(x, weights, pool, kind);
  return { codes, counts: countRows(codes) };
}

/**
 * A trained dictionary's weights in the units of the activations, which training divided by `scale`: c. As every kind's activation is
 * homogeneous, act(c·pre) = c·act(pre) where thresholds grow with c, it is enough to multiply what is added or compared:
 *
 *   b_enc, b_gate, b_mag, b_dec and θ ← c times themselves; both matrices and r stay.
 *
 * `batchThreshold` [1] is a BatchTopK dictionary's running threshold. Weights are of one dictionary; the result's tensors are new.
 */
export function finishedWeights(variant: SaeVariant, weights: SaeWeights, scale: number, batchThreshold?: Tensor): SaeWeights {
  const { encoder } = weights;
  const { gpu } = encoder;
  const { features, batched } = saeWidths(weights);
  if (batched) throw new ShapeError('sae: the weights of a single dictionary are needed, not a stack');
  return gpu.scope((): SaeWeights => {
    const scaled = (part: 'encoderBias' | 'decoderBias' | 'magnitudeBias'): Tensor => affine(partOf(weights, part, variant), scale);
    const finished: SaeWeights = { encoder: encoder.clone(), encoderBias: scaled('encoderBias'), decoder: weights.decoder.clone(), decoderBias: scaled('decoderBias') };
    if (variant === 'gated') return { ...finished, magnitudeScale: partOf(weights, 'magnitudeScale', variant).clone(), magnitudeBias: scaled('magnitudeBias') };
    if (variant === 'jumprelu') return { ...finished, threshold: affine(exp(partOf(weights, 'logThreshold', variant)), scale) };
    if (variant !== 'batchtopk') return finished;
    if (batchThreshold?.size !== 1) throw new ShapeError('sae: a batchtopk dictionary needs its running threshold, one number');
    const every = add(Tensor.zeros(gpu, [features, 1]), batchThreshold).reshape([features]);
    return { ...finished, threshold: affine(every, scale) };
  });
}
