/** From what the page names to files that can be read. */
import { FileError } from '../../errors.ts';
import { memorySource, openHub, openSource, parseHubAddress, type FileSource } from '../../files/index.ts';
import type { OnProgress, Origin } from '../protocol.ts';
import { storedName, storedSource } from './stored.ts';

export interface OpenOriginOptions {
  signal?: AbortSignal;
  onDownload?: OnProgress;
  /** Of a hub, only what is kept in this browser. */
  offline?: boolean;
}

/** The files of a model or dictionary. FileError or UsageError where there are none. */
export function openOrigin(origin: Origin, { signal, onDownload, offline }: OpenOriginOptions = {}): FileSource {
  switch (origin.kind) {
    case 'embedded':
      return embeddedSource(origin.path);
    case 'files':
      return filesSource(origin.name, origin.files);
    case 'stored':
      return storedSource(origin.path);
    case 'hub': {
      const { repository, ...rest } = parseHubAddress(`hub:${origin.address}`);
      return openHub(repository, {
        ...rest, signal, offline, ...(origin.endpoint ? { endpoint: origin.endpoint } : {}),
        ...(onDownload ? { onProgress: (path: string, done: number, total: number) => onDownload(done, total, path) } : {}),
      });
    }
  }
}

let embeddedFiles: Promise<string[]> | null = null;

/** A folder that is shipped with the page. The build lists its files, so that nobody asks the server for what is not there. */
function embeddedSource(path: string): FileSource {
  const source = openSource(new URL(path, self.location.href).href);
  const listed = (): Promise<string[]> => (embeddedFiles ??= openSource(new URL('models', self.location.href).href).json<string[]>('files.json'));
  return { ...source, has: async (file) => (await listed()).includes(`${path}/${file}`) };
}

/** What a person calls it. */
export function originName(origin: Origin): string {
  switch (origin.kind) {
    case 'embedded':
      return origin.path.split('/').filter(Boolean).at(-1)!;
    case 'stored':
      return storedName(origin.path);
    case 'files':
      return origin.name;
    case 'hub':
      return origin.address;
  }
}

/** A folder of what an origin names. */
export function originWithin(origin: Origin, folder: string): Origin {
  if (!folder) return origin;
  switch (origin.kind) {
    case 'embedded':
    case 'stored':
      return { ...origin, path: `${origin.path}/${folder}` };
    case 'hub':
      return { ...origin, address: `${origin.address}/${folder}` };
    case 'files': {
      const files = origin.files.filter(({ path }) => path.startsWith(`${folder}/`)).map(({ path, file }) => ({ path: path.slice(folder.length + 1), file }));
      return { ...origin, name: origin.name ? `${origin.name}/${folder}` : folder, files };
    }
  }
}

/** Files that a person chose. Nothing is read before it is asked for, and then only the bytes that are. */
export function filesSource(name: string, files: readonly { path: string; file: File }[]): FileSource {
  const byPath = new Map(files.map(({ path, file }) => [path, file]));
  const find = (path: string): File => {
    const file = byPath.get(path);
    if (!file) throw new FileError(`${name}/${path}: no such file among those that were chosen`);
    return file;
  };
  const source: FileSource = {
    name,
    has: async (path) => byPath.has(path),
    size: async (path) => find(path).size,
    bytes: (path) => source.range(path, 0, find(path).size),
    async range(path, start, end) {
      const file = find(path);
      if (end > file.size) throw new FileError(`${name}/${path}: truncated: bytes ${start} to ${end} are needed, the file ends at byte ${file.size}`);
      try {
        return new Uint8Array(await file.slice(start, end).arrayBuffer());
      } catch (cause) {
        throw new FileError(`${name}/${path}: cannot be read any more; choose it again`, { cause });
      }
    },
    // JSON files are small: memorySource has the messages for broken ones.
    json: async <T>(path: string) => memorySource({ [path]: await source.bytes(path) }, name).json<T>(path),
    list: async () => [...byPath.keys()].sort(),
  };
  return source;
}

