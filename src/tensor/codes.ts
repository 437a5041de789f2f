/** Small operations on dictionaries' codes. */
import activeMaskSource from '../../kernels/active-mask.wgsl';
import countUnionsSource from '../../kernels/count-unions.wgsl';
import pickRankedSource from '../../kernels/pick-ranked.wgsl';
import reciprocalRowsSource from '../../kernels/reciprocal-rows.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel } from '../gpu/index.ts';
import { sumColumns } from './reduce.ts';
import { asMatrix, sameShape, showShape, Tensor } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const WORKGROUP = 64;
const MASK_STEP = 4;
const UNION_SLICE = 256;
const activeMaskKernel = defineKernel('active-mask', activeMaskSource);
const countUnionsKernel = defineKernel('count-unions', countUnionsSource);
const pickRankedKernel = defineKernel('pick-ranked', pickRankedSource);
const reciprocalRowsKernel = defineKernel('reciprocal-rows', reciprocalRowsSource);

/** 1 where a code is above zero, with `signed` also where it is below, else 0; the shape of `codes`. */
export function activeMask(codes: Tensor, { signed = false }: { signed?: boolean } = {}): Tensor {
  const out = Tensor.empty(codes.gpu, codes.shape);
  const { rows, width } = asMatrix(codes);
  for (const window of rowWindows(codes.gpu, rows, [width * 4])) {
    const size = window.count * width;
    codes.gpu.dispatch({
      kernel: activeMaskKernel, params: { size, signed: signed ? 1 : 0 }, groups: Math.ceil(size / (WORKGROUP * MASK_STEP)),
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

/**
 * Growing unions of values, one for each feature: [most, features], row r has the number of rows of codes [rows, features] with a code that is not 0
 * for which the value of rank r is the first of the union that holds. holds u32 [rows, columns] lists the values that hold for each row (any past the
 * last is none), ranks u32 [values, features] their places in the unions. Throws ShapeError where shapes do not fit.
 */
export function countUnions(codes: Tensor, holds: Tensor, ranks: Tensor, most: number): Tensor {
  const { gpu } = codes;
  const { rows, width } = asMatrix(codes);
  const [held, columns = 0] = holds.shape;
  const [values = 0, features] = ranks.shape;
  if (held !== rows || holds.shape.length !== 2 || features !== width || holds.dtype !== 'u32' || ranks.dtype !== 'u32' || !(Number.isInteger(most) && most >= 1)) {
    throw new ShapeError(`countUnions: codes ${showShape(codes.shape)}, holds ${showShape(holds.shape)}, ranks ${showShape(ranks.shape)} and ${most} ranks do not fit together`);
  }
  const windows = rowWindows(gpu, rows, [width * 4, columns * 4]);
  const slices = windows.reduce((sum, { count }) => sum + Math.ceil(count / UNION_SLICE), 0);
  if (slices === 0 || width === 0) return Tensor.zeros(gpu, [most, width]);
  const counts = Tensor.empty(gpu, [slices, most * width]);
  let firstSlice = 0;
  for (const window of windows) {
    const own = Math.ceil(window.count / UNION_SLICE);
    gpu.dispatch({
      kernel: countUnionsKernel, params: { rows: window.count, features: width, columns, values, most, slices: own, firstSlice }, groups: Math.ceil((own * width) / WORKGROUP),
      bindings: [windowOf(codes, window, width * 4), windowOf(holds, window, columns * 4), ranks, counts],
    });
    firstSlice += own;
  }
  const sum = sumColumns(counts);
  const out = sum.reshape([most, width]);
  for (const tensor of [counts, sum]) tensor.dispose();
  return out;
}
