import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compareResults, comparisonText, noiseOf, readBench } from '../../bench/compare.ts';
import { between, longTables, shortTable } from '../../bench/readme.ts';
import { adapterName, benchText, geometricMean, parseBench, shortForm } from '../../bench/results.ts';
import { repeatsFor, samplesFor, summarise } from '../../bench/statistics.ts';
import { markdownTable, milliseconds, noteLines, peerSummary, quantity, textTable } from '../../bench/table.ts';
import { result, row, versus } from './fixture.ts';

const test = suite('results of the benchmark');

test('median, extremes and spread', () => {
  assert.equal(summarise([3, 1, 2]), { ms: 2, least: 1, most: 3, spread: 0.5, samples: 3 });
  assert.equal(summarise([4, 2]), { ms: 3, least: 2, most: 4, spread: 1 / 3, samples: 2 });
  assert.is(summarise([7]).spread, 0);
  assert.throws(() => summarise([]));
});

test('short work is repeated, long work is sampled less', () => {
  assert.is(repeatsFor(0.1, 30, 200), 200);
  assert.is(repeatsFor(10, 30, 200), 3);
  assert.is(repeatsFor(100, 30, 200), 1);
  assert.is(repeatsFor(0, 30, 200), 200);
  assert.is(samplesFor(10, 5, 2000), 5);
  assert.is(samplesFor(900, 5, 2000), 3);
  assert.is(samplesFor(2500, 5, 2000), 2);
  assert.is(samplesFor(20_000, 5, 2000), 1);
  assert.is(samplesFor(10, 1, 2000), 1);
});

test('a result goes through its file unchanged', () => {
  const whole = result([row({ peers: { other: versus() }, against: { 'full run': versus({ error: null }) }, figures: { dispatches: 3 } }), row({ shape: 'b', ms: null, spread: null, wrong: 'relative error 1' })]);
  const text = benchText(whole);
  assert.ok(text.endsWith('\n'));
  const again = parseBench(JSON.parse(text));
  assert.is(benchText(again), text);
  assert.equal(again.rows[1], whole.rows[1]);
  assert.throws(() => parseBench({ ...whole, format: 'another/1' }));
  assert.throws(() => parseBench({ ...whole, rows: [{ ...row(), ms: 'fast' }] }));
});

test('the short form has each peer as one number', () => {
  const { adapter, rows } = shortForm(result([row({ peers: { fast: versus({ ms: 20 }), unable: versus({ ms: null }) } })]));
  assert.is(adapter, 'an adapter');
  assert.equal(rows, [{ kernel: 'matmul', shape: '19×768×2304, q, k, v', ms: 10, spread: 0.05, share: 0.5, firstUseMs: 30, peers: { fast: 20, unable: null } }]);
  assert.is(adapterName({ ...result([]).adapter, device: 'Card 9', description: 'driver 5.1' }), 'Card 9, driver 5.1');
  assert.is(adapterName({ ...result([]).adapter, device: 'llvmpipe-256', description: 'llvmpipe: Mesa' }), 'llvmpipe: Mesa');
});

test('only what is beyond the noise of both runs is a change', () => {
  const old = result([row({ shape: 'same' }), row({ shape: 'quicker' }), row({ shape: 'slower' }), row({ shape: 'noisy', spread: 0.5 }), row({ shape: 'once', samples: 1, spread: 0 }), row({ shape: 'busy' }), row({ shape: 'gone' }), row({ shape: 'broken' })]);
  const now = result([
    row({ shape: 'same', ms: 10.5 }), row({ shape: 'quicker', ms: 8, least: 7.6 }), row({ shape: 'slower', ms: 12, least: 11.8 }), row({ shape: 'noisy', ms: 15, least: 14 }), row({ shape: 'once', ms: 11.9, least: 11.9 }),
    // The median is beyond the spread, but the quickest sample is what it was: something else was running.
    row({ shape: 'busy', ms: 12 }),
    row({ shape: 'new' }), row({ shape: 'broken', ms: null, wrong: 'x' }),
  ]);
  const { changes, onlyOld, onlyNew, warnings } = compareResults(old, now);
  assert.equal(changes.map((c) => [c.row.shape, c.verdict]), [['same', 'same'], ['quicker', 'quicker'], ['slower', 'slower'], ['noisy', 'same'], ['once', 'same'], ['busy', 'same']]);
  assert.is(changes[1]!.ratio, 1.25);
  assert.equal(onlyOld, ['matmul, gone', 'matmul, broken']);
  assert.equal(onlyNew, ['matmul, new']);
  assert.equal(warnings, []);
  assert.ok(noiseOf(row({ spread: 0 })) > 0, 'a spread of nothing is luck');
  const text = comparisonText({ changes, onlyOld, onlyNew, warnings }, 'old.json');
  assert.match(text, /1\.25× quicker {2}matmul, quicker: 10 ms then, 8 ms now/);
  assert.match(text, /1\.2× SLOWER {2}matmul, slower/);
  assert.match(text, /4 of 6 rows are the same/);
});

test('a comparison with another adapter, runtime or state of the machine warns', () => {
  const now = result([row()]);
  const other = (changes: Parameters<typeof result>[1]) => compareResults(result([row()], changes), now).warnings;
  assert.match(other({ adapter: { ...now.adapter, description: 'another' } })[0]!, /another adapter \(another\)/);
  assert.match(other({ where: { ...now.where, name: 'Chrome' } })[0]!, /measured in Chrome/);
  assert.match(other({ ceilings: { ...now.ceilings, gflops: 120 } })[0]!, /multiply-add ceiling is 0\.5×/);
});

test('what is no result is refused in one line that says where', () => {
  assert.throws(() => readBench('{', 'a.json'), (e: Error) => e.message === 'a.json: not JSON, so no result of this benchmark');
  assert.throws(() => readBench('{"rows": []}', 'a.json'), (e: Error) => /^a\.json: not a result of this benchmark \(format: .*\)$/.test(e.message));
});

test('tables: numbers, causes, no time for a wrong result', () => {
  const peers = [{ name: 'fast', version: '1' }, { name: 'slow', version: '2' }];
  const whole = result([
    row({ peers: { fast: versus({ ms: 22, ratio: 2, transfers: { upload: 1, download: 1 } }), slow: versus({ ms: 88, ratio: 8 }) } }),
    row({ shape: '|', peers: { fast: versus({ ms: 11, ratio: 0.5 }), slow: versus({ ms: null, ratio: null, skipped: 'threw up' }) } }),
    row({ kernel: 'softmax', shape: 'w', ms: null, spread: null, gflops: null, gbps: null, share: null, wrong: 'relative error 3e-1' }),
  ], { peers, missingPeers: [{ name: 'absent', why: 'not installed' }] });
  const text = textTable(whole);
  const [head, first, , wrong] = text.split('\n');
  assert.match(head!, /^kernel +shape +time +spread/);
  assert.match(first!, /10 ms +±5% +6\.72 +0\.7 +50% C +67\.2 Mflop, 7\.31 MB +30 ms +2×\* \(22 ms\) +8× \(88 ms\)$/);
  assert.match(wrong!, /wrong/);
  assert.not.match(wrong!, /\d ms +±/);
  assert.equal(noteLines(whole), ['absent is not here: not installed', 'slow, matmul, |: threw up', 'wrong: softmax, w: relative error 3e-1']);
  assert.equal(peerSummary(whole), [
    'matmul: 1× as quick as fast (geometric mean of 2, least 0.5×)', 'matmul: 8× as quick as slow (geometric mean of 1, least 8×)',
    'matmul: 1× as quick as the quickest peer (geometric mean of 2, least 0.5×)',
  ]);
  const lines = markdownTable(whole).split('\n');
  assert.is(lines.length, 5);
  assert.ok(lines.every((line) => line.split(/(?<!\\)\|/).length === lines[0]!.split('|').length), 'every line has the same number of cells');
  assert.is(milliseconds(0.0123), '12.3 µs');
  assert.is(milliseconds(12_300), '12.3 s');
  assert.is(quantity(7_311_360), '7.31 M');
  assert.is(geometricMean([]), null);
});

test('READMEs: tables go between their markers, and nowhere else', () => {
  const text = 'before\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nafter';
  assert.is(between(text, 'new', 'f'), 'before\n<!-- measured: begin -->\nnew\n<!-- measured: end -->\nafter');
  assert.throws(() => between('no markers', 'new', 'README.md'), /README\.md: the lines/);
  const whole = result([row({ peers: { fast: versus({ ratio: 2 }) } })], { peers: [{ name: 'fast', version: '1' }] });
  assert.match(longTables(whole), /`npm run bench -- --peers`, 2026-01-02, Node 20\.0\.0[\s\S]*### Kernels[\s\S]*\| matmul \|/);
  assert.match(shortTable(whole), /\| matmul \| 1 \| 50% multiply-add \| 19×768×2304, q, k, v, 10 ms \| 2× \(least 2×, 1 rows\) \|/);
});

test.run();
