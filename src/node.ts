/** What Node adds to the library: a device by Dawn, and files. `import … from "diffract/node"`. */
import { create, globals } from 'webgpu';
import { openGpu as openGpuAnywhere, type Gpu, type OpenOptions } from './gpu/index.ts';

export * from './index.ts';

export interface NodeOptions extends Omit<OpenOptions, 'gpu'> {
  /** Options of Dawn, such as `backend=vulkan` or `enable-dawn-features=…`. */
  dawn?: readonly string[];
}

let instance: GPU | null = null;

/** Opens a device through Dawn. Throws AdapterError if the machine has no adapter. */
export async function openGpu(options: NodeOptions = {}): Promise<Gpu> {
  const { dawn, ...rest } = options;
  // Mesa asks for this folder at every start and warns on stderr without it.
  process.env.XDG_RUNTIME_DIR ??= '/tmp';
  for (const [name, value] of Object.entries(globals)) (globalThis as Record<string, unknown>)[name] ??= value;
  const gpu = dawn ? create([...dawn]) : (instance ??= create([]));
  return openGpuAnywhere({ ...rest, gpu });
}
