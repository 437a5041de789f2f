/**
 * Where files come from. A FileSource is a directory of read-only files: on disk, behind a URL, or in memory.
 * Everything above this layer asks a source for bytes and never knows which of the three it has.
 */
import { FileError } from '../errors.ts';

/** A file cannot be had for a reason that lies not in it, such as no network or a full disk: another time it may be. */
export class Unreachable extends FileError { static override readonly name: string = 'Unreachable'; }

export interface FileSource {
  /** What a person calls it: the path or URL as it was given. Error messages begin with it. */
  readonly name: string;
  has(path: string): Promise<boolean>;
  /** Length in bytes. */
  size(path: string): Promise<number>;
  /** The whole file. The array is the caller's own. */
  bytes(path: string): Promise<Uint8Array>;
  /** Exactly the bytes [start, end), in an array of the caller's own that begins at offset 0 of its buffer. A FileError if the file is shorter. */
  range(path: string, start: number, end: number): Promise<Uint8Array>;
  /** The file parsed as JSON. `T` is a promise of the caller's, who checks what it needs. */
  json<T = unknown>(path: string): Promise<T>;
  /** Paths of all files, those in folders too, in the order of their names; for sources that can tell. */
  list?(): Promise<string[]>;
  /** Where the files come from, for sources that can be told to give the same bytes again. */
  origin?(): Promise<FileOrigin>;
}

/** A place of a hub at one moment: enough to get the same bytes again. */
export interface FileOrigin {
  repository: string;
  /** as it was asked for */
  revision: string;
  /** the commit that it stood for, 40 hexadecimal digits */
  commit: string;
}

/** The name of a file of a source in messages. */
export function fileName(source: FileSource, path: string): string {
  return source.name.endsWith('/') ? source.name + path : `${source.name}/${path}`;
}

/** Parses a file's text as JSON; a FileError that names the file and the place otherwise. */
export function parseJson<T>(bytes: Uint8Array, file: string): T {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new FileError(`${file}: not UTF-8 text`, { cause });
  }
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new FileError(`${file}: not valid JSON: ${oneLine((cause as Error).message)}`, { cause });
  }
}

/** The first line of a foreign message, cut to a length that fits one line. */
export function oneLine(message: string): string {
  const text = message.replace(/\s+/g, ' ').trim();
  return text.length > 160 ? `${text.slice(0, 159)}…` : text;
}

/** Checks a byte range against a file's length; the error says both. */
export function checkRange(file: string, start: number, end: number, size: number): void {
  if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || start < 0 || end < start) {
    throw new FileError(`${file}: byte range ${start} to ${end} is not a range`);
  }
  if (end > size) throw new FileError(`${file}: truncated: bytes ${start} to ${end} are needed, the file ends at byte ${size}`);
}

/** Files held in memory: for tests, drag-and-drop and bundles. */
export function memorySource(files: Record<string, Uint8Array>, name = 'memory'): FileSource {
  const source: FileSource = {
    name,
    async has(path) {
      return Object.hasOwn(files, path);
    },
    async size(path) {
      return find(path).length;
    },
    async bytes(path) {
      return find(path).slice();
    },
    async range(path, start, end) {
      const file = find(path);
      checkRange(fileName(source, path), start, end, file.length);
      return file.slice(start, end);
    },
    async json<T>(path: string) {
      return parseJson<T>(find(path), fileName(source, path));
    },
    async list() {
      return Object.keys(files).sort();
    },
  };
  function find(path: string): Uint8Array {
    if (!Object.hasOwn(files, path)) throw new FileError(`${fileName(source, path)}: no such file`);
    // A copy as a plain Uint8Array: a Node Buffer's slice would share memory.
    const data = files[path]!;
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }
  return source;
}
