import * as assert from 'uvu/assert';
import { ShapeError } from '../../src/errors.ts';
import { openGpu } from '../../src/node.ts';
import { add, addScaled, mul, sub, type OutOption } from '../../src/tensor/elementwise.ts';
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

test.run();
