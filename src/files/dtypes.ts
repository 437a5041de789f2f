/** Element types of safetensors files, their widths, and their widening to float32. */
import { fromHalves } from '../tensor/index.ts';

export type SafetensorsDType = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'I16' | 'I8' | 'U64' | 'U32' | 'U16' | 'U8' | 'BOOL';

const WIDTHS: Record<SafetensorsDType, number> = {
  F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, I16: 2, I8: 1, U64: 8, U32: 4, U16: 2, U8: 1, BOOL: 1,
};

/** Bytes of one element. */
export function bytesPerElement(dtype: SafetensorsDType): number {
  return WIDTHS[dtype];
}

export function isDType(value: unknown): value is SafetensorsDType {
  return typeof value === 'string' && Object.hasOwn(WIDTHS, value);
}

export const KNOWN_DTYPES = Object.keys(WIDTHS).join(', ');

/**
 * Elements as float32. `bytes` must begin at a multiple of the element's width in its buffer and hold whole elements.
 * F16 and BF16 are exact; F64 and integers above 2^24 round to the nearest float32; BOOL gives 0 or 1.
 */
export function widenToF32(bytes: Uint8Array, dtype: SafetensorsDType): Float32Array {
  const { buffer, byteOffset, byteLength } = bytes;
  const count = byteLength / WIDTHS[dtype];
  switch (dtype) {
    case 'F32':
      return new Float32Array(buffer, byteOffset, count);
    case 'F64':
      return Float32Array.from(new Float64Array(buffer, byteOffset, count));
    case 'F16':
      return fromHalves(new Uint16Array(buffer, byteOffset, count));
    case 'BF16': {
      const source = new Uint16Array(buffer, byteOffset, count);
      const out = new Float32Array(count);
      const bits = new Uint32Array(out.buffer);
      for (let i = 0; i < count; i++) bits[i] = source[i]! << 16;
      return out;
    }
    case 'I64':
      return fromBig(new BigInt64Array(buffer, byteOffset, count));
    case 'U64':
      return fromBig(new BigUint64Array(buffer, byteOffset, count));
    case 'I32':
      return Float32Array.from(new Int32Array(buffer, byteOffset, count));
    case 'U32':
      return Float32Array.from(new Uint32Array(buffer, byteOffset, count));
    case 'I16':
      return Float32Array.from(new Int16Array(buffer, byteOffset, count));
    case 'U16':
      return Float32Array.from(new Uint16Array(buffer, byteOffset, count));
    case 'I8':
      return Float32Array.from(new Int8Array(buffer, byteOffset, count));
    case 'U8':
      return Float32Array.from(bytes);
    case 'BOOL':
      return Float32Array.from(bytes, (value) => (value ? 1 : 0));
  }
}

function fromBig(values: BigInt64Array | BigUint64Array): Float32Array {
  const out = new Float32Array(values.length);
  for (let i = 0; i < values.length; i++) out[i] = Number(values[i]);
  return out;
}
