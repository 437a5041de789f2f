/** Writing safetensors. */
import { FileError } from '../errors.ts';
import { bytesPerElement, isDType, type SafetensorsDType } from './dtypes.ts';

export interface TensorToWrite {
  dtype: SafetensorsDType;
  shape: readonly number[];
  /** The elements in row-major order, as a typed array of the dtype's width or as bytes. */
  data: ArrayBufferView;
}

/**
 * The file in parts, header first, without copying the tensors: to be written one after the other.
 * The header is padded with spaces so that data begins at a multiple of 8; wider types come first, so that every tensor is
 * aligned to its own elements; among equal widths the given order stays.
 */
export function safetensorsParts(tensors: Record<string, TensorToWrite>, metadata?: Record<string, string>): Uint8Array[] {
  const entries = Object.entries(tensors);
  for (const [name, tensor] of entries) checkTensor(name, tensor);
  entries.sort(([, a], [, b]) => bytesPerElement(b.dtype) - bytesPerElement(a.dtype));
  const header: [string, unknown][] = metadata ? [['__metadata__', metadata]] : [];
  const parts: Uint8Array[] = [];
  let offset = 0;
  for (const [name, { dtype, shape, data }] of entries) {
    header.push([name, { dtype, shape, data_offsets: [offset, offset + data.byteLength] }]);
    parts.push(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    offset += data.byteLength;
  }
  // Object.fromEntries would move names that look like integers to the front and lose '__proto__'.
  const text = `{${header.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')}}`;
  const json = new TextEncoder().encode(text);
  const padded = Math.ceil(json.length / 8) * 8;
  const head = new Uint8Array(8 + padded).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(padded), true);
  head.set(json, 8);
  return [head, ...parts];
}

/** The file as one array. */
export function encodeSafetensors(tensors: Record<string, TensorToWrite>, metadata?: Record<string, string>): Uint8Array {
  const parts = safetensorsParts(tensors, metadata);
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

function checkTensor(name: string, { dtype, shape, data }: TensorToWrite): void {
  if (name === '__metadata__') throw new FileError('a tensor cannot be named __metadata__');
  if (!isDType(dtype)) throw new FileError(`tensor ${name}: unknown dtype ${JSON.stringify(dtype)}`);
  const bytes = shape.reduce((product, n) => product * n, bytesPerElement(dtype));
  if (bytes !== data.byteLength) throw new FileError(`tensor ${name}: ${dtype} of shape [${shape.join(', ')}] takes ${bytes} bytes, ${data.byteLength} were given`);
}
