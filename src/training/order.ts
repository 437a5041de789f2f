/** Seeded choices on the CPU by pure-rand, the same on every machine. Nothing here keeps state: a seed and a place say it all. */
import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** A generator for one purpose and place of a run, e.g. (seed, 'order', epoch). */
function generator(seed: number, purpose: string, place: number): ReturnType<typeof xoroshiro128plus> {
  // FNV-1a over the parts, so that neighbouring seeds and places give unrelated states.
  let hash = 0x811c9dc5;
  for (const character of `${seed}/${purpose}/${place}`) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193);
  return xoroshiro128plus(hash | 0);
}

/** The order in which an epoch takes its examples: a permutation of 0 … count − 1. */
export function epochOrder(count: number, seed: number, epoch: number): Uint32Array {
  const random = generator(seed, 'order', epoch);
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = uniformInt(random, 0, i);
    const kept = order[i]!;
    order[i] = order[j]!;
    order[j] = kept;
  }
  return order;
}

/**
 * `count` indices drawn with replacement, each with a probability proportional to its weight. Weights are not negative; if all are zero,
 * every index is as likely.
 */
export function sampleProportional(weights: ArrayLike<number>, count: number, seed: number, place: number): Uint32Array {
  const random = generator(seed, 'resample', place);
  const sums = new Float64Array(weights.length);
  let total = 0;
  for (let i = 0; i < weights.length; i++) sums[i] = total += weights[i]!;
  return Uint32Array.from({ length: count }, () => {
    if (total <= 0) return uniformInt(random, 0, weights.length - 1);
    const point = uniformFloat64(random) * total;
    // The first sum above the point; an index of weight zero is never it.
    let low = 0;
    let high = weights.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sums[middle]! > point) high = middle;
      else low = middle + 1;
    }
    return low;
  });
}
