import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { MARGIN, search, surelyQuicker } from '../../bench/tune-search.ts';
import { random } from '../support/numbers.ts';

const test = suite('tuner: search');

/** A machine that needs `costs[i]` for candidate i and 1 for the default, and is asked in turn; some samples take longer. */
function machine(costs: readonly number[], slower: (at: number) => number = () => 1) {
  const asked: (number | null)[] = [];
  return {
    asked,
    async time(candidate: number | null): Promise<number> {
      const at = asked.push(candidate);
      return (candidate === null ? 1 : costs[candidate]!) * slower(at);
    },
  };
}

/** Samples that are longer by up to 20 %, or, of another kind of machine, twice as long every fourth time. */
function noise(seed: number): (at: number) => number {
  const dice = random(5000, seed);
  return (at) => 1.1 + 0.1 * dice[at]!;
}

function bursts(seed: number): (at: number) => number {
  const dice = random(5000, seed);
  return (at) => (dice[at]! > 0.5 ? 2 : 1) + 0.02 * Math.abs(dice[at + 2500]!);
}

const all = (costs: readonly number[]): number[] => [...costs.keys()];
const always = (): boolean => true;

test('the quickest of many wins, and its times are its own and the default\'s', async () => {
  const costs = [1.2, 0.9, 5, 0.7, 1, 0.8, 1.1, 0.95];
  const { time, asked } = machine(costs);
  assert.equal(await search(all(costs), { time, mayGoOn: always }), { winner: 3, ms: 0.7, defaultMs: 1 });
  const samples = (i: number): number => asked.filter((c) => c === i).length;
  assert.is(samples(2), 2, 'a hopeless one is left after the first round');
  assert.ok(samples(3) > samples(0) && samples(3) > samples(1), 'samples go to the better ones');
});

test('what is not better by more than the margin leaves the default', async () => {
  for (const costs of [[], [1], [1.5, 1.01, 2], [0.99, 0.98, 1 - MARGIN / 2]]) {
    assert.is(await search(all(costs), { time: machine(costs).time, mayGoOn: always }), null);
  }
});

test('noise alone beats the default hardly ever, a real gain is found through it, and a drift changes nothing', async () => {
  for (const kind of [noise, bursts]) {
    let wrong = 0;
    let found = 0;
    for (let seed = 1; seed <= 60; seed++) {
      const equal = Array.from({ length: 12 }, () => 1);
      if (await search(all(equal), { time: machine(equal, kind(seed)).time, mayGoOn: always })) wrong++;
      const better = equal.map((cost, i) => (i === 7 ? 0.7 : cost));
      const result = await search(all(better), { time: machine(better, kind(seed)).time, mayGoOn: always });
      if (result?.winner === 7) found++;
    }
    assert.ok(wrong <= 2, `${kind.name}: ${wrong} of 60 without a difference`);
    assert.ok(found >= (kind === noise ? 58 : 54), `${kind.name}: ${found} of 60 with one`);
  }
  const costs = [1.05, 0.9, 1, 0.8, 1.1];
  assert.is((await search(all(costs), { time: machine(costs, (at) => 1 + 0.01 * at).time, mayGoOn: always }))?.winner, 3);
  for (const drift of [0.005, -0.005]) {
    assert.is(await search([0, 1, 2], { time: machine([1, 1, 1], (at) => 1 + drift * at).time, mayGoOn: always }), null, `drift ${drift}`);
  }
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
    const { time, asked } = machine([0.5, 2.5, 0.9]);
    const found = await search([0, 1, 2], { time, mayGoOn: () => asked.length < most });
    assert.ok(asked.length <= most);
    // Eight samples of the first round, then threes: the default and two finalists.
    assert.is(found?.winner, most >= 8 + 5 * 3 ? 0 : undefined, `${most} samples`);
  }
});

test('quicker is who has five samples below all of the default\'s, by more than the margin', () => {
  const ones = [1, 1.5, 1.1, 2, 1.2];
  assert.ok(surelyQuicker([0.96, 0.9, 0.8, 0.7, 0.95], ones));
  assert.not(surelyQuicker([0.98, 0.9, 0.8, 0.7, 0.95], ones));
  assert.ok(surelyQuicker([0.98, 0.9, 0.8, 0.7, 0.95, 3, 0.5], ones));
  assert.not(surelyQuicker([0.5, 0.5, 0.5, 0.5], ones.slice(1)));
  assert.not(surelyQuicker([], []));
});

test.run();
