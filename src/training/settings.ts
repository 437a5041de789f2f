/** What a training run is told: the settings that all its dictionaries share, and what is each dictionary's own. */
import { ShapeError, UsageError } from '../errors.ts';
import { saePath, type SaePath, type Tensor } from '../tensor/index.ts';

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
  /** Remove the decoder gradient's part along each row before the step. Rows are brought back to unit length after it either way. */
  projectGradient: boolean;
  /** Shares of the run after which dead features are resampled, at the end of the epoch in question. Empty: never. */
  resampleAt: readonly number[];
  /** Length of a resampled encoder column as a share of the mean length of the alive ones. */
  resampleScale: number;
  /** Steps over which the learning rate rises from a tenth to the whole after a resampling. */
  warmupSteps: number;
  /** Share of the run after which the learning rate falls linearly to zero. */
  decayFrom: number;
  /** Seed of the order of the data, which all dictionaries share. */
  seed: number;
  /**
   * What follows the encoder in a step: products over all features (`dense`), or sums over the active ones (`sparse`). `auto` goes by the
   * number of features, and is settled when a run begins: a checkpoint holds the path taken, because sums differ in their last digits.
   */
  path: SaePath | 'auto';
  /** Epochs between two log records. */
  logEvery: number;
}

/**
 * The workshop's settings (evaluation.md §7.3) but for length, learning rate and batch: those are what gave the lowest loss within about
 * 1,500 steps on heads of models/ioi-mini (3,000 examples, width 32). The workshop took a rate of 3e-4 over 80,000 steps.
 */
export const trainDefaults: Readonly<TrainSettings> = {
  features: 256, epochs: 60, batch: 128, learningRate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, projectGradient: true,
  resampleAt: [0.25, 0.5], resampleScale: 0.2, warmupSteps: 100, decayFrom: 0.75, seed: 0, path: 'auto', logEvery: 1,
};

/** One dictionary of a run. */
export interface SaeJob {
  /** Begins with the variant, e.g. `vanilla z@L3H0@end l1=1`. Unique in the run. */
  name: string;
  /** Activations at the site, [examples, width], in the model's units. Jobs may share a tensor. */
  data: Tensor;
  /** λ, in units of activations scaled to a mean length of √width (the workshop's). */
  l1: number;
  /** Seed of the initial weights and of resampling. */
  seed: number;
  /** Its own learning rate; the settings' if not given. */
  learningRate?: number;
  /** Written into the trained dictionary: model, hook, site and the like. */
  metadata?: Readonly<Record<string, unknown>>;
}

/** Fills in defaults, settles the path and checks ranges. Throws UsageError naming the setting. */
export function checkSettings(given: Partial<TrainSettings>): TrainSettings {
  const settings = { ...trainDefaults, ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) } as TrainSettings;
  const need = (name: keyof TrainSettings, ok: boolean, what: string): void => {
    if (!ok) throw new UsageError(`training: ${name} is ${String(settings[name])}, but must be ${what}`);
  };
  for (const name of ['features', 'epochs', 'batch', 'logEvery'] as const) need(name, Number.isInteger(settings[name]) && settings[name] >= 1, 'a whole number of at least 1');
  for (const name of ['warmupSteps', 'seed'] as const) need(name, Number.isInteger(settings[name]) && settings[name] >= 0, 'a whole number of at least 0');
  for (const name of ['learningRate', 'epsilon', 'resampleScale'] as const) need(name, Number.isFinite(settings[name]) && settings[name] > 0, 'a number above 0');
  for (const name of ['beta1', 'beta2'] as const) need(name, settings[name] >= 0 && settings[name] < 1, 'at least 0 and below 1');
  need('decayFrom', settings.decayFrom >= 0 && settings.decayFrom <= 1, 'between 0 and 1');
  need('resampleAt', settings.resampleAt.every((share) => share > 0 && share < 1), 'shares between 0 and 1');
  need('path', ['auto', 'sparse', 'dense'].includes(settings.path), 'auto, sparse or dense');
  return settings.path === 'auto' ? { ...settings, path: saePath(settings) } : settings;
}

/** Checks the jobs of one run against each other. Returns the number of examples. */
export function checkJobs(jobs: readonly SaeJob[]): number {
  const [first] = jobs;
  if (!first) throw new UsageError('training: there is no dictionary to train');
  const examples = first.data.shape[0] ?? 0;
  const names = new Set<string>();
  for (const { name, data, l1, seed, learningRate } of jobs) {
    if (names.has(name)) throw new UsageError(`training: two dictionaries are called ${name}`);
    names.add(name);
    if (data.shape.length !== 2 || data.size === 0) throw new ShapeError(`training ${name}: activations of shape [${data.shape.join(', ')}] are not a matrix of examples`);
    if (data.shape[0] !== examples) throw new ShapeError(`training ${name}: ${data.shape[0]} examples, but ${first.name} has ${examples}; dictionaries of one run need equally many`);
    if (!(l1 >= 0) || !Number.isFinite(l1)) throw new UsageError(`training ${name}: l1 is ${l1}, but must be a number of at least 0`);
    if (!Number.isInteger(seed)) throw new UsageError(`training ${name}: seed is ${seed}, but must be a whole number`);
    if (learningRate !== undefined && !(learningRate > 0)) throw new UsageError(`training ${name}: learningRate is ${learningRate}, but must be above 0`);
  }
  return examples;
}
