/** The train panel: runs that are watched, interrupted in every way, gone on with, and used; what they leave is read again by the library. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { CDPSession, Page } from 'puppeteer-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { loadSae } from '../../src/dictionary/index.ts';
import { memorySource } from '../../src/files/index.ts';
import { dataStart, readZip } from '../../src/files/torch-zip.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { collectActivations, grammarFor, IoiTask, parseSite } from '../../src/task/index.ts';
import { testGpu } from '../support/gpu.ts';
import { IOI_MINI } from '../support/models.ts';
import { choose, temporaryFolder, writeFiles } from '../support/web-files.ts';
import { openWeb, textOf, waitForText, type OpenedPage } from '../support/web.ts';

declare const diffract: { engine(): { destroyDevice(): Promise<void> }; trainingEngine(): { destroyDevice(): Promise<void> } | null };

const test = suite('train panel');
/** A run of some seconds on a processor: long enough to be caught with a checkpoint. */
const SETTINGS = { kind: 'z', layer: '0', head: '3', position: 'end', prompts: '96', epochs: '100', batch: '16', features: '48', sparsity: '3' };
const NAME = 'z@L0H3@end_topk_k_3';
let web: OpenedPage | null = null;
let cdp: CDPSession;

test.before(async () => {
  web = await openWeb({ hash: hashOf({}) });
  if (web) cdp = await web.page.createCDPSession();
});
test.after(async () => web?.close());

function hashOf(more: Record<string, string>): string {
  return `#train?${new URLSearchParams({ ...SETTINGS, ...more }).toString()}`;
}

/** Has the form show these settings. */
async function settle(page: Page, more: Record<string, string>): Promise<void> {
  await page.evaluate(async (hash) => {
    if (location.hash === hash) return;
    const heard = new Promise((resolve) => addEventListener('hashchange', resolve, { once: true }));
    location.hash = hash;
    await heard;
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 0)));
  }, hashOf(more));
}

/** Presses a button by the keyboard, wherever it has moved to meanwhile. */
async function push(page: Page, selector: string): Promise<void> {
  await (await page.waitForSelector(`${selector}:not([disabled])`))!.press('Enter');
}

async function begin(page: Page, more: Record<string, string> = {}): Promise<void> {
  await settle(page, more);
  await push(page, '#train-start');
}

/** A press of a button of a run that the page lists. */
function press(page: Page, list: string, run: string, label: string): Promise<void> {
  return push(page, `#${list} [data-run="${run}"] button[aria-label="${label} ${run}"]`);
}

/** Waits for a checkpoint of the run that is under way and gives its step. */
async function checkpointed(page: Page): Promise<number> {
  return Number(/checkpoint at step (\d+)/.exec(await waitForText(page, '#train-progress', /checkpoint at step \d+/))![1]);
}

/** Files of a folder of the page's storage. */
async function stored(page: Page, path: string): Promise<Record<string, Uint8Array>> {
  const found = await page.evaluate(async (parts) => {
    let folder = await (await navigator.storage.getDirectory()).getDirectoryHandle('diffract-page');
    for (const part of parts) folder = await folder.getDirectoryHandle(part);
    const files: Record<string, number[]> = {};
    for await (const [name, handle] of (folder as unknown as { entries(): AsyncIterable<[string, FileSystemFileHandle]> }).entries()) {
      if (handle.kind === 'file') files[name] = [...new Uint8Array(await (await handle.getFile()).arrayBuffer())];
    }
    return files;
  }, path.split('/'));
  return Object.fromEntries(Object.entries(found).map(([name, bytes]) => [name, Uint8Array.from(bytes)]));
}

/** Numbers of the table of final figures. */
async function figures(page: Page): Promise<{ mse: number; l0: number; explained: number }> {
  const [mse, l0, explained] = await page.$$eval('#train-final td', (cells) => cells.map((cell) => Number.parseFloat(cell.textContent!)));
  return { mse: mse!, l0: l0!, explained: explained! };
}

test('the form says what a run takes, and refuses with numbers what does not fit', async () => {
  if (!web) return;
  const { page } = web;
  assert.match(await waitForText(page, '#train-plan', /steps/), /600 steps: 100 passes over 96 activations of width 32.*MB on a device/);
  await page.$eval('#train-features', (input) => (input as HTMLInputElement).select());
  await page.type('#train-features', '20000000');
  assert.match(await waitForText(page, '#train-problem', /needs/), /needs a buffer of 2560000000 bytes for each matrix, but this adapter allows \d+; use fewer features/);
  assert.ok(await page.$('#train-start[disabled]'));
  await settle(page, { allowed: '3' });
  assert.match(await waitForText(page, '#train-problem', /this run/), /this run takes [\d.]+ MB on the device \(model 3\.73 MB, .*, but 3\.00 MB are allowed: use fewer features/);
  await settle(page, { sparsity: '99' });
  assert.match(await waitForText(page, '#train-problem', /k is/), /k is 99, but must be a whole number from 1 to the 48 features/);
  await settle(page, { head: '9' });
  assert.match(await waitForText(page, '#train-problem', /L0H9/), /the model has heads 0 to 3/);
});

test('a run is watched to its end, and its figures are those of the dictionary that it leaves', async () => {
  if (!web) return;
  const { page } = web;
  await begin(page);
  await waitForText(page, '#train-progress', /step \d+ of 600.*examples a second/);
  await waitForText(page, '#train-current', /is finished/);
  assert.is(await page.$$eval('#train-current svg[role=img] polyline', (lines) => lines.filter((line) => line.getAttribute('points')!.split(' ').length === 100).length), 5);
  assert.match((await page.$eval('#train-chart-l0 svg', (svg) => svg.getAttribute('aria-label')!)), /L0: 3 at step 6, 3 at step 600/);
  assert.is(await page.$$eval('#train-metrics tbody tr', (rows) => rows.length), 100);

  // The same numbers from the saved files, by the library in this process on another driver.
  const shown = await figures(page);
  const gpu = await testGpu();
  const source = directorySource(IOI_MINI);
  const model = await Gpt2.load(gpu, source);
  const sae = await loadSae(gpu, memorySource(await stored(page, `trained/${NAME}`), NAME), { width: 32, modelHash: model.hash });
  const { metadata } = sae;
  assert.equal([metadata['hook_name'], metadata['hook_head_index'], metadata['position'], metadata['site'], metadata['model_name']], ['blocks.0.attn.hook_z', 3, 'end', 'z@L0H3@end', 'ioi-mini']);
  const [rows] = await collectActivations(model, IoiTask.create(model.tokenizer!, await grammarFor(source)).sample({ count: 96, seed: 0 }), [parseSite('z@L0H3@end')]);
  const codes = sae.encode({ activations: rows! });
  const restored = sae.reconstruct(codes);
  const [x, y, f] = await Promise.all([rows!.read(), restored.read(), codes.read()]);
  let [errors, spread] = [0, 0];
  for (let column = 0; column < 32; column++) {
    let mean = 0;
    for (let i = column; i < x.length; i += 32) mean += x[i]! / 96;
    for (let i = column; i < x.length; i += 32) [errors, spread] = [errors + (x[i]! - y[i]!) ** 2, spread + (x[i]! - mean) ** 2];
  }
  assert.ok(Math.abs(shown.explained - (1 - errors / spread)) < 2e-4, `${shown.explained} shown, ${1 - errors / spread} found`);
  assert.ok(Math.abs(shown.l0 - f.filter((value) => value !== 0).length / 96) < 6e-3, `L0 ${shown.l0}`);
  const scale = metadata['activation_scale'] as number;
  assert.ok(Math.abs(shown.mse / (errors / 96 / scale ** 2) - 1) < 6e-3, `squared error ${shown.mse} shown, ${errors / 96 / scale ** 2} found`);
  for (const tensor of [rows!, codes, restored]) tensor.dispose();
  sae.dispose();
  model.dispose();
});

test('used, the dictionary is beside the model for all panels, and a link leads to it', async () => {
  if (!web) return;
  const { page } = web;
  await push(page, '#train-current-use');
  await waitForText(page, '#train-current-loaded', /Loaded beside the model/);
  const href = await page.$eval('#train-current-loaded a', (link) => link.getAttribute('href')!);
  assert.match(decodeURIComponent(href), /^#explore\?dictionary=z@L0H3@end_topk_k_3&layer=0&kind=z&head=3&at=end$/);
  assert.is(await page.$('#train-current-use'), null);
});

test('a page that is closed in the middle loses nothing before the last checkpoint, and a resumed run ends with the same bytes', async () => {
  if (!web) return;
  const { page, faults } = web;
  await begin(page);
  const step = await checkpointed(page);
  await page.reload();
  const listed = await waitForText(page, '#train-unfinished', /of 600/);
  assert.match(listed, /z@L0H3@end_topk_k_3-2/);
  assert.ok(Number(/step ([\d,]+) of/.exec(listed)![1]!.replace(',', '')) >= step, listed);
  await page.waitForSelector('#loaded-model');
  await press(page, 'train-unfinished', `${NAME}-2`, 'Resume');
  await waitForText(page, '#train-current', /is finished/);
  assert.is(await page.$$eval('#train-metrics tbody tr', (rows) => rows.length), 100);
  await (await page.$(`[data-run="${NAME}"] summary`))!.click();
  await page.waitForFunction((run) => document.querySelectorAll(`[data-run="${run}"] svg[role=img]`).length === 4, {}, NAME);
  const [whole, resumed] = [await stored(page, `trained/${NAME}`), await stored(page, `trained/${NAME}-2`)];
  assert.equal(Object.keys(resumed).sort(), ['cfg.json', 'sae_weights.safetensors']);
  for (const [name, bytes] of Object.entries(whole)) assert.equal(Buffer.from(resumed[name]!).compare(bytes), 0, `${name} differs`);
  assert.equal(Object.keys(await stored(page, `training/${NAME}-2`)).sort(), ['metrics.jsonl', 'run.json']);
  assert.equal((await stored(page, `training/${NAME}-2`))['metrics.jsonl'], (await stored(page, `training/${NAME}`))['metrics.jsonl']);
  await press(page, 'train-trained', NAME, 'Delete');
  await page.waitForFunction((run) => !document.querySelector(`[data-run="${run}"]`), {}, NAME);
  assert.equal(faults, []);
});

test('a lost device is said next to the run, which goes on from its checkpoint; stopped, it can be deleted', async () => {
  if (!web) return;
  const { page } = web;
  await begin(page, { seed: '1', epochs: '600' });
  await checkpointed(page);
  // A GPU that is gone takes all devices with it.
  await page.evaluate(() => Promise.all([diffract.trainingEngine()!.destroyDevice(), diffract.engine().destroyDevice()]));
  const said = await waitForText(page, '#train-failed', /lost/);
  const from = Number(/Resume goes on from the checkpoint at step (\d+)/.exec(said)![1]);
  await waitForText(page, '#recovered', /is open again/);
  await push(page, '#train-current-resume');
  await waitForText(page, '#train-progress', /step \d/);
  const first = Number(/step ([\d,]+) of/.exec(await textOf(page, '#train-progress'))![1]!.replace(',', ''));
  assert.ok(first > from && first < 3600, `${first} after ${from}`);
  await push(page, '#train-stop');
  assert.match(await waitForText(page, '#train-where', /After step/), /After step \d+ of 3,600/);
  const name = await textOf(page, '#train-current-title code');
  assert.ok((await stored(page, `training/${name}`))['checkpoint.safetensors']!.length > 10_000);
  await push(page, '#train-current-delete');
  await page.waitForFunction(() => !document.querySelector('#train-current'));
  assert.not.match(await textOf(page, '#panel-train'), new RegExp(`${name}\n`));
});

test('where the storage is full, it is said, training goes on, and what it leaves can be downloaded and used', async () => {
  if (!web) return;
  const { page, url } = web;
  const downloads = temporaryFolder();
  await cdp.send('Storage.overrideQuotaForOrigin', { origin: new URL(url).origin, quotaSize: 1000 });
  await cdp.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: downloads });
  try {
    await begin(page, { epochs: '4', variant: 'vanilla', sparsity: '1' });
    await waitForText(page, '#train-current', /is finished/);
    assert.match(await textOf(page, '#train-unsaved'), /storage for this site is full.*\(.* of 1\.00 kB are used\).*in this page only/s);
    await push(page, '#train-current-download');
    const name = await textOf(page, '#train-current-title code');
    for (let tries = 0; tries < 100 && !readdirSync(downloads).includes(`${name}.zip`); tries++) await new Promise((resolve) => setTimeout(resolve, 50));
    const archive = directorySource(downloads);
    const inside = await readZip(archive, `${name}.zip`);
    assert.equal([...inside.keys()], [`${name}/cfg.json`, `${name}/sae_weights.safetensors`]);
    const entry = inside.get(`${name}/cfg.json`)!;
    const start = await dataStart(archive, `${name}.zip`, `${name}/cfg.json`, entry);
    assert.is((JSON.parse(new TextDecoder().decode(await archive.range(`${name}.zip`, start, start + entry.size))) as { d_sae: number }).d_sae, 48);
    await push(page, '#train-current-use');
    await waitForText(page, '#train-current-loaded', /Loaded beside the model/);

    // A run that is stopped goes on from what the page holds.
    await begin(page, { seed: '2', epochs: '600' });
    await waitForText(page, '#train-progress', /step \d.*examples a second/);
    await push(page, '#train-stop');
    const stopped = Number(/After step (\d+) of 3,600/.exec(await waitForText(page, '#train-where', /After step/))![1]);
    assert.match(await textOf(page, '#train-unsaved'), /What is trained so far is in this page only/);
    await push(page, '#train-current-resume');
    const step = Number(/step ([\d,]+) of/.exec(await waitForText(page, '#train-progress', /step \d/))![1]!.replace(',', ''));
    assert.ok(stopped > 0 && step > stopped, `${step} after ${stopped}`);
    await push(page, '#train-stop');
    await waitForText(page, '#train-where', /After step/);
  } finally {
    await cdp.send('Storage.overrideQuotaForOrigin', { origin: new URL(url).origin });
  }
});

test('a file of text is trained on; what cannot be read is refused by its name and leaves nothing behind', async () => {
  if (!web) return;
  const { page } = web;
  const folder = temporaryFolder();
  const text = 'Mary and John went to the park. John gave a book to Mary. Then Anna and Paul met at the store. '.repeat(12);
  writeFiles(folder, { 'broken.jsonl': '{"words": "Mary and John"}\n', 'story.txt': text });
  const more = { on: 'text', text: 'file', hook: 'blocks.1.hook_resid_post', tokens: '256', round: '64', batch: '32' };
  await settle(page, more);
  const chosen = async (name: string): Promise<void> => {
    await choose(page, '#train-file', join(folder, name));
    await push(page, '#train-start');
  };
  await chosen('broken.jsonl');
  assert.match(await waitForText(page, '#train-failed', /./), /broken\.jsonl.*has no field text, input_ids, tokens; it has words/);
  assert.is(await page.$('#train-current-resume'), null);
  assert.not.match(await page.$$eval('[data-run]', (all) => all.map((one) => (one as HTMLElement).dataset['run']).join()), /resid_post/);
  await chosen('story.txt');
  await waitForText(page, '#train-current', /is finished/);
  const name = 'blocks.1.hook_resid_post_topk_k_3';
  const { metadata } = JSON.parse(new TextDecoder().decode((await stored(page, `trained/${name}`))['cfg.json'])) as { metadata: Record<string, unknown> };
  assert.equal([metadata['dataset_path'], metadata['hook_name'], metadata['context_size']], ['story.txt', 'blocks.1.hook_resid_post', 64]);
  assert.equal(web.faults, []);
});

test('a hook is trained on text that the model writes, stopped and gone on with', async () => {
  if (!web) return;
  const { page } = web;
  await begin(page, { on: 'text', hook: 'blocks.0.attn.hook_z', hookHead: '3', documents: '64', length: '12', tokens: '2400', round: '400', batch: '4' });
  await waitForText(page, '#train-progress', /step \d+ of 600.*tokens a second/);
  await push(page, '#train-stop');
  await waitForText(page, '#train-where', /After step/);
  await page.reload();
  await page.waitForSelector('#loaded-model');
  await press(page, 'train-unfinished', 'blocks.0.attn.hook_z.3_topk_k_3', 'Resume');
  await waitForText(page, '#train-current', /is finished/);
  const files = await stored(page, 'trained/blocks.0.attn.hook_z.3_topk_k_3');
  const { metadata } = JSON.parse(new TextDecoder().decode(files['cfg.json'])) as { metadata: Record<string, unknown> };
  assert.equal([metadata['hook_name'], metadata['hook_head_index'], metadata['training_tokens'], metadata['prepend_bos']], ['blocks.0.attn.hook_z', 3, 2400, false]);
  assert.ok(files['sparsity.safetensors']);
  await push(page, '#train-current-use');
  await waitForText(page, '#train-current-loaded', /Loaded beside the model/);
  assert.equal(web.faults, []);
});

test.run();
