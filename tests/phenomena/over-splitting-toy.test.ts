import * as assert from 'uvu/assert';
import { ShapeError, UsageError } from '../../src/errors.ts';
import { grid, overSplittingToy, overSplittingToySchema, drawAxis, drawMixture } from '../../src/phenomena/over-splitting-toy.ts';
import { idealSums, placeFamily, randomSums } from '../../src/phenomena/toy-families.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('over-splitting toy');
const gpu = await testGpu();

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).reduce((sum, v, i) => sum + v * b[i]!, 0);
const matrix = (values: Float32Array, width: number): Float64Array[] => Array.from({ length: values.length / width }, (_, r) => Float64Array.from(values.subarray(r * width, (r + 1) * width)));

/** ‖x‖² − ‖x − x̂‖², Σ f and the number of active features of a dictionary written out, summed over samples. */
function plainSums(samples: Float64Array[], encoder: ArrayLike<number>[], decoder: ArrayLike<number>[], bias: number): [number, number, number, number] {
  const sums: [number, number, number, number] = [0, 0, 0, 0];
  for (const x of samples) {
    const codes = encoder.map((row) => Math.max(0, dot(row, x) - bias));
    const error = Array.from(x, (v, k) => v - codes.reduce((sum, f, i) => sum + f * decoder[i]![k]!, 0));
    sums[0] += dot(x, x) - dot(error, error);
    sums[1] += codes.reduce((a, b) => a + b, 0);
    const active = codes.filter((f) => f > 0).length;
    sums[2] += active;
    sums[3] += active > 0 ? 1 : 0;
  }
  return sums;
}

for (const [n, d, G, S] of [[1, 3, 2, 2], [300, 7, 5, 3], [513, 4, 3, 11]] as const) {
  test(`ideal family: ${n} samples of width ${d}, every γ and k written out`, () => gpu.scope(async () => {
    const x = matrix(random(n * d, n), d).map((row) => row.map((v) => 3 * v));
    const mu = random(d, 3);
    const length = Math.sqrt(dot(mu, mu));
    const axis = Array.from(mu, (v) => v / length);
    const [gammas, ks] = [grid({ most: 2, steps: G }), grid({ most: 1.5, steps: S })];
    const along = Tensor.from(gpu, x.map((row) => dot(row, axis)), [n]);
    const sums = await idealSums(along, Tensor.from(gpu, gammas, [G]), Tensor.from(gpu, ks.map((k) => k * length), [S])).read();
    const expected: number[] = [];
    for (const gamma of gammas) {
      for (const k of ks) {
        const encoder = [Array.from(mu, (v) => k * v), Array.from(mu, (v) => -k * v)];
        const [saved, codes, , firing] = plainSums(x, encoder, [axis, axis.map((v) => -v)], gamma);
        expected.push(saved, codes, firing);
      }
    }
    for (const part of [0, 1, 2]) {
      const pick = (list: ArrayLike<number>) => Array.from(list).filter((_, i) => i % 3 === part);
      assert.ok(relativeError(pick(sums), pick(expected)) < 1e-5);
    }
  }));
}

for (const [n, d, m, betas] of [[1, 2, 1, [0, 1]], [70, 9, 33, [0, 0.2, 0.4, 1, 2]], [65, 5, 130, [0.7, 1.5]], [3, 4, 6, [0]]] as [number, number, number, number[]][]) {
  test(`random family: ${n} samples of width ${d}, ${m} features, every β written out`, () => gpu.scope(async () => {
    const [x, v] = [random(n * d, n + 1).map((value) => 2 * value), random(m * d, 5)];
    const family = await placeFamily({ rows: Tensor.from(gpu, v, [m, d]), bias: 0.35, betas });
    const sums = await randomSums(Tensor.from(gpu, x, [n, d]), family).read();
    const rows = matrix(v, d);
    const decoder = rows.map((row) => Array.from(row, (value) => value / Math.sqrt(dot(row, row))));
    const expected = betas.flatMap((beta) => plainSums(matrix(x, d), rows.map((row) => Array.from(row, (value) => beta * value)), decoder, 0.35).slice(0, 3));
    for (const part of [0, 1]) {
      const pick = (list: ArrayLike<number>) => Array.from(list).filter((_, i) => i % 3 === part);
      assert.ok(relativeError(pick(sums), pick(expected)) < 1e-4, `${pick(sums)} is not ${pick(expected)}`);
    }
    betas.forEach((_, b) => assert.is(sums[b * 3 + 2], expected[b * 3 + 2]));
  }));
}

test('random features beat the ideal pair for every λ up to 7, seed by seed', async () => {
  const result = overSplittingToySchema.parse(await overSplittingToy(gpu, { samples: 8192, seeds: 2, lambdas: [0, 1, 2, 3, 4, 5, 6, 7] }));
  for (const row of result.rows) {
    assert.ok(row.smallestDifference > 0, `λ = ${row.lambda}: ${row.randomGain} against ${row.idealGain}`);
    assert.ok(row.idealSpread.lowest <= row.idealGain && row.idealGain <= row.idealSpread.highest);
  }
  // A loss falls with λ, and so does what can be gained; at λ = 0 the best pair keeps the whole axis: E(μ̂·x)² = 5.
  assert.ok(result.rows.every((row, i) => i === 0 || (row.idealGain < result.rows[i - 1]!.idealGain && row.randomGain < result.rows[i - 1]!.randomGain)));
  assert.ok(Math.abs(result.rows[0]!.idealGain - 5) < 0.3 && Math.abs(result.silentLoss - 104) < 1);
  // E(Z − 1.5)²₊ of a standard normal Z, the best pair's gain at λ = 7 without a grid
  assert.ok(Math.abs(result.rows[7]!.idealGain - 0.0228) < 0.006, String(result.rows[7]!.idealGain));
});

test('samples: the axis, the length of μ and fair signs', () => gpu.scope(async () => {
  const axis = drawAxis(gpu, 20, 4);
  const x = matrix(await drawMixture(axis, { width: 20, length: 6 }, 2000, 4, 1).read(), 20);
  const direction = Float64Array.from(await axis.read());
  assert.ok(Math.abs(dot(direction, direction) - 1) < 1e-6);
  const along = x.map((row) => dot(row, direction));
  const up = along.filter((v) => v > 0).length;
  assert.ok(Math.abs(up - 1000) < 120 && Math.abs(along.reduce((sum, v) => sum + Math.abs(v), 0) / 2000 - 6) < 0.15);
}));

test('the same seed gives the same numbers, another seed others', async () => {
  const small = { samples: 500, seeds: 1, features: 40, lambdas: [1] };
  const [a, b, c] = [await overSplittingToy(gpu, small), await overSplittingToy(gpu, small), await overSplittingToy(gpu, { ...small, seed: 1 })];
  assert.equal(a, b);
  assert.ok(a.rows[0]!.idealGain !== c.rows[0]!.idealGain);
});

test('options that make no sense and an abort', async () => {
  const refused = async (options: object): Promise<void> => {
    try {
      await overSplittingToy(gpu, options);
      assert.unreachable();
    } catch (error) {
      assert.instance(error, UsageError);
    }
  };
  await refused({ samples: 0 });
  await refused({ lambdas: [-1] });
  await refused({ randomBias: 0 });
  await gpu.scope(async () => {
    const family = await placeFamily({ rows: Tensor.zeros(gpu, [2, 3]), bias: 1, betas: [1] });
    assert.throws(() => randomSums(Tensor.zeros(gpu, [4, 5]), family), (e: unknown) => e instanceof ShapeError);
  });
  const stop = new AbortController();
  stop.abort();
  let stopped = false;
  await overSplittingToy(gpu, { samples: 100, seeds: 1, features: 5 }, { signal: stop.signal }).catch(() => { stopped = true; });
  assert.ok(stopped);
});

test.run();
