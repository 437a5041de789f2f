/** What the paper's released code does otherwise than it should (evaluation.md §7.2 and §7.3), by name, for runs that repeat it. */
import { UsageError } from '../errors.ts';
import type { TrainSettings } from './settings.ts';

interface Behaviour { description: string; settings: Partial<TrainSettings> }

const behaviours = {
  'lr-decay': {
    description: 'the decay of the learning rate compounds once an epoch instead of following a straight line',
    settings: { decay: 'compounding' },
  },
  'resample-norm': {
    description: 'resampled encoder columns take their length from the mean over input dimensions, not over alive features',
    settings: { resampleNorm: 'dimensions' },
  },
  'gradient-projection': {
    description: 'the decoder\'s gradient keeps its part along each row, because the projection comes after the step',
    settings: { projectGradient: false },
  },
  'gated-magnitude': {
    description: 'gated SAEs do not rectify magnitudes, so that codes can be negative',
    settings: { signedMagnitude: true },
  },
  'gated-resampling': {
    description: 'gated SAEs draw examples for resampling by the mean loss of 64 of them',
    settings: { gatedLossBlock: 64 },
  },
  'gated-start': {
    description: 'gated SAEs draw their encoder by itself instead of beginning with the decoder\'s transpose',
    settings: { gatedStart: 'untied' },
  },
  'topk-signed': {
    description: 'top-k SAEs keep the K largest values even where they are negative',
    settings: { signedTopk: true },
  },
  'topk-decoder': {
    description: 'top-k SAEs begin with the encoder\'s transpose as it is drawn and never bring decoder rows to unit length',
    settings: { topkDecoder: 'free' },
  },
  'topk-dead': {
    description: 'top-k SAEs have no auxiliary loss that brings dead features back',
    settings: { auxiliaryCoefficient: 0 },
  },
} as const satisfies Record<string, Behaviour>;

export type ReleasedTraining = keyof typeof behaviours;

/** Every name with one line on what it does. */
export const RELEASED_TRAINING = Object.fromEntries(Object.entries(behaviours).map(([name, { description }]) => [name, description])) as Readonly<Record<ReleasedTraining, string>>;

/** Settings under which training does what the named behaviours say. Throws UsageError, naming those there are, for a name that is none. */
export function releasedTraining(names: readonly string[]): Partial<TrainSettings> {
  return Object.assign({}, ...names.map((name) => {
    if (!Object.hasOwn(behaviours, name)) throw new UsageError(`"${name}" is no behaviour of the released training code; there are ${Object.keys(behaviours).join(', ')}`);
    return behaviours[name as ReleasedTraining].settings;
  })) as Partial<TrainSettings>;
}
