/** What the explore panel asks of the engine, and what it is told: plain data. */
import type { DirectEffects } from '../../evaluation/index.ts';
import type { FeaturePage } from '../../evaluation/index.ts';
import type { Prediction, TokenFacts } from '../protocol.ts';

/** A prompt: typed, or the task's sample of a seed. */
export interface PromptAsked {
  /** Null for a sample of the task, or an example where there is none. For a model without a tokenizer: token ids. */
  text: string | null;
  seed: number;
  /** Whether a typed prompt begins with the beginning-of-sequence token; null: as the task has it. */
  bos: boolean | null;
  /** Two tokens to compare, as text (a leading space may be left out) or `#id`; null or empty for the task's answers or the two likeliest tokens. */
  first: string | null;
  second: string | null;
}

/** What the task knows of a prompt. */
export interface TaskPrompt {
  /** Token index of each semantic position. */
  positions: Record<string, number>;
  /** Value of each attribute: as people read it, and its id. */
  attributes: Record<string, { value: string; id: number }>;
}

export interface Candidate extends Prediction {
  /** 1 for the likeliest. */
  rank: number;
}

export interface Answer {
  text: string;
  tokens: TokenFacts[];
  /** Whether the first token is the beginning-of-sequence token, which is not part of the text. */
  bos: boolean;
  task: TaskPrompt | null;
  /** Why a typed sentence is no prompt of the task. */
  taskProblem: string | null;
  /** Ten likeliest next tokens. */
  predictions: Prediction[];
  /** logit(first) − logit(second), the tokens the task's IO and S, chosen, or the two likeliest. Null where one of the chosen could not be read. */
  pair: { first: Candidate; second: Candidate; difference: number; from: 'task' | 'chosen' | 'likeliest' } | null;
  /** What was wrong with a chosen token. */
  firstProblem: string | null;
  secondProblem: string | null;
}

/** Kinds of sites that can be looked at: of a head, or of a layer. */
export const HEAD_KINDS = ['q', 'k', 'v', 'z', 'pattern'] as const;
export const LAYER_KINDS = ['resid_pre', 'attn_out', 'resid_mid', 'mlp_out', 'resid_post'] as const;
export type SiteKindShown = (typeof HEAD_KINDS)[number] | (typeof LAYER_KINDS)[number];

/** A place in the model; `head` only where the kind has heads. */
export interface SiteShown { kind: SiteKindShown; layer: number; head: number | null }

export type Effects = DirectEffects;

export interface Attention {
  /** Tokens [start, end) as queries and keys. */
  start: number;
  end: number;
  /** [queries][keys], 0 behind the query. */
  weights: Float32Array[];
  /** By source token from the first: what it adds to the logit difference through this head's attention at the last token; null without a pair. */
  sources: number[] | null;
}

/** Likeliest tokens of one layer's residual stream. */
export type LensRow = { id: number; token: string; probability: number }[];

export interface ActiveFeature {
  feature: number;
  activation: number;
  /** Weight in the reconstruction: all features' add up to 1. */
  contribution: number;
  /** Direct effect on the logit difference at the last token, or null where there is none. */
  effect: number | null;
  /** What a supervised feature stands for. */
  label: string | null;
}

export interface SiteFeatures {
  /** In the dictionary, and active here. */
  features: number;
  active: number;
  /** Largest contributions first. */
  rows: ActiveFeature[];
  /** â against a: cosine of the angle, ‖a − â‖² / ‖a‖², and the lengths of both. */
  cosine: number;
  relativeError: number;
  norm: number;
  reconstructedNorm: number;
  /** Why effects are missing, or where they hold. */
  effectNote: string;
}

/** A dictionary's id, or this for the supervised codes at a site. */
export const SUPERVISED = 'supervised';

/** Which dictionary at which semantic position; the site is read for supervised codes only. */
export interface Interpreting { dictionary: string; site: SiteShown; position: string }

export interface InterpretedFeature { feature: number; kind: string; property: string; f1: number; precision: number; recall: number; active: number }

export interface Interpretations {
  prompts: number;
  /** Share of the activations' variance over the prompts that the dictionary explains, and mean number of active features. */
  explained: number;
  l0: number;
  /** Of the features that were asked for, those that are active on some prompt. */
  features: InterpretedFeature[];
}

export type PageShown = Pick<FeaturePage, 'activity' | 'examples' | 'logits' | 'logitsNote' | 'attributionNote' | 'interpretation'>;
