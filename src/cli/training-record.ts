/** run.json: what a finished training run was, so that going on from it can say that nothing is left to do, and a report what was trained. */
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FileError, UsageError } from '../errors.ts';
import { checkSettings, logLine, parseLogLine, trainDefaults, type LogRecord, type SaeJob, type TrainSettings } from '../training/index.ts';

export const RECORD = 'run.json';
const FORMAT = 'diffract SAE training run 1';
/** Settings that change what is reported, not what is computed. */
const FREE: readonly string[] = ['logEvery'];

/** What is said of a dictionary: all that its job asks for but the activations themselves. */
type JobRecord = Omit<SaeJob, 'data'>;

export interface RunRecord {
  format: typeof FORMAT;
  steps: number;
  settings: TrainSettings;
  jobs: JobRecord[];
  /** The folder of each job's dictionary. */
  folders: string[];
  /** With the final weights, over all examples of the last round. */
  final: LogRecord[];
}

export function runRecord(settings: Partial<TrainSettings>, jobs: readonly SaeJob[], folders: readonly string[], steps: number, final: readonly LogRecord[]): RunRecord {
  return { format: FORMAT, steps, settings: checkSettings(settings), jobs: jobs.map(({ data: _data, ...job }) => job), folders: [...folders], final: [...final] };
}

/** The file's text. Figures stand in it as in metrics.jsonl, which has a way to write those that JSON has no number for. */
export function recordText({ final, ...rest }: RunRecord): string {
  return `${JSON.stringify({ ...rest, final: final.map((record) => JSON.parse(logLine(record)) as unknown) }, null, 1)}\n`;
}

/** What a finished run left in a directory; null where there is none, or where a dictionary that it names is gone. Throws FileError for a broken file. */
export async function readRecord(directory: string): Promise<RunRecord | null> {
  const path = join(directory, RECORD);
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text === null) return null;
  let found: Omit<RunRecord, 'final'> & { final: unknown[] };
  try {
    found = JSON.parse(text) as typeof found;
  } catch (cause) {
    throw new FileError(`${path}: not JSON`, { cause });
  }
  if (found?.format !== FORMAT || !Array.isArray(found.jobs) || !Array.isArray(found.folders) || !Array.isArray(found.final)) throw new FileError(`${path}: not the record of a training run`);
  const final = found.final.map((line) => parseLogLine(JSON.stringify(line), path));
  const there = await Promise.all(found.folders.map((folder) => stat(join(directory, folder)).then((entry) => entry.isDirectory(), () => false)));
  return there.every(Boolean) ? { ...found, final } : null;
}

/** Throws UsageError, naming what differs, where a finished run was another than the one that is asked for. */
export function checkSameRun(there: RunRecord, here: RunRecord, directory: string): void {
  const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
  const old: Record<string, unknown> = { ...trainDefaults, ...there.settings };
  const found = Object.entries(here.settings).filter(([key, value]) => !FREE.includes(key) && !same(old[key], value)).map(([key, value]) => `${key} (${String(old[key])} there, ${String(value)} here)`);
  if (!same(there.folders, here.folders)) found.push(`dictionaries (${there.folders.join(', ')} there)`);
  else if (!same(there.jobs, here.jobs)) found.push(`the dictionaries' settings or data (${there.jobs.flatMap((job, i) => fieldsThatDiffer(job, here.jobs[i]!)).filter((name, i, all) => all.indexOf(name) === i).join(', ')})`);
  if (found.length) throw new UsageError(`--resume: the run in ${directory} is finished, and was another: ${found.join('; ')}`);
}

function fieldsThatDiffer(a: JobRecord, b: JobRecord): string[] {
  const flat = ({ metadata, ...job }: JobRecord): Record<string, unknown> => ({ ...metadata, ...job });
  const [there, here] = [flat(a), flat(b)];
  return [...new Set([...Object.keys(there), ...Object.keys(here)])].filter((key) => JSON.stringify(there[key]) !== JSON.stringify(here[key]));
}
