// The built page as scripts need it: served from this machine, and a headless Chromium with WebGPU to open it in.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import chromium from '@sparticuz/chromium';
import puppeteer from 'puppeteer-core';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** Calls work with the address of dist/web while it is served. */
export async function whileServed(work) {
  const server = spawn(process.execPath, [join(root, 'dist', 'cli.js'), 'serve', '--port', '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    return await work(await new Promise((resolve, reject) => {
      let said = '';
      server.stdout.on('data', (bytes) => { said += bytes; const found = /(http:\S+)/.exec(said); if (found) resolve(found[1]); });
      server.on('exit', () => reject(new Error('the page is not served: npm run build:web first')));
    }));
  } finally {
    server.kill();
  }
}

/** Calls work with a browser in a fresh profile; CHROMIUM names another than that of the development packages. */
export async function inBrowser(work, args = []) {
  const profile = mkdtempSync(join(tmpdir(), 'diffract-page-'));
  let browser = null;
  try {
    browser = await puppeteer.launch({
      executablePath: process.env.CHROMIUM ?? await chromium.executablePath(), headless: false, userDataDir: profile, protocolTimeout: 600_000, ignoreDefaultArgs: ['--disable-gpu'],
      args: ['--headless=new', '--no-sandbox', '--enable-unsafe-webgpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking', ...args],
    });
    return await work(browser);
  } finally {
    await browser?.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}
