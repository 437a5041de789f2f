/** The page in a real browser, and the page of charts; and the command line's refusals. Skipped, with a word, where no browser can start; in CI that is a failure. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type BuildOptions } from 'esbuild';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { benchInBrowser } from '../../bench/browser.ts';
import { serveFolder } from '../../src/cli/static-server.ts';
import { benchPage } from '../../bench/html.ts';
import { UsageError } from '../../src/errors.ts';
import { packageRoot } from '../../src/node-adapter.mjs';
import { result, row, versus } from './fixture.ts';

const test = suite('benchmark as a whole');
const root = packageRoot();
const builder = () => import(pathToFileURL(join(root, 'build.mjs')).href) as Promise<{ shared: BuildOptions; buildPage(outdir: string, version: string): Promise<void> }>;

test('the page runs a case in a browser and gives the same JSON', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'diffract-bench-page-'));
  try {
    await (await builder()).buildPage(folder, 'test');
    const seen: string[] = [];
    const found = await benchInBrowser({ folder, names: ['256×256×256', '64×50257'], full: false, samples: 1, peers: false, onProgress: (text) => seen.push(text) });
    assert.is(found.where.kind, 'browser');
    assert.match(found.where.name, /Chrome/);
    assert.match(found.where.version, /^\d+\./);
    assert.equal(found.rows.map((r) => [r.kernel, r.wrong, r.ms! > 0]), [['matmul', undefined, true], ['argmax', undefined, true]]);
    assert.ok(seen.some((text) => /2 of 2: argmax/.test(text)));
    await benchInBrowser({ folder, names: ['nothing of the kind'], full: false, samples: 1, peers: false }).then(() => assert.unreachable(), (error: Error) => assert.match(error.message, /no benchmark is called/));
  } catch (error) {
    if (process.env.CI || !(error instanceof UsageError)) throw error;
    console.log(`  skipped: ${error.message}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('the server gives files of its folder, ranges of them, and nothing else', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'diffract-served-'));
  await writeFile(join(folder, 'index.html'), '0123456789');
  const server = await serveFolder(folder);
  try {
    assert.is(await (await fetch(server.url)).text(), '0123456789');
    const part = await fetch(`${server.url}index.html`, { headers: { Range: 'bytes=2-4' } });
    assert.equal([part.status, await part.text(), part.headers.get('content-range')], [206, '234', 'bytes 2-4/10']);
    for (const path of ['missing', '..%2f..%2fetc%2fpasswd', '%2e%2e/x']) assert.is((await fetch(server.url + path)).status, 404, path);
  } finally {
    server.close();
    await rm(folder, { recursive: true, force: true });
  }
});

test('charts and table are one page that asks for nothing and can be read without seeing it', async () => {
  const peers = [{ name: 'fast', version: '1' }];
  const whole = result([
    row({ peers: { fast: versus() } }), row({ kernel: 'Adam', shape: '<b>', flops: 1, bytes: 10, gflops: 0.5, share: 0.9, bound: 'memory' }),
    row({ group: 'model', kernel: 'resumed run', shape: 's', against: { 'full run': versus({ ratio: 16 }) } }), row({ shape: 'w', ms: null, gflops: null, share: null, wrong: 'why' }),
  ], { peers });
  const page = await benchPage(whole);
  assert.is(page, await benchPage(whole));
  assert.not.match(page, /<b>'|<b> |https?:\/\/(?!www\.w3\.org)/);
  for (const id of ['roofline', 'peers', 'own', 'table']) assert.match(page, new RegExp(`<section id="${id}"`));
  assert.is(page.match(/<svg role="img" aria-label="[^"]{20,}"/g)?.length, 3);
  assert.match(page, /wrong: matmul, w: why/);
  assert.match(page, /prefers-color-scheme: dark/);
});

let script: Promise<string> | null = null;
async function bench(args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  script ??= (async () => {
    const out = mkdtempSync(join(root, '.test-build-bench-'));
    process.on('exit', () => rmSync(out, { recursive: true, force: true }));
    await build({ ...(await builder()).shared, entryPoints: { bench: 'bench/main.ts' }, outdir: out, platform: 'node', define: { DIFFRACT_VERSION: '"test"' } });
    return join(out, 'bench.js');
  })();
  const file = await script;
  return new Promise((resolve) => {
    execFile(process.execPath, [file, ...args], { cwd: tmpdir(), timeout: 60_000 }, (error, stdout, stderr) => resolve({ code: error ? (typeof error.code === 'number' ? error.code : -1) : 0, stdout, stderr }));
  });
}

test('bad flags, names and files: one line, exit 2, before any work', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'diffract-bench-'));
  const other = join(folder, 'other.json');
  await writeFile(other, '{"format": "something else"}');
  try {
    for (const [args, text] of [
      [['--nonsense'], /unknown option/], [['no such kernel'], /no benchmark is called "no such kernel"/], [['--samples', '0'], /at least 1/],
      [['--compare', join(folder, 'missing.json')], /cannot be read/], [['--compare', other], /not a result of this benchmark/], [['--json', '/proc/nowhere/x.json'], /proc/],
    ] as const) {
      const { code, stdout, stderr } = await bench([...args]);
      assert.is(code, 2, args.join(' '));
      assert.is(stdout, '');
      assert.match(stderr, text);
      assert.is(stderr.trim().split('\n').length, 1, stderr);
    }
    const { code, stdout } = await bench(['--list', 'Adam']);
    assert.is(code, 0);
    assert.match(stdout, /^kernels {2}Adam: 1 million parameters$/m);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('a run writes its JSON whole, keeps a history and compares with it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'diffract-bench-'));
  try {
    const json = join(folder, 'a.json');
    const first = await bench(['256×256×256', '--samples', '1', '--json', json, '--no-history']);
    assert.is(first.code, 0, first.stderr);
    assert.match(first.stdout, /ceilings: copy [\s\S]*matmul +256×256×256, square/);
    assert.ok(existsSync(json));
    const second = await bench(['256×256×256', '--samples', '1', '--compare', json, '--no-history']);
    assert.match(second.stdout, /Compared with .*a\.json:\n[\s\S]*of 1 rows/);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test.run();
