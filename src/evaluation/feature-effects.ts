/**
 * What a feature does and what makes it active, read off the model's weights (arXiv 2405.08366, A.13; evaluation.md §6.4).
 *
 *   logits        d_j W_O of the head, centred and times γ of the final norm, W_U: what a code of 1 adds to the logits directly, before the division
 *                 by the norm's scale. The mean over the vocabulary is taken off. For v sites this is per unit of attention. Queries and keys have no
 *                 such effect: they only move attention.
 *   attribution   for z at a position t: z = Σ_s pattern[t, s] v_s, so that the encoder's product is a sum over source positions s
 *                 e_j·(z − b_dec) + b_j = Σ_s pattern[t, s] e_j·v_s + (b_j − e_j·b_dec)
 *                 exactly. A head's q, k and v read the residual stream at their own position alone: there the sum would have one term.
 */
import { type Dictionary, Sae } from '../dictionary/index.ts';
import type { Gpt2 } from '../model/index.ts';
import { hookOf, promptsPerRun, type ActivationPlace, type SiteAddress } from '../task/index.ts';
import { gatherElements, gatherRows, matmul, sub, Tensor } from '../tensor/index.ts';

/** What chosen features decode to with code 1, less the bias: [chosen, dIn]. */
export function featureDirections(dictionary: Dictionary, gpu: Tensor['gpu'], chosen: readonly number[]): Tensor {
  if (dictionary.directions) return dictionary.directions(chosen);
  const ones = new Float32Array(chosen.length * dictionary.features);
  chosen.forEach((feature, row) => { ones[row * dictionary.features + feature] = 1; });
  const shape = [chosen.length, dictionary.features];
  return gpu.scope(() => sub(dictionary.decode(Tensor.from(gpu, ones, shape)), dictionary.decode(Tensor.zeros(gpu, shape))));
}

/** Direct effects of directions [n, width of the place] on the logits, [vocabulary] each, with mean zero; null for places that write nothing to the residual stream, such as q and k. */
export async function logitEffects(model: Gpt2, place: ActivationPlace, directions: Tensor): Promise<Float32Array[] | null> {
  const way = writing(model, place);
  if (!way) return null;
  const { gpu, config: { width, vocabulary }, weights } = model;
  const n = directions.shape[0]!;
  const [written, gain] = await gpu.scope(() => Promise.all([writtenBy(directions, way).read(), weights.finalNorm?.weight.read()]));
  for (let row = 0; row < n; row++) {
    const own = written.subarray(row * width, (row + 1) * width);
    const mean = own.reduce((sum, value) => sum + value, 0) / width;
    own.forEach((value, i) => { own[i] = (value - mean) * (gain?.[i] ?? 1); });
  }
  const logits = await gpu.scope(() => matmul(Tensor.from(gpu, written, [n, width]), weights.unembed, { transposeB: true }).read());
  return Array.from({ length: n }, (_, row) => {
    const own = logits.slice(row * vocabulary, (row + 1) * vocabulary);
    const mean = own.reduce((sum, value) => sum + value, 0) / vocabulary;
    return own.map((value) => value - mean);
  });
}

/** How an activation gets into the residual stream: through rows of a weight matrix, or as it is. */
export type Writing = { weight: Tensor; start: number; count: number } | 'as it is';

/** null where it is only read by something that is not linear. For v, what is written is per unit of attention. */
export function writing(model: Gpt2, place: ActivationPlace): Writing | null {
  const { hooks, config: { headWidth, width, mlpWidth }, weights: { blocks } } = model;
  const { kind, layer } = hooks.get('hook' in place ? place.hook : hookOf(place));
  switch (kind) {
    case 'v': case 'z': {
      const weight = blocks[layer]!.outWeight;
      return 'hook' in place ? { weight, start: 0, count: width } : { weight, start: place.head * headWidth, count: headWidth };
    }
    case 'post': return { weight: blocks[layer]!.mlpOutWeight, start: 0, count: mlpWidth };
    case 'embed': case 'pos_embed': case 'resid_pre': case 'resid_mid': case 'resid_post': case 'attn_out': case 'mlp_out': return 'as it is';
    default: return null;
  }
}

/** What activations, or directions in their space, write: [n, width of the residual stream]. A tensor of its own handle. */
export function writtenBy(x: Tensor, way: Writing): Tensor {
  if (way === 'as it is') return x.reshape(x.shape);
  const { weight, start, count } = way;
  return x.gpu.scope(() => matmul(x, gatherRows(weight, Tensor.from(x.gpu, Uint32Array.from({ length: count }, (_, i) => start + i), [count]))));
}

/** One place where a feature is looked at. */
export interface Place {
  tokens: readonly number[];
  position: number;
  feature: number;
}

export interface Attribution {
  /** What each position from the first up to the place adds. */
  bySource: number[];
  /** b_j − e_j·b_dec */
  constant: number;
  /** e_j·(z − b_dec) + b_j from z itself: the sum of the others, to rounding. */
  preActivation: number;
}

/** The encoder's product of an SAE's features at a z site by source position, for each place. */
export async function attributeSources(model: Gpt2, site: SiteAddress, sae: Sae, places: readonly Place[]): Promise<Attribution[]> {
  const found: Attribution[] = [];
  const longest = places.reduce((most, { tokens }) => Math.max(most, tokens.length), 1);
  const batch = promptsPerRun(model, longest);
  for (let start = 0; start < places.length; start += batch) found.push(...await attributeBatch(model, site, sae, places.slice(start, start + batch)));
  return found;
}

async function attributeBatch(model: Gpt2, { layer, head }: SiteAddress, sae: Sae, places: readonly Place[]): Promise<Attribution[]> {
  const { gpu, config: { headWidth } } = model;
  const [z, v] = [hookOf({ kind: 'z', layer }), hookOf({ kind: 'v', layer })];
  const positions = places.map(({ position }) => position);
  const [pattern, products, wholes, constants] = await gpu.scope(() => {
    const run = model.run(places.map(({ tokens }) => tokens), {
      captures: [{ hook: `blocks.${layer}.attn.hook_pattern`, head, positions }, { hook: z, head, positions }], cache: v, logits: 'none',
    });
    const encoder = gatherRows(sae.weights.encoder, Tensor.from(gpu, Uint32Array.from(places, ({ feature }) => feature), [places.length]));
    const values = headRows(run.get(v), head).reshape([places.length, run.length, headWidth]);
    const asColumns = encoder.reshape([places.length, headWidth, 1]);
    const read = Promise.all([
      run.captured[0]!.read(), matmul(values, asColumns).read(), matmul(run.captured[1]!.reshape([places.length, 1, headWidth]), asColumns).read(), constantsOf(sae, encoder, places),
    ]);
    run.dispose();
    return read;
  });
  const length = pattern.length / places.length;
  return places.map(({ position }, i) => ({
    bySource: Array.from({ length: position + 1 }, (_, s) => pattern[i * length + s]! * products[i * length + s]!),
    constant: constants[i]!,
    preActivation: wholes[i]! + constants[i]!,
  }));
}

/** b_j − e_j·b_dec for the feature of each place, from its encoder row; released top-k dictionaries have no b_j. */
async function constantsOf(sae: Sae, encoder: Tensor, places: readonly Place[]): Promise<number[]> {
  const [rows, biases, decoderBias] = await Promise.all([encoder.read(), sae.weights.encoderBias.read(), sae.weights.decoderBias.read()]);
  const bare = sae.kind.variant === 'topk' && sae.kind.signed === true;
  return places.map(({ feature }, i) => {
    let along = 0;
    for (let k = 0; k < sae.dIn; k++) along += rows[i * sae.dIn + k]! * decoderBias[k]!;
    return (bare ? 0 : biases[feature]!) - along;
  });
}

/** Codes of chosen features alone: [n, chosen]. */
export function codesOf(codes: Tensor, chosen: readonly number[]): Tensor {
  const { gpu } = codes;
  const n = codes.shape[0]!;
  return gpu.scope(() => gatherElements(codes, Tensor.from(gpu, Uint32Array.from({ length: n * chosen.length }, (_, i) => chosen[i % chosen.length]!), [n, chosen.length])));
}

/** One head's rows of an activation [prompts, positions, heads, headWidth]: [prompts · positions, headWidth]. */
export function headRows(x: Tensor, head: number): Tensor {
  const [prompts = 0, positions = 0, heads = 0] = x.shape;
  const count = prompts * positions;
  return x.gpu.scope(() => gatherRows(x, Tensor.from(x.gpu, Uint32Array.from({ length: count }, (_, i) => i * heads + head), [count])));
}
