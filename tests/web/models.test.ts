/** The models panel as a person uses it: files and folders of this computer, models and dictionaries that fit and that do not. */
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { directorySource } from '../../src/files/node-directory.ts';
import { encodeSafetensors, openSafetensors } from '../../src/files/index.ts';
import { IOI_MINI } from '../support/models.ts';
import { copyOf, choose, drop, filesIn, hugeModel, temporaryFolder, writeFiles } from '../support/web-files.ts';
import { openWeb, textOf, waitForText, type OpenedPage } from '../support/web.ts';
import { Saved, torchFile } from '../support/torch-file.ts';

interface Live { memory(): Promise<{ live: number; liveBuffers: number; pooled: number }>; drop(): Promise<void>; load(origin: object): Promise<unknown>; dictionaries: { add(origin: object): Promise<unknown> } }
declare const diffract: { engine(): Live };

const test = suite('models panel');
const folder = temporaryFolder();
const at = (name: string): string => join(folder, name);
let web: OpenedPage | null = null;

test.before(async () => {
  web = await openWeb({ hash: '#models' });
});
test.after(async () => web?.close());

/** Presses the button of this text below an element. */
async function press(selector: string, text: string): Promise<void> {
  const button = await web!.page.waitForSelector(`${selector} ::-p-xpath(.//button[contains(normalize-space(.), "${text}")])`);
  await button!.evaluate((one) => (one as HTMLButtonElement).click());
}

/** One word on what the panel shows as loaded. */
const current = (): Promise<string> => textOf(web!.page, '#models-current');

test('the embedded model and its dictionaries are shown with what they are and take', async () => {
  if (!web) return;
  const { page } = web;
  await page.waitForFunction(() => document.querySelectorAll('#models-dictionaries > li').length === 5);
  await waitForText(page, '#models-memory', /^4\.\d+ MB in \d+ buffers/);
  assert.match(await current(), /ioi-mini \(comes with this page\)[^]*4 layers of 4 heads, width 128, vocabulary 1026[^]*933 k parameters, 3\.73 MB on the device \(f32; weights as published\)[^]*ioi: IO, S, Pos/);
  assert.match(await textOf(page, '#models-dictionaries'), /z@L0H3@end vanilla λ=1 256 features × 32/);
  await page.click('#models-dictionaries summary');
  assert.match(await textOf(page, '#models-dictionaries pre'), /"hook_name": "blocks\.0\.attn\.hook_[zv]"/);
});

test('a folder of a model is looked into, then loaded in half the memory', async () => {
  if (!web) return;
  const { page } = web;
  await choose(page, '#models-folder', copyOf(IOI_MINI, at('my-model')));
  assert.match(await waitForText(page, '#models-outlook', /Largest tensor/), /my-model[^]*4 layers of 4 heads, width 128[^]*933 k[^]*3\.73 MB as f32, 1\.90 MB as f16[^]*wte\.weight, 525 kB; this adapter’s buffers hold \d[^]* a binding/);
  await page.click('#models-outlook input[value=f16]');
  await page.click('#models-load');
  assert.match(await waitForText(page, '#models-word', /is loaded/), /my-model/);
  assert.match(await current(), /my-model \(from this computer: my-model\)[^]*1\.90 MB on the device \(f16; weights as published\)[^]*ioi: IO/);
  await waitForText(page, '#models-memory', /^(1\.9|2)\d* MB/);
  // Its weights are those of the embedded model, whose dictionaries belong to it therefore.
  await press('#models-embedded-list', 'Add z-L0H3-end');
  await waitForText(page, '#models-dictionaries', /z@L0H3@end vanilla/);
});

test('what is no model, is broken or does not fit is refused with words and numbers', async () => {
  if (!web) return;
  const { page } = web;
  const files = filesIn(IOI_MINI);
  await choose(page, '#models-files', join(writeFiles(at('notes'), { 'notes.txt': 'nothing' }), 'notes.txt'));
  assert.match(await waitForText(page, '#models-look-problem', /./), /neither a model .* nor a dictionary .* among its 1 files/);
  await choose(page, '#models-folder', writeFiles(at('cut'), { ...files, 'model.safetensors': files['model.safetensors']!.slice(0, 100_000) }));
  assert.match(await waitForText(page, '#models-look-problem', /truncated/), /^cut\/model\.safetensors: .*the file ends at byte 100000/);
  await choose(page, '#models-folder', writeFiles(at('other'), { ...files, 'config.json': JSON.stringify({ model_type: 'llama' }) }));
  assert.match(await waitForText(page, '#models-look-problem', /llama/), /^other\/config\.json: model_type is "llama"/);
  await choose(page, '#models-folder', hugeModel(at('huge'), 20_000_000, 64));
  const words = await waitForText(page, '#models-outlook', /does not fit/);
  assert.match(words, /as f32, its tensor wte\.weight needs a buffer of 5120000000 bytes \(5\.12 GB\), but this adapter allows \d+/);
  assert.is(await page.$eval('#models-outlook input[value=f32]', (one) => (one as HTMLInputElement).disabled), true);
  // Some adapters hold it in halves: what is left to choose is what fits.
  const half = /as f16, its tensor/.test(words);
  assert.is(await page.$eval('#models-load', (one) => (one as HTMLButtonElement).disabled), half);
  assert.match(await current(), /my-model/);
});

test('a model that turns out to be broken while it loads makes way for the one before, with its dictionaries', async () => {
  if (!web) return;
  const { page } = web;
  const file = await openSafetensors(directorySource(IOI_MINI));
  const tensors = Object.fromEntries(await Promise.all(file.names.map(async (name) => [name, { dtype: 'F32' as const, shape: file.info(name).shape, data: (await file.f32(name)).slice() }] as const)));
  tensors['h.3.mlp.c_proj.weight']!.data[5] = NaN;
  await choose(page, '#models-folder', writeFiles(at('bad'), { ...filesIn(IOI_MINI), 'model.safetensors': encodeSafetensors(tensors) }));
  await waitForText(page, '#models-outlook', /bad/);
  await page.click('#models-load');
  assert.match(await waitForText(page, '#models-word', /is in use/), /bad\/model\.safetensors: tensor h\.3\.mlp\.c_proj\.weight has NaN at \[0, 5\] my-model is in use/);
  await waitForText(page, '#models-dictionaries', /z@L0H3@end vanilla/);
  assert.match(await current(), /my-model[^]*\(f16;/);
  await page.click('#models-embedded');
  await waitForText(page, '#models-current', /comes with this page/);
  await page.waitForFunction(() => document.querySelectorAll('#models-dictionaries > li').length === 5);
  assert.is(await page.$('#model-failed'), null);
});

/** A dictionary of random numbers in SAELens' layout. */
function dictionary(width: number, metadata: object): Record<string, Uint8Array | string> {
  const of = (shape: number[]): { dtype: 'F32'; shape: number[]; data: Float32Array } => ({ dtype: 'F32', shape, data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i)) });
  return {
    'cfg.json': JSON.stringify({ architecture: 'standard', d_in: width, d_sae: 40, apply_b_dec_to_input: true, normalize_activations: 'none', metadata }),
    'sae_weights.safetensors': encodeSafetensors({ W_enc: of([width, 40]), b_enc: of([40]), W_dec: of([40, width]), b_dec: of([width]) }),
  };
}

test('dropped dictionaries are added one by one; those that do not belong here say why', async () => {
  if (!web) return;
  const { page } = web;
  const many = at('many');
  writeFiles(join(many, 'fits'), dictionary(32, { model_name: 'ioi-mini', hook_name: 'blocks.1.attn.hook_z', hook_head_index: 2 }));
  writeFiles(join(many, 'narrow'), dictionary(31, { model_name: 'ioi-mini', hook_name: 'blocks.1.attn.hook_z', hook_head_index: 2 }));
  writeFiles(join(many, 'stranger'), dictionary(32, { model_hash: '0'.repeat(64), hook_name: 'blocks.1.attn.hook_z', hook_head_index: 2 }));
  writeFiles(join(many, 'elsewhere'), dictionary(32, { model_name: 'ioi-mini', hook_name: 'blocks.9.attn.hook_z', hook_head_index: 0 }));
  await drop(page, '#models-drop', many);
  const words = await waitForText(page, '#models-found-dictionaries', /many\/stranger: it was made for a model with the weights 0+, not 738bba2c/);
  assert.match(words, /Added as blocks\.1\.attn\.hook_z vanilla/);
  assert.match(words, /many\/narrow: takes activations of width 31, but its site blocks\.1\.attn\.hook_z has width 32/);
  assert.match(words, /many\/elsewhere[^]*there is no hook blocks\.9\.attn\.hook_z: the model has the layers 0 to 3[^]*many\/fits/);
  assert.is(await page.$$eval('#models-dictionaries > li', (all) => all.length), 6);
});

test('a dictionary that does not say where it is used takes a site or hook, and single files are dictionaries too', async () => {
  if (!web) return;
  const { page } = web;
  await choose(page, '#models-files', ...['cfg.json', 'sae_weights.safetensors'].map((name) => join(writeFiles(at('nameless'), dictionary(32, {})), name)));
  assert.match(await waitForText(page, '#models-found-dictionaries', /hook;|give a site/), /does not name a hook; give a site or a hook, as in z@L0H3@end/);
  await page.type('#models-place', 'blocks.7.attn.hook_z:0');
  await press('#models-found-dictionaries', 'Add');
  await waitForText(page, '#models-found-dictionaries', /blocks\.7/);
  await page.$eval('#models-place', (one) => (one as HTMLInputElement).select());
  await page.type('#models-place', 'z@L1H2@end');
  await press('#models-found-dictionaries', 'Add');
  await waitForText(page, '#models-found-dictionaries', /Added as z@L1H2@end/);
  // Kissane and Krzyzanowski's layout: all heads' z, a .pt file beside its description.
  const values = (n: number): number[] => Array.from({ length: n }, (_, i) => Math.cos(i));
  writeFiles(at('torch'), {
    'L2.pt': torchFile(new Map([['W_enc', new Saved([128, 40], values(5120))], ['W_dec', new Saved([40, 128], values(5120))], ['b_enc', new Saved([40], values(40))], ['b_dec', new Saved([128], values(128))]])),
    'L2_cfg.json': JSON.stringify({ act_name: 'blocks.2.attn.hook_z', act_size: 128, dict_size: 40, model_name: 'ioi-mini' }),
  });
  await page.$eval('#models-place', (one) => (one as HTMLInputElement).select());
  await page.keyboard.press('Backspace');
  await choose(page, '#models-folder', at('torch'));
  await waitForText(page, '#models-found-dictionaries', /torch\/L2\.pt: it was made for weight processing foldValueBiases true, not false/);
  await press('#models-found-dictionaries', 'Load the model again with foldValueBiases');
  await waitForText(page, '#models-found-dictionaries', /Added as blocks\.2\.attn\.hook_z/);
  assert.match(await current(), /\(f32; foldValueBiases\)/);
  // Those of the embedded model were made for its weights as published. Each can be taken away again.
  const count = await page.$$eval('#models-dictionaries > li', (all) => all.length);
  assert.match(await textOf(page, '#models-dictionaries'), /z@L1H2@end/);
  assert.not.match(await textOf(page, '#models-dictionaries'), /comes with this page/);
  await press('#models-dictionaries > li:nth-child(1)', 'Remove');
  await page.waitForFunction((n) => document.querySelectorAll('#models-dictionaries > li').length === n, {}, count - 1);
  await waitForText(page, '#models-embedded-list', /Add [zv]-L/);
});

test('ten rounds of loading, running and dropping leave the device’s memory as it was', async () => {
  if (!web) return;
  const rounds = await web.page.evaluate(async () => {
    const live = diffract.engine();
    await live.drop();
    const found = [await live.memory()];
    for (let i = 0; i < 10; i++) {
      await live.load({ kind: 'embedded', path: 'models/ioi-mini' });
      await live.dictionaries.add({ kind: 'embedded', path: 'models/ioi-mini-saes/z-L0H3-end' });
      await live.drop();
      found.push(await live.memory());
    }
    return found;
  });
  for (const one of rounds) assert.equal(one, rounds[0]);
  assert.ok(rounds[0]!.live < 100_000, `${rounds[0]!.live} bytes without a model`);
  assert.equal(web.faults, []);
});

test.run();
