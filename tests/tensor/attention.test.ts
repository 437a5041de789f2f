import * as assert from 'uvu/assert';
import { openGpu } from '../../src/node.ts';
import { attention, type AttentionInput } from '../../src/tensor/attention.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('attention');

interface Case { batch: number; queries: number; heads: number; width: number; length?: number; capacity?: number; scale?: number }

/** Scores, pattern and z in float64, straight from the formula. */
function reference(qkv: Float32Array, prefix: Float32Array, c: Case): { scores: number[]; pattern: number[]; z: Float64Array } {
  const { batch, queries, heads, width, length = 0, capacity = 0 } = c;
  const model = heads * width;
  const z = new Float64Array(batch * queries * model);
  const scores: number[] = [];
  const pattern: number[] = [];
  for (let b = 0; b < batch; b++) for (let h = 0; h < heads; h++) for (let i = 0; i < queries; i++) {
    /** Column c of part 0 (q), 1 (k) or 2 (v) of key j. */
    const at = (j: number, part: number, d: number): number => (j < length
      ? prefix[(b * capacity + j) * 3 * model + part * model + h * width + d]!
      : qkv[(b * queries + j - length) * 3 * model + part * model + h * width + d]!);
    const row = Array.from({ length: length + queries }, (_, j) => {
      if (j > length + i) return -1e30;
      let sum = 0;
      for (let d = 0; d < width; d++) sum += at(length + i, 0, d) * at(j, 1, d);
      return sum * (c.scale ?? 1 / Math.sqrt(width));
    });
    const top = Math.max(...row);
    const total = row.reduce((s, x) => s + Math.exp(x - top), 0);
    const weights = row.map((x) => Math.exp(x - top) / total);
    scores.push(...row);
    pattern.push(...weights);
    for (let d = 0; d < width; d++) z[(b * queries + i) * model + h * width + d] = weights.reduce((s, w, j) => s + (w ? w * at(j, 2, d) : 0), 0);
  }
  return { scores, pattern, z };
}

/** Numbers spread enough that softmax is far from uniform. */
function inputs(c: Case, seed: number): { qkv: Float32Array; prefix: Float32Array } {
  const row = 3 * c.heads * c.width;
  const widen = (x: Float32Array): Float32Array => x.map((v) => 3 * v);
  return { qkv: widen(random(c.batch * c.queries * row, seed)), prefix: widen(random(c.batch * (c.capacity ?? 0) * row, seed + 1)) };
}

async function withInput<T>(gpu: Awaited<ReturnType<typeof testGpu>>, c: Case, seed: number, body: (input: AttentionInput, ref: ReturnType<typeof reference>) => Promise<T>): Promise<T> {
  const { qkv, prefix } = inputs(c, seed);
  return gpu.scope(() => {
    const row = 3 * c.heads * c.width;
    const input: AttentionInput = { qkv: Tensor.from(gpu, qkv, [c.batch, c.queries, row]), heads: c.heads, scale: c.scale };
    if (c.capacity !== undefined) input.prefix = { qkv: Tensor.from(gpu, prefix, [c.batch, c.capacity, row]), length: c.length! };
    return body(input, reference(qkv, prefix, c));
  });
}

const cases: Case[] = [
  { batch: 2, queries: 19, heads: 3, width: 12 },
  { batch: 1, queries: 1, heads: 1, width: 1 },
  { batch: 3, queries: 5, heads: 2, width: 7, scale: 0.3 },
  { batch: 1, queries: 33, heads: 2, width: 64 },
  { batch: 1, queries: 9, heads: 2, width: 96 },
  { batch: 2, queries: 4, heads: 3, width: 12, length: 9, capacity: 13 },
  { batch: 2, queries: 1, heads: 4, width: 5, length: 8, capacity: 8 },
  { batch: 2, queries: 6, heads: 2, width: 32, length: 1, capacity: 1 },
  { batch: 2, queries: 6, heads: 2, width: 8, length: 0, capacity: 4 },
];

test('fused equals the float64 formula, with and without a prefix', async () => {
  const gpu = await testGpu();
  for (const [i, c] of cases.entries()) {
    await withInput(gpu, c, i + 1, async (input, ref) => {
      const error = relativeError(await attention(input).read(), ref.z);
      assert.ok(error < 1e-5, `${JSON.stringify(c)}: ${error}`);
    });
  }
});

test.run();
