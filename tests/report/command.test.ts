import { Command } from 'commander';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readResults, register } from '../../src/cli/report.ts';
import { FileError } from '../../src/errors.ts';
import { resultsText } from '../../src/evaluation/results.ts';
import { fixture } from './fixture.ts';

const test = suite<{ folder: string }>('report command');
test.before.each(async (context) => { context.folder = await mkdtemp(join(tmpdir(), 'diffract-report-')); });
test.after.each(async ({ folder }) => { await rm(folder, { recursive: true, force: true }); });

/** Runs the command in this process; what it prints comes back. */
async function run(...args: string[]): Promise<string> {
  const program = new Command().exitOverride();
  register(program);
  const write = process.stdout.write;
  let printed = '';
  process.stdout.write = ((chunk: string) => { printed += chunk; return true; }) as typeof write;
  try {
    await program.parseAsync(['node', 'diffract', 'report', ...args]);
  } finally {
    process.stdout.write = write;
  }
  return printed;
}

test('writes the page and prints the table', async ({ folder }) => {
  const path = join(folder, 'results.json');
  await writeFile(path, resultsText(fixture({ sections: 1 })));
  const printed = await run(path);
  assert.match(printed, /Approximation \(1 is best\)\n/);
  assert.ok(printed.endsWith(`Report: ${join(folder, 'report.html')}\n`));
  assert.match(await readFile(join(folder, 'report.html'), 'utf8'), /^<!doctype html>[\s\S]*<\/html>\n$/);
});

test('--schema prints the JSON Schema of results.json', async () => {
  const schema = JSON.parse(await run('--schema'));
  assert.is(schema.$schema, 'https://json-schema.org/draft/2020-12/schema');
  assert.equal(Object.keys(fixture({ sections: 1 })).filter((key) => !schema.required.includes(key)), []);
  await run().then(() => assert.unreachable(), (error) => assert.match(error.message, /needs the results\.json/));
});

test('--json prints one value, --out and --title are heeded', async ({ folder }) => {
  const path = join(folder, 'results.json');
  const out = join(folder, 'page.html');
  await writeFile(path, resultsText(fixture({ sections: 1 })));
  const { report, bytes } = JSON.parse(await run(path, '--out', out, '--title', 'A & B', '--json'));
  const html = await readFile(out);
  assert.equal([report, bytes], [out, html.length]);
  assert.match(html.toString(), /<h1>A &amp; B<\/h1>/);
});

test('a bad file is refused in one line that names the file and the field, and nothing is written', async ({ folder }) => {
  const cases: [string, string | null, RegExp][] = [
    ['missing.json', null, /missing\.json does not exist/],
    ['text.json', '{"schema": ', /text\.json is not JSON/],
    ['other.json', '{"a": 1}', /other\.json is not diffract\.results\/1: its field "schema" is missing/],
    ['later.json', JSON.stringify({ ...fixture(), schema: 'diffract.results/9' }), /its field "schema" is "diffract\.results\/9"/],
    ['field.json', JSON.stringify({ ...fixture(), task: { ...fixture().task, accuracy: 7 } }), /field\.json does not fit diffract\.results\/1: task\.accuracy: /],
  ];
  for (const [name, content, message] of cases) {
    const path = join(folder, name);
    if (content !== null) await writeFile(path, content);
    try {
      await run(path, '--out', join(folder, 'page.html'));
      assert.unreachable(name);
    } catch (error) {
      assert.instance(error, FileError, name);
      assert.match((error as FileError).message, message);
      assert.not.match((error as FileError).message, /\n/);
      assert.is((error as FileError).exitCode, 2);
    }
  }
  assert.not.ok((await readdir(folder)).includes('page.html'));
});

test('a page that cannot be written is refused, and no part of it stays', async ({ folder }) => {
  const path = join(folder, 'results.json');
  await writeFile(path, resultsText(fixture({ sections: 1 })));
  try {
    await run(path, '--out', join(folder, 'nowhere', 'page.html'));
    assert.unreachable();
  } catch (error) {
    assert.instance(error, FileError);
  }
  assert.equal(await readdir(folder), ['results.json']);
});

test('reads what resultsText writes', async ({ folder }) => {
  const path = join(folder, 'results.json');
  const text = resultsText(fixture());
  await writeFile(path, text);
  assert.is(resultsText(await readResults(path)), text);
});

test.run();
