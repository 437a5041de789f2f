import * as assert from 'uvu/assert';
import { loadSae, readSaeConfig } from '../../src/dictionary/index.ts';
import { memorySource } from '../../src/files/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { checkSae, dot, features, jsonFile, largest, numbers, preActivations, relu, width } from '../support/plain-dictionary.ts';
import { refusal } from '../support/refusal.ts';
import { columns, one, rows, turned, vector, whole } from '../support/torch-dictionary.ts';
import { Saved, torchFile, type Value } from '../support/torch-file.ts';

const test = gpuSuite('dictionary_learning');
const gpu = await testGpu();

const [D, d] = [features, width];
const ofRelu = (x: readonly number[]): number[] => preActivations(x).map(relu);

const linear = { 'encoder.weight': rows(numbers.encoder), 'encoder.bias': vector(numbers.encoderBias), 'decoder.weight': turned(numbers.decoder) };
const matrices = { W_enc: columns(numbers.encoder), b_enc: vector(numbers.encoderBias), W_dec: rows(numbers.decoder), b_dec: vector(numbers.decoderBias) };
const limit = 0.4;
const magnitudes = (x: readonly number[]): number[] => numbers.magnitudeBias.map((b, f) => Math.exp(numbers.magnitudeScale[f]!) * dot(x.map((v, k) => v - numbers.decoderBias[k]!), numbers.encoder.slice(f * d, (f + 1) * d)) + b);

/** Each class: its state dictionary, what it says of training, and codes by its own encode. */
const classes: Record<string, { state: Record<string, Value>; trainer?: object; encode: (x: readonly number[]) => number[] }> = {
  AutoEncoder: { state: { bias: vector(numbers.decoderBias), ...linear }, encode: ofRelu },
  AutoEncoderNew: { state: { ...linear, 'decoder.bias': vector(numbers.decoderBias) }, encode: (x) => preActivations(x, { shifted: false }).map(relu) },
  GatedAutoEncoder: {
    state: {
      decoder_bias: vector(numbers.decoderBias), 'encoder.weight': linear['encoder.weight'], 'decoder.weight': linear['decoder.weight'],
      r_mag: vector(numbers.magnitudeScale), gate_bias: vector(numbers.encoderBias), mag_bias: vector(numbers.magnitudeBias),
    },
    encode: (x) => preActivations(x).map((v, f) => (v > 0 ? relu(magnitudes(x)[f]!) : 0)),
  },
  AutoEncoderTopK: { state: { ...linear, b_dec: vector(numbers.decoderBias), k: whole(4), threshold: one(-1) }, trainer: { k: 4 }, encode: (x) => largest(preActivations(x), 4) },
  BatchTopKSAE: { state: { ...linear, b_dec: vector(numbers.decoderBias), k: whole(2), threshold: one(limit) }, trainer: { k: 2 }, encode: (x) => preActivations(x).map((v) => (v > limit ? v : 0)) },
  JumpReluAutoEncoder: { state: { ...matrices, threshold: vector(numbers.threshold) }, encode: (x) => preActivations(x, { shifted: false }).map((v, f) => (v > numbers.threshold[f]! ? relu(v) : 0)) },
  MatryoshkaBatchTopKSAE: {
    state: { ...matrices, k: whole(2), threshold: one(limit), group_sizes: new Saved([2], [4, D - 4], { kind: 'i64' }) }, trainer: { group_fractions: [0.3, 0.7] },
    encode: (x) => preActivations(x).map((v) => (v > limit ? v : 0)),
  },
};
const trainer = (name: string, more: object = {}): Uint8Array => jsonFile({
  trainer: { trainer_class: 'Trainer', dict_class: name, activation_dim: d, dict_size: D, layer: 8, lm_name: 'openai-community/gpt2', submodule_name: 'resid_post_layer_8', seed: 0, ...more }, buffer: { ctx_len: 256, d_submodule: d },
});

for (const [name, { state, trainer: more, encode }] of Object.entries(classes)) {
  test(`dictionary_learning's ${name}`, async () => {
    const source = memorySource({ 'ae.pt': torchFile(new Map(Object.entries(state))), 'config.json': trainer(name, more), 'checkpoints/ae_100.pt': torchFile(new Map(Object.entries(state))) });
    for (const choice of [{}, { file: 'checkpoints/ae_100.pt' }]) {
      const sae = await loadSae(gpu, source, { width: d, hookName: 'blocks.8.hook_resid_post', modelName: 'gpt2' }, choice);
      assert.equal([sae.metadata['dict_class'], sae.metadata['context_size'], sae.metadata['weight_processing']], [name, 256, { centerWritingWeights: false }]);
      await checkSae(gpu, sae, encode);
    }
  });
}

test('dictionary_learning: what a user should know is a warning, what cannot be is refused', async () => {
  const open = (name: string, state: Record<string, Value>, more: object = {}) => readSaeConfig(memorySource({ 'ae.pt': torchFile(new Map(Object.entries(state))), 'config.json': trainer(name, more) }));
  const { BatchTopKSAE: batch, AutoEncoderTopK: topk, MatryoshkaBatchTopKSAE: nested } = classes as Required<typeof classes>;
  assert.equal((await open('BatchTopKSAE', batch!.state)).warnings, []);
  assert.match((await open('BatchTopKSAE', { ...batch!.state, threshold: one(-1) })).warnings.join(), /threshold is -1.*never set/);
  assert.match((await open('BatchTopKSAE', batch!.state, { submodule_name: undefined })).warnings.join(), /blocks\.8\.hook_resid_post is taken/);
  assert.equal((await open('BatchTopKSAE', batch!.state, { submodule_name: 'transformer.h.3.mlp' })).metadata.hook_name, 'blocks.3.hook_mlp_out');
  assert.equal((await open('BatchTopKSAE', batch!.state, { submodule_name: 'attention_layer_8' })).metadata.hook_name, 'blocks.8.hook_attn_out');
  assert.is((await open('AutoEncoderTopK', topk!.state)).metadata['threshold'], -1);
  assert.match(await refusal(() => open('CrossCoder', batch!.state)), /dict_class is "CrossCoder"; only AutoEncoder, /);
  assert.match(await refusal(() => open('AutoEncoderTopK', topk!.state, { k: 5 })), /k is 4, but config\.json says 5/);
  assert.match(await refusal(() => open('AutoEncoderTopK', { ...topk!.state, k: whole(0) })), /whole number k from 1/);
  assert.match(await refusal(() => open('MatryoshkaBatchTopKSAE', { ...nested!.state, group_sizes: [4, 5] })), /group_sizes \[4, 5\] do not add up/);
  const source = memorySource({ 'ae.pt': torchFile(new Map(Object.entries({ ...batch!.state, threshold: null }))), 'config.json': trainer('BatchTopKSAE') });
  assert.match(await refusal(() => loadSae(gpu, source)), /has no tensor threshold/);
});

test.run();
