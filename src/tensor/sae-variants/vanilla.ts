/**
 * Vanilla:  f = ReLU(pre),  pre = (x − b_dec) W_enc + b_enc,  loss + λ Σ f.
 *
 * ReLU passes gradients on where a code is active:  ∂loss/∂pre = (∂loss/∂f + λ/n) 1[f ≠ 0].
 */
import maskSource from '../../../kernels/sae-mask.wgsl';
import { defineKernel, type BufferSlice } from '../../gpu/index.ts';
import type { Part, StepTools } from '../sae-part.ts';
import { groupsFor } from '../sae.ts';
import type { Tensor } from '../tensor.ts';
import type { Pipelines, VariantStep } from './variant.ts';

const maskKernel = defineKernel('sae-mask', maskSource);

export class VanillaStep implements VariantStep {
  private readonly tools: StepTools;

  constructor(tools: StepTools) {
    this.tools = tools;
  }

  encode(part: Part): void {
    this.tools.productAlong(part, part.shift, part.weights.encoder, { scale: -1, bias: part.weights.encoderBias, activation: 'relu', out: part.codes });
  }

  penalty(sparsity: Tensor): Tensor {
    return sparsity;
  }

  back(part: Part, sparsity: Tensor): Tensor {
    recordMask(this.tools, part, { ...part, penalty: sparsity, gradient: part.codeGradient });
    return part.codeGradient;
  }

  pipelines(): Pipelines {
    return maskPipelines(this.tools);
  }

  dispose(): void {}
}

/**
 * Records gradient ← (gradient + penalty/n) where codes are active, its sums over rows, and counts of activity: of `codes`, or of
 * `counted` where that is given.
 */
export function recordMask(
  tools: StepTools, part: Part, buffers: { codes: BufferSlice; penalty: BufferSlice; gradient: BufferSlice; sums: BufferSlice; fired: BufferSlice; counted?: BufferSlice },
): void {
  const { dictionaries, rows, features, first } = tools.params(part);
  const { codes, penalty, gradient, sums, fired, counted } = buffers;
  tools.gpu.dispatch({
    kernel: maskKernel, constants: { COLUMNS: tools.columns, APART: counted !== undefined }, params: { dictionaries, rows, features, first },
    groups: groupsFor(tools.columnThreads(part)), bindings: [codes, penalty, gradient, sums, fired, counted ?? codes],
  });
}

export function maskPipelines(tools: StepTools, apart = false): Pipelines {
  return tools.path === 'dense' ? [{ kernel: maskKernel, constants: { COLUMNS: tools.columns, APART: apart } }] : [];
}
