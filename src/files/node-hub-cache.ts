/** A hub's cache in a directory, the one of the Python tools unless another is named. Node only. */
import { constants } from 'node:fs';
import { copyFile, lstat, mkdir, open, readFile, rename, rm, stat, symlink, type FileHandle } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { FileError } from '../errors.ts';
import { Turns, type HubCache, type Incomplete, type StoredFile } from './hub-cache.ts';
import { describeFault } from './node-directory.ts';
import { isAlive, writeFileAtomic } from './node-write.ts';
import { Unreachable } from './source.ts';

/** How often a file that another process has is looked at, in milliseconds. */
const LOOK_AGAIN = 200;
/** Age in milliseconds at which a lock without a process in it counts as left behind. */
const UNSIGNED = 5000;

/**
 * Where the cache is: DIFFRACT_CACHE, or as the Python tools have it HF_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub, or
 * ~/.cache/huggingface/hub.
 */
export function hubCachePath(environment: NodeJS.ProcessEnv = process.env): string {
  const { DIFFRACT_CACHE, HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME } = environment;
  return DIFFRACT_CACHE || HF_HUB_CACHE || HUGGINGFACE_HUB_CACHE || join(HF_HOME || join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'huggingface'), 'hub');
}

/** All caches of this process take turns here; lock files tell processes apart. */
const turns = new Turns();

export function directoryHubCache(root = hubCachePath()): HubCache {
  const fail = (what: string, path: string, cause: unknown): never => {
    throw new Unreachable(`cannot ${what} ${path}: ${describeFault(cause as NodeJS.ErrnoException)}`, { cause });
  };
  const absent = ({ code }: NodeJS.ErrnoException): boolean => code === 'ENOENT' || code === 'ENOTDIR';
  const makeParent = async (path: string): Promise<void> => {
    await mkdir(dirname(path), { recursive: true }).catch((cause: unknown) => fail('write', dirname(path), cause));
  };

  return {
    name: `the cache ${root}`,
    async readText(path) {
      const file = join(root, path);
      return readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => (absent(cause) ? null : fail('read', file, cause)));
    },
    async writeText(path, text) {
      await makeParent(join(root, path));
      await writeFileAtomic(join(root, path), text);
    },
    async open(path) {
      const file = join(root, path);
      const found = await stat(file).catch((cause: NodeJS.ErrnoException) => (absent(cause) ? null : fail('read', file, cause)));
      return found?.isFile() ? stored(file, found.size) : null;
    },
    async begin(blob) {
      const file = resolve(root, blob);
      const done = await turns.take(file);
      try {
        await makeParent(file);
        const unlock = await lock(`${file}.lock`, fail);
        const path = `${file}.incomplete`;
        const handle = await open(path, constants.O_RDWR | constants.O_CREAT).catch((cause: unknown) => fail('write', path, cause));
        return new Growing(path, file, handle, (await handle.stat()).size, async () => {
          await unlock();
          done();
        });
      } catch (error) {
        done();
        throw error;
      }
    },
    async link(path, blob) {
      const [name, target] = [join(root, path), join(root, blob)];
      await makeParent(name);
      if (await stat(name).catch(() => null)) return;
      // A link that leads nowhere would stand in the way.
      if (await lstat(name).catch(() => null)) await rm(name, { force: true });
      await symlink(relative(dirname(name), target), name).catch(async (cause: NodeJS.ErrnoException) => {
        // Another process was faster, or the file system has no links.
        if (cause.code === 'EEXIST') return;
        await copyFile(target, name).catch((fault: unknown) => fail('write', name, fault));
      });
    },
  };
}

function stored(path: string, size: number): StoredFile {
  return {
    size,
    async read(start, end) {
      const handle = await open(path, 'r').catch((cause: NodeJS.ErrnoException) => {
        throw new FileError(`cannot read ${path}: ${describeFault(cause)}`, { cause });
      });
      try {
        return await readAt(handle, path, start, end);
      } finally {
        await handle.close();
      }
    },
  };
}

async function readAt(handle: FileHandle, path: string, start: number, end: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(end - start);
  for (let at = 0; at < bytes.length;) {
    // One read call takes at most 2 GiB.
    const { bytesRead } = await handle.read(bytes, at, Math.min(bytes.length - at, 2 ** 30), start + at);
    if (bytesRead === 0) throw new FileError(`${path}: truncated while it was read, at byte ${start + at}`);
    at += bytesRead;
  }
  return bytes;
}

class Growing implements Incomplete {
  private readonly path: string;
  private readonly target: string;
  private readonly handle: FileHandle;
  private readonly release: () => Promise<void>;
  size: number;

  constructor(path: string, target: string, handle: FileHandle, size: number, release: () => Promise<void>) {
    this.path = path;
    this.target = target;
    this.handle = handle;
    this.size = size;
    this.release = release;
  }

  read(start: number, end: number): Promise<Uint8Array> {
    return readAt(this.handle, this.path, start, end);
  }

  async append(bytes: Uint8Array): Promise<void> {
    await this.try(async () => {
      for (let at = 0; at < bytes.length;) at += (await this.handle.write(bytes, at, bytes.length - at, this.size + at)).bytesWritten;
    });
    this.size += bytes.length;
  }

  async restart(): Promise<void> {
    await this.try(() => this.handle.truncate(0));
    this.size = 0;
  }

  async finish(): Promise<void> {
    await this.try(async () => {
      // Without this a crash of the machine may leave the new name on an empty file.
      await this.handle.sync();
      await rename(this.path, this.target);
    });
  }

  async close(): Promise<void> {
    await this.handle.close();
    if (this.size === 0) await rm(this.path, { force: true });
    await this.release();
  }

  private async try(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (cause) {
      throw new Unreachable(`cannot write ${this.path}: ${describeFault(cause as NodeJS.ErrnoException)}`, { cause });
    }
  }
}

/** Takes a lock file, which holds the process that has it; one whose process is gone is taken over. */
async function lock(path: string, fail: (what: string, path: string, cause: unknown) => never): Promise<() => Promise<void>> {
  for (;;) {
    try {
      const handle = await open(path, 'wx');
      await handle.writeFile(String(process.pid));
      await handle.close();
      return () => rm(path, { force: true });
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') fail('write', path, cause);
    }
    if (await left(path)) await rm(path, { force: true });
    else await pause(LOOK_AGAIN);
  }
}

/** Whether nobody has a lock any more: its process is gone, or had our number before us, or never came to write its own. */
async function left(path: string): Promise<boolean> {
  const holder = Number(await readFile(path, 'utf8').catch(() => ''));
  if (holder > 0) return holder === process.pid || !isAlive(holder);
  const found = await stat(path).catch(() => null);
  return found !== null && Date.now() - found.mtimeMs > UNSIGNED;
}
