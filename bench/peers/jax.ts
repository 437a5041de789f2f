/** @jax-js/jax, on a device of its own from the same adapter: it takes none from outside. */
import { jaxProgram } from './jax-programs.ts';
import type { PeerSetting } from './packages.ts';
import type { Peer, PeerRun, PeerWork } from './peer.ts';

/** Runs that may wait for the device at once: enough that it never waits, few enough that their results do not fill its memory. */
const IN_FLIGHT = 4;

/** An array of jax-js. Operations consume their arguments; `ref` keeps one for later. */
export interface JaxArray {
  readonly ref: JaxArray;
  readonly shape: number[];
  mul(x: JaxArray | number): JaxArray;
  add(x: JaxArray | number): JaxArray;
  sub(x: JaxArray | number): JaxArray;
  div(x: JaxArray | number): JaxArray;
  reshape(shape: readonly number[]): JaxArray;
  transpose(order?: readonly number[]): JaxArray;
  sum(axis?: number | null, options?: { keepdims: boolean }): JaxArray;
  mean(axis?: number | null, options?: { keepdims: boolean }): JaxArray;
  blockUntilReady(): Promise<JaxArray>;
  data(): Promise<Float32Array>;
  dispose(): void;
}

export type Jitted = ((...args: JaxArray[]) => JaxArray[]) & { dispose?(): void };

export interface Jax {
  init(device: string): Promise<string[]>;
  defaultDevice(device: string): void;
  getWebGPUDevice(): GPUDevice | null;
  jit(f: (...args: JaxArray[]) => JaxArray[]): Jitted;
  valueAndGrad(f: (...args: JaxArray[]) => JaxArray, options: { argnums: number[] }): (...args: JaxArray[]) => [JaxArray, JaxArray[]];
  numpy: {
    array(data: Float32Array | Int32Array, options: { shape: readonly number[]; dtype?: string }): JaxArray;
    matmul(a: JaxArray, b: JaxArray): JaxArray;
    square(x: JaxArray): JaxArray;
    sqrt(x: JaxArray): JaxArray;
    split(x: JaxArray, parts: number | number[], axis: number): JaxArray[];
  };
  nn: {
    dotProductAttention(q: JaxArray, k: JaxArray, v: JaxArray, options: { isCausal: boolean }): JaxArray;
    softmax(x: JaxArray, axis?: number): JaxArray;
    relu(x: JaxArray): JaxArray;
    gelu(x: JaxArray): JaxArray;
    standardize(x: JaxArray, axis?: number, options?: { epsilon: number }): JaxArray;
  };
}

export async function openJax({ gpu, packages }: PeerSetting): Promise<Peer> {
  const { module, version } = await packages.load('@jax-js/jax');
  const jax = module as Jax;
  const devices = await packages.withNavigator(() => jax.init('webgpu'));
  if (!devices.includes('webgpu')) throw new Error('jax-js found no WebGPU device');
  jax.defaultDevice('webgpu');
  const device = jax.getWebGPUDevice()!;
  return {
    name: '@jax-js/jax', version,
    async prepare(work: PeerWork): Promise<PeerRun | null> {
      const program = jaxProgram(jax, work, gpu.limits.bindingBytes);
      if (!program) return null;
      const underWay: Promise<void>[] = [];
      const wait = async (left: number): Promise<void> => {
        while (underWay.length > left) await underWay.shift();
      };
      return {
        transfers: null,
        async run() {
          await wait(IN_FLIGHT - 1);
          const outputs = program.start();
          // Work is submitted only for who waits for it; each step waits by itself, not for the one before.
          underWay.push(Promise.all(outputs.map((o) => o.blockUntilReady())).then(() => { for (const o of outputs) o.dispose(); }));
        },
        async done() {
          await wait(0);
          await device.queue.onSubmittedWorkDone();
        },
        async read() {
          const outputs = program.start();
          const results: Float32Array[] = [];
          for (const [i, output] of outputs.entries()) {
            // Reading consumes.
            if (i < program.results) results.push(await output.data());
            else output.dispose();
          }
          return program.join(results);
        },
        async dispose() {
          await wait(0);
          program.dispose();
          // Dawn gives the memory of destroyed buffers back at a later submit.
          device.queue.submit([]);
        },
      };
    },
    dispose() {},
  };
}
