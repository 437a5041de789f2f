/** `diffract serve` and the server behind it. */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { serveFolder } from '../../src/cli/static-server.ts';
import { cli, cliScript } from '../support/cli.ts';

const test = suite('serve');
let folder = '';

test.before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'diffract-serve-'));
  await mkdir(join(folder, 'site', 'models'), { recursive: true });
  await writeFile(join(folder, 'secret.txt'), 'not to be had');
  await writeFile(join(folder, 'site', 'index.html'), '<!doctype html><title>here</title>');
  await writeFile(join(folder, 'site', 'models', 'a b@1.bin'), Uint8Array.from({ length: 100 }, (_, i) => i));
  await writeFile(join(folder, 'site', 'empty.json'), '');
});
test.after(() => rm(folder, { recursive: true, force: true }));

test('files come whole and in parts, and nothing from outside the folder', async () => {
  const server = await serveFolder(join(folder, 'site'));
  try {
    const get = (path: string, range?: string) => fetch(server.url + path, range ? { headers: { Range: range } } : {});
    const page = await get('');
    assert.match(await page.text(), /here/);
    assert.match(page.headers.get('content-type')!, /^text\/html/);
    const file = 'models/a%20b%401.bin';
    assert.equal([...new Uint8Array(await (await get(file, 'bytes=10-13')).arrayBuffer())], [10, 11, 12, 13]);
    assert.equal([...new Uint8Array(await (await get(file, 'bytes=97-')).arrayBuffer())], [97, 98, 99]);
    assert.is((await get(file, 'bytes=97-500')).headers.get('content-range'), 'bytes 97-99/100');
    assert.is((await get(file, 'bytes=100-')).status, 416);
    assert.is(await (await get('empty.json')).text(), '');
    for (const path of ['nothing', 'models', '../secret.txt', '%2e%2e%2fsecret.txt', '..%5csecret.txt', '%']) assert.is((await get(path)).status, 404, path);
  } finally {
    server.close();
  }
});

test('the command serves until it is stopped', async () => {
  const child = spawn(process.execPath, [await cliScript(), 'serve', '--port', '0', '--folder', join(folder, 'site')]);
  try {
    const url = await new Promise<string>((resolve, reject) => {
      let said = '';
      child.stdout.on('data', (bytes) => { said += bytes; const found = /(http:\S+)/.exec(said); if (found) resolve(found[1]!); });
      child.on('exit', () => reject(new Error(`it ended after ${said}`)));
    });
    assert.match(await (await fetch(url)).text(), /here/);
    const { code, stderr } = await cli(['serve', '--port', new URL(url).port, '--folder', join(folder, 'site')]);
    assert.is(code, 2);
    assert.match(stderr, /^error: port \d+ of 127\.0\.0\.1 is taken; --port 0 takes a free one\n$/);
    const ended = new Promise<number | null>((resolve) => child.removeAllListeners('exit').on('exit', resolve));
    child.kill('SIGINT');
    assert.is(await ended, 0);
  } finally {
    child.kill('SIGKILL');
  }
});

test('a folder without a page is refused with what to do', async () => {
  const { code, stderr } = await cli(['serve', '--folder', join(folder, 'none')]);
  assert.is(code, 2);
  assert.match(stderr, /none: there is no page; npm run build:web builds it\n$/);
});

test.run();
