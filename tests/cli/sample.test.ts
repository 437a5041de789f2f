/** `sample`: text of the model's own, the same for the same seed whatever is written side by side; bad input told in a line. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/node-adapter.mjs';
import { cli } from '../support/cli.ts';

const mini = join(packageRoot(), 'models', 'ioi-mini');
const test = suite<{ folder: string }>('sample');
test.before.each((context) => { context.folder = mkdtempSync(join(tmpdir(), 'diffract-sample-')); });
test.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

test('documents begin as told and end in time', async ({ folder }) => {
  const out = join(folder, 'text.jsonl');
  const { code, stderr } = await cli(['sample', '--model', mini, '--documents', '5', '--begin', 'Mary and,John', '--no-bos', '--length', '12', '--batch', '2', '--out', out]);
  assert.is(code, 0, stderr);
  const texts = readFileSync(out, 'utf8').trim().split('\n').map((line) => (JSON.parse(line) as { text: string }).text);
  assert.equal(texts.map((text) => /^(Mary and|John) ?\w+/.exec(text)?.[1]), ['Mary and', 'John', 'Mary and', 'John', 'Mary and']);
  assert.match(stderr, /5 documents of \d+ tokens/);
  const tokens = Number(/of (\d+) tokens/.exec(stderr)![1]);
  assert.ok(tokens > 20 && tokens <= 60, `${tokens}`);
});

test('what cannot be is told in a line', async ({ folder }) => {
  const out = join(folder, 'text.jsonl');
  for (const [args, message] of [
    [['--temperature', '0'], /the same document again and again/], [['--no-bos'], /--begin must say what documents begin with/], [['--length', '64'], /the model has room for 63 tokens/],
  ] as const) {
    const { code, stderr } = await cli(['sample', '--model', mini, '--out', out, ...args]);
    assert.is(code, 2);
    assert.match(stderr, message);
  }
});

test.run();
