/** The cross-sections of an evaluation: as given, or found by patching; each with the attributes whose edits are tested there. */
import type { Gpt2 } from '../model/index.ts';
import { type CrossSection, distinctSites, formatSite, type SiteAddress } from '../task/index.ts';
import type { EditedSection } from './catalogue.ts';
import { jointEffects, rankSites, type Contrast } from './discover.ts';
import type { SiteRow } from './results.ts';
import { sectionsFrom, type FoundSection } from './sections.ts';
import { sampleEdited, seedsOf, type EvaluationTask } from './task.ts';

export interface DiscoveryOptions {
  /** Prompts that sites are patched on. */
  prompts: number;
  /** Share of the mean clean logit difference that selects a site, and that makes an attribute worth editing in a cross-section. */
  threshold: number;
  /** Effect that makes a single site a cross-section of its own. */
  strong: number;
  /** Most cross-sections. */
  sections: number;
  /** Kinds and positions to look at; all if not given. */
  kinds?: readonly SiteAddress['kind'][];
  positions?: readonly string[];
}

interface Finding extends DiscoveryOptions {
  seed: number;
  /** Sites that get a cross-section of their own whatever their effect, those of loaded dictionaries: named, or the strongest that is of a kind. */
  extra: readonly (SiteAddress | ((site: SiteAddress) => boolean))[];
}

interface Watching {
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** Prompts for discovery with one counterfactual for every attribute of the task. */
export function contrastFor(task: EvaluationTask, prompts: number, seed: number): Contrast {
  const seeds = seedsOf(seed);
  const attributes = Object.keys(task.evaluation(1, seeds.discovery).attributes);
  return sampleEdited(task, prompts, seeds.discovery, seeds.counterfactual, new Map(attributes.map((name) => [name, [name]])));
}

/** Ranks all sites and groups the selected ones (discover.ts, sections.ts); an attribute is edited where the joint patch has an effect. */
export async function findSections(model: Gpt2, task: EvaluationTask, options: Finding, watching: Watching = {}): Promise<{ ranking: SiteRow[]; sections: EditedSection[] }> {
  const contrast = contrastFor(task, options.prompts, options.seed);
  const ranking = await rankSites(model, contrast, { threshold: options.threshold, kinds: options.kinds, positions: options.positions, ...watching });
  const found: FoundSection[] = sectionsFrom(ranking, { strong: options.strong, limit: options.sections });
  for (const wanted of options.extra) {
    const site = typeof wanted === 'function' ? strongest(ranking, found, wanted) : wanted;
    if (!site) continue;
    const name = formatSite(site);
    if (!found.some((section) => section.name === name)) found.push({ name, sites: [site] });
  }
  const effects = await jointEffects(model, contrast, found, watching.signal);
  const sections = found.map((section): EditedSection => {
    const own = effects.get(section.name)!;
    return { ...section, origin: 'discovered', effects: own, edits: Object.keys(own).filter((name) => own[name]! >= options.threshold).map((name) => [name]) };
  });
  return { ranking, sections };
}

/** The first site of the ranking that is wanted; null if a cross-section has one already, or none is there. */
function strongest(ranking: readonly SiteRow[], found: readonly FoundSection[], wanted: (site: SiteAddress) => boolean): SiteAddress | null {
  if (found.some(({ sites }) => sites.length === 1 && wanted(sites[0]!))) return null;
  const row = ranking.find(wanted);
  return row ? { kind: row.kind, layer: row.layer, head: row.head, position: row.position } : null;
}

/** Cross-sections as given, with the published edits, or else every attribute by itself. Their sites count as selected, with no effect measured. */
export function givenSections(given: readonly CrossSection[], origin: 'published' | 'given', task: EvaluationTask): { ranking: SiteRow[]; sections: EditedSection[] } {
  const attributes = Object.keys(task.evaluation(1, 0).attributes);
  const sections = given.map((section): EditedSection => ({ ...section, origin, effects: {}, edits: section.edits ?? attributes.map((name) => [name]) }));
  const sites = distinctSites(sections.flatMap((section) => section.sites));
  return { ranking: sites.map((site) => ({ site: formatSite(site), ...site, effect: null, byAttribute: {}, prompts: 0, selected: true })), sections };
}
