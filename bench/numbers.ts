/** Inputs of the benchmark's cases, and how far a result is from its reference. */

/** Uniform numbers in [-1, 1), the same in every run; quick enough for hundreds of millions (xorshift32, Marsaglia 2003). */
export function inputs(count: number, seed: number): Float32Array {
  const out = new Float32Array(count);
  let state = (Math.imul(seed, 2654435761) ^ 0x9e3779b9) | 0 || 1;
  for (let i = 0; i < count; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    out[i] = state / 2 ** 31;
  }
  return out;
}

/** Whole numbers in [0, below). */
export function picks(count: number, below: number, seed: number): Uint32Array {
  return Uint32Array.from(inputs(count, seed), (v) => Math.floor(((v + 1) / 2) * below));
}

/** ‖out − ref‖ / ‖ref‖ over the entries given; infinite where something is not finite or there is nothing to compare. */
export function relative(pairs: Iterable<readonly [out: number | undefined, ref: number]>): number {
  let difference = 0;
  let norm = 0;
  let count = 0;
  for (const [out, ref] of pairs) {
    difference += ((out ?? NaN) - ref) ** 2;
    norm += ref ** 2;
    count++;
  }
  return count > 0 && Number.isFinite(difference) ? Math.sqrt(difference / (norm || 1)) : Infinity;
}

/** About `count` indices below `size`, spread over all of it, the first and the last among them. */
export function sample(size: number, count: number): number[] {
  // An odd step, so that a power of two as a row's length does not put all samples into one column.
  const step = Math.max(1, Math.floor(size / count)) | 1;
  const picked = Array.from({ length: Math.ceil(size / step) }, (_, i) => i * step);
  return [...new Set([...picked, size - 1])].filter((i) => i >= 0 && i < size);
}
