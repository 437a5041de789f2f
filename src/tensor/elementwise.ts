/** Arithmetic element by element, constants, widening of 16-bit floats, and transposition. */
import affineInPlaceSource from '../../kernels/affine-in-place.wgsl';
import binaryInPlaceSource from '../../kernels/binary-in-place.wgsl';
import binarySource from '../../kernels/binary.wgsl';
import fillSource from '../../kernels/fill.wgsl';
import transposeSource from '../../kernels/transpose.wgsl';
import unarySource from '../../kernels/unary.wgsl';
import narrow16Source from '../../kernels/narrow16.wgsl';
import widen16Source from '../../kernels/widen16.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel } from '../gpu/index.ts';
import { asMatrix, sameShape, showShape, Tensor } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const ELEMENTS_PER_GROUP = 256; // four elements a thread, 64 threads
const binaryKernel = defineKernel('binary', binarySource);
const binaryInPlaceKernel = defineKernel('binary-in-place', binaryInPlaceSource);
const unaryKernel = defineKernel('unary', unarySource);
const affineInPlaceKernel = defineKernel('affine-in-place', affineInPlaceSource);
const fillKernel = defineKernel('fill', fillSource);
const widen16Kernel = defineKernel('widen16', widen16Source);
const narrow16Kernel = defineKernel('narrow16', narrow16Source);
const transposeKernel = defineKernel('transpose', transposeSource);

const OPERATIONS = { add: 0, sub: 1, mul: 2, addScaled: 3 } as const;
type Operation = keyof typeof OPERATIONS;

export interface OutOption {
  /** Where to write; it may be the first operand. A new tensor unless given. */
  out?: Tensor;
}

/** a + b; b has the shape of a, or is a vector over a's last axis. */
export function add(a: Tensor, b: Tensor, options: OutOption = {}): Tensor {
  return binary('add', a, b, 1, options.out);
}

/** a − b; b has the shape of a, or is a vector over a's last axis. */
export function sub(a: Tensor, b: Tensor, options: OutOption = {}): Tensor {
  return binary('sub', a, b, 1, options.out);
}

/** a · b element by element; b has the shape of a, or is a vector over a's last axis. */
export function mul(a: Tensor, b: Tensor, options: OutOption = {}): Tensor {
  return binary('mul', a, b, 1, options.out);
}

/** a + factor · b; b has the shape of a, or is a vector over a's last axis. */
export function addScaled(a: Tensor, b: Tensor, factor: number, options: OutOption = {}): Tensor {
  return binary('addScaled', a, b, factor, options.out);
}

function binary(operation: Operation, a: Tensor, b: Tensor, factor: number, target?: Tensor): Tensor {
  const { gpu } = a;
  const { rows, width } = asMatrix(a);
  const broadcast = !sameShape(a.shape, b.shape);
  if (broadcast && b.size !== width) throw new ShapeError(`${operation}: ${showShape(b.shape)} fits neither ${showShape(a.shape)} nor its last axis`);
  const out = outputFor(operation, a, target);
  if (a.size === 0) return out;
  // A buffer cannot be read and written by one dispatch: an operand that shares the output's is copied first, but for a itself.
  const inPlace = out.storage === a.storage && out.byteOffset === a.byteOffset;
  const left = !inPlace && out.storage === a.storage ? a.clone() : a;
  const right = out.storage === b.storage ? b.clone() : b;
  const constants = { OPERATION: OPERATIONS[operation], BROADCAST: broadcast ? 1 : 0 };
  const bytes = broadcast ? width * 4 : 4;
  for (const window of rowWindows(gpu, broadcast ? rows : a.size, [bytes])) {
    const size = window.count * (bytes / 4);
    const second = broadcast ? right : windowOf(right, window, bytes);
    gpu.dispatch({
      kernel: inPlace ? binaryInPlaceKernel : binaryKernel, constants, params: { size, width, factor },
      groups: Math.ceil(size / ELEMENTS_PER_GROUP),
      bindings: inPlace ? [windowOf(out, window, bytes), second] : [windowOf(left, window, bytes), second, windowOf(out, window, bytes)],
    });
  }
  if (left !== a) left.dispose();
  if (right !== b) right.dispose();
  return out;
}

function outputFor(operation: string, x: Tensor, out?: Tensor): Tensor {
  if (out && !sameShape(out.shape, x.shape)) throw new ShapeError(`${operation}: out ${showShape(out.shape)} is not ${showShape(x.shape)}`);
  return out ?? Tensor.empty(x.gpu, x.shape);
}

/** scale · x + shift. */
export function affine(x: Tensor, scale: number, shift = 0, { out: target }: OutOption = {}): Tensor {
  const out = outputFor('affine', x, target);
  if (out.storage !== x.storage || out.byteOffset !== x.byteOffset) {
    const source = out.storage === x.storage ? x.clone() : x;
    unary(source, out, 0, scale, shift);
    if (source !== x) source.dispose();
    return out;
  }
  for (const window of rowWindows(x.gpu, x.size, [4])) {
    x.gpu.dispatch({
      kernel: affineInPlaceKernel, params: { size: window.count, scale, shift },
      groups: Math.ceil(window.count / ELEMENTS_PER_GROUP), bindings: [windowOf(out, window, 4)],
    });
  }
  return out;
}

/** max(x, 0). */
export function relu(x: Tensor): Tensor {
  return unary(x, outputFor('relu', x), 1);
}

/** e^x. */
export function exp(x: Tensor): Tensor {
  return unary(x, outputFor('exp', x), 3);
}

/** GELU in its tanh form, "gelu_new": ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))) (Hendrycks and Gimpel 2016). */
export function gelu(x: Tensor): Tensor {
  return unary(x, outputFor('gelu', x), 2);
}

/** Sets every element of x, f32 or u32, to `value`, in place. */
export function fill(x: Tensor, value: number): void {
  const bits = x.dtype === 'u32' ? value >>> 0 : new Uint32Array(Float32Array.of(value).buffer)[0]!;
  if (bits === 0) {
    x.gpu.clear(x, x.byteLength);
    return;
  }
  for (const window of rowWindows(x.gpu, x.size, [4])) {
    x.gpu.dispatch({
      kernel: fillKernel, params: { size: window.count, bits },
      groups: Math.ceil(window.count / ELEMENTS_PER_GROUP), bindings: [windowOf(x, window, 4)],
    });
  }
}

/** The numbers of x as f16, each rounded to a nearest half; what is beyond their range becomes infinite. */
export function narrow16(x: Tensor): Tensor {
  const out = Tensor.empty(x.gpu, x.shape, 'f16');
  for (const { start, count } of rowWindows(x.gpu, Math.ceil(x.size / 2), [8])) {
    const size = Math.min(2 * count, x.size - 2 * start);
    x.gpu.dispatch({
      kernel: narrow16Kernel, params: { size }, groups: Math.ceil(count / 64),
      bindings: [
        { storage: x.storage, byteOffset: x.byteOffset + start * 8, byteLength: size * 4 },
        { storage: out.storage, byteOffset: out.byteOffset + start * 4, byteLength: count * 4 },
      ],
    });
  }
  return out;
}

/** f32 [count] from 16-bit floats packed two a u32 word, the low half first. Exact, subnormals, infinities and NaN included. */
export function widen16(packed: Tensor, count: number, format: 'f16' | 'bf16'): Tensor {
  const words = Math.ceil(count / 2);
  if (packed.dtype !== 'u32' || packed.size < words) throw new ShapeError(`widen16: ${count} numbers are not in ${packed.dtype} ${showShape(packed.shape)}`);
  const { gpu } = packed;
  const out = Tensor.empty(gpu, [count]);
  for (const window of rowWindows(gpu, words, [4, 8])) {
    const size = Math.min(2 * window.count, count - 2 * window.start);
    gpu.dispatch({
      kernel: widen16Kernel, constants: { BFLOAT: format === 'bf16' ? 1 : 0 }, params: { size }, groups: Math.ceil(window.count / 128),
      bindings: [windowOf(packed, window, 4), { storage: out.storage, byteOffset: out.byteOffset + window.start * 8, byteLength: size * 4 }],
    });
  }
  return out;
}

/** x [..., rows, columns] with its last two axes exchanged. Throws ShapeError for fewer than two axes. */
export function transpose(x: Tensor): Tensor {
  const { gpu } = x;
  if (x.shape.length < 2) throw new ShapeError(`transpose: ${showShape(x.shape)} has fewer than two axes`);
  const [rows, columns] = x.shape.slice(-2) as [number, number];
  const out = Tensor.empty(gpu, [...x.shape.slice(0, -2), columns, rows]);
  if (out.size === 0) return out;
  const batch = x.size / (rows * columns);
  const windows = rowWindows(gpu, x.size, [4]);
  for (const from of windows) {
    for (const to of windows) {
      gpu.dispatch({
        kernel: transposeKernel,
        params: { batch, rows, columns, xStart: from.start, xSize: from.count, yStart: to.start, ySize: to.count },
        groups: Math.ceil((batch * Math.ceil(rows / 4) * Math.ceil(columns / 4)) / 64),
        bindings: [windowOf(x, from, 4), windowOf(out, to, 4)],
      });
    }
  }
  return out;
}

function unary(x: Tensor, out: Tensor, operation: number, scale = 1, shift = 0): Tensor {
  for (const window of rowWindows(x.gpu, x.size, [4])) {
    x.gpu.dispatch({
      kernel: unaryKernel, constants: { OPERATION: operation }, params: { size: window.count, scale, shift },
      groups: Math.ceil(window.count / ELEMENTS_PER_GROUP), bindings: [windowOf(x, window, 4), windowOf(out, window, 4)],
    });
  }
  return out;
}
