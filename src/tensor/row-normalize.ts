/**
 * Ways in which dictionaries bring every activation to one scale before they encode it, and take their reconstruction back:  x' = (x − μ) / s,
 * x̂ = ŷ·s + μ, with numbers of each row x of width d. As SAELens has them (`normalize_activations`), the first as OpenAI's TopK dictionaries too:
 *
 *   layer_norm             μ the mean, s = σ + 1e-5 with the unbiased deviation, σ² = Σ (x − μ)² / (d − 1)
 *   constant_norm_rescale  μ = 0, s = ‖x‖ / √d; a row of zeros stays
 */
import rowAffineSource from '../../kernels/row-affine.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel } from '../gpu/index.ts';
import { affine, fill, mul } from './elementwise.ts';
import { layerNormScale } from './norm.ts';
import { meanRows } from './reduce.ts';
import { scaleRows } from './sae.ts';
import { asMatrix, showShape, Tensor } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const ELEMENTS_PER_GROUP = 256; // four elements a thread, 64 threads
const kernel = defineKernel('row-affine', rowAffineSource);

export const ROW_NORMALIZATIONS = ['layer_norm', 'constant_norm_rescale'] as const;
export type RowNormalization = (typeof ROW_NORMALIZATIONS)[number];

const LAYER_NORM_EPSILON = 1e-5;

/** What restores rows: [rows] each. */
export interface RowScales {
  shift: Tensor;
  scale: Tensor;
}

/** Normalised rows of x [rows, width], and what restores them. ShapeError for layer_norm of rows with fewer than two elements. */
export function normalizeRows(x: Tensor, kind: RowNormalization): RowScales & { rows: Tensor } {
  const { gpu } = x;
  const { rows, width } = asMatrix(x);
  if (kind === 'layer_norm' && width < 2) throw new ShapeError(`normalizeRows: rows of ${showShape(x.shape)} have no deviation`);
  return gpu.scope(() => {
    if (kind === 'layer_norm') {
      const shift = meanRows(x);
      const scale = affine(layerNormScale(x, 0).reshape([rows]), Math.sqrt(width / (width - 1)), LAYER_NORM_EPSILON);
      return { rows: rowAffine(x, { shift, scale }, false), shift, scale };
    }
    const lengths = Tensor.empty(gpu, [rows]);
    fill(lengths, Math.sqrt(width));
    const scaled = scaleRows(x, lengths);
    // x·x' = ‖x‖ √d, the scale's d-fold.
    return { rows: scaled, shift: Tensor.zeros(gpu, [rows]), scale: meanRows(mul(x, scaled)) };
  });
}

/** Rows of y [rows, width] taken back: y · scale + shift. Throws ShapeError unless there is a number for each row. */
export function restoreRows(y: Tensor, scales: RowScales): Tensor {
  return rowAffine(y, scales, true);
}

/** Every row of y [rows, width] times its number of scale [rows]. */
export function multiplyRows(y: Tensor, scale: Tensor): Tensor {
  return y.gpu.scope(() => rowAffine(y, { shift: Tensor.zeros(y.gpu, scale.shape), scale }, true));
}

function rowAffine(x: Tensor, { shift, scale }: RowScales, restore: boolean): Tensor {
  const { gpu } = x;
  const { rows, width } = asMatrix(x);
  if (shift.size !== rows || scale.size !== rows) throw new ShapeError(`${scale.size} scales do not fit the ${rows} rows of ${showShape(x.shape)}`);
  const out = Tensor.empty(gpu, x.shape);
  if (out.size === 0) return out;
  for (const window of rowWindows(gpu, rows, [width * 4, 4])) {
    const size = window.count * width;
    gpu.dispatch({
      kernel, constants: { RESTORE: restore ? 1 : 0 }, params: { size, width }, groups: Math.ceil(size / ELEMENTS_PER_GROUP),
      bindings: [windowOf(x, window, width * 4), windowOf(shift, window, 4), windowOf(scale, window, 4), windowOf(out, window, width * 4)],
    });
  }
  return out;
}
