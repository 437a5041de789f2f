/** The published settings of task SAEs (evaluation.md §7.2 to §7.5) as data. */
import { UsageError } from '../errors.ts';
import type { TrainSettings } from './settings.ts';
import type { TrainVariant } from './variants.ts';

/** Values of λ or K that a variant is trained with. */
export interface VariantValues { variant: TrainVariant; values: readonly number[] }

export interface TrainingPreset {
  settings: Partial<TrainSettings>;
  /** Features for one dimension of the activations; `settings.features` is for the 64 of a head of GPT-2 Small. */
  expansion: number;
  /** λ counts for inputs as `settings.inputs` scales them. */
  variants: readonly VariantValues[];
  /** Examples to train on, and to evaluate on where that is another number. */
  examples: number;
  evaluationExamples: number | null;
  /** Epochs whose dictionaries are kept; the last is the end. */
  snapshotEpochs: readonly number[];
  /** What the source leaves open and how it is filled in here. */
  notes: readonly string[];
}

const WORKSHOP_EPOCHS = [1, 2, 4, 8, 16, 32, 64, 128, 500, 750, 1000, 1250, 1500, 2000] as const;
const LAMBDAS = [0.5, 1, 2.5, 5] as const;
const KS = [3, 6, 12, 24] as const;

const workshopSettings: Partial<TrainSettings> = {
  features: 512, epochs: 2000, batch: 512, learningRate: 3e-4, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, inputs: 'root-width',
  resampleAt: [0.25, 0.5], resampleEvery: 0, resampling: 'loss', resampleScale: 0.2, warmupSteps: 0, warmupEpochs: 100, decayFrom: 0.75,
  gatedStart: 'untied', auxiliaryCoefficient: 0,
};

const presets = {
  workshop: {
    settings: workshopSettings, expansion: 8, examples: 20000, evaluationExamples: null, snapshotEpochs: WORKSHOP_EPOCHS,
    variants: [{ variant: 'vanilla', values: LAMBDAS }, { variant: 'gated', values: LAMBDAS }, { variant: 'topk', values: KS }],
    notes: ['Dead features are resampled right after epochs 500 and 1000 by their activity in those epochs; the released code counts in the epoch after.'],
  },
  arxiv: {
    settings: {
      features: 1024, epochs: 2000, batch: 1024, learningRate: 1e-3, beta1: 0, beta2: 0.999, epsilon: 1e-8, inputs: 'unit',
      resampleAt: [], resampleEvery: 500, resampling: 'initial', warmupSteps: 0, warmupEpochs: 0, decayFrom: 1,
    },
    expansion: 16, examples: 20000, evaluationExamples: 8000, snapshotEpochs: WORKSHOP_EPOCHS,
    variants: [{ variant: 'vanilla', values: [0.01, 0.05, 0.1, 0.3] }, { variant: 'frozen', values: [0.01, 0.05, 0.1, 0.3] }],
    notes: [
      'The number of epochs is not published: at least 500, and up to 6,000 in the study of occlusion; 2,000 are taken.',
      'No schedule of the learning rate is published; it is constant here. Checkpoints are the workshop\'s.',
    ],
  },
  iclr: {
    settings: workshopSettings, expansion: 8, examples: 20000, evaluationExamples: null, snapshotEpochs: WORKSHOP_EPOCHS,
    variants: [{ variant: 'vanilla', values: LAMBDAS }, { variant: 'gated', values: LAMBDAS }, { variant: 'topk', values: KS }],
    notes: ['Its training settings are not known apart from the variants; they are the workshop\'s.'],
  },
} as const satisfies Record<string, TrainingPreset>;

export type TrainingPresetName = keyof typeof presets;
export const TRAINING_PRESETS = Object.keys(presets) as readonly TrainingPresetName[];

/** A publication's settings. Throws UsageError, naming those there are, for another name. */
export function trainingPreset(name: string): TrainingPreset {
  if (!Object.hasOwn(presets, name)) throw new UsageError(`"${name}" is no preset of training; there are ${TRAINING_PRESETS.join(', ')}`);
  return presets[name as TrainingPresetName];
}
