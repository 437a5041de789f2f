import * as assert from 'uvu/assert';
import { activeMask, countUnions, reciprocalRows, segments, segmentSum, Tensor } from '../../src/tensor/index.ts';
import { ShapeError } from '../../src/errors.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('small operations on codes');

test('a mask is 1 where a code is above zero', async () => {
  const gpu = await testGpu();
  for (const shape of [[1, 1], [3, 5], [70, 33], [300, 1], [2, 4, 9], [0, 8]]) {
    const data = random(shape, 3).map((x, i) => (i % 5 === 0 ? 0 : x));
    const codes = Tensor.from(gpu, data, shape);
    const mask = activeMask(codes);
    assert.equal(mask.shape, shape);
    assert.equal([...(await mask.read())], [...data].map((x) => (x > 0 ? 1 : 0)));
    const either = activeMask(codes, { signed: true });
    assert.equal([...(await either.read())], [...data].map((x) => (x !== 0 ? 1 : 0)));
    for (const tensor of [codes, mask, either]) tensor.dispose();
  }
});

test('reciprocal rows have a dot product of 1 with their rows; rows of zeros have none', async () => {
  const gpu = await testGpu();
  for (const [rows, width] of [[1, 1], [5, 3], [129, 32], [65, 64], [0, 4]] as const) {
    const data = random([rows, width], 7).map((value) => value * 3);
    if (rows > 2) data.fill(0, 2 * width, 3 * width);
    const x = Tensor.from(gpu, data, [rows, width]);
    const out = reciprocalRows(x);
    const found = await out.read();
    for (let row = 0; row < rows; row++) {
      const own = [...data.subarray(row * width, (row + 1) * width)];
      const square = own.reduce((sum, value) => sum + value * value, 0);
      const got = found.subarray(row * width, (row + 1) * width);
      if (square === 0) assert.ok(got.every(Number.isNaN));
      else assert.ok(relativeError(got, own.map((value) => value / square)) < 1e-6);
    }
    x.dispose();
    out.dispose();
  }
});

test('segments list rows by group, and sums over them are sums by group', async () => {
  const gpu = await testGpu();
  const ids = Uint32Array.from({ length: 97 }, (_, i) => (i * 31) % 7);
  const { order, starts } = segments(ids, 8);
  assert.equal([...order].sort((a, b) => a - b), [...Array(97).keys()]);
  const x = random([97, 6], 5);
  await gpu.scope(async () => {
    const sums = await segmentSum(Tensor.from(gpu, x, [97, 6]), Tensor.from(gpu, order, [97]), Tensor.from(gpu, starts, [9])).read();
    const expected = new Float64Array(8 * 6);
    ids.forEach((id, row) => { for (let d = 0; d < 6; d++) expected[id * 6 + d]! += x[row * 6 + d]!; });
    assert.ok(relativeError(sums, expected) < 1e-6);
    assert.ok(sums.subarray(42).every((value) => value === 0));
  });
});

test('rows of growing unions are counted once, at the first value that holds', async () => {
  const gpu = await testGpu();
  for (const [rows, features, columns, values, most] of [[1, 1, 1, 1, 1], [13, 5, 2, 7, 3], [300, 33, 2, 11, 10], [520, 70, 3, 4, 30], [0, 4, 2, 3, 2]] as const) {
    const codes = random([rows, features], 4).map((x, i) => (i % 3 === 0 ? 0 : x));
    // Some values are none, some are in no union.
    const holds = Uint32Array.from(random([rows, columns], 5), (x, i) => (i % 6 === 5 ? 0xffffffff : Math.floor(((x + 1) / 2) * values)));
    const ranks = Uint32Array.from(random([values, features], 6), (x) => Math.floor(((x + 1) / 2) * (most + 2)));
    const expected = new Float32Array(most * features);
    for (let p = 0; p < rows; p++) {
      for (let f = 0; f < features; f++) {
        if (codes[p * features + f] === 0) continue;
        const places = [...holds.subarray(p * columns, (p + 1) * columns)].filter((value) => value < values).map((value) => ranks[value * features + f]!);
        const first = Math.min(...places);
        if (first < most) expected[first * features + f]!++;
      }
    }
    await gpu.scope(async () => {
      const found = countUnions(Tensor.from(gpu, codes, [rows, features]), Tensor.from(gpu, holds, [rows, columns]), Tensor.from(gpu, ranks, [values, features]), most);
      assert.equal(found.shape, [most, features]);
      assert.equal([...(await found.read())], [...expected]);
    });
  }
  gpu.scope(() => assert.throws(() => countUnions(Tensor.zeros(gpu, [3, 2]), Tensor.zeros(gpu, [3, 1], 'u32'), Tensor.zeros(gpu, [4, 3], 'u32'), 2), (e: unknown) => e instanceof ShapeError));
});

test.run();
