/** Files in the browser's private storage (OPFS), below one folder of this page's own. */
import { FileError } from '../../errors.ts';
import type { FileSource } from '../../files/index.ts';
import { bytes as inWords } from '../parts/format.ts';
import { filesSource } from './origins.ts';

/**
 * What lies below: `models/…` and `dictionaries/…` that a user keeps, `trained/…` dictionaries that were trained here, and what training needs to go on.
 * Beside it lies the hub's cache.
 */
export const FOLDER = 'diffract-page';
const THE_STORAGE = 'the browser’s storage';

async function folderAt(path: string, create = false): Promise<FileSystemDirectoryHandle> {
  let folder = await (await navigator.storage.getDirectory()).getDirectoryHandle(FOLDER, { create: true });
  for (const part of path.split('/').filter(Boolean)) folder = await folder.getDirectoryHandle(part, { create });
  return folder;
}

/** Every file below a folder, with its path from there. An empty list where there is no such folder. */
export async function storedFiles(path: string): Promise<{ path: string; file: File }[]> {
  try {
    return await filesBelow(await folderAt(path));
  } catch (error) {
    if ((error as Error).name !== 'NotFoundError') throw storageError(path, error);
    return [];
  }
}

/** Every file below a folder of the browser's storage, in the order of their paths. */
export async function filesBelow(top: FileSystemDirectoryHandle): Promise<{ path: string; file: File }[]> {
  const found: { path: string; file: File }[] = [];
  const walk = async (folder: FileSystemDirectoryHandle, before: string): Promise<void> => {
    for (const [name, handle] of await entriesOf(folder)) {
      if (handle.kind === 'directory') await walk(handle as FileSystemDirectoryHandle, `${before}${name}/`);
      else found.push({ path: before + name, file: await (handle as FileSystemFileHandle).getFile() });
    }
  };
  await walk(top, '');
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** What lies directly in a folder. */
export async function entriesOf(folder: FileSystemDirectoryHandle): Promise<[name: string, handle: FileSystemHandle][]> {
  const entries: [string, FileSystemHandle][] = [];
  for await (const entry of (folder as unknown as { entries(): AsyncIterable<[string, FileSystemHandle]> }).entries()) entries.push(entry);
  return entries.sort(([a], [b]) => (a < b ? -1 : 1));
}

/**
 * Writes a file whole: under another name first, so that one that is there stays until the new one is complete. FileError, with numbers and what to do, where
 * the storage is full. What a stream brings is written as it comes, and `signal` ends that.
 */
export async function writeStored(path: string, content: Uint8Array | string | ReadableStream<Uint8Array>, signal?: AbortSignal): Promise<void> {
  const parts = path.split('/');
  const name = parts.pop()!;
  try {
    const handle = await (await folderAt(parts.join('/'), true)).getFileHandle(`${name}.new`, { create: true }) as FileSystemFileHandle & { move(name: string): Promise<void> };
    const stream = await handle.createWritable();
    if (content instanceof ReadableStream) await content.pipeTo(stream as unknown as WritableStream<Uint8Array>, { signal });
    else {
      await stream.write(content as Uint8Array<ArrayBuffer> | string);
      await stream.close();
    }
    await handle.move(name);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw await withNumbers(storageError(path, error));
  }
}

/** Removes a file or folder with all that is in it; nothing happens where there is none. */
export async function removeStored(path: string): Promise<void> {
  const parts = path.split('/');
  const name = parts.pop()!;
  try {
    await (await folderAt(parts.join('/'))).removeEntry(name, { recursive: true });
  } catch (error) {
    if ((error as Error).name !== 'NotFoundError') throw storageError(path, error);
  }
}

/** A stored folder as a source. */
export function storedSource(path: string): FileSource {
  const name = storedName(path);
  let files: Promise<FileSource> | null = null;
  const opened = (): Promise<FileSource> => (files ??= storedFiles(path).then((found) => filesSource(name, found)));
  return {
    name,
    has: async (file) => (await opened()).has(file),
    size: async (file) => (await opened()).size(file),
    bytes: async (file) => (await opened()).bytes(file),
    range: async (file, start, end) => (await opened()).range(file, start, end),
    json: async <T>(file: string) => (await opened()).json<T>(file),
    list: async () => (await opened()).list!(),
  };
}

/** A stored folder as it was called before it was kept: its path without what tells models from dictionaries. */
export function storedName(path: string): string {
  return path.split('/').filter(Boolean).slice(1).join('/') || path;
}

/** What happened to a stored file, in words that say what to do. */
export function storageError(path: string, error: unknown): FileError {
  const { name, message } = error as Error;
  if (name === 'QuotaExceededError') return new FileError(`${path}: ${THE_STORAGE} for this site is full; delete models or dictionaries that you no longer need`, { cause: error });
  if (name === 'NoModificationAllowedError') return new FileError(`${path}: in use, by a download or another page of this site; end that first`, { cause: error });
  return new FileError(`${path}: ${THE_STORAGE}: ${message}`, { cause: error });
}

/** The same error, with how much is used of how much where the storage is full. */
export async function withNumbers(error: unknown): Promise<unknown> {
  if (!(error instanceof FileError) || (error.cause as Error | undefined)?.name !== 'QuotaExceededError') return error;
  const { usage = 0, quota = 0 } = await navigator.storage.estimate();
  return new FileError(`${error.message} (${inWords(usage)} of ${inWords(quota)} are used)`, { cause: error.cause });
}
