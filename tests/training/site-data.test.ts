/** What dictionaries learn from: activations measured, centred, scaled and kept, from tensors and from streams; and the finished dictionary, which takes them as they were. */
import * as assert from 'uvu/assert';
import { UsageError } from '../../src/errors.ts';
import { narrow16, Tensor } from '../../src/tensor/index.ts';
import { StreamedExamples, trainSaes, type ActivationStream, type InputScale, type SaeJob, type TrainOptions } from '../../src/training/index.ts';
import { fillSites, measureSites, SiteData } from '../../src/training/site-data.ts';
import { openGpu } from '../../src/node.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';
import { refusal } from '../support/refusal.ts';

const test = gpuSuite('site data');
const gpu = await testGpu();
const [n, d] = [91, 6];
/** Off centre, of unlike lengths. */
const values = (seed: number): Float32Array => random(n * d, seed).map((v, i) => (2 + (Math.floor(i / d) % 3)) * v + (i % d) - 1);

/** A stream of given rounds, in parts of unlike size; sites begin and end with every part. */
function streamOf(rounds: readonly (readonly Float32Array[])[]): ActivationStream & { data: StreamedExamples[]; filled: number[] } {
  const data = rounds[0]!.map(() => new StreamedExamples(n, d));
  const filled: number[] = [];
  return {
    data, filled,
    async fill(round, put) {
      filled.push(round);
      for (let at = 0, rows = 7; at < n; at += rows, rows = Math.min(rows + 4, n - at)) {
        gpu.scope(() => data.forEach((site, i) => put(site, Tensor.from(gpu, rounds[round]![i]!.slice(at * d, (at + rows) * d), [rows, d]), at)));
      }
    },
    state: (round) => round,
    restore() {},
  };
}

interface Plain { rows: Float64Array; scale: number; mean: Float64Array }

/** The definitions, in float64. */
function plain(raw: ArrayLike<number>, inputs: InputScale, centre: boolean, measured: ArrayLike<number> = raw): Plain {
  const mean = new Float64Array(d);
  if (centre) for (let i = 0; i < n * d; i++) mean[i % d]! += measured[i]! / n;
  const lengths = Array.from({ length: n }, (_, r) => Math.hypot(...Array.from(mean, (m, c) => measured[r * d + c]! - m)));
  const average = lengths.reduce((a, b) => a + b, 0) / n;
  const scale = { unit: average, 'root-width': average / Math.sqrt(d), 'mean-square': Math.sqrt(lengths.reduce((a, b) => a + b * b, 0) / n) }[inputs as string] ?? 1;
  const rows = Float64Array.from(raw, (v, i) => (v - mean[i % d]!) / scale);
  for (let r = 0; r < n && (inputs === 'layer_norm' || inputs === 'constant_norm_rescale'); r++) {
    const row = rows.subarray(r * d, (r + 1) * d);
    const own = inputs === 'layer_norm' ? row.reduce((a, b) => a + b, 0) / d : 0;
    const by = inputs === 'layer_norm' ? Math.sqrt(row.reduce((a, b) => a + (b - own) ** 2, 0) / (d - 1)) + 1e-5 : Math.hypot(...row) / Math.sqrt(d);
    for (let c = 0; c < d; c++) row[c] = (row[c]! - own) / by;
  }
  return { rows, scale, mean };
}

/** The pools as they are kept, without padding. */
async function pools(site: SiteData, count: number): Promise<Float32Array[]> {
  const all = site.pick(Array.from({ length: count * n }, (_, i) => ({ pool: Math.floor(i / n), example: i % n })));
  const read = await all.read();
  all.dispose();
  return Array.from({ length: count }, (_, pool) => Float32Array.from({ length: n * d }, (_, i) => read[(pool * n + Math.floor(i / d)) * site.width + (i % d)]!));
}

const WAYS: [InputScale, boolean][] = [
  ['root-width', false], ['unit', false], ['mean-square', false], ['none', false], ['layer_norm', false], ['constant_norm_rescale', false], ['unit', true], ['root-width', true], ['none', true],
];

test('activations of tensors and of streams are measured and scaled by the definitions; a stream by its first round', async () => {
  const raw = [values(1), values(2)];
  const later = [values(3), values(4)];
  for (const [inputs, centre] of WAYS) {
    const tensors = raw.map((own) => Tensor.from(gpu, own, [n, d]));
    const site = await SiteData.create(gpu, tensors.map((data, i) => ({ name: `t${i}`, data })), { maxRows: 16, inputs, centre });
    const stream = streamOf([raw, later]);
    const streamed = await SiteData.create(gpu, stream.data.map((data, i) => ({ name: `s${i}`, data })), { maxRows: 16, inputs, centre });
    await measureSites(stream, [streamed], { inputs, centre });
    await fillSites(stream, 0, [streamed]);
    const [kept, first] = [await pools(site, 2), await pools(streamed, 2)];
    await fillSites(stream, 1, [streamed]);
    const second = await pools(streamed, 2);
    const means = await streamed.mean.read();
    for (const i of [0, 1]) {
      const what = `${inputs}${centre ? ' centred' : ''} ${i}`;
      const expected = plain(raw[i]!, inputs, centre);
      assert.ok(relativeError(kept[i]!, expected.rows) < 1e-5, what);
      assert.ok(relativeError(first[i]!, expected.rows) < 1e-5, `${what} streamed`);
      assert.ok(Math.abs(site.scales[i]! / expected.scale - 1) < 1e-6 && Math.abs(streamed.scales[i]! / expected.scale - 1) < 1e-6, what);
      const next = plain(later[i]!, inputs, centre, raw[i]!);
      assert.ok(relativeError(second[i]!, next.rows) < 1e-5, `${what} second round`);
      const mean = Float64Array.from({ length: d }, (_, c) => next.rows.reduce((sum, v, at) => sum + (at % d === c ? v / n : 0), 0));
      assert.ok(Math.max(...Array.from(mean, (m, c) => Math.abs(m - means[i * streamed.width + c]!))) < 1e-5, `${what} mean`);
    }
    // A pass over the first round for each thing that is measured.
    assert.equal(stream.filled, [...(centre ? [0] : []), ...(inputs === 'none' || inputs.includes('_') ? [] : [0]), 0, 1]);
    for (const own of [site, streamed, ...tensors]) own.dispose();
  }
});

test('examples kept as halves, and pools beyond one binding, give the same rows but for rounding', async () => {
  const raw = [values(1), values(2)];
  const order = Uint32Array.from({ length: n }, (_, i) => (i * 7) % n);
  const span = { first: 11, rows: 13 };
  const gathered = async (on: typeof gpu, storage: 'f32' | 'f16'): Promise<{ x: Float32Array; picked: Float32Array }> => {
    const tensors = raw.map((own) => Tensor.from(on, own, [n, d]));
    const site = await SiteData.create(on, tensors.map((data, i) => ({ name: `${i}`, data })), { maxRows: 16, storage });
    const index = Tensor.from(on, order, [n]);
    site.gather(span, index);
    const x = (await site.x.read()).subarray(0, 2 * span.rows * site.width);
    const all = site.pick([{ pool: 1, example: 3 }, { pool: 0, example: 44 }, { pool: 1, example: 0 }]);
    const picked = await all.read();
    for (const own of [site, index, all, ...tensors]) own.dispose();
    return { x, picked };
  };
  const whole = await gathered(gpu, 'f32');
  const expected = raw.flatMap((own) => {
    const { rows } = plain(own, 'root-width', false);
    return Array.from(order.subarray(span.first, span.first + span.rows)).flatMap((r) => [...rows.subarray(r * d, (r + 1) * d), 0, 0]);
  });
  assert.ok(relativeError(whole.x, expected) < 1e-6);
  // Bindings of 2 kB: each pool takes two.
  const small = await openGpu({ windowBytes: 2048 });
  assert.equal(await gathered(small, 'f32'), whole);
  for (const on of [gpu, small]) {
    const half = await gathered(on, 'f16');
    const error = relativeError(half.x, whole.x);
    assert.ok(error > 1e-6 && error < 2 ** -11, `${error}`);
    assert.ok(relativeError(half.picked, whole.picked) < 2 ** -11);
  }
  small.destroy();
});

test('numbers become nearest halves', () => gpu.scope(async () => {
  for (const size of [1, 2, 63, 4097]) {
    const x = random(size, size).map((v, i) => v * 10 ** ((i % 7) - 3));
    const halves = await narrow16(Tensor.from(gpu, x, [size])).read();
    x.forEach((v, i) => assert.ok(Math.abs(halves[i]! - v) <= Math.max(Math.abs(v) * 2 ** -11, 2 ** -24), `${v} ${halves[i]}`));
  }
}));

test('a dictionary trained on centred or normalised inputs takes activations as they are', async () => {
  const raw = values(5);
  const options: TrainOptions = { features: 12, epochs: 3, batch: 15, resampleAt: [], seed: 1 };
  for (const [inputs, centre] of WAYS) {
    const data = Tensor.from(gpu, raw, [n, d]);
    const jobs: SaeJob[] = [{ name: 'a', data, l1: 0.1, seed: 1 }, { name: 'b', variant: 'topk', data, k: 3, seed: 2 }];
    const { saes, final } = await trainSaes(gpu, jobs, { ...options, inputs, centre });
    for (const [i, sae] of saes.entries()) {
      const codes = sae.encode({ activations: data });
      const decoded = sae.decode(codes, { activations: data });
      const [rebuilt, active] = [await decoded.read(), await codes.read()];
      decoded.dispose();
      assert.ok(Math.abs(active.filter((v) => v !== 0).length / n - final[i]!.l0) < 1e-6, `${inputs} l0`);
      const own = plain(raw, inputs, centre);
      // The error in scaled units is what training says it is; each example's own scale says what it is in the model's.
      const error = Array.from({ length: n }, (_, r) => {
        let sum = 0;
        const row = raw.subarray(r * d, (r + 1) * d);
        const mean = inputs === 'layer_norm' ? row.reduce((a, b) => a + b, 0) / d : 0;
        const by = inputs === 'layer_norm' ? Math.sqrt(row.reduce((a, b) => a + (b - mean) ** 2, 0) / (d - 1)) + 1e-5 : inputs === 'constant_norm_rescale' ? Math.hypot(...row) / Math.sqrt(d) : own.scale;
        for (let c = 0; c < d; c++) sum += ((rebuilt[r * d + c]! - row[c]!) / by) ** 2;
        return sum;
      }).reduce((a, b) => a + b, 0) / n;
      assert.ok(Math.abs(error - final[i]!.mse) < 1e-4 * final[i]!.mse + 1e-6, `${inputs} ${centre}: ${error} ${final[i]!.mse}`);
      codes.dispose();
      sae.dispose();
    }
    data.dispose();
  }
  const data = Tensor.from(gpu, raw, [n, d]);
  assert.match(await refusal(() => trainSaes(gpu, [{ name: 'a', data, l1: 1, seed: 1 }], { ...options, inputs: 'layer_norm', centre: true }), UsageError), /centre is true, but must be false where inputs/);
  data.dispose();
});

test('a stream that is missing, or brings too little, is told by the dictionary that waits for it', async () => {
  const stream = streamOf([[values(1)]]);
  const train = (options: Partial<TrainOptions>) => trainSaes(gpu, [{ name: 'waiting', data: stream.data[0]!, l1: 1, seed: 1 }], { features: 8, epochs: 1, batch: 20, inputs: 'none', ...options });
  assert.match(await refusal(() => train({}), UsageError), /waiting: its data come from a stream, and the run has none/);
  const half: ActivationStream = { ...stream, fill: (round, put) => stream.fill(round, (site, rows, at) => { if (at < n / 2) put(site, rows, at); }) };
  assert.match(await refusal(() => train({ stream: half }), UsageError), /waiting: the stream brings \d+ of 91 examples of a round/);
});

test('a centred run in halves goes on from a checkpoint with its own measures, bit for bit', async () => {
  const rounds = [5, 6, 7, 8].map((seed) => [values(seed)]);
  const run = async (options: Partial<TrainOptions>) => {
    const stream = streamOf(rounds);
    const { saes } = await trainSaes(gpu, [{ name: 'a', data: stream.data[0]!, l1: 0.1, seed: 1 }], {
      features: 12, epochs: 4, batch: 15, resampleAt: [0.5], seed: 1, inputs: 'unit', centre: true, storage: 'f16', stream, ...options,
    });
    const bits = await Promise.all([saes[0]!.weights.encoder, saes[0]!.weights.decoderBias].map((tensor) => tensor.read()));
    saes[0]!.dispose();
    return { bits, filled: stream.filled };
  };
  let checkpoint: Uint8Array | null = null;
  const whole = await run({ checkpointEvery: 17, onCheckpoint: (bytes, step) => { if (step === 17) checkpoint = bytes; } });
  const resumed = await run({ resume: checkpoint! });
  assert.equal(resumed.bits, whole.bits);
  // Nothing is measured again.
  assert.equal(resumed.filled, [2, 3]);
  assert.match(await refusal(() => run({ resume: checkpoint!, storage: 'f32' }), UsageError), /storage \(f16 there, f32 here\)/);
});

test.run();
