/** The eval and sites commands as a user calls them. What they refuse is in bad-input.test.ts. */
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseResults, withoutTimes } from '../../src/evaluation/results.ts';
import { packageRoot } from '../../src/node-adapter.mjs';
import { cli } from '../support/cli.ts';

const test = suite<{ folder: string }>('eval and sites');
const mini = join(packageRoot(), 'models', 'ioi-mini');

test.before.each((context) => { context.folder = mkdtempSync(join(tmpdir(), 'diffract-eval-')); });
test.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

const few = ['--prompts', '12', '--train-prompts', '60', '--selection-prompts', '6'];

async function succeeds(args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await cli(args);
  assert.is(code, 0, stderr);
  assert.is(stderr, '');
  return stdout;
}

test('eval writes results and a report, prints a table, and does the same again', async ({ folder }) => {
  const [first, second] = [join(folder, 'first'), join(folder, 'second')];
  const args = (out: string) => ['eval', 'ioi', '--model', mini, '--out', out, ...few, '--dictionaries', 'supervised', '--seed', '4',
    '--cross-section', 'S out=z@L0H3@end', '--cross-section', 'both=v@L0H3@s2,z@L0H0@end'];
  const table = await succeeds(args(first));
  assert.match(table, 'S out');
  assert.match(table, join(first, 'results.json'));
  assert.equal(readdirSync(first).sort(), ['report.html', 'results.json']);
  const printed = await succeeds([...args(second), '--json']);
  const results = parseResults(JSON.parse(printed));
  assert.equal(withoutTimes(results), withoutTimes(parseResults(JSON.parse(readFileSync(join(first, 'results.json'), 'utf8')))));
  assert.equal(JSON.parse(printed), JSON.parse(readFileSync(join(second, 'results.json'), 'utf8')));
  assert.equal(results.crossSections.map(({ name, origin, sites }) => [name, origin, sites]), [
    ['S out', 'given', ['z@L0H3@end']], ['both', 'given', ['v@L0H3@s2', 'z@L0H0@end']],
  ]);
  assert.equal([...new Set(results.tests.control.map(({ attribute }) => attribute))].sort(), ['IO', 'Pos', 'S']);
  assert.is(results.environment.seed, 4);
  assert.equal(results.sites.map(({ selected }) => selected), [true, true, true]);
});

test('SAEs that train wrote are judged beside supervised codes', async ({ folder }) => {
  const saes = join(folder, 'saes');
  assert.is((await cli(['train', '--model', mini, '--sites', 'z@L0H3@end', '--l1', '0.5,2', '--features', '16', '--epochs', '2', '--prompts', '60', '--out', saes])).code, 0);
  const out = join(folder, 'out');
  const results = parseResults(JSON.parse(await succeeds(
    ['eval', 'ioi', '--model', mini, '--out', out, ...few, '--sae', saes, '--cross-section', 'S out=z@L0H3@end', '--k', '1,2', '--json'],
  )));
  assert.equal(results.tests.approximation.map(({ dictionary }) => dictionary), ['supervised', 'vanilla λ=0.5', 'vanilla λ=2']);
  assert.equal(results.tests.control.filter(({ attribute }) => attribute === 'S').map(({ dictionary, k }) => [dictionary, k]), [['supervised', 2], ['vanilla', 1], ['vanilla', 2]]);
  assert.equal(results.dictionaries.map(({ source, features }) => [source, features]), [['fitted', 252], ['loaded', 16], ['loaded', 16]]);
  assert.is(results.config.sae, null);
});

test('eval refuses what it cannot use in one line, and writes nothing', async ({ folder }) => {
  const out = join(folder, 'out');
  const refuses = async (extra: readonly string[], message: RegExp) => {
    const { code, stdout, stderr } = await cli(['eval', 'ioi', '--model', mini, '--out', out, ...few, ...extra]);
    assert.match(stderr, message);
    assert.is(code, 2);
    assert.is(stdout, '');
    assert.equal(existsSync(out) ? readdirSync(out) : [], []);
  };
  await refuses(['--cross-section', 'a=z@L0H3@s9'], /unknown position "s9"/);
  await refuses(['--cross-section', 'a=z@L9H3@end'], /layers 0 to 3/);
  await refuses(['--dictionaries', 'supervised,gated'], /unknown dictionary "gated"/);
  await refuses(['--sae', folder], /there is no dictionary/);
});

test('sites ranks sites and gives cross-sections, as a table or as JSON', async () => {
  const args = ['sites', '--model', mini, '--prompts', '6', '--kinds', 'v,z', '--positions', 's2,end'];
  const { sites, crossSections } = JSON.parse(await succeeds([...args, '--json'])) as {
    sites: { site: string; effect: number; byAttribute: Record<string, { effect: number }>; selected: boolean }[]; crossSections: { name: string; sites: string[] }[];
  };
  assert.is(sites.length, 64);
  for (let i = 1; i < sites.length; i++) assert.ok(sites[i]!.effect <= sites[i - 1]!.effect);
  assert.equal(sites.slice(0, 2).map(({ site }) => site).sort(), ['v@L0H3@s2', 'z@L0H3@end']);
  assert.ok(sites[0]!.byAttribute.S!.effect > 0.9);
  assert.equal(crossSections.slice(0, 2).map(({ name }) => name).sort(), ['v@L0H3@s2', 'z@L0H3@end']);
  const { code, stderr } = await cli(['sites', '--model', mini, '--kinds', 'w']);
  assert.is(code, 2);
  assert.match(stderr, 'there are q, k, v, z');
});

test.run();
