/** Downloads from a hub and what the browser keeps, as a person uses them: progress, cancel, resume, a full quota, deleting. */
import { join } from 'node:path';
import type { CDPSession, Page } from 'puppeteer-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { hubServer, type HubServer } from '../support/hub-server.ts';
import { IOI_MINI } from '../support/models.ts';
import { choose, copyOf, filesIn, SAES, temporaryFolder } from '../support/web-files.ts';
import { openWeb, textOf, waitForText, type OpenedPage } from '../support/web.ts';

const test = suite('storage of the page');
const folder = temporaryFolder();
const REPOSITORY = 'someone/mini';
let web: OpenedPage | null = null;
let hub: HubServer;

test.before(async () => {
  const saes = Object.fromEntries(['z-L0H3-end', 'v-L0H3-s2'].flatMap((name) => Object.entries(filesIn(join(SAES, name))).map(([file, bytes]) => [`saes/${name}/${file}`, bytes])));
  hub = await hubServer(REPOSITORY, { ...filesIn(IOI_MINI), ...saes });
  web = await openWeb({ hash: `#models?endpoint=${encodeURIComponent(hub.url)}` });
});
test.after(async () => {
  await web?.close();
  await hub.close();
});

/** Bytes of the model's weights that the hub was asked for from where on, each time. */
const asked = (): string[] => hub.requests.filter((line) => /^GET .*model\.safetensors bytes=\d+-/.test(line) && !/bytes=0-0$/.test(line)).map((line) => /bytes=(\d+)-/.exec(line)![1]!);

async function look(page: Page, address: string): Promise<void> {
  await page.$eval('#models-hub', (one) => (one as HTMLInputElement).select());
  await page.type('#models-hub', address);
  await page.keyboard.press('Enter');
}

async function press(page: Page, selector: string, text: string): Promise<void> {
  const button = await page.waitForSelector(`${selector} ::-p-xpath(.//button[contains(normalize-space(.), "${text}")])`, { timeout: 10_000 });
  await button!.evaluate((one) => (one as HTMLButtonElement).click());
}

let session: CDPSession | null = null;

/** Gives the site so many bytes of storage; all that it had without a number. It lasts as long as the session. */
async function quota(page: Page, quotaSize?: number): Promise<void> {
  session ??= await page.createCDPSession();
  await session.send('Storage.overrideQuotaForOrigin', { origin: new URL(web!.url).origin, ...(quotaSize === undefined ? {} : { quotaSize }) });
}

test('looking at a hub’s model reads its header alone; what is not there is said', async () => {
  if (!web) return;
  const { page } = web;
  await look(page, 'someone/nothing');
  assert.match(await waitForText(page, '#models-look-problem', /./), /^someone\/nothing: the hub has no such public model/);
  hub.requests.length = 0;
  await look(page, REPOSITORY);
  const words = await waitForText(page, '#models-outlook', /left of/);
  assert.match(words, /someone\/mini[^]*4 layers of 4 heads[^]*of which 1\.\d+ MB are to be downloaded[^]*about .* left of .* for this site[^]*3\.73 MB as f32/);
  assert.ok(asked().every((start) => Number(start) <= 8), 'a header at most');
  assert.match(await page.evaluate(() => location.hash), /hub=someone%2Fmini/);
});

test('a cancelled download says what is kept, goes on from there, and the model is loaded', async () => {
  if (!web) return;
  const { page } = web;
  hub.slow = { piece: 60_000, wait: 60 };
  await press(page, '#models-outlook', 'Download');
  await page.waitForFunction(() => [...document.querySelectorAll('#models-outlook .bars progress')].some((one) => { const { value, max } = one as HTMLProgressElement; return max > 1e6 && value > 300_000 && value < max; }));
  assert.match(await textOf(page, '#models-outlook .bars'), /config\.json[^]*model\.safetensors \d+ %[^]*kB of 1\.\d+ MB/);
  await page.click('#models-cancel');
  assert.match(await waitForText(page, '#models-word', /./), /^Cancelled\. [\d.]+ (kB|MB) are kept; a download goes on from there\./);
  assert.match(await textOf(page, '#models-current'), /ioi-mini \(comes with this page\)/);
  // The page is loaded again: what came is still there.
  hub.slow = null;
  await page.reload();
  await waitForText(page, '#models-storage', /someone\/mini[^]*not complete/);
  await page.setViewport({ width: 360, height: 800 });
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'the list fits a phone');
  await page.setViewport({ width: 1280, height: 900 });
  await press(page, '#models-hub-look, form', 'Look');
  assert.match(await waitForText(page, '#models-outlook', /to be downloaded/), /of which (1\.\d+ MB|\d+ kB) are to be downloaded/);
  hub.requests.length = 0;
  await page.click('#models-load');
  await waitForText(page, '#models-word', /someone\/mini is loaded/);
  assert.ok(asked().some((start) => Number(start) >= 300_000) && !asked().includes('0'), `it goes on where it was: ${asked().join()}`);
  assert.match(await textOf(page, '#models-current'), /someone\/mini \(from the hub: someone\/mini\)[^]*933 k/);
  assert.match(await textOf(page, '#models-outlook'), /all in this browser/);
});

test('dictionaries of a hub are downloaded one by one', async () => {
  if (!web) return;
  const { page } = web;
  await look(page, `${REPOSITORY}/saes`);
  assert.match(await waitForText(page, '#models-found-dictionaries', /z-L0H3-end/), /someone\/mini\/saes\/v-L0H3-s2[^]*Download 6\d\.\d kB and add/);
  await press(page, '#models-found-dictionaries li:nth-child(2)', 'Download');
  await waitForText(page, '#models-found-dictionaries', /Added as z@L0H3@end/);
  assert.match(await textOf(page, '#models-dictionaries'), /z@L0H3@end.*from the hub: someone\/mini\/saes\/z-L0H3-end/);
});

test('what is opened from this computer can be kept, opened again from the browser, and deleted', async () => {
  if (!web) return;
  const { page } = web;
  await choose(page, '#models-folder', copyOf(IOI_MINI, join(folder, 'mine')));
  await waitForText(page, '#models-outlook', /mine/);
  await page.click('#models-load');
  await waitForText(page, '#models-word', /mine is loaded/);
  await page.click('#models-keep');
  await waitForText(page, '#models-kept', /mine is kept in this browser/);
  assert.match(await textOf(page, '#models-current'), /mine \(kept in this browser\)/);
  await page.reload();
  await press(page, '#models-storage', 'Open mine');
  await waitForText(page, '#models-outlook', /mine[^]*1\.\d+ MB/);
  await page.click('#models-load');
  await waitForText(page, '#models-word', /mine is loaded/);
  // Deleting asks first.
  await press(page, '#models-storage', 'Delete… mine');
  await press(page, '#models-storage', 'Keep');
  assert.match(await textOf(page, '#models-storage'), /mine/);
  await press(page, '#models-storage', 'Delete… mine');
  await press(page, '#models-storage', 'Delete 1.');
  await waitForText(page, '#models-storage-word', /mine is deleted/);
  await page.waitForFunction(() => !/^mine/m.test(document.querySelector<HTMLElement>('#models-storage tbody')?.innerText ?? ''), { timeout: 10_000 });
  assert.match(await textOf(page, '#models-storage'), /someone\/mini[^]*downloaded from the hub[^]*Together/);
});

test('a full quota is refused with numbers before a download, and said beside it where it runs full', async () => {
  if (!web) return;
  const { page } = web;
  // The page itself is kept there too, for use without a network.
  await page.evaluate(async () => { await navigator.serviceWorker.ready; });
  const usage = (): Promise<number> => page.evaluate(async () => (await navigator.storage.estimate()).usage!);
  const before = await usage();
  await press(page, '#models-storage', 'Delete… someone/mini');
  await press(page, '#models-storage', 'Delete 1.');
  await waitForText(page, '#models-storage-word', /is deleted/);
  // The browser counts again when it gets to it.
  for (let i = 0; i < 100 && await usage() > before - 1_800_000; i++) await new Promise((resolve) => setTimeout(resolve, 100));
  const used = await usage();
  // Chromium asks for room in pieces of 1 MiB, however little is written.
  await quota(page, used + 1_500_000);
  await look(page, REPOSITORY);
  await waitForText(page, '#models-outlook', /about .* left of \d\.\d+ MB/);
  await page.click('#models-load');
  assert.match(await waitForText(page, '#models-word', /./), /^someone\/mini: 1\.\d+ MB are needed, but the browser has [\d.]+ (kB|MB) left of the \d\.\d+ MB that it gives this site; delete what you no longer need/);
  // There is room when it begins, and none any more later.
  await quota(page, 50_000_000);
  hub.slow = { piece: 60_000, wait: 60 };
  await page.click('#models-load');
  await page.waitForFunction(() => [...document.querySelectorAll('#models-outlook .bars progress')].some((one) => (one as HTMLProgressElement).max > 1e6 && (one as HTMLProgressElement).value > 100_000));
  await quota(page, used + 600_000);
  const word = await waitForText(page, '#models-word', /full/);
  assert.match(word, /the browser’s storage for this site is full; .*\([\d.]+ MB of [\d.]+ MB are used\)/);
  assert.match(word, /is in use/);
  // What came is kept for later; the page works, and goes on when there is room.
  await waitForText(page, '#models-storage', /someone\/mini[^]*not complete/);
  hub.slow = null;
  await quota(page);
  await page.click('#models-load');
  await waitForText(page, '#models-word', /someone\/mini is loaded/);
  assert.equal(web.faults.filter((fault) => !/Failed to load resource/.test(fault)), []);
});

test.run();
