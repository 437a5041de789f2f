import * as assert from 'uvu/assert';
import { ShapeError } from '../../src/errors.ts';
import { openGpu } from '../../src/node.ts';
import { gatherElements, gatherRows, scatterRows } from '../../src/tensor/index-ops.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';

const test = gpuSuite('index ops');
const SKIP = 0xffffffff;

/** Rows of x by index, columns [offset, offset + width); zeros past the end. */
function gathered(x: Float32Array, stride: number, index: readonly number[], offset: number, width: number): number[] {
  return index.flatMap((row) => Array.from({ length: width }, (_, c) => x[row * stride + offset + c] ?? 0));
}

function scattered(x: Float32Array, stride: number, index: readonly number[], values: Float32Array, offset: number, add: boolean): number[] {
  const width = values.length / index.length;
  const out = Array.from(x);
  index.forEach((row, i) => {
    if (row === SKIP) return;
    for (let c = 0; c < width; c++) {
      const at = row * stride + offset + c;
      out[at] = Math.fround((add ? out[at]! : 0) + values[i * width + c]!);
    }
  });
  return out;
}

test('gatherRows reads rows and column ranges, of flattened leading axes, with repeats', async () => {
  const gpu = await testGpu();
  const cases = [
    { shape: [6, 5, 14], index: [29, 0, 3, 3, 17], offset: 7, width: 3 },
    { shape: [40, 1], index: [39, 0], offset: 0, width: 1 },
    { shape: [9, 300], index: Array.from({ length: 50 }, (_, i) => (i * 7) % 9), offset: 1, width: 299 },
  ];
  for (const { shape, index, offset, width } of cases) {
    const x = random(shape, 3);
    await gpu.scope(async () => {
      const t = Tensor.from(gpu, x, shape);
      const rows = gatherRows(t, Tensor.from(gpu, index, [index.length], 'u32'), { offset, width });
      assert.equal(rows.shape, [index.length, width]);
      assert.equal(Array.from(await rows.read()), gathered(x, shape.at(-1)!, index, offset, width));
    });
  }
});

test('gatherRows gives zeros past the end and nothing for no index', async () => {
  const gpu = await testGpu();
  await gpu.scope(async () => {
    const t = Tensor.from(gpu, random(12, 1), [4, 3]);
    const some = await gatherRows(t, Tensor.from(gpu, [4, SKIP, 2], [3], 'u32')).read();
    assert.equal(Array.from(some), [0, 0, 0, 0, 0, 0, ...random(12, 1).subarray(6, 9)]);
    assert.equal(gatherRows(t, Tensor.empty(gpu, [0], 'u32')).shape, [0, 3]);
    assert.throws(() => gatherRows(t, Tensor.empty(gpu, [1], 'u32'), { offset: 2, width: 2 }), (e: unknown) => e instanceof ShapeError && /columns 2 to 4/.test(e.message));
  });
});

test('scatterRows sets or adds a column range, skips what it is told to skip, leaves the rest', async () => {
  const gpu = await testGpu();
  for (const { shape, index, offset, width } of [
    { shape: [3, 4, 10], index: [11, 2, SKIP, 5], offset: 6, width: 4 },
    { shape: [70, 33], index: Array.from({ length: 60 }, (_, i) => 69 - i), offset: 0, width: 33 },
  ]) {
    const x = random(shape, 1);
    const values = random([index.length, width], 2);
    for (const replace of [true, false]) {
      await gpu.scope(async () => {
        const t = Tensor.from(gpu, x, shape);
        scatterRows(t, Tensor.from(gpu, index, [index.length], 'u32'), Tensor.from(gpu, values, [index.length, width]), { offset, add: !replace });
        assert.equal(Array.from(await t.read()), scattered(x, shape.at(-1)!, index, values, offset, !replace));
      });
    }
  }
});

test('scatterRows takes values that view the same buffer', async () => {
  const gpu = await testGpu();
  await gpu.scope(async () => {
    const x = random([4, 64], 1);
    const t = Tensor.from(gpu, x, [4, 64]);
    scatterRows(t, Tensor.from(gpu, [3, 0], [2], 'u32'), t.rows(1, 2));
    assert.equal(Array.from(await t.read()), [...x.subarray(128, 192), ...x.subarray(64, 192), ...x.subarray(64, 128)]);
  });
});

test('scatterRows refuses values that do not fit', async () => {
  const gpu = await testGpu();
  await gpu.scope(() => {
    const t = Tensor.zeros(gpu, [4, 3]);
    assert.throws(() => scatterRows(t, Tensor.zeros(gpu, [2], 'u32'), Tensor.zeros(gpu, [3, 3])), (e: unknown) => e instanceof ShapeError && /3 u32 indices/.test(e.message));
    assert.throws(() => scatterRows(t, Tensor.zeros(gpu, [1], 'u32'), Tensor.zeros(gpu, [1, 3]), { offset: 1 }), (e: unknown) => e instanceof ShapeError);
  });
});

test('gatherElements picks by column, one or several a row', async () => {
  const gpu = await testGpu();
  const x = random([2, 3, 11], 4);
  await gpu.scope(async () => {
    const t = Tensor.from(gpu, x, [2, 3, 11]);
    const one = gatherElements(t, Tensor.from(gpu, [0, 10, 5, 5, 1, 11], [2, 3], 'u32'));
    assert.equal(one.shape, [2, 3]);
    assert.equal(Array.from(await one.read()), [x[0], x[21], x[27], x[38], x[45], 0]);
    const two = gatherElements(t.reshape([6, 11]), Tensor.from(gpu, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0], [6, 2], 'u32'));
    assert.equal(Array.from(await two.read()), [x[0], x[1], x[13], x[14], x[26], x[27], x[39], x[40], x[52], x[53], x[65], x[55]]);
  });
});

test('tables, indices and values beyond the binding limit are done in windows', async () => {
  const gpu = await openGpu({ windowBytes: 4096 });
  const x = random([500, 6], 1);
  const index = Array.from({ length: 300 }, (_, i) => (i * 7) % 500);
  const at = Tensor.from(gpu, index, [300], 'u32');
  const t = Tensor.from(gpu, x, [500, 6]);
  assert.equal(Array.from(await gatherRows(t, at, { offset: 1, width: 4 }).read()), gathered(x, 6, index, 1, 4));
  const values = random([300, 4], 2);
  scatterRows(t, at, Tensor.from(gpu, values, [300, 4]), { offset: 2, add: true });
  assert.equal(Array.from(await t.read()), scattered(x, 6, index, values, 2, true));
  const columns = Array.from({ length: 500 }, (_, r) => r % 6);
  const picked = await gatherElements(Tensor.from(gpu, x, [500, 6]), Tensor.from(gpu, columns, [500, 1], 'u32')).read();
  assert.equal(Array.from(picked), columns.map((c, r) => x[r * 6 + c]));
  gpu.destroy();
});

test.run();
