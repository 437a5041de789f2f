/** What the peers' packages need in Node: their folder, a `navigator.gpu`, flags of V8, and what Node 20 lacks. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { create } from 'webgpu';
import { createInstance, packageRoot } from '../../src/node-adapter.mjs';
import { addIteratorHelpers } from './iterator-helpers.ts';
import type { Packages } from './packages.ts';

/** Dawn crashes where an instance is collected while a device of it still works: it is kept for the life of the process. */
let entry: GPU | null = null;

export async function nodePackages(): Promise<Packages> {
  const require = createRequire(join(packageRoot(), 'bench', 'package.json'));
  entry ??= await createInstance(create);
  addIteratorHelpers();
  acceptSharedMemory();
  return {
    async load(name) {
      const { version } = JSON.parse(readFileSync(join(folderOf(require, name), 'package.json'), 'utf8')) as { version: string };
      if (name === 'onnxruntime-web') return { module: await loadOrtWeb(folderOf(require, name)), version };
      return { module: await import(pathToFileURL(require.resolve(name)).href), version };
    },
    withNavigator: (start) => withNavigator(entry!, start),
  };
}

function folderOf(require: NodeJS.Require, name: string): string {
  for (let folder = dirname(require.resolve(name)); ; folder = dirname(folder)) {
    try {
      if ((JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { name?: string }).name === name) return folder;
    } catch { /* no package.json here: look above */ }
    if (folder === dirname(folder)) throw new Error(`${name} has no package.json`);
  }
}

/** Its `node` entry knows no WebGPU: the browser's is taken by its path, and given the WebAssembly that it would fetch. */
async function loadOrtWeb(folder: string): Promise<unknown> {
  // V8 would recompile 27 MB of WebAssembly in the background, for half a minute on two cores.
  for (const flag of ['--no-wasm-tier-up', '--no-wasm-dynamic-tiering']) setFlagsFromString(flag);
  const dist = join(folder, 'dist');
  const ort = (await import(pathToFileURL(join(dist, 'ort.webgpu.min.mjs')).href)) as { env: { wasm: { wasmPaths: string; wasmBinary: Uint8Array } } };
  ort.env.wasm.wasmPaths = pathToFileURL(dist + '/').href;
  ort.env.wasm.wasmBinary = readFileSync(join(dist, 'ort-wasm-simd-threaded.asyncify.wasm'));
  return ort;
}

/** `navigator.gpu` is there for as long as a package looks for it; a `navigator`, which Node 20 lacks, stays. */
async function withNavigator<T>(gpu: GPU, start: () => Promise<T>): Promise<T> {
  if (!globalThis.navigator) Object.defineProperty(globalThis, 'navigator', { value: { userAgent: `Node.js/${process.versions.node}` }, configurable: true, writable: true });
  if ('gpu' in navigator) return start();
  Object.defineProperty(navigator, 'gpu', { value: gpu, configurable: true });
  try {
    return await start();
  } finally {
    delete (navigator as { gpu?: unknown }).gpu;
  }
}

/** Dawn's binding refuses views of shared memory, or crashes; browsers take them. ONNX Runtime's WebAssembly memory is shared: such data is copied. */
function acceptSharedMemory(): void {
  const queue = GPUQueue.prototype as { writeBuffer: (this: GPUQueue, ...args: unknown[]) => void; sharesMemory?: true };
  if (queue.sharesMemory) return;
  const write = queue.writeBuffer;
  queue.sharesMemory = true;
  queue.writeBuffer = function (buffer, offset, data, dataOffset = 0, size) {
    const view = data as ArrayBufferView;
    const memory = ArrayBuffer.isView(view) ? view.buffer : (data as ArrayBufferLike);
    if (!(memory instanceof SharedArrayBuffer)) return size === undefined ? write.call(this, buffer, offset, data, dataOffset) : write.call(this, buffer, offset, data, dataOffset, size);
    const bytes = ArrayBuffer.isView(view) ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : new Uint8Array(memory);
    const unit = (view as { BYTES_PER_ELEMENT?: number }).BYTES_PER_ELEMENT ?? 1;
    const from = (dataOffset as number) * unit;
    return write.call(this, buffer, offset, Uint8Array.from(bytes.subarray(from, size === undefined ? bytes.length : from + (size as number) * unit)));
  };
}
