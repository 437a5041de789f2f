import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { NumberError, ShapeError, UsageError } from '../../src/errors.ts';
import { checkLoss, figures } from '../../src/training/log.ts';
import { epochOrder, sampleProportional } from '../../src/training/order.ts';
import { batchOf, learningRateFactor, scheduleOf } from '../../src/training/schedule.ts';
import { checkJobs, checkSettings, trainDefaults, type SaeJob } from '../../src/training/settings.ts';

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
});

test('resampling never falls on the start or the end of a run, nor twice on an epoch', () => {
  const schedule = (epochs: number, resampleAt: number[]): readonly number[] => scheduleOf(checkSettings({ epochs, resampleAt }), 100).resampleAfter;
  assert.equal(schedule(1, [0.25, 0.5]), []);
  assert.equal(schedule(2, [0.25, 0.5]), [1]);
  assert.equal(schedule(2000, [0.5, 0.25]), [500, 1000]);
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
  const found = figures([50, 30, 40, 200], 10, 0.5);
  assert.equal(found, { loss: 6.5, mse: 5, l1_loss: 1.5, l0: 4, explained_variance: 0.75 });
});

test('a loss that is no number names the dictionary and the step', () => {
  const record = { name: 'vanilla a', step: 12, loss: NaN, learning_rate: 1, l1_coefficient: 2 };
  assert.throws(() => checkLoss(record), (e: unknown) => e instanceof NumberError && /vanilla a.*NaN.*step 12/.test(e.message));
  assert.throws(() => checkLoss({ ...record, loss: Infinity }), (e: unknown) => e instanceof NumberError);
  checkLoss({ ...record, loss: 3 });
});

test('settings out of range are refused by name', () => {
  for (const bad of [{ features: 0 }, { epochs: 1.5 }, { batch: NaN }, { learningRate: -1 }, { beta1: 1 }, { decayFrom: 2 }, { resampleAt: [1] }, { seed: -1 }]) {
    const [name] = Object.keys(bad);
    assert.throws(() => checkSettings(bad), (e: unknown) => e instanceof UsageError && e.message.includes(name!));
  }
  assert.equal(checkSettings({}), { ...trainDefaults, path: 'dense' });
});

test('jobs are checked against each other', () => {
  const data = (shape: number[]): SaeJob['data'] => ({ shape, size: shape.reduce((p, n) => p * n, 1) }) as unknown as SaeJob['data'];
  const job = { name: 'a', data: data([5, 4]), l1: 1, seed: 1 };
  assert.is(checkJobs([job, { ...job, name: 'b', data: data([5, 8]) }]), 5);
  assert.throws(() => checkJobs([]), (e: unknown) => e instanceof UsageError);
  assert.throws(() => checkJobs([job, job]), (e: unknown) => e instanceof UsageError && /called a/.test(e.message));
  assert.throws(() => checkJobs([job, { ...job, name: 'b', data: data([6, 4]) }]), (e: unknown) => e instanceof ShapeError);
  assert.throws(() => checkJobs([{ ...job, l1: -1 }]), (e: unknown) => e instanceof UsageError);
  assert.throws(() => checkJobs([{ ...job, l1: NaN }]), (e: unknown) => e instanceof UsageError);
});



test('the path of a step is settled with the settings', () => {
  assert.is(checkSettings({ features: 256 }).path, 'dense');
  assert.is(checkSettings({ features: 24576 }).path, 'sparse');
  assert.is(checkSettings({ features: 24576, path: 'dense' }).path, 'dense');
  assert.throws(() => checkSettings({ path: 'short' as 'dense' }), (e: unknown) => e instanceof UsageError && /path is short/.test(e.message));
});

test.run();
