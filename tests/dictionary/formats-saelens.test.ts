import * as assert from 'uvu/assert';
import { loadSae, readSaeConfig, readSparsity, saeFiles } from '../../src/dictionary/index.ts';
import { memorySource, type FileSource } from '../../src/files/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { across, checkSae, decoded, dot, features, jsonFile, largest, layerNormOf, numbers, preActivations, relu, width } from '../support/plain-dictionary.ts';
import { refusal } from '../support/refusal.ts';
import { safetensorsFile } from '../support/safetensors-file.ts';

const test = gpuSuite('what SAELens has exported');
const gpu = await testGpu();

type Tensors = [string, number[], ArrayLike<number>][];
const standard: Tensors = [
  ['W_enc', [width, features], across(numbers.encoder, features)], ['b_enc', [features], numbers.encoderBias], ['W_dec', [features, width], numbers.decoder], ['b_dec', [width], numbers.decoderBias],
];
const current = {
  architecture: 'standard', d_in: width, d_sae: features, dtype: 'float32', device: 'cpu', apply_b_dec_to_input: true, normalize_activations: 'none', reshape_activations: 'none',
  metadata: { model_name: 'gpt2-small', hook_name: 'blocks.1.hook_resid_pre' },
};

function directory(config: object, tensors: Tensors = standard, files: Record<string, Uint8Array> = {}): FileSource {
  return memorySource({ 'cfg.json': jsonFile({ ...current, ...config }), 'sae_weights.safetensors': safetensorsFile(tensors), ...files });
}
/** Read, written and read again: both do the same. */
async function check(config: object, tensors: Tensors, encode: (x: readonly number[]) => number[], decode?: Parameters<typeof checkSae>[3]): Promise<void> {
  const first = await loadSae(gpu, directory(config, tensors));
  const written = await saeFiles(first);
  await checkSae(gpu, first, encode, decode);
  await checkSae(gpu, await loadSae(gpu, memorySource(written)), encode, decode);
}

const ofRelu = (x: readonly number[], shifted = true): number[] => preActivations(x, { shifted }).map(relu);
const norms = Array.from({ length: features }, (_, f) => Math.hypot(...numbers.decoder.slice(f * width, (f + 1) * width)));

test('a decoder bias that is not taken off the input', async () => {
  await check({ apply_b_dec_to_input: false }, standard, (x) => ofRelu(x, false));
  const threshold: Tensors = [...standard, ['threshold', [features], numbers.threshold]];
  await check({ apply_b_dec_to_input: false, architecture: 'jumprelu' }, threshold, (x) => preActivations(x, { shifted: false }).map((v, f) => (v > numbers.threshold[f]! ? v : 0)));
  const gated: Tensors = [...standard.filter(([name]) => name !== 'b_enc'), ['b_gate', [features], numbers.encoderBias], ['b_mag', [features], numbers.magnitudeBias], ['r_mag', [features], numbers.magnitudeScale]];
  const magnitudes = (x: readonly number[]): number[] => numbers.magnitudeBias.map((b, f) => dot(x, numbers.encoder.slice(f * width, (f + 1) * width)) * Math.exp(numbers.magnitudeScale[f]!) + b);
  await check({ apply_b_dec_to_input: false, architecture: 'gated' }, gated, (x) => preActivations(x, { shifted: false }).map((v, f) => (v > 0 ? relu(magnitudes(x)[f]!) : 0)));
});

test('thresholds below zero change nothing, and none is dropped', async () => {
  const thresholds = numbers.threshold.map((v, f) => (f % 3 ? v : -v));
  await check({ architecture: 'jumprelu' }, [...standard, ['threshold', [features], thresholds]], (x) => preActivations(x).map((v, f) => (v > thresholds[f]! ? relu(v) : 0)));
});

test('per-token layer norm, alone and before a top-k', async () => {
  const input = (x: readonly number[]): number[] => x.map((v) => (v - layerNormOf(x).mean) / layerNormOf(x).scale);
  const back = (codes: number[], x: readonly number[]): number[] => decoded(codes).map((v) => v * layerNormOf(x).scale + layerNormOf(x).mean);
  await check({ normalize_activations: 'layer_norm' }, standard, (x) => ofRelu(input(x)), back);
  await check({ normalize_activations: 'layer_norm', architecture: 'topk', k: 4 }, standard, (x) => largest(preActivations(input(x)), 4), back);
  await check({ normalize_activations: 'layer_norm', apply_b_dec_to_input: false }, standard, (x) => ofRelu(input(x), false), back);
});

test('constant norm', async () => {
  const scale = (x: readonly number[]): number => Math.sqrt(width) / Math.hypot(...x);
  await check({ normalize_activations: 'constant_norm_rescale' }, standard, (x) => ofRelu(x.map((v) => v * scale(x))), (codes, x) => decoded(codes).map((v) => v / scale(x)));
});

test('codes that are scaled by the lengths of decoder rows', async () => {
  const scaled = (x: readonly number[]): number[] => preActivations(x).map((v, f) => v * norms[f]!);
  const back = (codes: number[]): number[] => decoded(codes.map((c, f) => c / norms[f]!));
  await check({ architecture: 'topk', k: 3, rescale_acts_by_decoder_norm: true }, standard, (x) => largest(scaled(x), 3), back);
});

test('checkpoints of BatchTopK and Matryoshka, which have one threshold', async () => {
  const limit = 0.6;
  const tensors: Tensors = [...standard, ['topk_threshold', [], [limit]]];
  for (const architecture of ['batchtopk', 'matryoshka_batchtopk']) {
    await check({ architecture, k: 5 }, tensors, (x) => preActivations(x).map((v) => (v > limit ? v : 0)));
    await check({ architecture, k: 5, rescale_acts_by_decoder_norm: true }, tensors, (x) => preActivations(x).map((v, f) => (v * norms[f]! > limit ? v * norms[f]! : 0)), (codes) => decoded(codes.map((c, f) => c / norms[f]!)));
  }
  assert.is((await readSaeConfig(directory({ architecture: 'batchtopk' }, tensors))).variant, 'batchtopk');
});

test('factors on codes: ones are dropped, others used where the configuration says so and refused where not', async () => {
  const factors = numbers.threshold.map((v) => v + 0.5);
  await check({}, [...standard, ['scaling_factor', [features], new Array(features).fill(1)]], (x) => ofRelu(x));
  for (const name of ['scaling_factor', 'finetuning_scaling_factor']) {
    await check({ finetuning_scaling_factor: true }, [...standard, [name, [features], factors]], (x) => ofRelu(x), (codes) => decoded(codes.map((c, f) => c * factors[f]!)));
    assert.match(await refusal(() => loadSae(gpu, directory({}, [...standard, [name, [features], factors]]))), new RegExp(`has a ${name} other than 1`));
  }
  assert.match(await refusal(() => loadSae(gpu, directory({ finetuning_scaling_factor: true }))), /no tensor scaling_factor/);
});

test('flat configurations of several versions come to today\'s', async () => {
  const flat = { metadata: undefined, architecture: undefined, reshape_activations: undefined, apply_b_dec_to_input: undefined };
  const oldest = { ...flat, model_name: 'gpt2-small', hook_point: 'blocks.5.attn.hook_z', hook_point_head_index: null, normalize_activations: false, context_size: 128 };
  assert.equal((await readSaeConfig(directory(oldest))).metadata, {
    prepend_bos: true, model_name: 'gpt2-small', hook_name: 'blocks.5.attn.hook_z', hook_head_index: null, context_size: 128, reshape_activations: 'hook_z',
  });
  // One head of it is as wide as a head.
  assert.is((await readSaeConfig(directory({ ...oldest, hook_point_head_index: 3 }))).metadata['reshape_activations'], undefined);
  const five = {
    ...flat, architecture: 'standard', activation_fn_str: 'topk', activation_fn_kwargs: { k: 2 }, normalize_activations: 'layer_norm',
    hook_name: 'blocks.7.hook_resid_post', prepend_bos: false, model_from_pretrained_kwargs: { center_writing_weights: true }, sae_lens_training_version: '3.0.0',
  };
  const read = await readSaeConfig(directory(five));
  assert.equal([read.variant, read.k, read.normalization, read.metadata.prepend_bos, read.metadata['sae_lens_training_version']], ['topk', 2, 'layer_norm', false, '3.0.0']);
  const factor = { ...flat, hook_point: 'blocks.5.hook_mlp_out', normalize_activations: true };
  assert.match(await refusal(() => readSaeConfig(directory(factor))), /no activation_scaler\.json/);
  assert.is((await readSaeConfig(directory(factor, standard, { 'activation_scaler.json': jsonFile({ scaling_factor: 0.25 }) }))).scale, 4);
});

test('the sparsity file is optional', async () => {
  assert.is(await readSparsity(directory({})), null);
  const frequencies = Array.from({ length: features }, (_, f) => -f / 4);
  assert.equal([...(await readSparsity(directory({}, standard, { 'sparsity.safetensors': safetensorsFile([['sparsity', [features], frequencies]]) })))!], frequencies);
});

test.run();
