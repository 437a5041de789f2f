/** Gradients kept within a length: one factor a model from all parts of its gradient, on the device, with no read-back. */
import factorSource from '../../kernels/clip-factor.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel } from '../gpu/index.ts';
import { add } from './elementwise.ts';
import { sumRows, sumSquaresRows } from './reduce.ts';
import { showShape, Tensor } from './tensor.ts';

const kernel = defineKernel('clip-factor', factorSource);

/**
 * min(1, most / (‖g‖ + 10⁻⁶)) of each model, [models], where g are its parts of all the gradients [models, …] together: torch's `clip_grad_norm_`,
 * for `adam` to multiply gradients by. A model's factor does not depend on the models beside it; sums have a fixed order. A squared length beyond
 * f32 (‖g‖ above 1.8e19) counts as infinite, with a factor of 0. Throws ShapeError for gradients of different numbers of models.
 */
export function clipFactors(gradients: readonly Tensor[], most: number): Tensor {
  const [first] = gradients;
  const models = first?.shape[0] ?? 0;
  if (!first || gradients.some(({ shape }) => shape[0] !== models)) throw new ShapeError(`clipFactors: gradients ${gradients.map(({ shape }) => showShape(shape)).join(', ')} are not of equally many models`);
  const { gpu } = first;
  return gpu.scope(() => {
    const squares = gradients.map((gradient) => squaresOf(gradient, models)).reduce((sum, own) => add(sum, own));
    const factor = Tensor.empty(gpu, [models]);
    gpu.dispatch({ kernel, params: { models, most }, bindings: [squares, factor], groups: Math.ceil(models / 64) });
    return factor;
  });
}

/** Matrices by their rows first, so that there is work for many threads. */
function squaresOf(gradient: Tensor, models: number): Tensor {
  return gradient.shape.length > 2 ? sumRows(sumSquaresRows(gradient).reshape([models, -1])) : sumSquaresRows(gradient.reshape([models, -1]));
}
