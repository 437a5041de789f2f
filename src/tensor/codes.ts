/** Small operations on dictionaries' codes. */
import activeMaskSource from '../../kernels/active-mask.wgsl';
import pickRankedSource from '../../kernels/pick-ranked.wgsl';
import reciprocalRowsSource from '../../kernels/reciprocal-rows.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel } from '../gpu/index.ts';
import { asMatrix, sameShape, showShape, Tensor } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const WORKGROUP = 64;
const MASK_STEP = 4;
const activeMaskKernel = defineKernel('active-mask', activeMaskSource);
const pickRankedKernel = defineKernel('pick-ranked', pickRankedSource);
const reciprocalRowsKernel = defineKernel('reciprocal-rows', reciprocalRowsSource);

/** 1 where a code is above zero, else 0; the shape of `codes`. */
export function activeMask(codes: Tensor): Tensor {
  const out = Tensor.empty(codes.gpu, codes.shape);
  const { rows, width } = asMatrix(codes);
  for (const window of rowWindows(codes.gpu, rows, [width * 4])) {
    const size = window.count * width;
    codes.gpu.dispatch({
      kernel: activeMaskKernel, params: { size }, groups: Math.ceil(size / (WORKGROUP * MASK_STEP)),
      bindings: [windowOf(codes, window, width * 4), windowOf(out, window, width * 4)],
    });
  }
  return out;
}

/** x / ‖x‖² for each row of x [..., width], so that its dot product with x is 1; NaN for rows of zeros. */
export function reciprocalRows(x: Tensor): Tensor {
  const out = Tensor.empty(x.gpu, x.shape);
  const { rows, width } = asMatrix(x);
  for (const window of rowWindows(x.gpu, rows, [width * 4])) {
    x.gpu.dispatch({
      kernel: reciprocalRowsKernel, params: { rows: window.count, width, undefined: NaN }, groups: Math.ceil(window.count / WORKGROUP),
      bindings: [windowOf(x, window, width * 4), windowOf(out, window, width * 4)],
    });
  }
  return out;
}

/**
 * Writes the first `most` active (not zero) codes of each row in the order of its ranking to `out`, which otherwise stays as it is: codes and out
 * [rows, features], ranking u32 [values, features] with every feature once in a row, value u32 [rows]. Throws ShapeError where shapes do not fit.
 */
export function pickRanked(codes: Tensor, ranking: Tensor, value: Tensor, most: number, out: Tensor): void {
  const { rows, width } = asMatrix(codes);
  if (!sameShape(codes.shape, out.shape) || ranking.shape.at(-1) !== width || ranking.dtype !== 'u32' || value.dtype !== 'u32' || value.size !== rows) {
    throw new ShapeError(`pickRanked: codes ${showShape(codes.shape)}, ranking ${showShape(ranking.shape)}, values ${showShape(value.shape)} and out ${showShape(out.shape)} do not fit together`);
  }
  for (const window of rowWindows(codes.gpu, rows, [width * 4, 4])) {
    codes.gpu.dispatch({
      kernel: pickRankedKernel, params: { rows: window.count, features: width, most }, groups: Math.ceil(window.count / WORKGROUP),
      bindings: [windowOf(codes, window, width * 4), ranking, windowOf(value, window, 4), windowOf(out, window, width * 4)],
    });
  }
}
