/** The checkpoints of a training run on the disk: the newest few, each a file with its step in its name, and which of them to go on from. */
import { open, readdir, rm } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { FileError } from '../errors.ts';
import { describeFault } from '../files/node-directory.ts';
import { assertWritable, writeFileAtomic } from '../files/node-write.ts';
import { readCheckpoint } from '../training/index.ts';

/** Folder of the checkpoints in that of a run. */
export const CHECKPOINTS = 'checkpoints';
const NAME = /^step-(\d{8,})\.safetensors$/;

export function checkpointName(step: number): string {
  return `step-${String(step).padStart(8, '0')}.safetensors`;
}

/** A checkpoint on the disk. */
export interface StoredCheckpoint { step: number; path: string }

/** One that was found whole. */
export interface FoundCheckpoint extends StoredCheckpoint { bytes: Uint8Array }

/** All there are by their names, the newest first; none where there is no such folder. */
async function listed(directory: string): Promise<StoredCheckpoint[]> {
  const folder = join(directory, CHECKPOINTS);
  const names = await readdir(folder).catch((cause: NodeJS.ErrnoException): string[] => {
    if (cause.code === 'ENOENT') return [];
    throw new FileError(`--resume: cannot read ${folder}: ${describeFault(cause)}`, { cause });
  });
  return names.flatMap((name) => {
    const match = NAME.exec(name);
    return match ? [{ step: Number(match[1]), path: join(folder, name) }] : [];
  }).sort((a, b) => b.step - a.step);
}

/**
 * The newest checkpoint of a run's directory that is whole. Those that are cut short or damaged are passed over for the one before, which `say` is told
 * in one line. Throws FileError, with every name and what is wrong with it, where none is left.
 */
export async function newestCheckpoint(directory: string, say: (line: string) => void): Promise<FoundCheckpoint> {
  const all = await listed(directory);
  if (all.length === 0) throw new FileError(`--resume: there is no checkpoint in ${join(directory, CHECKPOINTS)}`);
  const faults: string[] = [];
  for (const { path } of all) {
    try {
      const bytes = await readWhole(path);
      const { step } = await readCheckpoint(bytes, relative(directory, path));
      if (faults.length) say(`passed over ${faults.join('; ')}: going on from ${path}, after step ${step}`);
      return { bytes, step, path };
    } catch (cause) {
      if (!(cause instanceof FileError)) throw cause;
      faults.push(cause.message);
    }
  }
  throw new FileError(`--resume: no checkpoint in ${join(directory, CHECKPOINTS)} is whole: ${faults.join('; ')}`);
}

/** A file's bytes, which readFile gives of no more than 2 GiB. */
async function readWhole(path: string): Promise<Uint8Array> {
  const fail = (cause: unknown): never => { throw new FileError(`${path}: ${describeFault(cause as NodeJS.ErrnoException)}`, { cause }); };
  const handle = await open(path).catch(fail);
  try {
    const { size } = await handle.stat();
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size;) {
      const { bytesRead } = await handle.read(bytes, at, Math.min(size - at, 2 ** 28), at);
      if (bytesRead === 0) throw new FileError(`${path}: ends at byte ${at} of ${size}`);
      at += bytesRead;
    }
    return bytes;
  } catch (cause) {
    return cause instanceof FileError ? Promise.reject(cause) : fail(cause);
  } finally {
    await handle.close();
  }
}

/** Writes a run's checkpoints and keeps the newest `keep`. */
export class CheckpointFolder {
  /** The last one that is whole: written here, or what the run went on from. */
  last: StoredCheckpoint | null;
  /** Those of this run that lie here, the newest first. */
  private own: StoredCheckpoint[] = [];
  private opened = false;
  private readonly directory: string;
  private readonly keep: number;
  private readonly write: typeof writeFileAtomic;

  constructor(directory: string, keep: number, from: StoredCheckpoint | null, write: typeof writeFileAtomic) {
    this.directory = directory;
    this.keep = keep;
    this.last = from;
    this.write = write;
  }

  /** Writes one whole or not at all. Older ones go once it is on the disk, and with them those of other runs and those that were passed over. */
  async put(bytes: Uint8Array, step: number): Promise<void> {
    if (!this.opened) await this.open();
    const path = join(this.directory, CHECKPOINTS, checkpointName(step));
    await this.write(path, bytes);
    this.last = { step, path };
    this.own = [this.last, ...this.own.filter((other) => other.path !== path)].slice(0, this.keep);
    const kept = new Set(this.own.map((one) => one.path));
    // One that cannot be removed takes room and harms nobody.
    for (const old of await listed(this.directory)) if (!kept.has(old.path)) await rm(old.path, { force: true }).catch(() => {});
  }

  private async open(): Promise<void> {
    const folder = join(this.directory, CHECKPOINTS);
    await assertWritable(folder);
    this.opened = true;
    const { last } = this;
    if (last && resolve(last.path) === resolve(folder, checkpointName(last.step))) this.own = (await listed(this.directory)).filter(({ step }) => step <= last.step);
  }
}
