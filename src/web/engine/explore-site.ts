/** What is at a site of one prompt: sizes of activations for the map, and where a head attends to. */
import { logitDirections } from '../../evaluation/index.ts';
import { nextTokens, tokenText, type Gpt2 } from '../../model/index.ts';
import { gatherRows, layerNorm, matmul, scatterRows, sumSquaresRows, Tensor } from '../../tensor/index.ts';
import type { Attention, LensRow, SiteKindShown } from './explore-facts.ts';

/** Most tokens along an edge of an attention pattern that is shown. */
const WINDOW = 48;

const WITHIN_ATTENTION: readonly SiteKindShown[] = ['q', 'k', 'v', 'z', 'pattern'];

export function hookName(kind: SiteKindShown, layer: number): string {
  return WITHIN_ATTENTION.includes(kind) ? `blocks.${layer}.attn.hook_${kind}` : `blocks.${layer}.hook_${kind}`;
}

/**
 * How large the activation of a kind is at a position, [layers][heads], or [layers][1] for kinds without heads: its length, or of a pattern the largest
 * weight that the position gives to any but the first token.
 */
export async function sizesAt(model: Gpt2, ids: readonly number[], kind: SiteKindShown, position: number): Promise<number[][]> {
  const { gpu, config: { layers, heads, headWidth } } = model;
  const parts = WITHIN_ATTENTION.includes(kind) ? heads : 1;
  const captured = await gpu.scope(() => {
    const run = model.run([ids], { captures: Array.from({ length: layers }, (_, layer) => ({ hook: hookName(kind, layer), positions: [position] })), logits: 'none' });
    return Promise.all(run.captured.map((values) => (kind === 'pattern' ? values : sumSquaresRows(values.reshape([parts, parts > 1 || WITHIN_ATTENTION.includes(kind) ? headWidth : -1]))).read()));
  });
  return captured.map((values) => Array.from({ length: parts }, (_, part) => {
    if (kind !== 'pattern') return Math.sqrt(values[part]!);
    return values.subarray(part * ids.length + 1, part * ids.length + position + 1).reduce((a, b) => Math.max(a, b), 0);
  }));
}

/** Tokens shown of each layer. */
const LENS_TOKENS = 5;

/**
 * The logit lens (nostalgebraist 2020): what the model would predict behind a position if the residual stream of a kind in each layer went straight
 * through the final norm, with the σ of that stream itself, and the unembedding.
 */
export async function lensAt(model: Gpt2, ids: readonly number[], kind: SiteKindShown, position: number): Promise<LensRow[]> {
  const { gpu, config: { layers, width, epsilon }, weights: { finalNorm, unembed, unembedBias } } = model;
  const logits = await gpu.scope(() => {
    const run = model.run([ids], { captures: Array.from({ length: layers }, (_, layer) => ({ hook: hookName(kind, layer), positions: [position] })), logits: 'none' });
    const stream = Tensor.empty(gpu, [layers, width]);
    run.captured.forEach((row, layer) => scatterRows(stream, Tensor.from(gpu, Uint32Array.of(layer), [1]), row));
    return matmul(layerNorm(stream, finalNorm?.weight ?? null, finalNorm?.bias ?? null, epsilon), unembed, { transposeB: true, bias: unembedBias ?? undefined }).read();
  });
  return nextTokens(model, logits, LENS_TOKENS).map((row) => row.map(({ id, probability }) => ({ id, token: tokenText(model, id), probability })));
}

/** A head's pattern around a position, and for a pair of tokens what the last token takes from each source: pattern · v W_O g (direct-effects.ts). */
export async function attentionOf(model: Gpt2, ids: readonly number[], { layer, head, position, pair }: { layer: number; head: number; position: number; pair: [number, number] | null }): Promise<Attention> {
  const { gpu, config: { headWidth, width } } = model;
  const n = ids.length;
  const start = n <= WINDOW ? 0 : Math.min(n - WINDOW, Math.max(0, position - WINDOW / 2));
  const end = Math.min(n, start + WINDOW);
  const direction = pair && (await logitDirections(model, [pair[0]], [pair[1]])).along;
  const [hook, values] = [hookName('pattern', layer), hookName('v', layer)];
  const [rows, own, scale] = await gpu.scope(() => {
    const last = [n - 1];
    const run = model.run([ids], { cache: direction ? [hook, values] : hook, captures: direction ? [{ hook: 'ln_final.hook_scale', positions: last }] : [], logits: 'none' });
    const index = (list: number[]): Tensor => Tensor.from(gpu, Uint32Array.from(list), [list.length]);
    // Rows are [head, query]; the last query comes last.
    const queries = [...Array.from({ length: end - start }, (_, i) => start + i), n - 1].map((query) => head * n + query);
    const pattern = gatherRows(run.get(hook).reshape([-1, n]), index(queries));
    if (!direction) return Promise.all([pattern.read(), null, null]);
    const weight = gatherRows(model.weights.blocks[layer]!.outWeight, index(Array.from({ length: headWidth }, (_, i) => head * headWidth + i)));
    const read = matmul(Tensor.from(gpu, direction, [1, width]), weight, { transposeB: true });
    const source = gatherRows(run.get(values).reshape([n, -1]), index(Array.from({ length: n }, (_, i) => i)), { offset: head * headWidth, width: headWidth });
    return Promise.all([pattern.read(), matmul(source, read, { transposeB: true }).read(), run.captured[0]!.read()]);
  });
  const lastRow = rows.subarray((end - start) * n);
  return {
    start, end,
    weights: Array.from({ length: end - start }, (_, query) => rows.slice(query * n + start, query * n + end)),
    sources: own && scale ? Array.from(own, (value, source) => (lastRow[source]! * value) / scale[0]!) : null,
  };
}
