/** The page in a real browser, narrow and wide. Skipped, with a word, where the browser of the development packages cannot start; in CI that is a failure. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { charts, renderReport } from '../../src/report/index.ts';
import { launchBrowser } from '../support/browser.ts';
import { fixture } from './fixture.ts';

const test = suite('report in a browser');

test('shows every chart on a phone and on a desktop, in both colour schemes, without errors or requests', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'diffract-page-'));
  const browser = await launchBrowser(join(folder, 'profile'));
  try {
    if (!browser) return;
    await writeFile(join(folder, 'report.html'), await renderReport(fixture()));
    const page = await browser.newPage();
    const faults: string[] = [];
    page.on('pageerror', (error) => faults.push(String(error)));
    page.on('console', (message) => faults.push(message.text()));
    page.on('request', (request) => { if (!request.url().startsWith('file:') && !request.url().startsWith('blob:')) faults.push(request.url()); });
    const background: string[] = [];
    for (const [width, scheme] of [[360, 'dark'], [1280, 'light']] as const) {
      await page.setViewport({ width, height: 800 });
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
      await page.goto(pathToFileURL(join(folder, 'report.html')).href);
      for (const summary of await page.$$('summary')) await summary.click();
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `the page is wider than ${width} pixels`);
      const drawings = await page.$$eval('figure svg', (all) => all.map((svg) => svg.getBoundingClientRect()).map(({ width: w, height: h }) => w > 200 && h > 40));
      assert.is(drawings.length, charts(fixture()).reduce((sum, chart) => sum + chart.panels.length, 0));
      assert.ok(drawings.every(Boolean));
      background.push(await page.$eval('body', (body) => getComputedStyle(body).backgroundColor));
      // Colours are variables: a mark must have resolved one.
      assert.match(await page.$eval('#approximation figure path[aria-label]', (bar) => getComputedStyle(bar).fill), /^rgb/);
    }
    assert.is.not(background[0], background[1]);
    const mark = (await page.$('#control figure path[aria-label]'))!;
    await mark.hover();
    assert.is(await page.$eval('#tip', (tip) => tip.textContent), await mark.evaluate((element) => element.getAttribute('aria-label')));
    assert.equal(faults, []);
  } finally {
    await browser?.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
});

test.run();
