/** Small operations on dictionaries' codes. */
import activeMaskSource from '../../kernels/active-mask.wgsl';
import reciprocalRowsSource from '../../kernels/reciprocal-rows.wgsl';
import { defineKernel } from '../gpu/index.ts';
import { asMatrix, Tensor } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const WORKGROUP = 64;
const MASK_STEP = 4;
const activeMaskKernel = defineKernel('active-mask', activeMaskSource);
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
