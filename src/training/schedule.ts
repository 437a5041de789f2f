/** When things happen in a run: steps, epochs, resampling, the learning rate, λ and K. Pure functions of the settings. */
import { UsageError } from '../errors.ts';
import { sparsityOf, variantOf, type SaeJob, type TrainSettings } from './settings.ts';
import { variantPolicies } from './variants.ts';

export interface Schedule {
  /** Steps of one epoch and of the run. */
  perEpoch: number;
  steps: number;
  /** Most examples of one step. */
  maxRows: number;
  /** Numbers of completed epochs after which dead features are resampled, ascending. */
  resampleAfter: readonly number[];
}

const WARMUPS = ['learningRateWarmupSteps', 'l1WarmupSteps', 'kWarmupSteps'] as const;

/** Throws UsageError for a warm-up that would not end within the run. */
export function scheduleOf(settings: TrainSettings, examples: number): Schedule {
  const { epochs, resampleAt, resampleEvery, resampleAtSteps, resampleEverySteps } = settings;
  const perEpoch = Math.ceil(examples / settings.batch);
  const steps = perEpoch * epochs;
  for (const name of WARMUPS) if (settings[name] > 0 && settings[name] >= steps) throw new UsageError(`training: ${name} is ${settings[name]}, but must be less than the ${steps} steps of the run`);
  const multiples = (every: number, most: number): number[] => (every > 0 ? Array.from({ length: Math.floor(most / every) }, (_, i) => (i + 1) * every) : []);
  const atSteps = [...resampleAtSteps, ...multiples(resampleEverySteps, steps)].map((step) => Math.ceil(step / perEpoch));
  // A resampling after the last epoch would leave new features untrained.
  const resampleAfter = [...new Set([...resampleAt.map((share) => Math.round(share * epochs)), ...multiples(resampleEvery, epochs), ...atSteps])].filter((epoch) => epoch > 0 && epoch < epochs).sort((a, b) => a - b);
  return { perEpoch, steps, maxRows: Math.ceil(examples / perEpoch), resampleAfter };
}

/** Examples [first, first + rows) of an epoch's order that step `index` of the epoch takes. Sizes differ by at most one. */
export function batchOf(examples: number, perEpoch: number, index: number): { first: number; rows: number } {
  const first = Math.floor((index * examples) / perEpoch);
  return { first, rows: Math.floor(((index + 1) * examples) / perEpoch) - first };
}

/** Examples trained on in so many steps. */
export function samplesAfter(step: number, examples: number, perEpoch: number): number {
  return Math.floor(step / perEpoch) * examples + batchOf(examples, perEpoch, step % perEpoch).first;
}

type RateSettings = Pick<TrainSettings, 'decay' | 'decayFrom' | 'decayTo' | 'epochs' | 'warmupSteps' | 'warmupEpochs' | 'learningRateWarmupSteps'>;

/**
 * What the learning rate is multiplied by at a step (counting from 0): the product of three factors, each a function of the step alone, never of
 * the factor before it, which would compound.
 *
 * - At the start of the run it rises in equal steps to 1 at the last of `learningRateWarmupSteps`, as SAELens' does.
 * - From `decayFrom` on, but not before that warm-up is over, it falls on a straight line, or as 1 + cos does from 0 to π, to what would be
 *   `decayTo` just after the last step. SAELens' `cosineannealing` is the latter with decayFrom 0 and decayTo `lr_end / lr`.
 * - After each resampling it rises from 0.1 to 1 over `warmupSteps` and `warmupEpochs`.
 */
export function learningRateFactor(step: number, schedule: Schedule, settings: RateSettings): number {
  const { perEpoch, resampleAfter } = schedule;
  const decay = settings.decay === 'compounding' ? compoundingDecay(Math.floor(step / perEpoch), settings) : decayAt(step, schedule, settings);
  const length = settings.warmupSteps + settings.warmupEpochs * perEpoch;
  let since = Infinity;
  for (const epoch of resampleAfter) if (step >= epoch * perEpoch) since = step - epoch * perEpoch;
  const warmup = since < length ? 0.1 + 0.9 * (since / length) : 1;
  const start = step < settings.learningRateWarmupSteps ? (step + 1) / settings.learningRateWarmupSteps : 1;
  return decay * warmup * start;
}

function decayAt(step: number, { steps }: Schedule, { decay, decayFrom, decayTo, learningRateWarmupSteps }: RateSettings): number {
  const start = Math.max(decayFrom * steps, learningRateWarmupSteps);
  if (step < start) return 1;
  const left = decay === 'cosine' ? (1 + Math.cos((Math.PI * (step - start)) / (steps - start))) / 2 : (steps - step) / (steps - start);
  return decayTo + (1 - decayTo) * left;
}

type SparsitySettings = Pick<TrainSettings, 'features' | 'l1WarmupSteps' | 'kWarmupSteps' | 'kWarmupFrom'>;

/**
 * λ or K of a dictionary as step number `count` uses it, counting from 1; before the first step what that will use. With t = count − 1 and N steps
 * of warm-up, λ is min(t / N, 1) of its own; K is ⌊(1 − t/N) K₀ + t/N K⌋ until it is its own at t = N (dictionary_learning's `k_anneal_steps`, whose
 * K₀ is the width too).
 */
export function sparsityAt(job: Pick<SaeJob, 'variant' | 'l1' | 'k'>, count: number, settings: SparsitySettings, width: number): number {
  const own = sparsityOf(job);
  const t = Math.max(count - 1, 0);
  const { l1WarmupSteps, kWarmupSteps: N, kWarmupFrom, features } = settings;
  if (variantPolicies[variantOf(job)].sparsity === 'l1') return t < l1WarmupSteps ? own * (t / l1WarmupSteps) : own;
  if (t >= N) return own;
  const from = Math.max(own, Math.min(features, kWarmupFrom || width));
  return Math.floor((from * (N - t) + own * t) / N);
}

/**
 * The released code's decay (evaluation.md §7.3): once an epoch the present rate, not the first one, is multiplied by the share of the decay
 * that is left, so that the shares compound. `epoch` counts from 0.
 */
function compoundingDecay(epoch: number, { decayFrom, epochs }: Pick<TrainSettings, 'decayFrom' | 'epochs'>): number {
  const start = Math.round(decayFrom * epochs);
  let factor = 1;
  for (let at = start; at <= epoch; at++) factor *= (epochs - at - 1) / (epochs - start);
  return factor;
}
