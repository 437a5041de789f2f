/** What a run reports while it runs: one record a dictionary, under the names that SAELens uses. */
import { NumberError } from '../errors.ts';
import { sparsityOf, variantOf, type SaeJob, type TrainSettings } from './settings.ts';
import { variantPolicies, type TrainVariant } from './variants.ts';

export interface LogRecord {
  name: string;
  variant: TrainVariant;
  /** Steps and epochs completed. */
  step: number;
  epoch: number;
  /** λ; 0 for variants that have none. */
  l1_coefficient: number;
  /** K; null for variants that have none. */
  k: number | null;
  /** The sum of the terms below, averaged like everything here over the epoch's examples as they were trained on. */
  loss: number;
  /** Mean over examples of ‖x − x̂‖², summed over dimensions; x is scaled as the settings say. */
  mse: number;
  /** λ times the mean over examples of Σ_f f; for gated SAEs of Σ_f ReLU(π_f). 0 where there is no such penalty. */
  l1_loss: number;
  /** JumpReLU's penalty, λ times the mean number of active features; else 0. */
  l0_loss: number;
  /** Gated: mean of ‖x − x̂_gate‖². Top-k kinds: the mean of ‖e − ê‖² for the dead features' ê of the error e, by its weight; 0 while none is dead, and in figures with the weights as they are. Else 0. */
  auxiliary_reconstruction_loss: number;
  /** Mean number of active features. */
  l0: number;
  /** Share of features that were active for no example of the epoch. */
  dead_fraction: number;
  /** 1 − Σ‖x − x̂‖² / Σ‖x − x̄‖². */
  explained_variance: number;
  learning_rate: number;
}

/** Sums over examples that the GPU hands back; `second…` are of the second reconstruction, of gated SAEs and of top-k ones with an auxiliary loss. */
export interface LossSums {
  /** Squared errors, codes, active features, squared distances from the mean. */
  errors: number; codes: number; active: number; spread: number;
  secondErrors: number; secondCodes: number; secondActive: number;
  /** Features that counted as dead; of top-k ones with an auxiliary loss. */
  dead: number;
}

export type LossTerms = Pick<LogRecord, 'loss' | 'mse' | 'l1_loss' | 'l0_loss' | 'auxiliary_reconstruction_loss'>;

type AuxiliarySettings = Pick<TrainSettings, 'auxiliaryCoefficient' | 'auxiliaryFeatures'>;

/** The terms of a dictionary's loss, as a mean over so many examples. */
export function lossTerms(sums: LossSums, examples: number, job: Pick<SaeJob, 'variant' | 'l1' | 'k'>, { auxiliaryCoefficient, auxiliaryFeatures }: AuxiliarySettings): LossTerms {
  const variant = variantOf(job);
  const topk = variantPolicies[variant].sparsity === 'k';
  const mse = sums.errors / examples;
  const penalised = topk || variant === 'jumprelu' ? 0 : variant === 'gated' ? sums.secondCodes : sums.codes;
  const l1_loss = topk ? 0 : (sparsityOf(job) * penalised) / examples;
  const l0_loss = variant === 'jumprelu' ? (sparsityOf(job) * sums.active) / examples : 0;
  // The weight falls with the number of dead features; see tensor/sae-auxiliary.ts.
  const coefficient = variant === 'gated' ? 1 : topk ? auxiliaryCoefficient * Math.min(sums.dead / auxiliaryFeatures, 1) : 0;
  const auxiliary = (coefficient * sums.secondErrors) / examples;
  return { loss: mse + l1_loss + l0_loss + auxiliary, mse, l1_loss, l0_loss, auxiliary_reconstruction_loss: auxiliary };
}

/** Figures of one dictionary from its sums. `explained_variance` of constant data is 1 if the error is zero, else −∞. */
export function figures(sums: LossSums, examples: number, job: Pick<SaeJob, 'variant' | 'l1' | 'k'>, settings: AuxiliarySettings): LossTerms & Pick<LogRecord, 'l0' | 'explained_variance'> {
  const { errors, active, spread } = sums;
  return { ...lossTerms(sums, examples, job, settings), l0: active / examples, explained_variance: errors === 0 ? 1 : 1 - errors / spread };
}

/** Throws NumberError if the loss is no number; names the dictionary and the step by which it happened. */
export function checkLoss(record: Pick<LogRecord, 'name' | 'step' | 'loss' | 'learning_rate' | 'l1_coefficient'>): void {
  if (Number.isFinite(record.loss)) return;
  throw new NumberError(`training ${record.name}: the loss is ${record.loss} at step ${record.step} (learning rate ${record.learning_rate}, l1 ${record.l1_coefficient}); try a lower learning rate`);
}

/** One line of metrics.jsonl. */
export function logLine(record: LogRecord): string {
  return `${JSON.stringify(record)}\n`;
}
