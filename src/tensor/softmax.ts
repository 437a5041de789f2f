/** Softmax, log-softmax and argmax over the last axis. */
import argmaxSource from '../../kernels/argmax.wgsl';
import softmaxSource from '../../kernels/softmax.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel } from '../gpu/index.ts';
import { rowGroups, rowLanes } from './row-lanes.ts';
import { asMatrix, showShape, Tensor } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const softmaxKernel = defineKernel('softmax', softmaxSource);
const argmaxKernel = defineKernel('argmax', argmaxSource);

/** exp(x) / Σ exp(x) over the last axis of x [..., width], or its logarithm; stable for any finite input. */
export function softmax(x: Tensor, { log = false }: { log?: boolean } = {}): Tensor {
  const { gpu } = x;
  const { rows, width } = asMatrix(x);
  const out = Tensor.empty(gpu, x.shape);
  if (out.size === 0) return out;
  const lanes = rowLanes(gpu.software, width);
  for (const window of rowWindows(gpu, rows, [width * 4])) {
    gpu.dispatch({
      kernel: softmaxKernel, constants: { LANES: lanes, LOG: log ? 1 : 0 }, params: { rows: window.count, width },
      groups: rowGroups(window.count, lanes), bindings: [windowOf(x, window, width * 4), windowOf(out, window, width * 4)],
    });
  }
  return out;
}

/** u32 index of the largest element of each row of x [..., width]; the lowest index wins ties. Throws ShapeError for empty rows. */
export function argmax(x: Tensor): Tensor {
  const { gpu } = x;
  const { rows, width } = asMatrix(x);
  const out = Tensor.empty(gpu, x.shape.slice(0, -1), 'u32');
  if (rows === 0) return out;
  if (width === 0) throw new ShapeError(`argmax: ${showShape(x.shape)} has rows without elements`);
  const lanes = rowLanes(gpu.software, width);
  for (const window of rowWindows(gpu, rows, [width * 4, 4])) {
    gpu.dispatch({
      kernel: argmaxKernel, constants: { LANES: lanes }, params: { rows: window.count, width },
      groups: rowGroups(window.count, lanes), bindings: [windowOf(x, window, width * 4), windowOf(out, window, 4)],
    });
  }
  return out;
}
