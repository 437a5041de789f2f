import * as assert from 'uvu/assert';
import { GPT2_RELEASES, loadSae, readSaeConfig, releaseOf, splitAddress, type ExpectedSite } from '../../src/dictionary/index.ts';
import { processingOf, processingThatMatters } from '../../src/dictionary/formats/check.ts';
import { ShapeError, UsageError } from '../../src/errors.ts';
import { memorySource, type FileSource } from '../../src/files/index.ts';
import { Gpt2, NO_PROCESSING } from '../../src/model/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { fixtureParts, modelSource } from '../support/models.ts';
import { random, relativeError } from '../support/numbers.ts';
import { across, checkSae, decoded, features, jsonFile, numbers, preActivations, relu, width } from '../support/plain-dictionary.ts';
import { refusal } from '../support/refusal.ts';
import { safetensorsFile } from '../support/safetensors-file.ts';

const test = gpuSuite('where dictionaries belong');
const gpu = await testGpu();

const weights = safetensorsFile([
  ['W_enc', [width, features], across(numbers.encoder, features)], ['b_enc', [features], numbers.encoderBias],
  ['W_dec', [features, width], numbers.decoder], ['b_dec', [width], numbers.decoderBias],
]);
const directory = (config: object, name: string): FileSource => memorySource({ 'cfg.json': jsonFile({ d_in: width, d_sae: features, ...config }), 'sae_weights.safetensors': weights }, name);
/** As a repository of before version 6 has it: nothing of the model's weights. */
const flat = { model_name: 'gpt2-small', hook_point: 'blocks.8.hook_resid_pre', hook_point_head_index: null };
const JB = 'jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre';

test('a release is known by its name wherever it was copied to, and gives what its configuration lacks', async () => {
  const copies = [
    JB, `https://huggingface.co/${JB.replace('/blocks', '/resolve/main/blocks')}`, '/home/u/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre',
    '/cache/models--jbloom--GPT2-Small-SAEs-Reformatted/snapshots/0123/blocks.8.hook_resid_pre',
    'C:\\saes\\GPT2-Small-SAEs-Reformatted\\x',
  ];
  for (const name of copies) assert.is(releaseOf(name)?.name, 'gpt2-small-res-jb', name);
  for (const name of ['saes', 'GPT2-Small-SAEs', 'x/GPT2-Small-SAEs-Reformatted-2', '']) assert.is(releaseOf(name), null, name);
  const { metadata } = await readSaeConfig(directory(flat, JB));
  assert.equal(metadata['weight_processing'], { centerWritingWeights: true });
  assert.equal([metadata['release'], metadata['context_size'], metadata.prepend_bos], ['gpt2-small-res-jb', 128, true]);
  assert.ok((metadata['quirks'] as string[]).length > 0);
  // Elsewhere the same files say nothing of it.
  assert.is((await readSaeConfig(directory(flat, 'elsewhere'))).metadata['weight_processing'], undefined);
  const used = { hookName: 'blocks.8.hook_resid_pre', width, weightProcessing: { ...NO_PROCESSING } };
  assert.match(await refusal(() => loadSae(gpu, directory(flat, JB), used), UsageError), /weight processing centerWritingWeights true, not false/);
  // What centring the model's other weights does is nothing to a dictionary of the residual stream.
  const sae = await loadSae(gpu, directory(flat, JB), { ...used, weightProcessing: { ...NO_PROCESSING, centerWritingWeights: true, foldLn: true, centerUnembed: true } });
  assert.equal(sae.warnings, []);
  await checkSae(gpu, sae, (x) => preActivations(x).map(relu));
});

test('the table: every release with its hooks, and factors for activations where there are some', async () => {
  assert.is(new Set(GPT2_RELEASES.map(({ name }) => name)).size, 18);
  for (const { repository, hooks, files, factors, quirks } of GPT2_RELEASES) {
    assert.is(releaseOf(`${repository}/x`)?.repository, repository);
    assert.ok(hooks.length > 0 && quirks.length > 0 && hooks.every((hook) => /^blocks\.\d+\./.test(hook)));
    for (const by of [files, factors]) if (by) assert.equal(Object.keys(by), hooks);
  }
  const mlp = { model_name: 'gpt2', hook_point: 'blocks.8.hook_mlp_out', normalize_activations: 'expected_average_only_in' };
  const source = directory(mlp, 'tommmcgrath/gpt2-small-mlp-out-saes/sae_group_gpt2_blocks.8.hook_mlp_out_24576:v1');
  const factor = 0.9123762783479742;
  const sae = await loadSae(gpu, source, { modelName: 'gpt2-small' });
  // In the units of activations codes are divided by the factor, and with them what the decoder makes of them.
  await checkSae(gpu, sae, (x) => preActivations(x.map((v) => v * factor)).map((v) => relu(v) / factor), (codes) => decoded(codes.map((c) => c * factor)).map((v) => v / factor));
});

test('OpenAI\'s as SAELens has them need no centring, and have none undone', async () => {
  const config = {
    architecture: 'topk', activation_fn_str: 'topk', activation_fn_kwargs: { k: 4 }, normalize_activations: 'layer_norm', model_name: 'gpt2-small', hook_name: 'blocks.3.hook_resid_mid', prepend_bos: false, context_size: 64,
  };
  const source = directory(config, 'jbloom/GPT2-Small-OAI-v5-32k-resid-mid-SAEs/v5_32k_layer_3');
  for (const centerWritingWeights of [false, true]) {
    const sae = await loadSae(gpu, source, { hookName: 'blocks.3.hook_resid_mid', prependBos: false, contextSize: 128, weightProcessing: { ...NO_PROCESSING, centerWritingWeights } });
    assert.equal([sae.normalization, sae.k, sae.warnings.length], ['layer_norm', 4, 1]);
    assert.match(sae.warnings[0]!, /contexts of 64 tokens, and is used in 128/);
    sae.dispose();
  }
  assert.match(await refusal(() => loadSae(gpu, source, { prependBos: true }), UsageError), /prepend_bos false, not true/);
});

test('what is one thing under two names is the same, what is not is named', async () => {
  const load = async (expected: ExpectedSite): Promise<readonly string[]> => {
    const sae = await loadSae(gpu, directory(flat, 'x'), expected);
    sae.dispose();
    return sae.warnings;
  };
  assert.equal(await load({ hookName: 'blocks.7.hook_resid_post', modelName: 'openai-community/gpt2', headIndex: null, width }), []);
  assert.match(await refusal(() => load({ hookName: 'blocks.8.hook_resid_post' }), UsageError), /hook blocks\.8\.hook_resid_pre, not blocks\.8\.hook_resid_post/);
  assert.match(await refusal(() => load({ modelName: 'gpt2-medium' }), UsageError), /gpt2-small, not gpt2-medium/);
  assert.match(await refusal(() => load({ width: 64, hookName: 'blocks.8.hook_resid_pre' }), ShapeError), /width 6, but its site blocks\.8\.hook_resid_pre has width 64/);
  assert.match((await load({ weightProcessing: NO_PROCESSING as unknown as Record<string, boolean> })).join(), /how the model's weights were processed; at its hook centerWritingWeights would change/);
  const silent = memorySource({ 'cfg.json': jsonFile({ d_in: width, d_sae: features, metadata: {} }), 'sae_weights.safetensors': weights });
  const sae = await loadSae(gpu, silent, { prependBos: true, hookName: 'blocks.0.hook_mlp_out' });
  assert.match(sae.warnings.join('; '), /whether prompts began with a beginning-of-sequence token; here they do; it does not say at which hook/);
  sae.dispose();
});

test('options of TransformerLens come to the kinds of processing that matter at the hook', () => {
  const given = { center_writing_weights: true, fold_ln: true, device_map: 'auto' };
  const of = (hook_name: string | undefined, normalization: 'layer_norm' | null = null) => processingOf({ ...(hook_name ? { hook_name } : {}), model_from_pretrained_kwargs: given }, normalization);
  assert.equal(of('blocks.1.hook_resid_post'), { centerWritingWeights: true });
  assert.equal(of('blocks.1.hook_resid_post', 'layer_norm'), null);
  assert.equal(of('blocks.1.attn.hook_z'), { foldValueBiases: false, refactorFactoredAttnMatrices: false });
  assert.equal(of('blocks.1.mlp.hook_post'), null);
  assert.is(processingOf({ hook_name: 'blocks.1.hook_resid_post' }, null), null);
  assert.equal(of(undefined), { foldLn: true, centerWritingWeights: true, centerUnembed: false, foldValueBiases: false, refactorFactoredAttnMatrices: false });
});

test('the kinds of processing that matter at a hook are those that change what the model has there', async () => {
  const { config, tensors } = await fixtureParts();
  // Norms and biases as they come are close to one and zero; stronger ones show more.
  for (const [name, tensor] of Object.entries(tensors)) {
    if (/ln_.*weight/.test(name)) tensor.data.set(random(tensor.data.length, name.length).map((v) => 1 + v / 2));
    if (/ln_.*bias|attn.*bias/.test(name)) tensor.data.set(random(tensor.data.length, name.length + 7).map((v) => v / 2));
  }
  const activations = async (processing: object): Promise<Map<string, Float32Array>> => {
    const model = await Gpt2.load(gpu, modelSource(config, tensors), { processing });
    const run = model.run([[5, 17, 3, 88, 41, 2, 60]], { cache: '*', logits: 'none' });
    const found = new Map<string, Float32Array>();
    for (const [hook, tensor] of run.cache) found.set(hook, await tensor.read());
    run.dispose();
    model.dispose();
    return found;
  };
  const raw = await activations({});
  assert.ok(raw.size > 20);
  for (const kind of Object.keys(NO_PROCESSING)) {
    const processed = await activations({ [kind]: true });
    for (const [hook, values] of raw) {
      const changed = relativeError(processed.get(hook)!, values) > 1e-4;
      // Attention scores may differ by a constant in a row and not finite numbers; the pattern is what counts.
      if (hook.endsWith('hook_attn_scores')) continue;
      assert.is(changed, processingThatMatters(hook, null).includes(kind), `${kind} at ${hook}`);
    }
  }
});

test('addresses of files', () => {
  assert.equal(splitAddress('hub:o/n/L5.pt'), { directory: 'hub:o/n', file: 'L5.pt' });
  assert.equal(splitAddress('https://a.b/c/sae.safetensors'), { directory: 'https://a.b/c', file: 'sae.safetensors' });
  assert.equal(splitAddress('x.pt'), { directory: '.', file: 'x.pt' });
  assert.equal(splitAddress('/x.pt'), { directory: '/', file: 'x.pt' });
  assert.equal(splitAddress('hub:jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre'), { directory: 'hub:jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre' });
});

test.run();
