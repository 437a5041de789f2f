/**
 * Adam (Kingma & Ba 2015) on the parameters of many models at once, each with its own learning rate. State stays on the GPU;
 * the step count and the bias corrections are the caller's, in double precision, so that they survive a checkpoint.
 */
import adamSource from '../../kernels/adam.wgsl';
import adamRowsLanesSource from '../../kernels/adam-rows-lanes.wgsl';
import adamRowsSource from '../../kernels/adam-rows.wgsl';
import adamScalarSource from '../../kernels/adam-scalar.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel, type Gpu, type Kernel } from '../gpu/index.ts';
import { asMatrix, sameShape, showShape, type Tensor } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const ROWS_PER_GROUP = 64; // of the kernel that has a thread a row
const kernels = { vectors: defineKernel('adam', adamSource), scalars: defineKernel('adam-scalar', adamScalarSource), rows: defineKernel('adam-rows', adamRowsSource), rowLanes: defineKernel('adam-rows-lanes', adamRowsLanesSource) };

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
  /** What each model's gradient is multiplied by first, [models] (see clip-norm.ts); as it is if not given. A projection comes after it, which makes no difference. */
  clip?: Tensor | null;
}

export interface AdamStep extends AdamSettings {
  /** Counts from 1. */
  step: number;
  /** What a schedule multiplies every learning rate by; 1 if not given. */
  factor?: number;
}

/** How a step over models of `size` parameters each is shared out. */
export interface AdamPlan {
  /** Numbers that a thread loads at once, 4 or 1. */
  vector: 1 | 4;
  /** Vectors of a thread. */
  perThread: number;
  workgroup: number;
}

/**
 * Vectors of four where a model holds whole ones. Two a thread on software drivers, where what every thread does once costs most; on
 * others one, so that neighbours read neighbours.
 */
export function adamPlan(software: boolean, size: number): AdamPlan {
  if (size % 4 !== 0) return { vector: 1, perThread: 1, workgroup: 256 };
  return { vector: 4, perThread: software && size % 8 === 0 ? 2 : 1, workgroup: 64 };
}

function adamVariant({ vector, perThread, workgroup }: AdamPlan, clip: boolean): { kernel: Kernel; constants: Record<string, number | boolean> } {
  const wanted = { WORKGROUP: workgroup, CLIP: clip };
  return vector === 4 ? { kernel: kernels.vectors, constants: { ...wanted, PER_THREAD: perThread } } : { kernel: kernels.scalars, constants: wanted };
}

/** How a step on rows of unit length is shared out: a subgroup a row. */
export interface AdamRowsPlan {
  subgroup: number;
  workgroup: number;
  /** Vectors of a row that a thread keeps; 0 where there are too many, so that they are read again. */
  held: number;
}

/**
 * A subgroup a row where there are subgroups of one size and rows of whole vectors, else null: a thread a row. On software drivers a thread
 * keeps two vectors, since longer code leaves their instruction caches; elsewhere eight.
 */
export function adamRowsPlan({ software, subgroupSize }: { software: boolean; subgroupSize: number }, rows: number, width: number): AdamRowsPlan | null {
  if (subgroupSize === 0 || width % 4 !== 0) return null;
  const vectors = Math.ceil(width / 4 / subgroupSize);
  const most = software ? 2 : 8;
  const teams = software ? (rows >= 128 ? 8 : 1) : Math.max(1, 64 / subgroupSize);
  return { subgroup: subgroupSize, workgroup: subgroupSize * teams, held: vectors <= most ? vectors : 0 };
}

function adamRowsVariant(plan: AdamRowsPlan | null, project: boolean, normalise: boolean, clip: boolean): { kernel: Kernel; constants: Record<string, number | boolean> } {
  const wanted = { PROJECT: project, NORMALISE: normalise, CLIP: clip };
  return plan ? { kernel: kernels.rowLanes, constants: { WORKGROUP: plan.workgroup, SUBGROUP: plan.subgroup, HELD: plan.held, ...wanted } } : { kernel: kernels.rows, constants: wanted };
}

/** The kernels in the variants that training uses, for `rows` rows of `width` parameters in all models. */
export function adamPipelines(gpu: Gpu, rows: number, width: number, { project, clip }: { project: boolean; clip: boolean }): Parameters<Gpu['prepare']>[0] {
  return [adamVariant(adamPlan(gpu.software, 2 * width), clip), adamRowsVariant(adamRowsPlan(gpu, rows, width), project, true, clip)];
}

function check(name: string, { parameter, gradient, first, second, rate, clip }: AdamTensors): void {
  for (const other of [gradient, first, second]) {
    if (!sameShape(other.shape, parameter.shape)) throw new ShapeError(`${name}: parameters ${showShape(parameter.shape)}, but a gradient or moment has ${showShape(other.shape)}`);
  }
  if (rate.size !== parameter.shape[0]) throw new ShapeError(`${name}: ${rate.size} learning rates for parameters ${showShape(parameter.shape)}`);
  if (clip && clip.size !== rate.size) throw new ShapeError(`${name}: ${clip.size} factors of gradients for parameters ${showShape(parameter.shape)}`);
}

function corrections({ beta1, beta2, epsilon, step, factor = 1 }: AdamStep): Record<string, number> {
  return { factor, beta1, beta2, rest1: 1 - beta1, rest2: 1 - beta2, correction1: 1 / (1 - beta1 ** step), correction2: 1 / (1 - beta2 ** step), epsilon };
}

/** One step for every parameter. `plan` is for tests; it is chosen by shape and device unless given. */
export function adam(tensors: AdamTensors, step: AdamStep, plan?: AdamPlan): void {
  check('adam', tensors);
  const { parameter, gradient, first, second, rate, clip } = tensors;
  const { gpu } = parameter;
  const size = parameter.size / (rate.size || 1);
  const chosen = plan ?? adamPlan(gpu.software, size);
  const { vector, perThread, workgroup } = chosen;
  const bytes = 4 * vector;
  for (const window of rowWindows(gpu, parameter.size / vector, [bytes])) {
    gpu.dispatch({
      ...adamVariant(chosen, !!clip), params: { start: window.start, count: window.count, size: size / vector, ...corrections(step) },
      bindings: [...[parameter, gradient, first, second].map((tensor) => windowOf(tensor, window, bytes)), rate, clip ?? rate],
      groups: Math.ceil(window.count / (workgroup * perThread)),
    });
  }
}

/**
 * One step for rows of unit length, parameters [models, rows, width]: with `project` the gradient's part along each row is removed before the
 * step, with `normalise` each row is brought back to unit length after it. `plan` is for tests; it is chosen by shape and device unless given.
 */
export function adamRows(tensors: AdamTensors, step: AdamStep, { project, normalise, plan }: { project: boolean; normalise: boolean; plan?: AdamRowsPlan | null }): void {
  check('adamRows', tensors);
  const { parameter, gradient, first, second, rate, clip } = tensors;
  const { gpu } = parameter;
  const { rows, width } = asMatrix(parameter);
  const chosen = plan === undefined ? adamRowsPlan(gpu, rows, width) : plan;
  for (const window of rowWindows(gpu, width > 0 ? rows : 0, [width * 4])) {
    gpu.dispatch({
      ...adamRowsVariant(chosen, project, normalise, !!clip),
      params: { firstRow: window.start, count: window.count, rows: rows / rate.size, width: chosen ? width / 4 : width, ...corrections(step) },
      bindings: [...[parameter, gradient, first, second].map((tensor) => windowOf(tensor, window, width * 4)), rate, clip ?? rate],
      groups: Math.ceil(chosen ? window.count * chosen.subgroup / chosen.workgroup : window.count / ROWS_PER_GROUP),
    });
  }
}
