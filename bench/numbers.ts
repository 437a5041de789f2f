/** Inputs and references of the benchmark's cases. */
import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** Uniform numbers in [-1, 1), the same in every run. */
export function inputs(count: number, seed: number): Float32Array {
  const generator = xoroshiro128plus(seed);
  return Float32Array.from({ length: count }, () => 2 * uniformFloat64(generator) - 1);
}

/** ‖out − ref‖ / ‖ref‖ over the entries given. */
export function relative(pairs: Iterable<readonly [out: number, ref: number]>): number {
  let difference = 0;
  let norm = 0;
  for (const [out, ref] of pairs) {
    difference += (out - ref) ** 2;
    norm += ref ** 2;
  }
  return Number.isFinite(difference) ? Math.sqrt(difference / (norm || 1)) : Infinity;
}

/** About `count` indices below `size`, spread over all of it, the first and the last among them. */
export function spread(size: number, count: number): number[] {
  const step = Math.max(1, Math.floor(size / count));
  const picked = Array.from({ length: Math.ceil(size / step) }, (_, i) => i * step);
  return [...new Set([...picked, size - 1])].filter((i) => i >= 0 && i < size);
}
