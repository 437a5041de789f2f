import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { LimitError, NumberError, ShapeError, UsageError } from '../../src/errors.ts';
import { checkLoss, figures } from '../../src/training/log.ts';
import { RELEASED_TRAINING, releasedTraining, rescaleSparsity, TRAINING_PRESETS, trainingPreset } from '../../src/training/index.ts';
import { epochOrder, sampleProportional } from '../../src/training/order.ts';
import { groupJobs, runBytes } from '../../src/training/plan.ts';
import { batchOf, learningRateFactor, samplesAfter, scheduleOf, sparsityAt } from '../../src/training/schedule.ts';
import { checkJobs, checkSettings, trainDefaults, type SaeJob, type TrainSettings } from '../../src/training/settings.ts';

const test = suite('training schedule');

test('an epoch is cut into nearly equal steps that cover it once', () => {
  for (const [examples, batch] of [[3000, 512], [10, 3], [7, 7], [7, 100], [1, 1]] as const) {
    const { perEpoch, maxRows } = scheduleOf(checkSettings({ batch, epochs: 1 }), examples);
    let next = 0;
    for (let i = 0; i < perEpoch; i++) {
      const { first, rows } = batchOf(examples, perEpoch, i);
      assert.is(first, next);
      assert.ok(rows >= 1 && rows <= Math.min(batch, maxRows) && maxRows - rows <= 1);
      next += rows;
    }
    assert.is(next, examples);
  }
});

test('the learning rate decays on a straight line, not by compounding', () => {
  const settings = checkSettings({ epochs: 100, batch: 10, decayFrom: 0.75, resampleAt: [] });
  const schedule = scheduleOf(settings, 100);
  const at = (step: number): number => learningRateFactor(step, schedule, settings);
  assert.is(schedule.steps, 1000);
  assert.is(at(0), 1);
  assert.is(at(750), 1);
  assert.ok(Math.abs(at(875) - 0.5) < 1e-12);
  assert.ok(Math.abs(at(999) - 1 / 250) < 1e-12);
  for (let step = 751; step < 999; step++) assert.ok(Math.abs(at(step) - at(step + 1) - 1 / 250) < 1e-12);
});

test('as released, the decay compounds once an epoch', () => {
  // The figures of evaluation.md §7.3: 36 % of the rate at epoch 1530 of 2000, 6 % at 1550, 1.9 % at 1560, below 1e-4 at 1600.
  const settings = checkSettings({ epochs: 2000, batch: 10, resampleAt: [], ...releasedTraining(['lr-decay']) });
  const schedule = scheduleOf(settings, 40);
  const at = (epoch: number, within = 0): number => learningRateFactor(4 * epoch + within, schedule, settings);
  assert.is(at(1499, 3), 1);
  assert.is(at(1500), 499 / 500);
  const near = (value: number, expected: number, within: number): void => assert.ok(Math.abs(value - expected) < within, `${value}, not ${expected}`);
  near(at(1530), 0.36, 0.005);
  near(at(1550), 0.06, 0.005);
  near(at(1560), 0.019, 0.0005);
  assert.ok(at(1600) < 1e-4 && at(1600) > 0);
  assert.is(at(1530, 3), at(1530));
  assert.is(at(1999), 0);
});

test('after each resampling the learning rate warms up, on top of the decay', () => {
  const settings = checkSettings({ epochs: 100, batch: 10, decayFrom: 0.5, resampleAt: [0.25, 0.6], warmupSteps: 100 });
  const schedule = scheduleOf(settings, 100);
  assert.equal(schedule.resampleAfter, [25, 60]);
  const at = (step: number): number => learningRateFactor(step, schedule, settings);
  assert.is(at(249), 1);
  assert.ok(Math.abs(at(250) - 0.1) < 1e-12);
  assert.ok(Math.abs(at(300) - 0.55) < 1e-12);
  assert.is(at(350), 1);
  assert.ok(Math.abs(at(600) - 0.1 * 0.8) < 1e-12);
  // The same warm-up told in epochs of ten steps.
  const epochs = { ...settings, warmupSteps: 0, warmupEpochs: 10 };
  for (const step of [249, 250, 300, 350, 600]) assert.is(learningRateFactor(step, schedule, epochs), at(step));
});

test('the learning rate rises at the start of a run, in equal steps to the whole', () => {
  const settings = checkSettings({ epochs: 10, batch: 10, decayFrom: 1, resampleAt: [], learningRateWarmupSteps: 40 });
  const schedule = scheduleOf(settings, 100);
  for (let step = 0; step < 100; step++) assert.is(learningRateFactor(step, schedule, settings), Math.min((step + 1) / 40, 1), `step ${step}`);
});

test('the learning rate falls on half a cosine, or to a share of itself', () => {
  const factors = (given: Partial<TrainSettings>): number[] => {
    const settings = checkSettings({ epochs: 20, batch: 10, resampleAt: [], ...given });
    const schedule = scheduleOf(settings, 50);
    return Array.from({ length: schedule.steps }, (_, step) => learningRateFactor(step, schedule, settings));
  };
  // torch's CosineAnnealingLR in its recursive form, from 1 to 0.1 over the 100 steps.
  const whole = factors({ decay: 'cosine', decayFrom: 0, decayTo: 0.1 });
  let rate = 1;
  whole.forEach((factor, t) => {
    if (t > 0) rate = 0.1 + ((rate - 0.1) * (1 + Math.cos((Math.PI * t) / 100))) / (1 + Math.cos((Math.PI * (t - 1)) / 100));
    assert.ok(Math.abs(factor - rate) < 1e-12, `${factor}, not ${rate} at ${t}`);
  });
  const late = factors({ decay: 'cosine', decayFrom: 0.6 });
  assert.ok(late.slice(0, 61).every((factor) => factor === 1));
  assert.ok(Math.abs(late[80]! - 0.5) < 1e-12 && Math.abs(late[70]! - (1 + Math.SQRT1_2) / 2) < 1e-12 && late[99]! > 0 && late[99]! < 0.002);
  // Not before the warm-up is over, as SAELens puts one schedule behind the other.
  const after = factors({ decay: 'cosine', decayFrom: 0, learningRateWarmupSteps: 20 });
  assert.is(after[19], 1);
  assert.is(after[20], 1);
  assert.ok(Math.abs(after[60]! - 0.5) < 1e-12 && Math.abs(after[9]! - 0.5) < 1e-12);
  const straight = factors({ decayFrom: 0.5, decayTo: 0.2 });
  assert.ok(Math.abs(straight[75]! - 0.6) < 1e-12 && Math.abs(straight[99]! - (0.2 + 0.8 / 50)) < 1e-12);
  assert.ok(factors({ decayFrom: 0, decayTo: 1 }).every((factor) => factor === 1));
});

test('λ rises from nothing to its own, K falls from the width or a given number to its own', () => {
  const settings = checkSettings({ features: 64, l1WarmupSteps: 8, kWarmupSteps: 10 });
  const at = (job: Pick<SaeJob, 'variant' | 'l1' | 'k'>, count: number, changes: Partial<TrainSettings> = {}): number => sparsityAt(job, count, { ...settings, ...changes }, 24);
  const counts = Array.from({ length: 20 }, (_, i) => i + 1);
  for (const variant of ['vanilla', 'gated', 'jumprelu', 'frozen'] as const) {
    assert.equal(counts.map((count) => at({ variant, l1: 0.4 }, count)), counts.map((count) => 0.4 * Math.min((count - 1) / 8, 1)));
  }
  for (const variant of ['topk', 'batchtopk'] as const) {
    // Exact in whole numbers: ⌊(24 (10 − t) + 5 t) / 10⌋.
    assert.equal(counts.slice(0, 13).map((count) => at({ variant, k: 5 }, count)), [24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 5, 5, 5]);
    assert.is(at({ variant, k: 5 }, 1, { kWarmupFrom: 40 }), 40);
    assert.is(at({ variant, k: 5 }, 1, { kWarmupFrom: 100 }), 64);
    // A dictionary of more active features than that begins with its own.
    assert.is(at({ variant, k: 30 }, 4), 30);
    for (const count of counts) assert.is(at({ variant, k: 5 }, count, { kWarmupSteps: 0 }), 5);
  }
  // Before the first step: what it will have.
  assert.equal([at({ l1: 1 }, 0), at({ variant: 'topk', k: 5 }, 0)], [0, 24]);
  assert.is(at({ l1: 1 }, 1, { l1WarmupSteps: 0 }), 1);
});

test('a warm-up that would not end within the run is refused', () => {
  for (const name of ['learningRateWarmupSteps', 'l1WarmupSteps', 'kWarmupSteps'] as const) {
    const schedule = (steps: number): unknown => scheduleOf(checkSettings({ epochs: 5, batch: 10, [name]: steps }), 40);
    schedule(19);
    assert.throws(() => schedule(20), (e: unknown) => e instanceof UsageError && e.message.includes(`${name} is 20, but must be less than the 20 steps`));
  }
});

test('resampling by steps happens at the end of the epoch that the step is in', () => {
  const after = (given: Partial<TrainSettings>): readonly number[] => scheduleOf(checkSettings({ epochs: 10, batch: 10, resampleAt: [], ...given }), 40).resampleAfter;
  assert.equal(after({ resampleAtSteps: [1, 4, 5, 39, 40, 90] }), [1, 2]);
  assert.equal(after({ resampleEverySteps: 10 }), [3, 5, 8]);
  assert.equal(after({ resampleEverySteps: 1000 }), []);
  assert.equal(after({ resampleAt: [0.3], resampleAtSteps: [33] }), [3, 9]);
});

test('examples are counted whatever the steps are', () => {
  for (const [examples, batch] of [[3000, 512], [10, 3], [7, 7]] as const) {
    const { perEpoch } = scheduleOf(checkSettings({ batch, epochs: 3 }), examples);
    let sum = 0;
    for (let step = 0; step < 3 * perEpoch; step++) {
      assert.is(samplesAfter(step, examples, perEpoch), sum);
      sum += batchOf(examples, perEpoch, step % perEpoch).rows;
    }
    assert.is(samplesAfter(3 * perEpoch, examples, perEpoch), 3 * examples);
  }
});

test('resampling never falls on the start or the end of a run, nor twice on an epoch', () => {
  const schedule = (epochs: number, resampleAt: number[]): readonly number[] => scheduleOf(checkSettings({ epochs, resampleAt }), 100).resampleAfter;
  assert.equal(schedule(1, [0.25, 0.5]), []);
  assert.equal(schedule(2, [0.25, 0.5]), [1]);
  assert.equal(schedule(2000, [0.5, 0.25]), [500, 1000]);
  assert.equal(scheduleOf(checkSettings({ epochs: 2000, resampleAt: [0.3], resampleEvery: 500 }), 100).resampleAfter, [500, 600, 1000, 1500]);
});

test('the order of an epoch is a permutation, fixed by seed and epoch', () => {
  const order = epochOrder(1000, 3, 7);
  assert.equal([...order].sort((a, b) => a - b), Array.from({ length: 1000 }, (_, i) => i));
  assert.equal([...epochOrder(1000, 3, 7)], [...order]);
  assert.not.equal([...epochOrder(1000, 3, 8)], [...order]);
  assert.not.equal([...epochOrder(1000, 4, 7)], [...order]);
  // The same on every machine: written down once.
  assert.equal([...epochOrder(8, 1, 0)], [0, 5, 2, 1, 4, 7, 6, 3]);
  assert.equal([...epochOrder(1, 1, 0)], [0]);
});

test('sampling follows the weights', () => {
  const weights = [0, 1, 0, 3, 6, 0];
  const counts = new Array<number>(6).fill(0);
  for (const index of sampleProportional(weights, 20000, 5, 1)) counts[index]!++;
  assert.equal([counts[0], counts[2], counts[5]], [0, 0, 0]);
  weights.forEach((weight, i) => assert.ok(Math.abs(counts[i]! / 20000 - weight / 10) < 0.015, `${i}: ${counts[i]}`));
  assert.equal([...sampleProportional(weights, 50, 5, 1)], [...sampleProportional(weights, 50, 5, 1)]);
  assert.ok([...sampleProportional([0, 0, 0], 50, 1, 1)].every((i) => i < 3));
  assert.is(sampleProportional(weights, 0, 1, 1).length, 0);
});

test('figures', () => {
  const sums = { errors: 50, codes: 30, active: 40, spread: 200, secondErrors: 20, secondCodes: 60, secondActive: 10, dead: 8 };
  const settings = { auxiliaryCoefficient: 0.25, auxiliaryFeatures: 4 };
  const same = { mse: 5, l0: 4, explained_variance: 0.75, l1_loss: 0, l0_loss: 0, auxiliary_reconstruction_loss: 0 };
  for (const variant of [undefined, 'vanilla', 'frozen'] as const) {
    assert.equal(figures(sums, 10, { ...(variant ? { variant } : {}), l1: 0.5 }, settings), { ...same, loss: 6.5, l1_loss: 1.5 });
  }
  assert.equal(figures(sums, 10, { variant: 'gated', l1: 0.5 }, settings), { ...same, loss: 10, l1_loss: 3, auxiliary_reconstruction_loss: 2 });
  assert.equal(figures(sums, 10, { variant: 'jumprelu', l1: 0.5 }, settings), { ...same, loss: 7, l0_loss: 2 });
  for (const variant of ['topk', 'batchtopk'] as const) {
    assert.equal(figures(sums, 10, { variant, k: 3 }, settings), { ...same, loss: 5.5, auxiliary_reconstruction_loss: 0.5 });
    assert.equal(figures({ ...sums, dead: 1 }, 10, { variant, k: 3 }, settings), { ...same, loss: 5.125, auxiliary_reconstruction_loss: 0.125 });
    // Nothing was dead: what is left of the error is nobody's task.
    assert.equal(figures({ ...sums, dead: 0 }, 10, { variant, k: 3 }, settings), { ...same, loss: 5 });
  }
  // Sums whose weights moved come weighed.
  const weighed = { ...sums, weighted: { penalty: 7, auxiliary: 3 } };
  assert.equal(figures(weighed, 10, { l1: 0.5 }, settings), { ...same, loss: 5.7, l1_loss: 0.7 });
  assert.equal(figures(weighed, 10, { variant: 'gated', l1: 0.5 }, settings), { ...same, loss: 7.7, l1_loss: 0.7, auxiliary_reconstruction_loss: 2 });
  assert.equal(figures(weighed, 10, { variant: 'jumprelu', l1: 0.5 }, settings), { ...same, loss: 5.7, l0_loss: 0.7 });
  assert.equal(figures(weighed, 10, { variant: 'topk', k: 3 }, settings), { ...same, loss: 5.3, auxiliary_reconstruction_loss: 0.3 });
});

test('a loss that is no number names the dictionary, the step, the first bad term and the likely cause', () => {
  const record = { name: 'vanilla a', step: 12, learning_rate: 0.5, loss: NaN, mse: 1, l1_loss: NaN, l0_loss: 0, auxiliary_reconstruction_loss: 0 };
  const refused = (changes: Partial<typeof record>, spread: number, message: RegExp): void => assert.throws(() => checkLoss({ ...record, ...changes }, { spread }, 8), (e: unknown) => e instanceof NumberError && message.test(e.message));
  refused({}, 3, /^training vanilla a: the loss is NaN by step 12, after step 8 with numbers; first of its terms l1_loss; the learning rate \(0\.5\) is probably too high/);
  refused({ loss: Infinity, mse: Infinity }, 3, /the loss is Infinity by step 12.*terms mse;/);
  refused({ mse: NaN }, NaN, /terms mse; the activations hold NaN or infinity$/);
  checkLoss({ ...record, loss: 3, l1_loss: 2 }, { spread: NaN }, 8);
});

test('settings out of range are refused by name', () => {
  for (const bad of [{ features: 0 }, { epochs: 1.5 }, { batch: NaN }, { learningRate: -1 }, { beta1: 1 }, { decayFrom: 2 }, { resampleAt: [1] }, { seed: -1 }, { decayTo: 1.5 }, { decayTo: 0.1, decay: 'compounding' as const },
    { decay: 'step' as 'linear' }, { clipNorm: -1 }, { clipNorm: NaN }, { l1WarmupSteps: 0.5 }, { kWarmupSteps: -1 }, { kWarmupFrom: 1.5 }, { learningRateWarmupSteps: NaN }, { deadAfter: 2 ** 32 }, { deadAfter: -1 },
    { resampleAtSteps: [0] }, { resampleEverySteps: 1.5 }]) {
    const [name] = Object.keys(bad);
    assert.throws(() => checkSettings(bad), (e: unknown) => e instanceof UsageError && e.message.includes(name!));
  }
  assert.equal(checkSettings({}), { ...trainDefaults, path: 'dense' });
});

test('jobs are checked against each other', () => {
  const data = (shape: number[]): SaeJob['data'] => ({ shape, size: shape.reduce((p, n) => p * n, 1) }) as unknown as SaeJob['data'];
  const check = (jobs: SaeJob[]): number => checkJobs(jobs, { features: 16 });
  const job = { name: 'a', data: data([5, 4]), l1: 1, seed: 1 };
  assert.is(check([job, { ...job, name: 'b', data: data([5, 8]) }]), 5);
  assert.throws(() => check([]), (e: unknown) => e instanceof UsageError);
  assert.throws(() => check([job, job]), (e: unknown) => e instanceof UsageError && /called a/.test(e.message));
  assert.throws(() => check([job, { ...job, name: 'b', data: data([6, 4]) }]), (e: unknown) => e instanceof ShapeError);
  assert.throws(() => check([{ ...job, l1: -1 }]), (e: unknown) => e instanceof UsageError);
  assert.throws(() => check([{ ...job, l1: NaN }]), (e: unknown) => e instanceof UsageError);
  const { l1, ...none } = job;
  assert.throws(() => check([none]), (e: unknown) => e instanceof UsageError && /l1 is undefined/.test(e.message));
  assert.is(check([{ ...none, variant: 'topk', k: l1 }]), 5);
  for (const k of [0, 1.5, 17, undefined]) {
    assert.throws(() => check([{ ...none, variant: 'batchtopk', ...(k === undefined ? {} : { k }) }]), (e: unknown) => e instanceof UsageError && /k is .* from 1 to the 16/.test(e.message));
  }
  assert.throws(() => check([{ ...job, variant: 'gate' as 'gated' }]), (e: unknown) => e instanceof UsageError && /"gate" is no variant; there are vanilla, gated/.test(e.message));
});

test('the path of a step is settled with the settings', () => {
  assert.is(checkSettings({ features: 256 }).path, 'dense');
  assert.is(checkSettings({ features: 24576 }).path, 'sparse');
  assert.is(checkSettings({ features: 24576, path: 'dense' }).path, 'dense');
  assert.throws(() => checkSettings({ path: 'short' as 'dense' }), (e: unknown) => e instanceof UsageError && /path is short/.test(e.message));
});

/** A tensor as far as plans look at it. */
function shaped(...shape: [number, number]): SaeJob['data'] {
  return { shape, size: shape[0] * shape[1] } as unknown as SaeJob['data'];
}

test('jobs are put together by width, data and variant, as many as fit', () => {
  const [a, b, c] = [shaped(100, 8), shaped(100, 8), shaped(100, 6)];
  const job = (data: SaeJob['data'], variant: 'vanilla' | 'topk' | 'frozen'): SaeJob => ({ name: '', data, variant, l1: 1, k: 2, seed: 0 });
  const jobs = [job(a, 'vanilla'), job(a, 'topk'), job(b, 'vanilla'), job(c, 'vanilla'), job(b, 'frozen'), job(a, 'topk')];
  assert.equal(groupJobs({ bindingBytes: 1e6 }, jobs, 16, 10), [
    { jobs: [0, 1, 2, 4, 5], batches: [[0, 2], [1, 5], [4]] }, { jobs: [3], batches: [[3]] },
  ]);
  // 3,200 bytes a pool, 704 the most that one dictionary's codes take: two of them together, one pool.
  assert.equal(groupJobs({ bindingBytes: 4000 }, jobs, 16, 10), [
    { jobs: [0, 1, 5], batches: [[0], [1, 5]] }, { jobs: [2, 4], batches: [[2], [4]] }, { jobs: [3], batches: [[3]] },
  ]);
  // A pool beyond one binding is read in windows; codes are not.
  assert.equal(groupJobs({ bindingBytes: 3000 }, jobs, 16, 10), groupJobs({ bindingBytes: 4000 }, jobs, 16, 10));
  assert.throws(() => groupJobs({ bindingBytes: 600 }, jobs, 16, 10), (e: unknown) => e instanceof LimitError && /needs 704 bytes/.test(e.message));
});

test('the bytes of a run grow with its dictionaries and its sites', () => {
  const job = (data: SaeJob['data']): SaeJob => ({ name: '', data, l1: 1, seed: 0 });
  const [a, b] = [shaped(1000, 32), shaped(1000, 32)];
  const bytes = (...data: SaeJob['data'][]): number => runBytes(data.map(job), { features: 256 }, 128);
  const state = 16 * (2 * 256 * 32 + 4 * 256 + 32);
  assert.ok(bytes(a) >= 4 * 32000 + state);
  assert.ok(bytes(a, a) - bytes(a) >= state && bytes(a, a) - bytes(a) < 4 * 32000 + state + 16 * 128 * 288);
  assert.is(bytes(a, b) - bytes(a, a), 4 * 32000);
});

test('what the released code does otherwise has a name each', () => {
  for (const [name, description] of Object.entries(RELEASED_TRAINING)) {
    const changed = releasedTraining([name]);
    assert.ok(description.length > 20 && Object.keys(changed).length > 0);
    for (const [key, value] of Object.entries(checkSettings(changed))) {
      const isDefault = key === 'path' || JSON.stringify(value) === JSON.stringify(trainDefaults[key as keyof typeof trainDefaults]);
      assert.is(isDefault, !(key in changed), `${name}: ${key}`);
    }
  }
  assert.equal(releasedTraining([]), {});
  assert.equal(releasedTraining(['lr-decay', 'topk-decoder']), { decay: 'compounding', topkDecoder: 'free' });
  assert.throws(() => releasedTraining(['lr-decy']), (e: unknown) => e instanceof UsageError && /"lr-decy".*lr-decay/.test(e.message));
});

test('presets are settings that a run can have', () => {
  for (const name of TRAINING_PRESETS) {
    const { settings, expansion, variants, examples, snapshotEpochs } = trainingPreset(name);
    const checked = checkSettings(settings);
    assert.is(checked.features, 64 * expansion);
    assert.is(snapshotEpochs.length, 14);
    assert.is(snapshotEpochs.at(-1), checked.epochs);
    for (const { variant, values } of variants) {
      checkJobs(values.map((value) => ({ name: `${variant} ${value}`, variant, data: shaped(examples, 64), l1: value, k: value, seed: 0 })), checked);
    }
  }
  const workshop = checkSettings(trainingPreset('workshop').settings);
  assert.is(scheduleOf(workshop, 20000).steps, 80000);
  assert.equal(scheduleOf(workshop, 20000).resampleAfter, [500, 1000]);
  assert.equal(scheduleOf(checkSettings(trainingPreset('arxiv').settings), 20000).resampleAfter, [500, 1000, 1500]);
  // The two conventions of §7.1 on a width of 64.
  assert.is(rescaleSparsity(2.5, 'root-width', 'unit', 64), 0.3125);
  assert.is(rescaleSparsity(0.01, 'unit', 'root-width', 64), 0.08);
  assert.is(rescaleSparsity(3, 'unit', 'unit', 64), 3);
  assert.throws(() => trainingPreset('neurips'), (e: unknown) => e instanceof UsageError && /workshop, arxiv, iclr/.test(e.message));
});

test.run();
