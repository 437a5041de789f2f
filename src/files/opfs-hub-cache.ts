/**
 * A hub's cache in the private file system of a page's origin (OPFS). A worker appends in place; where there are no handles for that, on a
 * page's own thread, what came is committed in large pieces, because each commit copies the file. A name in a snapshot is a small file that
 * holds the path of its blob.
 */
import { FileError } from '../errors.ts';
import type { HubCache, Incomplete, StoredFile } from './hub-cache.ts';
import { oneLine } from './source.ts';

/** Bytes that a page without handles for writing in place holds back before it commits them. */
const COMMIT_BYTES = 1 << 26;

export interface OpfsHubCacheOptions {
  /** Folder of the private file system. */
  folder?: string;
  /** Stands in for `navigator.storage.getDirectory`. */
  root?: () => Promise<FileSystemDirectoryHandle>;
}

/** The calls of file handles that TypeScript's library does not know everywhere. */
type FileHandle = FileSystemFileHandle & { move(name: string): Promise<void>; createSyncAccessHandle?(): Promise<SyncHandle> };
interface SyncHandle {
  getSize(): number;
  read(into: Uint8Array, at: { at: number }): number;
  write(bytes: Uint8Array, at: { at: number }): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}

export function opfsHubCache({ folder = 'diffract', root = () => navigator.storage.getDirectory() }: OpfsHubCacheOptions = {}): HubCache {
  const name = 'the browser’s storage';

  /** Runs work on the directory and last name of a path; null where a directory of it is missing and none is to be made. */
  async function at<T>(path: string, create: boolean, work: (directory: FileSystemDirectoryHandle, last: string) => Promise<T>): Promise<T | null> {
    const parts = [folder, ...path.split('/')];
    try {
      let directory = await root();
      for (const part of parts.slice(0, -1)) directory = await directory.getDirectoryHandle(part, { create });
      return await work(directory, parts.at(-1)!);
    } catch (cause) {
      if (!create && (cause as Error).name === 'NotFoundError') return null;
      throw fault(path, cause);
    }
  }

  const fileAt = (path: string): Promise<File | null> => at(path, false, async (directory, last) => (await directory.getFileHandle(last)).getFile());

  const cache: HubCache = {
    name,
    async readText(path) {
      return (await fileAt(path))?.text() ?? null;
    },
    async writeText(path, text) {
      await at(path, true, async (directory, last) => write(await directory.getFileHandle(last, { create: true }) as FileHandle, new TextEncoder().encode(text)));
    },
    async open(path) {
      const isName = path.includes('/snapshots/');
      const blob = isName ? await cache.readText(path) : path;
      const file = blob === null ? null : await fileAt(blob);
      return file && stored(path, file);
    },
    async begin(blob) {
      const unlock = await held(`diffract ${folder}/${blob}`);
      try {
        const incomplete = await at(blob, true, async (directory, last) => {
          const handle = await directory.getFileHandle(`${last}.incomplete`, { create: true }) as FileHandle;
          const finish = async (): Promise<void> => handle.move(last);
          return handle.createSyncAccessHandle
            ? new InPlace(blob, await handle.createSyncAccessHandle(), finish, unlock)
            : new InPieces(blob, handle, await handle.getFile(), finish, unlock);
        });
        return incomplete!;
      } catch (error) {
        unlock();
        throw error;
      }
    },
    async link(path, blob) {
      await cache.writeText(path, blob);
    },
  };
  return cache;
}

/** The platform's words, and what to do where its room is used up. */
function fault(path: string, cause: unknown): FileError {
  const { name, message } = cause as Error;
  if (cause instanceof FileError) return cause;
  if (name === 'QuotaExceededError') return new FileError(`${path}: the browser’s storage for this site is full; delete a model or free space on the disk`, { cause });
  return new FileError(`${path}: the browser’s storage cannot be used: ${oneLine(message || name)}`, { cause });
}

function stored(path: string, file: File): StoredFile {
  return {
    size: file.size,
    async read(start, end) {
      const bytes = new Uint8Array(await file.slice(start, end).arrayBuffer().catch((cause: unknown) => { throw fault(path, cause); }));
      if (bytes.length !== end - start) throw new FileError(`${path}: truncated: bytes ${start} to ${end} are needed, the file ends at byte ${file.size}`);
      return bytes;
    },
  };
}

async function write(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  if (handle.createSyncAccessHandle) {
    const open = await handle.createSyncAccessHandle();
    open.truncate(0);
    open.write(bytes, { at: 0 });
    open.flush();
    open.close();
    return;
  }
  const writable = await handle.createWritable();
  await writable.write(bytes as Uint8Array<ArrayBuffer>);
  await writable.close();
}

/** A lock that all pages and workers of the origin see; what it gives ends it. */
function held(name: string): Promise<() => void> {
  return new Promise((resolve, reject) => {
    navigator.locks.request(name, () => new Promise<void>((release) => resolve(() => release()))).catch(reject);
  });
}

/** In a worker: bytes go to the file as they come. */
class InPlace implements Incomplete {
  private readonly path: string;
  private readonly handle: SyncHandle;
  private readonly rename: () => Promise<void>;
  private readonly unlock: () => void;
  private open = true;
  size: number;

  constructor(path: string, handle: SyncHandle, rename: () => Promise<void>, unlock: () => void) {
    this.path = path;
    this.handle = handle;
    this.rename = rename;
    this.unlock = unlock;
    this.size = handle.getSize();
  }

  async read(start: number, end: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(end - start);
    this.handle.read(bytes, { at: start });
    return bytes;
  }

  async append(bytes: Uint8Array): Promise<void> {
    try {
      const written = this.handle.write(bytes, { at: this.size });
      this.size += written;
      if (written < bytes.length) throw new DOMException('', 'QuotaExceededError');
    } catch (cause) {
      throw fault(this.path, cause);
    }
  }

  async restart(): Promise<void> {
    this.handle.truncate(0);
    this.size = 0;
  }

  async finish(): Promise<void> {
    this.handle.flush();
    this.handle.close();
    this.open = false;
    await this.rename().catch((cause: unknown) => { throw fault(this.path, cause); });
  }

  async close(): Promise<void> {
    if (this.open) {
      this.handle.flush();
      this.handle.close();
    }
    this.unlock();
  }
}

/** On a page's thread: bytes wait until there are many, because each commit copies the file. */
class InPieces implements Incomplete {
  private readonly path: string;
  private readonly handle: FileHandle;
  private file: File;
  private readonly rename: () => Promise<void>;
  private readonly unlock: () => void;
  private waiting: Uint8Array[] = [];
  size: number;

  constructor(path: string, handle: FileHandle, file: File, rename: () => Promise<void>, unlock: () => void) {
    this.path = path;
    this.handle = handle;
    this.file = file;
    this.rename = rename;
    this.unlock = unlock;
    this.size = file.size;
  }

  async read(start: number, end: number): Promise<Uint8Array> {
    await this.commit();
    return stored(this.path, this.file).read(start, end);
  }

  async append(bytes: Uint8Array): Promise<void> {
    this.waiting.push(bytes.slice());
    this.size += bytes.length;
    if (this.size - this.file.size >= COMMIT_BYTES) await this.commit();
  }

  async restart(): Promise<void> {
    this.waiting = [];
    this.size = 0;
    await this.store(false, []);
  }

  async finish(): Promise<void> {
    await this.commit();
    await this.rename().catch((cause: unknown) => { throw fault(this.path, cause); });
    this.waiting = [];
  }

  async close(): Promise<void> {
    try {
      await this.commit();
    } finally {
      this.unlock();
    }
  }

  private async commit(): Promise<void> {
    if (this.waiting.length === 0) return;
    const parts = this.waiting;
    this.waiting = [];
    await this.store(true, parts);
  }

  private async store(keepExistingData: boolean, parts: readonly Uint8Array[]): Promise<void> {
    try {
      const writable = await this.handle.createWritable({ keepExistingData });
      if (keepExistingData) await writable.seek(this.file.size);
      for (const part of parts) await writable.write(part as Uint8Array<ArrayBuffer>);
      await writable.close();
      this.file = await this.handle.getFile();
    } catch (cause) {
      // What could not be stored does not count.
      this.size = this.file.size;
      throw fault(this.path, cause);
    }
  }
}
