import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  agreement, deviation, f1Score, mean, meanAbsoluteDifference, meanIgnoringNaN, necessity, positiveShare, quantile, relativeAccuracy,
  relativeWeight, spearman, sufficiency, weightStatistics,
} from '../../src/evaluation/formulas.ts';

const test = suite('evaluation formulas');

/** Uniform numbers in [-1, 1) from a small congruential generator, so that each property is tried on many inputs. */
function draws(count: number, seed: number): number[] {
  let state = seed;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

const close = (a: number | null, b: number, tolerance = 1e-12) => assert.ok(a !== null && Math.abs(a - b) <= tolerance, `${a} is not ${b}`);

test('sufficiency is a ratio of means, not a mean of ratios', () => {
  close(sufficiency([2, 0], [1, 3]).value, 0.5);
  close(sufficiency([1, 3], [1, 3]).value, 1);
  for (let seed = 1; seed < 20; seed++) {
    const clean = draws(7, seed).map((x) => x + 3);
    const patched = draws(7, seed + 100);
    const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
    close(sufficiency(patched, clean).value, sum(patched) / sum(clean));
    // the unit of logits and the order of prompts do not matter
    close(sufficiency(patched.map((x) => 5 * x), clean.map((x) => 5 * x)).value, sufficiency(patched, clean).value!);
    close(sufficiency([...patched].reverse(), [...clean].reverse()).value, sufficiency(patched, clean).value!);
  }
});

test('sufficiency is null, with the reason, where there is nothing to preserve', () => {
  const score = sufficiency([1, 1], [4, -4]);
  assert.is(score.value, null);
  assert.match(score.note!, 'too near zero');
  assert.is(sufficiency([0], [0]).value, null);
});

test('necessity: end points, formula and symmetry about the ablated value', () => {
  const clean = [8, 6];
  const ablated = [1, 3];
  // what is left beside a perfect reconstruction is the mean: LD_int = LD_mean
  close(necessity(ablated, ablated, clean).value, 1);
  // the reconstruction is the mean itself, so nothing is taken away: LD_int = LD_clean
  close(necessity(clean, ablated, clean).value, 0);
  close(necessity([3, 3], ablated, clean).value, 1 - 1 / 5);
  close(necessity([1, 1], ablated, clean).value, 1 - 1 / 5);
  for (let seed = 1; seed < 20; seed++) {
    const [a, b, c] = [draws(5, seed), draws(5, seed + 50), draws(5, seed + 90).map((x) => x + 4)];
    const sum = (values: number[]) => values.reduce((x, y) => x + y, 0) / 5;
    close(necessity(a, b, c).value, 1 - Math.abs(sum(b) - sum(a)) / Math.abs(sum(b) - sum(c)));
  }
});

test('necessity is null, with the reason, where mean ablation does nothing', () => {
  const score = necessity([7.9], [8.0], [8.0]);
  assert.is(score.value, null);
  assert.match(score.note!, 'mean ablation');
  assert.is(necessity([0], [8.07], [8.0]).value, null);
  assert.is.not(necessity([0], [8.09], [8.0]).value, null);
});

test('agreement counts equal predictions', () => {
  assert.is(agreement([1, 2, 3, 4], [1, 2, 4, 3]), 0.5);
  assert.is(agreement([5], [5]), 1);
  assert.throws(() => agreement([1], [1, 2]), /cannot be compared/);
});

test('F1 against its definition by sets', () => {
  for (let seed = 1; seed < 60; seed++) {
    const active = draws(40, seed).map((x) => x > 0.3);
    const holds = draws(40, seed + 500).map((x) => x > 0.2);
    const number = (predicate: (i: number) => boolean) => active.filter((_, i) => predicate(i)).length;
    const both = number((i) => active[i]! && holds[i]!);
    const precision = both / number((i) => active[i]!);
    const recall = both / number((i) => holds[i]!);
    const score = f1Score(both, number((i) => active[i]!), number((i) => holds[i]!));
    assert.is(score.precision, precision);
    assert.is(score.recall, recall);
    close(score.f1, both === 0 ? 0 : 2 / (1 / precision + 1 / recall));
    // a score of a cannot come from a precision or recall below a / (2 - a)
    const bound = score.f1 / (2 - score.f1);
    assert.ok(precision >= bound - 1e-12 && recall >= bound - 1e-12);
  }
  close(f1Score(1, 1, 3).recall, f1Score(1, 1, 3).f1 / (2 - f1Score(1, 1, 3).f1), 1e-12);
});

test('F1 is -Infinity where precision or recall is 0/0', () => {
  assert.is(f1Score(0, 0, 5).f1, -Infinity);
  assert.is(f1Score(0, 5, 0).f1, -Infinity);
  assert.is(f1Score(0, 5, 5).f1, 0);
});

test('the relative axes put no edit at 0 and the supervised edit at 1', () => {
  close(relativeAccuracy(0.2, 0.2, 0.9), 0);
  close(relativeAccuracy(0.9, 0.2, 0.9), 1);
  assert.is(relativeAccuracy(0.5, 0.9, 0.9), null);
  close(relativeWeight(0.4, 0.4), 0);
  close(relativeWeight(1, 0.4), 1);
  assert.is(relativeWeight(0.7, 1), null);
});

test('means, quantiles and counts', () => {
  close(mean([1, 2, 6]), 3);
  assert.ok(Number.isNaN(mean([])));
  assert.equal(meanIgnoringNaN([1, NaN, 3]), { mean: 2, skipped: 1 });
  close(deviation([1, 3]), 1);
  close(quantile([4, 1, 3, 2], 0.5), 2.5);
  close(quantile([4, 1, 3, 2], 0), 1);
  close(quantile([4, 1, 3, 2], 1), 4);
  assert.is(quantile([], 0.5), null);
  close(meanAbsoluteDifference([1, 2], [3, 1]), 1.5);
  assert.is(positiveShare([-1, 0, 1, 2]), 0.5);
});

test('weight statistics count negative weights and those above one', () => {
  assert.equal(weightStatistics([-0.5, -0.1, 0.2, 1, 1.4]), { negative: 0.4, meanNegative: -0.3, aboveOne: 0.2 });
  assert.equal(weightStatistics([]), { negative: 0, meanNegative: null, aboveOne: 0 });
});

test('rank correlation: by hand, with ties, against counting pairs, and where there is none', () => {
  assert.is(spearman([1, 2, 3, 4], [10, 20, 30, 400]), 1);
  assert.ok(Math.abs(spearman([1, 2, 3, 4], [4, 3, 2, 1])! + 1) < 1e-12);
  // ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4
  assert.ok(Math.abs(spearman([0, 5, 5, 9], [1, 7, 3, 8])! - 4.5 / Math.sqrt(4.5 * 5)) < 1e-12);
  // The rank of a value is how many are below it, and half of those that equal it.
  const [a, b] = [Array.from({ length: 40 }, (_, i) => (i * 7919) % 13), Array.from({ length: 40 }, (_, i) => (i * 104729) % 17)];
  const rank = (list: number[]) => list.map((v) => list.filter((w) => w < v).length + list.filter((w) => w === v).length / 2);
  const centred = (list: number[]) => list.map((v) => v - list.reduce((sum, w) => sum + w, 0) / list.length);
  const [x, y] = [centred(rank(a)), centred(rank(b))];
  const dot = (p: number[], q: number[]) => p.reduce((sum, v, i) => sum + v * q[i]!, 0);
  assert.ok(Math.abs(spearman(a, b)! - dot(x, y) / Math.sqrt(dot(x, x) * dot(y, y))) < 1e-12);
  assert.is(spearman([1, 1, 1], [1, 2, 3]), null);
  assert.is(spearman([1, NaN, 3], [1, 2, 3]), null);
  assert.is(spearman([1], [1]), null);
});

test.run();
