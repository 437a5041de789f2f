import * as assert from 'uvu/assert';
import { directorySource } from '../../src/files/node-directory.ts';
import { openSafetensors, type FileSource, type TensorToWrite } from '../../src/files/index.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { brainBits, fixtureParts, FIXTURE, halfBits, modelSource, roundToBrain, roundToHalf, shardedSource, type Parts } from '../support/models.ts';
import { referenceRun, referenceWeights, type ReferenceConfig } from '../support/reference-gpt2.ts';

const test = gpuSuite('hooks');
const TOLERANCE = 1e-4;

/** Largest error over the root mean square of what is expected; masked entries (-1e30 stands for -infinity) must be masked in both. */
function error(out: ArrayLike<number>, expected: ArrayLike<number>): number {
  assert.is(out.length, expected.length);
  let worst = 0;
  let squares = 0;
  let count = 0;
  for (let i = 0; i < expected.length; i++) {
    if (expected[i]! < -1e29 || out[i]! < -1e29) {
      assert.ok(expected[i]! < -1e29 && out[i]! < -1e29, `entry ${i} is masked in one of the two only`);
      continue;
    }
    worst = Math.max(worst, Number.isFinite(out[i]!) ? Math.abs(out[i]! - expected[i]!) : Infinity);
    squares += expected[i]! ** 2;
    count++;
  }
  return worst / Math.sqrt(squares / count);
}

/** Runs a model with every hook cached and compares it with expected activations by name; returns the largest error. */
async function compare(source: FileSource, tokens: number[][], expected: (name: string) => Promise<ArrayLike<number>>, shapeOf?: (name: string) => readonly number[]): Promise<{ worst: number; hash: string }> {
  const model = await Gpt2.load(await testGpu(), source);
  const run = model.run(tokens, { cache: '*', logits: 'all' });
  let worst = 0;
  try {
    assert.equal([...run.cache.keys()], model.hookNames());
    for (const name of model.hookNames()) {
      const tensor = run.get(name);
      if (shapeOf) assert.equal(tensor.shape, shapeOf(name), name);
      const e = error(await tensor.read(), await expected(name));
      assert.ok(e <= TOLERANCE, `${name}: error ${e}`);
      worst = Math.max(worst, e);
    }
    assert.ok(error(await run.logits!.read(), await expected('logits')) <= TOLERANCE);
  } finally {
    run.dispose();
    model.dispose();
  }
  return { worst, hash: model.hash };
}

async function fixture(): Promise<{ tokens: number[][]; expected: (name: string) => Promise<Float32Array>; shapeOf: (name: string) => readonly number[]; names: readonly string[] }> {
  const file = await openSafetensors(directorySource(FIXTURE), 'expected.safetensors');
  const ids = await file.f32('tokens');
  const [count, length] = file.info('tokens').shape as [number, number];
  const tokens = Array.from({ length: count }, (_, i) => Array.from(ids.subarray(i * length, (i + 1) * length)));
  return { tokens, expected: (name) => file.f32(name), shapeOf: (name) => file.info(name).shape, names: file.names };
}

function prefixed(parts: Parts): Record<string, TensorToWrite> {
  return Object.fromEntries(Object.entries(parts.tensors).map(([name, tensor]) => [`transformer.${name}`, tensor]));
}

test('every hook of the fixture is computed as an independent program has it', async () => {
  const { tokens, expected, shapeOf, names } = await fixture();
  const source = directorySource(`${FIXTURE}/model`);
  await compare(source, tokens, expected, shapeOf);
  const model = await Gpt2.load(await testGpu(), source);
  assert.equal([...model.hookNames(), 'tokens'].sort(), [...names].sort());
  model.dispose();
});

test('names with a prefix, shards and a stored copy of the tied head give the same model and fingerprint', async () => {
  const { tokens, expected } = await fixture();
  const parts = await fixtureParts();
  const plain = await compare(modelSource(parts.config, parts.tensors), tokens, expected);
  const withPrefix = await compare(modelSource(parts.config, prefixed(parts)), tokens, expected);
  const sharded = await compare(shardedSource(parts.config, parts.tensors, 3), tokens, expected);
  const copied = await compare(modelSource(parts.config, { ...prefixed(parts), 'lm_head.weight': parts.tensors['wte.weight']! }), tokens, expected);
  for (const other of [withPrefix, sharded, copied]) assert.equal(other, plain);
});

for (const [dtype, bits, round] of [['F16', halfBits, roundToHalf], ['BF16', brainBits, roundToBrain]] as const) {
  test(`weights of type ${dtype} give what float64 gives with the rounded weights`, async () => {
    const { tokens } = await fixture();
    const parts = await fixtureParts();
    const tensors = Object.fromEntries(Object.entries(prefixed(parts)).map(([name, { shape, data }]) => [name, { dtype, shape, data: Uint16Array.from(data as Float32Array, bits) }]));
    const file = await openSafetensors(modelSource(parts.config, parts.tensors));
    const weights = await referenceWeights(file, round);
    const runs = tokens.map((prompt) => referenceRun(weights, referenceConfig(parts), prompt));
    const { hash } = await compare(modelSource(parts.config, tensors), tokens, async (name) => Float64Array.from(runs.flatMap((run) => [...run.get(name)!.data])));
    assert.match(hash, /^[0-9a-f]{64}$/);
  });
}

test('the float64 reference of these tests agrees with the independent program', async () => {
  const { tokens, expected, names } = await fixture();
  const parts = await fixtureParts();
  const weights = await referenceWeights(await openSafetensors(modelSource(parts.config, parts.tensors)));
  const runs = tokens.map((prompt) => referenceRun(weights, referenceConfig(parts), prompt));
  for (const name of names) {
    if (name === 'tokens') continue;
    const e = error(runs.flatMap((run) => [...run.get(name)!.data]), await expected(name));
    assert.ok(e <= 1e-6, `${name}: error ${e}`);
  }
});

test('a head of its own is used, prompts of unequal length are exact, and an odd width works', async () => {
  const config = { model_type: 'gpt2', n_embd: 15, n_head: 3, n_layer: 2, n_inner: 23, vocab_size: 31, n_positions: 12, tie_word_embeddings: false, layer_norm_epsilon: 1e-3 };
  const { readConfig } = await import('../../src/model/index.ts');
  const { expectedShapes } = await import('../../src/model/names.ts');
  const { random } = await import('../support/numbers.ts');
  const tensors: Record<string, TensorToWrite> = {};
  let seed = 1;
  for (const [name, shape] of expectedShapes(readConfig(config, 'test'))) tensors[name] = { dtype: 'F32', shape, data: random(shape, seed++) };
  const source = modelSource(config, tensors);
  const weights = await referenceWeights(await openSafetensors(source));
  const prompts = [[3, 1, 4, 1, 5, 9, 2], [6, 5], [30, 0, 8, 30]];
  const model = await Gpt2.load(await testGpu(), source);
  const run = model.run(prompts, { cache: '*' });
  const lasts = await run.logits!.read();
  for (const [i, prompt] of prompts.entries()) {
    const expected = referenceRun(weights, { layers: 2, heads: 3, width: 15, mlpWidth: 23, vocabulary: 31, epsilon: 1e-3 }, prompt);
    for (const name of model.hookNames()) {
      const tensor = run.get(name);
      const whole = await tensor.read();
      const byHead = /scores|pattern/.test(name);
      const row = tensor.size / (3 * 7 * (byHead ? 3 * 7 : 1));
      const own = byHead
        ? Array.from({ length: 3 * prompt.length ** 2 }, (_, at) => {
          const [h, q, k] = [Math.floor(at / prompt.length ** 2), Math.floor(at / prompt.length) % prompt.length, at % prompt.length];
          return whole[((i * 3 + h) * 7 + q) * 7 + k]!;
        })
        : whole.subarray(i * 7 * row, (i * 7 + prompt.length) * row);
      const e = error(own, expected.get(name)!.data);
      assert.ok(e <= TOLERANCE, `prompt ${i}, ${name}: error ${e}`);
    }
    assert.ok(error(lasts.subarray(i * 31, (i + 1) * 31), expected.get('logits')!.data.subarray(-31)) <= TOLERANCE, `last logits of prompt ${i}`);
  }
  run.dispose();
  model.dispose();
});

function referenceConfig({ config }: Parts): ReferenceConfig {
  return { layers: config.n_layer as number, heads: config.n_head as number, width: config.n_embd as number, mlpWidth: 4 * (config.n_embd as number), vocabulary: config.vocab_size as number, epsilon: config.layer_norm_epsilon as number };
}

test.run();
