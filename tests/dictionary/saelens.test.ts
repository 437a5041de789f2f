import * as assert from 'uvu/assert';
import { FileError, ShapeError, UsageError } from '../../src/errors.ts';
import { Sae } from '../../src/dictionary/sae.ts';
import { loadSae, readSaeConfig } from '../../src/dictionary/formats/load.ts';
import { saeFiles } from '../../src/dictionary/saelens.ts';
import { memorySource, type FileSource } from '../../src/files/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';
import { safetensorsFile } from '../support/safetensors-file.ts';

const test = gpuSuite('saelens layout');
const gpu = await testGpu();

/** Two inputs, three features: W_enc = [[1, 0, -1], [0, 2, 1]], decoder rows e₁, e₂ and (0.6, 0.8). */
const tensors: [string, number[], number[]][] = [
  ['W_enc', [2, 3], [1, 0, -1, 0, 2, 1]], ['b_enc', [3], [0.5, -1, 0]], ['W_dec', [3, 2], [1, 0, 0, 1, 0.6, 0.8]], ['b_dec', [2], [1, 2]],
];
const current = {
  d_in: 2, d_sae: 3, dtype: 'float32', device: 'cuda', architecture: 'standard', apply_b_dec_to_input: true, normalize_activations: 'none', reshape_activations: 'none',
  metadata: { model_name: 'gpt2-small', hook_name: 'blocks.9.attn.hook_z', hook_head_index: 6, prepend_bos: true, sae_lens_version: '6.18.0' },
};

function source(config: unknown, files: Record<string, Uint8Array> = {}): FileSource {
  return memorySource({ 'cfg.json': new TextEncoder().encode(JSON.stringify(config)), 'sae_weights.safetensors': safetensorsFile(tensors), ...files });
}

/** x = (3, 4): x − b_dec = (2, 2), pre = (2, 4, 0) + b_enc = (2.5, 3, 0); x̂ = (2.5, 3) + b_dec. */
async function checkByHand(sae: Sae): Promise<void> {
  await gpu.scope(async () => {
    const codes = sae.encode({ activations: Tensor.from(gpu, [3, 4], [1, 2]) });
    assert.equal([...await codes.read()], [2.5, 3, 0]);
    assert.equal([...await sae.decode(codes).read()], [3.5, 5]);
  });
}

test('a directory as SAELens writes it', async () => {
  const sae = await loadSae(gpu, source(current), { width: 2, hookName: 'blocks.9.attn.hook_z', headIndex: 6, modelName: 'gpt2-small', prependBos: true });
  assert.equal([sae.dIn, sae.features, sae.metadata.hook_head_index], [2, 3, 6]);
  await checkByHand(sae);
  sae.dispose();
});

test('the flat configuration of earlier versions', async () => {
  const flat = { d_in: 2, d_sae: 3, model_name: 'gpt2-small', hook_point: 'blocks.8.hook_resid_pre', hook_point_head_index: null, activation_fn_str: 'relu', normalize_activations: false };
  const sae = await loadSae(gpu, source(flat), { hookName: 'blocks.8.hook_resid_pre', headIndex: null });
  assert.equal(sae.metadata, { prepend_bos: true, model_name: 'gpt2-small', hook_name: 'blocks.8.hook_resid_pre', hook_head_index: null });
  await checkByHand(sae);
  sae.dispose();
});

test('a factor for activations is moved into the biases', () => gpu.scope(async () => {
  const scaled = { ...current, normalize_activations: 'expected_average_only_in' };
  const sae = await loadSae(gpu, source(scaled, { 'activation_scaler.json': new TextEncoder().encode('{"scaling_factor": 0.5}') }));
  // x · 0.5 = (3, 4) encodes as before; codes and reconstruction come out in units of x.
  const codes = sae.encode({ activations: Tensor.from(gpu, [6, 8], [1, 2]) });
  assert.equal([...await codes.read()], [5, 6, 0]);
  assert.equal([...await sae.decode(codes).read()], [7, 10]);
  sae.dispose();
}));

test('what is saved is what SAELens reads, and loads back bit for bit', () => gpu.scope(async () => {
  const [d, F] = [5, 7];
  const values = [random(F * d, 1), random(F, 2), random(F * d, 3), random(d, 4)];
  const sae = new Sae('vanilla z@L0H3@end λ=1', {
    encoder: Tensor.from(gpu, values[0]!, [F, d]), encoderBias: Tensor.from(gpu, values[1]!, [F]), decoder: Tensor.from(gpu, values[2]!, [F, d]), decoderBias: Tensor.from(gpu, values[3]!, [d]),
  }, { model_name: 'm', hook_name: 'blocks.0.attn.hook_z', hook_head_index: 3, position: 'end', weight_processing: { foldLn: true } });
  const files = await saeFiles(sae);
  const config = JSON.parse(new TextDecoder().decode(files['cfg.json']!));
  for (const field of ['d_in', 'd_sae', 'dtype', 'device', 'architecture', 'apply_b_dec_to_input', 'normalize_activations', 'reshape_activations', 'metadata']) assert.ok(field in config, field);
  assert.equal([config.d_in, config.d_sae, config.architecture, config.normalize_activations], [d, F, 'standard', 'none']);
  // Read the weights without our own reader: W_enc is [d_in, d_sae].
  const weights = files['sae_weights.safetensors']!;
  const length = Number(new DataView(weights.buffer, weights.byteOffset).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(weights.subarray(8, 8 + length)));
  assert.equal(header.W_enc.shape, [d, F]);
  const wEnc = new Float32Array(weights.slice(8 + length + header.W_enc.data_offsets[0], 8 + length + header.W_enc.data_offsets[1]).buffer);
  for (let k = 0; k < d; k++) for (let f = 0; f < F; f++) assert.is(wEnc[k * F + f], values[0]![f * d + k]);
  const back = await loadSae(gpu, memorySource(files), { headIndex: 3, position: 'end', weightProcessing: { foldLn: true } });
  assert.is(back.name, sae.name);
  assert.equal(back.metadata, sae.metadata);
  for (const [i, part] of (['encoder', 'encoderBias', 'decoder', 'decoderBias'] as const).entries()) assert.equal([...await back.weights[part].read()], [...values[i]!]);
  back.dispose();
}));

/** x = (3, 4), whose pre-activations are (2.5, 3, 0), through each architecture. */
test('gated, top-k and jumprelu directories as SAELens writes them', () => gpu.scope(async () => {
  const gate = tensors.map(([name, shape, values]) => [name === 'b_enc' ? 'b_gate' : name, shape, values] as [string, number[], number[]]);
  const kinds: [object, [string, number[], number[]][], string, number[]][] = [
    // Magnitudes (2, 4, 0)·e^r + b_mag = (3, −1, 1); the third gate is closed.
    [{ architecture: 'gated' }, [...gate, ['b_mag', [3], [1, -5, 1]], ['r_mag', [3], [0, 0, 0]]], 'gated', [3, 0, 0]],
    // A code at its threshold is not above it.
    [{ architecture: 'jumprelu' }, [...tensors, ['threshold', [3], [2, 3, 0]]], 'jumprelu', [2.5, 0, 0]],
    [{ architecture: 'topk', k: 1 }, tensors, 'topk', [0, 3, 0]],
    [{ architecture: undefined, activation_fn_str: 'topk', activation_fn_kwargs: { k: 1 } }, tensors, 'topk', [0, 3, 0]],
  ];
  for (const [config, own, variant, expected] of kinds) {
    const sae = await loadSae(gpu, source({ ...current, ...config }, { 'sae_weights.safetensors': safetensorsFile(own) }));
    assert.is(sae.variant, variant);
    assert.equal([...await sae.encode({ activations: Tensor.from(gpu, [3, 4], [1, 2]) }).read()], expected);
    sae.dispose();
  }
  // Activations are multiplied by 1/2 before such a dictionary: at twice x, twice the codes.
  const scaler = { 'activation_scaler.json': new TextEncoder().encode('{"scaling_factor": 0.5}'), 'sae_weights.safetensors': safetensorsFile(kinds[1]![1]) };
  const scaled = await loadSae(gpu, source({ ...current, architecture: 'jumprelu', normalize_activations: 'expected_average_only_in' }, scaler));
  assert.equal([...await scaled.encode({ activations: Tensor.from(gpu, [6, 8], [1, 2]) }).read()], [5, 0, 0]);
  scaled.dispose();
}));

test('every kind comes back as it was written', () => gpu.scope(async () => {
  const [d, F] = [5, 7];
  const vector = (seed: number) => Tensor.from(gpu, random(F, seed), [F]);
  const positive = () => Tensor.from(gpu, random(F, 9).map(Math.abs), [F]);
  const extra = { vanilla: {}, frozen: {}, topk: {}, gated: { magnitudeScale: vector(7), magnitudeBias: vector(8) }, batchtopk: { threshold: positive() }, jumprelu: { threshold: positive() } };
  const x = Tensor.from(gpu, random(4 * d, 20), [4, d]);
  for (const [variant, own] of Object.entries(extra) as [keyof typeof extra, object][]) {
    for (const signed of variant === 'topk' || variant === 'gated' ? [false, true] : [false]) {
      const sae = new Sae(`${variant} z@L0H3@end`, {
        encoder: Tensor.from(gpu, random(F * d, 1), [F, d]), encoderBias: vector(2), decoder: Tensor.from(gpu, random(F * d, 3), [F, d]), decoderBias: Tensor.from(gpu, random(d, 4), [d]), ...own,
      }, { model_name: 'm' }, { variant, k: 3, signed });
      const back = await loadSae(gpu, memorySource(await saeFiles(sae)));
      assert.equal([back.name, back.variant, back.k, back.kind.signed, back.metadata], [sae.name, variant, variant === 'topk' ? 3 : null, signed, { model_name: 'm' }]);
      for (const [part, tensor] of Object.entries(sae.weights) as [keyof typeof back.weights, Tensor][]) assert.equal([...await back.weights[part]!.read()], [...await tensor.read()], `${variant} ${part}`);
      assert.equal([...await back.encode({ activations: x }).read()], [...await sae.encode({ activations: x }).read()]);
      back.dispose();
    }
  }
}));

async function failure(attempt: Promise<unknown>): Promise<Error> {
  return attempt.then(() => new Error('nothing was thrown'), (error) => error as Error);
}

test('a dictionary that does not belong to its site is refused', async () => {
  const wrong = async (expected: Parameters<typeof loadSae>[2], kind: typeof UsageError | typeof ShapeError, words: RegExp): Promise<void> => {
    const error = await failure(loadSae(gpu, source({ ...current, metadata: { ...current.metadata, position: 'end', model_hash: 'ab12', weight_processing: { foldLn: true } } }), expected));
    assert.ok(error instanceof kind && words.test(error.message), `${error.name}: ${error.message}`);
  };
  await wrong({ width: 64, hookName: 'blocks.9.attn.hook_z' }, ShapeError, /width 2.*hook_z has width 64/);
  await wrong({ hookName: 'blocks.9.attn.hook_q' }, UsageError, /hook_z, not blocks.9.attn.hook_q/);
  await wrong({ headIndex: 7 }, UsageError, /head 6, not 7/);
  await wrong({ headIndex: null }, UsageError, /head 6, not null/);
  await wrong({ modelName: 'gpt2-medium' }, UsageError, /gpt2-small, not gpt2-medium/);
  await wrong({ modelHash: 'cd34' }, UsageError, /weights ab12, not cd34/);
  await wrong({ position: 's2' }, UsageError, /position end, not s2/);
  await wrong({ prependBos: false }, UsageError, /prepend_bos true, not false/);
  await wrong({ weightProcessing: { foldLn: false } }, UsageError, /foldLn true, not false/);
});

test('files that are broken or of another kind are refused by name', async () => {
  const refused = async (from: FileSource, words: RegExp): Promise<void> => {
    const error = await failure(loadSae(gpu, from));
    assert.ok(error instanceof FileError && words.test(error.message), `${error.name}: ${error.message}`);
  };
  await refused(source({ ...current, architecture: 'transcoder' }), /architecture is "transcoder".*"jumprelu"/);
  await refused(source({ ...current, activation_fn: 'tanh-relu' }), /activation_fn is "tanh-relu"/);
  await refused(source({ ...current, architecture: 'topk' }), /topk dictionary needs a whole number k/);
  await refused(source({ ...current, architecture: 'topk', k: 4 }), /k is 4/);
  await refused(source({ ...current, rescale_acts_by_decoder_norm: true }), /rescale_acts_by_decoder_norm/);
  await refused(source({ ...current, architecture: 'gated' }), /b_gate/);
  await refused(source({ ...current, architecture: 'jumprelu' }), /threshold/);
  await refused(source({ ...current, normalize_activations: 'unit_variance' }), /normalize_activations is "unit_variance"/);
  await refused(source({ ...current, normalize_activations: 'expected_average_only_in' }), /activation_scaler/);
  await refused(source({ ...current, reshape_activations: 'hook_q' }), /reshape_activations is "hook_q"/);
  await refused(source({ ...current, d_sae: 4 }), /W_enc has shape \[2, 3\], but cfg.json says \[2, 4\]/);
  await refused(source({ ...current, d_in: 'two' }), /d_in is "two"/);
  await refused(source([]), /not a JSON object/);
  await refused(source(current, { 'sae_weights.safetensors': safetensorsFile(tensors).subarray(0, -4) }), /W_enc|b_enc|W_dec|b_dec|byte/);
  await refused(source(current, { 'sae_weights.safetensors': safetensorsFile(tensors.slice(0, 3)) }), /b_dec/);
  await refused(source(current, { 'sae_weights.safetensors': safetensorsFile(tensors.map(([n, s, v]) => [n, s, v.map(() => NaN)])) }), /W_enc holds NaN/);
  await refused(memorySource({}), /cfg.json/);
  assert.is((await readSaeConfig(source(current))).scale, 1);
});

test.run();
