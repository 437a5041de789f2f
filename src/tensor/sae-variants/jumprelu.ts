/**
 * JumpReLU (Rajamanoharan et al. 2024, arXiv 2407.14435):  f = pre 1[pre > θ],  pre = (x − b_dec) W_enc + b_enc,  loss + λ mean_r ‖f‖₀.
 * What is trained is log θ, so that θ stays above zero.
 *
 * Neither the jump nor ‖·‖₀ has a derivative by θ that could be followed; the paper's pseudo-derivatives put a rectangle K of width ε
 * around θ, which makes them estimates of the derivative of the loss expected over examples:
 *
 *   ∂f/∂pre = 1[pre > θ],   ∂f/∂θ = −θ/ε K((pre − θ)/ε),   ∂1[pre > θ]/∂θ = −1/ε K((pre − θ)/ε),   K(u) = 1[|u| < ½]
 *
 * Features in the window have a gradient whether they are active or not, so there is the dense path alone.
 */
import backSource from '../../../kernels/sae-jumprelu-back.wgsl';
import jumpSource from '../../../kernels/sae-jumprelu.wgsl';
import { defineKernel } from '../../gpu/index.ts';
import type { Codes, Part, StepTools } from '../sae-part.ts';
import { groupsFor } from '../sae.ts';
import { partOf } from '../sae-variant.ts';
import { Tensor } from '../tensor.ts';
import { columnGroups } from './threshold.ts';
import type { Pipelines, VariantStep } from './variant.ts';

const kernels = { jump: defineKernel('sae-jumprelu', jumpSource), back: defineKernel('sae-jumprelu-back', backSource) };

export class JumpReluStep implements VariantStep {
  private readonly tools: StepTools;
  private readonly bandwidth: number;
  /** Pre-activations, kept for the way back: [window, rows, features]. */
  private readonly pre: Codes;
  private readonly zeros: Tensor;

  constructor(tools: StepTools, bandwidth: number) {
    this.tools = tools;
    this.bandwidth = bandwidth;
    this.pre = tools.makeCodes(true);
    this.zeros = tools.gpu.keep(Tensor.zeros(tools.gpu, [tools.sizes.dictionaries]));
  }

  encode(part: Part): void {
    const { tools } = this;
    const { shift, weights, codes } = part;
    const { dictionaries, rows, features, first } = tools.params(part);
    const pre = tools.codesOf(this.pre, part);
    tools.productAlong(part, shift, weights.encoder, { scale: -1, bias: weights.encoderBias, out: pre });
    tools.gpu.dispatch({
      kernel: kernels.jump, params: { dictionaries, rows, features }, bindings: [pre, partOf(weights, 'logThreshold', 'jumprelu'), codes],
      groups: columnGroups({ dictionaries, rows, features, first }),
    });
  }

  penalty(): Tensor {
    return this.zeros;
  }

  back(part: Part, sparsity: Tensor): Tensor {
    const { tools } = this;
    const { weights, gradients, codeGradient, fired, sums } = part;
    const { dictionaries, rows, features, first } = tools.params(part);
    tools.gpu.dispatch({
      ...this.backPipeline(), params: { dictionaries, rows, features, first, bandwidth: this.bandwidth }, groups: groupsFor(tools.columnThreads(part)),
      bindings: [tools.codesOf(this.pre, part), partOf(weights, 'logThreshold', 'jumprelu'), sparsity, codeGradient, sums, partOf(gradients, 'logThreshold', 'jumprelu'), fired],
    });
    return codeGradient;
  }

  pipelines(): Pipelines {
    return [{ kernel: kernels.jump }, this.backPipeline()];
  }

  dispose(): void {
    for (const tensor of this.pre) tensor.dispose();
    this.zeros.dispose();
  }

  private backPipeline(): Pipelines[number] {
    return { kernel: kernels.back, constants: { COLUMNS: this.tools.columns } };
  }
}
