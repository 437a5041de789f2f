/** What `report` reads of a training run's directory: the lines of its figures, its record, and the dictionaries in it. */
import { readdir, readFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { FileError } from '../errors.ts';
import { describeFault } from '../files/node-directory.ts';
import type { TrainingRun } from '../report/index.ts';
import { parseLogLine, type LogRecord } from '../training/index.ts';
import { readRecord } from './training-record.ts';

declare const DIFFRACT_VERSION: string | undefined;

/**
 * Reads a run's directory. A last line that was cut short, as a run leaves it that is killed, and lines that are broken are left out and noted. Throws
 * FileError where there are no figures.
 */
export async function readTrainingRun(directory: string): Promise<TrainingRun> {
  const path = join(directory, 'metrics.jsonl');
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new FileError(`${cause.code === 'ENOENT' ? `${directory} is no training run: it has no metrics.jsonl` : `${path}: ${describeFault(cause)}`}`, { cause });
  });
  const { records, notes } = readMetrics(text, path);
  const record = await readRecord(directory);
  return {
    name: basename(resolve(directory)), records, notes, dictionaries: await dictionariesIn(directory),
    finished: record && { steps: record.steps, final: record.final, settings: { ...record.settings }, metadata: common(record.jobs.map(({ metadata }) => metadata ?? {})) },
    ...(typeof DIFFRACT_VERSION === 'string' ? { version: DIFFRACT_VERSION } : {}),
  };
}

/** The records of a metrics.jsonl's text, and what is wrong with it. */
export function readMetrics(text: string, path: string): { records: LogRecord[]; notes: string[] } {
  const lines = text.split('\n');
  const cut = lines.pop()!;
  const notes = cut === '' ? [] : [`The last line of metrics.jsonl was cut short and is left out: ${cut.slice(0, 60)}`];
  const broken: string[] = [];
  const records = lines.flatMap((line, i) => {
    try {
      return [parseLogLine(line, `${path}: line ${i + 1}`)];
    } catch (error) {
      broken.push((error as Error).message);
      return [];
    }
  });
  if (records.length === 0) throw new FileError(broken[0] ?? `${path} holds no line of figures`);
  if (broken.length) notes.push(`${broken.length === 1 ? 'A line' : `${broken.length} lines`} of metrics.jsonl could not be read, and ${broken.length === 1 ? 'is' : 'are'} left out: ${broken[0]}`);
  return { records, notes };
}

/** Folders with a configuration in SAELens' layout; the flat one and the nested one are read alike. */
async function dictionariesIn(directory: string): Promise<TrainingRun['dictionaries']> {
  const folders = (await readdir(directory, { withFileTypes: true })).filter((entry) => entry.isDirectory()).map(({ name }) => name).sort();
  const found = await Promise.all(folders.map(async (folder) => {
    const config = await readFile(join(directory, folder, 'cfg.json'), 'utf8').then((text) => JSON.parse(text) as Record<string, unknown>).catch(() => null);
    if (!config) return null;
    const metadata = (config['metadata'] ?? {}) as Record<string, unknown>;
    const hook = metadata['hook_name'] ?? config['hook_name'];
    return { folder, architecture: String(config['architecture'] ?? 'standard'), hook: typeof hook === 'string' ? hook : '–', inputs: Number(config['d_in']), features: Number(config['d_sae']) };
  }));
  return found.filter((one) => one !== null);
}

/** What is the same in all. */
function common(all: readonly Readonly<Record<string, unknown>>[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(all[0] ?? {}).filter(([key, value]) => all.every((other) => JSON.stringify(other[key]) === JSON.stringify(value))));
}

/** The directory of a run that a path names: itself, or that of its metrics.jsonl. */
export function runDirectory(path: string, isDirectory: boolean): string | null {
  if (isDirectory) return path;
  return basename(path) === 'metrics.jsonl' ? dirname(path) : null;
}
