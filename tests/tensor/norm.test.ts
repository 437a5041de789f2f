import * as assert from 'uvu/assert';
import { openGpu } from '../../src/node.ts';
import { ShapeError } from '../../src/errors.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { layerNorm, layerNormScale, layerNormTeams } from '../../src/tensor/norm.ts';
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

test('every way to share rows out among subgroups equals float64, means far from zero and first elements far out included', async () => {
  const gpu = await testGpu();
  const subgroup = gpu.subgroupSize;
  if (subgroup === 0) return;
  for (const [rows, width] of [[1, 4], [7, 36], [33, 64], [9, 768], [3, 1028]] as const) {
    const x = random(rows * width, width).map((v, i) => (i % width === 0 ? 5000 : v + 30));
    const plain = random(rows * width, width).map((v) => v + 300);
    const gamma = random(width, 2);
    const beta = random(width, 3);
    for (const [across, teams, own] of [[1, 1, 1], [1, 4, 2], [1, 2, 4], [2, 1, 1], [4, 2, 3]] as const) {
      await gpu.scope(async () => {
        for (const values of [x, plain]) {
          const t = Tensor.from(gpu, values, [rows, width]);
          const y = layerNorm(t, Tensor.from(gpu, gamma, [width]), Tensor.from(gpu, beta, [width]), EPSILON, { subgroup, workgroup: subgroup * across * teams, across, rows: own });
          const found = relativeError(await y.read(), reference(values, width, gamma, beta).y);
          const before = relativeError(await layerNorm(t, Tensor.from(gpu, gamma, [width]), Tensor.from(gpu, beta, [width]), EPSILON, null).read(), reference(values, width, gamma, beta).y);
          // Float32 holds an input near 300 to 1.5e-5, which is what the reference sees as well; the mean it cannot hold better.
          assert.ok(found < 1e-5 || found <= 1.5 * before, `${rows}×${width} ${across} ${teams} ${own}: ${found}, ${before}`);
        }
      });
    }
  }
});

test('teams are for rows of whole vectors, and leave work for all cores', () => {
  const limits = { workgroupInvocations: 256 };
  const cpu = { software: true, subgroupSize: 8, limits };
  assert.is(layerNormTeams({ ...cpu, subgroupSize: 0 }, 100, 768), null);
  assert.is(layerNormTeams(cpu, 100, 770), null);
  assert.is(layerNormTeams(cpu, 100, 16), null);
  assert.equal(layerNormTeams(cpu, 1024, 768), { subgroup: 8, workgroup: 64, across: 1, rows: 8 });
  assert.equal(layerNormTeams(cpu, 19, 768), { subgroup: 8, workgroup: 8, across: 1, rows: 1 });
  assert.equal(layerNormTeams({ software: false, subgroupSize: 32, limits }, 19, 768), { subgroup: 32, workgroup: 64, across: 1, rows: 1 });
  assert.equal(layerNormTeams({ software: false, subgroupSize: 32, limits }, 19, 16384), { subgroup: 32, workgroup: 256, across: 8, rows: 1 });
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
