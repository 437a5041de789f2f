/**
 * What a reproduction does. A preset says which version of the paper is followed: its dictionaries, how they are trained and chosen, its edits
 * and numbers of features. Sizes say how much of it: the paper's own for GPT-2 Small, reduced ones for a small model on a software driver, where
 * everything is exercised and nothing takes long. Every preset runs every stage.
 */
import { UsageError } from '../errors.ts';
import { RELEASED_TRAINING, releasedTraining, trainingPreset, type TrainSettings, type VariantValues } from '../training/index.ts';

export const PRESETS = ['workshop', 'arxiv', 'iclr'] as const;
export type PresetName = (typeof PRESETS)[number];
export const SIZES = ['paper', 'reduced'] as const;
export type SizesName = (typeof SIZES)[number];

export interface Settings {
  preset: PresetName;
  sizes: SizesName;
  seed: number;
  /** Prompts that are scored, that SAEs are chosen on, and that dictionaries are fitted on. */
  prompts: number;
  selectionPrompts: number;
  trainPrompts: number;
  /** SAEs: kinds with their λ or K, epochs whose dictionaries are kept, and settings of training. */
  variants: VariantValues[];
  snapshotEpochs: number[];
  training: Partial<TrainSettings>;
  /** Numbers of features that edits may change. */
  ks: number[];
  /** How a site's SAE is chosen: by the distance of its edits (workshop), or by few features and a kept logit difference (arXiv). */
  selection: 'distance' | 'tradeoff';
  /** Which column of the paper's table of edits is run on the published cross-sections. */
  edits: 'workshop' | 'arxiv';
  /** Parametrizations of supervised dictionaries, and the codes they are fitted with. */
  parametrizations: string[];
  codes: ('mean' | 'mse')[];
  /** Least F1 of the features that causal tests keep or remove. */
  thresholds: number[];
  /** Prompts of the tests that are costly for each prompt: causal tests, mechanism, probes. */
  closePrompts: number;
  /** Features shown of a dictionary, examples of each, and most values in a union that a feature may stand for; the tests' unions have at most ten. */
  featurePages: { features: number; examples: number; unions: number };
  /** Feature occlusion at one site. */
  occlusion: { examples: number; features: number[]; lambdas: number[]; epochs: number; alphas: number[] };
  /** The same dictionary from other seeds and other data. */
  overSplitting: { seeds: number; epochs: number; lambda: number };
  toys: { idealSamples: number; seeds: number; occlusionFull: boolean };
  greaterThan: { train: number; prompts: number; lambdas: number[]; ks: number[]; epochs: number };
  /** Tokens that SAE metrics are taken on. */
  metricPrompts: number;
  /** Released behaviours by name, in place of what is right. */
  released: string[];
}

/** Released behaviours outside training. */
const RELEASED_EVALUATION = {
  'f1-eval-prompts': 'features are ranked by F1 on the scored prompts, which never show the new names',
  'shared-selection': 'SAEs are chosen on the prompts that they are scored on',
  'coupled-targets': 'new IO and new S names of a counterfactual share their place in their lists',
  'coupled-pos-edit': 'an edit of Pos by the coupled parametrization swaps the code of (S, Pos) alone',
  'mean-ablate-broadcast': 'mean ablation of a code subtracts the mean from every coordinate before the projection',
  'greater-than-years': 'new years of the greater-than task are drawn from all 19, and may be the old one',
  'ld-recovered-old': 'LD recovered is (clean − SAE) / (clean − mean-ablated), 0 where it is best',
} as const;

/** Every released behaviour that can be asked for, with one line on what it does. */
export const RELEASED: Readonly<Record<string, string>> = { ...RELEASED_TRAINING, ...RELEASED_EVALUATION };

/** Those that the training of SAEs knows, as settings of it. */
export function releasedSettings(names: readonly string[]): Partial<TrainSettings> {
  return releasedTraining(names.filter((name) => Object.hasOwn(RELEASED_TRAINING, name)));
}

/** The kinds that people expect beside the paper's, at its sparsities. */
const TODAY: VariantValues[] = [{ variant: 'batchtopk', values: [3, 6, 12, 24] }, { variant: 'jumprelu', values: [0.05, 0.1, 0.25, 0.5] }];
const FROZEN: VariantValues = { variant: 'frozen', values: [0.5, 1, 2.5, 5] };

/** Throws UsageError, with the valid names, for a preset, sizes or behaviour that does not exist. */
export function settingsOf(preset: string, sizes: string, changes: Partial<Settings> = {}): Settings {
  if (!(PRESETS as readonly string[]).includes(preset)) throw new UsageError(`unknown preset "${preset}"; there are ${PRESETS.join(', ')}`);
  if (!(SIZES as readonly string[]).includes(sizes)) throw new UsageError(`unknown sizes "${sizes}"; there are ${SIZES.join(', ')}`);
  const settings = sizes === 'paper' ? paperSettings(preset as PresetName) : reducedSettings(preset as PresetName);
  const given = Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
  const all = { ...settings, ...given } as Settings;
  for (const name of all.released) {
    if (!Object.hasOwn(RELEASED, name)) throw new UsageError(`unknown released behaviour "${name}"; there are ${Object.keys(RELEASED).join(', ')}`);
  }
  return all;
}

function paperSettings(preset: PresetName): Settings {
  const { settings, variants, snapshotEpochs, examples } = trainingPreset(preset);
  const have = new Set(variants.map(({ variant }) => variant));
  return {
    preset, sizes: 'paper', seed: 0, prompts: 5000, selectionPrompts: 1000, trainPrompts: examples,
    variants: [...variants, ...(have.has('frozen') ? [] : [FROZEN]), ...TODAY], snapshotEpochs: [...snapshotEpochs], training: settings,
    ks: preset === 'arxiv' ? [2, 4, 6] : [2, 4, 8, 16],
    selection: preset === 'arxiv' ? 'tradeoff' : 'distance',
    edits: preset === 'workshop' ? 'workshop' : 'arxiv',
    parametrizations: ['independent', 'coupled', 'names'], codes: ['mean', 'mse'],
    thresholds: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], closePrompts: 1000,
    featurePages: { features: 12, examples: 10, unions: 30 },
    occlusion: { examples: 100_000, features: [1024, 2048, 4096, 8192], lambdas: [0.05, 0.1, 0.2, 0.5, 1, 2, 5], epochs: 6000, alphas: [0, 0.2, 0.4, 0.6, 0.8, 1] },
    overSplitting: { seeds: 4, epochs: 500, lambda: 1 },
    toys: { idealSamples: 100_000, seeds: 3, occlusionFull: true },
    greaterThan: { train: 10_000, prompts: 5000, lambdas: [1, 5], ks: [2, 4, 8, 16], epochs: 2000 },
    metricPrompts: 1000, released: [],
  };
}

/** Sizes at which a model of four layers is done within minutes on two cores. */
function reducedSettings(preset: PresetName): Settings {
  const paper = paperSettings(preset);
  const { learningRate: _rate, batch: _batch, features: _features, epochs: _epochs, warmupEpochs: _warmup, resampleEvery: _every, inputs: _inputs, beta1: _beta, ...kept } = paper.training;
  return {
    ...paper, sizes: 'reduced', prompts: 200, selectionPrompts: 64, trainPrompts: 2000,
    // Two sparsities of the paper's kinds show a trade-off; one of the others shows that they work.
    variants: [
      { variant: 'vanilla', values: [0.5, 2] }, { variant: 'gated', values: [0.5, 2] }, { variant: 'topk', values: [3, 6] },
      { variant: 'batchtopk', values: [3] }, { variant: 'jumprelu', values: [0.1] }, { variant: 'frozen', values: [1] },
    ],
    snapshotEpochs: [8, 30], training: { ...kept, features: 128, epochs: 30, batch: 128 },
    ks: preset === 'arxiv' ? [2, 4, 6] : [2, 4, 8],
    thresholds: [0.2, 0.4, 0.6, 0.8], closePrompts: 64, featurePages: { features: 4, examples: 5, unions: 10 },
    occlusion: { examples: 2000, features: [256], lambdas: [1, 2, 4], epochs: 40, alphas: [0, 0.5, 1] },
    overSplitting: { seeds: 2, epochs: 20, lambda: 1 },
    toys: { idealSamples: 100_000, seeds: 3, occlusionFull: false },
    greaterThan: { train: 500, prompts: 100, lambdas: [1, 5], ks: [2, 4], epochs: 20 },
    metricPrompts: 64,
  };
}
