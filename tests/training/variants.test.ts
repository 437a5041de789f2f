import * as assert from 'uvu/assert';
import type { Sae } from '../../src/dictionary/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { readCheckpoint, releasedTraining, trainSaes, trainVariants, variantDefaults, variantPolicies, type LogRecord, type SaeJob, type TrainOptions, type TrainVariant } from '../../src/training/index.ts';
import { SaeBatch } from '../../src/training/batch.ts';
import { initialMatrices } from '../../src/training/initial.ts';
import { resample } from '../../src/training/resample.ts';
import { checkSettings } from '../../src/training/settings.ts';
import { SiteData } from '../../src/training/site-data.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';

const test = gpuSuite('variants in training');
const gpu = await testGpu();

/** Unit directions, [count, d], and examples that are each a sum of `active` of them with weights from 1 to 2. */
function planted(n: number, d: number, count: number, active: number, seed: number): { directions: Float32Array; data: Float32Array } {
  const directions = random(count * d, seed);
  for (let i = 0; i < count; i++) {
    const row = directions.subarray(i * d, (i + 1) * d);
    const norm = Math.hypot(...row);
    row.forEach((v, k) => { row[k] = v / norm; });
  }
  const [picks, weights] = [random(n * active, seed + 1), random(n * active, seed + 2)];
  const data = new Float32Array(n * d);
  for (let r = 0; r < n * active; r++) {
    const atom = Math.min(count - 1, Math.floor(((picks[r]! + 1) / 2) * count));
    for (let k = 0; k < d; k++) data[Math.floor(r / active) * d + k]! += (1.5 + weights[r]! / 2) * directions[atom * d + k]!;
  }
  return { directions, data };
}

const [n, d] = [70, 10];
const quick: TrainOptions = { features: 20, epochs: 6, batch: 24, learningRate: 5e-3, warmupSteps: 3, resampleAt: [0.5], seed: 4, auxiliaryFeatures: 4 };
const sparsity = (variant: TrainVariant): Pick<SaeJob, 'l1' | 'k'> => (variantPolicies[variant].sparsity === 'k' ? { k: 3 } : { l1: 0.2 });

/** Two of every variant, on two data sets of different widths. */
function jobs(): SaeJob[] {
  const data = [Tensor.from(gpu, planted(n, d, 14, 2, 1).data, [n, d]), Tensor.from(gpu, planted(n, 6, 9, 2, 50).data, [n, 6])];
  return trainVariants.flatMap((variant, v) => data.map((tensor, i): SaeJob => ({ name: `${variant} ${i}`, variant, data: tensor, ...sparsity(variant), seed: v + i })));
}

async function bytes(sae: Sae): Promise<string> {
  const parts = await Promise.all(Object.entries(sae.weights).map(async ([name, tensor]) => `${name} ${Buffer.from((await (tensor as Tensor).read()).buffer).toString('base64')}`));
  sae.dispose();
  return [sae.name, sae.variant, ...parts].join('|');
}

const run = async (list: SaeJob[], options: TrainOptions = {}): Promise<string[]> => Promise.all((await trainSaes(gpu, list, { ...quick, ...options })).saes.map(bytes));

/** What a run of all jobs that nothing disturbs ends with: made once. */
let undisturbed: Promise<string[]> | null = null;
const plainRun = (list: SaeJob[]): Promise<string[]> => (undisturbed ??= run(list));

test('all variants in one run come out as each alone', () => gpu.scope(async () => {
  const list = jobs();
  const together = await plainRun(list);
  assert.is(new Set(together).size, list.length);
  for (const [i, job] of list.entries()) if (i % 2 === 0) assert.equal(await run([job]), [together[i]]);
  assert.equal(await run([...list].reverse()), [...together].reverse());
}));

test('stopped and resumed, every variant ends with the same bytes and logs', () => gpu.scope(async () => {
  const list = jobs();
  const whole: LogRecord[] = [];
  const saved = new Map<number, Uint8Array>();
  const expected = await run(list, { onLog: (records) => { whole.push(...records); }, checkpointEvery: 1, onCheckpoint: (file, step) => { saved.set(step, file); } });
  assert.is(saved.size, 17);
  // Within an epoch, and at the end of one, right after the resampling.
  for (const step of [5, 9]) {
    const checkpoint = await readCheckpoint(saved.get(step)!);
    assert.is(checkpoint.tensors.has('4.dead'), true);
    const rest: LogRecord[] = [];
    assert.equal(await run(list, { resume: saved.get(step)!, onLog: (records) => { rest.push(...records); } }), expected, `from step ${step}`);
    assert.equal(rest, whole.slice(whole.length - rest.length));
  }
  for (const { variant, loss, mse, l1_loss, l0_loss, auxiliary_reconstruction_loss: auxiliary, k, l1_coefficient } of whole) {
    assert.ok(Math.abs(loss - mse - l1_loss - l0_loss - auxiliary) < 1e-9);
    assert.is(l1_loss > 0, ['vanilla', 'frozen', 'gated'].includes(variant), variant);
    assert.is(l0_loss > 0, variant === 'jumprelu');
    if (variant === 'gated') assert.ok(auxiliary > 0);
    assert.equal([k, l1_coefficient], variantPolicies[variant].sparsity === 'k' ? [3, 0] : [null, 0.2]);
  }
}));

test('a snapshot is what a run stopped there holds', () => gpu.scope(async () => {
  const list = jobs();
  const snapshots = new Map<number, { saes: string[]; figures: LogRecord[] }>();
  const plain = await plainRun(list);
  const watched = await run(list, {
    snapshotEpochs: [1, 2, 4, 6, 50],
    onSnapshot: async (epoch, saes, figures) => { snapshots.set(epoch, { saes: await Promise.all(saes.map(bytes)), figures }); },
  });
  assert.equal(watched, plain);
  assert.equal([...snapshots.keys()], [1, 2, 4, 6]);
  assert.equal(snapshots.get(6)!.saes, plain);
  for (const epoch of [1, 4]) {
    let checkpoint: Uint8Array | null = null;
    const stop = new AbortController();
    // Nothing behind the first checkpoint is needed.
    await run(list, { checkpointEvery: 3 * epoch, onCheckpoint: (file) => { checkpoint ??= file; stop.abort(); }, signal: stop.signal });
    const stopped = await trainSaes(gpu, list, { ...quick, resume: checkpoint!, signal: stop.signal });
    assert.is(stopped.step, 3 * epoch);
    assert.equal(snapshots.get(epoch)!.figures, stopped.final);
    assert.equal(await Promise.all(stopped.saes.map(bytes)), snapshots.get(epoch)!.saes);
  }
}));

test('every variant finds planted directions', () => gpu.scope(async () => {
  const [examples, width, count] = [600, 16, 20];
  const { directions, data } = planted(examples, width, count, 2, 7);
  const tensor = Tensor.from(gpu, data, [examples, width]);
  const values: Record<TrainVariant, Pick<SaeJob, 'l1' | 'k'>> = { vanilla: { l1: 0.5 }, gated: { l1: 3 }, topk: { k: 2 }, batchtopk: { k: 2 }, jumprelu: { l1: 0.5 }, frozen: { l1: 0.5 } };
  const list = trainVariants.map((variant): SaeJob => ({ name: variant, variant, data: tensor, ...values[variant], seed: 1, learningRate: variantDefaults[variant].learningRate }));
  const logs: LogRecord[][] = [];
  const { saes, final } = await trainSaes(gpu, list, { features: 40, epochs: 100, batch: 100, warmupSteps: 20, onLog: (records) => { logs.push(records); } });
  for (const [i, sae] of saes.entries()) {
    const decoder = await sae.weights.decoder.read();
    const best = Array.from({ length: count }, (_, a) => Math.max(...Array.from({ length: 40 }, (_, f) => {
      let dot = 0;
      for (let k = 0; k < width; k++) dot += decoder[f * width + k]! * directions[a * width + k]!;
      return dot;
    })));
    const found = best.filter((cosine) => cosine > 0.9).length;
    const { variant, explained_variance: explained, l0 } = final[i]!;
    const told = `${variant}: ${found} of ${count} found, ${explained} explained by ${l0} features, loss ${logs[0]![i]!.loss} to ${logs.at(-1)![i]!.loss}`;
    assert.ok(logs.at(-1)![i]!.loss < 0.5 * logs[0]![i]!.loss, told);
    if (variant === 'frozen') continue;
    assert.ok(found >= 0.8 * count, told);
    assert.ok(explained > 0.8 && l0 > 1 && l0 < 10, told);
  }
  for (const sae of saes) sae.dispose();
}));

/** Runs `use` on a batch of the jobs. */
async function withBatch(list: SaeJob[], options: TrainOptions, use: (batch: SaeBatch, site: SiteData) => Promise<void>): Promise<void> {
  const settings = checkSettings({ ...quick, ...options });
  const site = await SiteData.create(gpu, list, { maxRows: 24, inputs: settings.inputs });
  try {
    const batch = await SaeBatch.create(gpu, site, list, settings);
    await use(batch, site).finally(() => batch.dispose());
  } finally {
    site.dispose();
  }
}

/** Lengths of the rows of a matrix. */
function lengths(values: Float32Array, width: number): number[] {
  return Array.from({ length: values.length / width }, (_, f) => Math.hypot(...values.subarray(f * width, (f + 1) * width)));
}

test('how each variant begins', () => gpu.scope(async () => {
  const [F, width] = [200, 6];
  const draw = async (variant: TrainVariant, settings: TrainOptions = {}): Promise<{ encoder: Float32Array; decoder: Float32Array }> => {
    const made = gpu.scope(() => initialMatrices(gpu, variant, checkSettings({ features: F, ...settings }), width, { seed: 3, draw: 0 }));
    const [encoder, decoder] = await Promise.all([made.encoder.read(), made.decoder.read()]);
    assert.is(decoder.length, F * 8);
    for (let f = 0; f < F; f++) for (const matrix of [encoder, decoder]) assert.equal([...matrix.subarray(f * 8 + width, (f + 1) * 8)], [0, 0]);
    for (const tensor of new Set([made.encoder, made.decoder])) tensor.dispose();
    return { encoder, decoder };
  };
  const unit = (matrix: Float32Array): boolean => lengths(matrix, 8).every((length) => Math.abs(length - 1) < 1e-6);
  const bound = Math.sqrt(6 / width);
  const uniform = (matrix: Float32Array): boolean => {
    const most = Math.max(...matrix.map(Math.abs));
    return most <= bound && most > 0.95 * bound && Math.abs(matrix.reduce((sum, v) => sum + v * v, 0) / (F * width) - bound ** 2 / 3) < 0.1 * bound ** 2;
  };
  for (const variant of trainVariants) {
    const { encoder, decoder } = await draw(variant);
    assert.ok(unit(decoder), variant);
    assert.equal(encoder, decoder);
  }
  // Balanced encoders begin with reconstructions as long as what they are of.
  const x = Array.from({ length: 50 }, (_, r) => random(width, r));
  const length = ({ encoder, decoder }: { encoder: Float32Array; decoder: Float32Array }): number => x.reduce((sum, row) => {
    const out = new Float64Array(width);
    for (let f = 0; f < F; f++) {
      const code = Math.max(0, row.reduce((dot, v, c) => dot + v * encoder[f * 8 + c]!, 0));
      for (let c = 0; c < width; c++) out[c]! += code * decoder[f * 8 + c]!;
    }
    return sum + Math.hypot(...out) / Math.hypot(...row) / x.length;
  }, 0);
  for (const variant of ['vanilla', 'frozen', 'jumprelu', 'gated'] as const) {
    const [plain, balanced] = [await draw(variant), await draw(variant, { encoderStart: 'balanced' })];
    assert.equal(balanced.decoder, plain.decoder);
    assert.ok(Math.abs(length(balanced) - 1) < 0.1 && length(plain) > 10, `${variant} ${length(balanced)} ${length(plain)}`);
  }
  for (const variant of ['topk', 'batchtopk'] as const) assert.equal(await draw(variant, { encoderStart: 'balanced' }), await draw(variant));
  const untied = await draw('gated', { gatedStart: 'untied' });
  assert.ok(unit(untied.decoder) && uniform(untied.encoder));
  assert.equal(untied.decoder, (await draw('gated')).decoder);
  assert.not.equal((await draw('gated')).decoder, (await draw('vanilla')).decoder);
  for (const variant of ['topk', 'batchtopk'] as const) {
    const free = await draw(variant, { topkDecoder: 'free' });
    assert.ok(uniform(free.decoder) && !unit(free.decoder));
    assert.equal(free.encoder, free.decoder);
  }
  const tensor = Tensor.from(gpu, planted(n, d, 14, 2, 1).data, [n, d]);
  await withBatch([{ name: 'j', variant: 'jumprelu', l1: 1, data: tensor, seed: 1 }], { initialThreshold: 0.03 }, async ({ weights }) => {
    assert.ok((await weights.logThreshold!.read()).every((v) => Math.abs(v - Math.log(0.03)) < 1e-6));
  });
}));

test('decoder rows keep unit length; a frozen decoder stays as it was drawn; free ones go where they will', () => gpu.scope(async () => {
  const list = jobs().filter((_, i) => i % 2 === 0);
  const trained = async (options: TrainOptions): Promise<Map<TrainVariant, number[]>> => {
    const { saes } = await trainSaes(gpu, list, { ...quick, ...options });
    const out = new Map<TrainVariant, number[]>();
    for (const [i, sae] of saes.entries()) {
      const variant = list[i]!.variant!;
      const decoder = await sae.weights.decoder.read();
      out.set(variant, lengths(decoder, d));
      const start = gpu.scope(() => initialMatrices(gpu, variant, checkSettings({ ...quick, ...options }), d, { seed: list[i]!.seed, draw: 0 }).decoder);
      const drawn = await start.read();
      const same = decoder.every((v, at) => v === drawn[Math.floor(at / d) * 12 + (at % d)]);
      assert.is(same, variant === 'frozen', variant);
      start.dispose();
      sae.dispose();
    }
    return out;
  };
  for (const rows of (await trained({})).values()) for (const length of rows) assert.ok(Math.abs(length - 1) < 1e-5);
  const free = await trained({ topkDecoder: 'free' });
  for (const variant of ['topk', 'batchtopk'] as const) assert.ok(free.get(variant)!.some((length) => Math.abs(length - 1) > 0.05));
  for (const variant of ['vanilla', 'gated'] as const) for (const length of free.get(variant)!) assert.ok(Math.abs(length - 1) < 1e-5);
}));

test('as released, gated and top-k dictionaries have negative codes, and else not', () => gpu.scope(async () => {
  const data = Tensor.from(gpu, planted(n, d, 14, 2, 1).data, [n, d]);
  const list = (['gated', 'topk'] as const).map((variant): SaeJob => ({ name: variant, variant, data, ...(variant === 'gated' ? { l1: 0.2 } : { k: 12 }), seed: 1 }));
  const least = async (options: TrainOptions): Promise<number[]> => {
    const { saes } = await trainSaes(gpu, list, { ...quick, ...options });
    const out: number[] = [];
    // One scope after the other: they are a stack.
    for (const sae of saes) {
      out.push(await gpu.scope(async () => Math.min(...await sae.encode({ activations: data }).read())));
      sae.dispose();
    }
    return out;
  };
  assert.equal(await least({}), [0, 0]);
  for (const value of await least(releasedTraining(['gated-magnitude', 'topk-signed', 'gated-start']))) assert.ok(value < 0, `${value}`);
}));

test('BatchTopK ends with its running threshold in activation units', () => gpu.scope(async () => {
  const tensor = Tensor.from(gpu, planted(n, d, 14, 2, 1).data, [n, d]);
  const list: SaeJob[] = [{ name: 'b', variant: 'batchtopk', k: 3, data: tensor, seed: 1 }, { name: 'c', variant: 'batchtopk', k: 2, data: tensor, seed: 1 }];
  await withBatch(list, { thresholdRate: 0.25 }, async (batch, site) => {
    assert.equal([...await batch.running.read()], [-1, -1]);
    const expected: number[] = [];
    for (let t = 1; t <= 5; t++) {
      site.gather({ first: 0, rows: 24 });
      batch.train(24, t, 1, false);
      (await batch.step.batchThreshold.read()).forEach((least, i) => { expected[i] = t === 1 ? least : expected[i]! + 0.25 * (least - expected[i]!); });
    }
    const running = await batch.running.read();
    assert.ok(expected.every((value, i) => value > 0 && Math.abs(running[i]! / value - 1) < 1e-5), `${running}, not ${expected}`);
    const finished = gpu.scope(() => batch.finished(1));
    const threshold = await finished.threshold!.read();
    assert.is(threshold.length, 20);
    assert.ok(threshold.every((v) => Math.abs(v / (running[1]! * batch.scales[1]!) - 1) < 1e-6));
    for (const part of Object.values(finished) as Tensor[]) part.dispose();
  });
}));

test('resampling begins every part of a dead feature anew, and no other feature\'s', () => gpu.scope(async () => {
  const tensor = Tensor.from(gpu, planted(n, d, 14, 2, 1).data, [n, d]);
  for (const variant of trainVariants) for (const resampling of ['loss', 'initial'] as const) {
    const list: SaeJob[] = [0, 1].map((i) => ({ name: `${i}`, variant, ...sparsity(variant), data: tensor, seed: i }));
    await withBatch(list, { resampling }, async (batch, site) => {
      for (let t = 1; t <= 3; t++) {
        site.gather({ first: 20 * t, rows: 10 });
        batch.train(10, t, 1, false);
      }
      const parts = batch.trained.filter((part) => part !== 'decoderBias');
      const state = async (): Promise<Float32Array[]> => Promise.all([batch.weights, batch.first, batch.second].flatMap((stack) => parts.map((part) => stack[part]!.read())));
      const before = await state();
      const fired = [new Uint32Array(20).fill(1), new Uint32Array(20).fill(1)];
      for (const [i, f] of [[0, 3], [1, 0], [1, 19]] as const) fired[i]![f] = 0;
      const counts = await resample(gpu, batch, checkSettings({ ...quick, resampling }), fired, 4);
      const resamples = ['vanilla', 'gated', 'jumprelu'].includes(variant);
      assert.equal(counts, resamples ? [1, 2] : [0, 0]);
      const after = await state();
      before.forEach((was, index) => {
        const [part, moment] = [parts[index % parts.length]!, index >= parts.length];
        const size = was.length / 40;
        for (let row = 0; row < 40; row++) {
          const now = [...after[index]!.subarray(row * size, (row + 1) * size)];
          const old = [...was.subarray(row * size, (row + 1) * size)];
          if (!resamples || ![3, 20, 39].includes(row)) assert.equal(now, old, `${variant} ${part}`);
          else if (moment) assert.ok(now.every((v) => v === 0), `${variant} ${part}`);
          else if (part === 'decoder') assert.ok(Math.abs(Math.hypot(...now) - 1) < 1e-5);
          else if (part === 'encoder') assert.not.equal(now, old);
          else assert.ok(Math.abs(now[0]! - (part === 'logThreshold' ? Math.log(0.01) : 0)) < 1e-6, `${variant} ${part}`);
        }
      });
    });
  }
}));

test('dead features of top-k kinds learn by the auxiliary loss alone', () => gpu.scope(async () => {
  const [F, width] = [64, 8];
  const tensor = Tensor.from(gpu, planted(300, width, 12, 2, 3).data, [300, width]);
  const list = (['topk', 'batchtopk'] as const).map((variant): SaeJob => ({ name: variant, variant, k: 1, data: tensor, seed: 2 }));
  const start = gpu.scope(() => initialMatrices(gpu, 'topk', checkSettings({ features: F }), width, { seed: 2, draw: 0 }).encoder);
  const drawn = await start.read();
  start.dispose();
  /** Features of each dictionary whose encoder column is as it was drawn. */
  const untouched = async (auxiliaryCoefficient: number): Promise<{ still: number[]; logs: LogRecord[] }> => {
    const logs: LogRecord[] = [];
    const { saes } = await trainSaes(gpu, list, { features: F, epochs: 3, batch: 100, auxiliaryFeatures: 16, auxiliaryCoefficient, onLog: (records) => { logs.push(...records); } });
    const still: number[] = [];
    for (const sae of saes) {
      const encoder = await sae.weights.encoder.read();
      still.push(Array.from({ length: F }, (_, f) => f).filter((f) => encoder.subarray(f * width, (f + 1) * width).every((v, k) => v === drawn[f * width + k])).length);
      sae.dispose();
    }
    return { still, logs };
  };
  const [without, helped] = [await untouched(0), await untouched(0.25)];
  without.still.forEach((count, i) => assert.ok(count > 10 && helped.still[i]! < 0.2 * count, `${helped.still[i]} with it, ${count} without`));
  assert.ok(without.logs.every((record) => record.auxiliary_reconstruction_loss === 0));
  // Nothing counts as dead before the end of the first epoch.
  assert.equal(helped.logs.map((record) => record.auxiliary_reconstruction_loss > 0), [false, false, true, true, true, true]);
}));

test.run();
