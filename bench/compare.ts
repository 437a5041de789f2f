/** A result beside an older one, row by row: only what is beyond the noise of both is called a change. */
import { UsageError } from '../src/errors.ts';
import { parseBench, rowKey, type BenchResult, type Row } from './results.ts';
import { milliseconds, rowName, significant } from './table.ts';

export interface Change {
  row: Row;
  oldMs: number;
  newMs: number;
  /** old / new: above 1 is quicker now. */
  ratio: number;
  /** By how much two runs of the same code may differ here, as a share. */
  noise: number;
  verdict: 'quicker' | 'slower' | 'same';
}

export interface Comparison {
  changes: Change[];
  /** Rows that only one of the two has a time for. */
  onlyOld: string[];
  onlyNew: string[];
  warnings: string[];
}

/** A row timed once or twice says nothing of its noise, and clocks drift between runs. */
const LEAST_NOISE = 0.05;
const FEW_SAMPLES_NOISE = 0.15;

/** The share by which a row's median may be off. */
export function noiseOf({ spread, samples }: Pick<Row, 'spread' | 'samples'>): number {
  return Math.max(spread ?? 0, samples < 3 ? FEW_SAMPLES_NOISE : LEAST_NOISE);
}

export function compareResults(old: BenchResult, now: BenchResult): Comparison {
  const before = new Map(old.rows.map((row) => [rowKey(row), row]));
  const after = new Map(now.rows.map((row) => [rowKey(row), row]));
  const changes: Change[] = [];
  for (const [key, row] of after) {
    const then = before.get(key);
    if (row.ms === null || then?.ms == null) continue;
    const noise = noiseOf(row) + noiseOf(then);
    const ratio = then.ms / row.ms;
    // Whatever else a machine does makes samples longer, never shorter: the quickest ones must have moved as well.
    const best = (then.least ?? then.ms) / (row.least ?? row.ms);
    const beyond = (a: number, b: number): boolean => a > 1 + noise && b > 1 + LEAST_NOISE;
    changes.push({ row, oldMs: then.ms, newMs: row.ms, ratio, noise, verdict: beyond(ratio, best) ? 'quicker' : beyond(1 / ratio, 1 / best) ? 'slower' : 'same' });
  }
  const timed = (rows: Map<string, Row>, key: string): boolean => rows.get(key)?.ms != null;
  const only = (a: Map<string, Row>, b: Map<string, Row>): string[] => [...a].filter(([key]) => timed(a, key) && !timed(b, key)).map(([, row]) => rowName(row));
  const warnings: string[] = [];
  const [a, b] = [old, now].map(({ adapter }) => adapter.description || `${adapter.vendor} ${adapter.architecture} ${adapter.device}`.trim());
  if (a !== b) warnings.push(`the old result is of another adapter (${a}): its times say nothing of a change`);
  else if (old.where.name !== now.where.name) warnings.push(`the old result was measured in ${old.where.name} ${old.where.version}, this one in ${now.where.name} ${now.where.version}`);
  for (const name of ['copyGBps', 'gflops'] as const) {
    const ratio = now.ceilings[name] / old.ceilings[name];
    if (ratio < 0.8 || ratio > 1.25) warnings.push(`the machine itself differs: its ${name === 'gflops' ? 'multiply-add' : 'copy'} ceiling is ${significant(ratio)}× that of then`);
  }
  return { changes, onlyOld: only(before, after), onlyNew: only(after, before), warnings };
}

/** The comparison as lines of text: what changed, then how much did not. */
export function comparisonText({ changes, onlyOld, onlyNew, warnings }: Comparison, what: string): string {
  const moved = changes.filter((c) => c.verdict !== 'same');
  const lines = [`Compared with ${what}:`, ...warnings.map((w) => `  warning: ${w}`)];
  for (const { row, oldMs, newMs, ratio, noise, verdict } of moved) {
    lines.push(`  ${verdict === 'quicker' ? `${significant(ratio)}× quicker` : `${significant(1 / ratio)}× SLOWER`}  ${rowName(row)}: ${milliseconds(oldMs)} then, ${milliseconds(newMs)} now (noise ±${Math.round(100 * noise)}%)`);
  }
  lines.push(`  ${changes.length - moved.length} of ${changes.length} rows are the same within their noise`);
  if (onlyOld.length) lines.push(`  timed only then: ${onlyOld.length} rows`);
  if (onlyNew.length) lines.push(`  timed only now: ${onlyNew.length} rows`);
  return lines.join('\n');
}

/** A file's text as a result. Throws UsageError, in one line, for anything else. */
export function readBench(text: string, file: string): BenchResult {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new UsageError(`${file}: not JSON, so no result of this benchmark`);
  }
  try {
    return parseBench(value);
  } catch (error) {
    const [issue] = (error as { issues?: { path: PropertyKey[]; message: string }[] }).issues ?? [];
    throw new UsageError(`${file}: not a result of this benchmark${issue ? ` (${issue.path.join('.') || 'the whole'}: ${issue.message})` : ''}`);
  }
}
