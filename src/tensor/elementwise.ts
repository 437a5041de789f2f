/** Arithmetic element by element. */
import binaryInPlaceSource from '../../kernels/binary-in-place.wgsl';
import binarySource from '../../kernels/binary.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel } from '../gpu/index.ts';
import { asMatrix, sameShape, showShape, Tensor } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const ELEMENTS_PER_GROUP = 256; // four elements a thread, 64 threads
const binaryKernel = defineKernel('binary', binarySource);
const binaryInPlaceKernel = defineKernel('binary-in-place', binaryInPlaceSource);

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
