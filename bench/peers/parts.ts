/** Work cut into parts that every engine can bind, and operands laid out as an engine wants them. */
import type { MatmulWork } from './peer.ts';

export interface Range { from: number; to: number }
/** Which matrices of a batch, and which columns of the result. */
export interface MatmulPart { batch: Range; columns: Range }

/** `count` things in the fewest ranges of at most `most`, of sizes as equal as can be. */
export function ranges(count: number, most: number): Range[] {
  const parts = Math.max(1, Math.ceil(count / Math.max(1, most)));
  return Array.from({ length: parts }, (_, i) => ({ from: Math.floor((i * count) / parts), to: Math.floor(((i + 1) * count) / parts) }));
}

/** Parts of a product of which no operand or result is above `limit` bytes: of the batch, or, where single matrices are too large, of the columns. */
export function matmulParts({ batch, m, k, n }: Pick<MatmulWork, 'batch' | 'm' | 'k' | 'n'>, limit: number): MatmulPart[] {
  const matrix = 4 * Math.max(m * k, k * n, m * n);
  const batches = ranges(batch, Math.floor(limit / matrix));
  const columns = matrix <= limit ? ranges(n, n) : ranges(n, Math.floor(limit / (4 * Math.max(m, k))));
  return batches.flatMap((b) => columns.map((c) => ({ batch: b, columns: c })));
}

export const length = ({ from, to }: Range): number => to - from;

/** [rows, columns] to [columns, rows]. */
export function transposed(data: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(data.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = data[r * columns + c]!;
  return out;
}

/** Columns `from` to `to` of [rows, columns]. */
export function columnsOf(data: Float32Array, columns: number, { from, to }: Range): Float32Array {
  if (from === 0 && to === columns) return data;
  const rows = data.length / columns;
  const out = new Float32Array(rows * (to - from));
  for (let r = 0; r < rows; r++) out.set(data.subarray(r * columns + from, r * columns + to), r * (to - from));
  return out;
}

/** The left operand of a part: [batch, m, k] or [batch, k, m], as the work has it. */
export function leftOf({ m, k, a }: MatmulWork, { batch }: MatmulPart): Float32Array {
  return a.subarray(batch.from * m * k, batch.to * m * k);
}

/** The right operand of a part: [batch, k, columns] or [batch, columns, k] as the work has it. */
export function rightOf({ k, n, b, transposeB }: MatmulWork, { batch, columns }: MatmulPart): Float32Array {
  const all = b.subarray(batch.from * k * n, batch.to * k * n);
  if (length(columns) === n) return all;
  // Only single matrices are cut by columns.
  return transposeB ? all.subarray(columns.from * k, columns.to * k) : columnsOf(all, n, columns);
}

/** The whole result [batch, m, n] from those of the parts. */
export function joinParts({ batch, m, n }: Pick<MatmulWork, 'batch' | 'm' | 'n'>, parts: readonly MatmulPart[], results: readonly Float32Array[]): Float32Array {
  if (parts.length === 1) return results[0]!;
  const out = new Float32Array(batch * m * n);
  parts.forEach(({ batch: b, columns }, i) => {
    const width = length(columns);
    for (let row = 0; row < length(b) * m; row++) out.set(results[i]!.subarray(row * width, (row + 1) * width), (b.from * m + row) * n + columns.from);
  });
  return out;
}

/** q, k and v, each [batch, positions, heads, width], out of qkv [batch, positions, 3, heads, width]. */
export function splitQkv(qkv: Float32Array, rows: number, size: number): [Float32Array, Float32Array, Float32Array] {
  const cut = (which: number): Float32Array => {
    const out = new Float32Array(rows * size);
    for (let r = 0; r < rows; r++) out.set(qkv.subarray((3 * r + which) * size, (3 * r + which + 1) * size), r * size);
    return out;
  };
  return [cut(0), cut(1), cut(2)];
}
