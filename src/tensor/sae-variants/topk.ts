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
import { LargestCodes } from '../sae-select.ts';
import { groupsFor } from '../sae.ts';
import { Tensor } from '../tensor.ts';
import { maskPipelines, recordMask } from './vanilla.ts';
import type { Pipelines, TakeCodes, VariantStep } from './variant.ts';

const kernels = { rows: defineKernel('sae-top-k', topKSource), lanes: defineKernel('sae-top-k-lanes', topKLanesSource) };

/** Codes of several dictionaries; of all, those in hand begin at `first`. */
export interface CodesSize { dictionaries: number; rows: number; features: number; first: number }

/** Selects from many rows or windows together; `smallest` takes the smallest code kept of each dictionary. */
interface Across { largest: LargestCodes; smallest?: Tensor }

export class TopKStep implements VariantStep {
  readonly sums?: Tensor;
  protected readonly tools: StepTools;
  private readonly signed: boolean;
  private readonly zeros: Tensor;
  private readonly across: Across | null;

  /** `across` selects from more than one row of codes at a time, as it has to where windows of features cut rows. */
  constructor(tools: StepTools, signed: boolean, across: Across | null = tools.wide ? { largest: LargestCodes.ofRows(tools, signed) } : null) {
    this.tools = tools;
    this.signed = signed;
    this.across = across;
    this.zeros = tools.gpu.keep(Tensor.zeros(tools.gpu, [tools.sizes.dictionaries]));
    // A bias that is not used has no gradient; the sums are needed all the same.
    if (signed) this.sums = tools.make([tools.window, tools.sizes.features]);
  }

  encode(part: Part, take?: TakeCodes): void {
    this.preActivations(part);
    take?.(part);
  }

  select(parts: readonly Part[], sparsity: Tensor): void {
    const { tools, across, signed } = this;
    const size = tools.params(parts[0]!);
    if (across) across.largest.record(parts, size, sparsity, across.smallest);
    else recordTopK(tools.gpu, size, { values: parts[0]!.codes, k: sparsity }, signed, tools.software);
  }

  protected preActivations(part: Part): void {
    const { shift, weights, codes } = part;
    this.tools.productAlong(part, shift, weights.encoder, { scale: -1, out: codes, ...(this.signed ? {} : { bias: weights.encoderBias, activation: 'relu' }) });
  }

  penalty(): Tensor {
    return this.zeros;
  }

  back(part: Part): Tensor {
    recordMask(this.tools, part, { ...part, penalty: this.zeros, gradient: part.codeGradient });
    return part.codeGradient;
  }

  pipelines(): Pipelines {
    return [...(this.across?.largest.pipelines() ?? [topKPipeline(this.signed, this.tools.software)]), ...maskPipelines(this.tools)];
  }

  dispose(): void {
    this.zeros.dispose();
    this.sums?.dispose();
    this.across?.largest.dispose();
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
