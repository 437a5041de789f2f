/** A directory on disk as a FileSource. Node only. */
import { statSync } from 'node:fs';
import { open, readdir, stat } from 'node:fs/promises';
import { isAbsolute, join, normalize, relative, sep } from 'node:path';
import { FileError } from '../errors.ts';
import { checkRange, fileName, oneLine, parseJson, type FileSource } from './source.ts';

/** One read call takes at most 2 GiB; larger files are read in pieces of this size. */
const PIECE = 1 << 30;

/** Opens a directory. A FileError at once if there is none; the files in it are looked at only when asked for. */
export function directorySource(path: string): FileSource {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found) throw new FileError(`${path}: no such directory`);
  if (!found.isDirectory()) throw new FileError(`${path}: a directory is needed, this is a file`);

  /** A path from an index file must not lead out of the directory. */
  function inside(file: string): string {
    const clean = normalize(file);
    if (isAbsolute(clean) || clean === '..' || clean.startsWith(`..${sep}`)) {
      throw new FileError(`${fileName(source, file)}: leads out of the directory`);
    }
    return join(path, clean);
  }

  async function size(file: string): Promise<number> {
    const entry = await stat(inside(file)).catch((cause) => fail(file, cause));
    if (!entry.isFile()) throw new FileError(`${fileName(source, file)}: not a file`);
    return entry.size;
  }

  function fail(file: string, cause: NodeJS.ErrnoException): never {
    throw new FileError(`${fileName(source, file)}: ${describeFault(cause)}`, { cause });
  }

  const source: FileSource = {
    name: path,
    async has(file) {
      return stat(inside(file)).then((entry) => entry.isFile(), (cause) => {
        if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') return false;
        return fail(file, cause);
      });
    },
    size,
    async bytes(file) {
      return source.range(file, 0, await size(file));
    },
    async range(file, start, end) {
      checkRange(fileName(source, file), start, end, await size(file));
      const handle = await open(inside(file), 'r').catch((cause) => fail(file, cause));
      try {
        const data = new Uint8Array(end - start);
        let done = 0;
        while (done < data.length) {
          const { bytesRead } = await handle.read(data, done, Math.min(PIECE, data.length - done), start + done);
          if (bytesRead === 0) throw new FileError(`${fileName(source, file)}: truncated while it was read, at byte ${start + done}`);
          done += bytesRead;
        }
        return data;
      } catch (cause) {
        if (cause instanceof FileError) throw cause;
        fail(file, cause as NodeJS.ErrnoException);
      } finally {
        await handle.close();
      }
    },
    async json<T>(file: string) {
      return parseJson<T>(await source.bytes(file), fileName(source, file));
    },
    async list() {
      const entries = await readdir(path, { recursive: true, withFileTypes: true }).catch((cause) => fail('.', cause));
      return entries.filter((entry) => !entry.isDirectory()).map((entry) => relative(path, join(entry.parentPath, entry.name)).split(sep).join('/')).sort();
    },
  };
  return source;
}

/** What the operating system's error code means, in words. */
export function describeFault(cause: NodeJS.ErrnoException): string {
  const words: Record<string, string> = {
    ENOENT: 'no such file or directory',
    ENOTDIR: 'a part of the path is a file, not a directory',
    EISDIR: 'is a directory',
    EACCES: 'permission denied',
    EPERM: 'not permitted',
    EROFS: 'the file system is read-only',
    ENOSPC: 'no space left on the device',
    EMFILE: 'too many open files',
    EEXIST: 'already exists as a file',
    ENAMETOOLONG: 'the name is too long',
  };
  return words[cause.code ?? ''] ?? oneLine(cause.message);
}
