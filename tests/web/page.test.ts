/** The page as a whole: it opens, says what it runs on, goes on after what goes wrong, and does without a network. */
import type { Page } from 'puppeteer-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openWeb, textOf, waitForText, type OpenedPage } from '../support/web.ts';

declare const diffract: { engine(): { destroyDevice(): Promise<void>; memory(): Promise<{ live: number }> } };

const test = suite('page');
let web: OpenedPage | null = null;

test.before(async () => { web = await openWeb(); });
test.after(async () => web?.close());

const panelShown = (page: Page): Promise<string[]> => page.$$eval('[id^=panel-]', (all) => all.filter((one) => !(one as HTMLElement).hidden).map((one) => one.id));

test('it opens on the embedded model and its dictionaries, and says what it runs on', async () => {
  if (!web) return;
  assert.match(await textOf(web.page, '#machine'), /swiftshader.*ioi-mini/is);
  assert.match(await textOf(web.page, '#software'), /on the processor/);
  assert.equal(await panelShown(web.page), ['panel-explore']);
  assert.equal(web.faults, []);
});

test('panels are reached by links, by the keyboard and by the address', async () => {
  if (!web) return;
  const { page } = web;
  await page.click('nav a[href^="#models"]');
  await page.waitForSelector('#panel-models:not([hidden])');
  await page.focus('nav a[href^="#edit"]');
  await page.keyboard.press('Enter');
  await page.waitForSelector('#panel-edit:not([hidden])');
  assert.equal(await panelShown(page), ['panel-edit']);
  assert.is(await page.$eval('nav a[aria-current]', (link) => link.textContent), 'Edit');
  await page.evaluate(() => { location.hash = '#explore'; });
  await page.waitForSelector('#panel-explore:not([hidden])');
  assert.equal(await panelShown(page), ['panel-explore']);
});

test('no panel is wider than a phone, in either colour scheme', async () => {
  if (!web) return;
  const { page } = web;
  await page.setViewport({ width: 360, height: 800 });
  for (const name of ['explore', 'edit', 'evaluate', 'train', 'benchmark', 'models']) {
    await page.evaluate((hash) => { location.hash = hash; }, name);
    await page.waitForSelector(`#panel-${name}:not([hidden])`);
    if (name === 'edit') await page.waitForSelector('#edit-sentence', { timeout: 60_000 });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} is wider than 360 px`);
  }
  await page.setViewport({ width: 1280, height: 900 });
  await page.evaluate(() => { location.hash = 'explore'; });
});

test('a lost device is said and opened again, with model and inputs as they were', async () => {
  if (!web) return;
  const { page } = web;
  const before = await page.evaluate(() => location.hash);
  await page.evaluate(() => diffract.engine().destroyDevice());
  assert.match(await waitForText(page, '#recovered', /is open again/), /The GPU device was lost/);
  assert.match(await textOf(page, '#machine'), /ioi-mini/);
  assert.ok((await page.evaluate(() => diffract.engine().memory())).live > 3e6);
  assert.is(await page.evaluate(() => location.hash), before);
  await page.click('#recovered button');
  assert.is(await page.$('#recovered'), null);
});

test('a device that is lost again and again waits for the user', async () => {
  if (!web) return;
  const { page } = web;
  for (let i = 0; i < 2; i++) {
    await page.evaluate(() => diffract.engine().destroyDevice());
    if (i === 0) await waitForText(page, '#recovered', /is open again/);
  }
  assert.match(await waitForText(page, '#lost', /lost again/), /Open it again/);
  await page.click('#lost button');
  await waitForText(page, '#machine', /ioi-mini/);
});

test('opened once, it opens and computes without a network', async () => {
  if (!web) return;
  const { page, server, faults } = web;
  await page.evaluate(async () => { await navigator.serviceWorker.ready; });
  await page.reload();
  await waitForText(page, '#machine', /ioi-mini/);
  server.close();
  await page.reload();
  await waitForText(page, '#machine', /ioi-mini/);
  assert.equal(faults.filter((fault) => !/device.*lost|destroyed/i.test(fault)), []);
});

test('without WebGPU it says what to do', async () => {
  const bare = await openWeb({ webgpu: false, ready: false });
  if (!bare) return;
  try {
    assert.match(await waitForText(bare.page, '#missing', /adapter/), /Chrome and Edge have WebGPU from version 113/);
    assert.equal(bare.faults, []);
  } finally {
    await bare.close();
  }
});

test.run();
