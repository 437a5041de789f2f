/**
 * Test 1: can reconstructions stand in for activations (arXiv 2405.08366, section 4 and A.3)? For a cross-section X, all its sites patched jointly:
 *
 *   sufficiency  a -> â                 mean LD_patched / mean LD_clean
 *   necessity    a -> ā + (a - â)       1 - |LD_mean - LD_int| / |LD_mean - LD_clean|,  LD_mean under a -> ā
 *
 * ā is the mean over the training prompts: it keeps what all prompts of the task share on-distribution, which zeros would not.
 */
import { Catalogue, Reconstructions, type EditedSection } from './catalogue.ts';
import { mean, meanAbsoluteDifference, necessity, sufficiency } from './formulas.ts';
import type { PatchedPrompts } from './patching.ts';
import type { ApproximationRow } from './results.ts';
import type { Measurements, Tally } from './tally.ts';

export const CLEAN = 'clean LD';
const ablated = (section: string) => `mean-ablated LD|${section}`;
const reconstructed = (section: string, dictionary: string) => `reconstructed LD|${section}|${dictionary}`;
const residual = (section: string, dictionary: string) => `residual LD|${section}|${dictionary}`;

/** Runs every intervention of Test 1 on one batch, whose first prompt has number `start`, and tallies the logit differences. */
export function measureApproximation(
  clean: PatchedPrompts, reconstructions: Reconstructions, catalogue: Catalogue, sections: readonly EditedSection[], tally: Tally, start: number,
): void {
  const { count } = clean.prompts;
  const { gpu } = clean.clean.logitDiff;
  for (const section of sections) {
    gpu.scope(() => {
      const means = section.sites.map((site) => ({ site, values: catalogue.meanRows(site, count) }));
      tally.put(ablated(section.name), start, clean.patched(means).logitDiff);
    });
    for (const name of catalogue.namesFor(section)) {
      const made = section.sites.map((site) => ({ site, ...reconstructions.of(site, catalogue.find(site, name)!) }));
      gpu.scope(() => {
        tally.put(reconstructed(section.name, name), start, clean.patched(made.map(({ site, reconstruction }) => ({ site, values: reconstruction }))).logitDiff);
        tally.put(residual(section.name, name), start, clean.patched(made.map((m) => ({ site: m.site, values: m.residual }))).logitDiff);
      });
    }
  }
}

/** The rows of results.json from what was tallied. */
export function approximationRows(measured: Measurements, catalogue: Catalogue, sections: readonly EditedSection[]): ApproximationRow[] {
  const clean = measured.get(CLEAN);
  return sections.flatMap((section) => catalogue.namesFor(section).map((dictionary): ApproximationRow => {
    const meanAblated = measured.get(ablated(section.name));
    const patched = measured.get(reconstructed(section.name, dictionary));
    const left = measured.get(residual(section.name, dictionary));
    const sufficient = sufficiency(patched, clean);
    const necessary = necessity(left, meanAblated, clean);
    return {
      crossSection: section.name,
      dictionary,
      sufficiency: sufficient.value,
      necessity: necessary.value,
      logitDiffClean: mean(clean),
      logitDiffMeanAblated: mean(meanAblated),
      logitDiffReconstructed: mean(patched),
      logitDiffResidual: mean(left),
      meanAbsoluteChange: meanAbsoluteDifference(patched, clean),
      note: [sufficient.note, necessary.note].filter(Boolean).join('; ') || null,
    };
  }));
}
