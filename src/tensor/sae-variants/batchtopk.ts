/**
 * BatchTopK (Bussmann et al. 2024, arXiv 2412.06410):  pre = (x − b_dec) W_enc + b_enc,  f = ReLU of the K·n largest pre of a batch of n
 * examples together, of equal ones the first;  no penalty. So examples may have more or fewer active features than K.
 *
 * A finished dictionary must not depend on what an example is batched with: it keeps what is above a threshold, the running mean of the
 * smallest code that training batches kept.  Gradients as in top-k.
 */
import runningSource from '../../../kernels/sae-running-threshold.wgsl';
import { ShapeError } from '../../errors.ts';
import { defineKernel, type Gpu } from '../../gpu/index.ts';
import type { Part, StepTools } from '../sae-part.ts';
import { LargestCodes } from '../sae-select.ts';
import { groupsFor } from '../sae.ts';
import { sameShape, showShape, type Tensor } from '../tensor.ts';
import { recordThreshold, thresholdPipeline } from './threshold.ts';
import { TopKStep } from './topk.ts';
import type { Pipelines } from './variant.ts';

const runningKernel = defineKernel('sae-running-threshold', runningSource);

export class BatchTopKStep extends TopKStep {
  /** `smallest` [all dictionaries] takes each dictionary's smallest kept code. */
  constructor(tools: StepTools, smallest: Tensor) {
    super(tools, false, { largest: LargestCodes.ofBatches(tools), smallest });
  }

  encodeFinished(part: Part, threshold: Tensor): void {
    this.preActivations(part);
    recordThreshold(this.tools.gpu, this.tools.params(part), { codes: part.codes, threshold }, false);
  }

  override pipelines(): Pipelines {
    return [...super.pipelines(), { kernel: runningKernel }, thresholdPipeline(false)];
  }
}

/** Records running += rate (batch − running) for thresholds [D]; one below zero takes the batch's as it is. */
export function recordRunningThreshold(gpu: Gpu, batch: Tensor, running: Tensor, rate: number): void {
  if (!sameShape(batch.shape, running.shape)) throw new ShapeError(`running thresholds ${showShape(running.shape)} do not fit those of a batch, ${showShape(batch.shape)}`);
  gpu.dispatch({ kernel: runningKernel, params: { dictionaries: batch.size, rate }, bindings: [batch, running], groups: groupsFor(batch.size) });
}
