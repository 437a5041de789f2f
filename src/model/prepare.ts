/**
 * Compiles what a model will need before it needs it. A forward pass, a resumed one and a step of generation are rehearsed on a device that
 * records nothing and allocates nothing, but notes which variants of which kernels are asked for; those are then compiled in parallel.
 */
import type { Dispatch, Gpu, Kernel, Storage, Variant } from '../gpu/index.ts';
import { Tensor } from '../tensor/index.ts';
import type { Gpt2Config } from './config.ts';
import { forward, type ForwardModel } from './forward.ts';
import { step } from './generate.ts';
import { depthOf, Hooks } from './sites.ts';
import type { ModelWeights, Norm, WeightType } from './weights.ts';

/** Prompts and positions of the rehearsed passes: kernels pick their variants by the number of rows. */
const PROMPTS = 32;
const POSITIONS = 16;

/** Compiles the kernels of ordinary runs, of runs resumed with an edit of one head at one position, and of generation. */
export async function prepareKernels(gpu: Gpu, config: Gpt2Config, folded: boolean, type: WeightType): Promise<void> {
  const specs = new Map<string, { kernel: Kernel } & Variant>();
  const stage = rehearsal(gpu, ({ kernel, constants, enables }) => {
    specs.set(`${kernel.name} ${JSON.stringify(constants)} ${enables?.join() ?? ''}`, { kernel, constants, enables });
  });
  const small = { ...config, layers: 1 };
  const model: ForwardModel = { gpu: stage, config: small, weights: emptyWeights(stage, small, folded, type), hooks: new Hooks(small) };
  const positions = Math.min(POSITIONS, config.context);
  const last = new Uint32Array(PROMPTS).fill(positions - 1);
  const tokens = Tensor.empty(stage, [PROMPTS, positions], 'u32');
  const z = { name: 'blocks.0.attn.hook_z', kind: 'z' as const, layer: 0, depth: depthOf('z', 0), editable: true };
  const at = { hook: z, head: 0, positions: last };
  const clean = forward(model, { tokens, cache: [], captures: [at], edits: [], logits: last, keep: true, resume: null });
  const edits = [{ ...at, column: null, values: Tensor.empty(stage, [PROMPTS, config.headWidth]), add: false }];
  forward(model, { tokens, cache: [], captures: [], edits, logits: last, keep: false, resume: clean.kept });
  const uneven = last.map((position, prompt) => Math.max(0, position - prompt % 2));
  forward(model, { tokens, cache: [], captures: [], edits: [{ ...edits[0]!, positions: uneven }], logits: uneven, keep: false, resume: clean.kept });
  const cache = [Tensor.empty(stage, [1, positions, 3 * config.width])];
  step(model, [Array.from(last.subarray(0, positions - 1))], cache, 0);
  step(model, [[0]], cache, positions - 1);
  await gpu.prepare([...specs.values()]);
}

/** A stand-in for a device: its limits and nature, without memory or queue. */
function rehearsal(gpu: Gpu, note: (work: Dispatch) => void): Gpu {
  let id = 0;
  const nothing = (): void => {};
  return Object.assign(Object.create(gpu) as Gpu, {
    // Windows do not change which kernels run.
    limits: { ...gpu.limits, bindingBytes: Number.MAX_SAFE_INTEGER },
    dispatch: note,
    allocate: (bytes: number): Storage => ({ id: id++, bytes, lastBatch: -1 }) as unknown as Storage,
    release: nothing, upload: nothing, copy: nothing, clear: nothing, track: nothing, untrack: nothing, flush: nothing,
    scope: <T>(fn: () => T): T => fn(),
    keep: <T>(item: T): T => item,
  });
}

function emptyWeights(gpu: Gpu, { width, mlpWidth, vocabulary, context }: Gpt2Config, folded: boolean, type: WeightType): ModelWeights {
  const empty = (...shape: number[]): Tensor => Tensor.empty(gpu, shape);
  const matrix = (...shape: number[]): Tensor => Tensor.empty(gpu, shape, type);
  const norm = (): Norm | null => (folded ? null : { weight: empty(width), bias: empty(width) });
  const block = {
    ln1: norm(), qkvWeight: matrix(width, 3 * width), qkvBias: empty(3 * width), outWeight: matrix(width, width), outBias: empty(width),
    ln2: norm(), mlpInWeight: matrix(width, mlpWidth), mlpInBias: empty(mlpWidth), mlpOutWeight: matrix(mlpWidth, width), mlpOutBias: empty(width),
  };
  const embed = matrix(vocabulary, width);
  return { embed, positions: empty(context, width), blocks: [block], finalNorm: norm(), unembed: embed, unembedBias: folded ? empty(vocabulary) : null };
}
