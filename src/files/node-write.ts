/**
 * Writing files so that a reader never sees half of one: everything goes into a temporary name in the same directory (hence the
 * same file system) and is renamed when complete. Node only.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { FileError } from '../errors.ts';
import { describeFault } from './node-directory.ts';

/** Text, bytes, or bytes in parts that are written one after the other. */
export type FileData = string | Uint8Array | readonly Uint8Array[];

function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}-${randomBytes(4).toString('hex')}.tmp`);
}

const TEMPORARY = /^\.(.+)\.(\d+)-[0-9a-f]{8}\.tmp(\.old)?$/;

/**
 * Clears a directory of what processes that are gone left half-written, and puts back what one of them was about to replace. What cannot be
 * removed stays: it is in nobody's way.
 */
export async function removeLeftovers(directory: string): Promise<void> {
  for (const name of await readdir(directory).catch(() => [])) {
    const [, target, pid, old] = TEMPORARY.exec(name) ?? [];
    if (!pid || Number(pid) === process.pid || isAlive(Number(pid))) continue;
    const replaced = old && !(await stat(join(directory, target!)).catch(() => null));
    await (replaced ? rename(join(directory, name), join(directory, target!)) : rm(join(directory, name), { recursive: true, force: true })).catch(() => {});
  }
}

/** Whether there is a process of this number. */
export function isAlive(pid: number): boolean {
  try {
    // Signal 0 asks whether the process is there.
    process.kill(pid, 0);
    return true;
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function refuse(what: string, cause: unknown): never {
  throw new FileError(`cannot write ${what}: ${describeFault(cause as NodeJS.ErrnoException)}`, { cause });
}

async function writeSynced(path: string, data: FileData): Promise<void> {
  const handle = await open(path, 'wx');
  try {
    if (Array.isArray(data)) for (const part of data as Uint8Array[]) await handle.writeFile(part);
    else await handle.writeFile(data as string | Uint8Array);
    // Without this a crash of the machine may leave the new name on an empty file.
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Writes a file whole or not at all; an older file of the name stays until the new one is complete. FileError if it cannot. */
export async function writeFileAtomic(path: string, data: FileData): Promise<void> {
  const temporary = temporaryName(path);
  try {
    await writeSynced(temporary, data);
    await rename(temporary, path);
  } catch (cause) {
    await unlink(temporary).catch(() => {});
    refuse(path, cause);
  }
}

/**
 * Writes a directory of files whole or not at all, replacing an older one of the name and everything in it.
 * Between the two renames the name is briefly absent, but the old or the new content always exists complete beside it.
 */
export async function writeDirectoryAtomic(path: string, files: Record<string, FileData>): Promise<void> {
  const target = resolve(path);
  const temporary = temporaryName(target);
  const older = `${temporary}.old`;
  try {
    await makeDirectory(temporary);
    for (const [name, data] of Object.entries(files)) {
      await makeDirectory(dirname(join(temporary, name)));
      await writeSynced(join(temporary, name), data);
    }
    const replaces = await stat(target).then(() => true, () => false);
    if (replaces) await rename(target, older);
    try {
      await rename(temporary, target);
    } catch (cause) {
      if (replaces) await rename(older, target);
      throw cause;
    }
    if (replaces) await rm(older, { recursive: true, force: true });
  } catch (cause) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {});
    refuse(path, cause);
  }
}

/** Like mkdir's `recursive`, which never returns where a parent exists but cannot hold directories (as in /proc). */
async function makeDirectory(directory: string): Promise<void> {
  if (await stat(directory).catch(() => null)) return;
  const parent = dirname(directory);
  if (parent !== directory && !(await stat(parent).catch(() => null))) await makeDirectory(parent);
  await mkdir(directory).catch((cause: NodeJS.ErrnoException) => {
    // Somebody else may have made it meanwhile.
    if (cause.code !== 'EEXIST') throw cause;
  });
}

/**
 * Creates the directory if need be, clears it of what killed processes left half-written, and proves that a file can be written in it. Called before
 * long work starts. FileError if not.
 */
export async function assertWritable(directory: string): Promise<void> {
  const probe = temporaryName(join(directory, 'write-test'));
  try {
    await makeDirectory(resolve(directory));
    await removeLeftovers(directory);
    await writeSynced(probe, '');
    await unlink(probe);
  } catch (cause) {
    await unlink(probe).catch(() => {});
    refuse(`to the directory ${directory}`, cause);
  }
}
