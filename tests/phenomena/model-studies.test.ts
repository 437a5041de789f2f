import * as assert from 'uvu/assert';
import type { Examples } from '../../src/dictionary/index.ts';
import { UsageError } from '../../src/errors.ts';
import { occlusion, occlusionSchema, occlusionToy, occlusionToySchema, overSplitting, overSplittingSchema, trainedToy, trainedToySchema, bestStarts } from '../../src/phenomena/index.ts';
import { affine, Tensor } from '../../src/tensor/index.ts';
import { trainSaes } from '../../src/training/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';

const test = gpuSuite('occlusion and over-splitting');
const gpu = await testGpu();

async function refused(work: Promise<unknown>): Promise<void> {
  let error: unknown = null;
  await work.catch((caught: unknown) => { error = caught; });
  assert.instance(error, UsageError);
}

const uniform = (n: number, values: number, seed: number): Uint32Array => Uint32Array.from(random(n, seed), (v) => Math.floor(((v + 1) / 2) * values));

/** a = high · u_long + low · v_short with 10 values each in 20 dimensions; the caller disposes it. */
function twoAttributes(n: number, seed: number, high: number, low: number): Examples {
  const [width, values] = [20, 10];
  const [u, v] = [random(values * width, 1), random(values * width, 2)];
  const [long, short] = [uniform(n, values, seed), uniform(n, values, seed + 1)];
  const data = Float32Array.from({ length: n * width }, (_, i) => {
    const [row, k] = [Math.floor(i / width), i % width];
    return high * u[long[row]! * width + k]! + low * v[short[row]! * width + k]!;
  });
  return { activations: gpu.keep(Tensor.from(gpu, data, [n, width])), attributes: { long, short } };
}

test('two features find ±μ for λ from 1 to 3, are active nearly everywhere below and fall silent above', async () => {
  const rows = trainedToySchema.parse(await trainedToy(gpu, { features: 2, lambdas: [0.25, 1, 3, 8], starts: 4, samples: 4096, epochs: 5, batch: 128 }));
  const [below, one, three, above] = bestStarts(rows);
  for (const row of [one!, three!]) assert.ok(row.cosine! > 0.95, `λ = ${row.lambda}: ${row.cosine}`);
  assert.ok(below!.l0 > 1.3 && below!.firing > 0.85, JSON.stringify(below));
  assert.ok(above!.firing < 0.01, JSON.stringify(above));
  assert.is(rows.length, 16);
  assert.ok(rows.every((row) => row.gain <= bestStarts(rows).find(({ lambda }) => lambda === row.lambda)!.gain));
});

test('λ grows with the length of the inputs: scaled data with scaled λ trains the same dictionary', async () => {
  const raw = Tensor.from(gpu, random(512 * 12, 4), [512, 12]);
  const long = affine(raw, 8);
  // The trainer's λ is for inputs that it has scaled, so that the same number stands for λ at `raw` and 8 λ at `long`.
  const { saes, final } = await trainSaes(gpu, [{ name: 'vanilla a', data: raw, l1: 0.3, seed: 1 }, { name: 'vanilla b', data: long, l1: 0.3, seed: 1 }], { features: 16, epochs: 5, batch: 64 });
  const [a, b] = await Promise.all(saes.map(({ weights }) => weights.decoder.read()));
  assert.ok(a!.every((value, i) => Math.abs(value - b![i]!) < 1e-4));
  const codes = await gpu.scope(() => Promise.all([saes[0]!.encode({ activations: raw }).read(), saes[1]!.encode({ activations: long }).read()]));
  // In units of the data: ‖x − x̂‖² grows by 64, codes by 8; so λ has to by 8.
  const sum = (values: Float32Array): number => values.reduce((s, v) => s + v, 0);
  assert.ok(Math.abs(sum(codes[1]) / sum(codes[0]) - 8) < 1e-2);
  assert.ok(Math.abs(final[0]!.loss - final[1]!.loss) < 1e-3 * final[0]!.loss);
  for (const owned of [raw, long, ...saes]) owned.dispose();
});

test('occlusion toy: long features are covered at least as well as short ones', async () => {
  const options = { values: 20, width: 24, features: [48], lambdas: [1, 2], learningRates: [0.01], batches: [64], examples: 1500, scored: 1500, epochs: 20, lengths: { high: 1.5, low: 1 } };
  const result = occlusionToySchema.parse(await occlusionToy(gpu, options));
  assert.is(result.rows.length, 2);
  assert.is(result.highAtLeastLow, 1);
  assert.ok(result.rows.some(({ high, low }) => high > low && high > 0.2), JSON.stringify(result.rows));
  await refused(occlusionToy(gpu, { lengths: { high: 1, low: 2 } }));
  await refused(occlusionToy(gpu, { lambdas: [] }));
});

test('occlusion at a site: the sweep, lengths of codes, and the longer attribute taken away', async () => {
  const [training, scored] = [twoAttributes(1500, 10, 2, 0.7), twoAttributes(1000, 20, 2, 0.7)];
  const attributes = ['short', 'long'].map((name) => ({ name, values: 10 }));
  const result = occlusionSchema.parse(await occlusion({ site: 'q@L0H0@end', training, scored, attributes }, { features: [40, 24], lambdas: [1, 2], epochs: [4, 20], alphas: [0, 1], batch: 64, learningRate: 0.01 }));
  assert.is(result.occluding, 'long');
  assert.is(result.sweep.length, 2 * 2 * 2);
  assert.equal(result.alpha.map(({ alpha, epoch, features }) => [alpha, epoch, features]).sort(), [[0, 20, 40], [0, 4, 40], [1, 20, 40], [1, 4, 40]].sort());
  const norms = Object.fromEntries(result.attributes.map(({ name, norm }) => [name, norm.mean]));
  assert.ok(norms.long! > 2 * norms.short! && norms.short! > 0);
  const at = (alpha: number) => result.alpha.find((row) => row.alpha === alpha && row.epoch === 20)!.coverage;
  assert.ok(at(0).long!.count >= 5 && at(0).long!.count > at(0).short!.count, JSON.stringify(at(0)));
  // With the longer codes gone nothing tells its values apart, and the other's values come forward.
  assert.is(at(1).long!.count, 0);
  assert.ok(at(1).short!.count > at(0).short!.count, JSON.stringify(at(1)));
  await refused(occlusion({ site: 'q@L0H0@end', training, scored, attributes }, { occluding: 'Pos' }));
  await refused(occlusion({ site: 'q@L0H0@end', training, scored, attributes }, { lambdas: [] }));
  for (const { activations } of [training, scored]) activations.dispose();
});

test('over-splitting at a site: two values with wide noise take many features each, alike across seeds above chance', async () => {
  const [n, width] = [1500, 16];
  const made = (seed: number): Examples => {
    const side = uniform(n, 2, seed);
    const noise = random(n * width, seed + 100);
    // ±3 along the first axis, noise of deviation 1 along the others
    const data = Float32Array.from(noise, (v, i) => 1.7 * v + (i % width === 0 ? (side[Math.floor(i / width)] === 0 ? 3 : -3) : 0));
    return { activations: gpu.keep(Tensor.from(gpu, data, [n, width])), attributes: { side, name: uniform(n, 20, seed + 200) } };
  };
  const [first, second, scored] = [made(1), made(2), made(3)];
  const attributes = [{ name: 'name', values: Array.from({ length: 20 }, (_, i) => `n${i}`) }, { name: 'side', values: ['left', 'right'] }];
  const result = overSplittingSchema.parse(await overSplitting({ site: 'q@L0H0@end', datasets: [first, second], scored, attribute: 'side', attributes }, { lambda: 3, features: 48, epochs: 20, batch: 64, share: 0.02 }));
  assert.equal(result.dictionaries.map(({ dataset, seed }) => [dataset, seed]), [[0, 0], [0, 1], [1, 0]]);
  for (const { splits } of result.dictionaries) for (const split of splits) assert.ok(split.features >= 5 && split.covered > 0.9 && split.overlap! < 0.5, JSON.stringify(split));
  assert.equal(result.comparisons.map(({ kind, value }) => `${kind} ${value}`), ['seed left', 'seed right', 'dataset left', 'dataset right']);
  for (const row of result.comparisons) assert.ok(row.cosine! > row.cosineBaseline! && row.jaccard! > row.jaccardBaseline!, JSON.stringify(row));
  await refused(overSplitting({ site: 'q@L0H0@end', datasets: [first], scored, attribute: 'Pos', attributes }));
  await refused(overSplitting({ site: 'q@L0H0@end', datasets: [], scored, attribute: 'side', attributes }));
  for (const { activations } of [first, second, scored]) activations.dispose();
});

test.run();
