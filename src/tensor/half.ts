/** IEEE 754 half-precision numbers as bit patterns, which neither Node 20 nor all browsers know: to and from float32. */
import { NumberError } from '../errors.ts';

/** The largest finite half; what rounds to more is out of range. */
export const LARGEST_HALF = 65504;

const words = new Uint32Array(1);
const floats = new Float32Array(words.buffer);

/**
 * Bit patterns of the nearest halves, ties to even; NaN and infinities stay what they are. Throws NumberError for a finite value beyond
 * the range; `where` names the place of an index for its message.
 */
export function toHalves(values: ArrayLike<number>, where = (index: number): string => `element ${index}`): Uint16Array {
  const bits = values instanceof Float32Array ? new Uint32Array(values.buffer, values.byteOffset, values.length) : null;
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) {
    let x: number;
    if (bits) x = bits[i]!;
    else {
      floats[0] = values[i]!;
      x = words[0]!;
    }
    const sign = (x >>> 16) & 0x8000;
    const size = x & 0x7fffffff;
    if (size >= 0x477ff000) { // 65520, which is half way to the next power of two
      if (size < 0x7f800000) throw new NumberError(`${where(i)} is ${values[i]}, beyond the range of f16, whose largest number is ${LARGEST_HALF}`);
      out[i] = sign | (size > 0x7f800000 ? 0x7e00 : 0x7c00);
    } else if (size >= 0x38800000) { // 2^-14, the least normal half: the exponent's bias changes from 127 to 15
      const moved = size - 0x38000000;
      out[i] = sign | ((moved + 0xfff + ((moved >>> 13) & 1)) >>> 13);
    } else out[i] = sign | subnormal(size);
  }
  return out;
}

/** In units of 2^-24. `size` is the pattern of a float32 below 2^-14. */
function subnormal(size: number): number {
  const shift = 126 - (size >>> 23);
  if (shift > 24) return 0;
  const digits = (size & 0x7fffff) | 0x800000;
  const whole = digits >>> shift;
  const rest = digits & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return whole + (rest > half || (rest === half && (whole & 1)) ? 1 : 0);
}

let table: Float32Array | null = null;

/** Numbers of bit patterns, exactly. */
export function fromHalves(bits: Uint16Array): Float32Array {
  // Reading a table of all 65,536 is several times faster than computing each.
  const all = (table ??= Float32Array.from({ length: 65536 }, (_, i) => valueOf(i)));
  const out = new Float32Array(bits.length);
  for (let i = 0; i < out.length; i++) out[i] = all[bits[i]!]!;
  return out;
}

function valueOf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
