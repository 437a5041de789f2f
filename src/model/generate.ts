/** Generation with a cache of keys and values: each step runs one position, whatever stands before it. */
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';
import { uniformFloat64 } from 'pure-rand/distribution/uniformFloat64';
import { ShapeError, UsageError } from '../errors.ts';
import { addPositions, argmax, attention, embed, gatherRows, layerNorm, matmul, scatterRows, Tensor } from '../tensor/index.ts';
import type { ForwardModel } from './forward.ts';
import { readBatch } from './run.ts';
import type { Norm } from './weights.ts';

export interface ContinueOptions {
  /** Most tokens to generate; fewer come where the context is full. */
  count: number;
  /** 0 (the default): always the likeliest token. Else tokens are drawn from softmax(logits / temperature). */
  temperature?: number;
  /** Seed of the draws, a whole number; the same seed and logits give the same tokens. Prompt number i draws with seed + i. */
  seed?: number;
  /** A token that ends what follows a prompt; it is not given. */
  stop?: number;
}

export interface GenerateOptions extends Omit<ContinueOptions, 'stop'> {
  /** Called with each token as it comes; return false to stop. */
  onToken?: (id: number) => void | boolean;
}

/**
 * The tokens that follow a prompt, without the prompt.
 * Throws TokenError if the prompt is empty, does not fit the context, or has an id out of range.
 */
export async function generate(model: ForwardModel, prompt: readonly number[], { onToken, ...options }: GenerateOptions): Promise<number[]> {
  const [generated] = await sample(model, [prompt], options, ([id]) => onToken?.(id!) !== false);
  return generated!;
}

/**
 * The tokens that follow each of several prompts of one length, drawn side by side; `onTokens` sees those of every step and may stop with false.
 * Throws ShapeError for prompts of unlike lengths, and what `generate` throws.
 */
export async function sample(
  model: ForwardModel, prompts: readonly (readonly number[])[], options: ContinueOptions, onTokens: (ids: readonly number[]) => boolean = () => true,
): Promise<number[][]> {
  const { count, temperature = 0, seed = 0, stop } = options;
  if (!Number.isInteger(count) || count < 0) throw new UsageError(`the number of tokens to generate must be a whole number, not ${count}`);
  if (!(temperature >= 0) || !Number.isFinite(temperature)) throw new UsageError(`the temperature must be 0 or more, not ${temperature}`);
  if (!Number.isSafeInteger(seed) || seed < 0) throw new UsageError(`the seed must be a whole number, not ${seed}`);
  const { config, gpu } = model;
  const { count: rows, length, lengths } = readBatch(prompts, config);
  if (lengths.some((own) => own !== length)) throw new ShapeError('prompts that are gone on with side by side must have one length');
  let next: readonly (readonly number[])[] = prompts;
  const random = prompts.map((_, i) => xoroshiro128plus(stirred(seed + i)));
  // The last token needs no place of its own: nothing is computed from it.
  const capacity = Math.min(config.context, length + count);
  const cache = Array.from({ length: config.layers }, () => gpu.keep(Tensor.empty(gpu, [rows, capacity, 3 * config.width])));
  const generated: number[][] = prompts.map(() => []);
  const ended = prompts.map(() => false);
  try {
    for (let filled = 0, made = 0; made < count && filled + next[0]!.length <= config.context && ended.includes(false); made++) {
      const logits = gpu.keep(gpu.scope(() => step(model, next, cache, filled)));
      filled += next[0]!.length;
      const ids = await choose(logits, temperature, random.map((own) => () => uniformFloat64(own))).finally(() => logits.dispose());
      ids.forEach((id, row) => {
        ended[row] ||= id === stop;
        if (!ended[row]) generated[row]!.push(id);
      });
      if (!onTokens(ids)) break;
      next = ids.map((id) => [id]);
    }
  } finally {
    for (const tensor of cache) tensor.dispose();
  }
  return generated;
}

/** Logits [prompts, vocabulary] after the last of `tokens`, equally many of each prompt, which follow `filled` tokens whose keys and values are in the cache; theirs are added. */
export function step(model: ForwardModel, tokens: readonly (readonly number[])[], cache: readonly Tensor[], filled: number): Tensor {
  const { gpu, config, weights } = model;
  const [rows, count] = [tokens.length, tokens[0]!.length];
  const capacity = cache[0]!.shape[1]!;
  const norm = (x: Tensor, n: Norm | null): Tensor => layerNorm(x, n?.weight ?? null, n?.bias ?? null, config.epsilon);
  const index = (at: (row: number, i: number) => number, each: number): Tensor => Tensor.from(gpu, Uint32Array.from({ length: rows * each }, (_, i) => at(Math.floor(i / each), i % each)), [rows * each]);
  const places = index((row, i) => row * capacity + filled + i, count);
  let x = addPositions(embed(Tensor.from(gpu, Uint32Array.from(tokens.flat()), [rows, count]), weights.embed), weights.positions, filled).reshape([-1, config.width]);
  for (const [layer, block] of weights.blocks.entries()) {
    const qkv = matmul(norm(x, block.ln1), block.qkvWeight, { bias: block.qkvBias }).reshape([rows, count, 3 * config.width]);
    const z = attention({ qkv, prefix: filled ? { qkv: cache[layer]!, length: filled } : undefined, heads: config.heads });
    scatterRows(cache[layer]!, places, qkv);
    x = matmul(z.reshape([-1, config.width]), block.outWeight, { bias: block.outBias, residual: x });
    const post = matmul(norm(x, block.ln2), block.mlpInWeight, { bias: block.mlpInBias, activation: 'gelu' });
    x = matmul(post, block.mlpOutWeight, { bias: block.mlpOutBias, residual: x });
  }
  const ends = rows === 1 ? x.rows(count - 1, 1) : gatherRows(x, index((row) => row * count + count - 1, 1));
  return matmul(norm(ends, weights.finalNorm), weights.unembed, { transposeB: true, bias: weights.unembedBias ?? undefined });
}

/** The likeliest token of each row, or one drawn at a temperature by inverting the cumulative distribution. */
async function choose(logits: Tensor, temperature: number, uniform: readonly (() => number)[]): Promise<number[]> {
  if (temperature === 0) {
    const best = argmax(logits);
    return [...await best.readU32().finally(() => best.dispose())];
  }
  const all = await logits.read();
  const size = all.length / uniform.length;
  return uniform.map((draw, row) => {
    const values = all.subarray(row * size, (row + 1) * size);
    const highest = values.reduce((a, b) => Math.max(a, b), -Infinity);
    const weights = Float64Array.from(values, (value) => Math.exp((value - highest) / temperature));
    const target = draw() * weights.reduce((a, b) => a + b, 0);
    let sum = 0;
    for (let id = 0; id < weights.length; id++) {
      sum += weights[id]!;
      if (target < sum) return id;
    }
    return weights.length - 1;
  });
}

/** A seed stirred by MurmurHash3's finaliser: the generator's first numbers for neighbouring seeds are alike otherwise. */
function stirred(seed: number): number {
  let h = (seed ^ Math.imul(Math.floor(seed / 2 ** 32) + 1, 0x9e3779b1)) | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
