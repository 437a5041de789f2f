import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { CodeEdit, Dictionary } from '../../src/dictionary/index.ts';
import { bestByDistance, bestByTradeOffs, eachDictionary, eachSupervised } from '../../src/evaluation/approximation.ts';
import { Catalogue, type EditedSection, type Entry } from '../../src/evaluation/catalogue.ts';
import { bestTradeOff, choose, chooseByTradeOff, type TradeOff } from '../../src/evaluation/choice.ts';
import { normalisedWeights, tradeOffCurves } from '../../src/evaluation/control.ts';
import { distribution, f1Score } from '../../src/evaluation/formulas.ts';
import { isReference, methodName, methodsFor, rivals, type EditPlan, type Method } from '../../src/evaluation/methods.ts';
import type { ControlRow } from '../../src/evaluation/results.ts';
import { Measurements } from '../../src/evaluation/tally.ts';
import { correlations, correlationSummaries } from '../../src/evaluation/trade-off.ts';
import { editedAttributes, rankByF1 } from '../../src/evaluation/rankings.ts';
import { parseSite } from '../../src/task/sites.ts';

const test = suite('choice of dictionaries');

const A = parseSite('z@L0H0@end');
const B = parseSite('v@L1H0@s2');
const unused = (): never => { throw new Error('not used'); };
const dictionary: Dictionary = { name: 'x', dIn: 4, features: 1, encode: unused, decode: unused, contributions: unused, edit: unused, dispose: () => {} };
const entry = (name: string, variant: string, more: Partial<Entry> = {}): Entry => ({ name, variant, dictionary, source: 'trained', lambda: null, scale: null, curve: [], ...more });
const section = (name: string, sites: EditedSection['sites'], edits: string[][]): EditedSection => ({ name, sites, edits, origin: 'given', effects: {} });

test('which checkpoints compete: all, those of each variant\'s last epoch, those that are picked', () => {
  const entries = [
    entry('supervised', 'supervised'), entry('vanilla λ=1 epoch 8', 'vanilla', { epoch: 8 }), entry('vanilla λ=1 epoch 20', 'vanilla', { epoch: 20 }),
    entry('vanilla λ=2 epoch 20', 'vanilla', { epoch: 20 }), entry('gated λ=1 epoch 8', 'gated', { epoch: 8 }), entry('loaded', 'vanilla'),
  ];
  const names = (plan: Pick<EditPlan, 'pool' | 'select'>) => rivals(entries, plan).map(({ name }) => name);
  assert.equal(names({}), ['vanilla λ=1 epoch 8', 'vanilla λ=1 epoch 20', 'vanilla λ=2 epoch 20', 'gated λ=1 epoch 8', 'loaded']);
  assert.equal(names({ pool: 'last' }), ['vanilla λ=1 epoch 20', 'vanilla λ=2 epoch 20', 'gated λ=1 epoch 8', 'loaded']);
  assert.equal(names({ pool: 'last', select: ({ name }) => !name.includes('λ=2') }), ['vanilla λ=1 epoch 20', 'gated λ=1 epoch 8', 'loaded']);
});

test('the smallest distance among those that compete; the pool may leave the overall best out', () => {
  const catalogue = new Catalogue();
  catalogue.add(A, entry('early', 'vanilla', { epoch: 1 }));
  catalogue.add(A, entry('late', 'vanilla', { epoch: 9 }));
  catalogue.add(A, entry('later', 'vanilla', { epoch: 9 }));
  const numbers = new Map(Object.entries({ early: [1, 1], late: [16, 16], later: [4, 9] }).map(([name, squares]) => [`distance|z@L0H0@end|S|${name}|agnostic|2`, Float32Array.from(squares)]));
  const chosen = (plan: Partial<EditPlan>) => choose(new Measurements(numbers), catalogue, [section('a', [A], [['S']])], { ks: [2], ways: ['agnostic'], ...plan })
    .get(A, 'S', { variant: 'vanilla', way: 'agnostic', k: 2 });
  assert.is(chosen({}).entry.name, 'early');
  assert.is(chosen({ pool: 'last' }).entry.name, 'later');
  assert.is(chosen({ pool: 'last' }).distance, 2.5);
  assert.is(chosen({ pool: 'last', select: ({ name }) => name === 'late' }).entry.name, 'late');
});

const row = (dictionaryName: string, l0: number, recovered: number | null, error: number, site = 'z@L0H0@end'): TradeOff => ({ site, dictionary: dictionaryName, l0, recovered, error });

test('by trade-off: the smallest error among sparse ones that keep the logit difference, else the least bad', () => {
  const best = (...rows: TradeOff[]) => bestTradeOff(rows).dictionary;
  assert.is(best(row('dense', 30, 1, 0.1), row('coarse', 3, 0.95, 5), row('fine', 20, 1.1, 1), row('lossy', 20, 0.5, 0.2)), 'fine');
  // to within 0.2 on either side, and fewer than 25
  assert.is(best(row('above', 5, 1.3, 0.1), row('within', 5, 0.81, 9)), 'within');
  assert.is(best(row('at 25', 25, 1, 0.1), row('below', 24.9, 1, 9)), 'below');
  // a site with no effect of its own cannot lose any
  assert.is(best(row('unknown', 5, null, 1), row('known', 5, 1, 2)), 'unknown');
  assert.is(best(row('worse', 5, 0.1, 0.1), row('better', 10, 0.7, 5), row('dense', 90, 1, 0)), 'better');
  assert.is(best(row('dense', 90, 1, 0), row('less dense', 40, 0, 9)), 'less dense');
});

test('one dictionary for everything by trade-off; Test 1 takes it, or the one of the first edit by distance', () => {
  const catalogue = new Catalogue();
  for (const site of [A, B]) {
    catalogue.add(site, entry('supervised', 'supervised'));
    catalogue.add(site, entry('vanilla 1', 'vanilla'));
    catalogue.add(site, entry('vanilla 2', 'vanilla'));
  }
  const rows = [row('vanilla 1', 5, 1, 2), row('vanilla 2', 5, 1, 1), row('vanilla 1', 5, 1, 1, 'v@L1H0@s2'), row('vanilla 2', 5, 1, 2, 'v@L1H0@s2')];
  const sections = [section('both', [A, B], [['S'], ['Pos']])];
  const plan: EditPlan = { ks: [4, 2], ways: ['agnostic', 'aware'] };
  const choice = chooseByTradeOff(rows, catalogue, sections, plan);
  for (const method of [{ variant: 'vanilla', way: 'agnostic', k: 4 }, { variant: 'vanilla', way: 'aware', k: 2 }] as Method[]) {
    assert.equal([A, B].map((site) => choice.get(site, 'Pos', method).entry.name), ['vanilla 2', 'vanilla 1']);
    assert.is(choice.get(A, 'S', method).distance, null);
  }
  assert.throws(() => chooseByTradeOff(rows.slice(1), catalogue, sections, plan), /vanilla 1 at z@L0H0@end was not measured/);
  assert.equal(eachDictionary(catalogue, sections).map((one) => one.dictionary), ['supervised', 'vanilla 1', 'vanilla 2']);
  assert.equal(eachSupervised(catalogue, sections).map((one) => one.dictionary), ['supervised']);
  const [found, ...more] = bestByTradeOffs(rows, catalogue, sections, plan);
  assert.equal([found!.dictionary, found!.selection, found!.entries.map(({ name }) => name), more.length], ['vanilla', 'trade-off', ['vanilla 2', 'vanilla 1'], 0]);
  const squares = (name: string, site: string, k: number, value: number): [string, Float32Array] => [`distance|${site}|S|${name}|agnostic|${k}`, Float32Array.of(value)];
  const numbers = new Map(['S', 'Pos'].flatMap((edit) => ['z@L0H0@end', 'v@L1H0@s2'].flatMap((site) => ['vanilla 1', 'vanilla 2'].flatMap((name) => [2, 4].flatMap((k) => (['agnostic', 'aware'] as const).map((way): [string, Float32Array] => [`distance|${site}|${edit}|${name}|${way}|${k}`, Float32Array.of(name === 'vanilla 1' ? 1 : 4)]))))));
  numbers.set(...squares('vanilla 1', 'z@L0H0@end', 2, 9));
  const byDistance = bestByDistance(choose(new Measurements(numbers), catalogue, sections, plan), catalogue, sections, plan);
  assert.equal(byDistance.map(({ selection, entries }) => [selection, entries.map(({ name }) => name)]), [['distance', ['vanilla 2', 'vanilla 1']]]);
});

test('supervised edits: every way of swapping, where every site can; k is the most that any site changes', () => {
  const codes = (can: string[], changes: number): Partial<Entry> => ({
    dictionary: Object.assign({ ...dictionary }, {
      canEdit: (edit: readonly string[]) => edit.every((name) => can.includes(name)), changes: (edit: readonly string[], { method }: { method?: CodeEdit } = {}) => changes * edit.length * (method === 'subtract' ? 1 : 2),
    }),
  });
  const catalogue = new Catalogue();
  catalogue.add(A, entry('supervised', 'supervised', codes(['S', 'Pos'], 1)));
  catalogue.add(B, entry('supervised', 'supervised', codes(['S'], 2)));
  const methods = (edit: string[]) => methodsFor(section('both', [A, B], [edit]), catalogue, edit, { ks: [2], ways: ['agnostic'], codeEdits: ['arithmetic', 'subtract'] });
  assert.equal(methods(['Pos']), []);
  const found = methods(['S']);
  assert.equal(found.map((method) => [methodName(method), method.k, isReference(method)]), [['supervised', 4, true], ['supervised by subtract', 2, false]]);
  const byName = methodsFor(section('one', [B], [['S']]), catalogue, ['S'], { ks: [], ways: [], codeEdits: (name) => (name === 'supervised' ? ['zero-ablate'] : ['arithmetic']) });
  assert.equal(byName.map(methodName), ['supervised by zero-ablate']);
});

test('ways with numbers of features of their own; by interpretations k is shared by attributes', () => {
  const catalogue = new Catalogue();
  catalogue.add(A, entry('vanilla 1', 'vanilla'));
  const plan: EditPlan = { ks: [2, 4, 8], ways: ['agnostic', 'aware', 'threshold', 'reconstruction'], ksOf: { reconstruction: [8] } };
  const ks = (edit: string[]) => methodsFor(section('a', [A], [edit]), catalogue, edit, plan).map(({ way, k }) => `${way} ${k}`);
  assert.equal(ks(['S']), ['agnostic 2', 'agnostic 4', 'agnostic 8', 'aware 2', 'aware 4', 'aware 8', 'threshold 0', 'reconstruction 8']);
  assert.equal(ks(['IO', 'S', 'Pos']), ['agnostic 2', 'agnostic 4', 'agnostic 8', 'aware 8', 'threshold 0', 'reconstruction 8']);
});

test('how numbers are spread: quantiles, bins that take the ends, numbers that do not exist', () => {
  const found = distribution([0, 1, 2, 3, 4, NaN, 100], { low: 0, high: 4, bins: 4 });
  assert.is(found.count, 6);
  assert.is(found.mean, 110 / 6);
  assert.is(found.quantiles['0.5'], 2.5);
  assert.equal(found.histogram, { low: 0, high: 4, counts: [1, 1, 1, 3] });
  assert.equal(distribution([-9, 1], { low: 0, high: 2, bins: 2 }).histogram.counts, [1, 1]);
  assert.equal(distribution([]).mean, null);
  assert.equal(distribution([0, 0]).histogram.counts[0], 2);
  assert.is(distribution([3, 5]).histogram.high, 5);
});

test('normalised weights: mean over sites, 0 supervised, 1 everything, clipped below, none where the supervised edit removes all', () => {
  const found = normalisedWeights([[0.5, 1, 0.2, NaN, -9], [0.75, 1, NaN, NaN, -9]], [[0.5, 0.2, 0.2, 0.1, 0.5], [0.5, 0.4, 1, 0.1, 0.5]]);
  [0.25, 1, 0, NaN, -5].forEach((value, i) => assert.ok(Number.isNaN(value) ? Number.isNaN(found[i]!) : Math.abs(found[i]! - value) < 1e-12, `${i}: ${found[i]}`));
});

test('features by falling F1 with every value, ties by number; a value that never occurs tells nothing', () => {
  const [prompts, features, groups] = [60, 9, 5];
  const value = Array.from({ length: prompts }, (_, p) => (p * p + 3 * p) % 4); // the fifth value never occurs
  const on = Array.from({ length: prompts }, (_, p) => Array.from({ length: features }, (_, f) => f !== 6 && ((p * (f + 3)) % 7 < 2 || (f === 8 && value[p] === 2))));
  on.forEach((row) => { row[4] = row[1]!; });
  const count = (which: (p: number) => boolean) => on.filter((_, p) => which(p)).length;
  const both = Array.from({ length: groups * features }, (_, i) => count((p) => value[p] === Math.floor(i / features) && on[p]![i % features]!));
  const active = Array.from({ length: features }, (_, f) => count((p) => on[p]![f]!));
  const sizes = Array.from({ length: groups }, (_, v) => count((p) => value[p] === v));
  const ranking = rankByF1(both, active, sizes);
  for (let v = 0; v < groups; v++) {
    const f1 = (f: number) => f1Score(both[v * features + f]!, active[f]!, sizes[v]!).f1;
    const expected = Array.from({ length: features }, (_, f) => f).sort((a, b) => (f1(a) === f1(b) ? a - b : f1(b) > f1(a) ? 1 : -1));
    assert.equal([...ranking.subarray(v * features, (v + 1) * features)], expected, `value ${v}`);
  }
  assert.is(ranking[2 * features], 8);
  assert.equal([...ranking.subarray(4 * features)], Array.from({ length: features }, (_, f) => f));
});

test('attributes that edits at a site change', () => {
  const at = editedAttributes([section('a', [A, B], [['S'], ['IO', 'Pos']]), section('b', [B], [['gender']])]);
  assert.equal([at(A), at(B), at(parseSite('q@L0H0@end'))], [['S', 'IO', 'Pos'], ['S', 'IO', 'Pos', 'gender'], []]);
});

test('trade-off curves: a line for each method, by growing k', () => {
  const control = (dictionaryName: string, k: number, accuracy: number): ControlRow => ({ crossSection: 'a', attribute: 'S', dictionary: dictionaryName, k, accuracy, weightRemoved: k / 10, accuracyRelativeClipped: 2 * accuracy, weightRelative: -k } as ControlRow);
  const curves = tradeOffCurves([control('vanilla', 4, 0.5), control('vanilla, aware', 2, 0.1), control('vanilla', 2, 0.25)]);
  assert.equal(curves.map(({ dictionary: name, points }) => [name, points.map((point) => [point.k, point.accuracy, point.weightRemoved, point.accuracyRelativeClipped, point.weightRelative])]), [
    ['vanilla', [[2, 0.25, 0.2, 0.5, -2], [4, 0.5, 0.4, 1, -4]]], ['vanilla, aware', [[2, 0.1, 0.2, 0.2, -2]]],
  ]);
});

test('what foretells control: rank correlations over the dictionaries of a site, and their spread over sites', () => {
  const rows = ['x', 'y'].flatMap((site) => [1, 2, 3, 4].map((i) => ({ ...row(`v${i}`, 10 * i, site === 'y' && i === 1 ? null : 1 + 0.1 * (i % 2 ? i : -i), site === 'x' ? 5 - i : 1, site), variant: 'vanilla' })));
  const distances: Record<string, number[]> = { x: [1, 2, 3, 4], y: [4, 1, 2, 3] };
  const found = correlations(rows, ['S', 'Pos'], (site, attribute, name) => (attribute === 'S' ? distances[site]![Number(name.slice(1)) - 1] : undefined));
  assert.equal(found.map(({ site, attribute, dictionaries }) => [site, attribute, dictionaries]), [['x', 'S', 4], ['y', 'S', 4]]);
  assert.ok(Math.abs(found[0]!.l0! - 1) < 1e-12 && Math.abs(found[0]!.recovered! - 1) < 1e-12);
  // errors fall where distances grow; at the other site they are all the same
  assert.ok(Math.abs(found[0]!.error! + 1) < 1e-12 && found[1]!.error === null);
  // ranks 4, 1, 2, 3 against 1, 2, 3, 4: 1 − 6 · 12 / 60; without the first they agree
  assert.ok(Math.abs(found[1]!.l0! + 0.2) < 1e-12 && Math.abs(found[1]!.recovered! - 1) < 1e-12);
  const [summary, ...more] = correlationSummaries(found);
  assert.is(more.length, 0);
  assert.ok(Math.abs(summary!.l0.median! - 0.4) < 1e-12 && Math.abs(summary!.l0.min! + 0.2) < 1e-12);
  assert.equal([summary!.l0.sites, summary!.l0.aboveHalf, summary!.recovered.aboveHalf, summary!.error.sites, summary!.error.mean], [2, 0.5, 1, 1, found[0]!.error]);
  assert.equal(correlations(rows.slice(0, 2), ['S'], () => 1), []);
});

test.run();
