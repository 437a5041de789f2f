/**
 * Gated (Rajamanoharan et al. 2024, arXiv 2404.16014), with u = (x − b_dec) W_gate:
 *
 *   π = u + b_gate,   f = 1[π > 0] ReLU(e^r ⊙ u + b_mag)   (released with the paper: without ReLU, so that f may be negative)
 *   loss + λ mean ‖ReLU(π)‖₁ + mean ‖x − x̂_gate‖²,   x̂_gate = ReLU(π) W_dec + b_dec, whose decoder and bias count as constants
 *
 * With g = ∂‖x − x̂‖²/∂f where f is not zero, and γ = ∂‖x − x̂_gate‖²/∂ReLU(π) + λ where π > 0, each a mean over examples:
 *
 *   ∂/∂b_mag = Σ g,   ∂/∂r = Σ g e^r u,   ∂/∂b_gate = Σ γ,   ∂/∂u = γ + e^r g
 *
 * W_gate gets (x − b_dec)ᵀ ∂/∂u. b_dec gets, beside the part as a bias of x̂, −Σ ∂/∂u W_gateᵀ by way of both paths' inputs; W_dec gets that
 * of x̂ alone. Closed gates have a gradient by way of no path, but open ones that the magnitude closes do: there is the dense path alone.
 */
import backSource from '../../../kernels/sae-gated-back.wgsl';
import gatedSource from '../../../kernels/sae-gated.wgsl';
import { defineKernel, type BufferSlice, type Gpu } from '../../gpu/index.ts';
import { view, type Codes, type Part, type StepTools } from '../sae-part.ts';
import { groupsFor } from '../sae.ts';
import { partOf, type SaeWeights } from '../sae-variant.ts';
import { Tensor } from '../tensor.ts';
import { columnGroups } from './threshold.ts';
import type { CodesSize } from './topk.ts';
import type { Pipelines, Second, VariantStep } from './variant.ts';
import { maskPipelines, recordMask } from './vanilla.ts';

const kernels = { gated: defineKernel('sae-gated', gatedSource), back: defineKernel('sae-gated-back', backSource) };

export class GatedStep implements VariantStep {
  readonly sums: Tensor;
  private readonly tools: StepTools;
  private readonly signed: boolean;
  /** ReLU(π), and the gradient of π, then of u: [window, rows, features]. */
  private readonly gates: Codes;
  private readonly gateGradient: Codes;
  /** x̂_gate − x, [window, rows, width]. */
  private readonly gateError: Tensor;
  private readonly zeros: Tensor;

  constructor(tools: StepTools, signed: boolean) {
    const { gpu, window: W, sizes: { dictionaries, maxRows, features, width } } = tools;
    this.tools = tools;
    this.signed = signed;
    this.gates = tools.makeCodes(true);
    this.gateGradient = tools.makeCodes(false);
    this.gateError = tools.make([W, maxRows, width]);
    this.sums = tools.make([W, features]);
    this.zeros = gpu.keep(Tensor.zeros(gpu, [dictionaries]));
  }

  encode(part: Part): void {
    const { tools } = this;
    const { shift, weights, codes, codeGradient: u } = part;
    tools.productAlong(part, shift, weights.encoder, { scale: -1, out: u });
    recordGated(tools.gpu, tools.params(part), { u, weights, codes, gates: tools.codesOf(this.gates, part) }, this.signed, true);
  }

  second(part: Part): Second {
    const { codes, error } = this.gatePart(part);
    this.tools.product(codes, part.weights.decoder, { residual: part.slot === 0 ? part.shift : error, out: error });
    return { codes, error };
  }

  penalty(): Tensor {
    return this.zeros;
  }

  back(part: Part, sparsity: Tensor): Tensor {
    const { tools } = this;
    const { weights, gradients, codes, codeGradient, fired, rows, sums } = part;
    const { dictionaries, features } = tools.params(part);
    const gate = this.gatePart(part);
    tools.productAlong(part, gate.error, weights.decoder, { scale: 2 / rows, out: gate.gradient });
    recordMask(tools, part, { codes: gate.codes, penalty: sparsity, gradient: gate.gradient, sums: gradients.encoderBias, fired, counted: codes });
    tools.gpu.dispatch({
      ...this.backPipeline(), params: { dictionaries, rows, features }, groups: groupsFor(tools.columnThreads(part)),
      bindings: [codes, ...magnitudeParts(weights), codeGradient, gate.gradient, ...magnitudeParts(gradients), sums],
    });
    return gate.gradient;
  }

  pipelines(): Pipelines {
    return [gatedPipeline(this.signed, true), ...maskPipelines(this.tools, true), this.backPipeline()];
  }

  dispose(): void {
    for (const tensor of [...this.gates, ...this.gateGradient, this.gateError, this.sums, this.zeros]) tensor.dispose();
  }

  private gatePart(part: Part): { codes: Tensor; gradient: Tensor; error: Tensor } {
    const { tools } = this;
    return {
      codes: tools.codesOf(this.gates, part), gradient: tools.codesOf(this.gateGradient, part),
      error: view(this.gateError, 0, [part.count, part.rows, tools.sizes.width]),
    };
  }

  private backPipeline(): Pipelines[number] {
    return { kernel: kernels.back, constants: { COLUMNS: this.tools.columns } };
  }
}

function magnitudeParts(weights: SaeWeights): [Tensor, Tensor] {
  return [partOf(weights, 'magnitudeScale', 'gated'), partOf(weights, 'magnitudeBias', 'gated')];
}

/** Records codes, and ReLU(π) where `wantGates`, from u = (x − b_dec) W_gate. Where they are not wanted `gates` may be of any size. */
export function recordGated(
  gpu: Gpu, { dictionaries, rows, features, first }: CodesSize, { u, weights, codes, gates }: { u: BufferSlice; weights: SaeWeights; codes: BufferSlice; gates: BufferSlice },
  signed: boolean, wantGates: boolean,
): void {
  gpu.dispatch({
    ...gatedPipeline(signed, wantGates), params: { dictionaries, rows, features }, groups: columnGroups({ dictionaries, rows, features, first }),
    bindings: [u, weights.encoderBias, ...magnitudeParts(weights), codes, gates],
  });
}

function gatedPipeline(signed: boolean, gates: boolean): Pipelines[number] {
  return { kernel: kernels.gated, constants: { SIGNED: signed, GATES: gates } };
}
