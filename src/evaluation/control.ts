/**
 * Test 2: do edits through the dictionary do what the edit of the prompt does (arXiv 2405.08366, section 5)?
 *
 * Ground truth: the prompt runs with every site of the cross-section set to its activation on the counterfactual prompt. Accuracy of an edit:
 * share of prompts whose most likely token at the last position equals that under the ground-truth patch; the clean run gives the baseline.
 *   supervised   a - u_old + u_new for each edited attribute
 *   SAE          at most k features, chosen greedily to come close to the counterfactual activation, or by one of the other ways that the paper
 *                tried (sae-edits.ts): close to its reconstruction, by interpretations, by their weights
 * Weight removed: the weight w_i = f_i d_i·(â - b) / ‖â - b‖² that the removed features have in the original reconstruction, summed;
 * mean over sites where it is defined, then over prompts. Of the SAEs of one variant each site uses, per attribute and k, the one whose edits
 * come closest in l2 to the counterfactual activation, measured on prompts that are not scored.
 */
import { SupervisedCodes, type EditResult, type Examples, type FeatureEdit } from '../dictionary/index.ts';
import { formatSite, type Prompts, type SiteAddress } from '../task/index.ts';
import { sub, sumSquaresRows, type Tensor } from '../tensor/index.ts';
import { attributeIds, examplesAt, isSupervised, type Catalogue, type EditedSection, type Entry } from './catalogue.ts';
import { agreement, mean, meanIgnoringNaN, relativeAccuracy, relativeWeight } from './formulas.ts';
import type { PatchedPrompts } from './patching.ts';
import type { ControlRow } from './results.ts';
import type { Measurements, Tally } from './tally.ts';

export const CLEAN_PREDICTION = 'clean prediction';

/** One way of editing: a variant's dictionaries with at most k features changed; k is 0 where the way of choosing features says how many. */
export interface Method {
  variant: string;
  way: 'supervised' | FeatureEdit;
  k: number;
}

/** What a method is called where kinds of dictionaries are: agnostic edits are what a variant's name alone means. */
export function methodName({ variant, way }: Pick<Method, 'variant' | 'way'>): string {
  return way === 'supervised' || way === 'agnostic' ? variant : `${variant}, ${way}`;
}

/** Which ways of editing SAEs are tried, with which k. */
export interface EditPlan {
  ks: readonly number[];
  ways: readonly FeatureEdit[];
}

/** The name of a set of attributes. */
export function editName(attributes: readonly string[]): string {
  return attributes.join('+');
}

/** Distinct sets of attributes that any cross-section edits. */
export function distinctEdits(sections: readonly EditedSection[]): string[][] {
  return [...new Map(sections.flatMap(({ edits }) => edits).map((edit) => [editName(edit), edit])).values()];
}

/**
 * Supervised codes change one feature out and one in per attribute and term, to be compared with k = 2; SAEs are tried with each k, by
 * interpretations with each even one. Supervised dictionaries without the edited attributes are left out.
 */
export function methodsFor(section: EditedSection, catalogue: Catalogue, edit: readonly string[], plan: EditPlan): Method[] {
  const supervised = catalogue.supervisedFor(section).flatMap((variant): Method[] => {
    const codes = catalogue.find(section.sites[0]!, variant)!.dictionary;
    if (!(codes instanceof SupervisedCodes)) return [{ variant, way: 'supervised', k: 2 * edit.length }];
    return codes.canEdit(edit) ? [{ variant, way: 'supervised', k: codes.changes(edit) }] : [];
  });
  return [...supervised, ...catalogue.variantsFor(section).flatMap((variant) => plan.ways.flatMap((way) => ksOf(way, plan.ks).map((k): Method => ({ variant, way, k }))))];
}

function ksOf(way: FeatureEdit, ks: readonly number[]): readonly number[] {
  return way === 'threshold' ? [0] : way === 'aware' ? ks.filter((k) => k % 2 === 0) : ks;
}

/** Activations of one batch and of its counterfactual at a site. */
export interface EditPair {
  site: SiteAddress;
  source: Examples;
  target: Examples;
}

/** Pairs the clean run's activations with those of the counterfactual prompts. */
export function editPair(clean: PatchedPrompts, counterfactual: Prompts, targets: ReadonlyMap<string, Tensor>, site: SiteAddress): EditPair {
  return { site, source: examplesAt(clean, site), target: { activations: targets.get(formatSite(site))!, attributes: attributeIds(counterfactual) } };
}

/** ‖a_t - a'‖² per prompt. */
function squaredDistance(pair: EditPair, activations: Tensor): Tensor {
  return sumSquaresRows(sub(pair.target.activations, activations));
}

const distanceKey = (site: SiteAddress, edit: string, name: string, { way, k }: Pick<Method, 'way' | 'k'>) => `distance|${formatSite(site)}|${edit}|${name}|${way}|${k}`;

/** The edit that an entry makes by a method. */
function editBy(entry: Entry, { source, target }: EditPair, edit: readonly string[], { way, k }: Pick<Method, 'way' | 'k'>): EditResult {
  return entry.dictionary.edit(source, target, { attributes: [...edit], k, ...(way === 'supervised' ? {} : { features: way }), ...(entry.rankings ? { rankings: entry.rankings } : {}) });
}

/** Tallies the distance that every SAE at a site reaches by every way with every k, on one batch of the selection prompts. */
export function measureDistances(pair: EditPair, edit: readonly string[], entries: readonly Entry[], plan: EditPlan, tally: Tally, start: number): void {
  const { gpu } = pair.source.activations;
  for (const entry of entries) {
    if (isSupervised(entry)) continue;
    for (const way of plan.ways) {
      for (const k of ksOf(way, plan.ks)) {
        gpu.scope(() => tally.put(distanceKey(pair.site, editName(edit), entry.name, { way, k }), start, squaredDistance(pair, editBy(entry, pair, edit, { way, k }).activations)));
      }
    }
  }
}

/** Which entry each site uses, per edit, variant and k. */
export class Choice {
  private readonly chosen = new Map<string, { entry: Entry; distance: number | null }>();

  private key(site: SiteAddress, edit: string, method: Method): string {
    return `${formatSite(site)}|${edit}|${method.variant}|${method.way}|${method.k}`;
  }

  set(site: SiteAddress, edit: string, method: Method, entry: Entry, distance: number | null): void {
    this.chosen.set(this.key(site, edit, method), { entry, distance });
  }

  get(site: SiteAddress, edit: string, method: Method): { entry: Entry; distance: number | null } {
    const chosen = this.chosen.get(this.key(site, edit, method));
    if (!chosen) throw new RangeError(`no dictionary was chosen for ${this.key(site, edit, method)}`);
    return chosen;
  }
}

/** The SAE with the smallest mean distance for each site, edit, variant and k; the first of equals. Supervised codes have no rival. */
export function choose(measured: Measurements, catalogue: Catalogue, sections: readonly EditedSection[], plan: EditPlan): Choice {
  const choice = new Choice();
  for (const section of sections) {
    for (const edit of section.edits) {
      for (const method of methodsFor(section, catalogue, edit, plan)) {
        for (const site of section.sites) {
          if (method.way === 'supervised') {
            choice.set(site, editName(edit), method, catalogue.find(site, method.variant)!, null);
            continue;
          }
          let best: { entry: Entry; distance: number } | null = null;
          for (const entry of catalogue.at(site)) {
            if (entry.variant !== method.variant) continue;
            const distance = mean(Array.from(measured.get(distanceKey(site, editName(edit), entry.name, method)), Math.sqrt));
            if (best === null || distance < best.distance) best = { entry, distance };
          }
          choice.set(site, editName(edit), method, best!.entry, best!.distance);
        }
      }
    }
  }
  return choice;
}

const key = (what: string, section: string, edit: string, method?: Method) => `${what}|${section}|${edit}|${method ? `${method.variant}|${method.way}|${method.k}` : ''}`;
const siteKey = (what: string, site: SiteAddress, edit: string, method?: Method) => key(what, formatSite(site), edit, method);

/** Runs every intervention of Test 2 for one edit on one batch, whose first prompt has number `start`. `pairs` has every site needed, by address. */
export function measureControl(
  clean: PatchedPrompts, edit: readonly string[], pairs: ReadonlyMap<string, EditPair>, choice: Choice, catalogue: Catalogue,
  sections: readonly EditedSection[], plan: EditPlan, tally: Tally, start: number,
): void {
  const name = editName(edit);
  const { gpu } = clean.clean.logitDiff;
  const edited = new Map<string, EditResult>();
  for (const section of sections) {
    if (!section.edits.some((candidate) => editName(candidate) === name)) continue;
    const own = section.sites.map((site) => pairs.get(formatSite(site))!);
    gpu.scope(() => {
      const truth = clean.patched(own.map(({ site, target }) => ({ site, values: target.activations })));
      tally.put(key('truth', section.name, name), start, truth.prediction);
      tally.put(key('truth LD', section.name, name), start, truth.logitDiff);
      for (const pair of own) tally.put(siteKey('no edit', pair.site, name), start, squaredDistance(pair, pair.source.activations));
    });
    for (const method of methodsFor(section, catalogue, edit, plan)) {
      const results = own.map((pair) => {
        const id = siteKey('edited', pair.site, name, method);
        let result = edited.get(id);
        if (!result) {
          result = editBy(choice.get(pair.site, name, method).entry, pair, edit, method);
          edited.set(id, result);
          tally.put(siteKey('weight', pair.site, name, method), start, result.weightRemoved);
          gpu.scope(() => tally.put(siteKey('distance', pair.site, name, method), start, squaredDistance(pair, result!.activations)));
        }
        return { site: pair.site, values: result.activations };
      });
      gpu.scope(() => {
        const outcome = clean.patched(results);
        tally.put(key('prediction', section.name, name, method), start, outcome.prediction);
        tally.put(key('LD', section.name, name, method), start, outcome.logitDiff);
      });
    }
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
    const distanceOf = (of: (site: SiteAddress) => string) => mean(section.sites.map((site) => mean(Array.from(measured.get(of(site)), Math.sqrt))));
    let supervised: { accuracy: number; weight: number } | null = null;
    return methodsFor(section, catalogue, edit, plan).map((method): ControlRow => {
      const accuracy = agreement(measured.get(key('prediction', section.name, attribute, method)), truth);
      const weight = sectionWeight(section.sites.map((site) => measured.get(siteKey('weight', site, attribute, method))));
      if (method.variant === 'supervised') supervised = { accuracy, weight: weight.mean };
      return {
        crossSection: section.name,
        attribute,
        dictionary: methodName(method),
        method: method.way,
        k: method.k,
        accuracy,
        accuracyNoEdit,
        weightRemoved: Number.isNaN(weight.mean) ? null : weight.mean,
        accuracyRelative: supervised && relativeAccuracy(accuracy, accuracyNoEdit, supervised.accuracy),
        weightRelative: supervised && !Number.isNaN(weight.mean) ? relativeWeight(weight.mean, supervised.weight) : null,
        distance: distanceOf((site) => siteKey('distance', site, attribute, method)),
        distanceNoEdit: distanceOf((site) => siteKey('no edit', site, attribute)),
        logitDiff: mean(measured.get(key('LD', section.name, attribute, method))),
        logitDiffGroundTruth: mean(measured.get(key('truth LD', section.name, attribute))),
        groundTruthFlipped: 1 - accuracyNoEdit,
        weightSkipped: weight.skipped,
        chosen: section.sites.flatMap((site) => {
          const { entry, distance } = choice.get(site, attribute, method);
          return distance === null ? [] : [{ site: formatSite(site), dictionary: entry.name, distance }];
        }),
      };
    });
  }));
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
