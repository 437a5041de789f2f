import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  assertEveryValue, groupSizes, interpretFeatures, interpretabilityRow, missingValues, propertiesOf, UNION_LIMIT, type ActiveCounts, type Properties,
} from '../../src/evaluation/interpretability.ts';
import type { Prompts } from '../../src/task/prompts.ts';
import { random } from '../support/numbers.ts';

const test = suite('interpretability');

const NAMES = Array.from({ length: 12 }, (_, i) => `N${i}`);

/** Prompts that hold nothing but attributes, drawn independently but for IO != S. */
function prompts(count: number, names = NAMES.length): Prompts {
  const S = new Uint32Array(count);
  const IO = new Uint32Array(count);
  const Pos = new Uint32Array(count);
  const draws = random([count, 3], 11).map((x) => (x + 1) / 2);
  for (let i = 0; i < count; i++) {
    S[i] = Math.floor(draws[3 * i]! * names);
    IO[i] = (S[i]! + 1 + Math.floor(draws[3 * i + 1]! * (names - 1))) % names;
    Pos[i] = Math.floor(draws[3 * i + 2]! * 2);
  }
  const attribute = (ids: Uint32Array, values: string[]) => ({ values, ids });
  return {
    count, attributes: { S: attribute(S, NAMES), IO: attribute(IO, NAMES), Pos: attribute(Pos, ['ABB', 'BAB']) },
  } as unknown as Prompts;
}

/** Counts of active prompts per group, by brute force from a list of active sets. */
function countActive(properties: Properties, sets: boolean[][]): ActiveCounts {
  const features = sets.length;
  return {
    features,
    active: sets.map((set) => set.filter(Boolean).length),
    byGroup: properties.groupings.map(({ ids, groups }) => {
      const table = new Float32Array(groups * features);
      sets.forEach((set, feature) => set.forEach((on, prompt) => { if (on) table[ids[prompt]! * features + feature]!++; }));
      return table;
    }),
  };
}

/** F1 of two sets from the definition. */
function bruteF1(active: boolean[], holds: boolean[]): number {
  const both = active.filter((on, i) => on && holds[i]).length;
  const precision = both / active.filter(Boolean).length;
  const recall = both / holds.filter(Boolean).length;
  if (Number.isNaN(precision) || Number.isNaN(recall)) return -Infinity;
  return both === 0 ? 0 : (2 * precision * recall) / (precision + recall);
}

/** The best F1 over all properties, by brute force over explicit sets of prompts. */
function bruteBest(p: Prompts, active: boolean[]): number {
  const range = [...Array(p.count).keys()];
  const { S, IO, Pos } = p.attributes as Record<string, { ids: Uint32Array }>;
  const types = [
    [0, 1].map((side) => range.map((i) => Pos!.ids[i] === side)),
    ...[S!, IO!].flatMap(({ ids }) => [
      NAMES.map((_, name) => range.map((i) => ids[i] === name)),
      ...[0, 1].map((side) => NAMES.map((_, name) => range.map((i) => ids[i] === name && Pos!.ids[i] === side))),
    ]),
  ];
  let best = -Infinity;
  types.forEach((sets, type) => {
    const ranked = [...sets].map((set) => ({ set, f1: bruteF1(active, set) })).filter(({ f1 }) => f1 > -Infinity).sort((a, b) => b.f1 - a.f1);
    const most = type === 0 ? 1 : UNION_LIMIT;
    for (let m = 1; m <= Math.min(most, ranked.length); m++) {
      const union = range.map((i) => ranked.slice(0, m).some(({ set }) => set[i]));
      best = Math.max(best, bruteF1(active, union));
    }
  });
  return best;
}

test('the best F1 of random features equals brute force over explicit sets', () => {
  const p = prompts(264);
  const properties = propertiesOf(p);
  const sets = [0.02, 0.1, 0.3, 0.5, 0.9].flatMap((rate, i) => [0, 1, 2].map((j) => [...random(264, 20 + 3 * i + j)].map((x) => (x + 1) / 2 < rate)));
  const found = interpretFeatures(properties, countActive(properties, sets));
  assert.is(found.length, sets.length);
  for (const { feature, f1 } of found) assert.ok(Math.abs(f1 - bruteBest(p, sets[feature]!)) < 1e-12, `feature ${feature}`);
});

test('features with a known meaning get it', () => {
  const p = prompts(264);
  const { S, Pos } = p.attributes as Record<string, { ids: Uint32Array }>;
  const range = [...Array(264).keys()];
  const properties = propertiesOf(p);
  const sets = [
    range.map((i) => S!.ids[i] === 3),
    range.map((i) => Pos!.ids[i] === 1),
    range.map((i) => S!.ids[i] === 4 && Pos!.ids[i] === 0),
    range.map((i) => [2, 5, 7].includes(S!.ids[i]!)),
    range.map((i) => [1, 9].includes(S!.ids[i]!) && Pos!.ids[i] === 1),
    range.map(() => false),
  ];
  const counts = countActive(properties, sets);
  const found = interpretFeatures(properties, counts);
  assert.equal(found.map(({ kind }) => kind), ['S', 'Pos', 'S∧Pos', 'union of S', 'union of S∧Pos']);
  assert.equal(found.map(({ f1 }) => f1), [1, 1, 1, 1, 1]);
  assert.is(found[0]!.property, 'S=N3');
  assert.is(found[2]!.property, 'S=N4∧Pos=ABB');
  assert.equal(found[3]!.property.split(' or ').sort(), ['S=N2', 'S=N5', 'S=N7']);
  const row = interpretabilityRow({ site: 'z@L0H0@end', dictionary: 'vanilla' }, counts, found, p.count);
  assert.is(row.alive, 5);
  assert.is(row.features, 6);
  assert.equal(row.interpretable, { '0.5': 5, '0.6': 5, '0.8': 5 });
  assert.is(row.f1.bins[19], 5);
  assert.equal(row.byProperty['S∧Pos'], { '0.5': 1, '0.6': 1, '0.8': 1 });
});

test('features of a dictionary that over-fits single (S, IO, Pos) combinations have precision 1 and tiny recall', () => {
  const p = prompts(264);
  const attributes = p.attributes as Record<string, { ids: Uint32Array }>;
  const same = (i: number, j: number) => Object.values(attributes).every(({ ids }) => ids[i] === ids[j]);
  const sets = [0, 17, 90].map((chosen) => [...Array(264).keys()].map((i) => same(i, chosen)));
  const properties = propertiesOf(p);
  for (const { precision, recall, f1 } of interpretFeatures(properties, countActive(properties, sets))) {
    assert.is(precision, 1);
    assert.ok(recall < 0.2 && f1 < 0.5);
  }
});

test('values that never occur are named, and win nothing', () => {
  const p = prompts(264, 11);
  assert.equal(missingValues(p), [['S', 'N11'], ['IO', 'N11']]);
  assert.throws(() => assertEveryValue(p), /S=N11 occurs in none of the 264 prompts/);
  assertEveryValue(prompts(264));
  const properties = propertiesOf(p);
  const found = interpretFeatures(properties, countActive(properties, [[...Array(264).keys()].map((i) => i < 3)]));
  assert.ok(found[0]!.f1 > 0 && !found[0]!.property.includes('N11'));
});

test('group sizes count prompts', () => {
  assert.equal([...groupSizes({ ids: Uint32Array.of(2, 0, 2), groups: 4 })], [1, 0, 2, 0]);
});

test.run();
