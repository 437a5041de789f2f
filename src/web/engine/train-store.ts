/**
 * What training keeps in the browser's storage:
 *
 *   training/NAME/run.json                 what was asked for, and how far it is
 *   training/NAME/metrics.jsonl            its figures, as the command line writes them
 *   training/NAME/checkpoint.safetensors   where it goes on, until it is finished
 *   training/NAME/text/…                   the text that it is trained on, until it is finished
 *   trained/NAME/…                         the dictionary in SAELens' layout
 */
import { FileError } from '../../errors.ts';
import { memorySource, type FileSource } from '../../files/index.ts';
import { logLine, parseLogLine, type LogRecord } from '../../training/index.ts';
import type { ModelForm } from '../protocol.ts';
import { removeStored, storedFiles, storedSource, writeStored } from './stored.ts';
import type { TrainSpec } from './train-spec.ts';

const FORMAT = 'diffract page training run 1';
const RUNS = 'training';
const TRAINED = 'trained';

export interface RunRecord {
  format: typeof FORMAT;
  /** Its folder's name. */
  name: string;
  spec: TrainSpec;
  model: { name: string; hash: string } & ModelForm;
  /** Steps that are safe, of how many, and the seconds that they took. */
  step: number;
  steps: number;
  seconds: number;
  finished: boolean;
}

/** A run as the page lists it. */
export interface RunFacts extends RunRecord {
  /** It is running, here or in another page of this site. */
  busy: boolean;
  /** A finished run's figures with its final weights. */
  final: LogRecord | null;
  bytes: number;
}

interface RunFile extends RunRecord { final: unknown }

export function newRecord(values: Omit<RunRecord, 'format'>): RunRecord {
  return { format: FORMAT, ...values };
}

export async function writeRecord(record: RunRecord, final: LogRecord | null = null): Promise<void> {
  // A figure that JSON has no number for is written as in the metrics.
  const file: RunFile = { ...record, final: final && (JSON.parse(logLine(final)) as unknown) };
  await writeStored(`${RUNS}/${record.name}/run.json`, `${JSON.stringify(file, null, 1)}\n`);
}

/** The run of a name. FileError where there is none, or a broken one. */
export async function readRecord(name: string): Promise<RunRecord & { final: LogRecord | null }> {
  const source = storedSource(`${RUNS}/${name}`);
  const { final, ...record } = await source.json<RunFile>('run.json');
  if (record.format !== FORMAT || typeof record.spec !== 'object') throw new FileError(`${name}/run.json: not a training run of this page`);
  return { ...record, name, final: final ? parseLogLine(JSON.stringify(final), `${name}/run.json`) : null };
}

/** All runs by name. A finished one whose dictionary was deleted is gone as well, and what cannot be read is left out. */
export async function listRuns(): Promise<RunFacts[]> {
  const sizes = new Map<string, number>();
  for (const { path, file } of await storedFiles(RUNS)) {
    const name = path.split('/')[0]!;
    sizes.set(name, (sizes.get(name) ?? 0) + file.size);
  }
  const trained = await storedFiles(TRAINED);
  const busy = await busyRuns();
  const found: RunFacts[] = [];
  for (const [name, own] of sizes) {
    const record = await readRecord(name).catch(() => null);
    const files = trained.filter(({ path }) => path.startsWith(`${name}/`));
    if (!record || (record.finished && files.length === 0)) continue;
    found.push({ ...record, busy: busy.has(name), bytes: files.reduce((sum, { file }) => sum + file.size, own) });
  }
  return found;
}

/** A name that no run has. */
export async function freeName(wanted: string): Promise<string> {
  const taken = new Set([...await storedFiles(RUNS), ...await storedFiles(TRAINED)].map(({ path }) => path.split('/')[0]));
  for (let n = 1; ; n++) {
    const name = n === 1 ? wanted : `${wanted}-${n}`;
    if (!taken.has(name)) return name;
  }
}

/** Figures up to a step. */
export async function readMetrics(name: string, step = Infinity): Promise<LogRecord[]> {
  const source = storedSource(`${RUNS}/${name}`);
  if (!(await source.has('metrics.jsonl'))) return [];
  const lines = new TextDecoder().decode(await source.bytes('metrics.jsonl')).split('\n').filter(Boolean);
  return lines.map((line) => parseLogLine(line, `${name}/metrics.jsonl`)).filter((record) => record.step <= step);
}

export async function readStoredCheckpoint(name: string): Promise<Uint8Array | null> {
  const source = storedSource(`${RUNS}/${name}`);
  return (await source.has('checkpoint.safetensors')) ? source.bytes('checkpoint.safetensors') : null;
}

/** Puts a checkpoint by, with the figures that it counts on before it. FileError where there is no room. */
export async function writeCheckpoint(record: RunRecord, checkpoint: Uint8Array, metrics: readonly LogRecord[]): Promise<void> {
  const folder = `${RUNS}/${record.name}`;
  await writeStored(`${folder}/metrics.jsonl`, metrics.map(logLine).join(''));
  await writeStored(`${folder}/checkpoint.safetensors`, checkpoint);
  await writeRecord(record);
}

/** Puts a finished run's dictionary by; what was needed to go on goes. FileError where there is no room. */
export async function writeTrained(record: RunRecord, files: Readonly<Record<string, Uint8Array>>, metrics: readonly LogRecord[], final: LogRecord): Promise<void> {
  const folder = `${RUNS}/${record.name}`;
  for (const [path, bytes] of Object.entries(files)) await writeStored(`${TRAINED}/${record.name}/${path}`, bytes);
  await writeStored(`${folder}/metrics.jsonl`, metrics.map(logLine).join(''));
  await writeRecord(record, final);
  await removeStored(`${folder}/checkpoint.safetensors`);
  await removeStored(`${folder}/text`);
}

export async function removeRun(name: string): Promise<void> {
  await removeStored(`${TRAINED}/${name}`);
  await removeStored(`${RUNS}/${name}`);
}

/** The files of a finished run's dictionary. */
export async function trainedFiles(name: string): Promise<Record<string, Uint8Array>> {
  const found = await storedFiles(`${TRAINED}/${name}`);
  return Object.fromEntries(await Promise.all(found.map(async ({ path, file }) => [path, new Uint8Array(await file.arrayBuffer())] as const)));
}

export async function writeRunText(name: string, path: string, content: Uint8Array | ReadableStream<Uint8Array>, signal: AbortSignal): Promise<void> {
  await writeStored(`${RUNS}/${name}/text/${path}`, content, signal);
}

/** The text that was put by, or null. */
export async function readRunText(name: string, path: string): Promise<FileSource | null> {
  const source = storedSource(`${RUNS}/${name}/text`);
  return (await source.has(path)) ? source : null;
}

export function textInMemory(path: string, bytes: Uint8Array): FileSource {
  return memorySource({ [path]: bytes }, 'text');
}

const lockOf = (name: string): string => `diffract training ${name}`;

/** Does work on a run that no other page of this site may do at the same time. FileError where one does. */
export async function lockRun<T>(name: string, work: () => Promise<T>): Promise<T> {
  return await navigator.locks.request(lockOf(name), { ifAvailable: true }, (lock) => {
    if (!lock) throw new FileError(`${name} is running already, here or in another page of this site; stop it there first`);
    return work();
  }) as T;
}

async function busyRuns(): Promise<Set<string>> {
  const { held = [] } = await navigator.locks.query();
  return new Set(held.flatMap(({ name }) => (name?.startsWith(lockOf('')) ? [name.slice(lockOf('').length)] : [])));
}
