/**
 * Direct logit attribution: what every component's output adds by itself to the difference of two tokens' logits (Elhage et al. 2021, "A Mathematical
 * Framework for Transformer Circuits"; for indirect objects Wang et al. 2022, arXiv 2211.00593, section 3).
 *
 * The residual stream r at a position is the sum of what the embeddings, each head (z W_O), each layer's attention bias and each MLP wrote. The
 * logits are linear in r but for the final norm's σ = √(var(r) + ε), which is held at the prompt's own value. Then
 *
 *   logit_a − logit_b = Σ_c c·g + constant,    g = (γ ⊙ u − mean(γ ⊙ u)) / σ,    u = W_U[a] − W_U[b],    constant = β·u + b_a − b_b
 *
 * over components c; taking the mean off γ ⊙ u is the norm's own centring of c. A folded norm is γ = 1, β = 0. The sum is exact, but an effect says
 * nothing of what a component does through later ones, nor of how σ would move without it.
 */
import { ShapeError } from '../errors.ts';
import type { Gpt2 } from '../model/index.ts';
import { gatherRows, matmul, mul, scatterRows, sumRows, Tensor } from '../tensor/index.ts';

/** Effects in logits, by prompt. */
export interface DirectEffects {
  /** Token and position embedding. */
  embed: number;
  posEmbed: number;
  /** [layers][heads] */
  heads: number[][];
  /** Output bias of attention, by layer. */
  attentionBias: number[];
  /** By layer. */
  mlps: number[];
  constant: number;
  /** Sum of all: the difference of the two logits. */
  total: number;
  /** σ of the final norm, which everything but the constant was divided by. */
  scale: number;
}

export interface DirectEffectsOptions {
  /** Token ids a and b, one of each per prompt. */
  first: ArrayLike<number>;
  second: ArrayLike<number>;
  /** Where the logits are read, one per prompt; the last token unless given. */
  positions?: ArrayLike<number>;
}

/** Direct effects of all components of each prompt, in one run. Throws ShapeError for numbers of tokens that are not the number of prompts, TokenError as runs do. */
export async function directEffects(model: Gpt2, prompts: readonly (readonly number[])[], options: DirectEffectsOptions): Promise<DirectEffects[]> {
  const { gpu, config: { layers, heads, headWidth, width } } = model;
  const n = prompts.length;
  const positions = options.positions ?? prompts.map(({ length }) => length - 1);
  const { along, constants } = await logitDirections(model, options.first, options.second);
  if (constants.length !== n) throw new ShapeError(`${constants.length} pairs of tokens do not fit ${n} prompts`);
  const names = ['hook_embed', 'hook_pos_embed', ...Array.from({ length: layers }, (_, layer) => [`blocks.${layer}.attn.hook_z`, `blocks.${layer}.hook_mlp_out`]).flat(), 'ln_final.hook_scale'];
  const columns = 2 + layers * (heads + 2);
  const [effects, scales] = await gpu.scope(() => {
    const run = model.run(prompts, { captures: names.map((hook) => ({ hook, positions })), logits: 'none' });
    const g = Tensor.from(gpu, along, [n, width]);
    const every = Tensor.from(gpu, Uint32Array.from({ length: n }, (_, i) => i), [n]);
    const out = Tensor.empty(gpu, [n, columns]);
    const put = (offset: number, values: Tensor): void => scatterRows(out, every, values, { offset });
    const whole = (captured: Tensor): Tensor => sumRows(mul(captured, g)).reshape([n, 1]);
    put(0, whole(run.captured[0]!));
    put(1, whole(run.captured[1]!));
    for (let layer = 0; layer < layers; layer++) {
      const { outWeight, outBias } = model.weights.blocks[layer]!;
      const start = 2 + layer * (heads + 2);
      // z_h W_O,h · g = z_h · (W_O,h g): one small product for all heads.
      const read = matmul(g, outWeight, { transposeB: true });
      put(start, sumRows(mul(run.captured[2 + 2 * layer]!, read).reshape([n * heads, headWidth])).reshape([n, heads]));
      put(start + heads, matmul(g, outBias.reshape([1, width]), { transposeB: true }));
      put(start + heads + 1, whole(run.captured[3 + 2 * layer]!));
    }
    return Promise.all([out.read(), run.captured.at(-1)!.read()]);
  });
  return prompts.map((_, prompt) => {
    const scale = scales[prompt]!;
    const own = Array.from(effects.subarray(prompt * columns, (prompt + 1) * columns), (value) => value / scale);
    const start = (layer: number): number => 2 + layer * (heads + 2);
    const each = <T>(value: (layer: number) => T): T[] => Array.from({ length: layers }, (_, layer) => value(layer));
    return {
      embed: own[0]!, posEmbed: own[1]!, scale, constant: constants[prompt]!,
      heads: each((layer) => own.slice(start(layer), start(layer) + heads)),
      attentionBias: each((layer) => own[start(layer) + heads]!),
      mlps: each((layer) => own[start(layer) + heads + 1]!),
      total: own.reduce((a, b) => a + b, constants[prompt]!),
    };
  });
}

/** σ g of each pair of tokens, [pairs · width], and what is added whatever the residual stream is. */
export async function logitDirections(model: Gpt2, first: ArrayLike<number>, second: ArrayLike<number>): Promise<{ along: Float32Array; constants: number[] }> {
  const { gpu, config: { width, vocabulary }, weights: { unembed, unembedBias, finalNorm } } = model;
  const n = first.length;
  if (second.length !== n) throw new ShapeError(`${n} first tokens and ${second.length} second ones make no pairs`);
  const ids = Uint32Array.from([...Array.from(first), ...Array.from(second)]);
  const stray = ids.find((id) => id >= vocabulary);
  if (stray !== undefined) throw new ShapeError(`token id ${stray} is not in the vocabulary, which has the ids 0 to ${vocabulary - 1}`);
  const [rows, biases, gamma, beta] = await gpu.scope(() => {
    const index = Tensor.from(gpu, ids, [2 * n]);
    return Promise.all([gatherRows(unembed, index).read(), unembedBias && gatherRows(unembedBias.reshape([vocabulary, 1]), index).read(), finalNorm?.weight.read(), finalNorm?.bias.read()]);
  });
  const along = new Float32Array(n * width);
  const constants: number[] = [];
  for (let pair = 0; pair < n; pair++) {
    let [constant, mean] = [(biases?.[pair] ?? 0) - (biases?.[n + pair] ?? 0), 0];
    const scaled = Float64Array.from({ length: width }, (_, i) => {
      const u = rows[pair * width + i]! - rows[(n + pair) * width + i]!;
      constant += (beta?.[i] ?? 0) * u;
      const value = (gamma?.[i] ?? 1) * u;
      mean += value / width;
      return value;
    });
    along.set(scaled.map((value) => value - mean), pair * width);
    constants.push(constant);
  }
  return { along, constants };
}
