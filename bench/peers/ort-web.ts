/** onnxruntime-web by its native WebGPU execution provider, compiled to WebAssembly, on the engine's own device. */
import { onnxModel, type OnnxGraph } from './onnx.ts';
import { fusedIsRight, NOT_FUSED } from './ort-fused.ts';
import { graphOf, type GraphPlan } from './ort-graphs.ts';
import type { PeerSetting } from './packages.ts';
import type { Peer, PeerRun, PeerWork } from './peer.ts';

interface OrtTensor { dispose(): void }
interface OrtSession {
  run(feeds: Record<string, OrtTensor>, fetches: Record<string, OrtTensor>): Promise<unknown>;
  release(): Promise<void>;
}
interface Ort {
  env: { logLevel: string; wasm: { numThreads: number; proxy: boolean } };
  InferenceSession: { create(model: Uint8Array, options: object): Promise<OrtSession> };
  Tensor: { fromGpuBuffer(buffer: GPUBuffer, options: { dataType: string; dims: readonly number[]; dispose(): void }): OrtTensor };
}

/** Buffers are bound in steps of this many bytes. */
const ALIGNMENT = 16;
const USAGE = 0x80 /* STORAGE */ | 0x8 /* COPY_DST */ | 0x4 /* COPY_SRC */;

export async function openOrtWeb({ gpu, packages }: PeerSetting): Promise<Peer> {
  const { module, version } = await packages.load('onnxruntime-web');
  const ort = module as Ort;
  ort.env.logLevel = 'error';
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.proxy = false;
  const fused = fusedIsRight(start, gpu.limits.bindingBytes);
  return {
    name: 'onnxruntime-web', version,
    async prepare(work: PeerWork) {
      const right = await fused(work);
      const plan = graphOf(work, gpu.limits.bindingBytes, right);
      if (!plan) return null;
      const run = await start(plan);
      return right ? run : { ...run, note: NOT_FUSED };
    },
    dispose() {},
  };

  async function start(plan: GraphPlan): Promise<PeerRun> {
    const bound = new Map<string, { buffer: GPUBuffer; tensor: OrtTensor }>();
    const place = (graph: OnnxGraph): void => {
      for (const { name, shape, type = 'float' } of [...graph.inputs, ...graph.outputs]) {
        const bytes = 4 * shape.reduce((p, n) => p * n, 1);
        const buffer = gpu.device.createBuffer({ label: name, size: Math.ceil(bytes / ALIGNMENT) * ALIGNMENT, usage: USAGE });
        const data = plan.feeds.get(name);
        if (data) gpu.device.queue.writeBuffer(buffer, 0, data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
        bound.set(name, { buffer, tensor: ort.Tensor.fromGpuBuffer(buffer, { dataType: type === 'float' ? 'float32' : type, dims: shape, dispose: () => buffer.destroy() }) });
      }
    };
    const free = (): void => {
      for (const { buffer, tensor } of bound.values()) {
        tensor.dispose();
        buffer.destroy();
      }
      // Dawn gives the memory of destroyed buffers back at a later submit.
      gpu.device.queue.submit([]);
    };
    let session: OrtSession;
    try {
      place(plan.graph);
      // Refused where a node would run on the CPU. Graph capture would spare some of the host's work, but it loses outputs that were
      // given: every run looks for them under new handles.
      session = await packages.withNavigator(() => ort.InferenceSession.create(onnxModel(plan.graph), { executionProviders: [{ name: 'webgpu', device: gpu.device }], extra: { session: { disable_cpu_ep_fallback: '1' } } }));
    } catch (error) {
      free();
      throw error;
    }
    const named = (values: OnnxGraph['inputs']): Record<string, OrtTensor> => Object.fromEntries(values.map(({ name }) => [name, bound.get(name)!.tensor]));
    const [feeds, fetches] = [named(plan.graph.inputs), named(plan.graph.outputs)];
    const run = async (): Promise<void> => { await session.run(feeds, fetches); };
    return {
      run, transfers: null,
      done: async () => { await gpu.device.queue.onSubmittedWorkDone(); },
      async read() {
        await run();
        const results: Float32Array[] = [];
        for (const { name, shape } of plan.graph.outputs.slice(0, plan.results)) results.push(await download(gpu.device, bound.get(name)!.buffer, shape.reduce((p, n) => p * n, 1)));
        return plan.join(results);
      },
      async dispose() {
        await session.release();
        free();
      },
    };
  }
}

async function download(device: GPUDevice, buffer: GPUBuffer, count: number): Promise<Float32Array> {
  const staging = device.createBuffer({ size: 4 * count, usage: 0x1 /* MAP_READ */ | 0x8 /* COPY_DST */ });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, 4 * count);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(0x1 /* READ */);
  const copy = new Float32Array(staging.getMappedRange().slice(0));
  staging.destroy();
  return copy;
}
