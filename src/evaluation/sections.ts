/**
 * Cross-sections from a ranking of sites, by rules that any model can be put through:
 *   1. a site whose effect alone reaches `strong` is a cross-section of its own, named by its address;
 *   2. all selected sites of one kind at one position form a joint one, named {kind}@{position}, when they are two or more.
 * Sites of one kind at one position act in parallel (no path leads from one to the other within a layer, and those of earlier layers are
 * overwritten in later ones by the patch), so that patching them jointly is well defined; a joint section shows what no head shows alone when
 * several carry the same thing. Weak ones go first when there are more than `limit`.
 */
import type { SiteAddress } from '../task/index.ts';
import type { SiteRow } from './results.ts';

export interface SectionRules {
  /** effect of a single site that makes it a cross-section of its own */
  strong: number;
  /** most cross-sections */
  limit: number;
}

export interface FoundSection {
  name: string;
  sites: SiteAddress[];
}

/** Cross-sections of the selected sites of a ranking (strongest first), strongest first: single sites, then joint ones by their strongest site. */
export function sectionsFrom(ranking: readonly SiteRow[], rules: SectionRules): FoundSection[] {
  const selected = ranking.filter((row) => row.selected);
  const groups = new Map<string, SiteRow[]>();
  for (const row of selected) {
    const name = `${row.kind}@${row.position}`;
    groups.set(name, [...(groups.get(name) ?? []), row]);
  }
  const joint = [...groups].filter(([, rows]) => rows.length > 1).map(([name, rows]) => ({ name, strength: rows[0]!.effect ?? 0, rows }));
  const single = selected.filter((row) => (row.effect ?? 0) >= rules.strong).map((row) => ({ name: row.site, strength: row.effect ?? 0, rows: [row] }));
  const all = [...single, ...joint];
  const kept = new Set([...all].sort((a, b) => b.strength - a.strength || all.indexOf(a) - all.indexOf(b)).slice(0, rules.limit));
  return all.filter((section) => kept.has(section)).map(({ name, rows }) => ({
    name,
    sites: [...rows].sort((a, b) => a.layer - b.layer || a.head - b.head).map(({ kind, layer, head, position }) => ({ kind, layer, head, position })),
  }));
}
