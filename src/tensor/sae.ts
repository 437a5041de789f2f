/**
 * Sparse autoencoders, one or many at once: what their kinds share, x̂ = f W_dec + b_dec above all.
 * Both weight matrices are kept with one row a feature, [features, d]: `encoder` is the transpose of W_enc, `decoder` is W_dec.
 * With a leading axis D everywhere, one dispatch serves D dictionaries. Codes are made in sae-encode.ts, training steps in sae-step.ts.
 */
import compactSource from '../../kernels/sae-compact.wgsl';
import decodeSource from '../../kernels/sae-decode.wgsl';
import decodeWideSource from '../../kernels/sae-decode-wide.wgsl';
import gatherSource from '../../kernels/sae-gather.wgsl';
import scaleRowsSource from '../../kernels/sae-scale-rows.wgsl';
import shiftSource from '../../kernels/sae-shift.wgsl';
import turnSource from '../../kernels/sae-turn.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel, type BufferSlice, type Gpu, type Kernel } from '../gpu/index.ts';
import { gatherRows } from './index-ops.ts';
import { chooseVariant, type MatmulVariant } from './matmul-plan.ts';
import { rowGroups, rowLanes } from './row-lanes.ts';
import type { SaeWeights } from './sae-variant.ts';
import { asMatrix, Tensor, sameShape, showShape } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const WORKGROUP = 64;
/** vec4s of a row beyond which a software driver takes sae-decode-wide: 8 threads of sae-decode do not hold longer rows. */
const DECODE_WIDE = 32;
/** Rows that one thread of sae-shift and of sae-turn computes. */
const SHIFT_ROWS = 8;

export const saeKernels = {
  gather: defineKernel('sae-gather', gatherSource),
  shift: defineKernel('sae-shift', shiftSource),
  turn: defineKernel('sae-turn', turnSource),
  compact: defineKernel('sae-compact', compactSource),
  decode: defineKernel('sae-decode', decodeSource),
  decodeWide: defineKernel('sae-decode-wide', decodeWideSource),
  scaleRows: defineKernel('sae-scale-rows', scaleRowsSource),
};

export interface SaeShape { dictionaries: number; rows: number; width4: number; features: number }

/** vec4s that hold `width` numbers. */
export function vec4s(width: number): number {
  return Math.ceil(width / 4);
}

/** Threads to workgroups of the size that all these kernels use. */
export function groupsFor(threads: number): number {
  return Math.ceil(threads / WORKGROUP);
}

/** Checks that tensors are the weights of SAEs; returns what they say. ShapeError if they do not fit together. */
export function saeWidths(weights: SaeWeights): { dictionaries: number; features: number; width: number; batched: boolean } {
  const { encoder, encoderBias, decoder, decoderBias, ...others } = weights;
  const batched = encoder.shape.length === 3;
  const [features = 0, width = 0] = encoder.shape.slice(-2);
  const head = batched ? [encoder.shape[0]!] : [];
  const fits = (encoder.shape.length === 2 || batched) && sameShape(encoder.shape, decoder.shape)
    && sameShape(encoderBias.shape, [...head, features]) && sameShape(decoderBias.shape, [...head, width]);
  if (!fits) {
    throw new ShapeError(`sae: encoder ${showShape(encoder.shape)}, encoder bias ${showShape(encoderBias.shape)}, decoder ${showShape(decoder.shape)} and decoder bias ${showShape(decoderBias.shape)} do not fit together`);
  }
  for (const [part, tensor] of Object.entries(others) as [string, Tensor | undefined][]) {
    if (tensor && !sameShape(tensor.shape, [...head, features])) throw new ShapeError(`sae: ${part} ${showShape(tensor.shape)} does not fit the encoder ${showShape(encoder.shape)}`);
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

/** Lists of the non-zero values of each row; see kernels/sae-compact.wgsl. */
export interface Compact {
  /** u32 [rows, width] */
  index: Tensor;
  /** [rows, width] */
  value: Tensor;
  /** u32 [rows] */
  counts: Tensor;
}

/** Records the listing of what is not zero in `rows` rows of `length` values. Where index or value is not wanted, the counts alone or the other are written. */
export function recordCompact(
  gpu: Gpu, size: { rows: number; length: number }, values: BufferSlice,
  out: { index: BufferSlice; value: BufferSlice; counts: BufferSlice }, want: { index: boolean; value: boolean }, software = gpu.software,
): void {
  const lanes = rowLanes(software, size.length);
  gpu.dispatch({
    kernel: saeKernels.compact, constants: { LANES: lanes, INDEX: want.index, VALUE: want.value }, params: size,
    bindings: [values, out.index, out.value, out.counts], groups: rowGroups(size.rows, lanes),
  });
}

/** The non-zero values of each row of [rows, width], in column order. */
export function compactRows(x: Tensor): Compact {
  const { gpu } = x;
  const { rows, width } = asMatrix(x);
  const out = { index: Tensor.empty(gpu, [rows, width], 'u32'), value: Tensor.empty(gpu, [rows, width]), counts: Tensor.empty(gpu, [rows], 'u32') };
  for (const window of rowWindows(gpu, rows, [width * 4, 4])) {
    const wide = width * 4;
    recordCompact(gpu, { rows: window.count, length: width }, windowOf(x, window, wide), {
      index: windowOf(out.index, window, wide), value: windowOf(out.value, window, wide), counts: windowOf(out.counts, window, 4),
    }, { index: true, value: true });
  }
  return out;
}

/** How many values of each row of [..., width] are not zero: u32 [...]. */
export function countRows(x: Tensor): Tensor {
  const { gpu } = x;
  const { rows, width } = asMatrix(x);
  const counts = Tensor.empty(gpu, x.shape.slice(0, -1), 'u32');
  const [index, value] = [Tensor.empty(gpu, [1], 'u32'), Tensor.empty(gpu, [1])];
  for (const window of rowWindows(gpu, rows, [width * 4, 4])) {
    recordCompact(gpu, { rows: window.count, length: width }, windowOf(x, window, width * 4), { index, value, counts: windowOf(counts, window, 4) }, { index: false, value: false });
  }
  index.dispose();
  value.dispose();
  return counts;
}

/** Records decoderBias − x; `first` is the first dictionary in hand of those that `pool` is for. */
export function recordShift(
  gpu: Gpu, size: { dictionaries: number; rows: number; width: number; first: number }, buffers: { x: BufferSlice; decoderBias: BufferSlice; pool: BufferSlice; out: BufferSlice },
): void {
  gpu.dispatch({
    kernel: saeKernels.shift, params: size, bindings: [buffers.x, buffers.decoderBias, buffers.pool, buffers.out],
    groups: groupsFor(size.dictionaries * Math.ceil(size.rows / SHIFT_ROWS) * size.width),
  });
}

/** Records matrices turned over: [dictionaries, rows, width] -> [dictionaries, width, rows]. */
export function recordTurn(gpu: Gpu, size: { dictionaries: number; rows: number; width: number }, x: BufferSlice, out: BufferSlice): void {
  gpu.dispatch({ kernel: saeKernels.turn, params: size, bindings: [x, out], groups: groupsFor(size.dictionaries * Math.ceil(size.rows / SHIFT_ROWS) * size.width) });
}

export interface DecodeBuffers { index: BufferSlice; counts: BufferSlice; codes: BufferSlice; decoder: BufferSlice; start: BufferSlice; out: BufferSlice }

/** Records the decoder; `start` is its bias, or with `each` what every single row is added to. */
export function recordDecode(gpu: Gpu, shape: SaeShape, buffers: DecodeBuffers, each: boolean, software = gpu.software): void {
  const { dictionaries, rows, width4, features } = shape;
  const lines = dictionaries * rows;
  const { kernel, constants } = decodePipeline(software, width4, each);
  gpu.dispatch({
    kernel, constants, params: { dictionaries, rows, width4, features },
    bindings: [buffers.index, buffers.counts, buffers.codes, buffers.decoder, buffers.start, buffers.out],
    groups: groupsFor(lines * ('COLUMNS' in constants ? Math.ceil(width4 / constants.COLUMNS) : constants.LANES)),
  });
}

/** The decoder's kernel. */
export function decodePipeline(software: boolean, width4: number, each: boolean): { kernel: Kernel; constants: { EACH: boolean } & ({ COLUMNS: number } | { LANES: number }) } {
  if (software && width4 > DECODE_WIDE) return { kernel: saeKernels.decodeWide, constants: { EACH: each, LANES: 8 } };
  return { kernel: saeKernels.decode, constants: { EACH: each, COLUMNS: columnsOf(software, width4) } };
}

/**
 * vec4s of a row that one thread of the kernels over active features computes. A software driver pays for each number that a list is read
 * by each thread; a real GPU wants threads. Sums do not depend on it.
 */
export function columnsOf(software: boolean, width4: number): number {
  if (!software) return 1;
  return width4 >= 16 ? 4 : width4 >= 8 ? 2 : 1;
}

/**
 * The matmul kernel for products of dictionaries' matrices. It does not depend on how many dictionaries there are, so that a dictionary's
 * bytes do not either: chosen as for one, and never the one whose sums are split by how busy the device is.
 */
export function saeVariant(gpu: Gpu, m: number, n: number, k: number, software = gpu.software): MatmulVariant {
  const shape = { batch: 1, m, n, k, transposeA: false, transposeB: false, sharedB: false, outWidth: n, outColumn: 0, residualWidth: 0, residualColumn: 0, biasBatch: 0 };
  const variant = chooseVariant(shape, { ...gpu.limits, software, subgroupSize: gpu.subgroupSize });
  return variant === 'vector' && !software ? 'registers' : variant;
}

/**
 * Reconstructions from codes [n, features], [n, d]; the work follows the number of active features. One SAE's weights. A decoder beyond one binding
 * is read in windows of features, each of which adds to what those before it made. `limits` are for tests.
 */
export function saeDecode(codes: Tensor, weights: SaeWeights, limits: Pick<Gpu['limits'], 'bindingBytes'> = codes.gpu.limits): Tensor {
  const { gpu } = codes;
  const { features, width, batched } = saeWidths(weights);
  const [n = 0] = codes.shape;
  if (batched || codes.shape.length !== 2 || codes.shape[1] !== features) {
    throw new ShapeError(`saeDecode: codes ${showShape(codes.shape)} do not fit a decoder of shape ${showShape(weights.decoder.shape)}`);
  }
  return gpu.scope(() => {
    const bytesPerRow = vec4s(width) * 16;
    const [decoder, bias] = [padRows(weights.decoder), padRows(weights.decoderBias)];
    const windows = rowWindows({ limits }, features, [bytesPerRow]);
    if (windows.length <= 1) return resizeRows(decodeWindow(codes, decoder, bias, width, false), width);
    const every = Tensor.from(gpu, Uint32Array.from({ length: n }, (_, row) => row), [n]);
    const sum = windows.reduce((start, window, i) => gpu.scope(() => {
      const own = gatherRows(codes, every, { offset: window.start, width: window.count });
      return decodeWindow(own, windowOf(decoder, window, bytesPerRow), start, width, i > 0);
    }), bias);
    return resizeRows(sum, width);
  });
}

/** Codes times some of a decoder's rows, added to its bias or, with `each`, to what every row has already: [n, 4 · width4]. */
function decodeWindow(codes: Tensor, decoder: BufferSlice, start: Tensor, width: number, each: boolean): Tensor {
  const { gpu } = codes;
  const [n, features] = codes.shape as [number, number];
  const width4 = vec4s(width);
  return gpu.scope(() => {
    const out = Tensor.empty(gpu, [n, width4 * 4]);
    const [index, counts, value] = [Tensor.empty(gpu, [n, features], 'u32'), Tensor.empty(gpu, [n], 'u32'), Tensor.empty(gpu, [1])];
    for (const window of rowWindows(gpu, n, [features * 4, width4 * 16, 4])) {
      const part = { index: windowOf(index, window, features * 4), counts: windowOf(counts, window, 4), codes: windowOf(codes, window, features * 4) };
      recordCompact(gpu, { rows: window.count, length: features }, part.codes, { ...part, value }, { index: true, value: false });
      recordDecode(gpu, { dictionaries: 1, rows: window.count, width4, features }, { ...part, decoder, start: each ? windowOf(start, window, width4 * 16) : start, out: windowOf(out, window, width4 * 16) }, each);
    }
    return out;
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
