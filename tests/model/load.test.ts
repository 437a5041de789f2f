import * as assert from 'uvu/assert';
import { ConfigError, FileError, LimitError, NumberError, UsageError } from '../../src/errors.ts';
import { memorySource, type FileSource, type TensorToWrite } from '../../src/files/index.ts';
import { Gpt2, readConfig } from '../../src/model/index.ts';
import { gpuSuite, ownGpu, testGpu } from '../support/gpu.ts';
import { fixtureParts, modelSource, text } from '../support/models.ts';

const test = gpuSuite('loading');

async function refuses(source: FileSource, kind: new (...args: never[]) => Error, message: RegExp, options = {}): Promise<void> {
  const gpu = await testGpu();
  const before = gpu.memory().live;
  const error = await Gpt2.load(gpu, source, options).then((model) => {
    model.dispose();
    return null;
  }, (e: Error) => e);
  assert.instance(error, kind, `${message}: ${String(error)}`);
  assert.match(error!.message, message);
  assert.not(error!.message.includes('\n'), 'one line');
  assert.is(gpu.memory().live, before, 'everything is freed');
}

const GOOD = { model_type: 'gpt2', n_embd: 48, n_head: 4, n_layer: 3, vocab_size: 97, n_positions: 40 };

test('a configuration is read with GPT-2\'s defaults', () => {
  const config = readConfig(GOOD, 'config.json');
  assert.equal(config, { layers: 3, heads: 4, width: 48, headWidth: 12, mlpWidth: 192, vocabulary: 97, context: 40, epsilon: 1e-5, tied: true, bos: null, eos: null });
  const other = readConfig({ ...GOOD, n_positions: undefined, n_ctx: 20, n_inner: 50, activation_function: 'gelu_pytorch_tanh', tie_word_embeddings: false, bos_token_id: 3, layer_norm_epsilon: 1e-6, attn_pdrop: 0.1 }, 'config.json');
  assert.equal([other.context, other.mlpWidth, other.tied, other.bos, other.epsilon], [20, 50, false, 3, 1e-6]);
});

test('a configuration that is not GPT-2\'s is refused by the name of its field', () => {
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ model_type: 'llama' }, /model_type is "llama"/],
    [{ model_type: undefined }, /model_type is missing/],
    [{ activation_function: 'relu' }, /activation_function is "relu".*gelu_new/],
    [{ activation_function: 'gelu' }, /activation_function is "gelu"/],
    [{ scale_attn_by_inverse_layer_idx: true }, /scale_attn_by_inverse_layer_idx is true/],
    [{ reorder_and_upcast_attn: true }, /reorder_and_upcast_attn is true/],
    [{ add_cross_attention: true }, /add_cross_attention is true/],
    [{ scale_attn_weights: false }, /scale_attn_weights is false/],
    [{ quantization_config: { bits: 4 } }, /quantization_config/],
    [{ n_embd: 50 }, /n_embd 50 is not divisible by n_head 4/],
    [{ n_layer: 0 }, /n_layer is 0/],
    [{ vocab_size: 2.5 }, /vocab_size is 2\.5/],
    [{ n_positions: undefined }, /n_positions is missing/],
    [{ n_inner: -1 }, /n_inner is -1/],
    [{ layer_norm_epsilon: 0 }, /layer_norm_epsilon is 0/],
    [{ tie_word_embeddings: 'yes' }, /tie_word_embeddings is "yes"/],
  ];
  for (const [change, message] of cases) {
    try {
      readConfig({ ...GOOD, ...change }, 'x/config.json');
      assert.unreachable(JSON.stringify(change));
    } catch (error) {
      assert.instance(error, ConfigError, String(error));
      assert.match((error as Error).message, message);
      assert.match((error as Error).message, /^x\/config\.json: /);
    }
  }
});

test('broken weight files are refused by tensor', async () => {
  const { config, tensors } = await fixtureParts();
  const changed = (change: Record<string, TensorToWrite | undefined>): FileSource => {
    const all: Record<string, TensorToWrite | undefined> = { ...tensors, ...change };
    return modelSource(config, Object.fromEntries(Object.entries(all).filter(([, tensor]) => tensor)) as Record<string, TensorToWrite>);
  };
  const bias = tensors['h.1.ln_1.bias']!;
  await refuses(memorySource({}), FileError, /config\.json: no such file/);
  await refuses(memorySource({ 'config.json': text(config) }), FileError, /model\.safetensors/);
  await refuses(changed({ 'h.1.ln_1.bias': undefined }), FileError, /tensor h\.1\.ln_1\.bias is missing/);
  await refuses(changed({ 'h.3.ln_1.bias': bias }), FileError, /tensor h\.3\.ln_1\.bias is not one of a GPT-2 model with 3 layers/);
  await refuses(changed({ 'transformer.h.1.ln_1.bias': bias }), FileError, /same weight/);
  await refuses(changed({ 'h.1.ln_1.bias': { ...bias, shape: [2, 24] } }), FileError, /h\.1\.ln_1\.bias has the shape \[2, 24\], but config\.json asks for \[48\]/);
  await refuses(changed({ 'h.1.ln_1.bias': { dtype: 'I32', shape: [48], data: new Int32Array(48) } }), FileError, /h\.1\.ln_1\.bias is of type I32/);
  await refuses(changed({ 'lm_head.weight': { ...tensors['wte.weight']!, data: tensors['wte.weight']!.data.map((v) => v + 1) } }), FileError, /lm_head\.weight is not wte\.weight/);
  await refuses(modelSource({ ...config, tie_word_embeddings: false }, tensors), FileError, /lm_head\.weight is missing/);
  await refuses(changed({}), UsageError, /there is no weight processing foldLN/, { processing: { foldLN: true } });
});

test('NaN and infinity in a weight are refused with tensor and index', async () => {
  const { config, tensors } = await fixtureParts();
  for (const [value, processing] of [[NaN, {}], [-Infinity, {}], [Infinity, { foldLn: true }]] as const) {
    const name = 'h.2.mlp.c_fc.weight';
    const data = tensors[name]!.data.slice();
    data[5 * 192 + 7] = value;
    await refuses(modelSource(config, { ...tensors, [name]: { ...tensors[name]!, data } }), NumberError, new RegExp(`tensor ${name} has ${value} at \\[5, 7\\]`), { processing });
  }
  const half = new Uint16Array(97 * 48);
  half[48 * 3 + 1] = 0x7c00;
  await refuses(modelSource(config, { ...tensors, 'wte.weight': { dtype: 'F16', shape: [97, 48], data: half } }), NumberError, /wte\.weight has Infinity at \[3, 1\]/);
});

test('causal masks of old files are read past, progress is told, and the fingerprint knows every bit', async () => {
  const gpu = await testGpu();
  const { config, tensors } = await fixtureParts();
  const seen: [number, number][] = [];
  const masks: Record<string, TensorToWrite> = { 'h.0.attn.bias': { dtype: 'U8', shape: [1, 1, 40, 40], data: new Uint8Array(1600) }, 'h.0.attn.masked_bias': { dtype: 'F32', shape: [], data: new Float32Array([-1e4]) } };
  const plain = await Gpt2.load(gpu, modelSource(config, tensors));
  const masked = await Gpt2.load(gpu, modelSource(config, { ...tensors, ...masks }), { onProgress: (done, total) => seen.push([done, total]) });
  const flipped = tensors['ln_f.bias']!.data.slice();
  new Uint32Array(flipped.buffer)[7]! ^= 1;
  const changed = await Gpt2.load(gpu, modelSource(config, { ...tensors, 'ln_f.bias': { ...tensors['ln_f.bias']!, data: flipped } }));
  assert.is(masked.hash, plain.hash);
  assert.is.not(changed.hash, plain.hash);
  const total = Object.values(tensors).reduce((sum, tensor) => sum + tensor.data.byteLength, 0);
  assert.equal(seen.at(-1), [total, total]);
  assert.ok(seen.every(([done], i) => i === 0 || done > seen[i - 1]![0]));
  for (const model of [plain, masked, changed]) model.dispose();
});

test('a model that does not fit is refused before anything is allocated', async () => {
  const { config, tensors } = await fixtureParts();
  const bytes = Object.values(tensors).reduce((sum, tensor) => sum + tensor.data.byteLength, 0);
  const small = await ownGpu({ memoryLimit: 200_000 });
  try {
    const error = await Gpt2.load(small, modelSource(config, tensors)).then(() => null, (e: Error) => e);
    assert.instance(error, LimitError);
    assert.match(error!.message, new RegExp(`${bytes} bytes.*200000`));
    assert.is(small.memory().peak, 0);
  } finally {
    small.destroy();
  }
});

test('a table larger than a binding is used in windows', async () => {
  const { config, tensors } = await fixtureParts();
  const gpu = await testGpu();
  const whole = await Gpt2.load(gpu, modelSource(config, tensors));
  const run = whole.run([[5, 96, 0, 41]]);
  const expected = await run.logits!.read();
  run.dispose();
  whole.dispose();
  // The embedding takes 18,624 bytes; the widest matrix of a block must still fit one binding.
  const narrow = await ownGpu({ windowBytes: 48 * 192 * 4 });
  try {
    const big = { ...config, vocab_size: 1000 };
    const data = new Float32Array(1000 * 48);
    data.set(tensors['wte.weight']!.data);
    const model = await Gpt2.load(narrow, modelSource(big, { ...tensors, 'wte.weight': { dtype: 'F32', shape: [1000, 48], data } }));
    const logits = await model.run([[5, 96, 0, 41]]).logits!.read();
    assert.is(logits.length, 1000);
    assert.ok(logits.subarray(0, 97).every((value, i) => Math.abs(value - expected[i]!) < 1e-5));
    assert.ok(logits.subarray(97).every((value) => value === 0));
  } finally {
    narrow.destroy();
  }
});

test.run();
