/**
 * onnxruntime-node by its WebGPU execution provider: native code with a Dawn and a device of its own, on the driver that the environment
 * names. By its documentation release builds leave out bounds checks. It keeps nothing on the device: all inputs are uploaded and all outputs read back in every run.
 */
import { onnxModel, type OnnxValue } from './onnx.ts';
import { fusedIsRight, NOT_FUSED } from './ort-fused.ts';
import { graphOf, type GraphPlan } from './ort-graphs.ts';
import type { PeerSetting } from './packages.ts';
import type { Peer, PeerRun } from './peer.ts';

interface OrtTensor { data: Float32Array }
interface Ort {
  InferenceSession: { create(model: Uint8Array, options: object): Promise<{ run(feeds: Record<string, OrtTensor>): Promise<Record<string, OrtTensor>>; release(): Promise<void> }> };
  Tensor: new (type: 'float32', data: Float32Array, shape: readonly number[]) => OrtTensor;
}

export async function openOrtNode({ gpu, packages }: PeerSetting): Promise<Peer> {
  const { module, version } = await packages.load('onnxruntime-node');
  const ort = ((module as { default?: Ort }).default ?? module) as Ort;
  const limit = gpu.limits.bindingBytes;
  const fused = fusedIsRight(start, limit);
  return {
    name: 'onnxruntime-node', version,
    async prepare(work) {
      if (work.op === 'forward') throw new Error('it would upload all weights in every run');
      const right = await fused(work);
      const plan = graphOf(work, limit, right);
      if (!plan) return null;
      const run = await start(plan);
      return right ? run : { ...run, note: NOT_FUSED };
    },
    dispose() {},
  };

  async function start({ graph, feeds, results, join }: GraphPlan): Promise<PeerRun> {
    const session = await ort.InferenceSession.create(onnxModel(graph), { executionProviders: ['webgpu'], logSeverityLevel: 3, extra: { session: { disable_cpu_ep_fallback: '1' } } });
    const given = Object.fromEntries(graph.inputs.map(({ name, shape }) => [name, new ort.Tensor('float32', feeds.get(name) as Float32Array, shape)]));
    const bytes = (values: readonly OnnxValue[]): number => values.reduce((sum, { shape }) => sum + 4 * shape.reduce((p, n) => p * n, 1), 0);
    return {
      transfers: { upload: bytes(graph.inputs), download: bytes(graph.outputs) },
      run: async () => { await session.run(given); },
      // A run ends when its outputs are here.
      done: () => Promise.resolve(),
      async read() {
        const outputs = await session.run(given);
        return join(graph.outputs.slice(0, results).map(({ name }) => outputs[name]!.data));
      },
      dispose: () => session.release(),
    };
  }
}
