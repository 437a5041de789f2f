/** Generation with a cache of keys and values: each step runs one position, whatever stands before it. */
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { UsageError } from '../errors.ts';
import { addPositions, argmax, attention, embed, layerNorm, matmul, scatterRows, Tensor } from '../tensor/index.ts';
import type { ForwardModel } from './forward.ts';
import { readBatch } from './run.ts';
import type { Norm } from './weights.ts';

export interface GenerateOptions {
  /** Most tokens to generate; fewer come where the context is full. */
  count: number;
  /** 0 (the default): always the likeliest token. Else tokens are drawn from softmax(logits / temperature). */
  temperature?: number;
  /** Seed of the draws, a whole number; the same seed and logits give the same tokens. */
  seed?: number;
  /** Called with each token as it comes; return false to stop. */
  onToken?: (id: number) => void | boolean;
}

/**
 * The tokens that follow a prompt, without the prompt.
 * Throws TokenError if the prompt is empty, does not fit the context, or has an id out of range.
 */
export async function generate(model: ForwardModel, prompt: readonly number[], options: GenerateOptions): Promise<number[]> {
  const { count, temperature = 0, seed = 0, onToken } = options;
  if (!Number.isInteger(count) || count < 0) throw new UsageError(`the number of tokens to generate must be a whole number, not ${count}`);
  if (!(temperature >= 0) || !Number.isFinite(temperature)) throw new UsageError(`the temperature must be 0 or more, not ${temperature}`);
  if (!Number.isSafeInteger(seed) || seed < 0) throw new UsageError(`the seed must be a whole number, not ${seed}`);
  const { config, gpu } = model;
  let next: readonly number[] = [...readBatch([prompt], config).padded!];
  const random = xoroshiro128plus(stirred(seed));
  // The last token needs no place of its own: nothing is computed from it.
  const capacity = Math.min(config.context, prompt.length + count);
  const cache = Array.from({ length: config.layers }, () => gpu.keep(Tensor.empty(gpu, [1, capacity, 3 * config.width])));
  const generated: number[] = [];
  try {
    for (let filled = 0; generated.length < count && filled + next.length <= config.context; ) {
      const logits = gpu.keep(gpu.scope(() => step(model, next, cache, filled)));
      filled += next.length;
      const id = await choose(logits, temperature, () => uniformFloat64(random)).finally(() => logits.dispose());
      generated.push(id);
      if (onToken?.(id) === false) break;
      next = [id];
    }
  } finally {
    for (const tensor of cache) tensor.dispose();
  }
  return generated;
}

/** Logits [1, vocabulary] after the last of `tokens`, which follow `filled` tokens whose keys and values are in the cache; theirs are added. */
export function step(model: ForwardModel, tokens: readonly number[], cache: readonly Tensor[], filled: number): Tensor {
  const { gpu, config, weights } = model;
  const count = tokens.length;
  const norm = (x: Tensor, n: Norm | null): Tensor => layerNorm(x, n?.weight ?? null, n?.bias ?? null, config.epsilon);
  const places = Tensor.from(gpu, Uint32Array.from(tokens, (_, i) => filled + i), [count]);
  let x = addPositions(embed(Tensor.from(gpu, Uint32Array.from(tokens), [1, count]), weights.embed), weights.positions, filled).reshape([count, config.width]);
  for (const [layer, block] of weights.blocks.entries()) {
    const qkv = matmul(norm(x, block.ln1), block.qkvWeight, { bias: block.qkvBias }).reshape([1, count, 3 * config.width]);
    const z = attention({ qkv, prefix: filled ? { qkv: cache[layer]!, length: filled } : undefined, heads: config.heads });
    scatterRows(cache[layer]!, places, qkv);
    x = matmul(z.reshape([count, config.width]), block.outWeight, { bias: block.outBias, residual: x });
    const post = matmul(norm(x, block.ln2), block.mlpInWeight, { bias: block.mlpInBias, activation: 'gelu' });
    x = matmul(post, block.mlpOutWeight, { bias: block.mlpOutBias, residual: x });
  }
  const last = norm(x.rows(count - 1, 1), weights.finalNorm);
  return matmul(last, weights.unembed, { transposeB: true, bias: weights.unembedBias ?? undefined });
}

/** The likeliest token, or one drawn at a temperature by inverting the cumulative distribution. */
async function choose(logits: Tensor, temperature: number, uniform: () => number): Promise<number> {
  if (temperature === 0) {
    const best = argmax(logits);
    const [id] = await best.readU32().finally(() => best.dispose());
    return id!;
  }
  const values = await logits.read();
  const highest = values.reduce((a, b) => Math.max(a, b), -Infinity);
  const weights = Float64Array.from(values, (value) => Math.exp((value - highest) / temperature));
  const target = uniform() * weights.reduce((a, b) => a + b, 0);
  let sum = 0;
  for (let id = 0; id < weights.length; id++) {
    sum += weights[id]!;
    if (target < sum) return id;
  }
  return weights.length - 1;
}

/** A seed stirred by MurmurHash3's finaliser: the generator's first numbers for neighbouring seeds are alike otherwise. */
function stirred(seed: number): number {
  let h = (seed ^ Math.imul(Math.floor(seed / 2 ** 32) + 1, 0x9e3779b1)) | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
