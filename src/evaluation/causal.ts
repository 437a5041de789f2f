/**
 * Do interpretations of features say what the features do (arXiv 2405.08366, section 5.1, A.12, A.13; evaluation.md §6.4)? Features are divided by
 * the F1 of their best property at a threshold t: those with F1 ≥ t are interpretable, the others are not. All sites of a cross-section together:
 *
 *   sufficiency   a − Σ_{F1 < t} f_j d_j        mean LD / mean clean LD, as in Test 1: what is interpretable is enough
 *   necessity     a − Σ_{F1 ≥ t} f_j d_j        1 − |LD_mean − LD| / |LD_mean − LD_clean|, as in Test 1: nothing else is
 *
 * Of dictionaries that scale every activation by itself, f_j d_j stands for what the feature adds to the activation that it is active on.
 * The rest of a, bias and error included, stays. And with codes f of a prompt and f' of its counterfactual, whose answer is another,
 *
 *   faithfulness  b + Σ_{F1 < t} f_j d_j + Σ_{F1 ≥ t} f'_j d_j      share of prompts where the counterfactual's answer is predicted
 *   completeness  b + Σ_{F1 ≥ t} f_j d_j + Σ_{F1 < t} f'_j d_j      share of prompts where the prediction stays
 */
import * as z from 'zod';
import type { Dictionary } from '../dictionary/index.ts';
import { ShapeError, UsageError } from '../errors.ts';
import type { Gpt2 } from '../model/index.ts';
import { distinctSites, formatSite, type ActivationPlace, type Prompts, batchFor, type SiteAddress } from '../task/index.ts';
import { activeMask, add, gatherRows, mul, sub, sumRows, Tensor } from '../tensor/index.ts';
import { examplesAt, examplesFrom, placesOf } from './catalogue.ts';
import { agreement, mean, necessity, sufficiency } from './formulas.ts';
import { activationsOf, bySpan, scoringChunks, PatchedPrompts, type Patch } from './patching.ts';
import { Tally, type Measurements } from './tally.ts';

/** One site's dictionary, and what its features stand for. */
export interface InterpretedSite {
  site: SiteAddress;
  dictionary: Dictionary;
  /** F1 of each feature's best property, as Interpreter gives it: [features] */
  bestF1: ArrayLike<number>;
  /** Mean activation over the training prompts, [1, headWidth]. */
  mean: Tensor;
}

/** Dictionaries of all sites of one cross-section. No two studies have the same cross-section and dictionary. */
export interface CausalStudy {
  crossSection: string;
  /** As rows call them together. */
  dictionary: string;
  sites: readonly InterpretedSite[];
}

export interface CausalOptions {
  /** Values of t. */
  thresholds?: readonly number[];
  /** Prompts in one run; by default as many as a modest amount of memory holds. */
  batch?: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** 0, 0.1, …, 0.9. */
export const CAUSAL_THRESHOLDS: readonly number[] = Array.from({ length: 10 }, (_, i) => i / 10);

const count = z.int().nonnegative();
const share = z.number().min(0).max(1);

const place = {
  crossSection: z.string(),
  dictionary: z.string(),
  threshold: z.number().describe('features whose best F1 is at least this count as interpretable'),
  features: count.describe('interpretable features, over all sites'),
};

export const interpretedApproximationRow = z.object({
  ...place,
  sufficiency: z.number().nullable().describe('mean LD with the features below the threshold taken out / mean clean LD'),
  necessity: z.number().nullable().describe('1 - |LD_mean - LD| / |LD_mean - LD_clean| with the features from the threshold on taken out'),
  logitDiffClean: z.number(),
  logitDiffMeanAblated: z.number(),
  logitDiffKept: z.number().describe('the patched LD that sufficiency compares'),
  logitDiffRemoved: z.number().describe('the patched LD that necessity compares'),
  activeInterpretable: z.number().describe('mean number of active features from the threshold on, per prompt and site'),
  activeOther: z.number().describe('mean number of active features below the threshold, per prompt and site'),
  note: z.string().nullable().describe('why a score is null'),
});

export const featurePatchRow = z.object({
  ...place,
  attribute: z.string().describe("what differs in the counterfactual, several attributes joined by '+'"),
  faithfulness: share.nullable().describe("share of prompts with the counterfactual's answer predicted, interpretable features taken from the counterfactual"),
  completeness: share.nullable().describe('share of prompts whose prediction stays, all other features taken from the counterfactual'),
  answerKept: share.nullable().describe("the same runs: share of prompts with the prompt's own answer predicted"),
  groundTruth: share.nullable().describe("share of prompts with the counterfactual's answer predicted when whole activations are taken from it"),
  noPatch: share.nullable().describe("share of prompts with the counterfactual's answer predicted by the clean run"),
  prompts: count.describe('prompts whose counterfactual has another answer: the others are left out'),
  note: z.string().nullable().describe('why shares are null'),
});

export type InterpretedApproximationRow = z.infer<typeof interpretedApproximationRow>;
export type FeaturePatchRow = z.infer<typeof featurePatchRow>;

/** The division of a study's features at one threshold: thresholds that divide them alike share one, and its runs. */
interface Division {
  study: CausalStudy;
  thresholds: number[];
  /** interpretable features, over all sites */
  features: number;
  /** 1 for those, by site: [features] */
  masks: Float32Array[];
  key: string;
}

/** Sufficiency and necessity of interpretable features: a row for each study and threshold. Throws ShapeError where F1 do not fit a dictionary. */
export async function interpretedApproximation(model: Gpt2, given: Prompts, studies: readonly CausalStudy[], options: CausalOptions = {}): Promise<InterpretedApproximationRow[]> {
  const divisions = divide(studies, options.thresholds ?? CAUSAL_THRESHOLDS);
  if (divisions.length === 0) return [];
  const prompts = given.select(bySpan(given));
  const measured = await overBatches(model, prompts, placesIn(studies), divisions, options, {
    first(clean, tally, start) {
      tally.put('clean', start, clean.clean.logitDiff);
      for (const study of onePerSection(studies)) {
        const means = study.sites.map(({ site, mean: centre }): Patch => ({ site, values: repeated(centre, clean.prompts.count) }));
        tally.put(`mean|${study.crossSection}`, start, clean.patched(means).logitDiff);
      }
    },
    each(clean, { study, masks, key }, tally, start) {
      const parts = study.sites.map(({ site, dictionary }, i) => {
        const examples = examplesAt(clean, site);
        const codes = dictionary.encode(examples);
        const interpretable = mul(codes, Tensor.from(codes.gpu, masks[i]!, [dictionary.features]));
        const high = dictionary.decode(interpretable, examples);
        const bias = dictionary.decode(Tensor.zeros(codes.gpu, codes.shape), examples);
        return {
          site, kept: sub(examples.activations, sub(dictionary.decode(codes, examples), high)), removed: sub(examples.activations, sub(high, bias)),
          all: sumRows(activeMask(codes, { signed: true })), above: sumRows(activeMask(interpretable, { signed: true })),
        };
      });
      for (const way of ['kept', 'removed'] as const) tally.put(`${way}|${key}`, start, clean.patched(parts.map((part) => ({ site: part.site, values: part[way] }))).logitDiff);
      for (const what of ['all', 'above'] as const) tally.put(`${what}|${key}`, start, parts.map((part) => part[what]).reduce((a, b) => add(a, b)));
    },
  });
  return rowsOf(studies, divisions, (division, threshold) => approximationRow(measured, division, threshold));
}

function approximationRow(measured: Measurements, { study, features, key }: Division, threshold: number): InterpretedApproximationRow {
  const [clean, ablated, kept, removed] = [measured.get('clean'), measured.get(`mean|${study.crossSection}`), measured.get(`kept|${key}`), measured.get(`removed|${key}`)];
  const [sufficient, necessary] = [sufficiency(kept, clean), necessity(removed, ablated, clean)];
  const [all, above] = [mean(measured.get(`all|${key}`)) / study.sites.length, mean(measured.get(`above|${key}`)) / study.sites.length];
  return {
    crossSection: study.crossSection, dictionary: study.dictionary, threshold, features,
    sufficiency: sufficient.value, necessity: necessary.value,
    logitDiffClean: mean(clean), logitDiffMeanAblated: mean(ablated), logitDiffKept: mean(kept), logitDiffRemoved: mean(removed),
    activeInterpretable: above, activeOther: all - above,
    note: [sufficient.note, necessary.note].filter(Boolean).join('; ') || null,
  };
}

/** Prompts and the same prompts with one set of attributes changed, in the same order. */
export interface PatchedPairs {
  /** What differs, several attributes joined by '+'. */
  attribute: string;
  prompts: Prompts;
  counterfactual: Prompts;
}

/**
 * Faithfulness and completeness of interpretable features: a row for each study and threshold. Prompts whose counterfactual has the same answer say
 * nothing and are left out. Throws UsageError where prompts and counterfactuals are not as many, ShapeError where F1 do not fit a dictionary.
 */
export async function patchFeatures(model: Gpt2, pairs: PatchedPairs, studies: readonly CausalStudy[], options: CausalOptions = {}): Promise<FeaturePatchRow[]> {
  const divisions = divide(studies, options.thresholds ?? CAUSAL_THRESHOLDS);
  const { prompts: given, attribute } = pairs;
  if (given.count !== pairs.counterfactual.count) throw new UsageError(`${given.count} prompts have ${pairs.counterfactual.count} counterfactuals in ${attribute}`);
  if (divisions.length === 0) return [];
  const order = bySpan(given).filter((prompt) => given.correct[prompt] !== pairs.counterfactual.correct[prompt]);
  const [prompts, counterfactual] = [given.select(order), pairs.counterfactual.select(order)];
  if (prompts.count === 0) {
    const nothing = { faithfulness: null, completeness: null, answerKept: null, groundTruth: null, noPatch: null, prompts: 0, note: `no prompt has another answer when ${attribute} changes` };
    return rowsOf(studies, divisions, ({ study, features }, threshold) => ({ crossSection: study.crossSection, dictionary: study.dictionary, threshold, features, attribute, ...nothing }));
  }
  let targets = new Map<string, Tensor>();
  const places = placesIn(studies);
  const measured = await overBatches(model, prompts, places, divisions, options, {
    first(clean, tally, start) {
      targets = activationsOf(model, counterfactual.slice(start, start + clean.prompts.count), places);
      tally.put('clean', start, clean.clean.prediction);
      for (const study of onePerSection(studies)) {
        const whole = study.sites.map(({ site }): Patch => ({ site, values: targets.get(formatSite(site))! }));
        tally.put(`truth|${study.crossSection}`, start, clean.patched(whole).prediction);
      }
    },
    each(clean, { study, masks, key }, tally, start) {
      const others = counterfactual.slice(start, start + clean.prompts.count);
      const parts = study.sites.map(({ site, dictionary }, i) => {
        const [source, target] = [examplesAt(clean, site), examplesFrom(targets, site, others)];
        const [own, other] = [dictionary.encode(source), dictionary.encode(target)];
        const mask = Tensor.from(own.gpu, masks[i]!, [dictionary.features]);
        const [ownHigh, otherHigh] = [mul(own, mask), mul(other, mask)];
        // What features add where they come from: scales may be the examples' own.
        const bias = dictionary.decode(Tensor.zeros(other.gpu, other.shape), target);
        const from = (codes: Tensor): Tensor => sub(dictionary.decode(codes, target), bias);
        return {
          site, faithful: add(dictionary.decode(sub(own, ownHigh), source), from(otherHigh)), complete: add(dictionary.decode(ownHigh, source), from(sub(other, otherHigh))),
        };
      });
      for (const way of ['faithful', 'complete'] as const) tally.put(`${way}|${key}`, start, clean.patched(parts.map((part) => ({ site: part.site, values: part[way] }))).prediction);
    },
    last() {
      for (const tensor of targets.values()) tensor.dispose();
      targets.clear();
    },
  });
  return rowsOf(studies, divisions, ({ study, features, key }, threshold): FeaturePatchRow => {
    const complete = measured.get(`complete|${key}`);
    return {
      crossSection: study.crossSection, dictionary: study.dictionary, threshold, features, attribute,
      faithfulness: agreement(measured.get(`faithful|${key}`), counterfactual.correct),
      completeness: agreement(complete, measured.get('clean')),
      answerKept: agreement(complete, prompts.correct),
      groundTruth: agreement(measured.get(`truth|${study.crossSection}`), counterfactual.correct),
      noPatch: agreement(measured.get('clean'), counterfactual.correct),
      prompts: prompts.count, note: null,
    };
  });
}

/** What is run on every batch: once at its beginning and end, and for every division of features. */
interface BatchWork {
  first(clean: PatchedPrompts, tally: Tally, start: number): void;
  each(clean: PatchedPrompts, division: Division, tally: Tally, start: number): void;
  last?(): void;
}

async function overBatches(model: Gpt2, prompts: Prompts, places: readonly ActivationPlace[], divisions: readonly Division[], options: CausalOptions, work: BatchWork): Promise<Measurements> {
  const { gpu } = model;
  const chunks = scoringChunks(model, prompts, options.batch ?? batchFor(model, prompts));
  const tally = new Tally(gpu, prompts.count);
  try {
    let done = 0;
    for (const [start, end] of chunks) {
      await gpu.scope(async () => {
        const clean = new PatchedPrompts(model, prompts.slice(start, end), places);
        try {
          work.first(clean, tally, start);
          for (const division of divisions) {
            options.signal?.throwIfAborted();
            gpu.scope(() => work.each(clean, division, tally, start));
            await gpu.idle();
            options.onProgress?.(++done, chunks.length * divisions.length);
          }
        } finally {
          work.last?.();
        }
      });
    }
    return await tally.read();
  } finally {
    tally.dispose();
  }
}

function divide(studies: readonly CausalStudy[], thresholds: readonly number[]): Division[] {
  const known = new Map<string, Division>();
  for (const study of studies) {
    for (const { site, dictionary, bestF1 } of study.sites) {
      if (bestF1.length !== dictionary.features) throw new ShapeError(`${bestF1.length} F1 do not fit dictionary ${dictionary.name} at ${formatSite(site)}, which has ${dictionary.features} features`);
    }
    for (const threshold of thresholds) {
      const masks = study.sites.map(({ bestF1 }) => Float32Array.from(bestF1, (f1) => (f1 >= threshold ? 1 : 0)));
      // A higher threshold takes features away and adds none, so that their numbers tell divisions apart.
      const features = masks.map((mask) => mask.reduce((sum, one) => sum + one, 0));
      const key = `${study.crossSection}|${study.dictionary}|${features.join()}`;
      const division = known.get(key);
      if (division) division.thresholds.push(threshold);
      else known.set(key, { study, thresholds: [threshold], features: features.reduce((a, b) => a + b, 0), masks, key });
    }
  }
  return [...known.values()];
}

/** A row for every study and threshold, in the order of the studies. */
function rowsOf<Row>(studies: readonly CausalStudy[], divisions: readonly Division[], row: (division: Division, threshold: number) => Row): Row[] {
  return studies.flatMap((study) => divisions.filter((division) => division.study === study).flatMap((division) => division.thresholds.map((threshold) => row(division, threshold))));
}

function onePerSection(studies: readonly CausalStudy[]): CausalStudy[] {
  return [...new Map(studies.map((study) => [study.crossSection, study])).values()];
}

/** Sites of the studies, and what their dictionaries read. */
function placesIn(studies: readonly CausalStudy[]): ActivationPlace[] {
  const all = studies.flatMap(({ sites }) => sites);
  const sites = distinctSites(all.map(({ site }) => site));
  return placesOf(sites, (site) => all.filter((one) => formatSite(one.site) === formatSite(site)).map(({ dictionary }) => dictionary));
}

function repeated(row: Tensor, times: number): Tensor {
  return gatherRows(row, Tensor.from(row.gpu, new Uint32Array(times), [times]));
}
