/** The benchmark panel as a person uses it, on the smallest cases. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openWeb, textOf, waitForText, type OpenedPage } from '../support/web.ts';

declare const diffract: { benchmarkEngine(): { destroyDevice(): Promise<void> } | null };

const test = suite('benchmark panel');
let web: OpenedPage | null = null;

test.before(async () => { web = await openWeb({ hash: '#benchmark?words=argmax&samples=1' }); });
test.after(async () => web?.close());

test('rows are measured, checked and saved', async () => {
  if (!web) return;
  const { page } = web;
  await page.click('#benchmark-run');
  await page.waitForSelector('#benchmark-stop');
  assert.match(await waitForText(page, '#benchmark-rows-title', /rows? in \d+ s/, 120_000), /^\d+ rows? in \d+ s$/);
  const cells = await page.$$eval('#benchmark-rows tbody tr', (rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent!)));
  assert.ok(cells.length > 0);
  for (const [kernel, , time] of cells) {
    assert.match(kernel!, /argmax/);
    assert.match(time!, /^[\d.,]+ (µs|ms|s)$/);
  }
  assert.match(await textOf(page, '#benchmark-ceilings'), /swiftshader.*copy [\d.]+ GB\/s/i);
  assert.is(await page.$('#benchmark-wrong'), null);
});

test('it can be stopped, and keeps what was measured', async () => {
  if (!web) return;
  const { page, faults } = web;
  await page.click('#benchmark-words', { count: 3 });
  await page.type('#benchmark-words', 'argmax, softmax');
  await page.click('#benchmark-run');
  await page.waitForSelector('#benchmark-rows tbody tr', { timeout: 120_000 });
  if (await page.$('#benchmark-stop')) await page.click('#benchmark-stop');
  assert.match(await waitForText(page, '#benchmark-rows-title', /rows? in \d+ s/, 120_000), /stopped$|in \d+ s$/);
  assert.ok((await page.$$('#benchmark-rows tbody tr')).length > 0);
  assert.equal(faults, []);
});

test('a device that is lost under it is said, and the rows that came before stay', async () => {
  if (!web) return;
  const { page } = web;
  await page.click('#benchmark-run');
  await page.waitForSelector('#benchmark-rows tbody tr', { timeout: 120_000 });
  await page.evaluate(() => diffract.benchmarkEngine()!.destroyDevice());
  assert.match(await waitForText(page, '#benchmark-problem', /lost/), /rows measured so far stand below/);
  assert.ok((await page.$$('#benchmark-rows tbody tr')).length > 0);
});

test('a word that stands for nothing is said', async () => {
  if (!web) return;
  const { page } = web;
  await page.click('#benchmark-words', { count: 3 });
  await page.type('#benchmark-words', 'nothing of the kind');
  await page.click('#benchmark-run');
  assert.match(await waitForText(page, '#benchmark-problem', /nothing of the kind/), /no benchmark is called "nothing of the kind"/);
});

test.run();
