/**
 * Logit difference recovered at single sites: how much of what mean ablation of a site takes from the mean logit difference its reconstruction
 * leaves. All LD are means over prompts.
 *
 *   recovered        |LD_sae − LD_mean| / |LD_clean − LD_mean|            1 is best; the released code as it is now
 *   recovered, old   (LD_clean − LD_sae) / (LD_clean − LD_mean)           0 is best; its first version (`ld-recovered-old`)
 *
 * At a site whose mean ablation hardly changes the logit difference the quotient says nothing (up to 27 is on record): it is null there.
 */
import * as z from 'zod';
import type { Dictionary } from '../dictionary/index.ts';
import type { Gpt2 } from '../model/index.ts';
import { formatSite, batchFor, type Prompts, type SiteAddress } from '../task/index.ts';
import { gatherRows, Tensor } from '../tensor/index.ts';
import { examplesAt, placesOf } from './catalogue.ts';
import { DENOMINATOR_GUARD, mean, type Score } from './formulas.ts';
import { bySpan, scoringChunks, PatchedPrompts } from './patching.ts';
import { Tally } from './tally.ts';

/** Mean logit differences of clean prompts, with the site's mean in place, and with reconstructions in place. */
export interface LogitDiffs { clean: number; meanAblated: number; patched: number }

/** The quotient in either convention; null where the denominator is below the guard. */
export function logitDiffRecovered({ clean, meanAblated, patched }: LogitDiffs, { old = false }: { old?: boolean } = {}): Score {
  const denominator = clean - meanAblated;
  if (!(Math.abs(denominator) > DENOMINATOR_GUARD * Math.abs(clean))) {
    return { value: null, note: `mean ablation changes the logit difference by ${denominator.toPrecision(3)} only, too little to divide by` };
  }
  return { value: old ? (clean - patched) / denominator : Math.abs(patched - meanAblated) / Math.abs(denominator), note: null };
}

export const recoveredRowSchema = z.object({
  site: z.string(),
  dictionary: z.string(),
  logitDiffClean: z.number(),
  logitDiffMeanAblated: z.number().describe('the site alone set to its mean'),
  logitDiffReconstructed: z.number().describe('the site alone set to its reconstruction'),
  recovered: z.number().nullable(),
  note: z.string().nullable().describe('why it is null'),
});
export type RecoveredRow = z.infer<typeof recoveredRowSchema>;

/** Dictionaries of one site, with the mean activation that ablation puts there, [1, headWidth]. */
export interface RecoveredStudy { site: SiteAddress; mean: Tensor; dictionaries: readonly { name: string; dictionary: Dictionary }[] }

export interface RecoveredOptions {
  /** Released behaviour `ld-recovered-old`. */
  old?: boolean;
  /** Prompts in one run; by default as many as a modest amount of memory holds. */
  batch?: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** One row for every site and dictionary: each patched alone, at all prompts. Names of the dictionaries of one site must differ. */
export async function measureRecovered(model: Gpt2, given: Prompts, studies: readonly RecoveredStudy[], options: RecoveredOptions = {}): Promise<RecoveredRow[]> {
  const { gpu } = model;
  const prompts = given.select(bySpan(given));
  const chunks = scoringChunks(model, prompts, options.batch ?? batchFor(model, prompts));
  const tally = new Tally(gpu, prompts.count);
  const places = studies.flatMap(({ site, dictionaries }) => placesOf([site], () => dictionaries.map(({ dictionary }) => dictionary)));
  const key = (site: SiteAddress, what: string) => `${formatSite(site)}|${what}`;
  try {
    let done = 0;
    for (const [start, end] of chunks) {
      await gpu.scope(async () => {
        const clean = new PatchedPrompts(model, prompts.slice(start, end), places);
        tally.put('clean', start, clean.clean.logitDiff);
        for (const { site, mean: centre, dictionaries } of studies) {
          options.signal?.throwIfAborted();
          gpu.scope(() => {
            const values = gatherRows(centre, Tensor.from(gpu, new Uint32Array(end - start), [end - start]));
            tally.put(key(site, 'mean'), start, clean.patched([{ site, values }]).logitDiff);
          });
          for (const { name, dictionary } of dictionaries) {
            gpu.scope(() => {
              const examples = examplesAt(clean, site);
              const values = dictionary.decode(dictionary.encode(examples), examples);
              tally.put(key(site, `dictionary ${name}`), start, clean.patched([{ site, values }]).logitDiff);
            });
          }
          await gpu.idle();
          options.onProgress?.(++done, chunks.length * studies.length);
        }
      });
    }
    const measured = await tally.read();
    const clean = mean(measured.get('clean'));
    return studies.flatMap(({ site, dictionaries }) => dictionaries.map(({ name }): RecoveredRow => {
      const [meanAblated, patched] = [mean(measured.get(key(site, 'mean'))), mean(measured.get(key(site, `dictionary ${name}`)))];
      const { value, note } = logitDiffRecovered({ clean, meanAblated, patched }, options);
      return { site: formatSite(site), dictionary: name, logitDiffClean: clean, logitDiffMeanAblated: meanAblated, logitDiffReconstructed: patched, recovered: value, note };
    }));
  } finally {
    tally.dispose();
  }
}
