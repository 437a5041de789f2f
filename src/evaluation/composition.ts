/**
 * What a head's query (or key, or value) is made of: the direct effect of every earlier component (arXiv 2405.08366, A.7; evaluation.md §3.5).
 *
 * The head reads  q = W (γ ⊙ (r − r̄) / σ + β) + b  from the residual stream r before its layer, σ = √(var(r) + ε). With σ held fixed this is
 * linear in r, and r is a sum: embeddings, each earlier head's output z W_O, each layer's attention bias and MLP. For a direction u in the
 * space of q, component c adds
 *
 *   c · g,    g = W' u / σ,    W' = γ ⊙ W less the mean over inputs of each column  (so that c need not be centred)
 *
 * and the constant (β W + b)·u is left. With each prompt's own σ the sum over components is q·u exactly; with the mean σ over prompts a term
 * `scale` makes up the difference. A head's z is taken apart further by a dictionary at its site (terms.ts). Layer norms that are folded into
 * W are γ = 1, β = 0.
 *
 * By default u is the query's own deviation from its mean, u = q − q̄, and each component's deviation from its mean is projected on it and
 * divided by ‖u‖²: the share of the deviation that it makes, one for all together.
 */
import * as z from 'zod';
import { columnIds, type Dictionary } from '../dictionary/index.ts';
import { UsageError } from '../errors.ts';
import type { Gpt2 } from '../model/index.ts';
import { byLength, checkSite, hookOf, positionsOf, promptsPerRun, type Prompts, type SiteAddress } from '../task/index.ts';
import { add, gatherRows, matmul, meanColumns, mul, scatterRows, sub, sumRows, sumSquaresRows, Tensor } from '../tensor/index.ts';
import { mean } from './formulas.ts';
import { boxSchema, headName } from './mechanism.ts';
import { boxOf, everyRow, groupsFor, splitActivations } from './terms.ts';

/** Features of a dictionary without labels that get terms of their own. */
const SINGLED = 4;

const componentRow = z.object({
  head: z.string().describe('the head that reads, L{layer}H{head}'),
  kind: z.enum(['q', 'k', 'v']),
  position: z.string(),
  component: z.string().describe("'embed', 'pos_embed', 'mlp L0', 'attention bias L0', 'L0H1' for an earlier head, 'constant', 'scale'"),
  term: z.string().nullable().describe("part of an earlier head's output: 'bias', a group of features, 'error'; null for the whole component"),
  dictionary: z.string().nullable().describe('what the output was taken apart by; null for whole components'),
  share: boxSchema.describe('over prompts'),
});

export const compositionSchema = z.object({
  rows: z.array(componentRow),
  closures: z.array(z.object({
    head: z.string(), kind: z.enum(['q', 'k', 'v']), position: z.string(),
    closure: z.number().describe('largest over prompts of |sum over whole components - exact value|'),
    projection: boxSchema.describe('the exact value: 1 for the own direction, q·u for a given one'),
    scale: z.enum(['exact', 'mean']), prompts: z.int(),
  })),
});
export type CompositionResult = z.infer<typeof compositionSchema>;
export type ComponentRow = z.infer<typeof componentRow>;

export interface CompositionStudy {
  /** The head that reads, at a position. */
  heads: readonly SiteAddress[];
  /** What an earlier head's output, `z` at the same position, is taken apart by; an empty list leaves it whole. */
  dictionariesAt: (site: SiteAddress) => readonly Dictionary[];
  /** σ of each prompt, or its mean over prompts for all. */
  scale?: 'exact' | 'mean';
  /** u, one row per prompt [prompts, headWidth], instead of the own deviation; contributions are then plain products, not shares. */
  directions?: (site: SiteAddress) => Tensor | null;
  /** Features of a dictionary without labels that get terms of their own; 4 unless told. */
  singled?: number;
}

/** Components of each head that reads, and their terms. Throws UsageError for a site that is no q, k or v. */
export async function headComposition(model: Gpt2, prompts: Prompts, study: CompositionStudy, watching: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {}): Promise<CompositionResult> {
  const result: CompositionResult = { rows: [], closures: [] };
  for (const [i, site] of study.heads.entries()) {
    if (site.kind === 'z') throw new UsageError(`the composition of ${headName(site)} is that of its q, k or v, not of z`);
    checkSite(site, model.config);
    watching.signal?.throwIfAborted();
    const composed = await composition(model, prompts, site, study);
    result.rows.push(...composed.rows);
    result.closures.push(...composed.closures);
    watching.onProgress?.(i + 1, study.heads.length);
  }
  return result;
}

/** A component of the residual stream on every prompt. */
interface Component {
  name: string;
  /** [prompts, w]: the residual stream's width, or for a head's output its z. */
  values: Tensor;
  /** The earlier head whose z this is. */
  head: SiteAddress | null;
}

/** All that one composition is computed from. */
interface Reading {
  components: Component[];
  /** The head's own q, k or v, [prompts, headWidth]. */
  own: Tensor;
  /** σ of each prompt. */
  scale: Float32Array;
}

async function composition(model: Gpt2, prompts: Prompts, site: SiteAddress, study: CompositionStudy): Promise<CompositionResult> {
  const { gpu } = model;
  return gpu.scope(async () => {
    const { matrix, constant } = await readingWeights(model, site);
    const { components, own, scale } = await readStream(model, prompts, site);
    const given = study.directions?.(site) ?? null;
    const u = given ?? sub(own, meanColumns(own));
    const exact = await sumRows(mul(own, u)).read();
    const squares = await sumSquaresRows(u).read();
    const sigma = study.scale === 'mean' ? new Float32Array(scale.length).fill(mean(scale)) : scale;
    const projection = new Projection(matmul(u, matrix, { transposeB: true }), sigma, given === null ? squares : null);
    const where = { head: headName(site), kind: site.kind as 'q' | 'k' | 'v', position: site.position };
    const rows: ComponentRow[] = [];
    const sums = new Float64Array(exact.length);
    const put = (component: string, share: Float64Array): void => {
      share.forEach((value, prompt) => { sums[prompt]! += value; });
      rows.push({ ...where, component, term: null, dictionary: null, share: boxOf(share) });
    };
    const alongConstant = given ? await matmul(u, constant, { transposeB: true }).read() : null;
    if (alongConstant) put('constant', Float64Array.from(alongConstant));
    for (const { name, values, head } of components) {
      const along = head ? gpu.scope(() => matmul(projection.along, outputRows(model, head), { transposeB: true })) : projection.along;
      const [whole] = await projection.of(values.reshape([values.shape[0]!, 1, -1]), along);
      put(name, whole!);
      if (head) rows.push(...(await headTerms(prompts, head, values, along, projection, study)).map((row): ComponentRow => ({ ...where, component: name, ...row })));
      if (along !== projection.along) along.dispose();
    }
    const whole = Float64Array.from(exact, (value) => (given ? value : 1));
    if (study.scale === 'mean') put('scale', whole.map((value, prompt) => value - sums[prompt]!));
    const closure = sums.reduce((most, sum, prompt) => Math.max(most, Math.abs(sum - whole[prompt]!)), 0);
    return { rows, closures: [{ ...where, closure, projection: boxOf(whole), scale: study.scale ?? 'exact', prompts: exact.length }] };
  });
}

/** What components add along a direction. */
class Projection {
  /** W' u of each prompt, in the residual stream: [prompts, D]. */
  readonly along: Tensor;
  private readonly sigma: Float32Array;
  /** ‖u‖² where deviations from the mean are projected and shares wanted. */
  private readonly squares: Float32Array | null;

  constructor(along: Tensor, sigma: Float32Array, squares: Float32Array | null) {
    this.along = along;
    this.sigma = sigma;
    this.squares = squares;
  }

  /** Each term's share on each prompt, from terms [prompts, T, w] and vectors [prompts, w] that stand for u in their space: T lists of prompts. */
  async of(terms: Tensor, along: Tensor): Promise<Float64Array[]> {
    const { gpu } = terms;
    const [n, T, w] = terms.shape as [number, number, number];
    const { sigma, squares } = this;
    const [direct, means] = await gpu.scope(() => {
      const products = matmul(terms, along.reshape([n, w, 1]));
      // The mean over prompts of a term / σ, along each prompt's vector.
      const weights = Tensor.from(gpu, Float32Array.from(sigma, (value) => 1 / (n * value)), [1, n]);
      const meanTerms = matmul(weights, terms.reshape([n, T * w])).reshape([T, w]);
      return Promise.all([products.read(), matmul(along, meanTerms, { transposeB: true }).read()]);
    });
    return Array.from({ length: T }, (_, t) => Float64Array.from({ length: n }, (_, prompt) => {
      const plain = direct![prompt * T + t]! / sigma[prompt]!;
      return squares ? (plain - means![prompt * T + t]!) / squares[prompt]! : plain;
    }));
  }
}

/** The terms of an earlier head's output by each dictionary there. */
async function headTerms(prompts: Prompts, head: SiteAddress, z: Tensor, along: Tensor, projection: Projection, study: CompositionStudy): Promise<Pick<ComponentRow, 'term' | 'dictionary' | 'share'>[]> {
  const rows: Pick<ComponentRow, 'term' | 'dictionary' | 'share'>[] = [];
  const examples = { activations: z, attributes: columnIds(prompts) };
  for (const dictionary of study.dictionariesAt(head)) {
    const groups = await groupsFor(dictionary, examples, along, study.singled ?? SINGLED);
    const { names, values } = splitActivations(dictionary, examples, groups);
    const shares = await projection.of(values, along);
    values.dispose();
    names.forEach((term, t) => rows.push({ term, dictionary: dictionary.name, share: boxOf(shares[t]!) }));
  }
  return rows;
}

/** W' [D, headWidth] and βW + b [1, headWidth] of the head's q, k or v, computed in float64. */
export async function readingWeights(model: Gpt2, { kind, layer, head }: SiteAddress): Promise<{ matrix: Tensor; constant: Tensor }> {
  const { gpu, config: { width, headWidth } } = model;
  const block = model.weights.blocks[layer]!;
  const column = ['q', 'k', 'v'].indexOf(kind) * width + head * headWidth;
  const [weight, bias, gamma, beta] = await gpu.scope(() => Promise.all([
    gatherRows(block.qkvWeight, everyRow({ gpu }, width), { offset: column, width: headWidth }).read(),
    block.qkvBias.read(), block.ln1?.weight.read(), block.ln1?.bias.read(),
  ]));
  const matrix = new Float64Array(width * headWidth);
  const constant = Float64Array.from({ length: headWidth }, (_, j) => bias[column + j]!);
  for (let j = 0; j < headWidth; j++) {
    let sum = 0;
    for (let i = 0; i < width; i++) {
      const value = weight[i * headWidth + j]!;
      constant[j]! += (beta?.[i] ?? 0) * value;
      sum += matrix[i * headWidth + j] = (gamma?.[i] ?? 1) * value;
    }
    for (let i = 0; i < width; i++) matrix[i * headWidth + j]! -= sum / width;
  }
  return { matrix: Tensor.from(gpu, Float32Array.from(matrix), [width, headWidth]), constant: Tensor.from(gpu, Float32Array.from(constant), [1, headWidth]) };
}

/** W_O of one head, [headWidth, D]. */
function outputRows(model: Gpt2, { layer, head }: SiteAddress): Tensor {
  const { gpu, config: { headWidth } } = model;
  return gpu.scope(() => gatherRows(model.weights.blocks[layer]!.outWeight, Tensor.from(gpu, Uint32Array.from({ length: headWidth }, (_, i) => head * headWidth + i), [headWidth])));
}

/** Every component of the residual stream that the site reads, of all prompts. */
async function readStream(model: Gpt2, prompts: Prompts, site: SiteAddress): Promise<Reading> {
  const { gpu, config: { width, headWidth, heads } } = model;
  const layers = Array.from({ length: site.layer }, (_, layer) => layer);
  const hooks = [
    { hook: 'hook_embed' }, { hook: 'hook_pos_embed' },
    ...layers.flatMap((layer) => [{ hook: `blocks.${layer}.attn.hook_z` }, { hook: `blocks.${layer}.hook_mlp_out` }]),
    { hook: `blocks.${site.layer}.ln1.hook_scale` }, { hook: hookOf(site), head: site.head },
  ];
  const widths = hooks.map((_, i) => (i === hooks.length - 2 ? 1 : i === hooks.length - 1 ? headWidth : width));
  const found = await capture(model, prompts, hooks, widths, positionsOf(prompts, site.position));
  const [embed, places] = found;
  const components: Component[] = [{ name: 'embed', values: embed!, head: null }, { name: 'pos_embed', values: places!, head: null }];
  const rows = everyRow({ gpu }, prompts.count);
  for (const layer of layers) {
    for (let head = 0; head < heads; head++) {
      const values = gatherRows(found[2 + 2 * layer]!, rows, { offset: head * headWidth, width: headWidth });
      components.push({ name: headName({ layer, head }), values, head: { kind: 'z', layer, head, position: site.position } });
    }
    components.push({ name: `attention bias L${layer}`, values: add(Tensor.zeros(gpu, [prompts.count, width]), model.weights.blocks[layer]!.outBias), head: null });
    components.push({ name: `mlp L${layer}`, values: found[3 + 2 * layer]!, head: null });
  }
  return { components, own: found.at(-1)!, scale: await found.at(-2)!.read() };
}

/** Activations of any hooks at one position of each prompt, [prompts, width] each, in batches of prompts of like length. */
async function capture(model: Gpt2, prompts: Prompts, hooks: readonly { hook: string; head?: number }[], widths: readonly number[], positions: Uint32Array): Promise<Tensor[]> {
  const { gpu } = model;
  const outputs = widths.map((width) => Tensor.empty(gpu, [prompts.count, width]));
  const order = byLength(prompts);
  const batch = promptsPerRun(model, prompts.tokens[order.at(-1)!]!.length);
  for (let start = 0; start < order.length; start += batch) {
    const chosen = order.slice(start, start + batch);
    gpu.scope(() => {
      const at = chosen.map((prompt) => positions[prompt]!);
      const run = model.run(chosen.map((prompt) => prompts.tokens[prompt]!), { captures: hooks.map((hook) => ({ ...hook, positions: at })), logits: 'none' });
      const rows = Tensor.from(gpu, Uint32Array.from(chosen), [chosen.length]);
      run.captured.forEach((values, i) => scatterRows(outputs[i]!, rows, values));
      run.dispose();
    });
    await gpu.idle();
  }
  return outputs;
}
