/** Features ranked by how well they detect the values of each attribute: what edits by interpretations go by (evaluation.md §5.4). */
import type { Dictionary } from '../dictionary/index.ts';
import type { Gpu } from '../gpu/index.ts';
import { formatSite, type Prompts, type SiteAddress } from '../task/index.ts';
import { Tensor } from '../tensor/index.ts';
import { countActive, placeGroupings, type PlacedGrouping } from './active-counts.ts';
import { attributeIds, isSupervised, type Catalogue } from './catalogue.ts';
import { f1Score } from './formulas.ts';
import { groupSizes, type Grouping } from './interpretability.ts';

/** Prompts with the activations at each site, by address. */
export interface RankedPrompts { prompts: Prompts; activations: ReadonlyMap<string, Tensor> }

/**
 * Ranks the features of every SAE of the catalogue at the sites and puts the rankings beside them. For a value that the prompts never show all
 * features have an F1 of nothing and stand in their own order: use prompts that show every value.
 */
export async function addRankings(gpu: Gpu, catalogue: Catalogue, sites: readonly SiteAddress[], { prompts, activations }: RankedPrompts, signal?: AbortSignal): Promise<void> {
  const names = Object.keys(prompts.attributes);
  const groupings = names.map((name): Grouping => ({ ids: prompts.attributes[name]!.ids, groups: prompts.attributes[name]!.values.length }));
  const placed = placeGroupings(gpu, groupings);
  for (const site of sites) {
    signal?.throwIfAborted();
    for (const entry of catalogue.at(site)) {
      if (isSupervised(entry)) continue;
      const lists = await rankFeatures(entry.dictionary, { activations: activations.get(formatSite(site))!, attributes: attributeIds(prompts) }, groupings, placed);
      entry.rankings = Object.fromEntries(names.map((name, i) => [name, gpu.keep(Tensor.from(gpu, lists[i]!, [groupings[i]!.groups, entry.dictionary.features]))]));
    }
  }
  for (const { order, starts } of placed) for (const tensor of [order, starts]) tensor.dispose();
}

/** For each grouping the features by falling F1 with each group, ties by their number: [groups, features]. */
export async function rankFeatures(dictionary: Dictionary, examples: Parameters<Dictionary['encode']>[0], groupings: readonly Grouping[], placed: readonly PlacedGrouping[]): Promise<Uint32Array[]> {
  const codes = dictionary.encode(examples);
  const { features, active, byGroup } = await countActive(codes, placed);
  codes.dispose();
  return groupings.map((grouping, g) => {
    const sizes = groupSizes(grouping);
    const ranking = new Uint32Array(grouping.groups * features);
    const scores = new Float64Array(features);
    for (let group = 0; group < grouping.groups; group++) {
      for (let f = 0; f < features; f++) scores[f] = f1Score(byGroup[g]![group * features + f]!, active[f]!, sizes[group]!).f1;
      const order = Array.from({ length: features }, (_, f) => f).sort((a, b) => (scores[a] === scores[b] ? a - b : scores[b]! - scores[a]!));
      ranking.set(order, group * features);
    }
    return ranking;
  });
}
