/** A directory as a store of folders and logs, as `trainSweep` and other long work keep what they make. Node only. */
import { appendFile, mkdir, readFile, stat } from 'node:fs/promises';
import { dirname, isAbsolute, join, normalize, sep } from 'node:path';
import { FileError } from '../errors.ts';
import { describeFault } from './node-directory.ts';
import { removeLeftovers, writeDirectoryAtomic, writeFileAtomic } from './node-write.ts';

export interface DirectoryStore {
  has(name: string): Promise<boolean>;
  get(path: string): Promise<Uint8Array | null>;
  put(name: string, files: Readonly<Record<string, Uint8Array>>): Promise<void>;
  append(path: string, text: string): Promise<void>;
}

/** A store in the directory `root`, which need not exist. Its methods throw FileError for what cannot be read or written, or leads out of it. */
export function directoryStore(root: string): DirectoryStore {
  const inside = (name: string): string => {
    const clean = normalize(name);
    if (isAbsolute(clean) || clean === '.' || clean === '..' || clean.startsWith(`..${sep}`)) throw new FileError(`${name}: not a name in the directory ${root}`);
    return join(root, clean);
  };
  const fail = (what: string, path: string, cause: unknown): never => {
    throw new FileError(`cannot ${what} ${path}: ${describeFault(cause as NodeJS.ErrnoException)}`, { cause });
  };
  /** Directories that were looked through for what killed processes left. */
  const cleared = new Set<string>();
  const exists = async (path: string): Promise<boolean> => stat(path).then(() => true, () => false);
  return {
    has: async (name) => exists(inside(name)),
    async get(name) {
      const path = inside(name);
      try {
        return new Uint8Array(await readFile(path));
      } catch (cause) {
        const { code } = cause as NodeJS.ErrnoException;
        return code === 'ENOENT' || code === 'ENOTDIR' ? null : fail('read', path, cause);
      }
    },
    /** A new folder appears whole or not at all; in an older one each file is replaced so, and other files stay. */
    async put(name, files) {
      const path = inside(name);
      for (const directory of [dirname(path), path]) {
        if (!cleared.has(directory)) await removeLeftovers(directory);
        cleared.add(directory);
      }
      if (!(await exists(path))) {
        await writeDirectoryAtomic(path, files);
        return;
      }
      for (const [file, bytes] of Object.entries(files)) await writeFileAtomic(join(path, file), bytes);
    },
    async append(name, text) {
      const path = inside(name);
      await mkdir(dirname(path), { recursive: true }).catch((cause: unknown) => fail('write', path, cause));
      await appendFile(path, text).catch((cause: unknown) => fail('write', path, cause));
    },
  };
}
