/** The same evaluation in Node on a driver of one's choice, and in headless Chromium. */
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type BuildOptions } from 'esbuild';
import type { Results } from '../../src/evaluation/index.ts';
import { serveFolder } from '../../src/cli/static-server.ts';
import { packageRoot } from '../../src/node-adapter.mjs';
import { launchBrowser } from '../support/browser.ts';
import type { Size } from './evaluation.ts';

async function bundle(options: BuildOptions): Promise<void> {
  const { shared } = (await import(pathToFileURL(join(packageRoot(), 'build.mjs')).href)) as { shared: BuildOptions };
  await build({ ...shared, define: { DIFFRACT_VERSION: '"parity"' }, ...options });
}

/** In a Node process of its own, on `lavapipe` or `swiftshader`. */
export async function inNode(driver: string, size: Size): Promise<Results> {
  // Inside the project, so that bare imports resolve.
  const folder = mkdtempSync(join(packageRoot(), '.test-build-parity-'));
  try {
    await bundle({ entryPoints: { node: 'tests/parity/node.ts' }, outdir: folder, platform: 'node' });
    const text = await new Promise<string>((resolve, reject) => {
      execFile(process.execPath, [join(folder, 'node.js'), size], { env: { ...process.env, DIFFRACT_ADAPTER: driver }, maxBuffer: 2 ** 26 }, (error, stdout, stderr) => {
        if (error) reject(new Error(`Node on ${driver}: ${stderr.trim().split('\n').at(-1) || error.message}`));
        else resolve(stdout);
      });
    });
    return JSON.parse(text) as Results;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** In a worker of a page in headless Chromium, on SwiftShader. Null where there is no browser; in CI that is a failure. */
export async function inChromium(size: Size): Promise<Results | null> {
  const folder = mkdtempSync(join(tmpdir(), 'diffract-parity-'));
  const browser = await launchBrowser(join(folder, 'profile'), { webgpu: true });
  if (!browser) return null;
  const site = join(folder, 'site');
  try {
    await bundle({ entryPoints: { worker: 'tests/parity/worker.ts' }, outdir: site, platform: 'browser', packages: 'bundle' });
    cpSync(join(packageRoot(), 'models', 'ioi-mini'), join(site, 'ioi-mini'), { recursive: true });
    writeFileSync(join(site, 'index.html'), '<!doctype html><title>parity</title>');
    const server = await serveFolder(site);
    try {
      const page = await browser.newPage();
      await page.goto(server.url);
      const answer = await page.evaluate(async (wanted) => {
        const worker = new Worker('worker.js', { type: 'module' });
        return new Promise<{ results?: unknown; error?: string }>((resolve) => {
          worker.onmessage = ({ data }) => resolve(data as { results?: unknown });
          worker.onerror = (event) => resolve({ error: event.message || 'the worker could not be started' });
          worker.postMessage({ size: wanted, model: new URL('ioi-mini', document.baseURI).href });
        });
      }, size);
      if (!answer.results) throw new Error(`Chromium: ${answer.error}`);
      return answer.results as Results;
    } finally {
      server.close();
    }
  } finally {
    await browser.close();
    rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}
