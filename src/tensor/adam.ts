/**
 * Adam (Kingma & Ba 2015) on the parameters of many models at once, each with its own learning rate. State stays on the GPU;
 * the step count and the bias corrections are the caller's, in double precision, so that they survive a checkpoint.
 */
import adamSource from '../../kernels/adam.wgsl';
import adamRowsSource from '../../kernels/adam-rows.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel, type Gpu } from '../gpu/index.ts';
import { asMatrix, sameShape, showShape, type Tensor } from './tensor.ts';

const WORKGROUP = 64;
const kernels = { adam: defineKernel('adam', adamSource), rows: defineKernel('adam-rows', adamRowsSource) };

/** Decay rates of the moments and the small number in the denominator. */
export interface AdamSettings { beta1: number; beta2: number; epsilon: number }
export const adamDefaults: Readonly<AdamSettings> = { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

export interface AdamTensors {
  /** [models, …]; changed in place. */
  parameter: Tensor;
  gradient: Tensor;
  /** First and second moments, zeros before the first step; changed in place. */
  first: Tensor;
  second: Tensor;
  /** Learning rate of each model, [models]. */
  rate: Tensor;
}

export interface AdamStep extends AdamSettings {
  /** Counts from 1. */
  step: number;
  /** What a schedule multiplies every learning rate by; 1 if not given. */
  factor?: number;
}

/** Both kernels in the variants that training uses. */
export function adamPipelines(project: boolean): Parameters<Gpu['prepare']>[0] {
  return [{ kernel: kernels.adam }, { kernel: kernels.rows, constants: { PROJECT: project, NORMALISE: true } }];
}

function check(name: string, { parameter, gradient, first, second, rate }: AdamTensors): void {
  for (const other of [gradient, first, second]) {
    if (!sameShape(other.shape, parameter.shape)) throw new ShapeError(`${name}: parameters ${showShape(parameter.shape)}, but a gradient or moment has ${showShape(other.shape)}`);
  }
  if (rate.size !== parameter.shape[0]) throw new ShapeError(`${name}: ${rate.size} learning rates for parameters ${showShape(parameter.shape)}`);
}

function corrections({ beta1, beta2, epsilon, step, factor = 1 }: AdamStep): Record<string, number> {
  return { factor, beta1, beta2, rest1: 1 - beta1, rest2: 1 - beta2, correction1: 1 / (1 - beta1 ** step), correction2: 1 / (1 - beta2 ** step), epsilon };
}

/** One step for every parameter. */
export function adam(tensors: AdamTensors, step: AdamStep): void {
  check('adam', tensors);
  const { parameter, gradient, first, second, rate } = tensors;
  const models = rate.size;
  parameter.gpu.dispatch({
    kernel: kernels.adam, params: { models, size: parameter.size / (models || 1), ...corrections(step) },
    bindings: [parameter, gradient, first, second, rate], groups: Math.ceil(parameter.size / WORKGROUP),
  });
}

/**
 * One step for rows of unit length, parameters [models, rows, width]: with `project` the gradient's part along each row is removed before the
 * step, with `normalise` each row is brought back to unit length after it.
 */
export function adamRows(tensors: AdamTensors, step: AdamStep, { project, normalise }: { project: boolean; normalise: boolean }): void {
  check('adamRows', tensors);
  const { parameter, gradient, first, second, rate } = tensors;
  const models = rate.size;
  const { rows, width } = asMatrix(parameter);
  parameter.gpu.dispatch({
    kernel: kernels.rows, constants: { PROJECT: project, NORMALISE: normalise }, params: { models, rows: rows / (models || 1), width, ...corrections(step) },
    bindings: [parameter, gradient, first, second, rate], groups: Math.ceil(rows / WORKGROUP),
  });
}
