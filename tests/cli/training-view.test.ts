/** The table of a run in the terminal: what its rows say, how it fits, and that it is drawn again in place. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { tableLines, tableView, type RunState } from '../../src/cli/training-view.ts';
import type { LogRecord } from '../../src/training/index.ts';
import { FakeTerminal } from '../support/terminal.ts';

const test = suite('training view');

function record(name: string, more: Partial<LogRecord> = {}): LogRecord {
  return {
    name, variant: 'topk', step: 40, epoch: 4, training_samples: 4000, l1_coefficient: 0, k: 4, loss: 12.34567, mse: 0.00001234, l1_loss: 0, l0_loss: 0, auxiliary_reconstruction_loss: 0,
    l0: 4, dead_fraction: 0.256, dead_features: 4, mean_passes_since_fired: null, explained_variance: 0.87654, learning_rate: 0.01, ...more,
  };
}

const state = (more: Partial<RunState> = {}): RunState => ({ done: 60, total: 1060, from: 20, seconds: 0.5, records: [record('one'), record('two')], unit: 'tokens', ...more });

test('a row a dictionary, and the run below: its step, tokens a second, and the time left', () => {
  assert.equal(tableLines(state({ records: [record('one'), record('topk place k=4', { loss: 2e6, explained_variance: -Infinity })] }), 80, 24), [
    'dictionary           loss        mse         L0  explained       dead',
    'one                 12.35    1.23e-5       4.00     0.8765        26%',
    'topk place k=4    2.00e+6    1.23e-5       4.00          –        26%',
    // 40 steps of 100 tokens in half a second; 1000 steps are left.
    'step 60 of 1,060 (5%)   8,000 tokens/s   0:13 left',
  ]);
  assert.equal(tableLines(state({ records: [] }), 80, 24), ['step 60 of 1,060 (5%)   80 steps/s   0:13 left']);
  assert.equal(tableLines(state({ records: [], done: 20 }), 80, 24), ['step 20 of 1,060 (1%)']);
  assert.match(tableLines(state({ seconds: 500 }), 80, 24).at(-1)!, /   8 tokens\/s   3:28:20 left$/);
  // Earlier logs do not say how many examples there were.
  assert.match(tableLines(state({ records: [record('one', { training_samples: null })] }), 80, 24).at(-1)!, /   80 steps\/s   /);
});

test('it is never wider than the terminal, nor higher', () => {
  const many = Array.from({ length: 30 }, (_, i) => record(`vanilla blocks.${i}.attn.hook_z.3 of a long name indeed λ=${i}`));
  for (const [columns, rows] of [[80, 24], [70, 10], [40, 5], [10, 3], [200, 50]] as const) {
    const lines = tableLines(state({ records: many }), columns, rows);
    assert.ok(lines.every((line) => line.length < columns), `${columns}`);
    assert.ok(lines.length < Math.max(rows, 5), `${lines.length} of ${rows}`);
    if (rows < 30) assert.match(lines.at(-2)!, columns < 12 ? /^and/ : new RegExp(`^and ${30 - (lines.length - 3)} more$`));
  }
  assert.match(tableLines(state({ records: many }), 80, 24)[5]!, /^vanilla.*….*λ=4 /);
});

test('it is drawn again in place, not too often, below what stood there, and goes', () => {
  const terminal = new FakeTerminal(72, 24);
  terminal.write('before\n');
  let now = 0;
  const view = tableView('tokens', terminal, () => now);
  view.step(4, 1000);
  assert.is(terminal.screen(), 'before\nstep 4 of 1,000 (0%)');
  now = 50;
  view.step(8, 1000);
  assert.is(terminal.screen(), 'before\nstep 4 of 1,000 (0%)');
  now = 1004;
  view.log([record('one'), record('two')]);
  view.step(104, 1000);
  assert.match(terminal.screen(), /^before\ndictionary .*\none .*\ntwo .*\nstep 8 of [^\n]*$/);
  now = 2000;
  view.step(204, 1000);
  assert.match(terminal.screen(), /^before\ndictionary .*\none .*\ntwo .*\nstep 204 of 1,000 \(20%\)   10,000 tokens\/s   0:08 left$/);
  // A narrower terminal has wrapped what stands there.
  terminal.resize(40);
  now = 3000;
  view.log([record('one', { l0: 5 })]);
  assert.match(terminal.screen(), /^before\ndictionary [^\n]*\none [^\n]*\nstep 204 of [^\n]*$/);
  view.stop();
  view.stop();
  assert.is(terminal.screen(), 'before');
});

test('nothing is written where nobody watches', () => {
  const terminal = Object.assign(new FakeTerminal(80, 24), { isTTY: false });
  const view = tableView('tokens', terminal);
  view.step(4, 10);
  view.log([record('one')]);
  view.stop();
  assert.equal(terminal.seen, []);
});

test.run();
