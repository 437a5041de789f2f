/** `--browser`: serves the page to a headless Chromium on this machine and takes the result out of it. */
import { createReadStream } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { extname, join, normalize, sep } from 'node:path';
import { AdapterError, UsageError } from '../src/errors.ts';
import type { PageOptions } from './page.ts';
import { parseBench, type BenchResult } from './results.ts';

const TYPES: Record<string, string> = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.json': 'application/json', '.wasm': 'application/wasm', '.map': 'application/json' };

/** Serves a folder on a free port of this machine alone. Isolated from other origins, so that a page's clock is fine-grained. */
export async function serveFolder(folder: string): Promise<{ url: string; close(): void }> {
  const server: Server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname)).replace(/[/\\]$/, `${sep}index.html`);
    const file = join(folder, path);
    void stat(file).then((info) => {
      if (!info.isFile() || !file.startsWith(folder + sep)) throw new Error('no file');
      const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
      const end = to ? Math.min(Number(to), info.size - 1) : info.size - 1;
      response.writeHead(from ? 206 : 200, {
        'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream', 'Content-Length': end - Number(from ?? 0) + 1, 'Accept-Ranges': 'bytes',
        ...(from ? { 'Content-Range': `bytes ${from}-${end}/${info.size}` } : {}),
        'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp', 'Cache-Control': 'no-store',
      });
      if (request.method === 'HEAD') response.end();
      else createReadStream(file, { start: Number(from ?? 0), end }).pipe(response);
    }).catch(() => response.writeHead(404).end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, close: () => server.close() };
}

export interface BrowserOptions extends PageOptions {
  /** Where the built page lies. */
  folder: string;
  onProgress?(text: string): void;
  signal?: AbortSignal;
}

/** Runs the benchmark in headless Chromium, the one of the development packages or $CHROMIUM. Throws UsageError where there is none. */
export async function benchInBrowser({ folder, onProgress, signal, ...options }: BrowserOptions): Promise<BenchResult> {
  const profile = await mkdtemp(join(tmpdir(), 'diffract-bench-'));
  const server = await serveFolder(folder);
  const browser = await launch(profile);
  try {
    const page = await browser.newPage();
    const faults: string[] = [];
    page.on('pageerror', (error) => faults.push((error as Error).message));
    await page.exposeFunction('benchProgress', (text: string) => onProgress?.(text));
    await page.goto(server.url);
    signal?.addEventListener('abort', () => void page.evaluate(() => window.diffractBench?.stop()).catch(() => {}));
    const answer = await page.evaluate(async (wanted) => {
      try {
        return { result: await window.diffractBench!.run(wanted) };
      } catch (error) {
        return { error: (error as Error).message };
      }
    }, options);
    if (!('result' in answer)) throw new AdapterError(`the page: ${answer.error || faults[0]}`);
    return parseBench(answer.result);
  } finally {
    await browser.close();
    server.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

async function launch(userDataDir: string) {
  try {
    const [{ default: puppeteer }, { default: chromium }] = await Promise.all([import('puppeteer-core'), import('@sparticuz/chromium')]);
    return await puppeteer.launch({
      // A run takes minutes, and so does one answer.
      protocolTimeout: 0, timeout: 30_000, userDataDir, headless: false, executablePath: process.env.CHROMIUM ?? await chromium.executablePath(),
      args: ['--headless=new', '--no-sandbox', '--enable-unsafe-webgpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking', '--disable-dawn-features=timestamp_quantization'],
      ignoreDefaultArgs: ['--disable-gpu'],
    });
  } catch (error) {
    throw new UsageError(`no browser could be started (${(error as Error).message.split('\n')[0]}): npm ci installs one, or set CHROMIUM to yours`);
  }
}
