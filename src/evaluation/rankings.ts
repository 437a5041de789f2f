/** Features ranked by how well they detect the values of each attribute: what edits by interpretations go by (evaluation.md §5.4). */
import type { Dictionary } from '../dictionary/index.ts';
import type { Gpu } from '../gpu/index.ts';
import { formatSite, type Prompts, type SiteAddress } from '../task/index.ts';
import { Tensor } from '../tensor/index.ts';
import { countActive, placeGroupings, type PlacedGrouping } from './active-counts.ts';
import { examplesFrom, isSupervised, type Catalogue, type EditedSection } from './catalogue.ts';
import { f1Score } from './formulas.ts';
import { groupSizes, type Grouping } from './interpretability.ts';

/** Prompts with the activations at each site, by address. */
export interface RankedPrompts { prompts: Prompts; activations: ReadonlyMap<string, Tensor> }

export interface RankingOptions {
  /** Attributes that are ranked for at a site: those that edits there change; all unless given. */
  attributesAt?: (site: SiteAddress) => readonly string[];
  signal?: AbortSignal;
}

/** For a site the attributes that some cross-section with it edits. */
export function editedAttributes(sections: readonly EditedSection[]): (site: SiteAddress) => string[] {
  return (site) => [...new Set(sections.filter(({ sites }) => sites.some((own) => formatSite(own) === formatSite(site))).flatMap(({ edits }) => edits.flat()))];
}

/**
 * Ranks the features of every SAE of the catalogue at the sites and puts the rankings beside them. For a value that the prompts never show all
 * features have an F1 of nothing and stand in their own order: use prompts that show every value.
 */
export async function addRankings(gpu: Gpu, catalogue: Catalogue, sites: readonly SiteAddress[], { prompts, activations }: RankedPrompts, { attributesAt, signal }: RankingOptions = {}): Promise<void> {
  const all = Object.keys(prompts.attributes);
  const groupings = new Map(all.map((name) => [name, { ids: prompts.attributes[name]!.ids, groups: prompts.attributes[name]!.values.length }]));
  const placed = new Map([...groupings].map(([name, grouping]) => [name, placeGroupings(gpu, [grouping])[0]!]));
  try {
    for (const site of sites) {
      const names = attributesAt ? all.filter((name) => attributesAt(site).includes(name)) : all;
      if (names.length === 0) continue;
      const own = names.map((name) => groupings.get(name)!);
      for (const entry of catalogue.at(site)) {
        signal?.throwIfAborted();
        if (isSupervised(entry)) continue;
        const lists = await rankFeatures(entry.dictionary, examplesFrom(activations, site, prompts), own, names.map((name) => placed.get(name)!));
        entry.rankings = Object.fromEntries(names.map((name, i) => [name, gpu.keep(Tensor.from(gpu, lists[i]!, [own[i]!.groups, entry.dictionary.features]))]));
      }
    }
  } finally {
    for (const { order, starts } of placed.values()) for (const tensor of [order, starts]) tensor.dispose();
  }
}

/** For each grouping the features by falling F1 with each group, ties by their number: [groups, features]. */
export async function rankFeatures(dictionary: Dictionary, examples: Parameters<Dictionary['encode']>[0], groupings: readonly Grouping[], placed: readonly PlacedGrouping[]): Promise<Uint32Array[]> {
  const codes = dictionary.encode(examples);
  const { active, byGroup } = await countActive(codes, placed);
  codes.dispose();
  return groupings.map((grouping, g) => rankByF1(byGroup[g]!, active, groupSizes(grouping)));
}

/**
 * Features by falling F1 with each group, ties by their number, those that are never active last: [groups, features]. `both` has how often each
 * feature is active in each group, [groups, features].
 */
export function rankByF1(both: ArrayLike<number>, active: ArrayLike<number>, sizes: ArrayLike<number>): Uint32Array {
  const features = active.length;
  const ranking = new Uint32Array(sizes.length * features);
  const scores = new Float64Array(features);
  for (let group = 0; group < sizes.length; group++) {
    // Most features are never active in a group of few prompts: only the others are sorted.
    const found: number[] = [];
    const rest: number[] = [];
    const never: number[] = [];
    for (let f = 0; f < features; f++) {
      scores[f] = f1Score(both[group * features + f]!, active[f]!, sizes[group]!).f1;
      (scores[f]! > 0 ? found : scores[f] === 0 ? rest : never).push(f);
    }
    found.sort((a, b) => scores[b]! - scores[a]! || a - b);
    ranking.set([...found, ...rest, ...never], group * features);
  }
  return ranking;
}
