/** What Node adds to the library: a device by Dawn, and files. `import … from "diffract/node"`. */
import { create, globals } from 'webgpu';
import { AdapterError } from './errors.ts';
import { installPathOpener } from './files/index.ts';
import { directorySource } from './files/node-directory.ts';
import { openGpu as openGpuAnywhere, type Gpu, type OpenOptions } from './gpu/index.ts';
import { createInstance } from './node-adapter.mjs';

export * from './index.ts';
export { directorySource } from './files/node-directory.ts';
export { assertWritable, writeDirectoryAtomic, writeFileAtomic, type FileData } from './files/node-write.ts';

// From here on a path is as good as a URL wherever a model, dictionary or lexicon is named.
installPathOpener(directorySource);

export interface NodeOptions extends Omit<OpenOptions, 'gpu'> {
  /** Options of Dawn, such as `backend=vulkan` or `enable-dawn-features=…`. */
  dawn?: readonly string[];
}

let instance: Promise<GPU> | null = null;

/**
 * Opens a device through Dawn, on the driver that DIFFRACT_ADAPTER and the machine settle (see node-adapter.mjs).
 * Throws AdapterError if there is none.
 */
export async function openGpu(options: NodeOptions = {}): Promise<Gpu> {
  const { dawn, ...rest } = options;
  for (const [name, value] of Object.entries(globals)) (globalThis as Record<string, unknown>)[name] ??= value;
  const gpu = await (dawn ? newInstance(dawn) : (instance ??= newInstance([])));
  return openGpuAnywhere({ ...rest, gpu });
}

async function newInstance(dawn: readonly string[]): Promise<GPU> {
  try {
    return await createInstance(create, dawn);
  } catch (error) {
    throw new AdapterError((error as Error).message, { cause: error });
  }
}
