/** What the edit panel asks of the engine, and what it is told: plain data. */
import type { CodeEdit, FeatureEdit } from '../../dictionary/index.ts';
import type { Prediction, TokenFacts } from '../protocol.ts';
import type { TaskPrompt } from './explore-facts.ts';

/** What a feature of a dictionary is to do: be silent, be stronger or weaker, or be added by so much. */
export interface FeatureChange { feature: number; how: 'remove' | 'scale' | 'add'; value: number }

/** Attributes that change, and to what. Without any, S changes to a name that is not in the prompt. */
export interface TaskChange { io: string | null; s: string | null; swap: boolean }

export type EditAsked = {
  /** Null for the task's sample of the seed. */
  text: string | null;
  seed: number;
} & (
  | { by: 'supervised'; sites: readonly string[]; change: TaskChange; method: CodeEdit }
  /** Towards the activation of the counterfactual, by dictionaries of these sites. `dictionary` is meant where a site has several. */
  | { by: 'sae'; sites: readonly string[]; change: TaskChange; dictionary: string | null; features: FeatureEdit; k: number }
  /** Features of one dictionary at one token; `token` null for the dictionary's own position, or the last. */
  | { by: 'hand'; dictionary: string; token: number | null; changes: readonly FeatureChange[] }
);

/** What the model says at the end of a prompt. */
export interface Said {
  predictions: Prediction[];
  /** logit(IO) − logit(S) of the prompt's people; null for a prompt that is none of the task. */
  difference: number | null;
  /** The same for the counterfactual's people; null where nobody changed. */
  otherDifference: number | null;
  /** KL of the clean prediction from this one, in nats. */
  divergence: number;
}

export interface SiteEdited {
  site: string;
  dictionary: string;
  /** Weight of what was taken out in the reconstruction of the clean activation; null where it has no meaning. */
  weightRemoved: number | null;
  /** Length of the change as a share of the activation's. */
  moved: number;
}

export interface ActiveFeature {
  feature: number;
  /** Code in units of the activation: what the feature's direction is multiplied by. */
  code: number;
  /** Weight in the reconstruction. */
  contribution: number;
}

export interface EditShown {
  text: string;
  tokens: TokenFacts[];
  task: TaskPrompt | null;
  /** What changed, with the names that were meant; null by hand. */
  change: { io: string; s: string; swap: boolean; names: [io: string, s: string] } | null;
  counterfactualText: string | null;
  clean: Said;
  edited: Said;
  /** The counterfactual's activations put in at the same sites. */
  patched: Said | null;
  counterfactual: Said | null;
  sites: SiteEdited[];
  /** Sites of the list at which nothing was edited, and why. */
  left: { site: string; why: string }[];
  /** By hand: the features that are active there, and where that is. */
  active: ActiveFeature[];
  token: number | null;
}

export interface SectionFound { name: string; sites: string[]; attributes: string[] }
