/** What a kind of sparse autoencoder brings to a training step; everything else is the same for all of them (sae-step.ts). */
import type { Gpu } from '../../gpu/index.ts';
import type { Part } from '../sae-part.ts';
import type { Tensor } from '../tensor.ts';

export type Pipelines = Parameters<Gpu['prepare']>[0];

/** A further reconstruction whose error is part of the loss. */
export interface Second { error: Tensor; codes: Tensor }

/** Records what needs the pre-activations of a kind that selects, while they stand in part.codes. */
export type TakeCodes = (part: Part) => void;

export interface VariantStep {
  /** Records codes from the shifted inputs, part.shift -> part.codes; in kinds that select, what they are selected from. */
  encode(part: Part, take?: TakeCodes): void;
  /** Records the selection, in place, once the codes of all windows of features are there. `sparsity` [all dictionaries]: K. */
  select?(parts: readonly Part[], sparsity: Tensor): void;
  /** The same as a finished dictionary does it, where that differs; `threshold` [all dictionaries]. */
  encodeFinished?(part: Part, threshold: Tensor): void;
  /** Records what else is reconstructed, after the error. Windows of features come in their order, each adds to those before. */
  second?(part: Part): Second;
  /** λ of a penalty on Σ codes, [all dictionaries]; zeros in kinds that have none. */
  penalty(sparsity: Tensor): Tensor;
  /**
   * The dense path's way back through the encoder. part.codeGradient holds 2/n (x̂ − x)·decoderᵀ, the squared error's gradient with respect
   * to all codes. Records part.sums, counts of activity in part.fired and the gradients of the kind's own tensors; returns the gradient with
   * respect to the pre-activations, [count, rows, features].
   */
  back(part: Part, sparsity: Tensor): Tensor;
  /** Where the sums of pre-activations' gradients go if they are not the encoder bias' gradient, [window, features]. */
  readonly sums?: Tensor;
  pipelines(): Pipelines;
  dispose(): void;
}
