import * as assert from 'uvu/assert';
import { ShapeError } from '../../src/errors.ts';
import { openGpu } from '../../src/node.ts';
import { attention, attentionApply, attentionScores, type AttentionInput } from '../../src/tensor/attention.ts';
import { planAttention } from '../../src/tensor/attention-plan.ts';
import { softmax, Tensor } from '../../src/tensor/index.ts';
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

test('the variants for real GPUs equal it too', async () => {
  const gpu = await testGpu();
  // More than one workgroup of queries and several tiles; a prefix that ends inside a tile; widths that are no multiple of four.
  const tiled: Case[] = [
    { batch: 1, queries: 70, heads: 2, width: 6 },
    { batch: 2, queries: 5, heads: 2, width: 6, length: 21, capacity: 30, scale: 0.5 },
  ];
  // More keys than one block holds; a block that starts in the prefix and one that ends in it.
  const rows: Case[] = [
    { batch: 1, queries: 3, heads: 2, width: 70 },
    { batch: 1, queries: 2, heads: 1, width: 3, length: 600, capacity: 601 },
    { batch: 1, queries: 530, heads: 1, width: 2, length: 5, capacity: 5 },
    // Keys shared out in runs: of which the last ends early, and which begin in the prefix and end in it; more queries than one.
    { batch: 1, queries: 1, heads: 3, width: 64, length: 999, capacity: 1000 },
    { batch: 2, queries: 3, heads: 2, width: 70, length: 150, capacity: 150, scale: 0.1 },
  ];
  for (const [variant, list] of [['tiled', tiled], ['rows', rows]] as const) {
    for (const c of list) {
      await withInput(gpu, c, 7, async (input, ref) => {
        const error = relativeError(await attention({ ...input, variant }).read(), ref.z);
        assert.ok(error < 1e-5, `${variant} ${JSON.stringify(c)}: ${error}`);
      });
    }
  }
});

test('the variants for CPU drivers equal it, whichever the device would take', async () => {
  const gpu = await testGpu();
  assert.ok(gpu.subgroupSize === 8 || gpu.subgroupSize === 4, `subgroups of ${gpu.subgroupSize}`);
  // Several tiles, the last not full; more blocks of keys than one; heads of one to four vec4s a lane, not all of them full; prefixes.
  const subgroup: Case[] = [
    ...cases.filter((c) => c.width % 4 === 0 && c.width <= 16 * gpu.subgroupSize),
    { batch: 1, queries: 70, heads: 2, width: 4 }, { batch: 1, queries: 45, heads: 1, width: 12 * gpu.subgroupSize + 4 }, { batch: 2, queries: 19, heads: 2, width: 20, scale: 0.2 },
    { batch: 2, queries: 17, heads: 2, width: 4 * gpu.subgroupSize, length: 70, capacity: 71 }, { batch: 1, queries: 1, heads: 3, width: 64, length: 130, capacity: 130 },
  ];
  for (const [variant, list] of [['subgroup', subgroup], ['lanes', cases]] as const) {
    for (const [i, c] of list.entries()) {
      await withInput(gpu, c, i + 50, async (input, ref) => {
        const error = relativeError(await attention({ ...input, variant }).read(), ref.z);
        assert.ok(error < 1e-5, `${variant} ${JSON.stringify(c)}: ${error}`);
      });
    }
  }
});

test('the plan follows device and shape', () => {
  const plan = (queries: number, width: number, software: boolean, subgroupSize: number, length = 0, batch = 1): unknown => {
    const { parts, ...rest } = planAttention({ batch, heads: 12, queries, length, width }, { software, subgroupSize });
    return parts > 1 ? { ...rest, parts } : rest;
  };
  for (const [queries, rows, length] of [[1, 1, 0], [1, 1, 18], [1, 1, 1000], [2, 2, 50], [16, 16, 100], [19, 10, 0], [19, 10, 30], [64, 16, 0], [128, 16, 0], [1024, 16, 0]] as const) {
    assert.equal(plan(queries, 64, true, 8, length), { variant: 'subgroup', constants: { SUBGROUP: 8, ROWS: rows, VECTORS: 2 } });
  }
  assert.equal(plan(128, 64, true, 4), { variant: 'subgroup', constants: { SUBGROUP: 4, ROWS: 16, VECTORS: 4 } });
  assert.equal(plan(1, 64, true, 4, 1000), { variant: 'subgroup', constants: { SUBGROUP: 4, ROWS: 1, VECTORS: 4 } });
  assert.equal(plan(19, 64, true, 4), { variant: 'lanes', constants: {} });
  assert.equal(plan(1, 64, true, 4, 18), { variant: 'lanes', constants: {} });
  assert.equal(plan(128, 80, true, 4), { variant: 'lanes', constants: {} });
  assert.equal(plan(128, 66, true, 8), { variant: 'lanes', constants: {} });
  assert.equal(plan(128, 64, true, 0), { variant: 'lanes', constants: {} });
  assert.equal(plan(128, 64, true, 16), { variant: 'lanes', constants: {} });
  for (const queries of [19, 128, 1024]) assert.equal(plan(queries, 64, false, 32), { variant: 'tiled', constants: { HEAD_WIDTH: 64 } });
  assert.equal(plan(128, 65, false, 32), { variant: 'rows', constants: {} });
  assert.equal(plan(1, 64, false, 32), { variant: 'rows', constants: {} });
  // A run of keys has at least 64, and there are no more workgroups than fill a GPU.
  assert.equal(plan(1, 64, false, 32, 200), { variant: 'rows', constants: { SPLIT: 1 }, parts: 3 });
  assert.equal(plan(1, 64, false, 32, 1000), { variant: 'rows', constants: { SPLIT: 1 }, parts: 15 });
  assert.equal(plan(1, 64, false, 32, 100_000), { variant: 'rows', constants: { SPLIT: 1 }, parts: 22 });
  for (const batch of [32, 64]) {
    assert.equal(plan(1, 64, false, 32, 1000, batch), { variant: 'rows', constants: {} });
    assert.equal(plan(19, 64, true, 8, 0, batch), { variant: 'subgroup', constants: { SUBGROUP: 8, ROWS: 10, VECTORS: 2 } });
    assert.equal(plan(1, 64, true, 8, 18, batch), { variant: 'subgroup', constants: { SUBGROUP: 8, ROWS: 1, VECTORS: 2 } });
  }
});

test('stored scores, their softmax and its use equal the formula', async () => {
  const gpu = await testGpu();
  for (const [i, c] of cases.entries()) {
    await withInput(gpu, c, i + 20, async (input, ref) => {
      const scores = attentionScores(input);
      assert.equal(scores.shape, [c.batch, c.heads, c.queries, (c.length ?? 0) + c.queries]);
      const seen = (_: number, at: number): boolean => ref.scores[at]! > -1e29;
      const out = await scores.read();
      assert.ok(relativeError(out.filter(seen), ref.scores.filter(seen)) < 1e-5, `scores ${JSON.stringify(c)}`);
      assert.ok(out.every((v, at) => seen(v, at) || v === Math.fround(-1e30)), 'masked');
      const pattern = softmax(scores);
      assert.ok(relativeError(await pattern.read(), ref.pattern) < 1e-5, `pattern ${JSON.stringify(c)}`);
      assert.ok(relativeError(await attentionApply(pattern, input).read(), ref.z) < 1e-5, `z ${JSON.stringify(c)}`);
    });
  }
});

test('a pattern is used as it is, weights of later keys included', async () => {
  const gpu = await testGpu();
  await gpu.scope(async () => {
    const qkv = random([1, 2, 9], 3);
    const pattern = Tensor.from(gpu, [0, 2, 0.5, 0], [1, 1, 2, 2]);
    const z = await attentionApply(pattern, { qkv: Tensor.from(gpu, qkv, [1, 2, 9]), heads: 1 }).read();
    assert.ok(relativeError(z, [...qkv.subarray(15, 18).map((v) => 2 * v), ...qkv.subarray(6, 9).map((v) => 0.5 * v)]) < 1e-6);
  });
});

test('a prefix and its continuation equal one whole run', async () => {
  const gpu = await testGpu();
  await gpu.scope(async () => {
    const [T, heads, width, split] = [13, 2, 8, 6];
    const row = 3 * heads * width;
    const whole = Tensor.from(gpu, random([2, T, row], 9), [2, T, row]);
    const data = await whole.read();
    const tail = [0, 1].flatMap((b) => Array.from(data.subarray((b * T + split) * row, (b + 1) * T * row)));
    const z = await attention({ qkv: whole, heads }).read();
    const rest = await attention({ qkv: Tensor.from(gpu, tail, [2, T - split, row]), prefix: { qkv: whole, length: split }, heads }).read();
    const model = heads * width;
    assert.ok(relativeError(rest, [0, 1].flatMap((b) => Array.from(z.subarray((b * T + split) * model, (b + 1) * T * model)))) < 1e-6);
  });
});

test('no prompts, no positions, and shapes that do not fit', async () => {
  const gpu = await testGpu();
  await gpu.scope(() => {
    assert.equal(attention({ qkv: Tensor.empty(gpu, [0, 3, 12]), heads: 2 }).shape, [0, 3, 4]);
    assert.equal(attentionScores({ qkv: Tensor.empty(gpu, [2, 0, 12]), heads: 2 }).shape, [2, 2, 0, 0]);
    const qkv = Tensor.zeros(gpu, [1, 3, 12]);
    const refused = (body: () => unknown, words: RegExp): void => assert.throws(body, (e: unknown) => e instanceof ShapeError && words.test(e.message));
    refused(() => attention({ qkv, heads: 3 }), /attention: \[1, 3, 12\] is not .* 3 heads/);
    refused(() => attention({ qkv, heads: 2, prefix: { qkv, length: 4 } }), /4 positions of a prefix/);
    refused(() => attention({ qkv: Tensor.zeros(gpu, [1, 3, 18]), heads: 1, variant: 'subgroup' }), /cannot do heads of 6/);
    refused(() => attentionApply(Tensor.zeros(gpu, [1, 2, 3, 4]), { qkv, heads: 2 }), /not \[1, 2, 3, 3\]/);
  });
});

test('prompts beyond the binding limit are done in windows', async () => {
  const gpu = await openGpu({ windowBytes: 8192 });
  const c = { batch: 9, queries: 16, heads: 2, width: 8, length: 8, capacity: 16 };
  await withInput(gpu, c, 30, async (input, ref) => {
    assert.ok(relativeError(await attention(input).read(), ref.z) < 1e-5);
    assert.ok(relativeError(await attentionApply(softmax(attentionScores(input)), input).read(), ref.z) < 1e-5);
  });
  gpu.destroy();
});

test('prompts with prefixes of their own lengths equal each prompt alone', async () => {
  const gpu = await testGpu();
  // The longer ones have keys enough to be shared out in runs, which some prompts leave empty.
  for (const [queries, lengths] of [[1, [0, 7, 3, 5]], [6, [0, 7, 3, 5]], [1, [300, 0, 65, 130]]] as const) {
    const length = Math.max(...lengths);
    const capacity = length + 2;
    const c: Case = { batch: lengths.length, queries, heads: 2, width: 12, length, capacity };
    const row = 3 * c.heads * c.width;
    const { qkv, prefix } = inputs(c, 40 + queries);
    const expected = lengths.flatMap((length, i) => [
      ...reference(qkv.subarray(i * queries * row, (i + 1) * queries * row), prefix.subarray(i * capacity * row, (i + 1) * capacity * row), { ...c, batch: 1, length }).z,
    ]);
    for (const variant of ['subgroup', 'lanes', 'rows', 'tiled'] as const) {
      const out = await gpu.scope(() => attention({
        qkv: Tensor.from(gpu, qkv, [c.batch, queries, row]), heads: c.heads, variant,
        prefix: { qkv: Tensor.from(gpu, prefix, [c.batch, capacity, row]), length, lengths: Tensor.from(gpu, Uint32Array.from(lengths), [c.batch]) },
      }).read());
      assert.ok(relativeError(out, expected) < 1e-5, `${variant}, ${queries} queries: ${relativeError(out, expected)}`);
    }
  }
});

test.run();
