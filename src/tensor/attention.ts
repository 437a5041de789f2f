/**
 * Causal attention over a fused qkv [batch, positions, 3 · model] whose rows hold q, k and v, each head after head.
 *
 * `attention` never stores scores; `attentionScores` and `attentionApply` do, for when a pattern is to be read or edited. A prefix
 * holds the keys and values of earlier positions (a cache, or the clean run that an edited run starts from): query i of qkv then
 * stands at position length + i and sees prefix[0 … length) and qkv[0 … i].
 */
import applySource from '../../kernels/attention-apply.wgsl';
import joinSource from '../../kernels/attention-join.wgsl';
import lanesSource from '../../kernels/attention-lanes.wgsl';
import rowsSource from '../../kernels/attention-rows.wgsl';
import scoresSource from '../../kernels/attention-scores.wgsl';
import subgroupSource from '../../kernels/attention-subgroup.wgsl';
import tiledSource from '../../kernels/attention-tiled.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel, type BufferSlice, type Gpu } from '../gpu/index.ts';
import { planAttention, whyNot, type AttentionPlan, type AttentionVariant } from './attention-plan.ts';
import { showShape, Tensor } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const lanesKernel = defineKernel('attention-lanes', lanesSource);
const tiledKernel = defineKernel('attention-tiled', tiledSource);
const rowsKernel = defineKernel('attention-rows', rowsSource);
const joinKernel = defineKernel('attention-join', joinSource);
const scoresKernel = defineKernel('attention-scores', scoresSource);
const applyKernel = defineKernel('attention-apply', applySource);
const subgroupKernel = defineKernel('attention-subgroup', subgroupSource);

const LANES_WORKGROUP = 8;
const TILED_WORKGROUP = 64;
const WORKGROUP = 64;

export interface AttentionInput {
  /** [batch, queries, 3 · model] */
  qkv: Tensor;
  /**
   * Earlier positions: qkv [batch, capacity, 3 · model], of which the first `length` count. With `lengths` u32 [batch] each prompt has
   * a length of its own, at most `length`; only `attention` takes them.
   */
  prefix?: { qkv: Tensor; length: number; lengths?: Tensor };
  heads: number;
  /** Factor of the scores; 1 / sqrt(width of a head) unless told. */
  scale?: number;
}

interface Sizes { batch: number; queries: number; heads: number; width: number; model: number; length: number; capacity: number; scale: number }

/** z [batch, queries, model]: for each head softmax(scale · q kᵀ) v over the positions a query may see. `variant` is for tests and benchmarks. */
export function attention(input: AttentionInput & { variant?: AttentionVariant }): Tensor {
  const { gpu } = input.qkv;
  const sizes = sizesOf('attention', input);
  const { batch, queries, width, model, heads, length } = sizes;
  const z = Tensor.empty(gpu, [batch, queries, model]);
  if (z.size === 0) return z;
  const plan = planAttention(sizes, gpu, input.variant);
  const refusal = whyNot(plan.variant, sizes, gpu);
  if (refusal) throw new ShapeError(`attention: ${refusal}`);
  const inParts = plan.variant === 'lanes' || plan.variant === 'subgroup';
  // What one dispatch hands to the next: of a prefix the softmax so far, or of each run of keys all it has. Otherwise `state` just fills its binding.
  const stateNumbers = plan.parts > 1 ? plan.parts * (width + 2) : inParts && length > 0 ? 2 : 0;
  const stateBytes = heads * queries * stateNumbers * 4;
  const state = Tensor.empty(gpu, [Math.max(2, (batch * stateBytes) / 4)]);
  const qkvBytes = queries * 3 * model * 4;
  const zBytes = queries * model * 4;
  for (const window of windowsOf(gpu, sizes, [zBytes, stateBytes, input.prefix?.lengths ? 4 : 0])) {
    const own = windowOf(input.qkv, window, qkvBytes);
    const earlier = earlierOf(input, sizes, window) ?? own;
    const out = windowOf(z, window, zBytes);
    const part = { ...sizes, batch: window.count };
    const lengths = input.prefix?.lengths && length > 0 ? windowOf(input.prefix.lengths, window, 4) : null;
    const handed = stateBytes ? windowOf(state, window, stateBytes) : state;
    if (inParts) recordParts(gpu, plan, part, own, earlier, handed, out, lengths);
    else recordGrouped(gpu, plan, part, own, earlier, handed, out, lengths);
  }
  state.dispose();
  return z;
}

/** Scores [batch, heads, queries, length + queries] before the softmax, -1e30 where a query may not look. */
export function attentionScores(input: AttentionInput): Tensor {
  const { gpu } = input.qkv;
  const sizes = sizesOf('attentionScores', input);
  const { batch, queries, heads, width, model, length, capacity, scale } = sizes;
  const total = length + queries;
  const scores = Tensor.empty(gpu, [batch, heads, queries, total]);
  if (scores.size === 0) return scores;
  const rowBytes = heads * queries * total * 4;
  for (const window of windowsOf(gpu, sizes, [rowBytes])) {
    const own = windowOf(input.qkv, window, queries * 3 * model * 4);
    const earlier = earlierOf(input, sizes, window);
    const record = (kv: BufferSlice, keys: number, keyRows: number, firstKey: number, causal: number): void => gpu.dispatch({
      kernel: scoresKernel,
      params: { batch: window.count, queries, keys, keyRows, heads, width, firstKey, total, causal, scale },
      groups: Math.ceil((window.count * heads * Math.ceil(queries / 4) * Math.ceil(keys / 4)) / WORKGROUP),
      bindings: [own, kv, windowOf(scores, window, rowBytes)],
    });
    if (earlier) record(earlier, length, capacity, 0, 0);
    record(own, queries, queries, length, 1);
  }
  return scores;
}

/**
 * z [batch, queries, model] = pattern · v for a pattern [batch, heads, queries, length + queries], such as a softmax of
 * `attentionScores`. Every weight counts, also of keys after the query, should an edit have put one there.
 */
export function attentionApply(pattern: Tensor, input: Omit<AttentionInput, 'scale'>): Tensor {
  const { gpu } = input.qkv;
  const sizes = sizesOf('attentionApply', input);
  const { batch, queries, heads, width, model, length, capacity } = sizes;
  const total = length + queries;
  const expected = [batch, heads, queries, total];
  if (!expected.every((n, i) => pattern.shape[i] === n) || pattern.shape.length !== 4) throw new ShapeError(`attentionApply: the pattern is ${showShape(pattern.shape)}, not ${showShape(expected)}`);
  const z = Tensor.empty(gpu, [batch, queries, model]);
  if (z.size === 0) return z;
  const rowBytes = heads * queries * total * 4;
  const zBytes = queries * model * 4;
  for (const window of windowsOf(gpu, sizes, [rowBytes, zBytes])) {
    const own = windowOf(input.qkv, window, queries * 3 * model * 4);
    const earlier = earlierOf(input, sizes, window);
    const record = (kv: BufferSlice, keys: number, keyRows: number, firstKey: number, accumulate: number): void => gpu.dispatch({
      kernel: applyKernel,
      params: { batch: window.count, queries, keys, keyRows, heads, width, firstKey, total, accumulate },
      groups: Math.ceil((window.count * heads * Math.ceil(queries / 4) * Math.ceil(width / 4)) / WORKGROUP),
      bindings: [windowOf(pattern, window, rowBytes), kv, windowOf(z, window, zBytes)],
    });
    if (earlier) record(earlier, length, capacity, 0, 0);
    record(own, queries, queries, length, earlier ? 1 : 0);
  }
  return z;
}

/** Sizes of an input, checked. Throws ShapeError. */
function sizesOf(operation: string, { qkv, prefix, heads, scale }: AttentionInput): Sizes {
  const [batch = 0, queries = 0, three = 0] = qkv.shape;
  const model = three / 3;
  const width = model / heads;
  if (qkv.shape.length !== 3 || !Number.isInteger(width) || width <= 0) throw new ShapeError(`${operation}: ${showShape(qkv.shape)} is not [batch, positions, 3 · ${heads} heads · width]`);
  const length = prefix?.length ?? 0;
  const capacity = prefix?.qkv.shape[1] ?? 0;
  if (prefix && (prefix.qkv.shape.length !== 3 || prefix.qkv.shape[0] !== batch || prefix.qkv.shape[2] !== three || length < 0 || length > capacity)) {
    throw new ShapeError(`${operation}: ${length} positions of a prefix ${showShape(prefix.qkv.shape)} do not go with ${showShape(qkv.shape)}`);
  }
  if (prefix?.lengths && (operation !== 'attention' || prefix.lengths.dtype !== 'u32' || prefix.lengths.size !== batch)) {
    throw new ShapeError(`${operation}: lengths ${prefix.lengths.dtype} ${showShape(prefix.lengths.shape)} are not u32 [${batch}], or not for this operation`);
  }
  return { batch, queries, heads, width, model, length, capacity, scale: scale ?? 1 / Math.sqrt(width) };
}

/** Windows of prompts in which qkv, the prefix and what else is named (bytes a prompt) can be bound. */
function windowsOf(gpu: Gpu, { batch, queries, model, length, capacity }: Sizes, others: readonly number[]): { start: number; count: number }[] {
  const row = 3 * model * 4;
  return rowWindows(gpu, batch, [queries * row, length > 0 ? capacity * row : 0, ...others].filter((bytes) => bytes > 0));
}

function earlierOf({ prefix }: AttentionInput, { length, capacity, model }: Sizes, window: { start: number; count: number }): BufferSlice | null {
  return prefix && length > 0 ? windowOf(prefix.qkv, window, capacity * 3 * model * 4) : null;
}

/** One dispatch over the prefix, if there is one, and one over qkv itself. */
function recordParts(gpu: Gpu, { variant, constants }: AttentionPlan, { batch, queries, heads, width, length, capacity, scale }: Sizes, own: BufferSlice, earlier: BufferSlice, state: BufferSlice, z: BufferSlice, lengths: BufferSlice | null): void {
  const columns = batch * heads;
  const lanes = variant === 'lanes';
  const kernel = lanes ? lanesKernel : subgroupKernel;
  const shared = { queries, heads, width, scale, ...(lanes ? { columns } : { batch }) };
  const groups = lanes ? Math.ceil((columns * Math.ceil(queries / 4)) / LANES_WORKGROUP) : columns * Math.ceil(queries / constants.ROWS!);
  const afresh = length > 0 ? 0 : 1;
  if (!afresh) {
    gpu.dispatch({
      kernel, constants: { ...constants, ...(lengths ? { OWN_LENGTHS: 1 } : {}) }, groups, params: { ...shared, keys: length, keyRows: capacity, causal: 0, begin: 1, end: 0 },
      bindings: [own, earlier, state, z, lengths ?? own],
    });
  }
  gpu.dispatch({ kernel, constants, groups, params: { ...shared, keys: queries, keyRows: queries, causal: 1, begin: afresh, end: 1 }, bindings: [own, own, state, z, own] });
}

/** One dispatch over all keys, and where they are shared out in runs a second one that joins those. */
function recordGrouped(gpu: Gpu, { variant, constants, parts }: AttentionPlan, { batch, queries, heads, width, length, capacity, scale }: Sizes, own: BufferSlice, earlier: BufferSlice, runs: BufferSlice, z: BufferSlice, lengths: BufferSlice | null): void {
  const tiled = variant === 'tiled';
  const rows = batch * heads * queries;
  const groups = tiled ? batch * heads * Math.ceil(queries / TILED_WORKGROUP) : rows * parts;
  gpu.dispatch({
    kernel: tiled ? tiledKernel : rowsKernel, constants: { ...constants, ...(lengths ? { OWN_LENGTHS: 1 } : {}) }, groups,
    params: { queries, heads, width, length, capacity, groups, parts, scale }, bindings: [own, earlier, parts > 1 ? runs : z, lengths ?? own],
  });
  if (parts > 1) gpu.dispatch({ kernel: joinKernel, params: { rows, parts, width }, groups: Math.ceil((rows * width) / WORKGROUP), bindings: [runs, z] });
}
