import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { renderTable } from '../../src/report/index.ts';
import { score, shorten } from '../../src/report/text.ts';
import { fixture } from './fixture.ts';

const test = suite('report table');

/** Lines of the table whose title begins with `title`. */
function block(text: string, title: string): string[] {
  const lines = text.split('\n');
  const start = lines.findIndex((line) => line.startsWith(title));
  assert.ok(start >= 0, title);
  const end = lines.indexOf('', start);
  return lines.slice(start + 1, end);
}

test('has supervised and SAE rows for every cross-section in all three tests', () => {
  const results = fixture({ sections: 4, variants: ['vanilla', 'gated'], lambdas: [0.1] });
  const text = renderTable(results);
  for (const title of ['Approximation', 'Interpretability']) {
    const rows = block(text, title).slice(1);
    assert.is(rows.length, 4 * 3);
    results.crossSections.forEach(({ name }, index) => {
      assert.match(rows[3 * index]!, new RegExp(`^  ${name} +supervised `));
      assert.match(rows[3 * index + 1]!, /^ +vanilla /);
      assert.match(rows[3 * index + 2]!, /^ +gated /);
    });
  }
  const control = block(text, 'Control').slice(1);
  assert.is(control.filter((line) => line.includes('supervised')).length, 4 * 3);
  assert.is(control.filter((line) => line.includes('vanilla')).length, 4 * 3);
});

test('shows the values', () => {
  const results = fixture({ sections: 1, lambdas: [0.1] });
  const text = renderTable(results);
  const [, supervised, vanilla] = block(text, 'Approximation');
  assert.match(supervised!, / 0\.98 +0\.99$/);
  const row = results.tests.approximation.find((r) => r.dictionary === 'vanilla')!;
  assert.ok(vanilla!.endsWith(` ${row.necessity!.toFixed(2)}`) && vanilla!.includes(` ${row.sufficiency!.toFixed(2)} `));
  const s = results.tests.control.filter((r) => r.attribute === 'S' && r.dictionary === 'vanilla');
  const line = block(text, 'Control').filter((l) => l.includes('vanilla'))[1]!;
  for (const { accuracy, weightRemoved } of s) assert.ok(line.includes(`${accuracy.toFixed(2)}/${weightRemoved!.toFixed(2)}`), line);
  assert.match(block(text, 'Control').find((l) => / S /.test(l))!, /S +0\.52 +supervised/);
});

test('SAEs of several penalties are rows of their own, their edits one row of the variant', () => {
  const text = renderTable(fixture({ sections: 1, lambdas: [0.2, 0.1] }));
  assert.equal(block(text, 'Approximation').slice(1).map((line) => line.trim().split(/ {2,}/).slice(-3)[0]), ['supervised', 'vanilla λ=0.1', 'vanilla λ=0.2']);
  assert.is(block(text, 'Control').filter((line) => / vanilla /.test(line)).length, 3);
  assert.not.match(block(text, 'Control').join(), /λ/);
});

test('fits 100 columns of plain text, numbers aligned on the right', () => {
  const results = fixture({ sections: 3, variants: ['vanilla-with-quite-a-long-name-of-its-own', 'gated'] });
  const long = 'name movers and backup name movers, outputs of every head that moves names';
  for (const rows of [results.crossSections.map((c) => ({ get: () => c.name, set: (n: string) => { c.name = n; } })),
    results.tests.control.map((c) => ({ get: () => c.crossSection, set: (n: string) => { c.crossSection = n; } })),
    results.tests.approximation.map((c) => ({ get: () => c.crossSection, set: (n: string) => { c.crossSection = n; } }))]) {
    for (const row of rows) if (row.get() === 'z@end') row.set(long);
  }
  results.environment.adapter.description = 'x'.repeat(300);
  const text = renderTable(results);
  for (const line of text.split('\n')) {
    assert.ok(line.length <= 100, `${line.length}: ${line}`);
    assert.is(line, line.trimEnd());
    assert.not.match(line, /\x1b|\t/);
  }
  for (const title of ['Approximation', 'Interpretability']) {
    const lines = block(text, title);
    assert.equal(lines.map((line) => line.length), lines.map(() => lines[0]!.length));
  }
});

test('more budgets than fit with their weights are shown without', () => {
  const results = fixture({ sections: 1 });
  const extra = results.tests.control.filter((row) => row.k === 16).map((row) => ({ ...row, k: 32 }));
  results.tests.control.push(...extra);
  const [head] = block(renderTable(results), 'Control');
  assert.match(head!, /k=2 +k=4 +k=8 +k=16 +k=32$/);
});

test('numbers that do not exist are dashes, and nothing is minus zero', () => {
  assert.equal([score(null), score(NaN), score(-0.001), score(0.995), score(-1.5)], ['–', '–', '0.00', '0.99', '-1.50']);
  assert.equal([shorten('abcdefgh', 8), shorten('abcdefghi', 8), shorten('abcdefghi', 8).length], ['abcdefgh', 'abcd…ghi', 8]);
});

test.run();
