/** Downloads from a hub in a real browser: into the page's private file system, on its own thread and in a worker. */
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type BuildOptions } from 'esbuild';
import type { Page } from 'puppeteer-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { serveFolder } from '../../src/cli/static-server.ts';
import { packageRoot } from '../../src/node-adapter.mjs';
import { launchBrowser } from '../support/browser.ts';
import { COMMIT, hubServer, type HubServer } from '../support/hub-server.ts';
import type { Answer, Ask } from './hub-page.ts';

const REPOSITORY = 'someone/model';
const large = Uint8Array.from({ length: 700_001 }, (_, i) => (i * 17 + (i >> 7)) & 255);
const digest = createHash('sha256').update(large).digest('hex');
const whole: Answer = { digest, size: large.length, has: [true, false], commit: COMMIT };
const test = suite('hub in a browser');

const parts = (server: HubServer): string[] => server.requests.filter((line) => line.startsWith('GET') && /large\.bin/.test(line) && !/bytes=0-0$/.test(line)).map((line) => / bytes=\d+/.exec(line)?.[0] ?? 'all');

async function check(page: Page, server: HubServer, way: 'ask' | 'askWorker'): Promise<void> {
  const ask = (question: Partial<Ask> = {}): Promise<Answer> => page.evaluate((name, given) => window[name](given), way, { endpoint: server.url, repository: REPOSITORY, path: 'large.bin', folder: way, ...question });
  server.requests.length = 0;
  server.troubles.length = 0;
  // It breaks off, patience ends, the page is loaded again: what came is there.
  server.troubles.push({ kind: 'cut', after: 250_000 }, { kind: 'status', status: 503 });
  assert.match((await ask({ attempts: 2 })).error ?? '', /^the hub cannot be reached for large\.bin \(250000 of 700001 bytes are kept\): .*503/);
  await page.reload();
  server.requests.length = 0;
  server.troubles.push({ kind: 'cut', after: 100_000 });
  assert.equal(await ask(), whole);
  assert.equal(parts(server), [' bytes=250000', ' bytes=350000']);
  // Afterwards nobody is asked.
  await page.reload();
  await server.down();
  assert.equal(await ask(), whole);
  await server.up();
  // Spoilt bytes are not kept.
  for (let i = 0; i < 3; i++) server.troubles.push({ kind: 'spoil' });
  assert.match((await ask({ folder: `${way} spoilt` })).error ?? '', /its checksum is not/);
  assert.equal(await ask({ folder: `${way} spoilt` }), whole);
  assert.match((await ask({ full: true })).error ?? '', /the browser’s storage for this site is full/);
}

test('files are downloaded once, go on where they broke off, and are checked', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'diffract-hub-page-'));
  const browser = await launchBrowser(join(folder, 'profile'));
  const server = await hubServer(REPOSITORY, { 'large.bin': large });
  const pages = await serveFolder(folder);
  try {
    if (!browser) return;
    const { shared } = (await import(pathToFileURL(join(packageRoot(), 'build.mjs')).href)) as { shared: BuildOptions };
    await build({ ...shared, packages: 'bundle', platform: 'browser', entryPoints: { page: 'tests/files/hub-page.ts' }, outdir: folder });
    await writeFile(join(folder, 'index.html'), '<!doctype html><title>hub</title><script type="module" src="page.js"></script>');
    const page = await browser.newPage();
    await page.goto(pages.url);
    await check(page, server, 'ask');
    await check(page, server, 'askWorker');
  } finally {
    await browser?.close();
    await server.close();
    pages.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
});

test.run();
