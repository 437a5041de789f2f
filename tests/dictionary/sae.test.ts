import * as assert from 'uvu/assert';
import { ShapeError } from '../../src/errors.ts';
import { Sae } from '../../src/dictionary/sae.ts';
import { finishedWeights, partShape, saeParts, Tensor, type SaeWeights } from '../../src/tensor/index.ts';
import { trainSaes } from '../../src/training/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';
import { referenceDecode, referenceEncode, type PlainSae } from '../support/sae.ts';
import { dictionary64, forward64, type Kind64, type Part64 } from '../support/sae-variants.ts';

const test = gpuSuite('sparse autoencoder');
const gpu = await testGpu();

const [n, d, F] = [12, 6, 20];

function plain(seed: number): PlainSae {
  return {
    features: F, width: d, encoder: Float64Array.from(random(F * d, seed)), encoderBias: Float64Array.from(random(F, seed + 1), (v) => v - 0.5),
    decoder: Float64Array.from(random(F * d, seed + 2)), decoderBias: Float64Array.from(random(d, seed + 3)),
  };
}

function upload(sae: PlainSae): Sae {
  const make = (v: Float64Array, shape: number[]): Tensor => Tensor.from(gpu, Float32Array.from(v), shape);
  return new Sae('vanilla test', { encoder: make(sae.encoder, [F, d]), encoderBias: make(sae.encoderBias, [F]), decoder: make(sae.decoder, [F, d]), decoderBias: make(sae.decoderBias, [d]) });
}

const rowsOf = (x: Float32Array, width: number): Float32Array[] => Array.from({ length: x.length / width }, (_, r) => x.subarray(r * width, (r + 1) * width));

test('encode, decode and active counts', () => gpu.scope(async () => {
  const sae = plain(3);
  const on = upload(sae);
  const x = random(n * d, 9);
  const examples = { activations: Tensor.from(gpu, x, [n, d]), attributes: {} };
  const codes = on.encode(examples);
  const expected = rowsOf(x, d).map((row) => referenceEncode(sae, row));
  assert.ok(relativeError(await codes.read(), expected.flat()) <= 1e-5);
  assert.ok(relativeError(await on.decode(codes).read(), expected.flatMap((f) => referenceDecode(sae, f))) <= 1e-5);
  assert.equal([...await on.activeCounts(examples).readU32()], expected.map((f) => f.filter((v) => v > 0).length));
}));

test('contributions are the weights of the features and sum to one', () => gpu.scope(async () => {
  const sae = plain(5);
  const x = random(n * d, 2);
  const codes = rowsOf(x, d).map((row) => referenceEncode(sae, row));
  codes[4]!.fill(0);
  const found = rowsOf(await upload(sae).contributions(Tensor.from(gpu, codes.flat(), [n, F])).read(), F);
  for (const [r, f] of codes.entries()) {
    if (r === 4) {
      assert.ok(found[r]!.every(Number.isNaN));
      continue;
    }
    const signal = Array.from({ length: d }, (_, k) => f.reduce((sum, v, j) => sum + v * sae.decoder[j * d + k]!, 0));
    const square = signal.reduce((sum, v) => sum + v * v, 0);
    const expected = f.map((v, j) => v * signal.reduce((sum, s, k) => sum + s * sae.decoder[j * d + k]!, 0) / square);
    assert.ok(relativeError(found[r]!, expected) <= 1e-5);
    assert.ok(Math.abs(found[r]!.reduce((sum, v) => sum + v, 0) - 1) < 1e-4);
  }
}));

test('an edit comes closer to the target with every feature, and its result is made of the chosen moves', () => gpu.scope(async () => {
  const sae = plain(8);
  const on = upload(sae);
  const [a, b] = [random(n * d, 21), random(n * d, 22)];
  const make = (x: Float32Array): { activations: Tensor; attributes: {} } => ({ activations: Tensor.from(gpu, x, [n, d]), attributes: {} });
  const distance = (x: Float32Array, r: number): number => Math.hypot(...Array.from({ length: d }, (_, k) => x[r * d + k]! - b[r * d + k]!));
  let before = a;
  for (const k of [1, 2, 4, 8]) {
    const { activations, weightRemoved } = on.edit(make(a), make(b), { attributes: [], k });
    const after = await activations.read();
    for (let r = 0; r < n; r++) assert.ok(distance(after, r) <= distance(before, r) + 1e-5);
    assert.is((await weightRemoved.read()).length, n);
    before = after;
  }
  assert.ok(distance(before, 0) < distance(a, 0));
  const { activations } = on.edit(make(a), make(a), { attributes: [], k: 3 });
  assert.equal([...await activations.read()], [...a]);
  on.dispose();
}));

test('activations of another width are refused', () => gpu.scope(() => {
  const on = upload(plain(1));
  const wide = { activations: Tensor.zeros(gpu, [3, d + 1]), attributes: {} };
  assert.throws(() => on.encode(wide), (e: unknown) => e instanceof ShapeError && /vanilla test.*width 6.*\[3, 7\]/.test(e.message));
}));

test('a trained dictionary works in activation units: scaled data, scaled dictionary', () => gpu.scope(async () => {
  const x = random(200 * 8, 4).map((v, i) => v + (i % 8 === 0 ? 2 : 0));
  const options = { features: 16, epochs: 20, batch: 50, learningRate: 5e-3 };
  const [small, large] = await Promise.all([1, 64].map((factor) => Tensor.from(gpu, x.map((v) => v * factor), [200, 8])));
  const first = await trainSaes(gpu, [{ name: 'vanilla 1', data: small!, l1: 0.5, seed: 1 }], options);
  const second = await trainSaes(gpu, [{ name: 'vanilla 1', data: large!, l1: 0.5, seed: 1 }], options);
  const [s, l] = [first.saes[0]!, second.saes[0]!];
  assert.ok(Math.abs((l.metadata['activation_scale'] as number) / (s.metadata['activation_scale'] as number) - 64) < 1e-4);
  // A power of two changes no rounding: everything in training is the same, and what comes out differs by the factor.
  const [codes, more] = [s.encode({ activations: small! }), l.encode({ activations: large! })];
  assert.ok(relativeError(await more.read(), (await codes.read()).map((v) => v * 64)) <= 1e-6);
  assert.ok(relativeError(await l.decode(more).read(), (await s.decode(codes).read()).map((v) => v * 64)) <= 1e-6);
  // The figures of training are those of the dictionary that it returns.
  const [a, back] = [await small!.read(), await s.decode(codes).read()];
  const c = s.metadata['activation_scale'] as number;
  const mse = a.reduce((sum, v, i) => sum + ((v - back[i]!) / c) ** 2, 0) / 200;
  assert.ok(Math.abs(mse / first.final[0]!.mse - 1) < 1e-4);
  s.dispose();
  l.dispose();
}));

const finishedKinds: Kind64[] = [
  { variant: 'vanilla', sparsity: 1 }, { variant: 'gated', sparsity: 1 }, { variant: 'gated', sparsity: 1, signed: true }, { variant: 'topk', sparsity: 3 },
  { variant: 'topk', sparsity: 3, signed: true }, { variant: 'batchtopk', sparsity: 2 }, { variant: 'jumprelu', sparsity: 1 },
];
for (const kind of finishedKinds) {
  test(`a finished ${kind.variant} dictionary${kind.signed ? ', signed,' : ''} does at activations what training did at scaled ones`, () => gpu.scope(async () => {
    const [c, threshold] = [6.5, 0.4];
    const p = dictionary64(F, d, 40);
    const trained = Object.fromEntries(saeParts(kind.variant).map((part) => [part, Tensor.from(gpu, Float32Array.from(p[part as Part64]), partShape(part, { features: F, width: d }))])) as unknown as SaeWeights;
    const weights = finishedWeights(kind.variant, trained, c, kind.variant === 'batchtopk' ? Tensor.from(gpu, [threshold], [1]) : undefined);
    const sae = new Sae('test', weights, {}, { variant: kind.variant, signed: kind.signed, ...(kind.variant === 'topk' ? { k: kind.sparsity } : {}) });
    const x = random(n * d, 12);
    const examples = { activations: Tensor.from(gpu, x.map((v) => v * c), [n, d]), attributes: {} };
    const { pre, codes } = forward64(p, rowsOf(x, d).map((row) => Float64Array.from(row)), kind);
    // By its threshold, whatever a batch would have kept.
    const wanted = kind.variant === 'batchtopk' ? pre.map((row) => row.map((v) => (v > threshold ? v : 0))) : codes;
    assert.ok(wanted.flat().some((v) => v !== 0) && wanted.flat().some((v) => v === 0));
    const found = sae.encode(examples);
    assert.ok(relativeError(await found.read(), wanted.flat().map((v) => v * c)) <= 1e-5);
    assert.equal([...await sae.activeCounts(examples).readU32()], wanted.map((row) => row.filter((v) => v !== 0).length));
    const decoded = wanted.flatMap((row) => Array.from({ length: d }, (_, k) => c * row.reduce((sum, v, f) => sum + v * p.decoder[f * d + k]!, p.decoderBias[k]!)));
    assert.ok(relativeError(await sae.decode(found).read(), decoded) <= 1e-5);
  }));
}

test.run();
