import * as assert from 'uvu/assert';
import { ShapeError } from '../../src/errors.ts';
import { openGpu } from '../../src/node.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { maxRows, meanColumns, meanRows, segmentSum, sumColumns, sumRows, sumSquaresRows } from '../../src/tensor/reduce.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('reduce');

function byRow(x: Float32Array, width: number, f: (row: number[]) => number): number[] {
  return Array.from({ length: x.length / width }, (_, r) => f(Array.from(x.subarray(r * width, (r + 1) * width))));
}
function columnSums(x: Float32Array, width: number): number[] {
  return Array.from({ length: width }, (_, c) => {
    let sum = 0;
    for (let at = c; at < x.length; at += width) sum += x[at]!;
    return sum;
  });
}
const sum = (row: number[]): number => row.reduce((s, v) => s + v, 0);

test('rows: sum, mean, maximum and squares equal float64', async () => {
  const gpu = await testGpu();
  for (const shape of [[3, 5, 7], [1, 1], [131, 2], [2, 20011]]) {
    const width = shape.at(-1)!;
    const x = random(shape, width);
    await gpu.scope(async () => {
      const t = Tensor.from(gpu, x, shape);
      assert.equal(sumRows(t).shape, shape.slice(0, -1));
      assert.ok(relativeError(await sumRows(t).read(), byRow(x, width, sum)) < 1e-5, `sum ${shape}`);
      assert.ok(relativeError(await meanRows(t).read(), byRow(x, width, (r) => sum(r) / width)) < 1e-5, `mean ${shape}`);
      assert.equal(Array.from(await maxRows(t).read()), byRow(x, width, (r) => Math.max(...r)));
      assert.ok(relativeError(await sumSquaresRows(t).read(), byRow(x, width, (r) => sum(r.map((v) => v * v)))) < 1e-5, `squares ${shape}`);
    });
  }
});

test('a maximum of negative numbers is negative', async () => {
  const gpu = await testGpu();
  await gpu.scope(async () => {
    const t = Tensor.from(gpu, [-5, -3, -4, -1e30, -2e30, -3e30], [2, 3]);
    assert.equal(Array.from(await maxRows(t).read()), [-3, Math.fround(-1e30)]);
  });
});

test('columns: sum and mean equal float64, over one slice of rows and over many', async () => {
  const gpu = await testGpu();
  for (const shape of [[3, 5, 7], [1, 300], [128, 3], [129, 3], [40001, 2]]) {
    const width = shape.at(-1)!;
    const x = random(shape, width);
    const rows = x.length / width;
    await gpu.scope(async () => {
      const t = Tensor.from(gpu, x, shape);
      assert.equal(sumColumns(t).shape, [width]);
      assert.ok(relativeError(await sumColumns(t).read(), columnSums(x, width)) < 1e-5, `sum ${shape}`);
      assert.ok(relativeError(await meanColumns(t).read(), columnSums(x, width).map((v) => v / rows)) < 1e-5, `mean ${shape}`);
    });
  }
});

test('segments: listed rows are summed, empty segments are zero, rows past the end count as zeros', async () => {
  const gpu = await testGpu();
  await gpu.scope(async () => {
    const [n, width] = [50, 7];
    const x = random([n, width], 1);
    const order = [4, 4, 49, 0, 7, 50, 12, 13];
    const starts = [0, 3, 3, 4, 8];
    const expected = starts.slice(1).flatMap((end, s) => Array.from({ length: width }, (_, c) => order.slice(starts[s], end).reduce((t, row) => t + (x[row * width + c] ?? 0), 0)));
    const y = segmentSum(Tensor.from(gpu, x, [n, width]), Tensor.from(gpu, order, [8], 'u32'), Tensor.from(gpu, starts, [5], 'u32'));
    assert.equal(y.shape, [4, width]);
    assert.ok(relativeError(await y.read(), expected) < 1e-6);
  });
});

test('nothing to sum', async () => {
  const gpu = await testGpu();
  await gpu.scope(async () => {
    const empty = Tensor.empty(gpu, [0, 3]);
    assert.equal(sumRows(empty).shape, [0]);
    assert.equal(Array.from(await sumColumns(empty).read()), [0, 0, 0]);
    assert.equal(Array.from(await sumRows(Tensor.empty(gpu, [2, 0])).read()), [0, 0]);
    const none = segmentSum(empty, Tensor.empty(gpu, [0], 'u32'), Tensor.from(gpu, [0, 0], [2], 'u32'));
    assert.equal(Array.from(await none.read()), [0, 0, 0]);
    assert.throws(() => meanColumns(empty), (e: unknown) => e instanceof ShapeError);
    assert.throws(() => maxRows(Tensor.empty(gpu, [2, 0])), (e: unknown) => e instanceof ShapeError);
  });
});

test('tensors beyond the binding limit are done in windows', async () => {
  const gpu = await openGpu({ windowBytes: 8192 });
  const [n, width] = [1500, 5];
  const x = random([n, width], 1);
  const t = Tensor.from(gpu, x, [n, width]);
  assert.ok(relativeError(await sumRows(t).read(), byRow(x, width, sum)) < 1e-5);
  assert.ok(relativeError(await sumColumns(t).read(), columnSums(x, width)) < 1e-5);
  const order = Array.from({ length: n }, (_, i) => (i * 7) % n);
  const y = segmentSum(t, Tensor.from(gpu, order, [n], 'u32'), Tensor.from(gpu, [0, n], [2], 'u32'));
  assert.ok(relativeError(await y.read(), columnSums(x, width)) < 1e-5);
  gpu.destroy();
});

test.run();
