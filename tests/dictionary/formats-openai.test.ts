import * as assert from 'uvu/assert';
import { loadSae, readSaeConfig } from '../../src/dictionary/index.ts';
import { memorySource } from '../../src/files/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { checkSae, decoded, features, largest, layerNormOf, numbers, preActivations, relu, width } from '../support/plain-dictionary.ts';
import { refusal } from '../support/refusal.ts';
import { columns, rows, vector } from '../support/torch-dictionary.ts';
import { Saved, torchFile, type Value } from '../support/torch-file.ts';

const test = gpuSuite("OpenAI's dictionaries");
const gpu = await testGpu();

const [D, d] = [features, width];
const ofRelu = (x: readonly number[]): number[] => preActivations(x).map(relu);

const openai: Record<string, Value> = {
  pre_bias: vector(numbers.decoderBias), latent_bias: vector(numbers.encoderBias),
  stats_last_nonzero: new Saved([D], new Array(D).fill(0), { kind: 'i64' }), 'encoder.weight': rows(numbers.encoder), 'decoder.weight': columns(numbers.decoder),
};
const OPENAI = 'resid_post_mlp_v5_32k/autoencoders/8.pt';

test("OpenAI's TopK normalises every token and undoes it", async () => {
  const state = new Map<string, Value>(Object.entries({ ...openai, activation: 'TopK', activation_state_dict: new Map<string, Value>([['k', 4], ['postact_fn', 'ReLU']]) }));
  const source = memorySource({ [OPENAI]: torchFile(state) }, 'sparse-autoencoder/gpt2-small');
  const sae = await loadSae(gpu, source, { width: d, hookName: 'blocks.8.hook_resid_post', prependBos: false, weightProcessing: { centerWritingWeights: true, foldLn: true } }, { file: OPENAI });
  assert.equal([sae.normalization, sae.k, sae.metadata['context_size'], sae.warnings], ['layer_norm', 4, 64, []]);
  const input = (x: readonly number[]): number[] => x.map((v) => (v - layerNormOf(x).mean) / layerNormOf(x).scale);
  await checkSae(gpu, sae, (x) => largest(preActivations(input(x)), 4), (codes, x) => decoded(codes).map((v) => v * layerNormOf(x).scale + layerNormOf(x).mean));
});

test("OpenAI's ReLU does not, and every location has its hook", async () => {
  const state = torchFile(new Map<string, Value>(Object.entries({ ...openai, activation: 'ReLU', activation_state_dict: {} })));
  const places = { mlp_post_act: 'mlp.hook_post', resid_delta_attn: 'hook_attn_out', resid_post_attn_v4: 'hook_resid_mid', resid_delta_mlp_v5_128k: 'hook_mlp_out', resid_post_mlp: 'hook_resid_post' };
  for (const [place, hook] of Object.entries(places)) {
    const file = `${place}/autoencoders/3.pt`;
    assert.is((await readSaeConfig(memorySource({ [file]: state }), { file })).metadata.hook_name, `blocks.3.${hook}`);
  }
  const sae = await loadSae(gpu, memorySource({ 'x.pt': state }), { hookName: 'blocks.0.hook_mlp_out' }, { file: 'x.pt' });
  assert.match(sae.warnings.join(), /does not say at which hook/);
  assert.is(sae.normalization, null);
  await checkSae(gpu, sae, ofRelu);
  const refused: [object, RegExp][] = [
    [{ activation: 'Tanh' }, /activation is "Tanh"/], [{ activation: 'TopK', activation_state_dict: { k: 4, postact_fn: 'Identity' } }, /postact_fn is "Identity"/],
    [{ activation: 'TopK', activation_state_dict: { k: D + 1 } }, /k is 15/], [{ activation: 'TopK' }, /k is undefined/],
  ];
  for (const [more, words] of refused) {
    assert.match(await refusal(() => loadSae(gpu, memorySource({ 'x.pt': torchFile(new Map(Object.entries({ ...openai, ...more }))) }), {}, { file: 'x.pt' })), words);
  }
});

test.run();
