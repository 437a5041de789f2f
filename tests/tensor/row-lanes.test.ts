import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Gpu } from '../../src/gpu/index.ts';
import { openGpu } from '../../src/node.ts';
import { argmax, attention, layerNorm, layerNormScale, maxRows, softmax, sumRows, sumSquaresRows, Tensor } from '../../src/tensor/index.ts';
import { rowGroups, rowLanes } from '../../src/tensor/row-lanes.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const plan = suite('row lanes');

plan('one lane on software drivers, else a power of two with at least four elements each', () => {
  assert.is(rowLanes(true, 50257), 1);
  for (const [width, lanes] of [[1, 1], [7, 1], [8, 2], [19, 4], [128, 32], [256, 64], [50257, 64]] as const) assert.is(rowLanes(false, width), lanes, String(width));
  assert.is(rowGroups(0, 1), 0);
  assert.is(rowGroups(65, 1), 2);
  assert.is(rowGroups(3, 64), 3);
  assert.is(rowGroups(3, 32), 2);
});

plan.run();

const test = gpuSuite('kernels for real GPUs');

/** Runs the variants that a real GPU would get on whatever adapter is here. */
async function asHardware(body: (gpu: Gpu) => Promise<void>): Promise<void> {
  const gpu = await openGpu();
  (gpu as { software: boolean }).software = false;
  await body(gpu);
  gpu.destroy();
}

/** Everything that reduces rows, of one matrix. */
async function reductions(gpu: Gpu, x: Float32Array, width: number): Promise<Record<string, ArrayLike<number>>> {
  return gpu.scope(async () => {
    const t = Tensor.from(gpu, x, [x.length / width, width]);
    const [gamma, beta] = [Tensor.from(gpu, random(width, 8), [width]), Tensor.from(gpu, random(width, 9), [width])];
    return {
      layerNorm: await layerNorm(t, gamma, beta, 1e-5).read(), scale: await layerNormScale(t, 1e-5).read(),
      softmax: await softmax(t).read(), log: await softmax(t, { log: true }).read(), argmax: await argmax(t).readU32(),
      sum: await sumRows(t).read(), squares: await sumSquaresRows(t).read(), max: await maxRows(t).read(),
    };
  });
}

// The variants for software drivers are compared with float64 in the tests of each operation; here lanes are compared with them.
test('rows shared by several threads give what one thread a row gives', async () => {
  const gpu = await testGpu();
  await asHardware(async (hardware) => {
    for (const [rows, width] of [[67, 19], [2, 4099]] as const) {
      // A tie in every row, its second place in another lane.
      const x = random([rows, width], width).map((v) => 4 * v);
      for (let r = 0; r < rows; r++) x[r * width + width - 1] = x[r * width + 3] = 5;
      const [one, many] = [await reductions(gpu, x, width), await reductions(hardware, x, width)];
      for (const [name, values] of Object.entries(one)) assert.ok(relativeError(many[name]!, values) < 5e-6, `${name} [${rows}, ${width}]`);
      assert.equal(Array.from(many.argmax!), Array.from({ length: rows }, () => 3));
    }
  });
});

test('attention picks its variant by itself', async () => {
  const gpu = await testGpu();
  const draw = async (on: Gpu, queries: number): Promise<Float32Array> => on.scope(() => attention({ qkv: Tensor.from(on, random([1, queries, 24], 3), [1, queries, 24]), heads: 2 }).read());
  await asHardware(async (hardware) => {
    for (const queries of [2, 11]) assert.ok(relativeError(await draw(hardware, queries), await draw(gpu, queries)) < 1e-6);
  });
});

test.run();
