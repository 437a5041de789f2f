/** Windows of a matrix product: parts whose operands and results fit what an adapter can bind. Pure functions of numbers. */
import type { MatmulShape } from './matmul-choice.ts';

/** A range of a tensor, in numbers from its start. */
export interface Range { start: number; count: number }

/** What one dispatch computes: matrices, rows, columns, and the part of k. */
export interface Window { batch: Range; rows: Range; columns: Range; ks: Range }

/** Bytes between places where a binding may start. */
const ALIGNMENT = 256;


/**
 * Windows such that what each operand spans fits a binding: one for everything, else whole matrices of the batch, else parts of one matrix.
 * Parts of k come last, so that a window's sum is complete before the next one begins.
 */
export function windows(shape: MatmulShape, bindingBytes: number): Window[] {
  const { batch, m, n, k, sharedB, halfB, outWidth, residualWidth, biasBatch } = shape;
  if (batch * m * n === 0) return [];
  // A binding starts at a multiple of 64 numbers (or 128 halves), up to 63 (or 127) before the window does.
  const limit = Math.floor(bindingBytes / 4);
  const room = Math.max(4, limit - (ALIGNMENT / 4 - 1));
  // A matrix b in places of 4 bytes.
  const sizeB = Math.ceil(k * n / (halfB ? 2 : 1));
  const whole = { rows: { start: 0, count: m }, columns: { start: 0, count: n }, ks: { start: 0, count: k } };
  const shared = sharedB ? sizeB : 0;
  const perMatrix = Math.max(m * k, sharedB ? 0 : sizeB, m * outWidth, m * residualWidth, biasBatch);
  if (batch * perMatrix <= limit && shared <= limit && n <= limit) return [{ batch: { start: 0, count: batch }, ...whole }];
  if (perMatrix <= room && shared <= limit && n <= room) return pieces(batch, Math.max(1, Math.floor(room / perMatrix))).map((b) => ({ batch: b, ...whole }));
  const { rows, columns, ks } = partOfMatrix(shape, room);
  const all: Window[] = [];
  for (const b of pieces(batch, 1)) for (const c of pieces(n, columns)) for (const r of pieces(m, rows)) {
    for (const q of k ? pieces(k, ks) : [{ start: 0, count: 0 }]) all.push({ batch: b, rows: r, columns: c, ks: q });
  }
  return all;
}

/** The largest numbers of rows, columns and k whose spans in every operand have at most `room` numbers. */
function partOfMatrix({ m, n, k, transposeA, transposeB, halfB, outWidth, residualWidth }: MatmulShape, room: number): { rows: number; columns: number; ks: number } {
  let [rows, columns, ks] = [m, n, k];
  // A span along lines of `width` numbers: whole lines while at least one fits, else a part of one.
  const lines = (count: number, width: number, most = room): number => Math.max(1, Math.min(count, Math.floor(most / Math.max(1, width))));
  const roomB = halfB ? 2 * room - 1 : room;
  for (const width of [outWidth, residualWidth]) {
    rows = lines(rows, width);
    if (width > room) columns = Math.min(columns, room);
  }
  if (transposeA) {
    ks = lines(ks, m);
    if (m > room) rows = Math.min(rows, room);
  } else {
    rows = lines(rows, k);
    if (k > room) ks = Math.min(ks, room);
  }
  if (transposeB) {
    columns = lines(columns, k, roomB);
    if (k > roomB) ks = Math.min(ks, roomB);
  } else {
    ks = lines(ks, n, roomB);
    if (n > roomB) columns = Math.min(columns, roomB);
  }
  return { rows: roundDown(rows, m, 8), columns: roundDown(Math.min(columns, room), n, 4), ks: roundDown(ks, k, 4) };
}

function roundDown(count: number, all: number, step: number): number {
  return count >= all || count < step ? count : count - (count % step);
}

function pieces(all: number, most: number): Range[] {
  return Array.from({ length: Math.ceil(all / most) }, (_, i) => ({ start: i * most, count: Math.min(most, all - i * most) }));
}

/**
 * The span of `lines` by `across` in matrices of `size` numbers of `bytes` bytes with lines of `width`: what to bind, and where in it the
 * window begins.
 */
export function place(batch: Range, size: number, width: number, lines: Range, across: Range, bytes = 4): { bound: Range; base: number } {
  const alignment = ALIGNMENT / bytes;
  const first = batch.start * size + lines.start * width + across.start;
  const beyond = (batch.count - 1) * size + (lines.count - 1) * width + across.count;
  const start = Math.floor(first / alignment) * alignment;
  const count = across.count === 0 || lines.count === 0 ? 0 : first - start + beyond;
  return { bound: { start: count ? start : 0, count }, base: count ? first - start : 0 };
}
