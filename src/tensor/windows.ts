/**
 * Windows of rows: how a tensor larger than one binding is bound piece by piece. Every piece starts where a binding may start
 * (a multiple of 256 bytes in each tensor named) and stays within the binding limit.
 */
import { LimitError } from '../errors.ts';
import type { Gpu } from '../gpu/index.ts';
import type { BufferSlice } from '../gpu/index.ts';
import type { Tensor } from './tensor.ts';

export interface RowWindow { start: number; count: number }

const ALIGNMENT = 256;

/**
 * Splits `rows` so that each tensor, with its bytes per row given, can be bound a window at a time. One window where all fit.
 * Throws LimitError if not even the smallest aligned window fits.
 */
export function rowWindows(gpu: { readonly limits: Pick<Gpu['limits'], 'bindingBytes'> }, rows: number, bytesPerRow: readonly number[]): RowWindow[] {
  const limit = gpu.limits.bindingBytes;
  const widest = Math.max(...bytesPerRow);
  if (rows * widest <= limit) return rows > 0 ? [{ start: 0, count: rows }] : [];
  const step = bytesPerRow.reduce((all, bytes) => lcm(all, ALIGNMENT / gcd(bytes, ALIGNMENT)), 1);
  const most = Math.floor(limit / widest / step) * step;
  if (most === 0) throw new LimitError(`${step} rows of ${widest} bytes are needed in one binding, but this adapter allows ${limit} bytes`);
  const windows: RowWindow[] = [];
  for (let start = 0; start < rows; start += most) windows.push({ start, count: Math.min(most, rows - start) });
  return windows;
}

/**
 * A binding of rows [start, start + count) of a tensor seen as rows of `bytesPerRow` bytes; nothing is copied or allocated.
 * For windows made by `rowWindows`.
 */
export function windowOf(tensor: Tensor, window: RowWindow, bytesPerRow: number): BufferSlice {
  return { storage: tensor.storage, byteOffset: tensor.byteOffset + window.start * bytesPerRow, byteLength: window.count * bytesPerRow };
}

function gcd(a: number, b: number): number {
  return b === 0 ? a : gcd(b, a % b);
}

function lcm(a: number, b: number): number {
  return (a / gcd(a, b)) * b;
}
