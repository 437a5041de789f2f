import * as assert from 'uvu/assert';
import { NumberError, UsageError } from '../../src/errors.ts';
import type { TensorToWrite } from '../../src/files/index.ts';
import { Gpt2, type LoadOptions, type WeightType } from '../../src/model/index.ts';
import { fromHalves, toHalves } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { fixtureParts, halfBits, modelSource, roundToBrain, brainBits, type Parts } from '../support/models.ts';
import { relativeError } from '../support/numbers.ts';

const test = gpuSuite('weights stored as f16');
const PROMPTS = [[5, 17, 3, 80, 41, 2], [9, 30, 96, 0]];

/** Matrices that products read, and the token table. */
const isMatrix = (name: string): boolean => /^(transformer\.)?(wte|lm_head)\.weight$|\.c_(attn|proj|fc)\.weight$/.test(name);

function mapMatrices({ config, tensors }: Parts, change: (tensor: Parts['tensors'][string]) => TensorToWrite): { config: object; tensors: Record<string, TensorToWrite> } {
  return { config, tensors: Object.fromEntries(Object.entries(tensors).map(([name, t]) => [name, isMatrix(name) ? change(t) : t])) };
}

const rounded = (parts: Parts): ReturnType<typeof mapMatrices> => mapMatrices(parts, (t) => ({ ...t, data: fromHalves(toHalves(t.data)) }));

async function load({ config, tensors }: { config: object; tensors: Record<string, TensorToWrite> }, weights?: WeightType, more: LoadOptions = {}): Promise<Gpt2> {
  return Gpt2.load(await testGpu(), modelSource(config, tensors), { ...more, ...(weights ? { weights } : {}) });
}

/** Logits of all positions, and everything that hooks see. */
async function everything(model: Gpt2): Promise<Map<string, Float32Array>> {
  const run = model.run(PROMPTS, { cache: '*', logits: 'all' });
  const all = new Map<string, Float32Array>([['all logits', await run.logits!.read()]]);
  for (const [name, tensor] of run.cache) all.set(name, await tensor.read());
  run.dispose();
  return all;
}

async function both(a: Gpt2, b: Gpt2): Promise<[Map<string, Float32Array>, Map<string, Float32Array>]> {
  const results = [await everything(a), await everything(b)] as const;
  a.dispose();
  b.dispose();
  return [...results];
}

test('a model of f16 weights computes what one of the rounded weights in f32 does, at every hook', async () => {
  const parts = await fixtureParts();
  for (const processing of [{}, { foldLn: true }]) {
    // Folding a norm into a matrix comes before rounding, so that only unprocessed weights can be rounded beforehand.
    const folded = Object.keys(processing).length > 0;
    const [half, full] = await both(await load(parts, 'f16', { processing }), await load(folded ? parts : rounded(parts), 'f32', { processing }));
    assert.equal([...half.keys()], [...full.keys()]);
    for (const [name, values] of half) {
      const error = relativeError(values, full.get(name)!);
      assert.ok(error <= (folded ? 0.003 : 1e-5), `${name}: ${error}`);
    }
  }
});

test('rounding changes logits by no more than so many independent rounding errors', async () => {
  const parts = await fixtureParts();
  const [half, full] = await both(await load(parts, 'f16'), await load(parts));
  // A weight moves by at most 2^-11 of itself. Those errors are independent, so that a product, and the sum of the 4 products of each of 3
  // layers and of the two uses of the token table, moves by less than 2^-11 · √14 of its length.
  const error = relativeError(half.get('all logits')!, full.get('all logits')!);
  assert.ok(error > 1e-6 && error < 2 ** -11 * Math.sqrt(14), String(error));
});

test('files of F16 and BF16 load as f16 without a detour or with one, to the same bits', async () => {
  const parts = await fixtureParts();
  const halves = mapMatrices(parts, (t) => ({ dtype: 'F16', shape: t.shape, data: Uint16Array.from(t.data, halfBits) }));
  const [straight, detour] = await both(await load(halves, 'f16'), await load(rounded(parts), 'f16'));
  for (const [name, values] of straight) assert.equal(values, detour.get(name));
  const brain = mapMatrices(parts, (t) => ({ dtype: 'BF16', shape: t.shape, data: Uint16Array.from(t.data, brainBits) }));
  const [fromBrain, same] = await both(await load(brain, 'f16'), await load(mapMatrices(parts, (t) => ({ ...t, data: t.data.map(roundToBrain) })), 'f16'));
  for (const [name, values] of fromBrain) assert.equal(values, same.get(name));
});

test('matrices take half the memory, norms, biases and positions what they took', async () => {
  const gpu = await testGpu();
  const parts = await fixtureParts();
  const taken = async (type: WeightType): Promise<number> => {
    const before = gpu.memory().live;
    const model = await load(parts, type);
    const bytes = gpu.memory().live - before;
    assert.is(model.weightType, type);
    for (const t of [model.weights.embed, ...model.weights.blocks.flatMap((b) => [b.qkvWeight, b.outWeight, b.mlpInWeight, b.mlpOutWeight])]) assert.is(t.dtype, type);
    for (const t of [model.weights.positions, model.weights.blocks[0]!.qkvBias, model.weights.blocks[0]!.ln1!.weight, model.weights.finalNorm!.bias]) assert.is(t.dtype, 'f32');
    model.dispose();
    return bytes;
  };
  const matrices = Object.entries(parts.tensors).reduce((sum, [name, t]) => sum + (isMatrix(name) && !name.endsWith('lm_head.weight') ? t.data.length : 0), 0);
  const [full, half] = [await taken('f32'), await taken('f16')];
  // Buffers come in classes of size, at most an eighth apart.
  assert.ok(Math.abs(full - half - 2 * matrices) <= matrices / 4, `${full} and ${half} for ${matrices} weights`);
});

test('a weight beyond the range of f16 is refused by its place, and so is another way of storing', async () => {
  const gpu = await testGpu();
  const parts = await fixtureParts();
  const before = gpu.memory().live;
  const name = 'h.1.mlp.c_fc.weight';
  const data = parts.tensors[name]!.data.slice();
  data[5 * 192 + 7] = -70000;
  const broken = { ...parts, tensors: { ...parts.tensors, [name]: { ...parts.tensors[name]!, data } } };
  for (const processing of [{}, { foldValueBiases: true }]) {
    const error = await load(broken, 'f16', { processing }).then(() => null, (e: Error) => e);
    assert.instance(error, NumberError);
    assert.match(error!.message, /tensor h\.1\.mlp\.c_fc\.weight at \[5, 7\] is -70000, beyond the range of f16/);
    assert.is(gpu.memory().live, before);
  }
  const wrong = await load(parts, 'q4' as WeightType).then(() => null, (e: Error) => e);
  assert.instance(wrong, UsageError);
});

test.run();
