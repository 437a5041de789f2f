/**
 * Files of a hub's repository as a FileSource. A file is downloaded whole when it is first asked for, kept in a cache and never asked for
 * again; what breaks off goes on from where it was, in this run or a later one, and counts only when its checksum is right: SHA-256 for
 * large files, and for small ones the SHA-1 of git, both as the hub's listing has them.
 *
 * A revision is looked up once. From then on its commit is the cache's, so that the same command gives the same model, offline too;
 * another revision, or a commit, is asked for by name.
 */
import { sha1 } from '@noble/hashes/legacy.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import * as z from 'zod';
import { FileError } from '../errors.ts';
import type { HubOptions } from './hub.ts';
import type { Incomplete, StoredFile } from './hub-cache.ts';
import { hubClient, hubRepository, type HubFile } from './hub-client.ts';
import { once } from './once.ts';
import { checkRange, fileName, parseJson, Unreachable, type FileSource } from './source.ts';

/** The files of a commit, by path, as the cache keeps them. */
const listing = z.record(z.string(), z.object({ size: z.int().nonnegative(), digest: z.string().regex(/^[0-9a-f]{40}([0-9a-f]{24})?$/) }));

const COMMIT = /^[0-9a-f]{40}$/;
/** Bytes hashed at a time of what an earlier run left. */
const PIECE = 1 << 24;
/** How often a file is begun again because what came was wrong. */
const RESTARTS = 2;

/** The files of a repository whose name and revision can be such. Nothing is asked of the hub before a file is. */
export function hubFiles(repository: string, options: HubOptions): Required<FileSource> {
  const { cache, revision = 'main', folder = '', offline = false, onProgress } = options;
  const client = hubClient(repository, options);
  const { isDataset, id } = hubRepository(repository);
  const root = `${isDataset ? 'datasets' : 'models'}--${id.replace('/', '--')}`;
  const name = folder ? `${repository}/${folder}` : repository;
  const files = new Map<string, Promise<StoredFile>>();

  const commit = once(async () => {
    if (COMMIT.test(revision)) return revision;
    const known = (await cache.readText(`${root}/refs/${revision}`))?.trim();
    if (known && COMMIT.test(known)) return known;
    if (offline) throw new FileError(`${repository}: revision ${revision} is not in ${cache.name}, and asking the hub is switched off`);
    const found = await client.commit(revision);
    await cache.writeText(`${root}/refs/${revision}`, found);
    return found;
  });

  /** All files of the commit: as an earlier run kept them, or as the hub has them. */
  const everything = once(async (): Promise<Record<string, HubFile>> => {
    const place = `${root}/.diffract/${await commit()}.json`;
    const kept = await cache.readText(place);
    const read = kept === null ? null : listing.safeParse(tryJson(kept));
    if (read?.success) return read.data;
    if (offline) throw new Unreachable('asking the hub is switched off');
    const found = await client.list(await commit());
    await cache.writeText(place, `${JSON.stringify(found)}\n`);
    return found;
  });

  const inside = (path: string): string => {
    const full = folder ? `${folder}/${path}` : path;
    if (full.split('/').some((part) => part === '' || part === '.' || part === '..')) throw new FileError(`${name}/${path}: leads out of the repository`);
    return full;
  };
  const inSnapshot = async (path: string): Promise<StoredFile | null> => cache.open(`${root}/snapshots/${await commit()}/${path}`);

  /** What the listing has of a file; null if it has it not. Where nobody can be asked, what the cache lacks is missing. */
  async function look(path: string): Promise<HubFile | null> {
    try {
      const all = await everything();
      return Object.hasOwn(all, path) ? all[path]! : null;
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      throw new Unreachable(`${repository}/${path}: not in ${cache.name}, and ${error.message}`, { cause: error });
    }
  }

  function file(given: string): Promise<StoredFile> {
    const path = inside(given);
    const under = files.get(path) ?? get(path);
    files.set(path, under);
    // What failed may work later.
    under.catch(() => files.delete(path));
    return under;
  }

  async function get(path: string): Promise<StoredFile> {
    const there = await inSnapshot(path);
    if (there) return there;
    const entry = await look(path);
    if (!entry) throw new FileError(`${repository}/${path}: no such file at revision ${revision}`);
    const blob = `${root}/blobs/${entry.digest}`;
    if (!(await cache.open(blob))) {
      if (offline) throw new Unreachable(`${repository}/${path}: not in ${cache.name}, and asking the hub is switched off`);
      const incomplete = await cache.begin(blob);
      try {
        // Somebody else may have brought it while we waited.
        if (!(await cache.open(blob))) await receive(path, entry, incomplete);
      } finally {
        await incomplete.close();
      }
    }
    await cache.link(`${root}/snapshots/${await commit()}/${path}`, blob);
    const made = await inSnapshot(path);
    if (!made) throw new FileError(`${repository}/${path}: lost from ${cache.name} while it was used`);
    return made;
  }

  /** Brings what is missing of a file. What comes is hashed as it comes. */
  async function receive(path: string, entry: HubFile, incomplete: Incomplete): Promise<void> {
    for (let restarts = 0; ; restarts++) {
      if (incomplete.size > entry.size) await incomplete.restart();
      const hash = hasherOf(entry);
      for (let at = 0; at < incomplete.size; at += PIECE) hash.update(await incomplete.read(at, Math.min(at + PIECE, incomplete.size)));
      onProgress?.(path, incomplete.size, entry.size);
      const whole = await client.download(await commit(), path, entry.size, {
        start: incomplete.size,
        take: async (bytes) => {
          await incomplete.append(bytes);
          hash.update(bytes);
          onProgress?.(path, incomplete.size, entry.size);
        },
      });
      if (whole && bytesToHex(hash.digest()) === entry.digest) return incomplete.finish();
      await incomplete.restart();
      if (restarts === RESTARTS) {
        throw new FileError(whole ? `${repository}/${path}: its checksum is not ${entry.digest}; what came was thrown away` : `${repository}/${path}: the hub does not send parts of it, and it broke off each time it was begun again`);
      }
    }
  }

  const source: Required<FileSource> = {
    name,
    async has(path) {
      const full = inside(path);
      if (await inSnapshot(full)) return true;
      try {
        return (await look(full)) !== null;
      } catch (error) {
        // A snapshot that other tools made is all there is when the hub cannot be asked.
        if (error instanceof FileError && error.cause instanceof Unreachable && ((await inSnapshot(inside('config.json'))) ?? (await inSnapshot(inside('cfg.json'))))) return false;
        throw error;
      }
    },
    async size(path) {
      const full = inside(path);
      const there = await inSnapshot(full);
      if (there) return there.size;
      const entry = await look(full);
      if (!entry) throw new FileError(`${name}/${path}: no such file at revision ${revision}`);
      return entry.size;
    },
    async bytes(path) {
      const stored = await file(path);
      return stored.read(0, stored.size);
    },
    async range(path, start, end) {
      checkRange(fileName(source, path), start, end, Infinity);
      const stored = await file(path);
      checkRange(fileName(source, path), start, end, stored.size);
      return stored.read(start, end);
    },
    async json<T>(path: string) {
      return parseJson<T>(await source.bytes(path), fileName(source, path));
    },
    async list() {
      const before = folder ? `${folder}/` : '';
      return Object.keys(await everything()).filter((path) => path.startsWith(before)).map((path) => path.slice(before.length)).sort();
    },
    async origin() {
      return { repository, revision, commit: await commit() };
    },
  };
  return source;
}

/** SHA-256 where the digest is one, else what git calls a blob: SHA-1 of `blob SIZE`, a zero byte and the content. */
function hasherOf({ size, digest }: HubFile): { update(bytes: Uint8Array): unknown; digest(): Uint8Array } {
  return digest.length === 64 ? sha256.create() : sha1.create().update(utf8ToBytes(`blob ${size}\0`));
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
