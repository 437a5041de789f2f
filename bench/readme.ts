/** `--update-readme`: the tables of bench/README.md and README.md, written between their markers from a run's result. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FileError } from '../src/errors.ts';
import { writeFileAtomic } from '../src/files/node-write.ts';
import { adapterName, geometricMean, GROUPS, type BenchResult, type Row } from './results.ts';
import { againstLines, ceilingsLine, figureLines, markdownTable, milliseconds, noteLines, peerSummary, percent, significant } from './table.ts';

const BEGIN = '<!-- measured: begin -->';
const END = '<!-- measured: end -->';

/** The text with what stands between the markers replaced. Throws FileError where there are none. */
export function between(text: string, inside: string, file: string): string {
  const [begin, end] = [text.indexOf(BEGIN), text.indexOf(END)];
  if (begin < 0 || end < begin) throw new FileError(`${file}: the lines ${BEGIN} and ${END} are missing, between which the table goes`);
  return `${text.slice(0, begin + BEGIN.length)}\n${inside}\n${text.slice(end)}`;
}

/** The part of the command line that says what was measured. */
export function commandOf({ settings: { names, full, samples, tuned }, peers, where }: BenchResult): string {
  const flags = [full ? '--full' : '', samples === 5 ? '' : `--samples ${samples}`, tuned ? '--tuning FILE' : '', where.kind === 'browser' ? '--browser' : '', peers.length ? '--peers' : ''];
  const words = [...names.map((name) => (/\W/.test(name) ? `"${name}"` : name)), ...flags.filter(Boolean)];
  return `npm run bench${words.length ? ` -- ${words.join(' ')}` : ''}`;
}

/** Where and when a result was measured, and the command that did it. */
function heading(result: BenchResult): string {
  const { where, adapter, date, settings, peers } = result;
  return [
    `\`${commandOf(result)}\`, ${date.slice(0, 10)}, ${where.name} ${where.version}, ${where.platform}, median of up to ${settings.samples} samples${settings.tuned ? ', with a tuning file' : ''}.  `,
    `${adapterName(adapter)}${adapter.software ? ' (software, on the CPU)' : ''}  `, `Ceilings: ${ceilingsLine(result.ceilings)}`,
    ...(peers.length ? [`Other engines: ${peers.map((p) => `${p.name} ${p.version}`).join(', ')}`] : []),
  ].join('\n');
}

/** All rows by group, then what the table has no column for. */
export function longTables(result: BenchResult): string {
  const parts = [heading(result)];
  for (const group of GROUPS) {
    const rows = result.rows.filter((row) => row.group === group);
    if (rows.length) parts.push(`### ${group[0]!.toUpperCase()}${group.slice(1)}`, markdownTable(result, rows));
  }
  const list = (title: string, lines: readonly string[]): void => { if (lines.length) parts.push(`${title}:`, lines.map((line) => `- ${line}`).join('\n')); };
  list('Beside this engine’s own other ways', againstLines(result.rows));
  list('Further numbers', figureLines(result.rows));
  list('Beside other engines, in sum', peerSummary(result));
  list('Without a time, or with one of which something must be known', noteLines(result));
  return parts.join('\n\n');
}

/** One line a kernel: its best share of the ceiling among the rows, and the ratios to the quickest peer. */
export function shortTable(result: BenchResult): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const lines = [line(['kernel', 'rows', 'best of ceiling', 'at', 'against the quickest other engine']), line(['---', '--:', '--:', '---', '---'])];
  for (const kernel of new Set(result.rows.map((row) => row.kernel))) {
    const rows = result.rows.filter((row): row is Row & { ms: number; share: number } => row.kernel === kernel && row.ms !== null && row.share !== null);
    if (rows.length === 0) continue;
    const best = rows.reduce((a, b) => (b.share > a.share ? b : a));
    const ratios = rows.map((row) => Object.values(row.peers).flatMap((p) => p.ratio ?? [])).filter((r) => r.length).map((r) => Math.min(...r));
    const mean = geometricMean(ratios);
    lines.push(line([kernel, String(rows.length), `${percent(best.share)} ${best.bound === 'compute' ? 'multiply-add' : 'bandwidth'}`, `${best.shape}, ${milliseconds(best.ms)}`, mean === null ? '' : `${significant(mean)}× (least ${significant(Math.min(...ratios))}×, ${ratios.length} rows)`]));
  }
  return `${heading(result)}\n\n${lines.join('\n')}`;
}

/** Rewrites both files. Throws FileError where one has no markers; then neither is changed. */
export async function updateReadmes(result: BenchResult, root: string): Promise<void> {
  const files = [[join(root, 'bench', 'README.md'), longTables(result)], [join(root, 'README.md'), shortTable(result)]] as const;
  const texts = await Promise.all(files.map(async ([file, inside]) => between(await readFile(file, 'utf8'), inside, file)));
  for (const [i, [file]] of files.entries()) await writeFileAtomic(file, texts[i]!);
}
