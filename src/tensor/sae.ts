/**
 * Sparse autoencoders of the vanilla kind, one or many at once:  f = ReLU((x − b_dec) W_enc + b_enc),  x̂ = f W_dec + b_dec.
 * Both weight matrices are kept with one row a feature, [features, d]: `encoder` is the transpose of W_enc, `decoder` is W_dec.
 * With a leading axis D everywhere, one dispatch serves D dictionaries. Training steps are in sae-step.ts.
 */
import compactSource from '../../kernels/sae-compact.wgsl';
import decodeSource from '../../kernels/sae-decode.wgsl';
import encodeSource from '../../kernels/sae-encode.wgsl';
import gatherSource from '../../kernels/sae-gather.wgsl';
import scaleRowsSource from '../../kernels/sae-scale-rows.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel, type BufferSlice, type Gpu } from '../gpu/index.ts';
import { asMatrix, Tensor, sameShape, showShape } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const WORKGROUP = 64;
/** Rows and features that one thread of the encoder computes. */
const ENCODE_ROWS = 8;
const ENCODE_FEATURES = 4;

export const saeKernels = {
  gather: defineKernel('sae-gather', gatherSource),
  encode: defineKernel('sae-encode', encodeSource),
  compact: defineKernel('sae-compact', compactSource),
  decode: defineKernel('sae-decode', decodeSource),
  scaleRows: defineKernel('sae-scale-rows', scaleRowsSource),
};

/** Weights of one SAE, or of D stacked along a first axis. */
export interface SaeWeights {
  /** [D?, features, d] */
  encoder: Tensor;
  /** [D?, features] */
  encoderBias: Tensor;
  /** [D?, features, d] */
  decoder: Tensor;
  /** [D?, d] */
  decoderBias: Tensor;
}

export interface SaeShape { dictionaries: number; rows: number; width4: number; features: number }

/** vec4s that hold `width` numbers. */
export function vec4s(width: number): number {
  return Math.ceil(width / 4);
}

/** A multiple of 8 that holds `rows`: the stride of codes kept with their rows last. */
export function rowStrideOf(rows: number): number {
  return Math.ceil(rows / 8) * 8;
}

/** Threads to workgroups of the size that all these kernels use. */
export function groupsFor(threads: number): number {
  return Math.ceil(threads / WORKGROUP);
}

/** Checks that four tensors are the weights of one kind of SAE; returns what they say. ShapeError if they do not fit together. */
export function saeWidths(weights: SaeWeights): { dictionaries: number; features: number; width: number; batched: boolean } {
  const { encoder, encoderBias, decoder, decoderBias } = weights;
  const batched = encoder.shape.length === 3;
  const [features = 0, width = 0] = encoder.shape.slice(-2);
  const head = batched ? [encoder.shape[0]!] : [];
  const fits = (encoder.shape.length === 2 || batched) && sameShape(encoder.shape, decoder.shape)
    && sameShape(encoderBias.shape, [...head, features]) && sameShape(decoderBias.shape, [...head, width]);
  if (!fits) {
    throw new ShapeError(`sae: encoder ${showShape(encoder.shape)}, encoder bias ${showShape(encoderBias.shape)}, decoder ${showShape(decoder.shape)} and decoder bias ${showShape(decoderBias.shape)} do not fit together`);
  }
  return { dictionaries: head[0] ?? 1, features, width, batched };
}

/**
 * Picks rows by index from each pool of examples, scales each pool and pads rows to whole vec4s: [P, examples, width] -> [P, rows, 4·width4].
 * Without an index, rows stay as they are.
 */
export function gatherExamples(data: Tensor, scale: Tensor, choice: { index: Tensor; first: number; rows: number } | null, out?: Tensor): Tensor {
  const [pools = 0, examples = 0, width = 0] = data.shape;
  const rows = choice?.rows ?? examples;
  const stride = vec4s(width) * 4;
  const result = out ?? Tensor.empty(data.gpu, [pools, rows, stride]);
  data.gpu.dispatch({
    kernel: saeKernels.gather, constants: { GATHER: choice !== null },
    params: { pools, rows, examples, first: choice?.first ?? 0, source: width, width, stride },
    bindings: [data, choice?.index ?? scale, scale, result], groups: groupsFor(pools * rows * stride),
  });
  return result;
}

/** The first numbers of each row, or the row and zeros after it: [..., width] -> [..., stride]. The same tensor in a new handle if that is its width. */
export function resizeRows(x: Tensor, stride: number): Tensor {
  const { rows, width } = asMatrix(x);
  if (width === stride) return x.reshape(x.shape);
  const out = Tensor.empty(x.gpu, [...x.shape.slice(0, -1), stride]);
  const one = Tensor.from(x.gpu, [1], [1]);
  for (const window of rowWindows(x.gpu, rows, [width * 4, stride * 4])) {
    x.gpu.dispatch({
      kernel: saeKernels.gather, constants: { GATHER: false },
      params: { pools: 1, rows: window.count, examples: window.count, first: 0, source: width, width: Math.min(width, stride), stride },
      bindings: [windowOf(x, window, width * 4), one, one, windowOf(out, window, stride * 4)], groups: groupsFor(window.count * stride),
    });
  }
  one.dispose();
  return out;
}

/** Rows padded with zeros to a whole number of vec4s, [..., width] -> [..., 4·width4]. */
export function padRows(x: Tensor): Tensor {
  return resizeRows(x, vec4s(x.shape.at(-1)!) * 4);
}

export interface EncodeBuffers {
  x: BufferSlice; encoder: BufferSlice; encoderBias: BufferSlice; decoderBias: BufferSlice; pool: BufferSlice; codes: BufferSlice;
  transposed: BufferSlice; counts: BufferSlice;
}

/** Records the encoder. `transposed` and `counts` are written where asked for; else any small buffers of their own do. */
export function recordEncode(gpu: Gpu, shape: SaeShape, buffers: EncodeBuffers, want: { transposed: boolean; count: boolean }): void {
  const { dictionaries, rows, width4, features } = shape;
  const featureBlocks = Math.ceil(features / ENCODE_FEATURES);
  const rowBlocks = Math.ceil(rows / ENCODE_ROWS);
  gpu.dispatch({
    kernel: saeKernels.encode, constants: { TRANSPOSED: want.transposed, COUNT: want.count },
    params: { dictionaries, rows, width4, features, featureBlocks, rowBlocks, rowStride: rowStrideOf(rows) },
    bindings: [buffers.x, buffers.encoder, buffers.encoderBias, buffers.decoderBias, buffers.pool, buffers.codes, buffers.transposed, buffers.counts],
    groups: groupsFor(dictionaries * featureBlocks * rowBlocks),
  });
}

/** Lists of the non-zero values of each row; see kernels/sae-compact.wgsl. */
export interface Compact {
  /** u32 [rows, stride] */
  index: Tensor;
  /** [rows, stride] */
  value: Tensor;
  /** u32 [rows] */
  counts: Tensor;
}

/** Records compaction of `rows` rows of `length` values, `stride` apart; adds the counts to `totals` if given. */
export function recordCompact(gpu: Gpu, size: { rows: number; length: number; stride: number }, values: BufferSlice, out: Record<keyof Compact, BufferSlice>, totals?: BufferSlice, spare?: BufferSlice): void {
  gpu.dispatch({
    kernel: saeKernels.compact, constants: { TOTAL: totals !== undefined }, params: size,
    bindings: [values, out.index, out.value, out.counts, totals ?? spare!], groups: groupsFor(size.rows),
  });
}

/** The non-zero values of each row of [rows, width], in column order. */
export function compactRows(x: Tensor): Compact {
  const { gpu } = x;
  const { rows, width } = asMatrix(x);
  const out = { index: Tensor.empty(gpu, [rows, width], 'u32'), value: Tensor.empty(gpu, [rows, width]), counts: Tensor.empty(gpu, [rows], 'u32') };
  const spare = Tensor.empty(gpu, [1], 'u32');
  for (const window of rowWindows(gpu, rows, [width * 4, 4])) {
    const wide = width * 4;
    recordCompact(gpu, { rows: window.count, length: width, stride: width }, windowOf(x, window, wide), {
      index: windowOf(out.index, window, wide), value: windowOf(out.value, window, wide), counts: windowOf(out.counts, window, 4),
    }, undefined, spare);
  }
  spare.dispose();
  return out;
}

export interface DecodeBuffers {
  index: BufferSlice; value: BufferSlice; counts: BufferSlice; decoder: BufferSlice; decoderBias: BufferSlice; x: BufferSlice; pool: BufferSlice; out: BufferSlice;
}

/** Records the decoder; with `residual` the out is x̂ − x, else `x` and `pool` are not read. */
export function recordDecode(gpu: Gpu, shape: SaeShape, buffers: DecodeBuffers, residual: boolean): void {
  gpu.dispatch({
    kernel: saeKernels.decode, constants: { RESIDUAL: residual },
    params: { dictionaries: shape.dictionaries, rows: shape.rows, width4: shape.width4, features: shape.features },
    bindings: [buffers.index, buffers.value, buffers.counts, buffers.decoder, buffers.decoderBias, buffers.x, buffers.pool, buffers.out],
    groups: groupsFor(shape.dictionaries * shape.rows * shape.width4),
  });
}

/**
 * Codes and active counts. x [n, d] with weights of one SAE gives codes [n, features] and counts u32 [n]; weights stacked D deep take
 * x [P, n, d] and a pool for each dictionary (by default dictionary i reads pool i) and give [D, n, features] and [D, n].
 */
export function saeEncode(x: Tensor, weights: SaeWeights, pool?: readonly number[]): { codes: Tensor; counts: Tensor } {
  const { gpu } = x;
  const { dictionaries, features, width, batched } = saeWidths(weights);
  const [n = 0, d = 0] = x.shape.slice(-2);
  const pools = batched ? x.shape[0]! : 1;
  const pick = pool ?? Array.from({ length: dictionaries }, (_, i) => i);
  if (x.shape.length !== (batched ? 3 : 2) || d !== width || pick.length !== dictionaries || pick.some((p) => p >= pools)) {
    throw new ShapeError(`saeEncode: activations ${showShape(x.shape)} do not fit an encoder of shape ${showShape(weights.encoder.shape)}`);
  }
  return gpu.scope(() => {
    const head = batched ? [dictionaries] : [];
    const codes = Tensor.empty(gpu, [...head, n, features]);
    const counts = Tensor.zeros(gpu, [...head, n], 'u32');
    if (codes.size === 0) return { codes, counts };
    const [input, encoder, decoderBias] = [padRows(x), padRows(weights.encoder), padRows(weights.decoderBias)];
    const width4 = vec4s(width);
    const poolOf = Tensor.from(gpu, Uint32Array.from(pick), [dictionaries]);
    const spare = Tensor.empty(gpu, [4]);
    // Windows of rows are contiguous in a single dictionary only; a batch is small enough for one binding or refused by name.
    const windows = batched ? [{ start: 0, count: n }] : rowWindows(gpu, n, [width4 * 16, features * 4, 4]);
    const part = (tensor: Tensor, window: { start: number; count: number }, bytes: number): BufferSlice => (batched ? tensor : windowOf(tensor, window, bytes));
    for (const window of windows) {
      recordEncode(gpu, { dictionaries, rows: window.count, width4, features }, {
        x: part(input, window, width4 * 16), encoder, encoderBias: weights.encoderBias, decoderBias, pool: poolOf,
        codes: part(codes, window, features * 4), transposed: spare, counts: part(counts, window, 4),
      }, { transposed: false, count: true });
    }
    return { codes, counts };
  });
}

/** Reconstructions from codes [n, features], [n, d]; the work follows the number of active features. One SAE's weights. */
export function saeDecode(codes: Tensor, weights: SaeWeights): Tensor {
  const { gpu } = codes;
  const { features, width, batched } = saeWidths(weights);
  const [n = 0] = codes.shape;
  if (batched || codes.shape.length !== 2 || codes.shape[1] !== features) {
    throw new ShapeError(`saeDecode: codes ${showShape(codes.shape)} do not fit a decoder of shape ${showShape(weights.decoder.shape)}`);
  }
  return gpu.scope(() => {
    const width4 = vec4s(width);
    const out = Tensor.empty(gpu, [n, width4 * 4]);
    const { index, value, counts } = compactRows(codes);
    const [decoder, decoderBias] = [padRows(weights.decoder), padRows(weights.decoderBias)];
    for (const window of rowWindows(gpu, n, [features * 4, width4 * 16, 4])) {
      recordDecode(gpu, { dictionaries: 1, rows: window.count, width4, features }, {
        index: windowOf(index, window, features * 4), value: windowOf(value, window, features * 4), counts: windowOf(counts, window, 4),
        decoder, decoderBias, x: decoderBias, pool: counts, out: windowOf(out, window, width4 * 16),
      }, false);
    }
    return resizeRows(out, width);
  });
}

/** Rows brought to the given lengths, or to unit length; a row of zeros stays. x [..., width], lengths [rows]. */
export function scaleRows(x: Tensor, lengths?: Tensor): Tensor {
  const out = Tensor.empty(x.gpu, x.shape);
  const { rows, width } = asMatrix(x);
  if (lengths && lengths.size !== rows) throw new ShapeError(`scaleRows: ${lengths.size} lengths for ${rows} rows`);
  for (const window of rowWindows(x.gpu, rows, [width * 4, 4])) {
    const slice = windowOf(x, window, width * 4);
    x.gpu.dispatch({
      kernel: saeKernels.scaleRows, constants: { UNIT: !lengths }, params: { rows: window.count, width },
      bindings: [slice, lengths ? windowOf(lengths, window, 4) : slice, windowOf(out, window, width * 4)], groups: groupsFor(window.count),
    });
  }
  return out;
}
