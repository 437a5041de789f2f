/**
 * Test 2: do edits through the dictionary do what the edit of the prompt does (arXiv 2405.08366, section 5)?
 *
 * Ground truth: the prompt runs with every site of the cross-section set to its activation on the counterfactual prompt. Accuracy of an edit:
 * share of prompts whose most likely token at the last position equals that under the ground-truth patch; the clean run gives the baseline.
 *   supervised   a - u_old + u_new for each edited attribute, or another way of swapping codes (SupervisedCodes.edit)
 *   SAE          at most k features, chosen greedily to come close to the counterfactual activation, or by one of the other ways that the paper
 *                tried (sae-edits.ts): close to its reconstruction, by interpretations, by their weights
 * Weight removed: the weight w_i = f_i d_i·(â - b) / ‖â - b‖² that the removed features have in the original reconstruction, summed;
 * mean over sites where it is defined, then over prompts. Which SAE of a variant a site uses is told by choice.ts.
 *
 * The axes of the paper's figure 4: accuracy (acc - acc_none) / (acc_sup - acc_none), as released clipped to [0, 2]; weight (w - w_sup) / (1 - w_sup),
 * also of every prompt by itself, averaged over sites and clipped below at -5 (its figure 22).
 */
import { ProjectedDictionary, Sae, type EditResult } from '../dictionary/index.ts';
import { formatSite, type Prompts, type SiteAddress } from '../task/index.ts';
import type { Tensor } from '../tensor/index.ts';
import { examplesAt, examplesFrom, type Catalogue, type EditedSection, type Entry } from './catalogue.ts';
import { editsBy, squaredDistance, type Choice, type EditPair } from './choice.ts';
import { agreement, DENOMINATOR_GUARD, distribution, mean, meanIgnoringNaN, relativeAccuracy, relativeWeight } from './formulas.ts';
import { editName, hasEdit, isReference, methodKey, methodName, methodsFor, type EditPlan, type Method } from './methods.ts';
import type { Outcome, PatchedPrompts } from './patching.ts';
import type { ControlRow } from './results.ts';
import type { Measurements, Tally } from './tally.ts';

export const CLEAN_PREDICTION = 'clean prediction';

/** Pairs the clean run's activations with those of the counterfactual prompts. */
export function editPair(clean: PatchedPrompts, counterfactual: Prompts, targets: ReadonlyMap<string, Tensor>, site: SiteAddress): EditPair {
  return { site, source: examplesAt(clean, site), target: examplesFrom(targets, site, counterfactual) };
}

const key = (what: string, section: string, edit: string, method?: Method) => `${what}|${section}|${edit}|${method ? methodKey(method) : ''}`;
const siteKey = (what: string, site: SiteAddress, edit: string, method?: Method) => key(what, formatSite(site), edit, method);

/** Edited activations of one batch for one edit, by site and method; each made once, whatever cross-sections share it. */
class EditedSites {
  private readonly made = new Map<string, Tensor>();
  private readonly edit: readonly string[];
  private readonly choice: Choice;
  private readonly plan: EditPlan;
  private readonly tally: Tally;
  private readonly start: number;

  constructor(edit: readonly string[], choice: Choice, plan: EditPlan, tally: Tally, start: number) {
    this.edit = edit;
    this.choice = choice;
    this.plan = plan;
    this.tally = tally;
    this.start = start;
  }

  get(site: SiteAddress, method: Method): Tensor {
    return this.made.get(this.key(site, method))!;
  }

  /** Makes what is missing of a site's edits by all methods, those by one dictionary together, and tallies weights and distances. */
  make(pair: EditPair, methods: readonly Method[]): void {
    const name = editName(this.edit);
    const groups = new Map<Entry, Method[]>();
    for (const method of methods) {
      if (this.made.has(this.key(pair.site, method))) continue;
      const { entry } = this.choice.get(pair.site, name, method);
      groups.set(entry, [...(groups.get(entry) ?? []), method]);
    }
    for (const [entry, own] of groups) {
      // Of top-k codes no more than all can change: larger k are the same edit.
      const distinct = new Map(own.map((method) => [effective(entry, method, this.edit), method]));
      const results = editsBy(entry, pair, this.edit, [...distinct.values()], this.plan);
      const byMethod = new Map([...distinct.keys()].map((id, i) => [id, results[i]!]));
      for (const method of own) this.keep(pair, method, byMethod.get(effective(entry, method, this.edit))!);
    }
  }

  private keep(pair: EditPair, method: Method, { activations, weightRemoved, changed }: EditResult): void {
    const put = (what: string, values: Tensor) => this.tally.put(siteKey(what, pair.site, editName(this.edit), method), this.start, values);
    this.made.set(this.key(pair.site, method), activations);
    put('weight', weightRemoved);
    if (changed) put('changed', changed);
    activations.gpu.scope(() => put('distance', squaredDistance(pair, activations)));
  }

  private key(site: SiteAddress, method: Method): string {
    return `${formatSite(site)}|${methodKey(method)}`;
  }
}

/** Tells apart the edits that an entry makes by different methods. */
function effective({ dictionary }: Entry, { way, k, code }: Method, edit: readonly string[]): string {
  const active = dictionary instanceof Sae || dictionary instanceof ProjectedDictionary ? dictionary.k : null;
  const most = active === null ? k : Math.min(k, 2 * active * (way === 'aware' ? edit.length : 1));
  return `${way}|${most}|${code ?? ''}`;
}

/** Runs every intervention of Test 2 for one edit on one batch, whose first prompt has number `start`. `pairs` has every site needed, by address. */
export function measureControl(
  clean: PatchedPrompts, edit: readonly string[], pairs: ReadonlyMap<string, EditPair>, choice: Choice, catalogue: Catalogue,
  sections: readonly EditedSection[], plan: EditPlan, tally: Tally, start: number,
): void {
  const name = editName(edit);
  const { gpu } = clean.clean.logitDiff;
  const edited = new EditedSites(edit, choice, plan, tally, start);
  for (const section of sections) {
    if (!hasEdit(section, name)) continue;
    const own = section.sites.map((site) => pairs.get(formatSite(site))!);
    gpu.scope(() => {
      const truth = clean.patched(own.map(({ site, target }) => ({ site, values: target.activations })));
      tally.put(key('truth', section.name, name), start, truth.prediction);
      tally.put(key('truth LD', section.name, name), start, truth.logitDiff);
      for (const pair of own) tally.put(siteKey('no edit', pair.site, name), start, squaredDistance(pair, pair.source.activations));
    });
    const methods = methodsFor(section, catalogue, edit, plan);
    for (const pair of own) edited.make(pair, methods);
    gpu.scope(() => {
      const ids = new Map<Tensor, number>();
      const outcomes = new Map<string, Outcome>();
      for (const method of methods) {
        const patches = own.map(({ site }) => ({ site, values: edited.get(site, method) }));
        for (const { values } of patches) if (!ids.has(values)) ids.set(values, ids.size);
        const same = patches.map(({ values }) => ids.get(values)).join();
        const outcome = outcomes.get(same) ?? clean.patched(patches);
        outcomes.set(same, outcome);
        tally.put(key('prediction', section.name, name, method), start, outcome.prediction);
        tally.put(key('LD', section.name, name, method), start, outcome.logitDiff);
      }
    });
  }
}

/** The rows of results.json from what was tallied. */
export function controlRows(
  measured: Measurements, choice: Choice, catalogue: Catalogue, sections: readonly EditedSection[], plan: EditPlan,
): ControlRow[] {
  const cleanPrediction = measured.get(CLEAN_PREDICTION);
  return sections.flatMap((section) => section.edits.flatMap((edit) => {
    const attribute = editName(edit);
    const truth = measured.get(key('truth', section.name, attribute));
    const accuracyNoEdit = agreement(cleanPrediction, truth);
    const over = (what: string, method?: Method) => section.sites.map((site) => measured.get(siteKey(what, site, attribute, method)));
    const distanceOf = (what: string, method?: Method) => mean(over(what, method).map((squares) => mean(Array.from(squares, Math.sqrt))));
    const accuracyOf = (method: Method) => agreement(measured.get(key('prediction', section.name, attribute, method)), truth);
    const methods = methodsFor(section, catalogue, edit, plan);
    const reference = methods.find(isReference);
    const supervised = reference && { accuracy: accuracyOf(reference), weights: over('weight', reference) };
    return methods.map((method): ControlRow => {
      const accuracy = accuracyOf(method);
      const weights = over('weight', method);
      const weight = sectionWeight(weights);
      const accuracyRelative = supervised ? relativeAccuracy(accuracy, accuracyNoEdit, supervised.accuracy) : null;
      const counted = section.sites.every((site) => measured.has(siteKey('changed', site, attribute, method)));
      return {
        crossSection: section.name,
        attribute,
        dictionary: methodName(method),
        method: method.way,
        k: method.k,
        changed: counted ? mean(over('changed', method).map(mean)) : undefined,
        accuracy,
        accuracyNoEdit,
        weightRemoved: Number.isNaN(weight.mean) ? null : weight.mean,
        accuracyRelative,
        accuracyRelativeClipped: accuracyRelative === null ? null : Math.min(2, Math.max(0, accuracyRelative)),
        weightRelative: supervised && !Number.isNaN(weight.mean) ? relativeWeight(weight.mean, sectionWeight(supervised.weights).mean) : null,
        weightNormalised: supervised ? distribution(normalisedWeights(weights, supervised.weights), WEIGHT_RANGE) : null,
        distance: distanceOf('distance', method),
        distanceNoEdit: distanceOf('no edit'),
        logitDiff: mean(measured.get(key('LD', section.name, attribute, method))),
        logitDiffGroundTruth: mean(measured.get(key('truth LD', section.name, attribute))),
        groundTruthFlipped: 1 - accuracyNoEdit,
        weightSkipped: weight.skipped,
        chosen: method.way === 'supervised' ? [] : section.sites.map((site) => {
          const { entry, distance } = choice.get(site, attribute, method);
          return { site: formatSite(site), dictionary: entry.name, distance };
        }),
      };
    });
  }));
}

/** Bins of normalised weights: 0 is the supervised edit, 1 removes everything. */
const WEIGHT_RANGE = { low: -5, high: 2, bins: 28 };

/**
 * (w − w_sup) / (1 − w_sup) of every prompt, mean over sites where it exists, clipped below at −5; NaN where no site has one. Weights [sites][prompts].
 */
export function normalisedWeights(bySite: readonly ArrayLike<number>[], supervised: readonly ArrayLike<number>[]): Float64Array {
  return Float64Array.from({ length: bySite[0]?.length ?? 0 }, (_, prompt) => {
    const own = bySite.map((weights, site) => {
      const rest = 1 - supervised[site]![prompt]!;
      return Math.abs(rest) > DENOMINATOR_GUARD ? (weights[prompt]! - supervised[site]![prompt]!) / rest : NaN;
    });
    return Math.max(WEIGHT_RANGE.low, meanIgnoringNaN(own).mean);
  });
}

/** Accuracy against weight removed, over k: a line of the trade-off plots, as measured and on the paper's scale. */
export interface TradeOffCurve {
  crossSection: string;
  attribute: string;
  /** As rows name it: the variant and the way. */
  dictionary: string;
  points: Pick<ControlRow, 'k' | 'accuracy' | 'weightRemoved' | 'accuracyRelativeClipped' | 'weightRelative'>[];
}

/** One curve for each cross-section, edit and method, by growing k, in the order of the rows. */
export function tradeOffCurves(rows: readonly ControlRow[]): TradeOffCurve[] {
  const curves = new Map<string, TradeOffCurve>();
  for (const { crossSection, attribute, dictionary, k, accuracy, weightRemoved, accuracyRelativeClipped, weightRelative } of rows) {
    const id = JSON.stringify([crossSection, attribute, dictionary]);
    const curve = curves.get(id) ?? { crossSection, attribute, dictionary, points: [] };
    curves.set(id, curve);
    curve.points.push({ k, accuracy, weightRemoved, accuracyRelativeClipped, weightRelative });
  }
  for (const { points } of curves.values()) points.sort((a, b) => a.k - b.k);
  return [...curves.values()];
}

/** Mean over sites, then over prompts, of the weights that are defined; how many pairs of site and prompt are not. */
export function sectionWeight(bySite: readonly ArrayLike<number>[]): { mean: number; skipped: number } {
  const prompts = bySite[0]?.length ?? 0;
  const means = new Float64Array(prompts);
  let skipped = 0;
  for (let prompt = 0; prompt < prompts; prompt++) {
    const overSites = meanIgnoringNaN(bySite.map((weights) => weights[prompt]!));
    means[prompt] = overSites.mean;
    skipped += overSites.skipped;
  }
  return { mean: meanIgnoringNaN(means).mean, skipped };
}
