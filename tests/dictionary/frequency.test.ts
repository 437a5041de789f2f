/** Dictionaries without their rare features: every kind keeps what is kept of it; frequencies on disk are those that SAELens writes. */
import * as assert from 'uvu/assert';
import { frequentFeatures, loadSae, logFrequencies, Sae, saeFiles, withFeatures, type SaeOptions } from '../../src/dictionary/index.ts';
import { ShapeError, UsageError } from '../../src/errors.ts';
import { memorySource, openSafetensors } from '../../src/files/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';
import { refusal } from '../support/refusal.ts';
import { safetensorsFile } from '../support/safetensors-file.ts';

const test = gpuSuite('rare features');
const gpu = await testGpu();
const [n, d, F] = [11, 6, 20];
const kept = Uint32Array.from([1, 4, 5, 12, 19]);

function made(options: SaeOptions): Sae {
  const of = (size: number, seed: number, shape = [size]): Tensor => Tensor.from(gpu, random(size, seed), shape);
  return new Sae('some', {
    encoder: of(F * d, 1, [F, d]), encoderBias: of(F, 2), decoder: of(F * d, 3, [F, d]), decoderBias: of(d, 4),
    ...(options.variant === 'gated' ? { magnitudeScale: of(F, 5), magnitudeBias: of(F, 6) } : {}), ...(options.variant === 'jumprelu' ? { threshold: Tensor.from(gpu, random(F, 7).map(Math.abs), [F]) } : {}),
  }, { hook_name: 'a' }, options);
}

test('the codes of what is kept are as before, and it decodes as if the rest had never been active', () => gpu.scope(async () => {
  const kinds: SaeOptions[] = [{}, { variant: 'gated' }, { variant: 'gated', signed: true }, { variant: 'jumprelu' }, { normalization: 'layer_norm' }];
  for (const options of kinds) {
    const sae = made({ ...options, frequencies: random(F, 8).map(Math.abs) });
    const some = withFeatures(sae, kept);
    const examples = { activations: Tensor.from(gpu, random(n * d, 9).map((v) => 2 * v), [n, d]), attributes: {} };
    const [all, own] = [await sae.encode(examples).read(), await some.encode(examples).read()];
    const expected = Array.from({ length: n }, (_, r) => [...kept].map((f) => all[r * F + f]!)).flat();
    assert.ok(relativeError(own, expected) <= 1e-6 && expected.some((v) => v !== 0), JSON.stringify(options));
    const masked = Tensor.from(gpu, all.map((v, i) => (kept.includes(i % F) ? v : 0)), [n, F]);
    assert.ok(relativeError(await some.decode(some.encode(examples), examples).read(), await sae.decode(masked, examples).read()) <= 1e-6);
    assert.equal([some.features, some.variant, some.normalization, some.kind.signed, some.metadata.hook_name], [5, sae.variant, sae.normalization, sae.kind.signed, 'a']);
    assert.equal(some.frequencies, Float32Array.from(kept, (f) => sae.frequencies![f]!));
    for (const one of [sae, some]) one.dispose();
  }
}));

test('of a top-k dictionary the k largest of what is kept are active', () => gpu.scope(async () => {
  const sae = made({ variant: 'topk', k: 7 });
  const some = withFeatures(sae, kept);
  const values = random(n * d, 9);
  const codes = await some.encode({ activations: Tensor.from(gpu, values, [n, d]) }).read();
  const [encoder, bias, shift] = [random(F * d, 1), random(F, 2), random(d, 4)];
  // k is more than are left: all that are above zero.
  const expected = Array.from({ length: n }, (_, r) => [...kept].map((f) => Math.max(0, bias[f]! + Array.from({ length: d }, (_, i) => (values[r * d + i]! - shift[i]!) * encoder[f * d + i]!).reduce((a, b) => a + b))));
  assert.is(some.k, 5);
  assert.ok(relativeError(codes, expected.flat()) <= 1e-6);
  assert.match(await refusal(() => withFeatures(sae, new Uint32Array()), UsageError), /none of its 20 features is left/);
  assert.match(await refusal(() => withFeatures(sae, Uint32Array.of(20)), ShapeError), /features 0 to 19, not 20/);
  for (const one of [sae, some]) one.dispose();
}));

test('frequencies are written as SAELens does and read back; those of other tools decide what is rare', () => gpu.scope(async () => {
  const frequencies = Float32Array.from({ length: F }, (_, f) => (f % 4 === 0 ? 0 : 10 ** -(f % 9)));
  const sae = made({ frequencies });
  const files = await saeFiles(sae);
  const written = await (await openSafetensors(memorySource({ 's.safetensors': files['sparsity.safetensors']! }), 's.safetensors')).f32('sparsity');
  written.forEach((log, f) => assert.ok(Math.abs(log - Math.log10(frequencies[f]! + 1e-10)) < 1e-5));
  const back = await loadSae(gpu, memorySource(files));
  assert.ok(relativeError(back.frequencies!, frequencies) < 1e-5);
  assert.equal([...frequentFeatures(back.frequencies!, 0.9e-6)], Array.from(frequencies, (_, f) => f).filter((f) => f % 4 !== 0 && f % 9 <= 6));
  assert.equal([...logFrequencies([1, 0])].map((v) => Math.round(v)), [0, -10]);
  // Bytes by hand; -Infinity is what a logarithm of nothing is elsewhere.
  const foreign = { ...files, 'sparsity.safetensors': safetensorsFile([['sparsity', [F], Array.from({ length: F }, (_, f) => (f === 3 ? -Infinity : f === 4 ? -5.9 : f === 5 ? -6.1 : -1))]]) };
  const other = await loadSae(gpu, memorySource(foreign));
  assert.equal([...frequentFeatures(other.frequencies!, 1e-6)], Array.from({ length: F }, (_, f) => f).filter((f) => f !== 3 && f !== 5));
  const wrong = { ...files, 'sparsity.safetensors': safetensorsFile([['sparsity', [3], [0, 0, 0]]]) };
  assert.match(await refusal(() => loadSae(gpu, memorySource(wrong, 'dir'))), /^dir\/sparsity\.safetensors: has 3 frequencies, but cfg\.json says 20 features$/);
  assert.equal(Object.keys(await saeFiles(made({}))), ['cfg.json', 'sae_weights.safetensors']);
  for (const one of [sae, back, other]) one.dispose();
}));

test.run();
