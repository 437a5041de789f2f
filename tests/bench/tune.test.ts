import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { MARGIN, compare, search } from '../../bench/tune-search.ts';
import { random } from '../support/numbers.ts';

const test = suite('tuner: search');

/** A machine that needs `costs[i]` for candidate i and 1 for the default, with noise and a drift, and counts what it is asked. */
function machine(costs: readonly number[], { noise = 0, drift = 0, seed = 1 }: { noise?: number; drift?: number; seed?: number } = {}) {
  const dice = random(5000, seed);
  const asked: (number | null)[] = [];
  return {
    asked,
    async time(candidate: number | null): Promise<number> {
      const at = asked.push(candidate);
      return (candidate === null ? 1 : costs[candidate]!) * (1 + noise * dice[at]!) * (1 + drift * at);
    },
  };
}

const all = (costs: readonly number[]): number[] => [...costs.keys()];
const always = (): boolean => true;

test('the quickest of many wins, and its times are its own and the default\'s', async () => {
  const costs = [1.2, 0.9, 5, 0.7, 1, 0.8, 1.1, 0.95];
  const { time, asked } = machine(costs);
  assert.equal(await search(all(costs), { time, mayGoOn: always }), { winner: 3, ms: 0.7, defaultMs: 1 });
  const samples = (i: number): number => asked.filter((c) => c === i).length;
  assert.is(samples(2), 1, 'a hopeless one is tried once');
  assert.ok(samples(3) > samples(0) && samples(3) > samples(1), 'samples go to the better ones');
});

test('what is not better by more than the margin leaves the default', async () => {
  for (const costs of [[], [1], [1.5, 1.01, 2], [0.99, 0.98, 1 - MARGIN / 2]]) {
    assert.is(await search(all(costs), { time: machine(costs).time, mayGoOn: always }), null);
  }
});

test('noise alone beats the default hardly ever, a real gain is found through it, and a drift changes nothing', async () => {
  let wrong = 0;
  let found = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const equal = Array.from({ length: 12 }, () => 1);
    if (await search(all(equal), { time: machine(equal, { noise: 0.1, seed }).time, mayGoOn: always })) wrong++;
    const better = equal.map((cost, i) => (i === 7 ? 0.7 : cost));
    const result = await search(all(better), { time: machine(better, { noise: 0.1, seed }).time, mayGoOn: always });
    if (result?.winner === 7) found++;
  }
  assert.ok(wrong <= 3, `${wrong} of 60 without a difference`);
  assert.ok(found >= 57, `${found} of 60 with one`);
  const costs = [1.05, 0.9, 1, 0.8, 1.1];
  assert.is((await search(all(costs), { time: machine(costs, { drift: 0.02 }).time, mayGoOn: always }))?.winner, 3);
  assert.is(await search([0, 1, 2], { time: machine([1, 1, 1], { drift: -0.005 }).time, mayGoOn: always }), null, 'a machine that speeds up');
});

test('the same timings give the same questions and answer; of equals the first is taken', async () => {
  const costs = [1, 0.8, 0.8, 0.9, 0.8];
  const runs = await Promise.all([0, 1].map(async () => {
    const { time, asked } = machine(costs);
    return { found: await search(all(costs), { time, mayGoOn: always }), asked };
  }));
  assert.equal(runs[0], runs[1]);
  assert.is(runs[0]!.found?.winner, 1);
});

test('no sample is taken once the time is up; a final with enough pairs still counts, fewer leave the default', async () => {
  for (let most = 0; most < 60; most++) {
    const { time, asked } = machine([0.5, 2, 0.9]);
    const found = await search([0, 1, 2], { time, mayGoOn: () => asked.length < most });
    assert.ok(asked.length <= most);
    // Four samples of the first round, then threes: the default and two finalists.
    assert.is(found?.winner, most >= 4 + 5 * 3 ? 0 : undefined, `${most} samples`);
  }
});

test('comparison: the median ratio, and a bound above it by two standard errors; too few pairs bound nothing', () => {
  assert.equal(compare([], []), { ratio: Infinity, surelyBelow: Infinity });
  assert.equal(compare([1, 1, 1, 1], [2, 2, 2, 2]).surelyBelow, Infinity);
  const same = compare([1, 1, 1, 1, 1], [2, 2, 2, 2, 2]);
  assert.ok(Math.abs(same.ratio - 0.5) < 1e-12 && Math.abs(same.surelyBelow - 0.5) < 1e-12);
  const noisy = compare([0.8, 0.9, 1, 1.1, 1.2], [1, 1, 1, 1, 1]);
  assert.ok(Math.abs(noisy.ratio - 1) < 1e-12);
  const deviation = 0.10536; // |log 0.9|, the median of {0.2231, 0.1054, 0, 0.0953, 0.1823} being log 1/0.9
  assert.ok(Math.abs(noisy.surelyBelow - Math.exp(2 * 1.2533 * 1.4826 * deviation / Math.sqrt(5))) < 1e-4);
});

test.run();
