/**
 * Top-k (Gao et al. 2024, arXiv 2406.04093):  pre = (x − b_dec) W_enc + b_enc,  f = ReLU of the K largest pre of an example, of equal ones
 * the first;  no penalty. Released with the paper: without ReLU and without b_enc.
 *
 * What is kept passes gradients on as it is:  ∂loss/∂pre = ∂loss/∂f 1[f ≠ 0].
 */
import topKSource from '../../../kernels/sae-top-k.wgsl';
import topKLanesSource from '../../../kernels/sae-top-k-lanes.wgsl';
import { defineKernel, type BufferSlice, type Gpu } from '../../gpu/index.ts';
import type { Part, StepTools } from '../sae-part.ts';
import { groupsFor } from '../sae.ts';
import { Tensor } from '../tensor.ts';
import { maskPipelines, recordMask } from './vanilla.ts';
import type { Pipelines, TakeCodes, VariantStep } from './variant.ts';

const kernels = { rows: defineKernel('sae-top-k', topKSource), lanes: defineKernel('sae-top-k-lanes', topKLanesSource) };

/** Codes of several dictionaries; of all, those in hand begin at `first`. */
export interface CodesSize { dictionaries: number; rows: number; features: number; first: number }

export class TopKStep implements VariantStep {
  readonly sums?: Tensor;
  protected readonly tools: StepTools;
  private readonly signed: boolean;
  private readonly zeros: Tensor;

  constructor(tools: StepTools, signed: boolean) {
    this.tools = tools;
    this.signed = signed;
    this.zeros = tools.gpu.keep(Tensor.zeros(tools.gpu, [tools.sizes.dictionaries]));
    // A bias that is not used has no gradient; the sums are needed all the same.
    if (signed) this.sums = tools.make([tools.window, tools.sizes.features]);
  }

  encode(part: Part, sparsity: Tensor, take?: TakeCodes): void {
    this.preActivations(part);
    take?.(part);
    this.select(part, sparsity);
  }

  protected preActivations(part: Part): void {
    const { shift, weights, codes } = part;
    this.tools.productAlong(part, shift, weights.encoder, { scale: -1, out: codes, ...(this.signed ? {} : { bias: weights.encoderBias, activation: 'relu' }) });
  }

  protected select(part: Part, sparsity: Tensor): void {
    recordTopK(this.tools.gpu, this.tools.params(part), { values: part.codes, k: sparsity }, this.signed, this.tools.software);
  }

  penalty(): Tensor {
    return this.zeros;
  }

  back(part: Part): Tensor {
    recordMask(this.tools, part, { ...part, penalty: this.zeros, gradient: part.codeGradient });
    return part.codeGradient;
  }

  pipelines(): Pipelines {
    return [topKPipeline(this.signed, this.tools.software), ...maskPipelines(this.tools)];
  }

  dispose(): void {
    this.zeros.dispose();
    this.sums?.dispose();
  }
}

/** Records zeros in place of all but the K largest values of each row; k [all dictionaries]. */
export function recordTopK(gpu: Gpu, { dictionaries, rows, features, first }: CodesSize, { values, k }: { values: BufferSlice; k: BufferSlice }, signed = false, software = gpu.software): void {
  const lines = dictionaries * rows;
  gpu.dispatch({ ...topKPipeline(signed, software), params: { dictionaries, rows, features, first }, bindings: [values, k], groups: software ? groupsFor(lines) : lines });
}

export function topKPipeline(signed: boolean, software: boolean): Pipelines[number] {
  return { kernel: software ? kernels.rows : kernels.lanes, constants: { SIGNED: signed } };
}
