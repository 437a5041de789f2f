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
  const perEpoch = Math.ceil(examples / settings.batch);
  // A resampling after the last epoch would leave new features untrained.
  const resampleAfter = [...new Set(settings.resampleAt.map((share) => Math.round(share * settings.epochs)))].filter((epoch) => epoch > 0 && epoch < settings.epochs).sort((a, b) => a - b);
  return { perEpoch, steps: perEpoch * settings.epochs, maxRows: Math.ceil(examples / perEpoch), resampleAfter };
}

/** Examples [first, first + rows) of an epoch's order that step `index` of the epoch takes. Sizes differ by at most one. */
export function batchOf(examples: number, perEpoch: number, index: number): { first: number; rows: number } {
  const first = Math.floor((index * examples) / perEpoch);
  return { first, rows: Math.floor(((index + 1) * examples) / perEpoch) - first };
}

/**
 * What the learning rate is multiplied by at a step (counting from 0). From `decayFrom` on it falls on a straight line that would reach zero
 * just after the last step: the factor is a function of the step alone, never of the factor before it, which would compound.
 * After each resampling it rises from 0.1 to 1 over `warmupSteps`.
 */
export function learningRateFactor(step: number, schedule: Schedule, settings: Pick<TrainSettings, 'decayFrom' | 'warmupSteps'>): number {
  const { steps, perEpoch, resampleAfter } = schedule;
  const start = settings.decayFrom * steps;
  const decay = step < start ? 1 : (steps - step) / (steps - start);
  let since = Infinity;
  for (const epoch of resampleAfter) if (step >= epoch * perEpoch) since = step - epoch * perEpoch;
  const warmup = since < settings.warmupSteps ? 0.1 + 0.9 * (since / settings.warmupSteps) : 1;
  return decay * warmup;
}
