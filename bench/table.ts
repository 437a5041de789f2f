/** The benchmark's rows as text for a terminal or as Markdown. */
import { geometricMean, type BenchResult, type Row, type Versus } from './results.ts';

interface Column { head: string; left?: boolean; cell(row: Row): string }

const COLUMNS: readonly Column[] = [
  { head: 'kernel', left: true, cell: (row) => (row.variant ? `${row.kernel} (${row.variant})` : row.kernel) },
  { head: 'shape', left: true, cell: (row) => row.shape },
  { head: 'time', cell: (row) => (row.ms !== null ? milliseconds(row.ms) : row.wrong ? 'wrong' : 'left out') },
  { head: 'spread', cell: (row) => (row.spread === null ? '' : row.samples < 2 ? 'once' : `±${Math.round(100 * row.spread)}%`) },
  { head: 'GFLOP/s', cell: (row) => (row.gflops ? significant(row.gflops) : '') },
  { head: 'GB/s', cell: (row) => (row.gbps ? significant(row.gbps) : '') },
  { head: 'of ceiling', cell: (row) => (row.share === null ? '' : `${percent(row.share)} ${row.bound === 'compute' ? 'C' : 'M'}`) },
  { head: 'needs', cell: (row) => (row.flops + row.bytes > 0 ? `${quantity(row.flops)}flop, ${quantity(row.bytes)}B` : '') },
  { head: 'first use', cell: (row) => (row.firstUseMs === null ? '' : milliseconds(row.firstUseMs)) },
];

function peerColumns(result: BenchResult): Column[] {
  return result.peers.map(({ name }) => ({ head: name, cell: (row) => (row.peers[name] ? versusCell(row.peers[name]) : '') }));
}

/** `2.1× (45 ms)`: how many times quicker ours was, and the other's own time; `*` where bytes are moved at every run. */
export function versusCell({ ms, ratio, transfers, skipped }: Versus): string {
  if (ms === null || ratio === null) return skipped?.startsWith('wrong') ? 'wrong' : '–';
  return `${significant(ratio)}×${transfers ? '*' : ''} (${milliseconds(ms)})`;
}

/** Columns, and the cells of each row. */
export function tableCells(result: BenchResult, rows: readonly Row[] = result.rows): { columns: readonly { head: string; left?: boolean }[]; lines: string[][] } {
  const columns = [...COLUMNS, ...peerColumns(result)];
  return { columns, lines: rows.map((row) => columns.map((c) => c.cell(row))) };
}

/** The table, what did not fit into it, and the peers' summary. */
export function textTable(result: BenchResult): string {
  const { columns, lines } = tableCells(result);
  const all = [columns.map((c) => c.head), ...lines];
  const widths = columns.map((_, i) => Math.max(...all.map((line) => line[i]!.length)));
  const table = all.map((line) => line.map((cell, i) => (columns[i]!.left ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ').trimEnd());
  return [...table, '', `ceilings, the higher of before and after: ${ceilingsLine(result.ceilings)}`, ...section('', [...figureLines(result.rows), ...againstLines(result.rows)]), ...section('', noteLines(result)), ...section('', peerSummary(result))].join('\n');
}

export function markdownTable(result: BenchResult, rows: readonly Row[] = result.rows): string {
  const { columns, lines } = tableCells(result, rows);
  const line = (items: readonly string[]): string => `| ${items.map((item) => item.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(columns.map((c) => c.head)), line(columns.map((c) => (c.left ? '---' : '--:'))), ...lines.map(line)].join('\n');
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length ? [title, ...lines] : [];
}

export function rowName({ kernel, variant, shape }: Pick<Row, 'kernel' | 'variant' | 'shape'>): string {
  return `${kernel}${variant ? ` (${variant})` : ''}, ${shape}`;
}

/** One line for each row that has numbers of its own. */
export function figureLines(rows: readonly Row[]): string[] {
  return rows.filter((row) => Object.keys(row.figures).length > 0)
    .map((row) => `${rowName(row)}: ${Object.entries(row.figures).map(([name, value]) => `${name} ${significant(value)}`).join(', ')}`);
}

/** One line for each other way of this engine that a row was compared with. */
export function againstLines(rows: readonly Row[]): string[] {
  return rows.flatMap((row) => Object.entries(row.against).map(([name, versus]) => (
    `${rowName(row)}: ${versus.ms === null ? `${name} was not timed` : `${significant(versus.ratio!)}× as quick as ${name} (${milliseconds(versus.ours!)} against ${milliseconds(versus.ms)})`}`)));
}

/** Why rows and peers have no time, and what must be known of a peer's. */
export function noteLines({ rows, missingPeers }: BenchResult): string[] {
  const lines = missingPeers.map(({ name, why }) => `${name} is not here: ${why}`);
  for (const row of rows) {
    if (row.wrong) lines.push(`wrong: ${rowName(row)}: ${row.wrong}`);
    if (row.skipped) lines.push(`left out: ${rowName(row)}: ${row.skipped}`);
    for (const [name, peer] of Object.entries(row.peers)) {
      if (peer.skipped && peer.skipped !== CANNOT) lines.push(`${name}, ${rowName(row)}: ${peer.skipped}`);
      if (peer.note) lines.push(`${name}, ${rowName(row)}: ${peer.note}`);
    }
  }
  return lines;
}

export const CANNOT = 'has no way to do this';

/** For each peer, and for the quickest of them on each row: geometric mean and least of the ratios, by kernel. */
export function peerSummary({ rows, peers }: BenchResult): string[] {
  const lines: string[] = [];
  for (const kernel of new Set(rows.map((row) => row.kernel))) {
    const timed = rows.filter((row) => row.kernel === kernel).map((row) => Object.entries(row.peers).filter(([, p]) => p.ratio !== null));
    const say = (name: string, ratios: readonly number[]): void => {
      const mean = geometricMean(ratios);
      if (mean !== null) lines.push(`${kernel}: ${significant(mean)}× as quick as ${name} (geometric mean of ${ratios.length}, least ${significant(Math.min(...ratios))}×)`);
    };
    for (const { name } of peers) say(name, timed.flatMap((row) => row.filter(([peer]) => peer === name).map(([, p]) => p.ratio!)));
    if (peers.length > 1) say('the quickest peer', timed.filter((row) => row.length).map((row) => Math.min(...row.map(([, p]) => p.ratio!))));
  }
  return lines;
}

/** What the machine can do, in a line. */
export function ceilingsLine({ copyGBps, gflops, f16Gflops, subgroupGops, dispatchesPerSecond, source }: BenchResult['ceilings']): string {
  return [
    `copy ${significant(copyGBps)} GB/s`, `multiply-add ${significant(gflops)} GFLOP/s`, f16Gflops === null ? 'no f16' : `f16 ${significant(f16Gflops)} GFLOP/s`,
    subgroupGops === null ? 'no subgroups' : `subgroup sums ${significant(subgroupGops)} G/s`, `${Math.round(dispatchesPerSecond).toLocaleString('en')} dispatches/s`,
  ].join(', ') + ` (by ${source === 'wall' ? 'the wall clock' : 'timestamps'})`;
}

export function milliseconds(ms: number): string {
  return ms >= 10_000 ? `${significant(ms / 1000)} s` : ms >= 1 ? `${significant(ms)} ms` : `${significant(ms * 1000)} µs`;
}

/** Three digits. */
export function significant(value: number): string {
  return Math.abs(value) >= 100 ? Math.round(value).toLocaleString('en') : Number(value.toPrecision(3)).toString();
}

export function percent(share: number): string {
  return `${share < 0.095 ? significant(Number((100 * share).toPrecision(2))) : Math.round(100 * share)}%`;
}

/** With a prefix of 10³ⁿ and a space: `1.2 G`. */
export function quantity(value: number): string {
  const prefixes = ['', 'k', 'M', 'G', 'T'];
  const step = value < 1 ? 0 : Math.min(prefixes.length - 1, Math.floor(Math.log10(value) / 3));
  return `${significant(value / 1000 ** step)} ${prefixes[step]}`;
}
