/** Work on files, without a device: what lies in them, downloads, and what the browser keeps. */
import { readSaeConfig } from '../../dictionary/index.ts';
import { FileError } from '../../errors.ts';
import type { WeightProcessing } from '../../model/index.ts';
import type { DictionaryChoice, FoundFacts, ModelOutlook, OnProgress, Origin, StoredFacts } from '../protocol.ts';
import { bytes as inWords } from '../parts/format.ts';
import { openOrigin, originName, originWithin } from './origins.ts';
import { filesOf, outlookOf, type DeviceLimits } from './outlook.ts';
import { dictionaryFiles, modelFiles, sortFiles } from './sort-files.ts';
import { entriesOf, filesBelow, FOLDER, removeStored, storageError, storedFiles, withNumbers, writeStored } from './stored.ts';

/** Where the hub's cache lies; see opfsHubCache. */
const HUB = 'diffract';
/** Milliseconds between two words on progress. */
const PACE = 100;

export class StorageEngine {
  private readonly running = new Map<string, AbortController>();

  /** Stops the work of this id; it rejects with an AbortError. What a download brought so far is kept. */
  cancel(id: string): void {
    this.running.get(id)?.abort();
  }

  /** Which models and dictionaries lie in what is named. FileError where there is none. */
  look(id: string, origin: Origin): Promise<FoundFacts> {
    return this.work(id, async (signal) => {
      const source = openOrigin(origin, { signal });
      const paths = (await source.list?.()) ?? [];
      // A hub's address may lead to a file of a dictionary.
      const file = origin.kind === 'hub' ? /^(.+)\/([^/]+\.pt)$/.exec(origin.address) : null;
      if (file && origin.kind === 'hub' && paths.length === 0) return { models: [], dictionaries: [await this.dictionary({ ...origin, address: file[1]! }, { file: file[2]! }, signal)] };
      const { models, dictionaries } = sortFiles(paths);
      if (models.length + dictionaries.length === 0) {
        throw new FileError(`${originName(origin)}: neither a model (config.json with model.safetensors) nor a dictionary (cfg.json with sae_weights.safetensors, or a .pt file) is among its ${paths.length} files`);
      }
      const found: FoundFacts = { models: models.map(({ folder }) => named(originWithin(origin, folder))), dictionaries: [] };
      for (const { folder, ...choice } of dictionaries) found.dictionaries.push(await this.dictionary(named(originWithin(origin, folder)), choice, signal));
      return found;
    });
  }

  private async dictionary(origin: Origin, choice: DictionaryChoice, signal: AbortSignal): Promise<FoundFacts['dictionaries'][number]> {
    const source = openOrigin(origin, { signal });
    const files = await filesOf(origin, dictionaryFiles((await source.list?.()) ?? [], choice.file), signal);
    if (choice.file && !files.some(({ path }) => path === choice.file)) throw new FileError(`${originName(origin)}/${choice.file}: no such file`);
    return { origin, choice, name: originName(origin) + (choice.file ? `/${choice.file}` : ''), files };
  }

  /** Which weight processing a dictionary was made for, as far as its files say; null where they do not. */
  processingOf(id: string, origin: Origin, choice: DictionaryChoice): Promise<Partial<WeightProcessing> | null> {
    return this.work(id, async (signal) => {
      const { metadata } = await readSaeConfig(openOrigin(origin, { signal }), { ...(choice.file ? { file: choice.file } : {}) });
      return (metadata['weight_processing'] as Partial<WeightProcessing> | undefined) ?? null;
    });
  }

  /** What a model's files say of it, and how it fits the device; of a hub's files, only descriptions and headers come in. FileError or ConfigError for what is broken. */
  outlook(id: string, origin: Origin, limits: DeviceLimits): Promise<ModelOutlook> {
    return this.work(id, (signal) => outlookOf(origin, limits, signal));
  }

  /**
   * Brings files of a hub into the browser's storage; `onProgress` is told of each file. What is there already is not asked for again, and what broke off
   * goes on. FileError, with numbers, where there is not enough room.
   */
  download(id: string, origin: Origin, files: readonly string[], onProgress?: OnProgress): Promise<void> {
    return this.work(id, async (signal) => {
      const told = paced(onProgress);
      const wanted = await filesOf(origin, files, signal);
      await needRoom(originName(origin), wanted.reduce((sum, { bytes, kept }) => sum + bytes - kept, 0));
      const source = openOrigin(origin, { signal, onDownload: (done, total, path) => told(done, total, path) });
      for (const path of files) {
        await source.range(path, 0, 0);
        const { bytes } = wanted.find((one) => one.path === path)!;
        told(bytes, bytes, path);
      }
    });
  }

  /** Copies a model's or dictionary's files into the browser's storage and says where they are now. FileError, with numbers, where there is not enough room. */
  keep(id: string, origin: Origin & { kind: 'files' }, kind: 'model' | 'dictionary', choice: DictionaryChoice = {}, onProgress?: OnProgress): Promise<Origin> {
    return this.work(id, async (signal) => {
      const told = paced(onProgress);
      const paths = origin.files.map(({ path }) => path);
      const wanted = kind === 'model' ? modelFiles(paths) : dictionaryFiles(paths, choice.file);
      const files = origin.files.filter(({ path }) => wanted.includes(path));
      const total = files.reduce((sum, { file }) => sum + file.size, 0);
      await needRoom(origin.name, total);
      const folder = await freeFolder(kind === 'model' ? 'models' : 'dictionaries', origin.name);
      try {
        let done = 0;
        for (const { path, file } of files) {
          const counted = new TransformStream<Uint8Array, Uint8Array>({ transform: (piece, controller) => { told(done += piece.length, total, path); controller.enqueue(piece); } });
          await writeStored(`${folder}/${path}`, file.stream().pipeThrough(counted), signal);
        }
      } catch (error) {
        await removeStored(folder);
        throw error;
      }
      return { kind: 'stored', path: folder };
    });
  }

  /** Everything that the browser keeps for this page, the largest first. */
  async list(): Promise<StoredFacts[]> {
    const root = await navigator.storage.getDirectory();
    const found: StoredFacts[] = [];
    for (const [top, handle] of await entriesOf(root)) {
      if (handle.kind !== 'directory') continue;
      for (const [name, inside] of await entriesOf(handle as FileSystemDirectoryHandle)) {
        if (inside.kind !== 'directory') continue;
        if (top === HUB) found.push(await hubFacts(name, inside as FileSystemDirectoryHandle));
        if (top !== FOLDER) continue;
        const kind = KINDS[name];
        if (!kind) continue;
        // Their own panels list these one by one; the others are opened from here.
        if (kind === 'training' || kind === 'evaluation') found.push(await facts(`${top}/${name}`, kind, name, inside as FileSystemDirectoryHandle, null));
        else for (const [own, folder] of await entriesOf(inside as FileSystemDirectoryHandle)) {
          if (folder.kind === 'directory') found.push(await facts(`${top}/${name}/${own}`, kind, own, folder as FileSystemDirectoryHandle, { kind: 'stored', path: `${name}/${own}` }));
        }
      }
    }
    return found.filter(({ files }) => files > 0).sort((a, b) => b.bytes - a.bytes);
  }

  /** Deletes what `list` named. FileError for what is in use. */
  async remove(path: string): Promise<void> {
    const parts = path.split('/');
    try {
      let folder = await navigator.storage.getDirectory();
      for (const part of parts.slice(0, -1)) folder = await folder.getDirectoryHandle(part);
      await folder.removeEntry(parts.at(-1)!, { recursive: true });
    } catch (error) {
      if ((error as Error).name !== 'NotFoundError') throw storageError(parts.slice(1).join('/'), error);
    }
  }

  private async work<T>(id: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    this.cancel(id);
    const controller = new AbortController();
    this.running.set(id, controller);
    try {
      return await work(controller.signal);
    } catch (error) {
      throw await withNumbers(error);
    } finally {
      if (this.running.get(id) === controller) this.running.delete(id);
    }
  }
}

const KINDS: Record<string, StoredFacts['kind']> = { models: 'model', dictionaries: 'dictionary', trained: 'dictionary', training: 'training', evaluations: 'evaluation' };

/** Files that were chosen without a folder around them have no name of their own. */
function named(origin: Origin): Origin {
  return origin.kind === 'files' && !origin.name ? { ...origin, name: 'chosen files' } : origin;
}

/** A folder of this name that is not there yet. */
async function freeFolder(kind: string, name: string): Promise<string> {
  const [first = '', ...rest] = name.split('/').map((part) => part.replace(/^\.+$|[\\:*?"<>|]/g, '_')).filter(Boolean);
  for (let n = 1; ; n++) {
    const folder = [kind, n === 1 ? first : `${first} ${n}`, ...rest].join('/');
    if ((await storedFiles(folder)).length === 0) return folder;
  }
}

async function hubFacts(name: string, folder: FileSystemDirectoryHandle): Promise<StoredFacts> {
  const repository = name.replace(/^(models|datasets)--/, (_, kind) => (kind === 'datasets' ? 'datasets/' : '')).replace('--', '/');
  const all = await filesBelow(folder);
  const revisions = all.filter(({ path }) => path.startsWith('refs/')).map(({ path }) => path.slice('refs/'.length).replaceAll('/', '%2F'));
  const revision = revisions.length === 0 || revisions.includes('main') ? '' : `@${revisions[0]}`;
  return facts(`${HUB}/${name}`, 'hub', repository, folder, { kind: 'hub', address: repository + revision });
}

async function facts(path: string, kind: StoredFacts['kind'], name: string, folder: FileSystemDirectoryHandle, origin: Origin | null): Promise<StoredFacts> {
  const all = await filesBelow(folder);
  const sum = (files: typeof all): number => files.reduce((total, { file }) => total + file.size, 0);
  return { path, kind, name, bytes: sum(all), files: all.length, unfinished: sum(all.filter((one) => /\.(incomplete|new|crswap)$/.test(one.path))), origin };
}

/** FileError, with numbers, where the browser would have no room. */
async function needRoom(name: string, needed: number): Promise<void> {
  const { usage = 0, quota = Infinity } = await navigator.storage.estimate();
  if (needed <= quota - usage) return;
  throw new FileError(`${name}: ${inWords(needed)} are needed, but the browser has ${inWords(Math.max(0, quota - usage))} left of the ${inWords(quota)} that it gives this site; delete what you no longer need, under Storage`);
}

/** Passes progress on now and then, and each file's end. */
function paced(onProgress: OnProgress = () => {}): (done: number, total: number, path?: string) => void {
  let last = 0;
  return (done, total, path) => {
    const now = performance.now();
    if (done < total && now - last < PACE) return;
    last = now;
    void onProgress(done, total, path);
  };
}
