/** @tensorflow/tfjs-backend-webgpu on the engine's own device. */
import type { PeerSetting } from './packages.ts';
import type { Peer, PeerRun, PeerWork } from './peer.ts';
import { tfProgram } from './tfjs-programs.ts';

export interface TfTensor {
  readonly shape: number[];
  data(): Promise<Float32Array>;
  dispose(): void;
}

/** What is used of tfjs-core. Operations leave their arguments alone; `tidy` frees all that is not returned. */
export interface Tf {
  registerBackend(name: string, make: () => unknown): boolean;
  setBackend(name: string): Promise<boolean>;
  ready(): Promise<void>;
  removeBackend(name: string): void;
  findBackendFactory(name: string): unknown;
  env(): { set(flag: string, value: boolean | number): void };
  tidy<T extends TfTensor | TfTensor[]>(f: () => T): T;
  tensor(data: Float32Array | Uint8Array, shape: readonly number[], type?: 'float32' | 'bool'): TfTensor;
  scalar(value: number): TfTensor;
  matMul(a: TfTensor, b: TfTensor, transposeA?: boolean, transposeB?: boolean): TfTensor;
  fused: { matMul(options: { a: TfTensor; b: TfTensor; bias: TfTensor }): TfTensor };
  add(a: TfTensor, b: TfTensor | number): TfTensor;
  sub(a: TfTensor, b: TfTensor | number): TfTensor;
  mul(a: TfTensor, b: TfTensor | number): TfTensor;
  div(a: TfTensor, b: TfTensor | number): TfTensor;
  square(x: TfTensor): TfTensor;
  sqrt(x: TfTensor): TfTensor;
  rsqrt(x: TfTensor): TfTensor;
  tanh(x: TfTensor): TfTensor;
  relu(x: TfTensor): TfTensor;
  step(x: TfTensor): TfTensor;
  softmax(x: TfTensor): TfTensor;
  where(condition: TfTensor, a: TfTensor, b: TfTensor): TfTensor;
  mean(x: TfTensor, axis?: number, keepDims?: boolean): TfTensor;
  sum(x: TfTensor, axis?: number, keepDims?: boolean): TfTensor;
  transpose(x: TfTensor, order?: readonly number[]): TfTensor;
  reshape(x: TfTensor, shape: readonly number[]): TfTensor;
  slice(x: TfTensor, from: readonly number[], size: readonly number[]): TfTensor;
}

interface BufferManager { freeBuffers: Map<string, GPUBuffer[]>; numFreeBuffers: number; numBytesAllocated: number }
interface Backend { bufferManager: BufferManager; endComputePassEncoder(): void; submitQueue(): void; commandEncoder: object | null }

/** Kernels are registered under this name. */
const BACKEND = 'webgpu';

export async function openTfjs({ gpu, packages }: PeerSetting): Promise<Peer> {
  const tf = (await packages.load('@tensorflow/tfjs-core')).module as Tf;
  const { module, version } = await packages.load('@tensorflow/tfjs-backend-webgpu');
  const { WebGPUBackend } = module as { WebGPUBackend: new (device: GPUDevice, info: object) => Backend };
  // Where there is a navigator.gpu, the package has registered itself with a device of its own.
  if (tf.findBackendFactory(BACKEND)) tf.removeBackend(BACKEND);
  const backend = await packages.withNavigator(async () => new WebGPUBackend(gpu.device, gpu.info));
  // Small work goes to the device too.
  tf.env().set('WEBGPU_CPU_FORWARD', false);
  tf.registerBackend(BACKEND, () => backend);
  await tf.setBackend(BACKEND);
  await tf.ready();
  return { name: '@tensorflow/tfjs-backend-webgpu', version, prepare: async (w: PeerWork) => prepare(w), dispose() { tf.removeBackend(BACKEND); } };

  function submit(): void {
    if (!backend.commandEncoder) return;
    backend.endComputePassEncoder();
    backend.submitQueue();
  }

  /** Its pool keeps a buffer of every size that was ever used. */
  function emptyPool(): void {
    const pool = backend.bufferManager;
    for (const buffers of pool.freeBuffers.values()) {
      for (const buffer of buffers.splice(0)) {
        pool.numFreeBuffers--;
        pool.numBytesAllocated -= buffer.size;
        buffer.destroy();
      }
    }
    // Dawn gives the memory of destroyed buffers back at a later submit.
    gpu.device.queue.submit([]);
  }

  function prepare(work: PeerWork): PeerRun | null {
    const program = tfProgram(tf, work, gpu.limits.bindingBytes);
    if (!program) return null;
    const free = (tensors: readonly TfTensor[]): void => { for (const t of tensors) t.dispose(); };
    return {
      transfers: null,
      // What is disposed before it is submitted is kept until then.
      run: () => free(tf.tidy(() => program.start())),
      async done() {
        submit();
        await gpu.device.queue.onSubmittedWorkDone();
      },
      async read() {
        const outputs = tf.tidy(() => program.start());
        const results: Float32Array[] = [];
        for (const output of outputs.slice(0, program.results)) results.push(await output.data());
        free(outputs);
        return program.join(results);
      },
      dispose() {
        free(program.inputs);
        submit();
        emptyPool();
      },
    };
  }
}
