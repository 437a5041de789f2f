/**
 * The models that cases run: one of GPT-2 Small's shape with random weights, made in memory, and the embedded one. Each is made when first
 * asked for and serves all cases of a run.
 */
import { Gpt2 } from '../../src/model/index.ts';
import { expectedShapes } from '../../src/model/names.ts';
import { memorySource, openSafetensors, openSource, safetensorsParts, type FileSource, type TensorToWrite } from '../../src/files/index.ts';
import type { Gpu } from '../../src/gpu/index.ts';
import { elements } from '../../src/tensor/index.ts';
import { inputs } from '../numbers.ts';
import type { ReferenceSizes } from './reference.ts';

/** config.json of GPT-2 Small. */
const SMALL = {
  model_type: 'gpt2', n_layer: 12, n_head: 12, n_embd: 768, n_positions: 1024, n_ctx: 1024, vocab_size: 50257, activation_function: 'gelu_new',
  layer_norm_epsilon: 1e-5, bos_token_id: 50256, eos_token_id: 50256, tie_word_embeddings: true,
};

/** Sizes by name, so that a case knows its cost before anything is loaded. */
export const SIZES = {
  'GPT-2 Small': { layers: 12, heads: 12, width: 768, mlpWidth: 3072, vocabulary: 50257, context: 1024, epsilon: 1e-5 },
  'ioi-mini': { layers: 4, heads: 4, width: 128, mlpWidth: 512, vocabulary: 1026, context: 64, epsilon: 1e-5 },
} as const;

export type Weights = ReadonlyMap<string, { shape: readonly number[]; data: Float32Array }>;

/** Numbers that the weights are cut from; a prime, so that no two rows are alike. */
const BLOCK = 1_000_003;

/** Weights as GPT-2 is initialised (Radford et al. 2019): deviation 0.02, that of projections into the stream smaller by √(2 · layers); norms near 1. */
function randomWeights(): Weights {
  const block = inputs(BLOCK, 31);
  let at = 0;
  const weights = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const [name, shape] of expectedShapes({ ...SIZES['GPT-2 Small'], headWidth: 64, tied: true, bos: null, eos: null })) {
    const data = new Float32Array(elements(shape));
    // A uniform number in [-1, 1) has the deviation 1 / √3.
    const size = 0.02 * Math.sqrt(3) / (/c_proj\.weight$/.test(name) ? Math.sqrt(2 * SIZES['GPT-2 Small'].layers) : 1);
    const around = /ln_\w+\.weight$/.test(name) ? 1 : 0;
    for (let i = 0; i < data.length; i++) {
      data[i] = around + size * block[at]!;
      if (++at === BLOCK) at = 0;
    }
    weights.set(name, { shape, data });
  }
  return weights;
}

/** A model directory whose weights stay where they are: ranges are copied from the tensors' own arrays. */
function weightsSource(weights: Weights): FileSource {
  const tensors: Record<string, TensorToWrite> = {};
  for (const [name, { shape, data }] of weights) tensors[name] = { dtype: 'F32', shape, data };
  const parts = safetensorsParts(tensors);
  const total = parts.reduce((sum, part) => sum + part.length, 0);
  const small = memorySource({ 'config.json': new TextEncoder().encode(JSON.stringify(SMALL)) }, 'memory/gpt2-small-random');
  const file = 'model.safetensors';
  const range = (start: number, end: number): Uint8Array => {
    const out = new Uint8Array(end - start);
    let begin = 0;
    for (const part of parts) {
      const [from, to] = [Math.max(start, begin), Math.min(end, begin + part.length)];
      if (from < to) out.set(part.subarray(from - begin, to - begin), from - start);
      begin += part.length;
    }
    return out;
  };
  return {
    name: small.name,
    has: async (path) => path === file || small.has(path),
    size: async (path) => (path === file ? total : small.size(path)),
    bytes: async (path) => (path === file ? range(0, total) : small.bytes(path)),
    range: async (path, start, end) => (path === file ? range(start, end) : small.range(path, start, end)),
    json: (path) => small.json(path),
  };
}

/** A model on the device, with its weights as its file has them, for the reference. */
export interface Fixture { name: string; model: Gpt2; weights: Weights; sizes: ReferenceSizes & ForwardSizes }
export type ModelName = 'GPT-2 Small' | 'ioi-mini';

const loaded = new Map<ModelName, Promise<Fixture>>();
let miniFolder: string | FileSource | null = null;

/** Says where the embedded model lies: a folder in Node, a URL in a page. */
export function setMiniFolder(where: string | FileSource): void {
  miniFolder = where;
}

/** A model for all cases of a run: GPT-2 Small's shape with random weights, or the embedded one. Leave it alone: `releaseModels` frees it. */
export function fixture(gpu: Gpu, name: ModelName): Promise<Fixture> {
  let found = loaded.get(name);
  if (!found) {
    found = name === 'GPT-2 Small' ? loadSmall(gpu) : loadMini(gpu);
    loaded.set(name, found);
    // A failure is each case's own; the next may try again.
    found.catch(() => loaded.delete(name));
  }
  return found;
}

async function loadSmall(gpu: Gpu): Promise<Fixture> {
  const weights = randomWeights();
  return { name: 'GPT-2 Small', weights, sizes: SIZES['GPT-2 Small'], model: await Gpt2.load(gpu, weightsSource(weights)) };
}

async function loadMini(gpu: Gpu): Promise<Fixture> {
  if (!miniFolder) throw new Error('nobody said where the embedded model lies');
  const file = await openSafetensors(openSource(miniFolder));
  const weights = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const name of file.names) weights.set(name.replace(/^transformer\./, ''), { shape: file.info(name).shape, data: await file.f32(name) });
  return { name: 'ioi-mini', weights, sizes: SIZES['ioi-mini'], model: await Gpt2.load(gpu, miniFolder) };
}

/** Frees the models of a run. */
export function releaseModels(): void {
  for (const found of loaded.values()) void found.then(({ model }) => model.dispose(), () => {});
  loaded.clear();
}

export interface ForwardSizes { layers: number; width: number; mlpWidth: number; vocabulary: number }

/**
 * Operations of `rows` positions through blocks `from` … layers − 1, and of logits at `logits` positions. With `narrow`, only that many rows leave
 * the last block's attention. `attended` counts the pairs of query and key.
 */
export function forwardFlops({ layers, width: D, mlpWidth: M, vocabulary }: ForwardSizes, { rows, attended, from = 0, narrow, logits }: { rows: number; attended: number; from?: number; narrow: number; logits: number }): number {
  const whole = layers - from - 1;
  const block = (n: number): number => n * (D * D + 2 * D * M);
  return 2 * (whole * (rows * 3 * D * D + block(rows) + 2 * attended * D) + rows * 3 * D * D + block(narrow) + 2 * attended * (narrow / rows) * D + logits * D * vocabulary);
}

/** Bytes of the weights of blocks `from` … and the unembedding, which every run reads at least once, and of the logits it writes. */
export function forwardBytes({ layers, width: D, mlpWidth: M, vocabulary }: ForwardSizes, { from = 0, rows, logits }: { from?: number; rows: number; logits: number }): number {
  return 4 * ((layers - from) * (4 * D * D + 2 * D * M) + vocabulary * D + 2 * rows * D + logits * vocabulary);
}
