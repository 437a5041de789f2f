/**
 * A page for each of a dictionary's foremost features (arXiv 2405.08366, A.13; evaluation.md §6.4): where it is most active, on the prompts of the
 * task and on any other text, what makes it active there, what it does to the logits, how often it is active and what it stands for. Rows are
 * plain data, from which a report draws.
 */
import * as z from 'zod';
import { type Dictionary, type Examples, Sae } from '../dictionary/index.ts';
import { ShapeError, UsageError } from '../errors.ts';
import { tokenText, type Gpt2 } from '../model/index.ts';
import { formatPlace, hookOf, positionsOf, type ActivationPlace, type Prompts, batchFor } from '../task/index.ts';
import { sumColumns, type Tensor } from '../tensor/index.ts';
import { attributeSources, codesOf, featureDirections, headRows, logitEffects, type Place } from './feature-effects.ts';
import type { Interpretation } from './interpretability.ts';

const count = z.int().nonnegative();
const share = z.number().min(0).max(1);
const tokenEffect = z.object({ token: z.string(), id: count, effect: z.number() });

const example = z.object({
  source: z.string().describe("'prompts', or the name of other text"),
  index: count.describe('number of the prompt or of the text'),
  tokens: z.array(z.string()).describe('the tokens as text; of other text those around the position'),
  first: count.describe('position of the first of these tokens'),
  position: count.describe('position of the token at which the feature is active, counted from the beginning of the prompt or text'),
  activation: z.number(),
  attribution: z.object({
    bySource: z.array(z.number()).describe('what each position from the beginning up to `position` adds to the pre-activation through attention'),
    constant: z.number().describe('what the biases of the dictionary add'),
    preActivation: z.number().describe('the pre-activation itself: the sum of both, to rounding'),
  }).nullable().describe('null where it is not exact or not known: see attributionNote'),
});

export const featurePage = z.object({
  site: z.string(),
  dictionary: z.string(),
  feature: count,
  interpretation: z.object({ kind: z.string(), property: z.string(), f1: z.number(), precision: z.number(), recall: z.number() }).nullable()
    .describe('best property; null if the feature is never active, or none was asked for'),
  activity: z.array(z.object({
    source: z.string(),
    positions: count.describe('prompts (one position each), or positions of the text, that were looked at'),
    density: share.describe('share of them where the feature is active'),
    mean: z.number().nullable().describe('mean code where it is active; null where it never is'),
    most: z.number().nullable().describe('largest code; null where it is never active'),
    bins: z.array(count).length(20).describe('active positions by code, 20 bins from 0 to the largest code; codes below zero are in the first'),
  })),
  examples: z.array(example).describe('where the code is largest, of each source, largest first; of one text at most one'),
  attributionNote: z.string().nullable(),
  logits: z.object({ top: z.array(tokenEffect), bottom: z.array(tokenEffect) }).nullable()
    .describe('largest and smallest direct effects of a code of 1 on the logits, mean over the vocabulary taken off, before the final norm divides by its scale'),
  logitsNote: z.string().nullable(),
});
export type FeaturePage = z.infer<typeof featurePage>;

/** One dictionary at one site, with the activations of the prompts there. */
export interface FeatureStudy {
  site: ActivationPlace;
  /** As pages call it. */
  name: string;
  dictionary: Dictionary;
  /** [prompts, width of the place], rows in the order of the prompts. */
  examples: Examples;
  /** What the features stand for (Interpreter), and which come first: the best F1. Without, those with the largest sum of codes. */
  interpretations?: readonly Interpretation[];
  /** Features that get pages, instead. */
  features?: readonly number[];
}

/** Text that dictionaries without labels read at every position but that of a beginning-of-sequence token. */
export interface TokenStream { name: string; sequences: readonly (readonly number[])[] }

export interface FeaturePageOptions {
  /** Pages of one dictionary. */
  pages?: number;
  /** Examples of each source. */
  examples?: number;
  /** Tokens at each end of the logit effects. */
  tokens?: number;
  /** Tokens shown on each side of a position in other text. */
  context?: number;
  streams?: readonly TokenStream[];
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

export const featurePageDefaults = { pages: 10, examples: 8, tokens: 10, context: 12 } as const;
const BINS = 20;

/** Pages of every study, in their order. Throws ShapeError for activations of other prompts, UsageError for features that are not there. */
export async function featurePages(model: Gpt2, prompts: Prompts, studies: readonly FeatureStudy[], options: FeaturePageOptions = {}): Promise<FeaturePage[]> {
  const pages: FeaturePage[] = [];
  for (const [done, study] of studies.entries()) {
    options.signal?.throwIfAborted();
    if (study.examples.activations.shape[0] !== prompts.count) throw new ShapeError(`activations of ${study.examples.activations.shape[0]} prompts at ${formatPlace(study.site)} are not those of ${prompts.count}`);
    pages.push(...await pagesOf(model, prompts, study, { ...featurePageDefaults, streams: [], ...options }));
    options.onProgress?.(done + 1, studies.length);
  }
  return pages;
}

type Settings = Required<Omit<FeaturePageOptions, 'signal' | 'onProgress'>> & Pick<FeaturePageOptions, 'signal'>;

/** A position with a feature's code there. */
interface Found { source: string; index: number; tokens: readonly number[]; position: number; activation: number }

async function pagesOf(model: Gpt2, prompts: Prompts, study: FeatureStudy, settings: Settings): Promise<FeaturePage[]> {
  const { gpu } = model;
  const { site, dictionary, interpretations = [] } = study;
  const codes = dictionary.encode(study.examples);
  try {
    const chosen = await chooseFeatures(codes, study, settings.pages);
    if (chosen.length === 0) return [];
    const activity = chosen.map(() => new Array<Activity>());
    const own = await gpu.scope(() => codesOf(codes, chosen).read());
    const positions = positionsOf(prompts, site.position);
    chosen.forEach((_, column) => {
      const watch = new Activity('prompts', settings.examples);
      for (let p = 0; p < prompts.count; p++) watch.see({ source: 'prompts', index: p, tokens: prompts.tokens[p]!, position: positions[p]!, activation: own[p * chosen.length + column]! });
      activity[column]!.push(watch);
    });
    if (readsActivations(dictionary)) {
      for (const stream of settings.streams) {
        const watches = await watchStream(model, site, dictionary, chosen, stream, settings);
        watches.forEach((watch, column) => activity[column]!.push(watch));
      }
    }
    const directions = featureDirections(dictionary, gpu, chosen);
    const effects = await logitEffects(model, site, directions);
    directions.dispose();
    const attributed = await attribute(model, site, dictionary, activity, chosen);
    return chosen.map((feature, column): FeaturePage => {
      const interpretation = interpretations.find((one) => one.feature === feature);
      return {
        site: formatPlace(site), dictionary: study.name, feature,
        interpretation: interpretation ? picked(interpretation) : null,
        activity: activity[column]!.map((watch) => watch.figures()),
        examples: activity[column]!.flatMap((watch) => watch.best).map((found, i) => ({ ...shown(model, found, settings.context), attribution: attributed ? attributed[column]![i]! : null })),
        attributionNote: attributionNote(model, site, dictionary),
        logits: effects ? endsOf(model, effects[column]!, settings.tokens) : null,
        logitsNote: effects ? (kindOf(model, site) === 'v' ? 'per unit of attention that the answer pays to the position' : null) : logitsNote(kindOf(model, site)),
      };
    });
  } finally {
    codes.dispose();
  }
}

/** Supervised codes read labels, which other text does not have. */
function readsActivations(dictionary: Dictionary): boolean {
  return dictionary instanceof Sae;
}

async function chooseFeatures(codes: Tensor, { dictionary, interpretations, features }: FeatureStudy, most: number): Promise<number[]> {
  if (features) {
    const missing = features.find((feature) => !(Number.isInteger(feature) && feature >= 0 && feature < dictionary.features));
    if (missing !== undefined) throw new UsageError(`dictionary ${dictionary.name} has features 0 to ${dictionary.features - 1}, not ${missing}`);
    return [...features];
  }
  if (interpretations) return [...interpretations].sort((a, b) => b.f1 - a.f1 || b.active - a.active || a.feature - b.feature).slice(0, most).map(({ feature }) => feature);
  const sums = await codes.gpu.scope(() => sumColumns(codes).read());
  return Array.from(sums, (_, feature) => feature).filter((feature) => sums[feature]! > 0).sort((a, b) => sums[b]! - sums[a]! || a - b).slice(0, most);
}

/** How active one feature is over one source, and where most. */
class Activity {
  readonly best: Found[] = [];
  private readonly source: string;
  private readonly most: number;
  private readonly codes: number[] = [];
  private positions = 0;

  constructor(source: string, most: number) {
    this.source = source;
    this.most = most;
  }

  see(found: Found): void {
    this.positions++;
    if (found.activation === 0) return;
    this.codes.push(found.activation);
    if (found.activation < 0) return;
    const same = this.best.findIndex(({ index }) => index === found.index);
    if (same >= 0 && this.best[same]!.activation >= found.activation) return;
    if (same >= 0) this.best.splice(same, 1);
    const after = this.best.findIndex(({ activation }) => activation < found.activation);
    this.best.splice(after < 0 ? this.best.length : after, 0, found);
    if (this.best.length > this.most) this.best.pop();
  }

  figures(): FeaturePage['activity'][number] {
    const { codes, positions, source } = this;
    const most = codes.reduce((a, b) => Math.max(a, b), -Infinity);
    const bins = new Array<number>(BINS).fill(0);
    for (const code of codes) bins[most > 0 ? Math.min(BINS - 1, Math.max(0, Math.floor((code / most) * BINS))) : 0]!++;
    const active = codes.length > 0;
    return { source, positions, density: positions > 0 ? codes.length / positions : 0, mean: active ? codes.reduce((a, b) => a + b, 0) / codes.length : null, most: active ? most : null, bins };
  }
}

/** Looks at every position of other text, in batches. */
async function watchStream(model: Gpt2, site: ActivationPlace, dictionary: Dictionary, chosen: readonly number[], stream: TokenStream, settings: Settings): Promise<Activity[]> {
  const { gpu, config: { context } } = model;
  const hook = 'hook' in site ? site.hook : hookOf(site);
  const sequences = stream.sequences.map((tokens) => tokens.slice(0, context));
  const batch = batchFor(model, { tokens: sequences });
  const watches = chosen.map(() => new Activity(stream.name, settings.examples));
  for (let start = 0; start < sequences.length; start += batch) {
    settings.signal?.throwIfAborted();
    const part = sequences.slice(start, start + batch);
    const { codes, length } = await gpu.scope(async () => {
      const run = model.run(part, { cache: hook, logits: 'none' });
      const found = codesOf(dictionary.encode({ activations: 'hook' in site ? run.get(hook).reshape([-1, dictionary.dIn]) : headRows(run.get(hook), site.head), attributes: {} }), chosen);
      run.dispose();
      return { codes: await found.read(), length: run.length };
    });
    part.forEach((tokens, i) => tokens.forEach((token, position) => {
      if (position === 0 && token === model.tokenizer?.bos) return;
      watches.forEach((watch, column) => watch.see({ source: stream.name, index: start + i, tokens, position, activation: codes[(i * length + position) * chosen.length + column]! }));
    }));
  }
  return watches;
}

/** Attributions of every example, by feature and example; null where there are none. */
async function attribute(model: Gpt2, site: ActivationPlace, dictionary: Dictionary, activity: readonly (readonly Activity[])[], chosen: readonly number[]) {
  if ('hook' in site || site.kind !== 'z' || !(dictionary instanceof Sae) || dictionary.normalization) return null;
  const lists = activity.map((watches, column) => watches.flatMap(({ best }) => best).map(({ tokens, position }): Place => ({ tokens, position, feature: chosen[column]! })));
  const all = await attributeSources(model, site, dictionary, lists.flat());
  let at = 0;
  return lists.map((list) => list.map(() => all[at++]!));
}

function kindOf({ hooks }: Gpt2, site: ActivationPlace): string {
  return 'hook' in site ? hooks.get(site.hook).kind : site.kind;
}

function logitsNote(kind: string): string {
  return kind === 'q' || kind === 'k' ? 'queries and keys move attention only: they write nothing to the residual stream' : 'nothing is written from here to the residual stream in a straight line';
}

function attributionNote(model: Gpt2, site: ActivationPlace, dictionary: Dictionary): string | null {
  const kind = kindOf(model, site);
  if ('hook' in site) return kind === 'z' ? 'the dictionary reads all heads of the layer, each of which attends to other positions' : 'no head lies between the positions and what the dictionary reads';
  if (kind !== 'z') return `a head's ${kind} reads the residual stream at its own position alone`;
  if (dictionary instanceof Sae) return dictionary.normalization ? 'the dictionary brings every activation to a scale of its own, so that what it reads is no sum over positions' : null;
  return dictionary.reads === undefined ? 'codes are read from labels, not from activations' : `the dictionary reads ${dictionary.reads}`;
}

function picked({ kind, property, f1, precision, recall }: Interpretation): NonNullable<FeaturePage['interpretation']> {
  return { kind, property, f1, precision, recall };
}

/** An example as text: a prompt whole, other text around the position. */
function shown(model: Gpt2, { source, index, tokens, position, activation }: Found, context: number): Omit<FeaturePage['examples'][number], 'attribution'> {
  const first = source === 'prompts' ? 0 : Math.max(0, position - context);
  const end = source === 'prompts' ? tokens.length : Math.min(tokens.length, position + context + 1);
  return { source, index, tokens: tokens.slice(first, end).map((id) => tokenText(model, id)), first, position, activation };
}

/** The largest and the smallest effects, the strongest of either first. */
function endsOf(model: Gpt2, effects: Float32Array, most: number): NonNullable<FeaturePage['logits']> {
  const order = Array.from(effects, (_, id) => id).sort((a, b) => effects[b]! - effects[a]! || a - b);
  const named = (ids: readonly number[]) => ids.map((id) => ({ token: tokenText(model, id), id, effect: effects[id]! }));
  return { top: named(order.slice(0, most)), bottom: named(order.slice(Math.max(0, order.length - most)).reverse()) };
}
