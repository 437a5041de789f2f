import * as assert from 'uvu/assert';
import { addWeighed, countSinceFired, Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('counts of training');
const gpu = await testGpu();

for (const mark of [true, false]) test(`examples since each feature was active, ${mark ? 'with' : 'without'} marks of the dead`, () => gpu.scope(async () => {
  const [D, F, deadAfter] = [3, 77, 120];
  const size = D * F;
  const zeros = (): Tensor => Tensor.zeros(gpu, [D, F], 'u32');
  const on = { fired: zeros(), seen: zeros(), since: zeros() };
  const dead = mark ? zeros() : Tensor.zeros(gpu, [1], 'u32');
  const expected = new Array<number>(size).fill(0);
  let counts = new Uint32Array(size);
  for (let t = 0; t < 30; t++) {
    const rows = 20 + (t % 3);
    // An epoch of ten steps begins: its counts start anew.
    if (t % 10 === 0) {
      counts = new Uint32Array(size);
      gpu.clear(on.seen, on.seen.byteLength);
    }
    const noise = random(size, t + 1);
    for (let i = 0; i < size; i++) {
      // Feature i is active in about one of 1 + i mod 40 steps, every ninth never.
      const active = i % 9 !== 0 && (noise[i]! + 1) / 2 < 1 / (1 + (i % 40));
      if (active) counts[i]! += 1 + (i % 5);
      expected[i] = active ? 0 : expected[i]! + rows;
    }
    on.fired.write(counts);
    countSinceFired(on, rows, { deadAfter, dead, mark });
    if (t % 7 !== 6) continue;
    assert.equal([...await on.since.readU32()], expected);
    if (mark) assert.equal([...await dead.readU32()], expected.map((count) => (count >= deadAfter ? 1 : 0)));
  }
  const some = expected.filter((count) => count >= deadAfter).length;
  assert.ok(some > 20 && some < 150, `${some} dead`);
  if (!mark) assert.equal([...await dead.readU32()], [0]);
}));

test('a count stays at the largest number', () => gpu.scope(async () => {
  const one = (value: number): Tensor => Tensor.from(gpu, Uint32Array.of(value), [1]);
  const on = { fired: one(0), seen: one(0), since: one(2 ** 32 - 10) };
  const dead = one(0);
  for (const expected of [2 ** 32 - 3, 2 ** 32 - 1, 2 ** 32 - 1]) {
    countSinceFired(on, 7, { deadAfter: 2 ** 32 - 1, dead, mark: true });
    assert.equal([...await on.since.readU32()], [expected]);
  }
  assert.equal([...await dead.readU32()], [1]);
}));

test('sums of steps are added up as their losses weigh them', () => gpu.scope(async () => {
  const [D, F, k, coefficient] = [5, 70, 8, 0.25];
  for (const variant of ['vanilla', 'gated', 'topk', 'batchtopk', 'jumprelu'] as const) {
    const auxiliary = variant === 'topk' || variant === 'batchtopk';
    const zeros = (width: number): Tensor => Tensor.zeros(gpu, [D, width]);
    const into = { totals: zeros(4), second: zeros(4), weighted: zeros(2) };
    const expected = { totals: new Float64Array(D * 4), second: new Float64Array(D * 4), weighted: new Float64Array(D * 2) };
    for (let t = 1; t <= 6; t++) {
      const [sums, secondSums] = [random(D * 4, t).map((v) => v + 2), random(D * 4, t + 50).map((v) => v + 2)];
      const sparsity = Float32Array.from({ length: D }, (_, i) => (auxiliary ? 3 : 0.1 * t + i));
      // The i-th dictionary has 0, 3, 6, 9 and 12 dead features more than in the last step, which are more than k in the end.
      const dead = Uint32Array.from({ length: D * F }, (_, at) => (at % F < Math.floor(at / F) * t ? 1 : 0));
      addWeighed(variant, {
        ...into, sums: Tensor.from(gpu, sums, [D, 4]), secondSums: Tensor.from(gpu, secondSums, [D, 4]), sparsity: Tensor.from(gpu, sparsity, [D]),
        dead: auxiliary ? Tensor.from(gpu, dead, [D, F]) : null,
      }, { k, coefficient });
      for (let i = 0; i < D; i++) {
        for (let j = 0; j < 4; j++) [expected.totals[i * 4 + j]!, expected.second[i * 4 + j]!] = [expected.totals[i * 4 + j]! + sums[i * 4 + j]!, expected.second[i * 4 + j]! + secondSums[i * 4 + j]!];
        const penalised = { vanilla: sums[i * 4 + 1]!, gated: secondSums[i * 4 + 1]!, jumprelu: sums[i * 4 + 2]!, topk: 0, batchtopk: 0 }[variant];
        expected.weighted[i * 2]! += sparsity[i]! * penalised;
        if (auxiliary) expected.weighted[i * 2 + 1]! += coefficient * Math.min((i * t) / k, 1) * secondSums[i * 4]!;
      }
    }
    for (const name of ['totals', 'second', 'weighted'] as const) assert.ok(relativeError(await into[name].read(), expected[name]) < 1e-6, `${variant}: ${name}`);
  }
}));

test.run();
