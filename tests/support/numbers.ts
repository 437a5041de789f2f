/** Numbers for tests: seeded inputs and the error measure of every comparison. */

/** `n` (or a shape's worth of) numbers in [-1, 1), the same for the same seed. */
export function random(shape: number | readonly number[], seed = 1): Float32Array {
  const n = typeof shape === 'number' ? shape : shape.reduce((p, k) => p * k, 1);
  let state = (seed * 2654435761) >>> 0 || 1;
  return Float32Array.from({ length: n }, () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * 2 - 1;
  });
}

/** ‖out − ref‖ / ‖ref‖; 0 for two empty lists, infinite if lengths differ or something is not finite. */
export function relativeError(out: ArrayLike<number>, ref: ArrayLike<number>): number {
  if (out.length !== ref.length) return Infinity;
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < ref.length; i++) {
    difference += (out[i]! - ref[i]!) ** 2;
    norm += ref[i]! ** 2;
  }
  if (!Number.isFinite(difference)) return Infinity;
  return difference === 0 ? 0 : Math.sqrt(difference / (norm || Number.MIN_VALUE));
}
