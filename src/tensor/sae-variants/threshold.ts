/** Finished JumpReLU and BatchTopK dictionaries: f = pre where pre > max(θ, 0), else 0. */
import thresholdSource from '../../../kernels/sae-threshold.wgsl';
import { defineKernel, type BufferSlice, type Gpu } from '../../gpu/index.ts';
import { groupsFor } from '../sae.ts';
import type { CodesSize } from './topk.ts';
import type { Pipelines } from './variant.ts';

const thresholdKernel = defineKernel('sae-threshold', thresholdSource);
/** Rows that one thread of the kernels over rows of a column computes. */
export const COLUMN_ROWS = 8;

/** Threads of the kernels over rows of a column of codes, in workgroups. */
export function columnGroups({ dictionaries, rows, features }: CodesSize): number {
  return groupsFor(dictionaries * Math.ceil(rows / COLUMN_ROWS) * features);
}

/** Records zeros in place of codes that are not above a threshold: of each feature with `each`, else of each dictionary. */
export function recordThreshold(gpu: Gpu, { dictionaries, rows, features, first }: CodesSize, { codes, threshold }: { codes: BufferSlice; threshold: BufferSlice }, each: boolean): void {
  const size = { dictionaries, rows, features, first };
  gpu.dispatch({ ...thresholdPipeline(each), params: size, bindings: [codes, threshold], groups: columnGroups(size) });
}

export function thresholdPipeline(each: boolean): Pipelines[number] {
  return { kernel: thresholdKernel, constants: { EACH: each } };
}
