/**
 * BatchTopK (Bussmann et al. 2024, arXiv 2412.06410):  pre = (x − b_dec) W_enc + b_enc,  f = ReLU of the K·n largest pre of a batch of n
 * examples together, of equal ones the first;  no penalty. So examples may have more or fewer active features than K.
 *
 * A finished dictionary must not depend on what an example is batched with: it keeps what is above a threshold, the running mean of the
 * smallest code that training batches kept.  Gradients as in top-k.
 */
import applySource from '../../../kernels/sae-batch-top-k-apply.wgsl';
import searchSource from '../../../kernels/sae-batch-top-k.wgsl';
import tiesSource from '../../../kernels/sae-batch-top-k-ties.wgsl';
import runningSource from '../../../kernels/sae-running-threshold.wgsl';
import { ShapeError } from '../../errors.ts';
import { defineKernel, type Gpu } from '../../gpu/index.ts';
import type { Part, StepTools } from '../sae-part.ts';
import { groupsFor } from '../sae.ts';
import { sameShape, showShape, Tensor } from '../tensor.ts';
import { recordThreshold, thresholdPipeline } from './threshold.ts';
import { TopKStep } from './topk.ts';
import type { Pipelines } from './variant.ts';

const kernels = {
  search: defineKernel('sae-batch-top-k', searchSource),
  ties: defineKernel('sae-batch-top-k-ties', tiesSource),
  apply: defineKernel('sae-batch-top-k-apply', applySource),
  running: defineKernel('sae-running-threshold', runningSource),
};

/** Rounds of counting after which every range is one number: one by powers of two, eight that divide a range by 16. */
const ROUNDS = 9;

export class BatchTopKStep extends TopKStep {
  private readonly smallest: Tensor;
  /** u32 [ROUNDS + 1, window, 4], the window rounded up so that each line begins where a binding may. */
  private readonly ranges: Tensor;
  /** u32 [ROUNDS, window, 16] */
  private readonly counts: Tensor;
  private readonly equal: Tensor;

  /** `smallest` [all dictionaries] takes each dictionary's smallest kept code. */
  constructor(tools: StepTools, smallest: Tensor) {
    super(tools, false);
    const { window: W, sizes: { maxRows } } = tools;
    this.smallest = smallest;
    this.ranges = tools.make([ROUNDS + 1, aligned(W), 4], 'u32');
    this.counts = tools.make([ROUNDS, W, 16], 'u32');
    this.equal = tools.make([W, maxRows], 'u32');
  }

  protected override select(part: Part, sparsity: Tensor): void {
    const { tools: { gpu }, ranges, counts, equal, smallest } = this;
    const { dictionaries, rows, features, first } = this.tools.params(part);
    const size = { dictionaries, rows, features, first };
    const stride = aligned(dictionaries);
    const pipeline = this.searchPipeline();
    const perGroup = 64 * pipeline.constants.PER_THREAD;
    gpu.clear(counts, counts.byteLength);
    for (let round = 0; round <= ROUNDS; round++) {
      gpu.dispatch({
        ...pipeline, params: { ...size, round, stride }, bindings: [part.codes, sparsity, ranges, counts], groups: dictionaries * Math.ceil((rows * features) / perGroup),
      });
    }
    const settled = { storage: ranges.storage, byteOffset: ranges.byteOffset + ROUNDS * stride * 16, byteLength: dictionaries * 16 };
    for (const kernel of [kernels.ties, kernels.apply]) {
      gpu.dispatch({ kernel, params: size, bindings: [part.codes, sparsity, settled, equal, smallest], groups: groupsFor(dictionaries * rows) });
    }
  }

  encodeFinished(part: Part, threshold: Tensor): void {
    this.preActivations(part);
    recordThreshold(this.tools.gpu, this.tools.params(part), { codes: part.codes, threshold }, false);
  }

  override pipelines(): Pipelines {
    return [...super.pipelines().slice(1), this.searchPipeline(), { kernel: kernels.ties }, { kernel: kernels.apply }, { kernel: kernels.running }, thresholdPipeline(false)];
  }

  override dispose(): void {
    super.dispose();
    for (const tensor of [this.ranges, this.counts, this.equal]) tensor.dispose();
  }

  /** Few threads with long loops on software drivers, since each reads all counts. */
  private searchPipeline(): { kernel: typeof kernels.search; constants: { PER_THREAD: number } } {
    return { kernel: kernels.search, constants: { PER_THREAD: this.tools.software ? 256 : 32 } };
  }
}

/** Dictionaries rounded up to what fills whole 256 bytes with ranges. */
function aligned(dictionaries: number): number {
  return Math.ceil(dictionaries / 16) * 16;
}

/** Records running += rate (batch − running) for thresholds [D]; one below zero takes the batch's as it is. */
export function recordRunningThreshold(gpu: Gpu, batch: Tensor, running: Tensor, rate: number): void {
  if (!sameShape(batch.shape, running.shape)) throw new ShapeError(`running thresholds ${showShape(running.shape)} do not fit those of a batch, ${showShape(batch.shape)}`);
  gpu.dispatch({ kernel: kernels.running, params: { dictionaries: batch.size, rate }, bindings: [batch, running], groups: groupsFor(batch.size) });
}
