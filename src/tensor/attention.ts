/**
 * Causal attention over a fused qkv [batch, positions, 3 · model] whose rows hold q, k and v, each head after head.
 *
 * `attention` never stores scores; `attentionScores` and `attentionApply` do, for when a pattern is to be read or edited. A prefix
 * holds the keys and values of earlier positions (a cache, or the clean run that an edited run starts from): query i of qkv then
 * stands at position length + i and sees prefix[0 … length) and qkv[0 … i].
 */
import attentionSource from '../../kernels/attention.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel } from '../gpu/index.ts';
import { showShape, Tensor } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const kernel = defineKernel('attention', attentionSource);

export interface AttentionInput {
  /** [batch, queries, 3 · model] */
  qkv: Tensor;
  /** Earlier positions: qkv [batch, capacity, 3 · model], of which the first `length` count. */
  prefix?: { qkv: Tensor; length: number };
  heads: number;
  /** Factor of the scores; 1 / sqrt(width of a head) unless told. */
  scale?: number;
}

/** Sizes of an attention input, checked. */
interface Sizes { batch: number; queries: number; heads: number; width: number; model: number; length: number; capacity: number; scale: number }

function sizesOf(operation: string, { qkv, prefix, heads, scale }: AttentionInput): Sizes {
  const [batch = 0, queries = 0, three = 0] = qkv.shape;
  const model = three / 3;
  const width = model / heads;
  if (qkv.shape.length !== 3 || !Number.isInteger(width) || width === 0) throw new ShapeError(`${operation}: ${showShape(qkv.shape)} is not [batch, positions, 3 · ${heads} heads · width]`);
  const length = prefix?.length ?? 0;
  const capacity = prefix?.qkv.shape[1] ?? 0;
  if (prefix && (prefix.qkv.shape.length !== 3 || prefix.qkv.shape[0] !== batch || prefix.qkv.shape[2] !== three || length < 0 || length > capacity)) {
    throw new ShapeError(`${operation}: ${length} positions of a prefix ${showShape(prefix.qkv.shape)} do not go with ${showShape(qkv.shape)}`);
  }
  return { batch, queries, heads, width, model, length, capacity, scale: scale ?? 1 / Math.sqrt(width) };
}

/** z [batch, queries, model]: for each head softmax(scale · q kᵀ) v over the positions a query may see, fused. */
export function attention(input: AttentionInput): Tensor {
  const { qkv, prefix } = input;
  const { gpu } = qkv;
  const { batch, queries, heads, width, model, length, capacity, scale } = sizesOf('attention', input);
  const z = Tensor.empty(gpu, [batch, queries, model]);
  if (z.size === 0) return z;
  const withPrefix = prefix !== undefined && length > 0;
  const qkvBytes = queries * 3 * model * 4;
  const prefixBytes = capacity * 3 * model * 4;
  const zBytes = queries * model * 4;
  const stateBytes = withPrefix ? heads * queries * 8 : 0;
  const windows = rowWindows(gpu, batch, withPrefix ? [qkvBytes, zBytes, prefixBytes, stateBytes] : [qkvBytes, zBytes]);
  const state = Tensor.empty(gpu, withPrefix ? [batch, heads, queries, 2] : [2]);
  for (const window of windows) {
    const columns = window.count * heads;
    const own = windowOf(qkv, window, qkvBytes);
    const out = windowOf(z, window, zBytes);
    const between = withPrefix ? windowOf(state, window, stateBytes) : state;
    const shared = { queries, heads, width, columns, scale };
    const groups = Math.ceil((columns * Math.ceil(queries / 4)) / 8);
    if (withPrefix) {
      gpu.dispatch({
        kernel, groups, params: { ...shared, keys: length, keyRows: capacity, causal: 0, begin: 1, end: 0 },
        bindings: [own, windowOf(prefix.qkv, window, prefixBytes), between, out],
      });
    }
    gpu.dispatch({
      kernel, groups, params: { ...shared, keys: queries, keyRows: queries, causal: 1, begin: withPrefix ? 0 : 1, end: 1 },
      bindings: [own, own, between, out],
    });
  }
  state.dispose();
  return z;
}
