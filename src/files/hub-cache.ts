/**
 * Where files of a hub are kept between runs. The layout is that of the hub's own local cache, so that in Node the files are shared with
 * the Python tools: `models--owner--name/refs/main` holds a commit, `snapshots/COMMIT/config.json` leads to `blobs/DIGEST`, and what is
 * still under way is `blobs/DIGEST.incomplete`. Node keeps it in a directory (node-hub-cache.ts), a page in its private file system
 * (opfs-hub-cache.ts).
 */

/** A complete file of the cache. */
export interface StoredFile {
  readonly size: number;
  /** The bytes [start, end), in an array of the caller's own. */
  read(start: number, end: number): Promise<Uint8Array>;
}

/** A file under way. It belongs to whoever opened it until it is closed, in this and in other processes or pages. */
export interface Incomplete {
  /** Bytes that are there, those of earlier runs among them. */
  readonly size: number;
  read(start: number, end: number): Promise<Uint8Array>;
  append(bytes: Uint8Array): Promise<void>;
  /** Begins again at byte 0. */
  restart(): Promise<void>;
  /** Makes it the complete file of its name; nothing can be appended any more. */
  finish(): Promise<void>;
  /** Lets go of it; what has been appended stays. Must be called once, after `finish` too. */
  close(): Promise<void>;
}

/** All methods throw FileError, which names the cache and the file, for what cannot be read or written. Paths are relative, with `/`. */
export interface HubCache {
  /** What a person calls it. */
  readonly name: string;
  /** A small text; null where there is none. */
  readText(path: string): Promise<string | null>;
  /** Whole or not at all. */
  writeText(path: string, text: string): Promise<void>;
  /** A complete file by the path of a blob or of its name in a snapshot; null where there is none. */
  open(path: string): Promise<StoredFile | null>;
  /** Takes a blob that is not complete, and waits while somebody else has it. It may be complete by then: ask `open` again. */
  begin(blob: string): Promise<Incomplete>;
  /** Gives a complete blob a name in a snapshot; one that has it already keeps it. */
  link(path: string, blob: string): Promise<void>;
}

/** Files of one process or page that are under way, each held by one at a time. */
export class Turns {
  private readonly waiting = new Map<string, Promise<void>>();

  /** Resolves when it is the caller's turn; what it gives ends the turn. */
  async take(name: string): Promise<() => void> {
    const before = this.waiting.get(name) ?? Promise.resolve();
    let release!: () => void;
    const mine = new Promise<void>((resolve) => { release = resolve; });
    const last = before.then(() => mine);
    this.waiting.set(name, last);
    await before;
    return () => {
      if (this.waiting.get(name) === last) this.waiting.delete(name);
      release();
    };
  }
}
