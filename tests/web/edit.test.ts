/** The edit panel as a person uses it. */
import type { Page } from 'puppeteer-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openWeb, textOf, waitForText, type OpenedPage } from '../support/web.ts';

declare const diffract: { engine(): { destroyDevice(): Promise<void> } };

const test = suite('edit panel');
let web: OpenedPage | null = null;

test.before(async () => { web = await openWeb({ hash: '#edit?seed=3' }); });
test.after(async () => web?.close());

const PATCHED = /The logit difference goes from [+−\d.]+ to [+−\d.]+; the true patch brings it to [+−\d.]+\./;
/** Waits until the sentence is another than before and nothing is stale, and gives it. */
async function next(page: Page, before: string): Promise<string> {
  await page.waitForFunction((old) => {
    const now = document.querySelector<HTMLElement>('#edit-sentence');
    return now && now.innerText !== old && !document.querySelector('#panel-edit .edit-stale');
  }, { timeout: 60_000 }, before);
  return textOf(page, '#edit-sentence');
}
async function fill(page: Page, selector: string, text: string): Promise<void> {
  await page.click(selector, { count: 3 });
  await page.keyboard.press('Backspace');
  await page.type(selector, text);
}
const choose = (page: Page, value: string): Promise<void> => page.click(`input[name=edit-by][value=${value}]`);

test('an edit of S stands beside the prompt, the true patch and the counterfactual', async () => {
  if (!web) return;
  const { page } = web;
  const first = await waitForText(page, '#edit-sentence', PATCHED);
  assert.match(first, /^S is told to be \w+, at z@L0H3@end\. The model (still )?says/);
  for (const column of ['clean', 'edited', 'patched', 'counterfactual']) assert.match(await textOf(page, `#edit-${column}`), /·\w+\s+[\d.]+ %/);
  assert.match(await textOf(page, '#edit-sites-table'), /z@L0H3@end\s+supervised\s+[\d.]+ %/);
  const [, s] = /^S is told to be (\w+)/.exec(first)!;
  assert.ok((await textOf(page, '#edit-counterfactual')).includes(s!), 'the counterfactual speaks of the new S');
});

test('names, places and sites are chosen, by mouse and keyboard, and the address holds them', async () => {
  if (!web) return;
  const { page } = web;
  const before = await textOf(page, '#edit-sentence');
  await fill(page, '#edit-s', 'Mary');
  const mary = await next(page, before);
  assert.match(mary, /^S is told to be Mary/);
  await page.focus('#edit-swap');
  await page.keyboard.press('Space');
  const both = await next(page, mary);
  assert.match(both, /^S is told to be Mary, and the first two names are told to have changed places/);
  await fill(page, '#edit-sites', 'v@L0H3@s2, z@L0H3@end');
  assert.match(await next(page, both), /at 2 sites/);
  const params = new URLSearchParams((await page.evaluate(() => location.hash)).split('?')[1]);
  assert.equal(Object.fromEntries(params), { seed: '3', s: 'Mary', swap: '1', where: 'v@L0H3@s2, z@L0H3@end' });
});

test('a link shows the same again, also after the device was lost', async () => {
  if (!web) return;
  const { page, browser, faults } = web;
  const shown = await textOf(page, '#edit-sentence');
  const other = await browser.newPage();
  await other.goto(page.url());
  await waitForText(other, '#edit-sentence', PATCHED);
  assert.is(await textOf(other, '#edit-sentence'), shown);
  assert.is(await other.$eval('#edit-s', (input) => (input as HTMLInputElement).value), 'Mary');
  await other.evaluate(() => diffract.engine().destroyDevice());
  await waitForText(other, '#recovered', /is open again/);
  await other.waitForFunction(() => !document.querySelector('#panel-edit .edit-stale'), { timeout: 60_000 });
  assert.is(await waitForText(other, '#edit-sentence', PATCHED), shown);
  await other.close();
  assert.equal(faults, []);
});

test('features are taken out and added by hand', async () => {
  if (!web) return;
  const { page } = web;
  const before = await textOf(page, '#edit-sentence');
  await choose(page, 'hand');
  const clean = await next(page, before);
  assert.match(clean, /^The model goes on with “\w+”\. Change a feature at z@L0H3@end/);
  const difference = await textOf(page, '#edit-edited .edit-difference');
  assert.is(difference, await textOf(page, '#edit-clean .edit-difference'));
  await page.select('#edit-features tbody tr:first-child select', 'remove');
  const removed = await next(page, clean);
  assert.match(removed, /^The model (still|now) goes on with/);
  assert.is.not(await textOf(page, '#edit-edited .edit-difference'), difference);
  await page.type('#edit-add-feature', '7');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => /change=.*7%3Aadd%3A1/.test(location.hash), { timeout: 10_000 });
  await page.click('#edit-reset');
  await page.waitForFunction(() => !/change=/.test(location.hash), { timeout: 10_000 });
});

test('an SAE edits towards the counterfactual', async () => {
  if (!web) return;
  const { page } = web;
  await choose(page, 'sae');
  const sentence = await waitForText(page, '#edit-sentence', PATCHED);
  assert.match(sentence, /^S is told to be Mary/);
  assert.match(await textOf(page, '#edit-sites-table'), /vanilla λ=1/);
});

test('what is wrong is said next to it, and the page goes on', async () => {
  if (!web) return;
  const { page, faults } = web;
  await choose(page, 'supervised');
  await fill(page, '#edit-s', 'Zebulon');
  assert.match(await waitForText(page, '.field:has(#edit-s) .field-error', /Zebulon/), /is none of the task’s 125 names/);
  await fill(page, '#edit-s', 'Mary');
  await fill(page, '#edit-prompt', 'Mary and John went to the park to');
  assert.match(await waitForText(page, '.field:has(#edit-prompt) .field-error', /named again/), /neither Mary nor John/);
  await fill(page, '#edit-prompt', 'Anna and John went to the park. John gave a book to');
  await waitForText(page, '#edit-attributes', /IO Anna · S John · Pos ABB/);
  await page.waitForFunction(() => !document.querySelector('.field:has(#edit-prompt) .field-error') && !document.querySelector('#panel-edit .edit-stale'), { timeout: 60_000 });
  assert.is(await page.$eval('#edit-swap', (box) => (box as HTMLInputElement).checked), true, 'what was chosen before stays');
  assert.match(await textOf(page, '#edit-counterfactual'), /Mary and Anna went to the park\. Mary gave/);
  assert.equal(faults, []);
});

test.run();
