/**
 * What every feature dictionary can do, whether it was trained or computed from labels. All activations are in the model's own units;
 * a dictionary that works on scaled inputs scales inside.
 */
import type { Tensor } from '../tensor/index.ts';

/** Activations at one site, and what the prompts that they come from are about. */
export interface Examples {
  /** [n, dIn] */
  activations: Tensor;
  /** For each attribute (and other column of the prompts that a dictionary reads), each example's value as an index into its values; [n]. */
  attributes: Readonly<Record<string, Uint32Array>>;
  /** Activations of other hooks at the same places of the same prompts, [n, width] each, by hook: for dictionaries that read one of them. */
  inputs?: Readonly<Record<string, Tensor>>;
}

/** What reconstructing reads of examples. */
export type Scaled = Pick<Examples, 'activations' | 'inputs'>;

/** How features of an SAE are chosen: greedily towards the target's activation or reconstruction, by interpretations, or by their weights (sae-edits.ts). */
export type FeatureEdit = 'agnostic' | 'reconstruction' | 'aware' | 'threshold';

/** How supervised codes are swapped: see SupervisedCodes.edit. */
export type CodeEdit = 'arithmetic' | 'zero-ablate' | 'mean-ablate' | 'mean-ablate-broadcast' | 'subtract';

export interface EditOptions {
  /** Names of the attributes that differ between source and target. */
  attributes: readonly string[];
  /** Most features to change per example; supervised codes always remove one and add one for each attribute. */
  k: number;
  /** For SAEs; `agnostic` unless given. `threshold` does not read k. */
  features?: FeatureEdit;
  /** For SAEs, needed by `aware`: features by falling F1 with each value of each edited attribute, u32 [values, features]. */
  rankings?: Readonly<Record<string, Tensor>>;
  /** For supervised codes; `arithmetic` unless given. */
  method?: CodeEdit;
  /** For supervised codes, as the released code does: each attribute swaps only the last term that has it, so that Pos leaves (IO, Pos) as it was. */
  coupledPosEdit?: boolean;
}

export interface EditResult {
  /** Edited activations of the source, [n, dIn]. */
  activations: Tensor;
  /** Weight of the removed features in the source's reconstruction (evaluation.md §5.5), [n]; NaN where no feature is active. */
  weightRemoved: Tensor;
  /** Features that change, [n], where an edit does not take as many as it may. */
  changed?: Tensor;
}

export interface Dictionary {
  /** Begins with `supervised` or the SAE variant. */
  readonly name: string;
  readonly dIn: number;
  readonly features: number;
  /** The hook that it reads where that is not the site's own: examples need its activations among their `inputs`. */
  readonly reads?: string;
  /** Codes f, [n, features]. A supervised dictionary reads the attributes, an SAE the activations. */
  encode(examples: Examples): Tensor;
  /**
   * Reconstructions â = Σ_j f_j d_j + b, [n, dIn]. A dictionary that brings every activation to one scale needs the examples that the codes are of
   * where they are not just what its `encode` gave; others do not read them.
   */
  decode(codes: Tensor, examples?: Scaled): Tensor;
  /** Codes in units of the activations, [n, features]: what d_j is multiplied by where a feature adds it. Those of `encode` where a dictionary has no such method. */
  additions?(examples: Examples): Tensor;
  /** d_j of chosen features, [chosen, dIn]; without such a method, what they decode to with code 1, less what nothing decodes to. */
  directions?(chosen: readonly number[]): Tensor;
  /** Weights f_j d_j·(â − b) / ‖â − b‖², [n, features]; each row sums to 1, or is NaN where no feature is active. */
  contributions(codes: Tensor): Tensor;
  /** Changes the source's activations towards the target's by at most k features. */
  edit(source: Examples, target: Examples, options: EditOptions): EditResult;
  /** Several edits of one source, where that costs less than each by itself. */
  edits?(source: Examples, target: Examples, options: readonly EditOptions[]): EditResult[];
  dispose(): void;
}
