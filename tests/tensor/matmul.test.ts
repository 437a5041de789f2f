import * as assert from 'uvu/assert';
import { openGpu } from '../../src/node.ts';
import { Tensor, fromHalves, matmul, toHalves, type MatmulOptions } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';
import type { Gpu } from '../../src/gpu/index.ts';

interface Case { batch?: number; m: number; n: number; k: number; ta?: boolean; tb?: boolean; shared?: boolean; bias?: 'one' | 'each'; activation?: 'gelu' | 'relu'; residual?: boolean | 'out'; scale?: number; column?: number; extra?: number; half?: boolean }

/** The product in float64, as the definition has it. */
function reference(c: Case, a: Float32Array, b: Float32Array, bias?: Float32Array, residual?: Float32Array): Float64Array {
  const { batch = 1, m, n, k } = c;
  const out = new Float64Array(batch * m * n);
  for (let z = 0; z < batch; z++) for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) {
    let sum = 0;
    for (let q = 0; q < k; q++) {
      const x = a[z * m * k + (c.ta ? q * m + i : i * k + q)]!;
      const y = b[(c.shared ? 0 : z * k * n) + (c.tb ? j * k + q : q * n + j)]!;
      sum += x * y;
    }
    sum *= c.scale ?? 1;
    if (bias) sum += bias[(c.bias === 'each' ? z * n : 0) + j]!;
    if (c.activation === 'relu') sum = Math.max(sum, 0);
    if (c.activation === 'gelu') sum = 0.5 * sum * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (sum + 0.044715 * sum ** 3)));
    if (residual) sum += residual[(z * m + i) * n + j]!;
    out[(z * m + i) * n + j] = sum;
  }
  return out;
}

async function compare(gpu: Gpu, c: Case, options: MatmulOptions = {}): Promise<number> {
  const { batch = 1, m, n, k, extra = 0, column = 0 } = c;
  const lead = c.batch === undefined ? [] : [batch];
  const data = {
    a: random(batch * m * k, m + 7), b: random((c.shared ? 1 : batch) * k * n, n + 3),
    bias: c.bias ? random(c.bias === 'each' ? batch * n : n, 11) : undefined, residual: c.residual ? random(batch * m * (n + (c.residual === 'out' ? extra : 0)), 13) : undefined,
  };
  if (c.half) data.b = fromHalves(toHalves(data.b));
  const a = Tensor.from(gpu, data.a, [...lead, ...(c.ta ? [k, m] : [m, k])]);
  const b = Tensor.from(gpu, data.b, [...(c.shared || !lead.length ? [] : lead), ...(c.tb ? [n, k] : [k, n])], c.half ? 'f16' : 'f32');
  const bias = data.bias && Tensor.from(gpu, data.bias, c.bias === 'each' ? [...lead, n] : [n]);
  const inPlace = c.residual === 'out';
  const residual = data.residual && Tensor.from(gpu, data.residual, [...lead, m, inPlace ? n + extra : n]);
  const wide = inPlace ? residual : extra ? Tensor.zeros(gpu, [...lead, m, n + extra]) : undefined;
  const out = matmul(a, b, {
    transposeA: c.ta, transposeB: c.tb, bias, activation: c.activation, residual, scale: c.scale, ...(wide ? { out: wide, outColumn: column } : {}), ...options,
  });
  assert.equal(out.shape, [...lead, m, n + extra]);
  const all = await out.read();
  const written = (_: number, at: number): boolean => at % (n + extra) >= column && at % (n + extra) < column + n;
  const before = inPlace ? data.residual! : new Float32Array(all.length);
  assert.ok(all.every((v, at) => written(v, at) || v === before[at]), 'other columns are untouched');
  for (const t of [a, b, bias, residual, out]) t?.dispose();
  return relativeError(all.filter(written), reference(c, data.a, data.b, data.bias, inPlace ? before.filter(written) : data.residual));
}

const empty: Case[] = [{ m: 5, n: 8, k: 0 }, { m: 0, n: 8, k: 4 }, { m: 5, n: 0, k: 4 }, { batch: 0, m: 4, n: 4, k: 4 }];
const shapes: Case[] = [
  { m: 1, n: 1, k: 1 }, { m: 1, n: 384, k: 128 }, { m: 3, n: 5, k: 7 }, { m: 67, n: 36, k: 33 }, { m: 130, n: 100, k: 72 }, { m: 9, n: 97, k: 48 },
  { batch: 3, m: 17, n: 12, k: 20 }, { batch: 2, m: 70, n: 65, k: 19, shared: true },
];
const epilogues: Case[] = [
  { batch: 2, m: 19, n: 20, k: 12, bias: 'one', activation: 'gelu', residual: true, scale: 7 },
  { batch: 2, m: 19, n: 21, k: 12, bias: 'each', activation: 'relu', residual: 'out', extra: 4, column: 3 },
  { batch: 2, m: 19, n: 20, k: 12, shared: true, bias: 'each' }, { batch: 2, m: 19, n: 20, k: 12, residual: true, scale: -0.5 },
  { m: 19, n: 20, k: 12, extra: 8, column: 4, bias: 'one' }, { m: 7, n: 9, k: 11, ta: true, extra: 5, column: 3, residual: 'out' },
  { batch: 2, m: 19, n: 21, k: 12, tb: true, extra: 6, column: 5, residual: true },
];
const layouts = [[false, false], [true, false], [false, true], [true, true]] as const;

const test = gpuSuite('matmul');

/** Every kernel in the sizes that a CPU driver gets and in those that a real GPU gets. Pipelines with barriers compile slowly on CPU drivers: fewer shapes. */
const kinds = [
  { variant: 'subgroup', software: true, shapes, epilogues },
  { variant: 'registers', software: true, shapes, epilogues }, { variant: 'registers', software: false, shapes: shapes.slice(4, 5), epilogues: epilogues.slice(0, 1) },
  { variant: 'vector', software: true, shapes: shapes.slice(0, 6), epilogues: epilogues.slice(0, 2) }, { variant: 'vector', software: false, shapes: shapes.slice(2, 3), epilogues: epilogues.slice(0, 1) },
  { variant: 'tiled', software: false, shapes: shapes.slice(4, 5), epilogues: epilogues.slice(0, 2) }, { variant: 'large', software: false, shapes: shapes.slice(4, 5), epilogues: [] },
] as const;

for (const { variant, software, shapes, epilogues } of kinds) {
  test(`${variant}, as on ${software ? 'a CPU driver' : 'a real GPU'}: shapes, layouts and epilogues`, async () => {
    const gpu = await testGpu();
    const cases = [...shapes.flatMap((c) => (variant === 'large' ? layouts.slice(0, 1) : layouts).map(([ta, tb]) => ({ ...c, ta, tb }))), ...epilogues, ...empty];
    for (const c of cases) {
      const error = await compare(gpu, c, { variant, software });
      assert.ok(error <= 1e-5, `${JSON.stringify(c)}: ${error}`);
    }
  });
}

test('tiles of every size, with one buffer and with two, with long steps and short ones', async () => {
  const gpu = await testGpu();
  const tile = (ROW_THREADS: number, COLUMN_THREADS: number, ROWS: number, COLUMNS: number, K_STEP: number, BUFFERS: number): Record<string, number> => ({ ROW_THREADS, COLUMN_THREADS, ROWS, COLUMNS, K_STEP, BUFFERS, SPLITS: 1 });
  const [odd, even]: Case[] = [{ m: 67, n: 132, k: 73 }, { batch: 2, m: 40, n: 33, k: 32, residual: true }];
  for (const [constants, c] of [
    [tile(8, 8, 8, 8, 16, 1), even], [tile(8, 8, 4, 8, 16, 2), odd], [tile(8, 8, 4, 8, 16, 2), { ...even, tb: true }], [tile(8, 8, 4, 4, 32, 1), { ...odd, ta: true, tb: true }],
    [tile(4, 16, 4, 4, 16, 2), { ...even, tb: true }], [tile(16, 16, 8, 8, 8, 2), { ...odd, tb: true }], [tile(16, 16, 8, 8, 16, 1), { ...even, ta: true }],
  ] as const) {
    const error = await compare(gpu, c!, { variant: 'tiled', constants });
    assert.ok(error <= 1e-5, `${JSON.stringify({ ...c, ...constants })}: ${error}`);
  }
});

test('k split into parts, added in a second pass: layouts, epilogues, parts without k, the same bits again, no memory left behind', async () => {
  const gpu = await testGpu();
  const split = (SPLITS: number): MatmulOptions => ({ variant: 'tiled', software: false, constants: { ROW_THREADS: 8, COLUMN_THREADS: 8, ROWS: 4, COLUMNS: 8, K_STEP: 16, BUFFERS: 2, SPLITS } });
  const cases: Case[] = [
    { m: 19, n: 70, k: 130, bias: 'one', activation: 'gelu', residual: true, scale: 3 }, { m: 19, n: 70, k: 130, ta: true, residual: 'out', extra: 5, column: 2 },
    { m: 5, n: 37, k: 100, tb: true, bias: 'one', activation: 'relu', extra: 3, column: 3, half: true }, { m: 33, n: 8, k: 50, ta: true, tb: true, residual: true, extra: 4 },
    { m: 3, n: 9, k: 17 }, { m: 3, n: 9, k: 0, bias: 'one' }, { batch: 3, m: 5, n: 6, k: 40, shared: true },
  ];
  for (const [i, c] of cases.entries()) {
    const error = await compare(gpu, c, split(i === 1 ? 5 : 3));
    assert.ok(error <= 1e-5, `${JSON.stringify(c)}: ${error}`);
  }
  const a = Tensor.from(gpu, random([20, 200]), [20, 200]);
  const b = Tensor.from(gpu, random([200, 40], 2), [200, 40]);
  const first = matmul(a, b, split(3));
  const x = await first.read();
  const before = gpu.memory();
  const again = matmul(a, b, { ...split(3), out: first });
  assert.equal(await again.read(), x);
  assert.equal(gpu.memory(), before, 'a second run allocates nothing');
  for (const t of [a, b, first]) t.dispose();
});

test('b stored as f16: every kernel, in all layouts, with odd and even widths', async () => {
  const gpu = await testGpu();
  const even: Case = { m: 35, n: 36, k: 20 };
  const odd: Case = { batch: 2, m: 19, n: 21, k: 13, bias: 'one' };
  const row: Case = { batch: 2, m: 1, n: 45, k: 29 };
  for (const [variant, software, cases] of [
    ['subgroup', true, [even, odd, row]], ['registers', true, [even, odd]], ['vector', true, [even, odd]], ['vector', false, [even]], ['tiled', false, [even, odd]],
  ] as const) {
    for (const c of cases) for (const [ta, tb] of variant === 'tiled' ? layouts.filter(([ta]) => ta === (c === odd)) : layouts) {
      const error = await compare(gpu, { ...c, ta, tb, half: true }, { variant, software });
      assert.ok(error <= 1e-5, `${variant} ${JSON.stringify({ ...c, ta, tb })}: ${error}`);
    }
  }
});

test('the planner\'s own choice computes random shapes', async () => {
  const gpu = await testGpu();
  const dice = random(200, 5);
  for (let i = 0; i < 24; i++) {
    const pick = (at: number, most: number): number => 1 + Math.floor(((dice[i * 5 + at]! + 1) / 2) * most);
    const c: Case = { batch: i % 3 ? undefined : pick(0, 3), m: pick(1, 90), n: pick(2, 90), k: pick(3, 90), ta: i % 4 === 1, tb: i % 5 > 2, half: i % 3 === 1 };
    const error = await compare(gpu, c);
    assert.ok(error <= 1e-5, `${JSON.stringify(c)}: ${error}`);
  }
});

test('operands and results beyond the binding limit are computed in windows of rows, columns, k and matrices', async () => {
  const gpu = await openGpu({ windowBytes: 16384 });
  try {
    const cases: Case[] = [
      { m: 3000, n: 20, k: 32 }, { m: 40, n: 1000, k: 32, tb: true }, { m: 3, n: 1001, k: 33, tb: true, bias: 'one', residual: true }, { batch: 9, m: 32, n: 48, k: 64, residual: true },
      { m: 600, n: 64, k: 8, residual: true }, { batch: 12, m: 64, n: 16, k: 40, ta: true, bias: 'each' }, { m: 5, n: 96, k: 200, bias: 'one', activation: 'gelu', scale: 3 },
      { m: 90, n: 12, k: 310, ta: true, residual: 'out', extra: 4, column: 2 }, { m: 2, n: 3, k: 9001, tb: true, activation: 'relu', residual: true }, { m: 2, n: 9001, k: 3, bias: 'one' },
      { batch: 3, m: 70, n: 90, k: 65, shared: true, ta: true, tb: true, bias: 'each' }, { m: 9001, n: 2, k: 3, ta: true },
      { m: 40, n: 1000, k: 33, tb: true, half: true }, { batch: 9, m: 31, n: 49, k: 63, half: true }, { m: 5, n: 97, k: 201, bias: 'one', half: true }, { m: 2, n: 9001, k: 3, half: true },
    ];
    for (const [i, c] of cases.entries()) for (const variant of i === 4 ? [undefined, 'tiled', 'vector'] as const : [undefined]) {
      const error = await compare(gpu, c, { variant });
      assert.ok(error <= 1e-5, `${variant} ${JSON.stringify(c)}: ${error}`);
    }
  } finally {
    gpu.destroy();
  }
});

test('what lies beyond an operand does not reach the result, not even NaN', async () => {
  const gpu = await testGpu();
  const rows = random([70, 38], 3);
  const poisoned = new Float32Array(128 * 38).fill(NaN);
  poisoned.set(rows);
  for (const variant of ['subgroup', 'registers', 'tiled', 'vector'] as const) for (const [transposeA, transposeB] of layouts.slice(0, 3)) {
    const all = Tensor.from(gpu, poisoned, [128 * 38]);
    const start = all.rows(0, 70 * 38);
    const a = start.reshape(transposeA ? [38, 70] : [70, 38]);
    const b = Tensor.from(gpu, random(38 * 21, 4), transposeB ? [21, 38] : [38, 21]);
    const out = matmul(a, b, { transposeA, transposeB, variant });
    const error = relativeError(await out.read(), reference({ m: 70, n: 21, k: 38, ta: transposeA, tb: transposeB }, rows, await b.read()));
    assert.ok(error <= 1e-5, `${variant} ${transposeA} ${transposeB}: ${error}`);
    for (const t of [all, start, a, b, out]) t.dispose();
  }
});

test('the same inputs give the same bits', async () => {
  const gpu = await testGpu();
  const a = Tensor.from(gpu, random([60, 50]), [60, 50]);
  const b = Tensor.from(gpu, random([50, 40], 2), [50, 40]);
  const runs = [matmul(a, b), matmul(a, b)];
  const [x, y] = await Promise.all(runs.map((t) => t.read()));
  assert.equal(x, y);
  for (const t of [a, b, ...runs]) t.dispose();
});

test('shapes that do not fit are named', async () => {
  const gpu = await testGpu();
  const a = Tensor.zeros(gpu, [2, 3, 4]);
  const b = Tensor.zeros(gpu, [5, 6]);
  const c = Tensor.zeros(gpu, [3, 4, 6]);
  const d = Tensor.zeros(gpu, [2, 4, 6]);
  const e = Tensor.zeros(gpu, [4, 4]);
  assert.throws(() => matmul(a, b), /matmul: inner sizes 4 and 5 differ; a \[2, 3, 4\], b \[5, 6\]/);
  assert.throws(() => matmul(a, c), /batches differ/);
  assert.throws(() => matmul(a, d, { bias: b }), /bias \[5, 6\] does not fit/);
  assert.throws(() => matmul(a, b, { transposeA: true }), /inner sizes 3 and 5/);
  assert.throws(() => matmul(a, d, { out: a }), /out \[2, 3, 4\] does not hold/);
  assert.throws(() => matmul(e, e, { out: e }), /shares memory/);
  assert.throws(() => matmul(a, d, { outColumn: 1 }), /from column 1 on/);
  for (const t of [a, b, c, d, e]) t.dispose();
});

test.run();
