/** The comparison finds what it is to find. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compareResults, comparisonLines } from './compare.ts';

const test = suite('parity/compare');
const results = (): Record<string, any> => ({
  model: { name: 'm', hash: 'abc' }, task: { lexicon: { grammar: '/here', names: 3 }, accuracy: 0.75 },
  rows: [{ name: 'a', f1: 0.5, feature: 3 }, { name: 'b', f1: 0.25, feature: 1 }], curve: [1, 0.5, null],
  environment: { adapter: { vendor: 'x' }, seed: 0, times: { totalSeconds: 1.5 } },
});
/** The comparison with one thing changed. */
const changed = (change: (b: Record<string, any>) => void, tolerance = 1e-6) => {
  const b = results();
  change(b);
  return compareResults(results(), b, { tolerance, least: 1e-6 });
};

test('the same is the same, bit for bit, wherever it was made', () => {
  const same = changed((b) => {
    b.environment.adapter.vendor = 'y';
    b.environment.times.totalSeconds = 9.25;
    b.task.lexicon.grammar = 'http://there';
  });
  assert.equal([same.numbers, same.equal, same.beyond, same.changed, same.differing], [4, 4, [], [], []]);
});

test('a number that moved is found, with how far and where', () => {
  const little = changed((b) => { b.rows[1].f1 = 0.25 * (1 + 1e-8); });
  assert.equal([little.equal, little.beyond.length, little.differing[0]!.path], [3, 0, 'rows[1].f1']);
  assert.ok(Math.abs(little.differing[0]!.relative - 1e-8) < 1e-10);
  const much = changed((b) => { b.rows[1].f1 = 0.2501; });
  assert.equal(much.beyond.map(({ path }) => path), ['rows[1].f1']);
  const two = changed((b) => { b.rows[1].f1 = 0.2501; b.curve[1] = 0.6; });
  assert.equal(two.differing.map(({ path }) => path), ['curve[1]', 'rows[1].f1'], 'the furthest apart first');
  assert.match(comparisonLines('title', two, 1e-6, 2).join('\n'), /furthest apart, of 2 that differ:\n    curve\[1\]: 0\.5 and 0\.6 \(1\.67e-1\)\n    rows\[1\]/);
  assert.match(comparisonLines('title', much, 1e-6).join('\n'), /title: 4 numbers compared, 3 of them.*\n.*largest difference 4\.00e-4 at rows\[1\]\.f1.*\n.*beyond.*\n.*0\.25 and 0\.2501/);
});

test('a choice, a count, a row more or less, and what is no number are found', () => {
  const paths = (change: (b: Record<string, any>) => void): string[] => changed(change, 0.5).changed.map(({ path }) => path);
  assert.equal(paths((b) => { b.rows[0].feature = 4; }), ['rows[0].feature']);
  assert.equal(paths((b) => { b.rows.pop(); }), ['rows[1]']);
  assert.equal(paths((b) => { b.rows.push({ name: 'c' }); }), ['rows[2]']);
  assert.equal(paths((b) => { b.curve[2] = 0; }), ['curve[2]']);
  assert.equal(paths((b) => { b.environment.seed = 1; }), ['environment.seed']);
  assert.equal(paths((b) => { b.model.hash = 'abd'; }), ['model.hash']);
  assert.equal(paths((b) => { b.rows = {}; }), ['rows']);
  const nan = changed((b) => { b.rows[0].f1 = NaN; }, 0.5);
  assert.equal(nan.beyond.map(({ path, relative }) => [path, relative]), [['rows[0].f1', Infinity]]);
  assert.equal(paths((b) => { b.rows[0].f1 = null; }), ['rows[0].f1']);
});

test('below the least size, rests of rounding are compared by that size', () => {
  const pair = (least: number) => compareResults({ x: 1e-9 }, { x: 2e-9 }, { tolerance: 1e-3, least }).beyond.length;
  assert.equal([pair(1e-12), pair(1e-3)], [1, 0]);
});

test('across drivers counts may be as far apart as numbers, names may not, and sites go by name', () => {
  const across = (a: unknown, b: unknown) => {
    const { beyond, changed, numbers } = compareResults(a, b, { tolerance: 1e-3, least: 1e-3, drivers: true });
    return [numbers, beyond.length, changed.length];
  };
  assert.equal(across({ n: 4061 }, { n: 4060 }), [1, 0, 0]);
  assert.equal(across({ n: 12 }, { n: 11 }), [1, 1, 0]);
  assert.equal(across({ best: 'a' }, { best: 'b' }), [0, 0, 1]);
  const [x, y] = [{ site: 'x', effect: 0.5 }, { site: 'y', effect: 0.25 }];
  assert.equal(across({ sites: [x, y] }, { sites: [y, x] }), [2, 0, 0]);
  assert.equal(across({ sites: [x, y] }, { sites: [y, { ...x, effect: 0.6 }] }), [2, 1, 0]);
  assert.equal(across({ sites: [x, y] }, { sites: [x] }), [1, 0, 1]);
});

test.run();
