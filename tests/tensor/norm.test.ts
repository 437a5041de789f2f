import * as assert from 'uvu/assert';
import { openGpu } from '../../src/node.ts';
import { ShapeError } from '../../src/errors.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { layerNorm, layerNormScale } from '../../src/tensor/norm.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('norm');
const EPSILON = 1e-5;

function reference(x: Float32Array, width: number, gamma: Float32Array | null, beta: Float32Array | null): { y: Float64Array; scale: number[] } {
  const y = new Float64Array(x.length);
  const scale: number[] = [];
  for (let at = 0; at < x.length; at += width) {
    const row = Array.from(x.subarray(at, at + width));
    const mean = row.reduce((s, v) => s + v, 0) / width;
    const sd = Math.sqrt(row.reduce((s, v) => s + (v - mean) ** 2, 0) / width + EPSILON);
    scale.push(sd);
    row.forEach((v, i) => { y[at + i] = ((v - mean) / sd) * (gamma?.[i] ?? 1) + (beta?.[i] ?? 0); });
  }
  return { y, scale };
}

test('layer norm and its scale equal float64, with and without gamma and beta', async () => {
  const gpu = await testGpu();
  for (const shape of [[3, 5, 7], [1, 1], [67, 48], [2, 769], [130, 3]]) {
    const width = shape.at(-1)!;
    // A mean far from zero: a one-pass variance would lose it.
    const x = random(shape, width).map((v) => v + 30);
    const gamma = random(width, 2);
    const beta = random(width, 3);
    for (const [g, b] of [[gamma, beta], [gamma, null], [null, beta], [null, null]] as const) {
      await gpu.scope(async () => {
        const t = Tensor.from(gpu, x, shape);
        const y = layerNorm(t, g && Tensor.from(gpu, g, [width]), b && Tensor.from(gpu, b, [width]), EPSILON);
        const scale = layerNormScale(t, EPSILON);
        const ref = reference(x, width, g, b);
        assert.equal(y.shape, shape);
        assert.equal(scale.shape, [...shape.slice(0, -1), 1]);
        // Float32 holds an input near 30 to 2e-6, which is what the reference sees as well.
        assert.ok(relativeError(await y.read(), ref.y) < 1e-5, `${shape} ${relativeError(await y.read(), ref.y)}`);
        assert.ok(relativeError(await scale.read(), ref.scale) < 1e-5, `scale ${shape}`);
      });
    }
  }
});

test('zero rows give an empty tensor; a wrong vector is refused', async () => {
  const gpu = await testGpu();
  await gpu.scope(async () => {
    const gamma = Tensor.from(gpu, [1, 2, 3], [3]);
    assert.equal((await layerNorm(Tensor.empty(gpu, [0, 3]), gamma, null, EPSILON).read()).length, 0);
    assert.throws(() => layerNorm(Tensor.zeros(gpu, [2, 4]), gamma, null, EPSILON), (e: unknown) => e instanceof ShapeError && /layerNorm.*\[2, 4\].*\[3\]/.test(e.message));
  });
});

test('a tensor beyond the binding limit is done in windows', async () => {
  const gpu = await openGpu({ windowBytes: 16384 });
  const x = random([200, 33], 5);
  const { y, scale } = reference(x, 33, null, null);
  const t = Tensor.from(gpu, x, [200, 33]);
  assert.ok(relativeError(await layerNorm(t, null, null, EPSILON).read(), y) < 1e-5);
  assert.ok(relativeError(await layerNormScale(t, EPSILON).read(), scale) < 1e-5);
  gpu.destroy();
});

test.run();
