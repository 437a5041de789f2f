import * as assert from 'uvu/assert';
import { Tensor } from '../../src/tensor/index.ts';
import { SaeBatch } from '../../src/training/batch.ts';
import { aliveLength, blockMeans, planResampling, resample } from '../../src/training/resample.ts';
import { sampleProportional } from '../../src/training/order.ts';
import { checkSettings, type SaeJob } from '../../src/training/settings.ts';
import { SiteData } from '../../src/training/site-data.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';
import { referenceEncode, referenceDecode, type PlainSae } from '../support/sae.ts';

const test = gpuSuite('resampling');
const gpu = await testGpu();
const PARTS = ['encoder', 'encoderBias', 'decoder', 'decoderBias'] as const;

test('the plan: dead features, squared losses, the mean length of alive columns', () => {
  const losses = [0, 1, 2, 0, 3];
  const plan = planResampling([4, 0, 1, 0, 0, 9], losses, 3, { scale: 0.2, seed: 3, epoch: 7 });
  assert.equal([...plan.dead], [1, 3, 4]);
  assert.ok(Math.abs(plan.length - 0.2 * 3) < 1e-12);
  assert.equal([...plan.examples], [...sampleProportional([0, 1, 4, 0, 9], 3, 3, 7)]);
  const many = planResampling(new Uint32Array(5000), losses, 1, { scale: 0.2, seed: 1, epoch: 1 });
  const counts = [0, 0, 0, 0, 0];
  for (const example of many.examples) counts[example]!++;
  [0, 1 / 14, 4 / 14, 0, 9 / 14].forEach((share, i) => assert.ok(Math.abs(counts[i]! / 5000 - share) < 0.025));
  assert.is(planResampling([1, 2], losses, 1, { scale: 0.2, seed: 1, epoch: 1 }).dead.length, 0);
});

test('the length of alive columns, and the released one of dimensions across them', () => {
  assert.is(aliveLength([4, 0, 1, 0, 0, 9], { lengths: [1, 100, 2, 100, 100, 6] }), 3);
  // Nothing alive to measure.
  assert.is(aliveLength([0, 0], { lengths: [5, 6] }), 1);
  // Three features of two dimensions (and two of padding), the second one dead: dimensions (3, 4) and (0, 12).
  const encoder = [3, 0, 0, 0, 50, 60, 0, 0, 4, 12, 0, 0];
  assert.is(aliveLength([1, 0, 2], { encoder, stride: 4, width: 2 }), (5 + 12) / 2);
});

test('losses of blocks are their means', () => {
  assert.equal([...blockMeans(Float64Array.of(1, 3, 8, 2, 7), 2)], [2, 2, 5, 5, 7]);
  assert.equal([...blockMeans(Float64Array.of(1, 3), 1)], [1, 3]);
});

test('exactly the dead features of each dictionary change, in weights and moments', () => gpu.scope(async () => {
  const [n, d, F] = [40, 6, 8];
  const width = 8;
  const data = random(n * d, 3).map((v, i) => 3 * v + (i % d));
  const settings = checkSettings({ features: F, epochs: 3, batch: 16, learningRate: 0.02 });
  const tensor = Tensor.from(gpu, data, [n, d]);
  const jobs: SaeJob[] = [{ name: 'vanilla a', data: tensor, l1: 0.4, seed: 5 }, { name: 'vanilla b', data: tensor, l1: 1, seed: 6 }];
  const site = await SiteData.create(gpu, jobs, { maxRows: 16, inputs: settings.inputs });
  const batch = await SaeBatch.create(gpu, site, jobs, settings);
  try {
    const order = Tensor.from(gpu, Uint32Array.from({ length: n }, (_, i) => i), [n]);
    for (let t = 1; t <= 6; t++) {
      site.gather({ first: 4 * t, rows: 15 }, order);
      batch.train(15, t, 1, false);
    }
    const snapshot = async (): Promise<Float32Array[]> => Promise.all([batch.weights, batch.first, batch.second].flatMap((stack) => PARTS.map((part) => stack[part]!.read())));
    const before = await snapshot();
    const fired = [Uint32Array.of(1, 0, 3, 1, 0, 1, 2, 0), Uint32Array.of(1, 1, 1, 0, 1, 1, 1, 1)];
    const counts = await resample(gpu, batch, settings, fired, 2);
    assert.equal(counts, [3, 1]);
    const after = await snapshot();

    const scale = batch.scales[0]!;
    jobs.forEach((job, i) => {
      // The loss of every example, and with it the plan, by the plain reference.
      const part = (index: number, size: number): Float64Array => Float64Array.from(before[index]!.subarray(i * size, (i + 1) * size));
      const plain: PlainSae = { features: F, width, encoder: part(0, F * width), encoderBias: part(1, F), decoder: part(2, F * width), decoderBias: part(3, width) };
      const x = Array.from({ length: n }, (_, r) => Array.from({ length: width }, (_, k) => (k < d ? data[r * d + k]! / scale : 0)));
      const losses = x.map((row) => {
        const codes = referenceEncode(plain, row);
        const back = referenceDecode(plain, codes);
        return row.reduce((sum, v, k) => sum + (v - back[k]!) ** 2, 0) + job.l1! * codes.reduce((sum, v) => sum + v, 0);
      });
      const lengths = Array.from({ length: F }, (_, f) => Math.hypot(...plain.encoder.subarray(f * width, (f + 1) * width)));
      const plan = planResampling(fired[i]!, losses, aliveLength(fired[i]!, { lengths }), { scale: 0.2, seed: job.seed, epoch: 2 });
      for (let f = 0; f < F; f++) {
        const s = plan.dead.indexOf(f);
        before.forEach((old, index) => {
          const size = index % 4 === 3 ? 0 : index % 4 === 1 ? 1 : width;
          if (size === 0) return;
          const at = (i * F + f) * size;
          const [was, is] = [old.subarray(at, at + size), after[index]!.subarray(at, at + size)];
          if (s < 0) assert.equal([...is], [...was], `${PARTS[index % 4]} of alive feature ${f}`);
          else if (index >= 4 || index === 1) assert.ok(is.every((v) => v === 0), `${PARTS[index % 4]} of dead feature ${f}`);
        });
        if (s < 0) continue;
        const from = x[plan.examples[s]!]!.map((v, k) => v - plain.decoderBias[k]!);
        const norm = Math.hypot(...from);
        const at = (i * F + f) * width;
        assert.ok(relativeError(after[2]!.subarray(at, at + width), from.map((v) => v / norm)) <= 1e-5);
        assert.ok(relativeError(after[0]!.subarray(at, at + width), from.map((v) => (v / norm) * plan.length)) <= 1e-5);
      }
    });
    // The decoder's bias and its moments are nobody's slice.
    for (const index of [3, 7, 11]) assert.equal([...after[index]!], [...before[index]!]);
  } finally {
    batch.dispose();
    site.dispose();
  }
}));

test('more dead features than are taken at once all take after examples', () => gpu.scope(async () => {
  const [n, d, F] = [12, 4, 2100];
  const settings = checkSettings({ features: F, epochs: 3, batch: 16 });
  const data = random(n * d, 4);
  const jobs: SaeJob[] = [{ name: 'vanilla', data: Tensor.from(gpu, data, [n, d]), l1: 0.4, seed: 5 }];
  const site = await SiteData.create(gpu, jobs, { maxRows: 12 });
  const batch = await SaeBatch.create(gpu, site, jobs, settings);
  try {
    const before = await batch.weights.decoder.read();
    const alive = [3, 1023, 1024, 2047, 2099];
    assert.equal(await resample(gpu, batch, settings, [Uint32Array.from({ length: F }, (_, f) => Number(alive.includes(f)))], 1), [F - alive.length]);
    const [after, encoder] = [await batch.weights.decoder.read(), await batch.weights.encoder.read()];
    // b_dec is still zero.
    const directions = Array.from({ length: n }, (_, r) => Array.from(data.subarray(r * d, (r + 1) * d), (v) => v / Math.hypot(...data.subarray(r * d, (r + 1) * d))));
    for (let f = 0; f < F; f++) {
      const row = after.subarray(f * d, (f + 1) * d);
      if (alive.includes(f)) {
        assert.equal([...row], [...before.subarray(f * d, (f + 1) * d)]);
        continue;
      }
      const from = directions.find((x) => relativeError(row, x) < 1e-5);
      assert.ok(from && relativeError(encoder.subarray(f * d, (f + 1) * d), from.map((v) => 0.2 * v)) < 1e-4, `feature ${f}`);
    }
  } finally {
    batch.dispose();
    site.dispose();
  }
}));

test.run();
