/** The model of a command: named by a directory, a URL or a hub, and loaded with progress. */
import { statSync } from 'node:fs';
import { Option } from 'commander';
import type { SaeMetadata } from '../dictionary/index.ts';
import { FileError, UsageError } from '../errors.ts';
import { isHubName, openHub, openSource, parseHubAddress, type FileSource } from '../files/index.ts';
import { Gpt2, NO_PROCESSING, type WeightProcessing, type WeightType } from '../model/index.ts';
import { openDevice } from './device.ts';
import { note, progress, type Progress } from './terminal.ts';

/** What says which model is meant. */
export interface ModelFlags {
  model: string;
  revision?: string;
}

/** For commander: every command that loads a model has it. */
export function modelOption({ mandatory = true }: { mandatory?: boolean } = {}): Option {
  return new Option('--model <where>', "the model: a directory or URL in Hugging Face's layout, or its name on the hub, such as gpt2 (also hub:owner/name); downloaded once").makeOptionMandatory(mandatory);
}

/** For commander: goes with `--model`. */
export function revisionOption(): Option {
  return new Option('--revision <name>', "branch, tag or commit of a model on the hub (default: main, as it was when it was first downloaded)");
}

/**
 * The files of the model: a directory of that name if there is one, else a URL or a hub's. Only a hub has revisions.
 * UsageError for a revision of anything else, FileError where there is neither a directory nor a model on the hub.
 */
export async function openModelSource({ model: where, revision }: ModelFlags, signal?: AbortSignal): Promise<FileSource> {
  const explicit = where.startsWith('hub:');
  const isHub = explicit || (isHubName(where) && !statSync(where, { throwIfNoEntry: false }));
  if (!isHub) {
    if (revision !== undefined) throw new UsageError(`--revision ${revision} is for a model on the hub; ${where} is a ${/^https?:/i.test(where) ? 'URL' : 'directory'}`);
    return openSource(where);
  }
  const address = parseHubAddress(explicit ? where : `hub:${where}`);
  if (revision !== undefined && address.revision !== undefined) throw new UsageError(`--revision ${revision}: ${where} names a revision already`);
  const source = openHub(address.repository, { revision: revision ?? address.revision, folder: address.folder, signal, onProgress: downloadProgress() });
  try {
    await source.origin!();
  } catch (error) {
    if (explicit || !(error instanceof FileError)) throw error;
    throw new FileError(`${where}: there is no such directory, and as a name on the hub: ${error.message}`, { cause: error });
  }
  return source;
}

/** Loads the model with a bar; `source` is what openModelSource gave, if the caller has it already. */
export async function loadModel(
  flags: ModelFlags & { weights?: WeightType; tuning?: string }, { source, processing, signal }: { source?: FileSource; processing?: Partial<WeightProcessing>; signal?: AbortSignal } = {},
): Promise<Gpt2> {
  const from = source ?? await openModelSource(flags, signal);
  const gpu = await openDevice(flags.tuning);
  const bar = progress('loading the model');
  return Gpt2.load(gpu, from, { processing, weights: flags.weights, onProgress: (done, total, name) => bar.update(done, total, name) }).finally(() => bar.stop());
}

/** Weight processing from its names; `all` is every kind. */
export function readProcessing(names: readonly string[] = []): Partial<WeightProcessing> {
  const all = Object.keys(NO_PROCESSING);
  const wanted = names.length === 1 && names[0] === 'all' ? all : names;
  for (const name of wanted) if (!all.includes(name)) throw new UsageError(`--processing ${name}: there are ${all.join(', ')}, and all`);
  return Object.fromEntries(wanted.map((name) => [name, true]));
}

/** Kinds of weight processing that a dictionary's description names. */
export function processingNamed({ weight_processing: own }: Readonly<SaeMetadata>): string[] {
  return Object.keys(NO_PROCESSING).filter((kind) => (own as Record<string, unknown> | undefined | null)?.[kind] === true);
}

const MEGABYTE = 1e6;

/** A bar for each file under way, and a line for large ones where nobody watches bars. */
function downloadProgress(): (path: string, done: number, total: number) => void {
  let current: { path: string; bar: Progress } | null = null;
  return (path, done, total) => {
    if (current?.path !== path) {
      current?.bar.stop();
      current = { path, bar: progress('downloading') };
      if (!process.stderr.isTTY && total > MEGABYTE && done < total) note(`downloading ${path}, ${Math.ceil(total / MEGABYTE)} MB${done > 0 ? `, ${Math.floor(done / MEGABYTE)} of which are there` : ''}`);
    }
    current.bar.update(done, total, `${path} ${(done / MEGABYTE).toFixed(1)} of ${(total / MEGABYTE).toFixed(1)} MB`);
    if (done >= total) {
      current.bar.stop();
      current = null;
    }
  };
}
