/**
 * Sites: one attention head's query, key, value or output at one semantic position, written `{q|k|v|z}@L{layer}H{head}@{position}`,
 * and cross-sections: sets of sites that are patched and edited together in one forward pass.
 */
import { UnknownSiteError, UsageError } from '../errors.ts';
import type { Gpt2 } from '../model/index.ts';

export const SITE_KINDS = ['q', 'k', 'v', 'z'] as const;
export type SiteKind = (typeof SITE_KINDS)[number];

/** Semantic positions of indirect-object prompts: IO, first S, the token after it, second S, last token. */
export const IOI_POSITIONS = ['io', 's1', 's1+1', 's2', 'end'] as const;

export interface SiteAddress {
  kind: SiteKind;
  layer: number;
  head: number;
  position: string;
}

/** The whole of a hook at a semantic position: all heads together, or the residual stream. */
export interface HookPlace {
  hook: string;
  position: string;
}

/** What is read of prompts: one head's part of a hook, or the whole of one. */
export type ActivationPlace = SiteAddress | HookPlace;

export interface CrossSection {
  name: string;
  sites: SiteAddress[];
  /** Sets of attributes whose edits are evaluated here, as published; absent where nothing is. */
  edits?: string[][];
}

/** Reads `z@L0H3@end`. Throws UnknownSiteError that says which part is wrong and what there is. */
export function parseSite(text: string, positions: readonly string[] = IOI_POSITIONS): SiteAddress {
  const parts = text.trim().split('@');
  const what = `site "${text.trim()}"`;
  if (parts.length !== 3) throw new UnknownSiteError(`${what}: is not of the form {q|k|v|z}@L{layer}H{head}@{position}, such as z@L0H3@end`);
  const [kind, place, position] = parts as [string, string, string];
  if (!(SITE_KINDS as readonly string[]).includes(kind)) throw new UnknownSiteError(`${what}: unknown kind "${kind}"; there are ${SITE_KINDS.join(', ')}`);
  const match = /^L(\d{1,4})H(\d{1,4})$/.exec(place);
  if (!match) throw new UnknownSiteError(`${what}: "${place}" is not of the form L{layer}H{head}, such as L0H3`);
  if (!positions.includes(position)) throw new UnknownSiteError(`${what}: unknown position "${position}"; there are ${positions.join(', ')}`);
  return { kind: kind as SiteKind, layer: Number(match[1]), head: Number(match[2]), position };
}

export function formatSite({ kind, layer, head, position }: SiteAddress): string {
  return `${kind}@L${layer}H${head}@${position}`;
}

/** A site as it is written, or HOOK@POSITION. */
export function formatPlace(place: ActivationPlace): string {
  return 'hook' in place ? `${place.hook}@${place.position}` : formatSite(place);
}

/** Every site once, in order of first appearance. */
export function distinctSites(sites: readonly SiteAddress[]): SiteAddress[] {
  return [...new Map(sites.map((site) => [formatSite(site), site])).values()];
}

/** The TransformerLens hook that holds the site: `blocks.L.attn.hook_z`, [batch, position, head, dHead]. */
export function hookOf({ kind, layer }: Pick<SiteAddress, 'kind' | 'layer'>): string {
  return `blocks.${layer}.attn.hook_${kind}`;
}

type Trained = Pick<Gpt2, 'name' | 'hash' | 'origin' | 'processing' | 'weightType'>;

/** What SAELens' cfg.json says of the model that a dictionary was trained on; one from a hub with the commit that gives the same again. */
export function modelMetadata({ name, hash, origin, processing, weightType }: Trained): Record<string, unknown> {
  return {
    model_name: origin?.repository ?? name, model_hash: hash, ...(origin ? { model_from_pretrained_kwargs: { revision: origin.commit } } : {}), weight_processing: { ...processing }, weights: weightType,
  };
}

/** The same of a site of a task. */
export function trainedOn(model: Trained, site: SiteAddress): Record<string, unknown> {
  return { ...modelMetadata(model), hook_name: hookOf(site), hook_head_index: site.head, position: site.position, site: formatSite(site) };
}

/** Throws UnknownSiteError if a model of this size does not have the site. */
export function checkSite(site: SiteAddress, model: { layers: number; heads: number }): void {
  if (site.layer >= model.layers) throw new UnknownSiteError(`site "${formatSite(site)}": the model has layers 0 to ${model.layers - 1}`);
  if (site.head >= model.heads) throw new UnknownSiteError(`site "${formatSite(site)}": the model has heads 0 to ${model.heads - 1}`);
}

/** Reads `NAME=z@L0H3@end,v@L0H3@s2`. Throws UsageError for the form, UnknownSiteError for a site. */
export function parseCrossSection(text: string, positions: readonly string[] = IOI_POSITIONS): CrossSection {
  const equals = text.indexOf('=');
  const name = text.slice(0, Math.max(equals, 0)).trim();
  if (!name) throw new UsageError(`cross-section "${text}": is not of the form NAME=SITE,SITE,…, such as out=z@L0H2@end,z@L0H3@end`);
  const sites = text.slice(equals + 1).split(',').filter((part) => part.trim() !== '').map((part) => parseSite(part, positions));
  if (sites.length === 0) throw new UsageError(`cross-section "${name}": has no sites`);
  const seen = new Set<string>();
  for (const site of sites) {
    const written = formatSite(site);
    if (seen.has(written)) throw new UsageError(`cross-section "${name}": has ${written} twice`);
    seen.add(written);
  }
  return { name, sites };
}
