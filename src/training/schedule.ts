/** When things happen in a run: steps, epochs, resampling and the learning rate. Pure functions of the settings. */
import type { TrainSettings } from './settings.ts';

export interface Schedule {
  /** Steps of one epoch and of the run. */
  perEpoch: number;
  steps: number;
  /** Most examples of one step. */
  maxRows: number;
  /** Numbers of completed epochs after which dead features are resampled, ascending. */
  resampleAfter: readonly number[];
}

export function scheduleOf(settings: TrainSettings, examples: number): Schedule {
  const { epochs, resampleAt, resampleEvery } = settings;
  const perEpoch = Math.ceil(examples / settings.batch);
  const regular = resampleEvery > 0 ? Array.from({ length: Math.floor(epochs / resampleEvery) }, (_, i) => (i + 1) * resampleEvery) : [];
  // A resampling after the last epoch would leave new features untrained.
  const resampleAfter = [...new Set([...resampleAt.map((share) => Math.round(share * epochs)), ...regular])].filter((epoch) => epoch > 0 && epoch < epochs).sort((a, b) => a - b);
  return { perEpoch, steps: perEpoch * epochs, maxRows: Math.ceil(examples / perEpoch), resampleAfter };
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

/**
 * What the learning rate is multiplied by at a step (counting from 0). From `decayFrom` on it falls on a straight line that would reach zero
 * just after the last step: the factor is a function of the step alone, never of the factor before it, which would compound.
 * After each resampling it rises from 0.1 to 1 over `warmupSteps` and `warmupEpochs`.
 */
export function learningRateFactor(step: number, schedule: Schedule, settings: Pick<TrainSettings, 'decay' | 'decayFrom' | 'epochs' | 'warmupSteps' | 'warmupEpochs'>): number {
  const { steps, perEpoch, resampleAfter } = schedule;
  const start = settings.decayFrom * steps;
  const straight = step < start ? 1 : (steps - step) / (steps - start);
  const decay = settings.decay === 'compounding' ? compoundingDecay(Math.floor(step / perEpoch), settings) : straight;
  const length = settings.warmupSteps + settings.warmupEpochs * perEpoch;
  let since = Infinity;
  for (const epoch of resampleAfter) if (step >= epoch * perEpoch) since = step - epoch * perEpoch;
  const warmup = since < length ? 0.1 + 0.9 * (since / length) : 1;
  return decay * warmup;
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
