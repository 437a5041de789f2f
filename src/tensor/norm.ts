/** Layer norm (Ba, Kiros and Hinton 2016) over the last axis, in float32 with the mean taken off before the squares are summed. */
import layerNormLanesSource from '../../kernels/layer-norm-lanes.wgsl';
import layerNormSource from '../../kernels/layer-norm.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel } from '../gpu/index.ts';
import { rowGroups, rowLanes, rowTeams, teamConstants, teamGroups, type RowDevice, type RowTeams } from './row-lanes.ts';
import { asMatrix, showShape, Tensor } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const kernel = defineKernel('layer-norm', layerNormSource);
const teamKernel = defineKernel('layer-norm-lanes', layerNormLanesSource);

/** Teams of subgroups for rows of whole vectors, or null for the kernel that does with any device and width. */
export function layerNormTeams(device: RowDevice, rows: number, width: number): RowTeams | null {
  return width % 4 === 0 ? rowTeams(device, rows, width, Math.min(8, device.subgroupSize)) : null;
}

/**
 * (x − mean) / sqrt(var + epsilon) · gamma + beta for each row of x [..., width]; gamma and beta are [width], null for 1 and 0.
 * Throws ShapeError if a vector's length is not the width. `teams` is for tests; it is chosen by shape and device unless given.
 */
export function layerNorm(x: Tensor, gamma: Tensor | null, beta: Tensor | null, epsilon: number, teams?: RowTeams | null): Tensor {
  const { width } = asMatrix(x);
  for (const vector of [gamma, beta]) {
    if (vector && vector.size !== width) throw new ShapeError(`layerNorm: ${showShape(x.shape)} needs vectors of ${width}, not ${showShape(vector.shape)}`);
  }
  return run(x, gamma, beta, epsilon, false, teams === undefined ? layerNormTeams(x.gpu, asMatrix(x).rows, width) : teams);
}

/** sqrt(var + epsilon) of each row of x [..., width], with a last axis of 1: what layer norm divides by. */
export function layerNormScale(x: Tensor, epsilon: number): Tensor {
  return run(x, null, null, epsilon, true, null);
}

function run(x: Tensor, gamma: Tensor | null, beta: Tensor | null, epsilon: number, scaleOnly: boolean, teams: RowTeams | null): Tensor {
  const { gpu } = x;
  const { rows, width } = asMatrix(x);
  const out = Tensor.empty(gpu, scaleOnly ? [...x.shape.slice(0, -1), 1] : x.shape);
  if (out.size === 0) return out;
  if (width === 0) throw new ShapeError(`layerNorm: ${showShape(x.shape)} has rows without elements`);
  const lanes = rowLanes(gpu.software, width);
  const outBytes = scaleOnly ? 4 : width * 4;
  for (const window of rowWindows(gpu, rows, [width * 4, outBytes])) {
    const rowsOfX = windowOf(x, window, width * 4);
    const given = { HAS_GAMMA: gamma ? 1 : 0, HAS_BETA: beta ? 1 : 0 };
    gpu.dispatch({
      ...(teams
        ? { kernel: teamKernel, constants: { ...teamConstants(teams), CHUNK: teams.rows > 1 ? 4 : 1, ...given }, groups: teamGroups(window.count, teams) }
        : { kernel, constants: { LANES: lanes, ...given, SCALE_ONLY: scaleOnly ? 1 : 0 }, groups: rowGroups(window.count, lanes) }),
      params: { rows: window.count, width, epsilon },
      bindings: [rowsOfX, gamma ?? rowsOfX, beta ?? rowsOfX, windowOf(out, window, outBytes)],
    });
  }
  return out;
}
