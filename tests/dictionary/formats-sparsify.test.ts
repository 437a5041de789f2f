import * as assert from 'uvu/assert';
import { loadSae, readSaeConfig } from '../../src/dictionary/index.ts';
import { memorySource, type FileSource } from '../../src/files/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { checkSae, features, jsonFile, largest, numbers, preActivations, width } from '../support/plain-dictionary.ts';
import { refusal } from '../support/refusal.ts';
import { safetensorsFile } from '../support/safetensors-file.ts';

const test = gpuSuite("sparsify's dictionaries");
const gpu = await testGpu();

const config = { activation: 'topk', expansion_factor: 2, normalize_decoder: true, num_latents: features, k: 3, multi_topk: false, skip_connection: false, transcode: false, d_in: width };
const tensors: [string, number[], number[]][] = [
  ['W_dec', [features, width], numbers.decoder], ['b_dec', [width], numbers.decoderBias], ['encoder.bias', [features], numbers.encoderBias], ['encoder.weight', [features, width], numbers.encoder],
];
const directory = (more: object = {}, name = '/runs/gpt2/h.5', own = tensors): FileSource => memorySource({ 'cfg.json': jsonFile({ ...config, ...more }), 'sae.safetensors': safetensorsFile(own) }, name);

test('the k largest codes after a ReLU', async () => {
  const sae = await loadSae(gpu, directory(), { width, hookName: 'blocks.5.hook_resid_post', weightProcessing: { centerWritingWeights: false } });
  assert.equal([sae.variant, sae.k, sae.warnings], ['topk', 3, []]);
  await checkSae(gpu, sae, (x) => largest(preActivations(x), 3));
});

test('widths by expansion, hooks by the module that the folder is named by', async () => {
  assert.is((await readSaeConfig(directory({ num_latents: 0, expansion_factor: 4 }))).features, 4 * width);
  const places = { 'h.5': 'hook_resid_post', 'transformer.h.5.attn': 'hook_attn_out', 'layers.5.mlp': 'hook_mlp_out', 'h.5.mlp.act': 'mlp.hook_post', layers_5: 'hook_resid_post' };
  for (const [folder, hook] of Object.entries(places)) assert.is((await readSaeConfig(directory({}, `eleuther/sae/${folder}/`))).metadata.hook_name, `blocks.5.${hook}`);
  const unknown = await readSaeConfig(directory({}, 'sae'));
  assert.is(unknown.metadata.hook_name, undefined);
  assert.match(unknown.warnings.join(), /not a module of GPT-2/);
});

test('other kinds are refused by the field that says so', async () => {
  const refused = (more: object, own = tensors): Promise<string> => refusal(() => loadSae(gpu, directory(more, 'h.5', own)));
  assert.match(await refused({ transcode: true }), /h\.5\/cfg\.json: transcode is true/);
  assert.match(await refused({ skip_connection: true }), /skip_connection is true/);
  assert.match(await refused({ signed: true }), /signed is true/);
  assert.match(await refused({ activation: 'groupmax' }), /activation is "groupmax"/);
  assert.match(await refused({ k: 0 }), /k is 0/);
  assert.match(await refused({ num_latents: features + 1 }), new RegExp(`encoder\\.weight has shape \\[${features}, ${width}\\], but cfg\\.json says \\[${features + 1}, ${width}\\]`));
  assert.match(await refused({}, tensors.slice(1)), /W_dec/);
});

test.run();
