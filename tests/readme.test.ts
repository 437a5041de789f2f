import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const test = suite('README');
const text = readFileSync('README.md', 'utf8');

test('its example runs as it stands, against the built package', () => {
  const code = /```js\n([\s\S]*?)```/.exec(text)![1]!;
  assert.ok(existsSync('dist/node.js'), 'dist/ is missing: run `node build.mjs` first');
  // Inside the project, so that the package finds itself by its name, as a dependant would.
  const folder = mkdtempSync('.test-build-readme-');
  try {
    writeFileSync(join(folder, 'example.mjs'), `${code}\nprocess.exit(0);\n`);
    const { stdout, stderr, status } = spawnSync(process.execPath, [join(folder, 'example.mjs')], { encoding: 'utf8', timeout: 120_000 });
    assert.is(status, 0, stderr);
    const [clean, patched] = stdout.trim().split('\n').map(Number);
    // The model's mean logit difference is between 7 and 9; another name at the head that moves it must lower it.
    assert.ok(clean! > 6.5 && clean! < 9.5, stdout);
    assert.ok(patched! < clean! - 1, stdout);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('names commands, folders and fields that exist', () => {
  for (const [, command] of text.matchAll(/^\| `(\w+)[^|]*` \| /gm)) {
    if (existsSync(`src/cli/${command}.ts`)) continue;
    assert.ok(/^(model|sites|crossSections|dictionaries|tests|config)$/.test(command!), `${command} is neither a command nor a field`);
  }
  for (const [, folder] of text.matchAll(/^((?:src|kernels|models|bench|tests)\/[\w/-]*) /gm)) assert.ok(existsSync(folder!), folder);
  for (const [, file] of text.matchAll(/`(src\/[\w/]+\.ts)`/g)) assert.ok(existsSync(file!), file);
  for (const [, link] of text.matchAll(/\]\(([^)]+)\)/g)) {
    const [file, heading] = link!.split('#') as [string, string?];
    assert.ok(existsSync(file), link);
    const slugs = readFileSync(file).toString().split('\n').filter((line) => line.startsWith('#')).map((line) => line.replace(/^#+ /, '').toLowerCase().replaceAll(' ', '-'));
    assert.ok(!heading || slugs.includes(heading), link);
  }
});

test.run();
