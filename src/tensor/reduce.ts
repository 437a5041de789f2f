/** Sums, means and maxima over rows, columns and listed rows; every sum in a fixed order. */
import reduceColumnsSource from '../../kernels/reduce-columns.wgsl';
import reduceRowsSource from '../../kernels/reduce-rows.wgsl';
import segmentSumSource from '../../kernels/segment-sum.wgsl';
import { LimitError, ShapeError } from '../errors.ts';
import { defineKernel, type Gpu } from '../gpu/index.ts';
import { rowGroups, rowLanes } from './row-lanes.ts';
import { asMatrix, showShape, Tensor } from './tensor.ts';
import { rowWindows, windowOf, type RowWindow } from './windows.ts';

const ROWS_PER_SLICE = 128;
const reduceRowsKernel = defineKernel('reduce-rows', reduceRowsSource);
const reduceColumnsKernel = defineKernel('reduce-columns', reduceColumnsSource);
const segmentSumKernel = defineKernel('segment-sum', segmentSumSource);

/** Σ of each row of x [..., width]: [...]. */
export function sumRows(x: Tensor): Tensor {
  return reduceRows('sumRows', x, 0, 1);
}

/** Mean of each row of x [..., width]: [...]. Throws ShapeError for rows without elements. */
export function meanRows(x: Tensor): Tensor {
  return reduceRows('meanRows', x, 0, 1 / filledWidth('meanRows', x));
}

/** Largest element of each row of x [..., width]: [...]. Throws ShapeError for rows without elements. */
export function maxRows(x: Tensor): Tensor {
  filledWidth('maxRows', x);
  return reduceRows('maxRows', x, 1, 1);
}

/** Σ x² of each row of x [..., width]: [...]. */
export function sumSquaresRows(x: Tensor): Tensor {
  return reduceRows('sumSquaresRows', x, 2, 1);
}

/** Σ of each column of x [..., width] (leading axes flattened): [width]. */
export function sumColumns(x: Tensor): Tensor {
  return reduceColumns(x, 1);
}

/** Mean of each column of x [..., width] (leading axes flattened): [width]. Throws ShapeError if there is no row. */
export function meanColumns(x: Tensor): Tensor {
  const { rows } = asMatrix(x);
  if (rows === 0) throw new ShapeError(`meanColumns: ${showShape(x.shape)} has no rows`);
  return reduceColumns(x, 1 / rows);
}

/**
 * y [segments, width]: row s is the sum of the rows of x [n, width] that order [m] lists from starts[s] to starts[s + 1] − 1.
 * order and starts [segments + 1] are u32; entries of order past the end count as rows of zeros.
 */
export function segmentSum(x: Tensor, order: Tensor, starts: Tensor): Tensor {
  const { gpu } = x;
  const { rows, width } = asMatrix(x);
  const segments = starts.size - 1;
  if (order.dtype !== 'u32' || starts.dtype !== 'u32' || segments < 0) throw new ShapeError(`segmentSum: order and starts must be u32, starts not empty; got ${order.dtype} ${showShape(order.shape)}, ${starts.dtype} ${showShape(starts.shape)}`);
  const out = Tensor.empty(gpu, [segments, width]);
  if (out.size === 0) return out;
  if (rows === 0 || order.size === 0) {
    gpu.clear(out, out.byteLength);
    return out;
  }
  rowWindows(gpu, rows, [width * 4]).forEach((window, i) => {
    gpu.dispatch({
      kernel: segmentSumKernel,
      params: { segments, width, entries: order.size, windowStart: window.start, windowRows: window.count, accumulate: i === 0 ? 0 : 1 },
      groups: Math.ceil((segments * width) / 64),
      bindings: [windowOf(x, window, width * 4), order, starts, out],
    });
  });
  return out;
}

function filledWidth(operation: string, x: Tensor): number {
  const { rows, width } = asMatrix(x);
  if (width === 0 && rows > 0) throw new ShapeError(`${operation}: ${showShape(x.shape)} has rows without elements`);
  return width || 1;
}

function reduceRows(operation: string, x: Tensor, code: number, factor: number): Tensor {
  const { gpu } = x;
  const { rows, width } = asMatrix(x);
  if (x.dtype !== 'f32') throw new ShapeError(`${operation}: elements must be f32, not ${x.dtype}`);
  const out = Tensor.empty(gpu, x.shape.slice(0, -1));
  if (rows === 0) return out;
  if (width === 0) {
    gpu.clear(out, out.byteLength);
    return out;
  }
  const lanes = rowLanes(gpu.software, width);
  for (const window of rowWindows(gpu, rows, [width * 4, 4])) {
    gpu.dispatch({
      kernel: reduceRowsKernel, constants: { LANES: lanes, OPERATION: code }, params: { rows: window.count, width, factor },
      groups: rowGroups(window.count, lanes), bindings: [windowOf(x, window, width * 4), windowOf(out, window, 4)],
    });
  }
  return out;
}

/** Slices of rows are summed side by side, then their sums likewise, until one is left; the last pass applies the factor. */
function reduceColumns(x: Tensor, factor: number): Tensor {
  const { gpu } = x;
  const { rows, width } = asMatrix(x);
  if (rows === 0 || width === 0) return Tensor.zeros(gpu, [width]);
  const windows = rowWindows(gpu, rows, [width * 4]);
  const slices = windows.reduce((n, w) => n + Math.ceil(w.count / ROWS_PER_SLICE), 0);
  const out = Tensor.empty(gpu, slices === 1 ? [width] : [slices, width]);
  if (out.byteLength > gpu.limits.bindingBytes) throw tooWide(gpu, out);
  let firstSlice = 0;
  for (const window of windows) {
    firstSlice += sliceColumns(x, out, window, width, firstSlice, slices === 1 ? factor : 1);
  }
  if (slices === 1) return out;
  const whole = reduceColumns(out, factor);
  out.dispose();
  return whole;
}

function sliceColumns(x: Tensor, out: Tensor, window: RowWindow, width: number, firstSlice: number, factor: number): number {
  const slices = Math.ceil(window.count / ROWS_PER_SLICE);
  x.gpu.dispatch({
    kernel: reduceColumnsKernel, params: { rows: window.count, width, rowsPerSlice: ROWS_PER_SLICE, slices, firstSlice, factor },
    groups: Math.ceil((slices * width) / 64), bindings: [windowOf(x, window, width * 4), out],
  });
  return slices;
}

function tooWide(gpu: Gpu, out: Tensor): LimitError {
  return new LimitError(`sums of columns need ${out.byteLength} bytes in one binding, but this adapter allows ${gpu.limits.bindingBytes}`);
}
