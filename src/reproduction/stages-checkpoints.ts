/**
 * Every dictionary of the sweep, of all epochs: control where a site may use the best of them (evaluation.md §5.6), and whether sparsity,
 * reconstruction or the logit difference kept foretells how well a dictionary edits (§5.9).
 */
import * as z from 'zod';
import {
  addRankings, Catalogue, choose, controlRows, correlations, correlationSchema, correlationSummaries, correlationSummarySchema, editDistance, editedAttributes, fitSupervised, Measurements,
  measureTradeOff, scorePrompts, selectionDistances, tradeOffSchema, type EditedSection, type EditPlan, type Entry, type Scoring, type TradeOffRow,
} from '../evaluation/index.ts';
import { batchFor, formatSite, type SiteAddress } from '../task/index.ts';
import type { SweepEntry } from '../training/index.ts';
import { labInputs, sparsityName, type Lab, type SaesResult, type SectionsResult } from './lab.ts';
import type { Settings } from './settings.ts';
import type { Stage } from './stage.ts';
import { overallRow } from './stages-core.ts';

export const checkpointsSchema = z.object({
  k: z.int().describe('features that the edits of the correlations may change'),
  control: z.array(overallRow).describe('edits by the best checkpoint of each site'),
  tradeOffs: z.array(tradeOffSchema),
  correlations: z.array(correlationSchema),
  summaries: z.array(correlationSummarySchema),
});

/** Bytes of dictionaries that are on the device at once while they are compared. */
const GROUP_BYTES = 2 ** 29;

export function checkpointsStage(settings: Settings): Stage<Lab> {
  const k = Math.min(...settings.ks);
  const ks = settings.sizes === 'reduced' ? [k] : settings.ks;
  return {
    name: 'checkpoints', title: 'The best of all checkpoints, and what foretells control', version: 2, needs: ['sections', 'saes'], inputs: { ...labInputs(settings), ks }, schema: checkpointsSchema,
    async run(lab, read, { signal, onProgress }) {
      const { sections } = read<SectionsResult>('sections')!;
      const { folder, entries } = read<SaesResult>('saes')!;
      const { scored, selection, edits } = lab.samples(sections);
      const edited = sections.filter((section) => section.edits.length > 0);
      const sites = lab.sites(edited);
      const plan: EditPlan = { ks, ways: ['agnostic', 'aware'], pool: 'overall' };
      const scoring = (catalogue: Catalogue, own: readonly EditedSection[]): Scoring => ({
        model: lab.model, catalogue, sections: own, edits, plan, approximated: [], batch: batchFor(lab.model, scored.prompts), signal,
      });
      const parts: Parts = { lab, sections, edited, folder, signal };
      const groups = grouped(sites, entries, lab.model.config.headWidth, settings.training.features ?? 256);
      const tradeOffs: TradeOffRow[] = [];
      let distances = new Measurements(new Map());
      const best = new Set<SweepEntry>();
      for (const [i, group] of groups.entries()) {
        const { catalogue, entryOf } = await catalogueOf(parts, group, entries);
        try {
          const part = (done: number, total: number) => onProgress(i + done / total, groups.length + 1, 'choosing checkpoints');
          const own = within(edited, group);
          // Edits of a site depend on no other site: what is the best here is the best in the whole cross-section.
          const measured = await selectionDistances(scoring(catalogue, own), selection, part);
          const choice = choose(measured, catalogue, own, plan);
          for (const entry of choice.used()) if (entryOf.has(entry)) best.add(entryOf.get(entry)!);
          tradeOffs.push(...await measureTradeOff(lab.model, catalogue, group, selection.prompts, { signal }));
          distances = distances.with(measured);
        } finally {
          catalogue.dispose();
        }
      }
      const { catalogue } = await catalogueOf(parts, sites, best);
      try {
        const choice = choose(distances, catalogue, edited, plan);
        const measured = await scorePrompts(scoring(catalogue, edited), scored, choice, (done, total) => onProgress(groups.length + done / total, groups.length + 1, 'patched runs'));
        const address = new Map(sites.map((site) => [formatSite(site), site]));
        const rows = correlations(tradeOffs, [...edits.keys()], (site, edit, dictionary) => editDistance(distances, address.get(site)!, edit, dictionary, k));
        return { result: { k, control: controlRows(measured, choice, catalogue, edited, plan), tradeOffs, correlations: rows, summaries: correlationSummaries(rows) } };
      } finally {
        catalogue.dispose();
      }
    },
  };
}

/** The part of cross-sections that lies in some sites. */
function within(sections: readonly EditedSection[], group: readonly SiteAddress[]): EditedSection[] {
  const names = new Set(group.map(formatSite));
  return sections.map((section) => ({ ...section, sites: section.sites.filter((site) => names.has(formatSite(site))) })).filter(({ sites }) => sites.length > 0);
}

/** As results call a dictionary of one epoch. */
function nameOf(entry: SweepEntry): string {
  return `${entry.variant} ${sparsityName(entry)}, epoch ${entry.epoch}`;
}

/** Sites in groups whose dictionaries fit the device together. */
function grouped(sites: readonly SiteAddress[], entries: readonly SweepEntry[], width: number, features: number): SiteAddress[][] {
  const groups: SiteAddress[][] = [];
  let room = 0;
  for (const site of sites) {
    // Encoder, decoder, biases and thresholds.
    const bytes = 4 * entries.filter((entry) => entry.site === formatSite(site)).length * (2 * width + 4) * features;
    if (groups.length === 0 || bytes > room) {
      groups.push([]);
      room = GROUP_BYTES;
    }
    groups.at(-1)!.push(site);
    room -= bytes;
  }
  return groups;
}

/** What catalogues of this stage are made of: all cross-sections, because the lab collects activations for all at once, and the edited ones. */
interface Parts { lab: Lab; sections: readonly EditedSection[]; edited: readonly EditedSection[]; folder: string; signal?: AbortSignal }

/** Independent mean codes and these dictionaries of the sweep, with their features ranked; the caller's to dispose. `entryOf` tells what an entry was made of. */
async function catalogueOf({ lab, sections, edited, folder, signal }: Parts, sites: readonly SiteAddress[], entries: Iterable<SweepEntry>): Promise<{ catalogue: Catalogue; entryOf: Map<Entry, SweepEntry> }> {
  const catalogue = new Catalogue();
  const entryOf = new Map<Entry, SweepEntry>();
  try {
    fitSupervised(catalogue, lab.training(), sites, await lab.trainingActivations(sections, signal), true);
    for (const own of entries) {
      const site = sites.find((candidate) => formatSite(candidate) === own.site);
      if (!site) continue;
      signal?.throwIfAborted();
      const entry: Entry = { name: nameOf(own), variant: own.variant, dictionary: await lab.sae(folder, own), source: 'trained', lambda: own.sparsity, scale: null, curve: [], epoch: own.epoch };
      catalogue.add(site, entry);
      entryOf.set(entry, own);
    }
    await addRankings(lab.model.gpu, catalogue, sites, await lab.rankedPrompts(sections, signal), { attributesAt: editedAttributes(edited), signal });
    return { catalogue, entryOf };
  } catch (error) {
    catalogue.dispose();
    throw error;
  }
}
