import * as assert from 'uvu/assert';
import { Sae } from '../../src/dictionary/index.ts';
import { bestF1, coverage, holdsOf, LabelledExamples } from '../../src/phenomena/coverage.ts';
import { cosine, jaccard, meanBest, membersOf, withinValues } from '../../src/phenomena/over-splitting.ts';
import { seededRandom } from '../../src/task/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';

const test = gpuSuite('coverage of values');
const gpu = await testGpu();

// More examples than are encoded at a time.
for (const [n, d, F, sizes] of [[37, 3, 5, [4, 2]], [4500, 2, 3, [7]], [4096, 1, 2, [2]]] as [number, number, number, number[]][]) {
  test(`counts of ${n} examples and ${F} features, one by one`, () => gpu.scope(async () => {
    const x = random(n * d, n);
    const [encoder, bias] = [random(F * d, 2), random(F, 3).map((v) => v - 0.3)];
    const sae = new Sae('vanilla', { encoder: Tensor.from(gpu, encoder, [F, d]), encoderBias: Tensor.from(gpu, bias, [F]), decoder: Tensor.from(gpu, encoder, [F, d]), decoderBias: Tensor.zeros(gpu, [d]) });
    const labels = sizes.map((values, i) => ({ ids: Uint32Array.from(random(n, 10 + i), (v) => Math.floor(((v + 1) / 2) * values)), values }));
    const active = (row: number, feature: number): boolean => {
      let sum = bias[feature]!;
      for (let k = 0; k < d; k++) sum += x[row * d + k]! * encoder[feature * d + k]!;
      return sum > 0;
    };
    const labelled = new LabelledExamples(gpu, { activations: Tensor.from(gpu, x, [n, d]), attributes: {} }, labels);
    const counts = await labelled.count(sae);
    const sets = await labelled.activity(sae, [F - 1, 0]);
    labelled.dispose();
    labels.forEach(({ ids, values }, i) => {
      const { both, holds, active: total } = counts[i]!;
      for (let f = 0; f < F; f++) {
        const rows = Array.from({ length: n }, (_, row) => row).filter((row) => active(row, f));
        assert.is(total[f], rows.length);
        for (let value = 0; value < values; value++) assert.is(both[value * F + f], rows.filter((row) => ids[row] === value).length);
      }
      assert.equal(Array.from(holds), Array.from({ length: values }, (_, value) => ids.filter((id) => id === value).length));
    });
    for (const f of [F - 1, 0]) assert.equal([...sets.get(f)!], Array.from({ length: n }, (_, row) => (active(row, f) ? 1 : 0)));
  }));
}

test('best F1 and coverage by hand', () => {
  // Two features, three values on 4, 2 and 0 examples: feature 0 fires on three of the first value, feature 1 on both of the second and one of the first.
  const counts = { features: 2, active: [3, 3], both: [3, 1, 0, 2, 0, 0], holds: holdsOf({ ids: Uint32Array.of(0, 0, 0, 0, 1, 1), values: 3 }) };
  assert.equal([...bestF1(counts)], [6 / 7, 4 / 5, -Infinity]);
  assert.equal([0.8, 0.81, 0.9].map((threshold) => coverage(counts, threshold)), [2, 1, 0]);
});

test('a feature belongs to the value of its best F1 if it is precise and not too rare', () => {
  // Attribute 0 has two values on 50 examples each, attribute 1 ten on 10 each.
  const holds = [[50, 50], new Array<number>(10).fill(10)].map((list) => Float64Array.from(list));
  // Feature 0: 5 of value 0, one of each of five names. 1: all of one name, in one order. 2: half and half. 3: a single example. 4: silent.
  const active = [5, 10, 20, 1, 0];
  const both = [[5, 10, 10, 1, 0, 0, 0, 10, 0, 0], Array.from({ length: 10 }, (_, name) => [name < 5 ? 1 : 0, name === 0 ? 10 : 0, 2, name === 0 ? 1 : 0, 0]).flat()];
  const counts = [0, 1].map((i) => ({ features: 5, active, both: both[i]!, holds: holds[i]! }));
  assert.equal(membersOf(counts, 0, { precision: 0.9, share: 0.05 }), [[0], []]);
  assert.equal(membersOf(counts, 0, { precision: 0.5, share: 0.05 }), [[0, 2], []]);
  assert.equal(membersOf(counts, 1, { precision: 0.9, share: 0.05 })[0], [1, 3]);
});

test('likeness of sets and of vectors', () => {
  assert.is(jaccard([1, 1, 0, 0], [0, 1, 1, 0]), 1 / 3);
  assert.is(jaccard([0, 0], [0, 0]), 0);
  assert.ok(Math.abs(cosine([1, 2], [-2, -4]) + 1) < 1e-12);
  assert.is(cosine([0, 0], [1, 1]), 0);
  assert.is(meanBest([1, 5], [4, 9], (a, b) => -Math.abs(a - b)), -2);
  assert.is(meanBest([], [1], () => 1), null);
});

test('prompts permuted within their values', () => {
  const ids = Uint32Array.from(random(200, 1), (v) => Math.floor((v + 1) * 1.5));
  const moved = withinValues(ids, seededRandom(1, 'test'));
  assert.equal([...moved].sort((a, b) => a - b), Array.from({ length: 200 }, (_, i) => i));
  assert.ok(moved.every((from, to) => ids[from] === ids[to]));
  assert.ok(moved.filter((from, to) => from === to).length < 30);
});

test.run();
