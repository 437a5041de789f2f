/** The benchmark's rows as text for a terminal or as a Markdown table. */
import type { Row } from './measure.ts';

const HEADS = ['kernel', 'shape', 'time', 'spread', 'GFLOP/s', 'GB/s', 'of ceiling', 'bound by', 'first use'] as const;

export function cells(row: Row): string[] {
  if (row.ms === null) return [row.kernel, row.shape, 'wrong', '', '', '', '', `error ${row.error.toExponential(1)}`, ''];
  const spread = (row.most! - row.least!) / row.ms;
  return [
    row.kernel, row.shape, milliseconds(row.ms), `±${Math.round(50 * spread)}%`, row.gflops! > 0 ? significant(row.gflops!) : '–', significant(row.gbps!),
    `${Math.round(100 * row.share!)}%`, row.bound, milliseconds(row.firstUseMs),
  ];
}

export function textTable(rows: readonly Row[]): string {
  const lines = [[...HEADS], ...rows.map(cells)];
  const widths = HEADS.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  const left = new Set([0, 1, 7]);
  return lines.map((line) => line.map((cell, i) => (left.has(i) ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ').trimEnd()).join('\n');
}

export function markdownTable(rows: readonly Row[]): string {
  const line = (items: readonly string[]): string => `| ${items.join(' | ')} |`;
  return [line(HEADS), line(HEADS.map((_, i) => (i < 2 || i === 7 ? '---' : '--:'))), ...rows.map((row) => line(cells(row)))].join('\n');
}

export function milliseconds(ms: number): string {
  return ms >= 1 ? `${significant(ms)} ms` : `${significant(ms * 1000)} µs`;
}

function significant(value: number): string {
  return value >= 100 ? value.toFixed(0) : Number(value.toPrecision(3)).toString();
}
