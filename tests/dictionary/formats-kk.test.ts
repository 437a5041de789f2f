import * as assert from 'uvu/assert';
import { loadSae, readSaeConfig } from '../../src/dictionary/index.ts';
import { memorySource } from '../../src/files/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { checkSae, features, jsonFile, numbers, preActivations, relu, width } from '../support/plain-dictionary.ts';
import { refusal } from '../support/refusal.ts';
import { columns, rows, vector } from '../support/torch-dictionary.ts';
import { global, Raw, torchFile, type Value } from '../support/torch-file.ts';

const test = gpuSuite("Kissane and Krzyzanowski's dictionaries");
const gpu = await testGpu();

const [D, d] = [features, width];
const ofRelu = (x: readonly number[]): number[] => preActivations(x).map(relu);

const kkState = new Map<string, Value>([['W_enc', columns(numbers.encoder)], ['W_dec', rows(numbers.decoder)], ['b_enc', vector(numbers.encoderBias)], ['b_dec', vector(numbers.decoderBias)]]);
const kkConfig = {
  seed: 49, batch_size: 4096, lr: 1.2e-3, l1_coeff: 1, beta1: 0.9, beta2: 0.99,
  act_name: 'blocks.5.attn.hook_z', act_size: d, dict_size: D, model_name: 'gpt2-small', seq_len: 128, site: 'z', layer: 5, head_flag: 'cat',
};
const kkFiles = { 'L5.pt': torchFile(kkState), 'L5_cfg.json': jsonFile(kkConfig) };

test("Kissane and Krzyzanowski's, over all heads' z", async () => {
  const source = memorySource(kkFiles);
  const config = await readSaeConfig(source, { file: 'L5.pt' });
  const { model_name, hook_name, hook_head_index, reshape_activations, context_size, prepend_bos, weight_processing } = config.metadata;
  assert.equal([config.dIn, config.features, config.variant], [d, D, 'vanilla']);
  assert.equal([model_name, hook_name, hook_head_index, reshape_activations, context_size, prepend_bos], ['gpt2-small', 'blocks.5.attn.hook_z', null, 'hook_z', 128, true]);
  assert.equal(weight_processing, { foldValueBiases: true, refactorFactoredAttnMatrices: false });
  await checkSae(gpu, await loadSae(gpu, source, { width: d, hookName: 'blocks.5.attn.hook_z', headIndex: null }, { file: 'L5.pt' }), ofRelu);
});

test('of a file that the table of releases names, the hook is enough', async () => {
  const name = 'gpt2-small_L5_Hcat_z_lr1.20e-03_l11.00e+00_ds49152_bs4096_dc1.00e-06_rsanthropic_rie25000_nr4_v9';
  const source = memorySource({ [`${name}.pt`]: torchFile(kkState), [`${name}_cfg.json`]: jsonFile(kkConfig) }, 'ckkissane/attn-saes-gpt2-small-all-layers');
  await checkSae(gpu, await loadSae(gpu, source, { hookName: 'blocks.5.attn.hook_z' }), ofRelu);
  assert.match(await refusal(() => loadSae(gpu, source)), /there is no dictionary.*say at which hook/);
});

test("Kissane and Krzyzanowski's: what is missing or of another size is named", async () => {
  const load = (files: Record<string, Uint8Array>): Promise<string> => refusal(() => loadSae(gpu, memorySource({ ...kkFiles, ...files }), {}, { file: 'L5.pt' }));
  assert.match(await load({ 'L5_cfg.json': jsonFile({ ...kkConfig, act_name: undefined }) }), /L5_cfg\.json: act_name is undefined/);
  assert.match(await load({ 'L5_cfg.json': jsonFile({ ...kkConfig, dict_size: D + 1 }) }), new RegExp(`W_enc has shape \\[${d}, ${D}\\], but L5_cfg.json says \\[${d}, ${D + 1}\\]`));
  assert.match(await load({ 'L5.pt': torchFile(new Map([...kkState].slice(1))) }), /has no tensor W_enc/);
  assert.match(await load({ 'L5.pt': torchFile(new Map<string, Value>([...kkState, ['b_enc', vector(numbers.encoderBias.map(() => NaN))]])) }), /b_enc holds NaN/);
  assert.match(await load({ 'L5.pt': torchFile(new Raw(global('os', 'system'))) }), /"os\.system"/);
  assert.match(await refusal(() => loadSae(gpu, memorySource({ 'L5.pt': kkFiles['L5.pt'] }), {}, { file: 'L5.pt' })), /in none of the layouts/);
  assert.match(await refusal(() => loadSae(gpu, memorySource(kkFiles), {}, { file: 'L6.pt' })), /L6\.pt: no such file/);
});

test.run();
