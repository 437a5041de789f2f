/**
 * Test 1: can reconstructions stand in for activations (arXiv 2405.08366, section 4 and A.3)? For a cross-section X, all its sites patched jointly:
 *
 *   sufficiency  a -> â                 mean LD_patched / mean LD_clean
 *   necessity    a -> ā + (a - â)       1 - |LD_mean - LD_int| / |LD_mean - LD_clean|,  LD_mean under a -> ā
 *
 * A row is of one dictionary, or of a variant whose sites each chose a dictionary of theirs (choice.ts).
 *
 * ā is the mean over the training prompts: it keeps what all prompts of the task share on-distribution, which zeros would not.
 */
import { formatSite, type SiteAddress } from '../task/index.ts';
import { isSupervised, type Catalogue, type EditedSection, type Entry, type Reconstructions } from './catalogue.ts';
import { bestByTradeOff, type Choice, type TradeOff } from './choice.ts';
import { distribution, mean, meanAbsoluteDifference, necessity, sufficiency } from './formulas.ts';
import { editName, rivalsAt, type EditPlan } from './methods.ts';
import type { PatchedPrompts } from './patching.ts';
import type { ApproximationRow } from './results.ts';
import type { Measurements, Tally } from './tally.ts';

export const CLEAN = 'clean LD';

/** Dictionaries that reconstruct the sites of a cross-section together: a row of Test 1. */
export interface Approximated {
  section: string;
  /** As the row calls them: a dictionary's name, or a variant. */
  dictionary: string;
  /** How the sites chose, where they did. */
  selection?: 'trade-off' | 'distance';
  /** One for each site of the cross-section, in their order. */
  entries: readonly Entry[];
}

/** Every dictionary that all sites of a cross-section have; `only` those that it says. */
export function eachDictionary(catalogue: Catalogue, sections: readonly EditedSection[], only: (entry: Entry) => boolean = () => true): Approximated[] {
  return sections.flatMap((section) => catalogue.namesFor(section).flatMap((dictionary): Approximated[] => {
    const entries = section.sites.map((site) => catalogue.find(site, dictionary)!);
    return entries.every(only) ? [{ section: section.name, dictionary, entries }] : [];
  }));
}

/** Every supervised dictionary: what stands beside chosen SAEs. */
export function eachSupervised(catalogue: Catalogue, sections: readonly EditedSection[]): Approximated[] {
  return eachDictionary(catalogue, sections, isSupervised);
}

/** Each variant with the SAE of every site that is the best by trade-off. */
export function bestByTradeOffs(rows: readonly TradeOff[], catalogue: Catalogue, sections: readonly EditedSection[], plan: Pick<EditPlan, 'pool' | 'select'>): Approximated[] {
  return chosenPerVariant('trade-off', catalogue, sections, plan, (_section, site, _variant, entries) => bestByTradeOff(rows, site, entries));
}

/** Each variant with the SAE that every site uses for agnostic edits of the cross-section's first edit with the smallest k. */
export function bestByDistance(choice: Choice, catalogue: Catalogue, sections: readonly EditedSection[], plan: EditPlan): Approximated[] {
  const edited = sections.filter(({ edits }) => edits.length > 0);
  const ks = plan.ksOf?.agnostic ?? plan.ks;
  if (!plan.ways.includes('agnostic') || ks.length === 0) return [];
  return chosenPerVariant('distance', catalogue, edited, plan, ({ edits }, site, variant) => choice.get(site, editName(edits[0]!), { variant, way: 'agnostic', k: Math.min(...ks) }).entry);
}

function chosenPerVariant(
  selection: 'trade-off' | 'distance', catalogue: Catalogue, sections: readonly EditedSection[], plan: Pick<EditPlan, 'pool' | 'select'>,
  pick: (section: EditedSection, site: SiteAddress, variant: string, rivals: readonly Entry[]) => Entry,
): Approximated[] {
  return sections.flatMap((section) => catalogue.variantsFor(section).flatMap((variant): Approximated[] => {
    const rivals = section.sites.map((site) => rivalsAt(catalogue, site, variant, plan));
    if (rivals.some(({ length }) => length === 0)) return [];
    return [{ section: section.name, dictionary: variant, selection, entries: section.sites.map((site, i) => pick(section, site, variant, rivals[i]!)) }];
  }));
}

const ablated = (section: string) => `mean-ablated LD|${section}`;
/** The same dictionaries are measured once, however they were chosen. */
const key = (what: string, { section, entries }: Approximated) => `${what} LD|${section}|${entries.map(({ name }) => name).join('|')}`;

/** Runs every intervention of Test 1 at one cross-section on one batch, whose first prompt has number `start`, and tallies the logit differences. */
export function measureApproximation(
  clean: PatchedPrompts, reconstructions: Reconstructions, catalogue: Catalogue, section: EditedSection, approximated: readonly Approximated[], tally: Tally, start: number,
): void {
  const { count } = clean.prompts;
  const { gpu } = clean.clean.logitDiff;
  gpu.scope(() => {
    const means = section.sites.map((site) => ({ site, values: catalogue.meanRows(site, count) }));
    tally.put(ablated(section.name), start, clean.patched(means).logitDiff);
  });
  const own = approximated.filter((one) => one.section === section.name);
  for (const one of new Map(own.map((each) => [key('', each), each])).values()) {
    const made = section.sites.map((site, i) => ({ site, ...reconstructions.of(site, one.entries[i]!) }));
    gpu.scope(() => {
      tally.put(key('reconstructed', one), start, clean.patched(made.map(({ site, reconstruction }) => ({ site, values: reconstruction }))).logitDiff);
      tally.put(key('residual', one), start, clean.patched(made.map((m) => ({ site: m.site, values: m.residual }))).logitDiff);
    });
  }
}

/** The rows of results.json from what was tallied, for each dictionary unless told otherwise. */
export function approximationRows(
  measured: Measurements, catalogue: Catalogue, sections: readonly EditedSection[], approximated: readonly Approximated[] = eachDictionary(catalogue, sections),
): ApproximationRow[] {
  const clean = measured.get(CLEAN);
  return sections.flatMap((section) => approximated.filter((one) => one.section === section.name).map((one): ApproximationRow => {
    const meanAblated = measured.get(ablated(section.name));
    const patched = measured.get(key('reconstructed', one));
    const left = measured.get(key('residual', one));
    const sufficient = sufficiency(patched, clean);
    const necessary = necessity(left, meanAblated, clean);
    return {
      crossSection: section.name,
      dictionary: one.dictionary,
      sufficiency: sufficient.value,
      necessity: necessary.value,
      logitDiffClean: mean(clean),
      logitDiffMeanAblated: mean(meanAblated),
      logitDiffReconstructed: mean(patched),
      logitDiffResidual: mean(left),
      meanAbsoluteChange: meanAbsoluteDifference(patched, clean),
      change: distribution(Array.from(patched, (value, prompt) => Math.abs(value - clean[prompt]!))),
      ...(one.selection ? { selection: one.selection, chosen: section.sites.map((site, i) => ({ site: formatSite(site), dictionary: one.entries[i]!.name })) } : {}),
      note: [sufficient.note, necessary.note].filter(Boolean).join('; ') || null,
    };
  }));
}
