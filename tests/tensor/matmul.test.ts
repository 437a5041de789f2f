import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openGpu } from '../../src/node.ts';
import { canRun, layOut, matmulVariants, planMatmul, type MatmulShape } from '../../src/tensor/matmul-plan.ts';
import { Tensor, matmul, type MatmulOptions } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';
import type { Gpu } from '../../src/gpu/index.ts';

interface Case { batch?: number; m: number; n: number; k: number; ta?: boolean; tb?: boolean; shared?: boolean; bias?: 'one' | 'each'; activation?: 'gelu' | 'relu'; residual?: boolean; scale?: number; column?: number; extra?: number }

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
    bias: c.bias ? random(c.bias === 'each' ? batch * n : n, 11) : undefined, residual: c.residual ? random(batch * m * n, 13) : undefined,
  };
  const a = Tensor.from(gpu, data.a, [...lead, ...(c.ta ? [k, m] : [m, k])]);
  const b = Tensor.from(gpu, data.b, [...(c.shared || !lead.length ? [] : lead), ...(c.tb ? [n, k] : [k, n])]);
  const bias = data.bias && Tensor.from(gpu, data.bias, c.bias === 'each' ? [...lead, n] : [n]);
  const residual = data.residual && Tensor.from(gpu, data.residual, [...lead, m, n]);
  const wide = extra ? Tensor.zeros(gpu, [...lead, m, n + extra]) : undefined;
  const out = matmul(a, b, {
    transposeA: c.ta, transposeB: c.tb, bias, activation: c.activation, residual, scale: c.scale, ...(wide ? { out: wide, outColumn: column } : {}), ...options,
  });
  assert.equal(out.shape, [...lead, m, n + extra]);
  let got = await out.read();
  if (extra) {
    const narrow = got.filter((_, at) => at % (n + extra) >= column && at % (n + extra) < column + n);
    assert.ok(got.every((v, at) => (at % (n + extra) >= column && at % (n + extra) < column + n) || v === 0), 'other columns are untouched');
    got = narrow;
  }
  for (const t of [a, b, bias, residual, out]) t?.dispose();
  return relativeError(got, reference(c, data.a, data.b, data.bias, data.residual));
}

const shapeOf = (c: Case): MatmulShape => ({ batch: c.batch ?? 1, m: c.m, n: c.n, k: c.k, transposeA: c.ta ?? false, transposeB: c.tb ?? false, outRow: c.n + (c.extra ?? 0), column: c.column ?? 0 });

const shapes: Case[] = [
  { m: 1, n: 1, k: 1 }, { m: 1, n: 384, k: 128 }, { m: 3, n: 5, k: 7 }, { m: 67, n: 36, k: 33 }, { m: 130, n: 100, k: 70 }, { m: 64, n: 64, k: 16 }, { m: 9, n: 97, k: 48 },
  { m: 5, n: 8, k: 0 }, { m: 0, n: 8, k: 4 }, { m: 5, n: 0, k: 4 }, { batch: 3, m: 17, n: 12, k: 20 }, { batch: 2, m: 70, n: 65, k: 19, shared: true }, { batch: 0, m: 4, n: 4, k: 4 },
];

const test = gpuSuite('matmul');

for (const variant of matmulVariants) {
  test(`${variant}: shapes and layouts`, async () => {
    const gpu = await testGpu();
    let ran = 0;
    for (const base of shapes) for (const [ta, tb] of [[false, false], [true, false], [false, true], [true, true]]) {
      const c = { ...base, ta, tb };
      if (!canRun(variant, shapeOf(c))) continue;
      const error = await compare(gpu, c, { variant });
      assert.ok(error <= 1e-5, `${JSON.stringify(c)}: ${error}`);
      ran++;
    }
    assert.ok(ran >= 5);
  });

  test(`${variant}: epilogues and columns of a wider output`, async () => {
    const gpu = await testGpu();
    const tb = variant === 'dot';
    const base: Case = { batch: 2, m: 19, n: 20, k: 12, tb };
    const cases: Case[] = [
      { ...base, bias: 'one' }, { ...base, bias: 'each', activation: 'relu' }, { ...base, bias: 'one', activation: 'gelu', scale: 7 },
      { ...base, residual: true, scale: -0.5 }, { ...base, shared: true, bias: 'one', activation: 'gelu', residual: true },
      { ...base, shared: true, bias: 'each', residual: true }, { m: 19, n: 20, k: 12, tb, extra: 8, column: 4, bias: 'one' },
    ];
    for (const c of cases) {
      const error = await compare(gpu, c, { variant });
      assert.ok(error <= 1e-5, `${JSON.stringify(c)}: ${error}`);
    }
  });
}

test('the planner\'s own choice computes random shapes', async () => {
  const gpu = await testGpu();
  const dice = random(200, 5);
  for (let i = 0; i < 24; i++) {
    const pick = (at: number, most: number): number => 1 + Math.floor(((dice[i * 5 + at]! + 1) / 2) * most);
    const c: Case = { batch: i % 3 ? undefined : pick(0, 3), m: pick(1, 90), n: pick(2, 90), k: pick(3, 90), ta: i % 4 === 1, tb: i % 5 > 2 };
    const error = await compare(gpu, c);
    assert.ok(error <= 1e-5, `${JSON.stringify(c)}: ${error}`);
  }
});

test('operands and results beyond the binding limit are computed in windows', async () => {
  const gpu = await openGpu({ windowBytes: 65536 });
  try {
    for (const c of [
      { m: 3000, n: 20, k: 32 }, { m: 40, n: 1000, k: 32, tb: true }, { m: 3, n: 1001, k: 32, tb: true, bias: 'one' }, { batch: 9, m: 32, n: 48, k: 64, residual: true },
      { m: 600, n: 64, k: 8, residual: true }, { batch: 12, m: 64, n: 16, k: 40, ta: true, bias: 'each' },
    ] as Case[]) {
      const error = await compare(gpu, c);
      assert.ok(error <= 1e-5, `${JSON.stringify(c)}: ${error}`);
    }
    const a = Tensor.zeros(gpu, [4, 128]);
    const b = Tensor.zeros(gpu, [128, 256]);
    assert.throws(() => matmul(a, b), /131072 bytes, at most 65536/);
  } finally {
    gpu.destroy();
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
  assert.throws(() => matmul(a, b), /matmul: inner sizes 4 and 5 differ; a \[2, 3, 4\], b \[5, 6\]/);
  assert.throws(() => matmul(a, c), /batches differ/);
  assert.throws(() => matmul(a, d, { bias: b }), /bias \[5, 6\] does not fit/);
  assert.throws(() => matmul(a, b, { transposeA: true, variant: 'dot' }), /inner sizes/);
  for (const t of [a, b, c, d]) t.dispose();
});

test.run();

const plan = suite('matmul plan');

plan('software drivers get kernels without barriers, real GPUs tiles, few rows slices of k', () => {
  const s = (m: number, n: number, k: number, more: Partial<MatmulShape> = {}): MatmulShape => ({ batch: 1, m, n, k, transposeA: false, transposeB: false, outRow: n, column: 0, ...more });
  assert.is(planMatmul(s(1000, 768, 768), true).variant, 'registers');
  assert.is(planMatmul(s(1000, 50257, 768, { transposeB: true }), true).variant, 'dot');
  assert.is(planMatmul(s(10, 7, 5), true).variant, 'any');
  assert.is(planMatmul(s(1000, 768, 768), false).variant, 'tiled');
  assert.is(planMatmul(s(1, 768, 768), false).variant, 'vector');
  assert.is(planMatmul(s(1, 50257, 768, { transposeB: true }), false).variant, 'dot');
  assert.is(planMatmul(s(100, 20, 8, { outRow: 21 }), true).variant, 'any');
});

plan('tiles cover the output', () => {
  for (const variant of matmulVariants) {
    const p = layOut(variant, { batch: 3, m: 100, n: 72, k: 8, transposeA: false, transposeB: variant === 'dot', outRow: 72, column: 0 });
    if (variant === 'any') assert.ok(p.groups * 64 >= 3 * 100 * 72);
    else assert.is(p.groups, 3 * p.tilesM * p.tilesN);
  }
});

plan.run();
