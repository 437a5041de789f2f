import * as assert from 'uvu/assert';
import { ShapeError } from '../../src/errors.ts';
import { openGpu } from '../../src/node.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { argmax, softmax, softmaxTeams } from '../../src/tensor/softmax.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('softmax');

function reference(x: Float32Array, width: number): { plain: Float64Array; log: Float64Array; best: number[] } {
  const plain = new Float64Array(x.length);
  const log = new Float64Array(x.length);
  const best: number[] = [];
  for (let at = 0; at < x.length; at += width) {
    const row = Array.from(x.subarray(at, at + width));
    const top = Math.max(...row);
    const total = row.reduce((s, v) => s + Math.exp(v - top), 0);
    row.forEach((v, i) => {
      plain[at + i] = Math.exp(v - top) / total;
      log[at + i] = v - top - Math.log(total);
    });
    best.push(row.indexOf(top));
  }
  return { plain, log, best };
}

test('softmax, log-softmax and argmax equal float64', async () => {
  const gpu = await testGpu();
  for (const shape of [[3, 5, 7], [1, 1], [65, 19], [2, 5003], [129, 2]]) {
    const width = shape.at(-1)!;
    const x = random(shape, width).map((v) => 12 * v);
    const ref = reference(x, width);
    await gpu.scope(async () => {
      const t = Tensor.from(gpu, x, shape);
      assert.ok(relativeError(await softmax(t).read(), ref.plain) < 1e-5, `softmax ${shape}`);
      assert.ok(relativeError(await softmax(t, { log: true }).read(), ref.log) < 1e-5, `log ${shape}`);
      const best = argmax(t);
      assert.equal(best.shape, shape.slice(0, -1));
      assert.equal(Array.from(await best.readU32()), ref.best);
    });
  }
});

test('every way to share rows out among subgroups equals float64', async () => {
  const gpu = await testGpu();
  const subgroup = gpu.subgroupSize;
  if (subgroup === 0) return;
  for (const [rows, width] of [[1, 8], [7, 36], [33, 64], [9, 1026], [5, 9], [6, 11], [7, 50], [4, 5003], [1, 13], [3, 1028]] as const) {
    const x = random(rows * width, width).map((v) => 12 * v);
    const ref = reference(x, width);
    for (const [across, teams] of width % 4 ? [[1, 1], [1, 4]] as const : [[1, 1], [1, 4], [2, 2], [4, 1]] as const) {
      await gpu.scope(async () => {
        const chosen = { subgroup, workgroup: subgroup * across * teams, across, rows: width % 4 ? 4 : teams };
        const t = Tensor.from(gpu, x, [rows, width]);
        assert.ok(relativeError(await softmax(t, { teams: chosen }).read(), ref.plain) < 1e-5, `softmax ${rows}×${width} ${JSON.stringify(chosen)}`);
        assert.ok(relativeError(await softmax(t, { log: true, teams: chosen }).read(), ref.log) < 1e-5, `log ${rows}×${width} ${JSON.stringify(chosen)}`);
      });
    }
  }
});

test('rows that end within a vector are done four at a time, on software drivers', () => {
  const limits = { workgroupInvocations: 256 };
  const cpu = { software: true, subgroupSize: 8, limits };
  assert.equal(softmaxTeams(cpu, 512, 1026), { subgroup: 8, workgroup: 64, across: 1, rows: 4 });
  assert.equal(softmaxTeams(cpu, 512, 1024), { subgroup: 8, workgroup: 64, across: 1, rows: 1 });
  assert.is(softmaxTeams(cpu, 512, 19), null);
  assert.is(softmaxTeams({ software: false, subgroupSize: 32, limits }, 512, 1026), null);
});

test('large inputs do not overflow, masked ones weigh nothing', async () => {
  const gpu = await testGpu();
  await gpu.scope(async () => {
    const x = Tensor.from(gpu, [1e30, 1e30, -1e30, 300, 301, 302, -1e30, -1e30, -5], [3, 3]);
    const p = await softmax(x).read();
    const wide = new Float32Array(2 * 66).fill(-1e30);
    wide.set([1e30, 1e30], 30);
    wide.set([300, 301, 302], 66 + 20);
    const q = await softmax(Tensor.from(gpu, wide, [2, 66])).read();
    assert.ok(relativeError(q.subarray(30, 32), [0.5, 0.5]) < 1e-6 && relativeError(q.subarray(86, 89), [0.09003057, 0.24472847, 0.66524096]) < 1e-6);
    assert.ok(Math.abs(q.reduce((a, b) => a + b, 0) - 2) < 1e-6);
    assert.ok(relativeError(p, [0.5, 0.5, 0, 0.09003057, 0.24472847, 0.66524096, 0, 0, 1]) < 1e-6, String(p));
  });
});

test('argmax gives the lowest of equal indices', async () => {
  const gpu = await testGpu();
  await gpu.scope(async () => {
    const x = new Float32Array(3 * 100);
    x[40] = x[70] = 2; // row 0: a tie; row 1: all equal; row 2: the largest is last
    x[299] = 1;
    assert.equal(Array.from(await argmax(Tensor.from(gpu, x, [3, 100])).readU32()), [40, 0, 99]);
  });
});

test('zero rows and empty rows', async () => {
  const gpu = await testGpu();
  await gpu.scope(async () => {
    assert.equal((await softmax(Tensor.empty(gpu, [0, 4])).read()).length, 0);
    assert.equal((await argmax(Tensor.empty(gpu, [0, 4])).readU32()).length, 0);
    assert.throws(() => argmax(Tensor.empty(gpu, [4, 0])), (e: unknown) => e instanceof ShapeError);
  });
});

test('a tensor beyond the binding limit is done in windows', async () => {
  const gpu = await openGpu({ windowBytes: 8192 });
  const x = random([150, 20], 5);
  const ref = reference(x, 20);
  const t = Tensor.from(gpu, x, [150, 20]);
  assert.ok(relativeError(await softmax(t).read(), ref.plain) < 1e-5);
  assert.equal(Array.from(await argmax(t).readU32()), ref.best);
  gpu.destroy();
});

test.run();
