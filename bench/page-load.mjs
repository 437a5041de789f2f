// How soon the built page shows itself, the adapter, the model and the first prediction in headless Chromium, each time in a fresh profile.
//   npm run build:web && node bench/page-load.mjs [TIMES]
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import chromium from '@sparticuz/chromium';
import puppeteer from 'puppeteer-core';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const times = Number(process.argv[2] ?? 5);
/** What is awaited, by what finds it in the page. */
const MARKS = { 'the frame': 'nav', 'the adapter': '.features', 'the model': '#loaded-model', 'the first prediction': '#explore-predictions td' };

const server = spawn(process.execPath, [join(root, 'dist', 'cli.js'), 'serve', '--port', '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
try {
  const url = await new Promise((resolve, reject) => {
    let said = '';
    server.stdout.on('data', (bytes) => { said += bytes; const found = /(http:\S+)/.exec(said); if (found) resolve(found[1]); });
    server.on('exit', () => reject(new Error('the page is not served: npm run build:web first')));
  });
  const runs = [];
  for (let i = 0; i < times; i++) runs.push(await load(url));
  const middle = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)];
  for (const name of ['first paint', ...Object.keys(MARKS)]) {
    const values = runs.map((run) => run[name]);
    console.log(`${name.padEnd(22)} ${String(middle([...values])).padStart(6)} ms   (${Math.min(...values)} to ${Math.max(...values)}, ${times} loads)`);
  }
} finally {
  server.kill();
}

async function load(url) {
  const profile = mkdtempSync(join(tmpdir(), 'diffract-load-'));
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? await chromium.executablePath(), headless: false, userDataDir: profile,
    args: ['--headless=new', '--no-sandbox', '--enable-unsafe-webgpu', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking'], ignoreDefaultArgs: ['--disable-gpu'],
  });
  try {
    const page = await browser.newPage();
    await page.evaluateOnNewDocument((marks) => {
      const seen = window.seen = {};
      const look = () => { for (const [name, selector] of Object.entries(marks)) if (!(name in seen) && document.querySelector(selector)) seen[name] = Math.round(performance.now()); };
      new MutationObserver(look).observe(document, { subtree: true, childList: true });
    }, MARKS);
    await page.goto(url);
    await page.waitForSelector(MARKS['the first prediction'], { timeout: 60_000 });
    return await page.evaluate(() => ({ 'first paint': Math.round(performance.getEntriesByName('first-contentful-paint')[0].startTime), ...window.seen }));
  } finally {
    await browser.close();
    rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}
