/** Reading and writing rows and elements by index. A table beyond the binding limit is visited window by window. */
import gatherElementsSource from '../../kernels/gather-elements.wgsl';
import gatherRowsSource from '../../kernels/gather-rows.wgsl';
import scatterRowsSource from '../../kernels/scatter-rows.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel } from '../gpu/index.ts';
import { asMatrix, sameShape, showShape, Tensor } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const ELEMENTS_PER_GROUP = 256; // WORKGROUP · STEP of the row kernels
const gatherRowsKernel = defineKernel('gather-rows', gatherRowsSource);
const scatterRowsKernel = defineKernel('scatter-rows', scatterRowsSource);
const gatherElementsKernel = defineKernel('gather-elements', gatherElementsSource);

export interface ColumnRange {
  /** First column; 0 unless told. */
  offset?: number;
  /** Number of columns; up to the last unless told. */
  width?: number;
}

/**
 * y [n, width]: columns [offset, offset + width) of the rows of x [..., stride] (leading axes flattened), f32 or f16, that index [n] names.
 * A row index past the end gives zeros. Throws ShapeError if the columns are not in x.
 */
export function gatherRows(x: Tensor, index: Tensor, range: ColumnRange = {}): Tensor {
  const { gpu } = x;
  const { rows: tableRows, width: stride } = asMatrix(x);
  const offset = range.offset ?? 0;
  const width = range.width ?? stride - offset;
  if (offset < 0 || width < 0 || offset + width > stride) throw new ShapeError(`gatherRows: columns ${offset} to ${offset + width} are not in ${showShape(x.shape)}`);
  if (index.dtype !== 'u32') throw new ShapeError('gatherRows: the index must be u32');
  const out = Tensor.empty(gpu, [index.size, width]);
  if (out.size === 0) return out;
  if (tableRows === 0) {
    gpu.clear(out, out.byteLength);
    return out;
  }
  const rowBytes = stride * x.elementBytes;
  for (const table of rowWindows(gpu, tableRows, [rowBytes])) {
    for (const window of rowWindows(gpu, index.size, [4, width * 4])) {
      gpu.dispatch({
        kernel: gatherRowsKernel, constants: { HALF: x.dtype === 'f16' },
        params: { rows: window.count, width, stride, offset, windowStart: table.start, windowRows: table.count, tableRows },
        groups: Math.ceil((window.count * width) / ELEMENTS_PER_GROUP),
        bindings: [windowOf(x, table, rowBytes), windowOf(index, window, 4), windowOf(out, window, width * 4)],
      });
    }
  }
  return out;
}

/**
 * In place: columns [offset, offset + width) of the rows of x [..., stride] that index [n] names become values [n, width], or with
 * `add` grow by them. Index 0xffffffff (and any past the end) skips its row. Equal indices are the caller's error: they race.
 */
export function scatterRows(x: Tensor, index: Tensor, values: Tensor, options: { offset?: number; add?: boolean } = {}): void {
  const { gpu } = x;
  const { rows: tableRows, width: stride } = asMatrix(x);
  const { rows, width } = asMatrix(values);
  const offset = options.offset ?? 0;
  if (offset < 0 || offset + width > stride) throw new ShapeError(`scatterRows: columns ${offset} to ${offset + width} are not in ${showShape(x.shape)}`);
  if (index.dtype !== 'u32' || index.size !== rows) throw new ShapeError(`scatterRows: ${showShape(values.shape)} needs ${rows} u32 indices, not ${index.dtype} ${showShape(index.shape)}`);
  if (values.size === 0) return;
  // A buffer cannot be read and written by one dispatch, so what views the same one is copied out first.
  const source = values.storage === x.storage ? values.clone() : values;
  for (const table of rowWindows(gpu, tableRows, [stride * 4])) {
    for (const window of rowWindows(gpu, rows, [4, width * 4])) {
      gpu.dispatch({
        kernel: scatterRowsKernel, constants: { ADD: options.add ? 1 : 0 },
        params: { rows: window.count, width, stride, offset, windowStart: table.start, windowRows: table.count },
        groups: Math.ceil((window.count * width) / ELEMENTS_PER_GROUP),
        bindings: [windowOf(source, window, width * 4), windowOf(index, window, 4), windowOf(x, table, stride * 4)],
      });
    }
  }
  if (source !== values) source.dispose();
}

/** y[r, k] = x[r, index[r, k]] for x [R, width] (leading axes flattened), index u32 [R, k] or [R]; y has the shape of index. */
export function gatherElements(x: Tensor, index: Tensor): Tensor {
  const { gpu } = x;
  const { rows, width } = asMatrix(x);
  const picks = sameShape(index.shape, x.shape.slice(0, -1)) ? 1 : asMatrix(index).width;
  if (index.dtype !== 'u32' || index.size !== rows * picks) throw new ShapeError(`gatherElements: ${showShape(x.shape)} needs u32 indices for its ${rows} rows, not ${index.dtype} ${showShape(index.shape)}`);
  const out = Tensor.empty(gpu, index.shape);
  if (out.size === 0) return out;
  for (const window of rowWindows(gpu, rows, [width * 4, picks * 4])) {
    gpu.dispatch({
      kernel: gatherElementsKernel, params: { rows: window.count, width, picks }, groups: Math.ceil((window.count * picks) / 64),
      bindings: [windowOf(x, window, width * 4), windowOf(index, window, picks * 4), windowOf(out, window, picks * 4)],
    });
  }
  return out;
}
