/** Softmax, log-softmax and argmax over the last axis. */
import argmaxSource from '../../kernels/argmax.wgsl';
import softmaxLanesSource from '../../kernels/softmax-lanes.wgsl';
import softmaxSource from '../../kernels/softmax.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel, type BufferSlice } from '../gpu/index.ts';
import { rowGroups, rowLanes, rowTeams, teamConstants, teamGroups, type RowDevice, type RowTeams } from './row-lanes.ts';
import { asMatrix, showShape, Tensor } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const softmaxKernel = defineKernel('softmax', softmaxSource);
const teamKernel = defineKernel('softmax-lanes', softmaxLanesSource);
const argmaxKernel = defineKernel('argmax', argmaxSource);

/**
 * Teams of subgroups, or null for the kernel that does with any device and width. Rows that do not end on whole vectors of four are
 * done four by four, by one subgroup, which leaves other devices than software drivers too little to do at once.
 */
export function softmaxTeams(device: RowDevice, rows: number, width: number): RowTeams | null {
  if (width % 4 === 0) return rowTeams(device, rows, width, 1);
  const teams = device.software && width >= 8 ? rowTeams(device, Math.ceil(rows / 4), width, 1) : null;
  return teams && { ...teams, rows: 4 };
}

/**
 * exp(x) / Σ exp(x) over the last axis of x [..., width], or its logarithm; stable for any finite input. `teams` is for tests; it is
 * chosen by shape and device unless given.
 */
export function softmax(x: Tensor, { log = false, teams }: { log?: boolean; teams?: RowTeams | null } = {}): Tensor {
  const { gpu } = x;
  const { rows, width } = asMatrix(x);
  const out = Tensor.empty(gpu, x.shape);
  if (out.size === 0) return out;
  const lanes = rowLanes(gpu.software, width);
  const chosen = teams === undefined ? softmaxTeams(gpu, rows, width) : teams;
  for (const window of rowWindows(gpu, rows, [width * 4])) {
    const bindings = [windowOf(x, window, width * 4), windowOf(out, window, width * 4)];
    gpu.dispatch({
      ...(chosen
        ? { kernel: teamKernel, constants: { ...teamConstants(chosen), EDGES: width % 4 ? 1 : 0, LOG: log ? 1 : 0 }, groups: teamGroups(window.count, chosen), bindings: bindings.map(wholeVectors) }
        : { kernel: softmaxKernel, constants: { LANES: lanes, LOG: log ? 1 : 0 }, groups: rowGroups(window.count, lanes), bindings }),
      params: { rows: window.count, width },
    });
  }
  return out;
}

/** The slice with its last vector of four whole: buffers are so long, and nothing but this tensor begins in that vector. */
function wholeVectors(slice: BufferSlice): BufferSlice {
  return { ...slice, byteLength: Math.ceil(slice.byteLength / 16) * 16 };
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
