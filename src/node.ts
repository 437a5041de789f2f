/** All of the library, and what Node adds: a device by Dawn, and files. `import … from "diffract/node"`. */
import { readFile } from 'node:fs/promises';
import { create, globals } from 'webgpu';
import { AdapterError, FileError } from './errors.ts';
import { installOpeners } from './files/index.ts';
import { directorySource } from './files/node-directory.ts';
import { directoryHubCache } from './files/node-hub-cache.ts';
import { assertTuning, openGpu as openGpuAnywhere, type Gpu, type OpenOptions } from './gpu/index.ts';
import { createInstance } from './node-adapter.mjs';

export * from './index.ts';
export * from './training/index.ts';
export * from './evaluation/index.ts';
export * from './phenomena/index.ts';
export * from './reproduction/index.ts';
export * from './report/index.ts';
export { directorySource } from './files/node-directory.ts';
export { directoryHubCache, hubCachePath } from './files/node-hub-cache.ts';
export { directoryStore, type DirectoryStore } from './files/node-store.ts';
export { assertWritable, writeDirectoryAtomic, writeFileAtomic, type FileData } from './files/node-write.ts';

// From here on a path is as good as a URL wherever a model, dictionary or lexicon is named, and a hub's files are kept and asked for
// as the Python tools do it.
installOpeners(directorySource, () => ({
  cache: directoryHubCache(), endpoint: process.env.HF_ENDPOINT, token: process.env.HF_TOKEN, offline: /^(1|on|yes|true)$/i.test(process.env.HF_HUB_OFFLINE ?? ''),
}));

export interface NodeOptions extends Omit<OpenOptions, 'gpu'> {
  /** Options of Dawn, such as `backend=vulkan` or `enable-dawn-features=…`. */
  dawn?: readonly string[];
  /** A file that the tuner made, by its path or as its parsed content; the variable DIFFRACT_TUNING names one if not given. */
  tuning?: unknown;
}

/** Dawn crashes where an instance is collected while a device of it still works: they are kept for the life of the process. */
const instances = new Map<string, Promise<GPU>>();

/**
 * Opens a device through Dawn, on the driver that DIFFRACT_ADAPTER and the machine settle (see node-adapter.mjs).
 * Throws AdapterError if there is none, FileError for a tuning file that cannot be read or is none.
 */
export async function openGpu(options: NodeOptions = {}): Promise<Gpu> {
  const { dawn, tuning: given = process.env.DIFFRACT_TUNING || undefined, ...rest } = options;
  const tuning = typeof given === 'string' ? await readTuning(given) : given;
  for (const [name, value] of Object.entries(globals)) (globalThis as Record<string, unknown>)[name] ??= value;
  return openGpuAnywhere({ ...rest, tuning, gpu: await instanceWith(dawn ?? []) });
}

/** The parsed content of a tuning file. Throws FileError, which names it. */
async function readTuning(path: string): Promise<unknown> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'does not exist' : code ? `cannot be read: ${code}` : `is not JSON: ${message.replaceAll('\n', ' ')}`;
    throw new FileError(`${path} ${why}`, { cause });
  }
  assertTuning(value, path);
  return value;
}

function instanceWith(dawn: readonly string[]): Promise<GPU> {
  const key = dawn.join(' ');
  const known = instances.get(key) ?? newInstance(dawn);
  instances.set(key, known);
  return known;
}

async function newInstance(dawn: readonly string[]): Promise<GPU> {
  try {
    return await createInstance(create, dawn);
  } catch (error) {
    throw new AdapterError((error as Error).message, { cause: error });
  }
}
