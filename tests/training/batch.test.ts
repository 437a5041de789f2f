import * as assert from 'uvu/assert';
import { Tensor } from '../../src/tensor/index.ts';
import { SaeBatch } from '../../src/training/batch.ts';
import { checkSettings, type SaeJob, type TrainSettings } from '../../src/training/settings.ts';
import { siteScale } from '../../src/training/measures.ts';
import { SiteData } from '../../src/training/site-data.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';
import { referenceGradients, referenceLoss, type PlainSae } from '../support/sae.ts';

const test = gpuSuite('training batch');
const gpu = await testGpu();
const [n, d, F] = [48, 8, 16];
const PARTS = ['encoder', 'encoderBias', 'decoder', 'decoderBias'] as const;
const data = random(n * d, 9).map((v, i) => 2 * v + (i % 3));

/** Runs `use` on a batch of jobs with the steps' size given. */
async function withBatch(jobs: SaeJob[], settings: TrainSettings, maxRows: number, use: (batch: SaeBatch, site: SiteData) => Promise<void>): Promise<void> {
  const site = await SiteData.create(gpu, jobs, { maxRows, inputs: settings.inputs });
  try {
    const batch = await SaeBatch.create(gpu, site, jobs, settings);
    await use(batch, site).finally(() => batch.dispose());
  } finally {
    site.dispose();
  }
}

test('the scale of a site is its mean length over the root of its width', () => gpu.scope(async () => {
  const lengths = Array.from({ length: n }, (_, r) => Math.hypot(...data.subarray(r * d, (r + 1) * d)));
  const expected = lengths.reduce((a, b) => a + b, 0) / n / Math.sqrt(d);
  assert.ok(Math.abs(await siteScale(Tensor.from(gpu, data, [n, d]), 'x') / expected - 1) < 1e-6);
  assert.ok(Math.abs(await siteScale(Tensor.from(gpu, data, [n, d]), 'x', 'unit') / (expected * Math.sqrt(d)) - 1) < 1e-6);
}));

test('initial weights: unit rows, the encoder the transpose of the decoder, biases zero, seeds apart', () => gpu.scope(async () => {
  const tensor = Tensor.from(gpu, data, [n, d]);
  const job = { data: tensor, l1: 1 };
  const jobs = [{ ...job, name: 'a', seed: 1 }, { ...job, name: 'b', seed: 2 }, { ...job, name: 'c', seed: 1 }];
  await withBatch(jobs, checkSettings({ features: F }), 16, async (batch) => {
    const [encoder, encoderBias, decoder, decoderBias] = await Promise.all(PARTS.map((part) => batch.weights[part].read()));
    assert.equal([...encoder!], [...decoder!]);
    for (let r = 0; r < 3 * F; r++) assert.ok(Math.abs(Math.hypot(...decoder!.subarray(r * d, (r + 1) * d)) - 1) < 1e-6);
    assert.ok([...encoderBias!, ...decoderBias!].every((v) => v === 0));
    const part = (i: number): number[] => [...decoder!.subarray(i * F * d, (i + 1) * F * d)];
    assert.equal(part(0), part(2));
    assert.not.equal(part(0), part(1));
    assert.ok(Math.abs(part(0).reduce((a, b) => a + b, 0) / (F * d)) < 0.1);
  });
}));

/** Training in float64: normalised data, gradients, projection, Adam, unit rows. */
class Reference {
  readonly sae: PlainSae;
  private readonly first: Record<string, Float64Array>;
  private readonly second: Record<string, Float64Array>;

  constructor(sae: PlainSae) {
    this.sae = sae;
    const zeros = (): Record<string, Float64Array> => Object.fromEntries(PARTS.map((part) => [part, new Float64Array(sae[part].length)]));
    [this.first, this.second] = [zeros(), zeros()];
  }

  /** `most` is the length that gradients are clipped to. */
  step(x: ArrayLike<number>[], l1: number, rate: number, t: number, most: number): number {
    const gradients = referenceGradients(this.sae, x, l1);
    const length = Math.sqrt(PARTS.reduce((sum, part) => gradients[part].reduce((inner, g) => inner + g * g, sum), 0));
    const clip = Math.min(1, most / (length + 1e-6));
    for (const part of PARTS) gradients[part].forEach((g, i) => { gradients[part][i] = g * clip; });
    const rows = (values: Float64Array): Float64Array[] => Array.from({ length: F }, (_, f) => values.subarray(f * d, (f + 1) * d));
    const decoders = rows(this.sae.decoder);
    rows(gradients.decoder).forEach((g, f) => {
      const along = g.reduce((sum, v, k) => sum + v * decoders[f]![k]!, 0);
      g.forEach((v, k) => { g[k] = v - along * decoders[f]![k]!; });
    });
    for (const part of PARTS) {
      const [w, g, m, v] = [this.sae[part], gradients[part], this.first[part]!, this.second[part]!];
      for (let i = 0; i < w.length; i++) {
        m[i] = 0.9 * m[i]! + 0.1 * g[i]!;
        v[i] = 0.999 * v[i]! + 0.001 * g[i]! ** 2;
        w[i]! -= rate * (m[i]! / (1 - 0.9 ** t)) / (Math.sqrt(v[i]! / (1 - 0.999 ** t)) + 1e-8);
      }
    }
    for (const row of decoders) {
      const norm = Math.hypot(...row);
      row.forEach((v, k) => { row[k] = v / norm; });
    }
    return clip;
  }
}

for (const clipNorm of [0, 4]) test(`forty steps${clipNorm ? ' with clipped gradients' : ''} are the forty steps of a float64 run`, () => gpu.scope(async () => {
  const tensor = Tensor.from(gpu, data, [n, d]);
  const settings = checkSettings({ features: F, learningRate: 5e-3, clipNorm });
  const jobs = [{ name: 'a', data: tensor, l1: 0.3, seed: 1 }, { name: 'b', data: tensor, l1: 1, seed: 2, learningRate: 1e-3 }];
  await withBatch(jobs, settings, 16, async (batch, site) => {
    const start = await Promise.all(PARTS.map((part) => batch.weights[part].read()));
    const references = [0, 1].map((i) => {
      const part = (index: number, size: number): Float64Array => Float64Array.from(start[index]!.subarray(i * size, (i + 1) * size));
      return new Reference({ features: F, width: d, encoder: part(0, F * d), encoderBias: part(1, F), decoder: part(2, F * d), decoderBias: part(3, d) });
    });
    const x = Array.from({ length: n }, (_, r) => Array.from({ length: d }, (_, k) => data[r * d + k]! / batch.scales[0]!));
    const order = Tensor.from(gpu, Uint32Array.from({ length: n }, (_, i) => (i * 7) % n), [n]);
    const before = referenceLoss(references[0]!.sae, x, 0.3);
    let clipped = 0;
    for (let t = 1; t <= 40; t++) {
      const [first, rows] = [(t % 3) * 16, t % 2 ? 16 : 13];
      site.gather({ first, rows }, order);
      batch.train(rows, t, 0.5, false);
      const examples = Array.from({ length: rows }, (_, r) => x[((first + r) * 7) % n]!);
      const most = clipNorm || Infinity;
      const clips = [references[0]!.step(examples, 0.3, 0.5 * 5e-3, t, most), references[1]!.step(examples, 1, 0.5 * 1e-3, t, most)];
      clipped += clips.filter((clip) => clip < 1).length;
    }
    // Some steps are clipped and some are not.
    if (clipNorm) assert.ok(clipped > 5 && clipped < 75, `${clipped} of 80`);
    for (const part of PARTS) {
      const error = relativeError(await batch.weights[part].read(), references.flatMap(({ sae }) => [...sae[part]]));
      assert.ok(error <= 1e-4, `${part}: ${error}`);
    }
    assert.ok(referenceLoss(references[0]!.sae, x, 0.3) < 0.8 * before);
  });
}));

test.run();
