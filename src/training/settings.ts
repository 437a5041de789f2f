/** What a training run is told: the settings that all its dictionaries share, and what is each dictionary's own. */
import { ShapeError, UsageError } from '../errors.ts';
import { ROW_NORMALIZATIONS, saePath, type RowNormalization, type SaePath, type Tensor } from '../tensor/index.ts';
import type { StreamedExamples } from './stream.ts';
import { checkVariant, variantPolicies, type TrainVariant } from './variants.ts';

export interface TrainSettings {
  /** Features of every dictionary. */
  features: number;
  /** Passes over the data. */
  epochs: number;
  /** Examples per step; an epoch is cut into steps of nearly equal size of at most this many. */
  batch: number;
  learningRate: number;
  beta1: number;
  beta2: number;
  epsilon: number;
  /** How inputs are brought to one scale. λ counts in this unit; see `rescaleSparsity`. */
  inputs: InputScale;
  /** Take the mean activation from inputs first (evaluation.md §7.4); lengths are then those of what is left. The finished dictionary has it in its decoder bias. */
  centre: boolean;
  /** How examples are kept on the device: f16 takes half the memory and rounds them to 11 bits. */
  storage: 'f32' | 'f16';
  /** Remove the decoder gradient's part along each row before the step. Rows are brought back to unit length after it either way. */
  projectGradient: boolean;
  /** Shares of the run after which dead features are resampled, at the end of the epoch in question. Empty: never. */
  resampleAt: readonly number[];
  /** Epochs between two resamplings, besides `resampleAt`; 0: none. */
  resampleEvery: number;
  /** The same in steps. Each takes place at the end of the epoch that the step is in; on a stream an epoch is a round. */
  resampleAtSteps: readonly number[];
  resampleEverySteps: number;
  /**
   * A feature is dead if none of the last so many examples (tokens, on text) activated it: SAELens' `dead_feature_window`, dictionary_learning's
   * `dead_feature_threshold`. Counted step by step, and so told to logs, to resampling, which begins the count anew, and to the auxiliary loss. 0: it is
   * dead if no example of the last whole epoch activated it.
   */
  deadAfter: number;
  /** Dead features take after examples of high loss (`loss`), or are drawn as they were at the start (`initial`). */
  resampling: 'loss' | 'initial';
  /** Length of a resampled encoder column as a share of the mean length of the alive ones. */
  resampleScale: number;
  /** Whose lengths that mean is of: the alive features' columns, or (as released) the dimensions' rows across alive features. */
  resampleNorm: 'features' | 'dimensions';
  /** Gated SAEs: consecutive examples that share the mean of their losses when examples are drawn for resampling. 1 tells each from the other; the released code has 64. */
  gatedLossBlock: number;
  /** Steps, and whole epochs, over which the learning rate rises from a tenth to the whole after a resampling; both are added. */
  warmupSteps: number;
  warmupEpochs: number;
  /** Steps over which the learning rate rises from nothing to the whole at the start of the run. */
  learningRateWarmupSteps: number;
  /** Share of the run after which the learning rate falls, and the share of itself that it would reach just after the last step. */
  decayFrom: number;
  decayTo: number;
  /** How it falls: on a straight line, on half a cosine, or (as released) by a factor an epoch that compounds and ends at 0. */
  decay: 'linear' | 'cosine' | 'compounding';
  /** Largest length of a dictionary's whole gradient, all parts together; longer ones are brought to it (torch's `clip_grad_norm_`). 0: any length. */
  clipNorm: number;
  /** Steps over which λ rises from 0 to a dictionary's own, on a straight line. */
  l1WarmupSteps: number;
  /** Top-k kinds: steps over which K falls to a dictionary's own from `kWarmupFrom`, on a straight line. A start of 0 is the width of the site; none is below the dictionary's K or above its features. */
  kWarmupSteps: number;
  kWarmupFrom: number;
  /**
   * Length of encoder columns at the start, of the kinds whose features are all free to be active: 1 (`unit`), or so short that reconstructions
   * begin as long as the examples (`balanced`): 2 · width / features. With many more features than dimensions unit columns begin with sums
   * far too long, which take thousands of steps to come down.
   */
  encoderStart: 'unit' | 'balanced';
  /** Gated SAEs: the encoder begins as the decoder's transpose (`tied`), or is drawn by itself. */
  gatedStart: 'tied' | 'untied';
  /** Gated SAEs, as released: magnitudes are not rectified, so that codes can be negative. */
  signedMagnitude: boolean;
  /** Top-k SAEs, as released: the K largest values count even where they are negative. */
  signedTopk: boolean;
  /** Top-k kinds: decoder rows of unit length, or (as released) rows that begin as the encoder's columns and are never brought to a length. */
  topkDecoder: 'unit' | 'free';
  /** Top-k kinds: weight of the auxiliary loss, by which dead features learn the present error; 0: none. */
  auxiliaryCoefficient: number;
  /** Top-k kinds: dead features that take part in it for an example. See `deadAfter`. */
  auxiliaryFeatures: number;
  /** BatchTopK: share by which a batch's threshold moves the running one, by which the finished dictionary encodes. */
  thresholdRate: number;
  /** JumpReLU: where every threshold begins, and the width of the kernel that its gradient is estimated with; in scaled units. */
  initialThreshold: number;
  bandwidth: number;
  /** Seed of the order of the data, which all dictionaries share. */
  seed: number;
  /**
   * Vanilla and frozen ones: what follows the encoder in a step, products over all features (`dense`) or sums over the active ones (`sparse`).
   * `auto` goes by the number of features, and is settled when a run begins: a checkpoint holds the path taken, because sums differ in their
   * last digits. Every other variant has one path.
   */
  path: SaePath | 'auto';
  /** Epochs between two log records. */
  logEvery: number;
}

/**
 * By one number for all examples: to a mean length of √width as in the workshop's code (SAELens' `expected_average_only_in`) or of 1 as in the arXiv
 * paper (evaluation.md §7.1), to a mean square of 1 (dictionary_learning), or `none`. Or every example by itself (tensor/row-normalize.ts), which
 * the finished dictionary then does too.
 */
export type InputScale = 'root-width' | 'unit' | 'mean-square' | 'none' | RowNormalization;

/** λ for inputs of another mean length: the squared error grows with the length's square, the codes with the length, so λ with the length (§7.1). */
export function rescaleSparsity(l1: number, from: 'root-width' | 'unit', to: 'root-width' | 'unit', width: number): number {
  if (from === to) return l1;
  return to === 'unit' ? l1 / Math.sqrt(width) : l1 * Math.sqrt(width);
}

/**
 * The workshop's settings (evaluation.md §7.3) but for length, learning rate and batch: those are what gave the lowest loss within about
 * 1,500 steps on heads of models/ioi-mini (3,000 examples, width 32). The workshop took a rate of 3e-4 over 80,000 steps.
 */
export const trainDefaults: Readonly<TrainSettings> = {
  features: 256, epochs: 60, batch: 128, learningRate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, inputs: 'root-width', centre: false, storage: 'f32', projectGradient: true,
  resampleAt: [0.25, 0.5], resampleEvery: 0, resampleAtSteps: [], resampleEverySteps: 0, deadAfter: 0, resampling: 'loss', resampleScale: 0.2, resampleNorm: 'features', gatedLossBlock: 1,
  warmupSteps: 100, warmupEpochs: 0, learningRateWarmupSteps: 0, decayFrom: 0.75, decayTo: 0, decay: 'linear', clipNorm: 0, l1WarmupSteps: 0, kWarmupSteps: 0, kWarmupFrom: 0,
  encoderStart: 'unit', gatedStart: 'tied', signedMagnitude: false, signedTopk: false, topkDecoder: 'unit', auxiliaryCoefficient: 0.25, auxiliaryFeatures: 32, thresholdRate: 0.01,
  initialThreshold: 0.01, bandwidth: 0.2, seed: 0, path: 'auto', logEvery: 1,
};

/**
 * For each variant, what served well with `trainDefaults` on heads of models/ioi-mini (3,000 examples, width 32) in about 1,000 steps: a
 * learning rate, and values of λ or K that span few to many active features.
 */
export const variantDefaults: Readonly<Record<TrainVariant, { learningRate: number; values: readonly number[] }>> = {
  vanilla: { learningRate: 1e-2, values: [0.5, 1, 2.5] },
  gated: { learningRate: 1e-2, values: [0.5, 2, 5] },
  topk: { learningRate: 1e-2, values: [2, 4, 8] },
  batchtopk: { learningRate: 1e-2, values: [2, 4, 8] },
  jumprelu: { learningRate: 2e-2, values: [0.2, 0.5, 1] },
  frozen: { learningRate: 1e-2, values: [0.5, 1, 2.5] },
};

/** One dictionary of a run. */
export interface SaeJob {
  /** Begins with the variant, e.g. `vanilla z@L3H0@end l1=1`. Unique in the run. */
  name: string;
  /** `vanilla` if not given. */
  variant?: TrainVariant;
  /** Activations at the site, [examples, width], in the model's units: a tensor, or what the run's stream brings in rounds. Jobs may share it. */
  data: Tensor | StreamedExamples;
  /** λ, for inputs scaled as the settings say. Needed by all variants but the top-k kinds, which do without. */
  l1?: number;
  /** K, the number of active features of an example (`topk`) or their mean number (`batchtopk`). */
  k?: number;
  /** Seed of the initial weights and of resampling. */
  seed: number;
  /** Its own learning rate; the settings' if not given. */
  learningRate?: number;
  /** Written into the trained dictionary: model, hook, site and the like. */
  metadata?: Readonly<Record<string, unknown>>;
}

/** A job's variant, with the default filled in. */
export function variantOf(job: Pick<SaeJob, 'variant'>): TrainVariant {
  return job.variant ?? 'vanilla';
}

/** What sets a job's sparsity: λ or K. */
export function sparsityOf(job: Pick<SaeJob, 'variant' | 'l1' | 'k'>): number {
  return (variantPolicies[variantOf(job)].sparsity === 'k' ? job.k : job.l1) ?? NaN;
}

/** Whether every example is brought to a scale of its own. */
export function isOwnScale(inputs: InputScale): inputs is RowNormalization {
  return (ROW_NORMALIZATIONS as readonly string[]).includes(inputs);
}

const CHOICES: Partial<Record<keyof TrainSettings, readonly unknown[]>> = {
  inputs: ['root-width', 'unit', 'mean-square', 'none', ...ROW_NORMALIZATIONS], storage: ['f32', 'f16'], resampling: ['loss', 'initial'], resampleNorm: ['features', 'dimensions'], decay: ['linear', 'cosine', 'compounding'],
  encoderStart: ['unit', 'balanced'], gatedStart: ['tied', 'untied'], topkDecoder: ['unit', 'free'], path: ['auto', 'sparse', 'dense'],
};

/** Fills in defaults, settles the path and checks ranges. Throws UsageError naming the setting. */
export function checkSettings(given: Partial<TrainSettings>): TrainSettings {
  const settings = { ...trainDefaults, ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) } as TrainSettings;
  const need = (name: keyof TrainSettings, ok: boolean, what: string): void => {
    if (!ok) throw new UsageError(`training: ${name} is ${String(settings[name])}, but must be ${what}`);
  };
  const whole = ['features', 'epochs', 'batch', 'logEvery', 'gatedLossBlock', 'auxiliaryFeatures'] as const;
  for (const name of whole) need(name, Number.isInteger(settings[name]) && settings[name] >= 1, 'a whole number of at least 1');
  const counts = ['warmupSteps', 'warmupEpochs', 'resampleEvery', 'resampleEverySteps', 'deadAfter', 'learningRateWarmupSteps', 'l1WarmupSteps', 'kWarmupSteps', 'kWarmupFrom', 'seed'] as const;
  for (const name of counts) need(name, Number.isInteger(settings[name]) && settings[name] >= 0, 'a whole number of at least 0');
  for (const name of ['learningRate', 'epsilon', 'resampleScale', 'thresholdRate', 'bandwidth', 'initialThreshold'] as const) need(name, Number.isFinite(settings[name]) && settings[name] > 0, 'a number above 0');
  for (const name of ['auxiliaryCoefficient', 'clipNorm'] as const) need(name, Number.isFinite(settings[name]) && settings[name] >= 0, 'a number of at least 0');
  for (const name of ['beta1', 'beta2'] as const) need(name, settings[name] >= 0 && settings[name] < 1, 'at least 0 and below 1');
  for (const name of ['decayFrom', 'decayTo'] as const) need(name, settings[name] >= 0 && settings[name] <= 1, 'between 0 and 1');
  need('decayTo', settings.decay !== 'compounding' || settings.decayTo === 0, '0 where the decay compounds');
  // It is counted in 32 bits.
  need('deadAfter', settings.deadAfter < 2 ** 32, 'below 2^32');
  need('resampleAtSteps', settings.resampleAtSteps.every((step) => Number.isInteger(step) && step >= 1), 'whole numbers of at least 1');
  need('centre', !settings.centre || !isOwnScale(settings.inputs), `false where inputs are brought to one scale by ${settings.inputs}`);
  need('resampleAt', settings.resampleAt.every((share) => share > 0 && share < 1), 'shares between 0 and 1');
  for (const [name, choices] of Object.entries(CHOICES)) need(name as keyof TrainSettings, choices.includes(settings[name as keyof TrainSettings]), choices.join(' or '));
  return settings.path === 'auto' ? { ...settings, path: saePath(settings) } : settings;
}

/** Checks the jobs of one run against each other and against the settings. Returns the number of examples. */
export function checkJobs(jobs: readonly SaeJob[], { features }: Pick<TrainSettings, 'features'>): number {
  const [first] = jobs;
  if (!first) throw new UsageError('training: there is no dictionary to train');
  const examples = first.data.shape[0] ?? 0;
  const names = new Set<string>();
  for (const job of jobs) {
    const { name, data, seed, learningRate } = job;
    if (names.has(name)) throw new UsageError(`training: two dictionaries are called ${name}`);
    names.add(name);
    if (data.shape.length !== 2 || data.size === 0) throw new ShapeError(`training ${name}: activations of shape [${data.shape.join(', ')}] are not a matrix of examples`);
    if (data.shape[0] !== examples) throw new ShapeError(`training ${name}: ${data.shape[0]} examples, but ${first.name} has ${examples}; dictionaries of one run need equally many`);
    checkSparsity(job, features);
    if (!Number.isInteger(seed)) throw new UsageError(`training ${name}: seed is ${seed}, but must be a whole number`);
    if (learningRate !== undefined && !(learningRate > 0)) throw new UsageError(`training ${name}: learningRate is ${learningRate}, but must be above 0`);
  }
  return examples;
}

function checkSparsity(job: SaeJob, features: number): void {
  const { name, l1, k } = job;
  const variant = checkVariant(variantOf(job), `training ${name}`);
  if (variantPolicies[variant].sparsity === 'l1') {
    if (l1 === undefined || !(l1 >= 0) || !Number.isFinite(l1)) throw new UsageError(`training ${name}: l1 is ${l1}, but must be a number of at least 0`);
  } else if (k === undefined || !Number.isInteger(k) || k < 1 || k > features) {
    throw new UsageError(`training ${name}: k is ${k}, but must be a whole number from 1 to the ${features} features`);
  }
}
