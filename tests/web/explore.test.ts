/** The explore panel as a person uses it: what is shown, against the library. */
import type { Page } from 'puppeteer-core';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { directEffects } from '../../src/evaluation/index.ts';
import { openSource } from '../../src/files/index.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { grammarFor, IoiTask, type IoiPrompts } from '../../src/task/index.ts';
import { testGpu } from '../support/gpu.ts';
import { IOI_MINI } from '../support/models.ts';
import { openWeb, textOf, waitForText, type OpenedPage } from '../support/web.ts';

const test = suite('explore panel');
let web: OpenedPage | null = null;
let model: Gpt2;
let task: IoiTask;

test.before(async () => {
  web = await openWeb();
  model = await Gpt2.load(await testGpu(), openSource(IOI_MINI));
  task = IoiTask.create(model.tokenizer!, await grammarFor(openSource(IOI_MINI)));
});
test.after(async () => {
  await web?.close();
  model.dispose();
});

const near = (shown: string | undefined, value: number, what: string): void => assert.ok(Math.abs(Number(shown?.replace('−', '-')) - value) <= 0.006 + 1e-3 * Math.abs(value), `${what}: ${shown} is not ${value}`);
const address = (page: Page): Promise<Record<string, string>> => page.evaluate(() => Object.fromEntries(new URLSearchParams(location.hash.split('?')[1] ?? '')));
const visible = (text: string): string => text.replace(/ /g, '·');
const prompt = (seed: number): IoiPrompts => task.sample({ count: 1, seed });
/** Cells of a table's body, by row. */
const cells = (page: Page, table: string): Promise<string[][]> => page.$$eval(`${table} tbody tr`, (rows) => rows.map((row) => [...row.children].map((cell) => (cell as HTMLElement).innerText.trim())));
/** Waits until the panel shows what it was asked for last. */
const settled = (page: Page): Promise<unknown> => page.waitForFunction(() => !document.querySelector('#panel-explore .explore-stale') && document.querySelector('#explore-predictions') !== null && document.querySelector('#explore-map') !== null && document.querySelector('#explore-pattern') !== null, { timeout: 60_000 });

async function logitsOf(tokens: readonly number[]): Promise<Float32Array> {
  const run = model.run([tokens]);
  const logits = await run.logits!.read();
  run.dispose();
  return logits;
}

async function type(page: Page, selector: string, text: string): Promise<void> {
  await page.focus(selector);
  await page.keyboard.down('Control');
  await page.keyboard.press('a');
  await page.keyboard.up('Control');
  if (text === '') await page.keyboard.press('Backspace');
  else await page.keyboard.type(text);
}

test('it opens with a task prompt, the likeliest next tokens and the logit difference', async () => {
  if (!web) return;
  const { page } = web;
  const own = prompt(0);
  const logits = await logitsOf(own.tokens[0]!);
  await page.waitForSelector('#explore-predictions');
  assert.is(await page.$eval('#explore-prompt', (box) => (box as HTMLTextAreaElement).value), own.texts[0]);
  const rows = await cells(page, '#explore-predictions');
  assert.is(rows.length, 10);
  const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]!);
  assert.is(rows[0]![0], visible(model.tokenizer!.token(order[0]!)));
  rows.slice(0, 3).forEach((row, i) => near(row.at(-1), logits[order[i]!]!, 'logit'));
  near((await textOf(page, '#explore-difference')).split(/\s/)[0], logits[own.correct[0]!]! - logits[own.incorrect[0]!]!, 'difference');
  const tokens = await page.$$eval('#explore-tokens button', (all) => all.map((one) => (one as HTMLElement).innerText));
  assert.is(tokens.length, own.tokens[0]!.length);
  assert.match(tokens.at(-1)!, new RegExp(`${own.tokens[0]!.at(-1)} end`));
  assert.equal(web.faults, []);
});

test('the map shows direct effects, and follows clicks and arrow keys; the pattern is that of the chosen head', async () => {
  if (!web) return;
  const { page } = web;
  const own = prompt(0);
  const [effects] = await directEffects(model, own.tokens, { first: own.correct, second: own.incorrect });
  await settled(page);
  const rows = await cells(page, '#explore-map');
  rows.forEach((row, layer) => effects!.heads[layer]!.forEach((value, head) => near(row[1 + head]!.split('\n')[0], value, `L${layer}H${head}`)));
  near(rows[3]!.at(-1)!.split('\n')[0], effects!.total - effects!.constant, 'the whole stream');
  // The first look is at the largest effect.
  const sizes = effects!.heads.flat().map(Math.abs);
  const strongest = sizes.indexOf(Math.max(...sizes));
  assert.match(await textOf(page, '#explore-attention-title'), new RegExp(`L${Math.floor(strongest / 4)}H${strongest % 4}`));
  await page.click('#explore-map tbody tr:nth-child(2) td:nth-of-type(2) button');
  await waitForText(page, '#explore-attention-title', /L1H1/);
  await page.keyboard.press('ArrowUp');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  await waitForText(page, '#explore-attention-title', /L0H3/);
  const { layer, head } = await address(page);
  assert.equal([layer, head], ['0', '3']);
  await settled(page);
  const run = model.run(own.tokens, { cache: 'blocks.0.attn.hook_pattern', logits: 'none' });
  const pattern = await run.get('blocks.0.attn.hook_pattern').read();
  run.dispose();
  const n = own.tokens[0]!.length;
  const shown = await cells(page, '#explore-pattern');
  assert.is(shown.length, n);
  for (const q of [0, 4, n - 1]) for (let k = 0; k <= q; k++) near(shown[q]![1 + k], pattern[(3 * n + q) * n + k]!, `weight ${q} ${k}`);
  const sources = await page.$$eval('#explore-sources small', (all) => all.map((one) => Number(one.textContent!.replace('−', '-'))));
  assert.ok(Math.abs(sources.reduce((a, b) => a + b, 0) - effects!.heads[0]![3]!) < 0.01 * n);
  // Focus on a cell reads it out.
  await page.focus(`#explore-pattern tbody tr:nth-child(${n}) td[tabindex="0"]`);
  await page.keyboard.press('Home');
  assert.match(await waitForText(page, '#explore-attention-says', /\(0\)/), new RegExp(pattern[(3 * n + n - 1) * n]!.toFixed(2).replace('.', '\\.')));
});

test('features of the site: what is active, what it stands for, and its page', async () => {
  if (!web) return;
  const { page } = web;
  const stands = await waitForText(page, '#explore-features tbody tr', /anywhere|1st|2nd|=/);
  assert.match(await textOf(page, '#explore-reconstruction'), /of 256 features[\s\S]*cosine 0\.\d+[\s\S]*% of the variance explained/);
  const rows = await cells(page, '#explore-features');
  const weights = rows.map((row) => Number(row[2]!.replace('−', '-')));
  assert.ok(Math.abs(weights.reduce((a, b) => a + b, 0) - 1) < 0.001 * (rows.length + 1), String(weights));
  assert.ok(rows.every((row) => Number(row.at(-1)) >= 0 && Number(row.at(-1)) <= 1), stands);
  const first = rows[0]![0]!;
  await page.click('#explore-features tbody button');
  await waitForText(page, '#explore-feature-title', new RegExp(first));
  const about = await waitForText(page, '#explore-interpretation', /F1/);
  assert.ok(about.includes(rows[0]!.at(-2)!) && about.includes(`F1 ${rows[0]!.at(-1)!}`), about);
  assert.match(await textOf(page, '#explore-activity'), /of 1000 prompts at end/);
  assert.ok((await page.$$('#explore-examples li')).length >= 3);
  assert.is((await page.$$('#explore-logits tr')).length, 16);
  assert.is((await address(page)).feature, first.slice(1));
});

test('another token: supervised codes at the task’s positions, and a word on dictionaries made elsewhere', async () => {
  if (!web) return;
  const { page } = web;
  const own = prompt(0);
  await page.focus('#explore-tokens button[aria-pressed=true]');
  for (let at = own.tokens[0]!.length - 1; at > own.positions.s2![0]!; at--) await page.keyboard.press('ArrowLeft');
  assert.is((await address(page)).token, String(own.positions.s2![0]));
  assert.match(await waitForText(page, '#explore-elsewhere', /position end/), /chosen token is another/);
  await page.select('#explore-dictionary', 'supervised');
  const labels = await page.waitForFunction(() => {
    const names = [...document.querySelectorAll('#explore-features tbody th')].map((one) => one.textContent!);
    return names.length === 3 && names.every((name) => name.includes(' = ')) ? names : null;
  }, { timeout: 60_000 });
  const expected = Object.entries(own.attributes).map(([name, { values, ids }]) => `${name} = ${values[ids[0]!]}`);
  assert.equal(((await labels.jsonValue()) as string[]).sort(), expected.sort());
  await page.select('#explore-kind', 'mlp_out');
  assert.match(await waitForText(page, '#explore-none', /No dictionary/), /mlp_out of layer 0/);
  await page.select('#explore-by', 'size');
  await waitForText(page, '#explore-map-says', /Length \(L2 norm\) of mlp_out/);
  assert.equal((await cells(page, '#explore-map')).map((row) => row.length), [2, 2, 2, 2]);
});

test('the residual stream through the logit lens, layer by layer', async () => {
  if (!web) return;
  const { page } = web;
  await page.focus('#explore-tokens button[aria-pressed=true]');
  await page.keyboard.press('End');
  await page.select('#explore-kind', 'resid_post');
  await page.waitForSelector('#explore-lens');
  await settled(page);
  const rows = await cells(page, '#explore-lens');
  assert.is(rows.length, 4);
  const best = await cells(page, '#explore-predictions');
  assert.is(rows[3]![1]!.split(/\s/)[0], best[0]![0]);
  await page.click('#explore-lens tbody tr:nth-child(3) button');
  await page.waitForFunction(() => document.querySelector('#explore-lens tr.chosen th')?.textContent === 'L2');
  assert.is((await address(page)).layer, '2');
});

test('predictions follow typing; what is wrong is said beside the box', async () => {
  if (!web) return;
  const { page } = web;
  const text = 'When Mary and John went to the park, Mary gave a drink to';
  await type(page, '#explore-prompt', text);
  const tokens = model.tokenizer!.encode(text);
  const logits = await logitsOf(tokens);
  const best = logits.indexOf(Math.max(...logits));
  await page.waitForFunction((count) => document.querySelectorAll('#explore-tokens button').length === count, {}, tokens.length);
  await settled(page);
  const rows = await cells(page, '#explore-predictions');
  assert.is(rows[0]![0], visible(model.tokenizer!.token(best)));
  near(rows[0]!.at(-1), logits[best]!, 'logit');
  assert.is((await address(page)).prompt, text);
  await type(page, '#explore-a', 'John');
  await type(page, '#explore-b', 'Mary');
  const [john, mary] = [' John', ' Mary'].map((name) => logits[model.tokenizer!.single(name)!]!);
  await waitForText(page, '#explore-difference', /·John − ·Mary/);
  near((await textOf(page, '#explore-difference')).split(/\s/)[0], john! - mary!, 'difference');
  await type(page, '#explore-b', 'xylophone');
  assert.match(await waitForText(page, '.explore-pair', /not one token/), /xylophone/);
  await type(page, '#explore-b', '');
  await type(page, '#explore-prompt', '');
  await waitForText(page, '#panel-explore .field-error', /the prompt is empty: type a few words/);
  // At once, as one pastes.
  await page.keyboard.sendCharacter('to the park and '.repeat(20));
  await waitForText(page, '#panel-explore .field-error', /tokens, but the model’s context holds 64: leave out/);
  await page.click('#explore-sample');
  await page.waitForFunction((own) => document.querySelector<HTMLTextAreaElement>('#explore-prompt')?.value === own, {}, prompt(0).texts[0]!);
  await page.click('#explore-sample');
  await page.waitForFunction((own) => document.querySelector<HTMLTextAreaElement>('#explore-prompt')?.value === own, {}, prompt(1).texts[0]!);
  assert.is((await address(page)).seed, '1');
  assert.equal(web.faults, []);
});

test('a link shows the same again, and what it asks for beyond the model is said', async () => {
  if (!web) return;
  const { page } = web;
  await page.evaluate(() => { location.hash = '#explore?seed=4&layer=1&head=1&kind=z&feature=3&token=2&head=9'; });
  assert.match(await waitForText(page, '#explore-address', /head=9/), /heads are 0 to 3/);
  await page.evaluate(() => { location.hash = '#explore?seed=4&layer=1&head=1&kind=z&feature=3&dictionary=z-L1H1-end'; });
  await waitForText(page, '#explore-attention-title', /L1H1/);
  await waitForText(page, '#explore-feature-title', /#3/);
  assert.is(await page.$('#explore-address'), null);
  await page.waitForFunction((own) => document.querySelector<HTMLTextAreaElement>('#explore-prompt')?.value === own, {}, prompt(4).texts[0]!);
  await page.waitForSelector('#explore-features');
  await settled(page);
  const shown = async (): Promise<string[][][]> => {
    // The dictionaries are loaded after the model.
    await page.waitForFunction(() => document.querySelectorAll('#explore-map i').length === 4 && document.querySelector<HTMLSelectElement>('#explore-dictionary')?.value === 'z-L1H1-end', { timeout: 60_000 });
    await settled(page);
    return [await cells(page, '#explore-predictions'), await cells(page, '#explore-map'), (await cells(page, '#explore-features')).map((row) => row.slice(0, 3))];
  };
  const before = await shown();
  await page.reload();
  await page.waitForSelector('#explore-features', { timeout: 60_000 });
  await waitForText(page, '#explore-feature-title', /#3/);
  assert.equal(await shown(), before);
  assert.equal(web.faults, []);
});

test.run();
