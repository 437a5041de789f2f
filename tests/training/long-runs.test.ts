/** What training on much data needs: values that move from step to step, features that die after so many examples, clipped gradients, and losses that are no numbers. */
import * as assert from 'uvu/assert';
import { NumberError, UsageError } from '../../src/errors.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { readCheckpoint, StreamedExamples, trainSaes, trainVariants, variantPolicies, type ActivationStream, type Checkpoint, type LogRecord, type SaeJob, type TrainOptions } from '../../src/training/index.ts';
import { epochOrder } from '../../src/training/order.ts';
import { batchOf, sparsityAt } from '../../src/training/schedule.ts';
import { checkSettings } from '../../src/training/settings.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';
import { refusal } from '../support/refusal.ts';
import { referenceDecode, referenceEncode, type PlainSae } from '../support/sae.ts';

const test = gpuSuite('long runs');
const gpu = await testGpu();

const [n, d, F] = [70, 8, 40];
const perEpoch = 3;
const data = random(n * d, 5).map((v, i) => v + (i % d) / 8);
/** All that moves, at once. */
const moving: TrainOptions = {
  features: F, epochs: 6, batch: 24, learningRate: 2e-2, warmupSteps: 2, resampleAt: [], seed: 4, auxiliaryFeatures: 4,
  l1WarmupSteps: 10, kWarmupSteps: 8, learningRateWarmupSteps: 4, decay: 'cosine', decayFrom: 0.5, decayTo: 0.1, clipNorm: 3, deadAfter: 60,
};

async function bytesOf(saes: Awaited<ReturnType<typeof trainSaes>>['saes']): Promise<string[]> {
  return Promise.all(saes.map(async (sae) => {
    const parts = await Promise.all((Object.values(sae.weights) as Tensor[]).map((tensor) => tensor.read()));
    sae.dispose();
    return parts.map((part) => Buffer.from(part.buffer).toString('base64')).join('|');
  }));
}

/** A run with its records and a checkpoint of every step, the first of none. */
async function watched(list: SaeJob[], options: TrainOptions): Promise<{ bytes: string[]; logs: LogRecord[][]; saved: Uint8Array[]; final: LogRecord[] }> {
  const logs: LogRecord[][] = [];
  const { saes: unused, checkpoint } = await trainSaes(gpu, list, { ...options, signal: AbortSignal.abort() });
  for (const sae of unused) sae.dispose();
  const saved = [checkpoint!];
  const { saes, final } = await trainSaes(gpu, list, { ...options, checkpointEvery: 1, onCheckpoint: (file, step) => { saved[step] = file; }, onLog: (records) => { logs.push(records); } });
  return { bytes: await bytesOf(saes), logs, saved, final };
}

test('with everything on, stopped and resumed runs end with the same bytes and logs, and no dictionary depends on the others', () => gpu.scope(async () => {
  const tensor = Tensor.from(gpu, data, [n, d]);
  const list = trainVariants.map((variant, i): SaeJob => ({ name: variant, variant, data: tensor, seed: i, ...(variantPolicies[variant].sparsity === 'k' ? { k: 2 } : { l1: 3 }) }));
  const options: TrainOptions = { ...moving, deadAfter: 20, resampleAtSteps: [8] };
  const whole = await watched(list, options);
  // Within a warm-up, and right after a resampling.
  for (const step of [2, 9]) {
    const rest: LogRecord[][] = [];
    const { saes } = await trainSaes(gpu, list, { ...options, resume: whole.saved[step]!, onLog: (records) => { rest.push(records); } });
    assert.equal(await bytesOf(saes), whole.bytes, `from step ${step}`);
    assert.equal(rest, whole.logs.slice(whole.logs.length - rest.length));
  }
  assert.equal(await bytesOf((await trainSaes(gpu, [list[3]!], options)).saes), [whole.bytes[3]]);
  const other = await refusal(() => trainSaes(gpu, list, { ...options, resume: whole.saved[9]!, clipNorm: 0, deadAfter: 70, l1WarmupSteps: 9 }), UsageError);
  assert.ok(['clipNorm (3 there, 0 here)', 'deadAfter (20 there, 70 here)', 'l1WarmupSteps (10 there, 9 here)'].every((text) => other.includes(text)), other);
  // Each of them makes a difference, to those dictionaries that have what it is about.
  const two = [list[0]!, list[2]!];
  for (const [key, none] of Object.entries({ l1WarmupSteps: 0, kWarmupSteps: 0, learningRateWarmupSteps: 0, decay: 'linear', clipNorm: 0, deadAfter: 0 })) {
    const without = await bytesOf((await trainSaes(gpu, two, { ...options, [key]: none })).saes);
    const changed = two.map(({ name }) => name).filter((_, i) => without[i] !== whole.bytes[2 * i]);
    assert.equal(changed, { l1WarmupSteps: ['vanilla'], kWarmupSteps: ['topk'] }[key] ?? ['vanilla', 'topk'], key);
  }
  // Features that were resampled are not dead before their time.
  assert.ok(whole.logs[2]![0]!.dead_features! > 0);
  const since = (await readCheckpoint(whole.saved[9]!)).tensors.get('0.since_fired')!;
  assert.ok([...new Uint32Array(since.buffer, since.byteOffset, since.length)].every((count) => count < 20));
}));

/** A dictionary of a checkpoint. */
function plain({ tensors }: Checkpoint, job: number): PlainSae {
  const part = (name: string): Float64Array => Float64Array.from(tensors.get(`${job}.${name}`)!);
  return { features: F, width: d, encoder: part('encoder'), encoderBias: part('encoderBias'), decoder: part('decoder'), decoderBias: part('decoderBias') };
}

/** All but the k largest set to 0. */
function largest(values: readonly number[], k: number): number[] {
  const least = [...values].sort((a, b) => b - a)[k - 1] ?? 0;
  return values.map((value) => (value >= least ? value : 0));
}

const squares = (values: readonly number[]): number => values.reduce((sum, v) => sum + v * v, 0);

test('the log says what the loss was, step by step, and who is dead, as float64 has it', () => gpu.scope(async () => {
  const tensor = Tensor.from(gpu, data, [n, d]);
  const list: SaeJob[] = [{ name: 'vanilla', data: tensor, l1: 3, seed: 1 }, { name: 'topk', variant: 'topk', data: tensor, k: 2, seed: 2 }];
  const settings = checkSettings(moving);
  const { logs, saved, final } = await watched(list, moving);
  const since = list.map(() => new Array<number>(F).fill(0));
  for (let epoch = 0; epoch < 6; epoch++) {
    const sums = list.map(() => ({ mse: 0, penalty: 0, auxiliary: 0, active: 0 }));
    const order = epochOrder(n, 4, epoch);
    for (let within = 0; within < perEpoch; within++) {
      const count = epoch * perEpoch + within + 1;
      const before = await readCheckpoint(saved[count - 1]!);
      const span = batchOf(n, perEpoch, within);
      list.forEach((job, j) => {
        const [sae, now, scale] = [plain(before, j), sparsityAt(job, count, settings, d), before.jobs[j]!.scale];
        const dead = since[j]!.map((ago) => ago >= 60);
        const weight = settings.auxiliaryCoefficient * Math.min(dead.filter(Boolean).length / 4, 1);
        const fired = new Set<number>();
        for (let r = span.first; r < span.first + span.rows; r++) {
          const x = Array.from({ length: d }, (_, k) => data[order[r]! * d + k]! / scale);
          const all = referenceEncode(sae, x);
          const codes = j === 1 ? largest(all, now) : all;
          const error = referenceDecode(sae, codes).map((v, k) => x[k]! - v);
          codes.forEach((code, f) => { if (code > 0) fired.add(f); });
          sums[j]!.mse += squares(error);
          sums[j]!.active += codes.filter((code) => code > 0).length;
          if (j === 0) sums[j]!.penalty += now * codes.reduce((sum, code) => sum + code, 0);
          else {
            const revived = referenceDecode({ ...sae, decoderBias: new Float64Array(d) }, largest(all.map((v, f) => (dead[f] ? v : 0)), 4));
            sums[j]!.auxiliary += weight * squares(error.map((v, k) => v - revived[k]!));
          }
        }
        since[j] = since[j]!.map((ago, f) => (fired.has(f) ? 0 : ago + span.rows));
      });
    }
    list.forEach((job, j) => {
      const record = logs[epoch]![j]!;
      const near = (value: number, expected: number, what: string): void => assert.ok(Math.abs(value - expected) <= 2e-5 * Math.abs(expected) + 1e-9, `${job.name}, epoch ${epoch + 1}: ${what} ${value}, not ${expected}`);
      const { mse, penalty, auxiliary, active } = sums[j]!;
      near(record.mse, mse / n, 'mse');
      near(record.l1_loss, penalty / n, 'l1_loss');
      near(record.auxiliary_reconstruction_loss, auxiliary / n, 'auxiliary loss');
      near(record.loss, (mse + penalty + auxiliary) / n, 'loss');
      near(record.l0, active / n, 'l0');
      const dead = since[j]!.filter((ago) => ago >= 60).length;
      assert.equal([record.dead_features, record.dead_fraction], [dead, dead / F]);
      near(record.mean_passes_since_fired!, since[j]!.reduce((sum, ago) => sum + ago, 0) / F / (n / perEpoch), 'passes');
      const now = sparsityAt(job, (epoch + 1) * perEpoch, settings, d);
      assert.equal([record.l1_coefficient, record.k, record.training_samples], [j === 0 ? now : 0, j === 1 ? now : null, (epoch + 1) * n]);
    });
  }
  // Something of all this happened.
  const [vanilla, topk] = [0, 1].map((j) => logs.map((records) => records[j]!)) as [LogRecord[], LogRecord[]];
  assert.ok(vanilla.some(({ dead_features }) => dead_features! > 3) && topk.some(({ dead_features }) => dead_features! > 3), `${vanilla.map((r) => r.dead_features)}; ${topk.map((r) => r.dead_features)}`);
  assert.ok(topk.slice(-2).every(({ auxiliary_reconstruction_loss: loss }) => loss > 0));
  // The final figures tell the dead by the same count.
  assert.equal(final.map(({ dead_features }) => dead_features), since.map((counts) => counts.filter((ago) => ago >= 60).length));
}));

test('what is saved within a warm-up of K keeps as many features as were trained with', () => gpu.scope(async () => {
  const tensor = Tensor.from(gpu, data, [n, d]);
  const list: SaeJob[] = [{ name: 'topk', variant: 'topk', data: tensor, k: 2, seed: 2 }];
  const active: number[] = [];
  const { saes: [sae] } = await trainSaes(gpu, list, {
    ...moving, kWarmupFrom: 6, snapshotEpochs: [1, 2, 3],
    onSnapshot: async (_, [one], [figures]) => {
      const counts = await gpu.scope(async () => Math.max(...(await one!.encode({ activations: tensor }).read()).reduce((rows, v, i) => { rows[Math.floor(i / F)]! += v > 0 ? 1 : 0; return rows; }, new Array<number>(n).fill(0))));
      active.push(counts);
      assert.ok(figures!.l0 <= counts && one!.metadata['k'] === counts);
      one!.dispose();
    },
  });
  // ⌊(6 (8 − t) + 2 t) / 8⌋ at t = 2 and 5, then the dictionary's own.
  assert.equal(active, [5, 3, 2]);
  sae!.dispose();
}));

test('a loss that is no number is found within some steps, however long an epoch is and whether it is logged or not', () => gpu.scope(async () => {
  const tensor = Tensor.from(gpu, data, [n, d]);
  const [tame, wild]: SaeJob[] = [{ name: 'tame', data: tensor, l1: 0.1, seed: 1 }, { name: 'wild', data: tensor, l1: 0.1, seed: 2, learningRate: 1e30 }];
  for (const logEvery of [1, 5]) {
    let most = 0;
    const error = await refusal(() => trainSaes(gpu, [tame!, wild!], { features: F, epochs: 5, batch: 1, logEvery, onStep: (done) => { most = done; } }), NumberError);
    assert.match(error, /^training wild: the loss is (NaN|Infinity) by step 16, after step 0 with numbers; first of its terms mse; the learning rate \(1e\+30\) is probably too high/);
    assert.ok(most <= 24, `${most} steps`);
  }
}));

test('a checkpoint of numbers that are none is not written', () => gpu.scope(async () => {
  const tensor = Tensor.from(gpu, data, [n, d]);
  const saved: Uint8Array[] = [];
  const list: SaeJob[] = [{ name: 'wild', data: tensor, l1: 0.1, seed: 2, learningRate: 1e30 }];
  const error = await refusal(() => trainSaes(gpu, list, { features: F, epochs: 5, batch: 1, checkpointEvery: 1, onCheckpoint: (file) => { saved.push(file); } }), NumberError);
  assert.match(error, /^training wild: \S+ holds NaN or infinity after step \d+, so no checkpoint is written/);
  for (const file of saved) for (const [name, values] of (await readCheckpoint(file)).tensors) assert.ok(/fired/.test(name) || values.every(Number.isFinite), name);
}));

test('activations of a later round that are no numbers are told from a bad learning rate', () => gpu.scope(async () => {
  const site = new StreamedExamples(n, d);
  const stream: ActivationStream = {
    fill: async (round, put) => gpu.scope(() => put(site, Tensor.from(gpu, data.map((v, i) => (round === 2 && i === 77 ? NaN : v)), [n, d]), 0)),
    state: (round) => round,
    restore() {},
  };
  const error = await refusal(() => trainSaes(gpu, [{ name: 'a', data: site, l1: 0.1, seed: 1 }], { features: F, epochs: 4, batch: 24, stream }), NumberError);
  assert.match(error, /^training a: the loss is NaN by step 9, after step 6 with numbers; first of its terms mse; the activations hold NaN or infinity$/);
}));

test.run();
