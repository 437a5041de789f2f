// Pictures of every panel of the built page, wide and narrow, light and dark, from a run in headless Chromium.
//   npm run build:web && node tests/web/screenshots.mjs [FOLDER] [PANEL …]      into screenshots/ unless another folder is named
// Panels are shown as their tests' addresses open them; what a panel has to do first (an evaluation, a training run) is started by its button.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { inBrowser, whileServed } from '../../bench/served-page.mjs';

const [folder = 'screenshots', ...wanted] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });

const small = { prompts: '40', trainPrompts: '400', selectionPrompts: '12', epochs: '8', features: '64', sections: 'S=v@L0H3@s2\nout=z@L0H3@end' };
/** How each panel is opened, and what is done on it before its picture is taken. */
const PANELS = {
  explore: ['#explore', async (page) => {
    await page.waitForSelector('#explore-features tbody tr', { timeout: 60_000 });
    await page.click('#explore-features tbody button').catch(() => {});
    await page.waitForSelector('#explore-examples', { timeout: 120_000 }).catch(() => {});
    await page.waitForFunction(() => !document.querySelector('#panel-explore .explore-stale'), { timeout: 60_000 });
  }],
  edit: ['#edit?seed=3&where=v@L0H3@s2', async (page) => { await page.waitForSelector('#edit-sentence', { timeout: 60_000 }); }],
  evaluate: [`#evaluate?${new URLSearchParams(small)}`, async (page) => {
    await page.click('#evaluate-run');
    await page.waitForSelector('#evaluate-table', { timeout: 300_000 });
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }],
  train: ['#train', async (page) => {
    await page.waitForSelector('#train-start:not([disabled])');
    await page.click('#train-start');
    await page.waitForFunction(() => document.querySelector('#train-current-title')?.innerText.includes('is finished'), { timeout: 300_000 });
    await page.click('#train-current-use');
    await page.waitForSelector('#train-current-loaded');
  }],
  benchmark: ['#benchmark?words=layer norm&samples=2', async (page) => {
    await page.click('#benchmark-run');
    await page.waitForSelector('#benchmark-save', { timeout: 300_000 });
  }],
  models: ['#models', async (page) => { await page.waitForFunction(() => document.querySelectorAll('#models-dictionaries button').length >= 5, { timeout: 60_000 }); }],
};
const LOOKS = [['wide-light', 1280, 'light'], ['wide-dark', 1280, 'dark'], ['narrow-light', 390, 'light'], ['narrow-dark', 390, 'dark']];

await whileServed((url) => inBrowser(async (browser) => {
  const page = await browser.newPage();
  page.on('pageerror', (error) => console.error(`the page: ${error.message}`));
  page.on('console', (message) => { if (message.type() === 'error') console.error(`the console: ${message.text()}`); });
  for (const [name, [hash, prepare]] of Object.entries(PANELS).filter(([name]) => wanted.length === 0 || wanted.includes(name))) {
    await page.setViewport({ width: 1280, height: 900 });
    await page.goto('about:blank');
    await page.goto(url + hash);
    await page.waitForSelector('#loaded-model', { timeout: 60_000 });
    await prepare(page);
    for (const [look, width, scheme] of LOOKS) {
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
      await page.setViewport({ width, height: 900 });
      await new Promise((resolve) => setTimeout(resolve, 300));
      const { scrollWidth, clientWidth } = await page.evaluate(() => ({ scrollWidth: document.documentElement.scrollWidth, clientWidth: document.documentElement.clientWidth }));
      if (scrollWidth > clientWidth) console.error(`${name} ${look}: the page is ${scrollWidth} px wide in a window of ${clientWidth}`);
      await page.screenshot({ path: join(folder, `${name}-${look}.png`), fullPage: true });
    }
    console.log(`${name}: ${LOOKS.length} pictures`);
  }
}, ['--hide-scrollbars']));
