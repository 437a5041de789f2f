/** What a run reports while it runs: one record a dictionary, which metrics.jsonl holds as a line under the names that SAELens logs. */
import { FileError, NumberError } from '../errors.ts';
import { sparsityOf, variantOf, type SaeJob, type TrainSettings } from './settings.ts';
import { trainVariants, variantPolicies, type TrainVariant } from './variants.ts';

export interface LogRecord {
  name: string;
  variant: TrainVariant;
  /** Steps and epochs completed. */
  step: number;
  epoch: number;
  /** Examples trained on so far; null in lines of earlier versions, which did not say. */
  training_samples: number | null;
  /** λ as it was at the last step, which a warm-up changes; 0 for variants that have none. */
  l1_coefficient: number;
  /** K as it was at the last step; null for variants that have none. */
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
  /** Share of features that are dead: that were active for no example of the epoch, or for none of the last `deadAfter`. */
  dead_fraction: number;
  /** Their number; null in lines of earlier versions. */
  dead_features: number | null;
  /** Mean over features of the steps since each was last active. Counted where `deadAfter` is set, else null. */
  mean_passes_since_fired: number | null;
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
  /** What λ and the auxiliary loss' weight made of the sums step by step, where they are not the same for all. */
  weighted?: { penalty: number; auxiliary: number } | null;
}

export type LossTerms = Pick<LogRecord, 'loss' | 'mse' | 'l1_loss' | 'l0_loss' | 'auxiliary_reconstruction_loss'>;

type AuxiliarySettings = Pick<TrainSettings, 'auxiliaryCoefficient' | 'auxiliaryFeatures'>;

/** The terms of a dictionary's loss, as a mean over so many examples. The job's λ is the one in force. */
export function lossTerms(sums: LossSums, examples: number, job: Pick<SaeJob, 'variant' | 'l1' | 'k'>, { auxiliaryCoefficient, auxiliaryFeatures }: AuxiliarySettings): LossTerms {
  const variant = variantOf(job);
  const topk = variantPolicies[variant].sparsity === 'k';
  const mse = sums.errors / examples;
  const penalised = topk ? 0 : variant === 'jumprelu' ? sums.active : variant === 'gated' ? sums.secondCodes : sums.codes;
  const penalty = topk ? 0 : (sums.weighted?.penalty ?? sparsityOf(job) * penalised) / examples;
  const [l1_loss, l0_loss] = variant === 'jumprelu' ? [0, penalty] : [penalty, 0];
  // The weight falls with the number of dead features; see tensor/sae-auxiliary.ts.
  const coefficient = variant === 'gated' ? 1 : topk ? auxiliaryCoefficient * Math.min(sums.dead / auxiliaryFeatures, 1) : 0;
  const auxiliary = (topk && sums.weighted ? sums.weighted.auxiliary : coefficient * sums.secondErrors) / examples;
  return { loss: mse + l1_loss + l0_loss + auxiliary, mse, l1_loss, l0_loss, auxiliary_reconstruction_loss: auxiliary };
}

/** Figures of one dictionary from its sums. `explained_variance` of constant data is 1 if the error is zero, else −∞. */
export function figures(sums: LossSums, examples: number, job: Pick<SaeJob, 'variant' | 'l1' | 'k'>, settings: AuxiliarySettings): LossTerms & Pick<LogRecord, 'l0' | 'explained_variance'> {
  const { errors, active, spread } = sums;
  return { ...lossTerms(sums, examples, job, settings), l0: active / examples, explained_variance: errors === 0 ? 1 : 1 - errors / spread };
}

/** What a loss is checked by: the record, or what is known of it. */
export type CheckedLoss = Pick<LogRecord, 'name' | 'step' | 'learning_rate'> & LossTerms;

/**
 * Throws NumberError if the loss is no finite number: with the dictionary, the step by which it happened and the last one known to be `good`, the first
 * term that is none, and what it probably comes from. The distances from the mean are the activations' own, whatever a dictionary makes of them.
 */
export function checkLoss(record: CheckedLoss, { spread }: Pick<LossSums, 'spread'>, good: number): void {
  if (Number.isFinite(record.loss)) return;
  const term = (['mse', 'l1_loss', 'l0_loss', 'auxiliary_reconstruction_loss'] as const).find((name) => !Number.isFinite(record[name])) ?? 'sum';
  const cause = Number.isFinite(spread)
    ? `the learning rate (${record.learning_rate}) is probably too high: try a lower one, a warm-up of it, or clipNorm`
    : 'the activations hold NaN or infinity';
  throw new NumberError(`training ${record.name}: the loss is ${record.loss} by step ${record.step}, after step ${good} with numbers; first of its terms ${term}; ${cause}`);
}

/** What SAELens (v6) calls a record's numbers in its log. What it has no name for stands under our own. */
const NAMES = {
  loss: 'losses/overall_loss', mse: 'losses/mse_loss', l1_loss: 'losses/l1_loss', l0_loss: 'losses/l0_loss', auxiliary_reconstruction_loss: 'losses/auxiliary_reconstruction_loss',
  explained_variance: 'metrics/explained_variance', l0: 'metrics/l0',
  dead_features: 'sparsity/dead_features', mean_passes_since_fired: 'sparsity/mean_passes_since_fired',
  learning_rate: 'details/current_learning_rate', training_samples: 'details/n_training_samples', l1_coefficient: 'details/l1_coefficient',
} as const;
/** JumpReLU's λ weighs the number of active features. */
const L0_COEFFICIENT = 'details/l0_coefficient';

/** The terms that a variant's loss has beside the squared error; a line holds no others. */
function termsOf(variant: TrainVariant): readonly (keyof LossTerms)[] {
  if (variant === 'gated') return ['l1_loss', 'auxiliary_reconstruction_loss'];
  if (variant === 'jumprelu') return ['l0_loss'];
  return variantPolicies[variant].sparsity === 'k' ? ['auxiliary_reconstruction_loss'] : ['l1_loss'];
}

/**
 * One line of metrics.jsonl: name, variant, step and epoch, then SAELens' names (its wandb log), so that what reads one log reads the other. A
 * constant site's explained variance of −∞, for which JSON has no number, is null.
 */
export function logLine(record: LogRecord): string {
  const { name, variant, step, epoch, k, dead_fraction } = record;
  const byK = variantPolicies[variant].sparsity === 'k';
  const told = (['loss', 'mse', ...termsOf(variant), 'explained_variance', 'l0', 'dead_features', 'mean_passes_since_fired', 'learning_rate', 'training_samples'] as const)
    .flatMap((key) => (record[key] === null ? [] : [[NAMES[key], record[key]] as const]));
  const sparsity = byK ? { k } : { [variant === 'jumprelu' ? L0_COEFFICIENT : NAMES.l1_coefficient]: record.l1_coefficient };
  return `${JSON.stringify({ name, variant, step, epoch, ...Object.fromEntries(told), ...sparsity, dead_fraction })}\n`;
}

/** A line of metrics.jsonl as the record that it was written from; lines of earlier versions, which had the records' own names, too. Throws FileError, beginning with `where`, for anything else. */
export function parseLogLine(line: string, where = 'metrics.jsonl'): LogRecord {
  let found: Record<string, unknown>;
  try {
    found = JSON.parse(line) as Record<string, unknown>;
  } catch (cause) {
    throw new FileError(`${where}: a line is no JSON: ${line.slice(0, 80)}`, { cause });
  }
  const { name, variant } = found ?? {};
  if (typeof name !== 'string' || !(trainVariants as readonly unknown[]).includes(variant)) throw new FileError(`${where}: a line is no record of training: ${line.slice(0, 80)}`);
  const kind = variant as TrainVariant;
  const number = (key: string, absent?: number): number => {
    const value = found[key] ?? absent;
    if (typeof value !== 'number') throw new FileError(`${where}: a line of ${name} has no number ${key}`);
    return value;
  };
  const orNull = (key: string): number | null => (typeof found[key] === 'number' ? found[key] : null);
  const flat = 'loss' in found;
  const at = (key: keyof typeof NAMES): string => (flat ? key : NAMES[key]);
  const terms = termsOf(kind);
  const term = (key: keyof LossTerms): number => (terms.includes(key) ? number(at(key)) : 0);
  const byK = variantPolicies[kind].sparsity === 'k';
  return {
    name, variant: kind, step: number('step'), epoch: number('epoch'), training_samples: orNull(at('training_samples')),
    l1_coefficient: byK ? 0 : number(flat || kind !== 'jumprelu' ? at('l1_coefficient') : L0_COEFFICIENT), k: byK ? number('k') : null,
    loss: number(at('loss')), mse: number(at('mse')), l1_loss: term('l1_loss'), l0_loss: term('l0_loss'), auxiliary_reconstruction_loss: term('auxiliary_reconstruction_loss'),
    l0: number(at('l0')), dead_fraction: number('dead_fraction'), dead_features: orNull(at('dead_features')), mean_passes_since_fired: orNull(at('mean_passes_since_fired')),
    explained_variance: number(at('explained_variance'), -Infinity), learning_rate: number(at('learning_rate')),
  };
}
