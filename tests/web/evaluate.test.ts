/** The evaluate panel as a person uses it, at the smallest size, against the library's own numbers. */
import type { Page } from 'puppeteer-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { evaluate, ioiEvaluation, type Results } from '../../src/evaluation/index.ts';
import { openSource } from '../../src/files/index.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { grammarFor, IoiTask, parseCrossSection } from '../../src/task/index.ts';
import { testGpu } from '../support/gpu.ts';
import { IOI_MINI } from '../support/models.ts';
import { openWeb, textOf, waitForText, type OpenedPage } from '../support/web.ts';

declare const diffract: { evaluatingEngine(): { destroyDevice(): Promise<void> } | null };

const test = suite('evaluate panel');
const tiny = { prompts: '12', trainPrompts: '260', selectionPrompts: '4', seed: '1', epochs: '2', features: '32', ks: '2', lambdas: '1', sections: 'S=z@L0H3@end', sae: 'z-L0H3-end' };
const hash = `#evaluate?${new URLSearchParams(tiny)}`;
const downloads = mkdtempSync(join(tmpdir(), 'diffract-evaluate-'));
let web: OpenedPage | null = null;

test.before(async () => {
  web = await openWeb({ hash });
  await (await web?.page.createCDPSession())?.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: downloads, eventsEnabled: true } as never);
});
test.after(async () => {
  await web?.close();
  rmSync(downloads, { recursive: true, force: true });
});

/** The file that a button saves. */
async function saved(page: Page, button: string): Promise<Buffer> {
  for (const name of readdirSync(downloads)) rmSync(join(downloads, name));
  await page.click(button);
  for (let i = 0; i < 200; i++) {
    const [name] = readdirSync(downloads).filter((one) => !one.endsWith('.crdownload'));
    if (name) return readFileSync(join(downloads, name));
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${button} saved nothing`);
}

let text = '';

test('an evaluation runs with progress and ends with the report and the files of the command line', async () => {
  if (!web) return;
  const { page } = web;
  await page.waitForSelector('#evaluate-sae-z-L0H3-end', { timeout: 60_000 });
  assert.ok(await page.$eval('#evaluate-sae-z-L0H3-end', (box) => (box as HTMLInputElement).checked), 'the address chooses a loaded dictionary');
  await page.click('#evaluate-run');
  await page.waitForSelector('#evaluate-progress progress');
  assert.match(await waitForText(page, '#evaluate-table', /Interpretability/, 120_000), /ioi-mini on ioi: 12 prompts scored, dictionaries fitted on 260, seed 1/);
  assert.is(await page.$('#evaluate-progress'), null);
  text = (await saved(page, '#evaluate-save-results')).toString();
  const results = JSON.parse(text) as Results;
  assert.match(results.environment.versions.browser!, /Chrome \d+/);
  assert.equal([...new Set(results.dictionaries.map(({ name }) => name))].sort(), ['supervised', 'vanilla λ=1', 'vanilla λ=1, loaded']);
  const report = (await saved(page, '#evaluate-save-report')).toString();
  assert.match(report, /^<!doctype html>/i);
  assert.ok(await page.$eval('#evaluate-report', (frame) => (frame as HTMLIFrameElement).contentDocument!.querySelectorAll('svg').length > 3), 'the report shows its charts');
  assert.match((await saved(page, '#evaluate-save-trained')).toString('latin1'), /^PK.*cfg\.json.*sae_weights\.safetensors/s);
});

test('its numbers are those of the library in Node', async () => {
  if (!web) return;
  const { tests, task } = JSON.parse(text) as Results;
  const gpu = await testGpu();
  const model = await Gpt2.load(gpu, openSource(IOI_MINI));
  try {
    const own = ioiEvaluation(IoiTask.create(model.tokenizer!, await grammarFor(openSource(IOI_MINI))));
    const here = await evaluate(model, own, {
      prompts: 12, trainPrompts: 260, selectionPrompts: 4, seed: 1, dictionaries: ['supervised'], ks: [2], crossSections: [parseCrossSection(tiny.sections)],
    });
    const near = (a: number, b: number, what: string): void => assert.ok(Math.abs(a - b) <= 1e-3 * Math.max(1, Math.abs(b)), `${what}: ${a} is not ${b}`);
    near(task.logitDiff.mean, here.task.logitDiff.mean, 'logit difference');
    for (const row of here.tests.approximation) {
      const theirs = tests.approximation.find((one) => one.crossSection === row.crossSection && one.dictionary === row.dictionary)!;
      near(theirs.sufficiency!, row.sufficiency!, `sufficiency of ${row.dictionary}`);
      near(theirs.necessity!, row.necessity!, `necessity of ${row.dictionary}`);
    }
  } finally {
    model.dispose();
  }
});

test('a run can be cancelled, and what was there stays', async () => {
  if (!web) return;
  const { page, faults } = web;
  await page.click('#evaluate-run');
  await page.waitForSelector('#evaluate-progress button');
  await page.click('#evaluate-progress button');
  await page.waitForFunction(() => !document.querySelector('#evaluate-progress'), { timeout: 60_000 });
  assert.is(await page.$('#evaluate-problem'), null);
  assert.match(await textOf(page, '#evaluate-table'), /12 prompts scored/);
  assert.equal(faults, []);
});

test('a device that is lost under a run is said next to it, and another run can begin', async () => {
  if (!web) return;
  const { page } = web;
  await page.click('#evaluate-run');
  await waitForText(page, '#evaluate-progress', /fitting|training|sites|prompts/i);
  await page.evaluate(() => diffract.evaluatingEngine()!.destroyDevice());
  assert.match(await waitForText(page, '#evaluate-problem', /lost/), /the GPU device (is|was) lost.*run it again/);
  assert.match(await textOf(page, '#evaluate-table'), /12 prompts scored/);
  assert.ok(await page.$('#loaded-model'), 'the device of the panels is another');
  await page.click('#evaluate-run');
  await page.waitForSelector('#evaluate-progress button');
  assert.is(await page.$('#evaluate-problem'), null);
  await page.click('#evaluate-progress button');
  await page.waitForFunction(() => !document.querySelector('#evaluate-progress'), { timeout: 60_000 });
});

test('wrong settings are said next to them, and a site that is not there next to the button', async () => {
  if (!web) return;
  const { page } = web;
  await page.click('#panel-evaluate details summary');
  await page.$eval('#evaluate-ks', (input) => { (input as HTMLInputElement).value = '2, many'; input.dispatchEvent(new Event('change', { bubbles: true })); });
  assert.match(await waitForText(page, '.field:has(#evaluate-ks) .field-error', /needed/), /whole numbers from 1 up, separated by commas/);
  assert.ok(await page.$eval('#evaluate-run', (button) => (button as HTMLButtonElement).disabled));
  await page.$eval('#evaluate-ks', (input) => { (input as HTMLInputElement).value = '2'; input.dispatchEvent(new Event('change', { bubbles: true })); });
  await page.$eval('#evaluate-sections', (input) => { (input as HTMLTextAreaElement).value = 'S=z@L9H3@end'; input.dispatchEvent(new Event('change', { bubbles: true })); });
  await page.waitForFunction(() => !(document.querySelector('#evaluate-run') as HTMLButtonElement).disabled);
  await page.click('#evaluate-run');
  assert.match(await waitForText(page, '#evaluate-problem', /layers/), /site "z@L9H3@end": the model has layers 0 to 3/);
});

test('a finished evaluation survives a reload, and is deleted when asked', async () => {
  if (!web) return;
  const { page } = web;
  await page.reload();
  await page.waitForSelector('#evaluate-kept button', { timeout: 60_000 });
  await page.click('#evaluate-kept button[aria-label^=Show]');
  await waitForText(page, '#evaluate-table', /12 prompts scored/);
  assert.is((await saved(page, '#evaluate-save-results')).toString(), text);
  page.once('dialog', (dialog) => void dialog.accept());
  await page.click('#evaluate-kept button[aria-label^=Delete]');
  await page.waitForFunction(() => !document.querySelector('#evaluate-kept'), { timeout: 30_000 });
});

test.run();
