/** The kinds of dictionaries that can be trained, and in what their training differs (evaluation.md §7.2 and §7.5). */
import { UsageError } from '../errors.ts';
import type { SaeVariant } from '../tensor/index.ts';

/** `frozen` is a vanilla SAE whose decoder stays as it was drawn: the baseline that shows what the encoder alone can do. */
export type TrainVariant = SaeVariant | 'frozen';

export interface VariantPolicy {
  /** What it is to the kernels. */
  kernels: SaeVariant;
  /** What its sparsity is set by: the weight λ of a penalty, or the number K of active features. */
  sparsity: 'l1' | 'k';
  /** The decoder is trained. */
  decoder: boolean;
  /** Dead features are resampled. Top-k kinds have an auxiliary loss for them instead. */
  resamples: boolean;
}

export const variantPolicies: Readonly<Record<TrainVariant, VariantPolicy>> = {
  vanilla: { kernels: 'vanilla', sparsity: 'l1', decoder: true, resamples: true },
  gated: { kernels: 'gated', sparsity: 'l1', decoder: true, resamples: true },
  topk: { kernels: 'topk', sparsity: 'k', decoder: true, resamples: false },
  batchtopk: { kernels: 'batchtopk', sparsity: 'k', decoder: true, resamples: false },
  jumprelu: { kernels: 'jumprelu', sparsity: 'l1', decoder: true, resamples: true },
  // New decoder rows would be a way to train it.
  frozen: { kernels: 'vanilla', sparsity: 'l1', decoder: false, resamples: false },
};

export const trainVariants = Object.keys(variantPolicies) as readonly TrainVariant[];

/** Throws UsageError, naming the variants there are, for a name that is none. `of` begins the message. */
export function checkVariant(name: string, of: string): TrainVariant {
  if (!(trainVariants as readonly string[]).includes(name)) throw new UsageError(`${of}: "${name}" is no variant; there are ${trainVariants.join(', ')}`);
  return name as TrainVariant;
}

/** The folder that a dictionary is saved in: site, variant (unless vanilla) and sparsity. */
export function dictionaryFolder(site: string, variant: TrainVariant, value: number): string {
  return `${site}${variant === 'vanilla' ? '' : `_${variant}`}_${variantPolicies[variant].sparsity}_${value}`;
}
