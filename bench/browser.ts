/** `--browser`: serves the page to a headless Chromium on this machine and takes the result out of it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { serveFolder } from '../src/cli/static-server.ts';
import { AdapterError, UsageError } from '../src/errors.ts';
import type { PageOptions } from './in-page.ts';
import { parseBench, type BenchResult } from './results.ts';

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
