import * as assert from 'uvu/assert';
import { ShapeError } from '../../src/errors.ts';
import { openGpu } from '../../src/node.ts';
import { add, addScaled, affine, fill, gelu, mul, relu, sub, transpose, widen16, type OutOption } from '../../src/tensor/elementwise.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('elementwise');

type Binary = (a: Tensor, b: Tensor, options?: OutOption) => Tensor;
const binaries: { name: string; op: Binary; f: (a: number, b: number) => number }[] = [
  { name: 'add', op: add, f: (a, b) => a + b },
  { name: 'sub', op: sub, f: (a, b) => a - b },
  { name: 'mul', op: mul, f: (a, b) => a * b },
  { name: 'addScaled', op: (a, b, o) => addScaled(a, b, -0.7, o), f: (a, b) => a - 0.7 * b },
];

test('two operands: same shape, a vector over the last axis, new, in place, over b, and with itself', async () => {
  const gpu = await testGpu();
  for (const shape of [[3, 5, 7], [1], [1025, 3]]) {
    const width = shape.at(-1)!;
    const x = random(shape, 1);
    const y = random(shape, 2);
    const v = random(width, 3);
    for (const { name, op, f } of binaries) {
      await gpu.scope(async () => {
        const [a, b] = [Tensor.from(gpu, x, shape), Tensor.from(gpu, y, shape)];
        const both = Float64Array.from(x, (n, i) => f(n, y[i]!));
        assert.ok(relativeError(await op(a, b).read(), both) < 1e-6, `${name} ${shape}`);
        const spread = Float64Array.from(x, (n, i) => f(n, v[i % width]!));
        const vector = Tensor.from(gpu, v, [width]);
        assert.ok(relativeError(await op(a, vector).read(), spread) < 1e-6, `${name} vector ${shape}`);
        const target = b.clone();
        assert.is(op(a, target, { out: target }), target);
        assert.ok(relativeError(await target.read(), both) < 1e-6, `${name} over b ${shape}`);
        op(a, b, { out: a });
        assert.ok(relativeError(await a.read(), both) < 1e-6, `${name} in place ${shape}`);
        op(b, b, { out: b });
        assert.ok(relativeError(await b.read(), Float64Array.from(y, (n) => f(n, n))) < 1e-6 || name === 'sub', `${name} self ${shape}`);
      });
    }
  }
});

test('views of one buffer do not disturb each other', async () => {
  const gpu = await testGpu();
  await gpu.scope(async () => {
    const x = random([4, 64], 1);
    const t = Tensor.from(gpu, x, [4, 64]);
    add(t.rows(0, 1), t.rows(1, 1), { out: t.rows(3, 1) });
    const sum = Array.from({ length: 64 }, (_, i) => Math.fround(x[i]! + x[64 + i]!));
    assert.equal(Array.from(await t.read()), [...x.subarray(0, 192), ...sum]);
    affine(t.rows(1, 1), 2, 0, { out: t.rows(2, 1) });
    assert.equal(Array.from(await t.rows(2, 1).read()), Array.from(x.subarray(64, 128), (v) => 2 * v));
  });
});

test('shapes that do not fit are refused; nothing is fine', async () => {
  const gpu = await testGpu();
  await gpu.scope(() => {
    assert.throws(() => add(Tensor.zeros(gpu, [2, 3]), Tensor.zeros(gpu, [2])), (e: unknown) => e instanceof ShapeError && /add: \[2\]/.test(e.message));
    assert.throws(() => add(Tensor.zeros(gpu, [2]), Tensor.zeros(gpu, [2]), { out: Tensor.zeros(gpu, [3]) }), (e: unknown) => e instanceof ShapeError);
    assert.equal(mul(Tensor.zeros(gpu, [0, 3]), Tensor.zeros(gpu, [3])).shape, [0, 3]);
  });
});

test('tensors beyond the binding limit are done in windows', async () => {
  const gpu = await openGpu({ windowBytes: 4096 });
  const [x, y] = [random([700, 3], 1), random([700, 3], 2)];
  const [a, b] = [Tensor.from(gpu, x, [700, 3]), Tensor.from(gpu, y, [700, 3])];
  assert.equal(Array.from(await add(a, b).read()), Array.from(x, (v, i) => Math.fround(v + y[i]!)));
  const vector = Tensor.from(gpu, [1, 2, 3], [3]);
  assert.equal(Array.from(await mul(a, vector).read()), Array.from(x, (v, i) => Math.fround(v * ((i % 3) + 1))));
  gpu.destroy();
});

test('one operand: affine, ReLU and GELU, extremes included', async () => {
  const gpu = await testGpu();
  for (const shape of [[3, 5, 7], [1], [2049]]) {
    const x = random(shape, 1).map((v) => 6 * v);
    if (x.length > 1) x[0] = -50;
    await gpu.scope(async () => {
      const t = Tensor.from(gpu, x, shape);
      const shifted = Float64Array.from(x, (v) => 2.5 * v - 1);
      assert.ok(relativeError(await affine(t, 2.5, -1).read(), shifted) < 1e-6);
      assert.equal(Array.from(await relu(t).read()), Array.from(x, (v) => Math.max(v, 0)));
      const smooth = Float64Array.from(x, (v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))));
      const out = await gelu(t).read();
      assert.ok(relativeError(out, smooth) < 1e-5);
      if (x.length > 1) assert.ok(Math.abs(out[0]!) < 1e-30);
      affine(t, 2.5, -1, { out: t });
      assert.ok(relativeError(await t.read(), shifted) < 1e-6);
    });
  }
});

test('GELU of huge inputs is 0 or the input', async () => {
  const gpu = await testGpu();
  await gpu.scope(async () => {
    const out = await gelu(Tensor.from(gpu, [-1e6, 1e6, 0], [3])).read();
    assert.ok(Math.abs(out[0]!) < 1e-20 && out[1] === 1e6 && out[2] === 0, String(out));
  });
});

test('fill sets floats and integers', async () => {
  const gpu = await testGpu();
  await gpu.scope(async () => {
    const [x, u] = [Tensor.empty(gpu, [7, 61]), Tensor.empty(gpu, [5], 'u32')];
    fill(x, -0.3);
    fill(u, 0xffffffff);
    assert.ok((await x.read()).every((v) => v === Math.fround(-0.3)));
    assert.ok((await u.readU32()).every((v) => v === 0xffffffff));
    fill(x, 0);
    assert.ok((await x.read()).every((v) => v === 0));
  });
});

/** The value of half-precision bits by the definition. */
function half(bits: number): number {
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  const size = exponent === 31 ? (fraction ? NaN : Infinity) : exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : fraction * 2 ** -24;
  return bits >> 15 ? -size : size;
}

test('every 16-bit float widens exactly; odd counts', async () => {
  const gpu = await testGpu();
  await gpu.scope(async () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const packed = Tensor.from(gpu, new Uint32Array(all.buffer), [32768]);
    assert.equal(Array.from(await widen16(packed, 65536, 'f16').read()), Array.from(all, half));
    const words = await widen16(packed, 65535, 'bf16').read();
    assert.is(words.length, 65535);
    const bits = new Uint32Array(words.buffer);
    assert.ok(all.subarray(0, 65535).every((v, i) => bits[i] === v * 65536));
  });
});

function transposed(x: Float32Array, rows: number, columns: number): number[] {
  return Array.from(x, (_, i) => {
    const batch = Math.floor(i / (rows * columns));
    const at = i % (rows * columns);
    return x[batch * rows * columns + (at % rows) * columns + Math.floor(at / rows)]!;
  });
}

test('transpose exchanges the last two axes', async () => {
  const gpu = await testGpu();
  for (const shape of [[2, 3, 5, 7], [1, 9], [9, 1], [33, 66]]) {
    const [rows, columns] = shape.slice(-2) as [number, number];
    const x = random(shape, 1);
    await gpu.scope(async () => {
      const y = transpose(Tensor.from(gpu, x, shape));
      assert.equal(y.shape, [...shape.slice(0, -2), columns, rows]);
      assert.equal(Array.from(await y.read()), transposed(x, rows, columns));
    });
  }
});

test('a single operand beyond the binding limit is done in windows', async () => {
  const gpu = await openGpu({ windowBytes: 4096 });
  const x = random([3, 30, 50], 1);
  const t = Tensor.from(gpu, x, [3, 30, 50]);
  assert.equal(Array.from(await relu(t).read()), Array.from(x, (v) => Math.max(v, 0)));
  assert.equal(Array.from(await transpose(t).read()), transposed(x, 30, 50));
  const bits = Uint16Array.from({ length: 3333 }, (_, i) => i);
  const packed = Tensor.from(gpu, new Uint32Array(Uint16Array.from([...bits, 0]).buffer), [1667]);
  assert.equal(Array.from(await widen16(packed, 3333, 'f16').read()), Array.from(bits, half));
  affine(t, 2, 0, { out: t });
  assert.equal(Array.from(await t.read()), Array.from(x, (v) => 2 * v));
  fill(t, 5);
  assert.ok((await t.read()).every((v) => v === 5));
  gpu.destroy();
});

test('more workgroups than one axis holds', async () => {
  const gpu = await testGpu();
  await gpu.scope(async () => {
    // 65,536 groups of 256 elements: one more than an axis takes.
    const n = 65536 * 256;
    const x = Tensor.empty(gpu, [n]);
    fill(x, 1.5);
    const ends = await x.rows(n - 64, 64).read();
    assert.ok(ends.every((v) => v === 1.5));
  });
});

test.run();
