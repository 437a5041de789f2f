/** `--tuning FILE`: what cannot be read ends a command; what is not for this device is said once, and the defaults serve. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/node-adapter.mjs';
import { cli } from '../support/cli.ts';

const test = suite<{ folder: string }>('--tuning');
const model = join(packageRoot(), 'tests', 'fixtures', 'gpt2-random', 'model');

test.before.each((context) => { context.folder = mkdtempSync(join(tmpdir(), 'diffract-tuning-')); });
test.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

function run(folder: string, tuning: string, environment: Record<string, string> = {}) {
  const tokens = join(folder, 'tokens.json');
  writeFileSync(tokens, '[[1, 2, 3]]');
  return cli(['run', '--model', model, '--tokens', tokens, '--json', ...(tuning ? ['--tuning', tuning] : [])], environment);
}

test('a file that is missing, broken or something else is an error in one line, exit code 2', async ({ folder }) => {
  const broken = join(folder, 'broken.json');
  writeFileSync(broken, '{ "format": ');
  const other = join(folder, 'other.json');
  writeFileSync(other, '{ "format": "diffract.bench/1" }');
  for (const [file, message] of [
    [join(folder, 'missing.json'), /missing\.json does not exist/], [broken, /broken\.json is not JSON: /], [folder, /cannot be read: EISDIR/],
    [other, /other\.json: not a tuning file: its field "format" is "diffract\.bench\/1"/],
  ] as const) {
    const { code, stdout, stderr } = await run(folder, file);
    assert.match(stderr, message);
    assert.match(stderr, /^error: [^\n]+\n$/);
    assert.is(code, 2);
    assert.is(stdout, '');
  }
  const byVariable = await run(folder, '', { DIFFRACT_TUNING: join(folder, 'missing.json') });
  assert.is(byVariable.code, 2);
  assert.match(byVariable.stderr, /missing\.json does not exist/);
});

test('a file for another adapter is named once, with the reason, and the defaults serve', async ({ folder }) => {
  const foreign = join(folder, 'foreign.json');
  writeFileSync(foreign, JSON.stringify({
    format: 'diffract-tuning', version: 1, date: '', adapter: { vendor: 'acme', architecture: '', device: '', description: '', subgroupSize: 32 }, kernels: {}, choices: {},
  }));
  const plain = await run(folder, '');
  const { code, stdout, stderr } = await run(folder, foreign);
  assert.is(code, 0);
  assert.match(stderr, /^the tuning file is not used: it was made for another adapter: vendor "acme", here "[^"]*"\n$/);
  assert.is(stdout, plain.stdout);
  assert.is(plain.stderr, '');
});

test.run();
