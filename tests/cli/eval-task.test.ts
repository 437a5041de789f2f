/** Tasks other than indirect objects, from the command line. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseResults } from '../../src/evaluation/results.ts';
import { packageRoot } from '../../src/node-adapter.mjs';
import { cli } from '../support/cli.ts';

const test = suite<{ folder: string }>('eval task');
const mini = join(packageRoot(), 'models', 'ioi-mini');
const listed = join(packageRoot(), 'examples', 'tasks', 'listed.json');

test.before.each((context) => { context.folder = mkdtempSync(join(tmpdir(), 'diffract-task-')); });
test.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

test('a task file is evaluated at its own cross-sections and positions', async ({ folder }) => {
  const out = join(folder, 'out');
  const { code, stdout, stderr } = await cli(['eval', 'task', '--task', listed, '--model', mini, '--out', out, '--prompts', '6', '--train-prompts', '12', '--selection-prompts', '2',
    '--dictionaries', 'supervised', '--json']);
  assert.is(code, 0, stderr);
  const results = parseResults(JSON.parse(stdout));
  assert.is(results.task.name, 'handing-over');
  assert.equal(results.crossSections.map(({ name, origin, edits }) => [name, origin, edits]), [['giver out', 'given', [['giver']]]]);
  assert.ok(existsSync(join(out, 'report.html')));
  const other = await cli(['eval', 'task', '--task', listed, '--model', mini, '--out', out, '--prompts', '6', '--train-prompts', '12', '--selection-prompts', '2',
    '--dictionaries', 'supervised', '--cross-section', 'x=v@L0H3@giver', '--json']);
  assert.is(other.code, 0, other.stderr);
  assert.equal(parseResults(JSON.parse(other.stdout)).crossSections.map(({ sites }) => sites), [['v@L0H3@giver']]);
});

test('the schema of task files is printed', async () => {
  const { code, stdout } = await cli(['eval', 'task', '--task-schema']);
  assert.is(code, 0);
  assert.is((JSON.parse(stdout) as { $id: string }).$id, 'diffract.task/1');
});

test('faults are told in one line that names file and place', async ({ folder }) => {
  const refuses = async (args: readonly string[], pattern: RegExp) => {
    const { code, stderr } = await cli(args);
    assert.is(code, 2, stderr);
    assert.is(stderr.trim().split('\n').length, 1, stderr);
    assert.match(stderr, pattern);
  };
  const own = join(folder, 'own.json');
  const file = JSON.parse(readFileSync(listed, 'utf8')) as { prompts: { correct: unknown }[] };
  file.prompts[2]!.correct = 3;
  writeFileSync(own, JSON.stringify(file));
  const args = (path: string) => ['eval', 'task', '--task', path, '--model', mini, '--out', join(folder, 'out')];
  await refuses(args(own), /own\.json: prompts\[2\]\.correct: .*expected string/);
  await refuses(args(join(folder, 'gone.json')), /gone\.json: no such file/);
  await refuses([...args(listed), '--cross-section', 'x=z@L0H3@s2'], /unknown position "s2"; there are giver, receiver, end/);
  await refuses(['eval', 'task', '--model', mini, '--out', join(folder, 'out')], /--task/);
  await refuses(['eval', 'greater-than', '--model', mini, '--out', join(folder, 'out')], /greater-than: not single tokens/);
});

test.run();
