/** Where features are active, counted on the GPU: what Test 3 needs of a dictionary's codes. */
import { activeMask, segments, segmentSum, Tensor } from '../tensor/index.ts';
import type { ActiveCounts, Grouping } from './interpretability.ts';

/** The prompts of each group as the GPU reads them; made once for all dictionaries over the same prompts. */
export interface PlacedGrouping {
  order: Tensor;
  starts: Tensor;
}

export function placeGroupings(gpu: Tensor['gpu'], groupings: readonly Grouping[]): PlacedGrouping[] {
  return groupings.map(({ ids, groups }) => {
    const { order, starts } = segments(ids, groups);
    return { order: Tensor.from(gpu, order, [order.length]), starts: Tensor.from(gpu, starts, [groups + 1]) };
  });
}

/**
 * How many prompts of each group each feature is active on, from codes [prompts, features]. Active means that the code is not 0. The counts are exact:
 * sums of ones in float32 stay so up to 2^24 prompts.
 */
export async function countActive(codes: Tensor, groupings: readonly PlacedGrouping[]): Promise<ActiveCounts> {
  const features = codes.shape[1]!;
  const tables = codes.gpu.scope(() => {
    const mask = activeMask(codes, { signed: true });
    return groupings.map(({ order, starts }) => segmentSum(mask, order, starts));
  });
  const byGroup = await Promise.all(tables.map((table) => table.read()));
  for (const table of tables) table.dispose();
  // every prompt is in one group of the first grouping
  const active = new Float64Array(features);
  byGroup[0]!.forEach((value, at) => { active[at % features]! += value; });
  return { features, active, byGroup };
}
