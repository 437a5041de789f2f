/** Seeded draws that are the same on every machine: integers only, no floating point. */
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plusFromState } from 'pure-rand/generator/xoroshiro128plus';
import { UsageError } from '../errors.ts';

export interface Random {
  /** A uniform integer in [0, n). */
  below(n: number): number;
  /** The list in random order (Fisher-Yates), in place. */
  shuffle<T>(list: T[]): T[];
}

/** A generator for a seed and a purpose: different purposes of one seed draw independently. Throws UsageError for a seed that is no integer. */
export function seededRandom(seed: number, purpose: string): Random {
  if (!Number.isSafeInteger(seed) || seed < 0) throw new UsageError(`the seed ${seed} is not a whole number from 0 to 2^53 - 1`);
  let hash = mix(mix(0x9e3779b9, seed >>> 0), Math.floor(seed / 2 ** 32));
  for (const byte of new TextEncoder().encode(purpose)) hash = mix(hash, byte);
  const state = [1, 2, 3, 4].map((lane) => mix(hash, lane));
  const generator = xoroshiro128plusFromState(state);
  const below = (n: number) => uniformInt(generator, 0, n - 1);
  return {
    below,
    shuffle(list) {
      for (let i = list.length - 1; i > 0; i--) {
        const j = below(i + 1);
        [list[i], list[j]] = [list[j]!, list[i]!];
      }
      return list;
    },
  };
}

/** Stirs a word into a hash by the finaliser of MurmurHash3. */
function mix(hash: number, word: number): number {
  let h = Math.imul(hash ^ word, 0x85ebca6b) + 0x6b43a9b5;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) | 0;
}
