/** Dictionaries read through a linear map, against its definition in float64: with and without a layer norm between, and with every way of scaling. */
import * as assert from 'uvu/assert';
import { ProjectedDictionary, Sae, type Examples } from '../../src/dictionary/index.ts';
import { ShapeError, UsageError } from '../../src/errors.ts';
import { Tensor, type RowNormalization } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';
import { refusal } from '../support/refusal.ts';
import { referenceDecode, referenceEncode, type PlainSae } from '../support/sae.ts';

const test = gpuSuite('dictionaries through a linear map');
const gpu = await testGpu();
const [n, D, d, F] = [9, 12, 5, 20];
const HOOK = 'blocks.1.hook_resid_pre';
const plain: PlainSae = {
  features: F, width: D, encoder: Float64Array.from(random(F * D, 1)), encoderBias: Float64Array.from(random(F, 2)),
  decoder: Float64Array.from(random(F * D, 3)), decoderBias: Float64Array.from(random(D, 4)),
};
const matrix = random(D * d, 5);
const constant = random(d, 6);
const [x, y] = [random(n * D, 7).map((v, i) => 3 * v + (i % 4)), random(n * D, 8).map((v) => 5 * v - 2)];
const cases: { normalization: RowNormalization | null; epsilon: number | null }[] = [
  { normalization: null, epsilon: null }, { normalization: null, epsilon: 1e-5 }, { normalization: 'layer_norm', epsilon: null }, { normalization: 'layer_norm', epsilon: 1e-5 }, { normalization: 'constant_norm_rescale', epsilon: 1e-5 },
];

type Case = (typeof cases)[number];
const rowOf = (of: Float32Array, r: number): number[] => Array.from(of.subarray(r * D, (r + 1) * D));

/** By the definitions: what the dictionary takes off and divides by, and what the layer norm divides by. */
function scales(row: number[], { normalization, epsilon }: Case): { shift: number; scale: number; sigma: number } {
  const mean = row.reduce((a, b) => a + b) / D;
  const squares = row.reduce((sum, v) => sum + (v - mean) ** 2, 0);
  return {
    shift: normalization === 'layer_norm' ? mean : 0,
    scale: normalization === 'layer_norm' ? Math.sqrt(squares / (D - 1)) + 1e-5 : normalization ? Math.hypot(...row) / Math.sqrt(D) : 1,
    sigma: epsilon === null ? 1 : Math.sqrt(squares / D + epsilon),
  };
}

const codes64 = (row: number[], one: Case): number[] => {
  const { shift, scale } = scales(row, one);
  return referenceEncode(plain, row.map((v) => (v - shift) / scale));
};
const through = (row: number[]): number[] => Array.from({ length: d }, (_, k) => row.reduce((sum, v, i) => sum + v * matrix[i * d + k]!, 0));
/** The hook's reconstruction, through the map and divided by the layer norm's σ of the activation itself. */
function decode64(codes: number[], row: number[], one: Case): number[] {
  const { shift, scale, sigma } = scales(row, one);
  return through(referenceDecode(plain, codes).map((v) => v * scale + shift)).map((v, k) => v / sigma + constant[k]!);
}
const directions64 = Array.from({ length: F }, (_, f) => through(Array.from(plain.decoder.subarray(f * D, (f + 1) * D))));
/** What features add at the site: their codes times s / σ. */
const additions64 = (row: number[], one: Case): number[] => codes64(row, one).map((f) => (f * scales(row, one).scale) / scales(row, one).sigma);
/** The site's own activation. */
const site64 = (row: number[], one: Case): number[] => through(row).map((v, k) => v / scales(row, one).sigma + constant[k]!);

function made({ normalization, epsilon }: Case): { base: Sae; dictionary: ProjectedDictionary } {
  const from = (v: Float64Array, shape: number[]): Tensor => Tensor.from(gpu, Float32Array.from(v), shape);
  const base = new Sae('base', {
    encoder: from(plain.encoder, [F, D]), encoderBias: from(plain.encoderBias, [F]), decoder: from(plain.decoder, [F, D]), decoderBias: from(plain.decoderBias, [D]),
  }, {}, { normalization });
  return { base, dictionary: new ProjectedDictionary(base, HOOK, { matrix: Tensor.from(gpu, matrix, [D, d]), constant: Tensor.from(gpu, constant, [1, d]), epsilon }) };
}

const examplesOf = (values: Float32Array, one: Case): Examples => ({
  activations: Tensor.from(gpu, Float32Array.from(Array.from({ length: n }, (_, r) => site64(rowOf(values, r), one)).flat()), [n, d]), attributes: {}, inputs: { [HOOK]: Tensor.from(gpu, values, [n, D]) },
});

for (const one of cases) {
  test(`of a dictionary ${one.normalization ? `of ${one.normalization}` : 'without normalisation'}, ${one.epsilon === null ? 'some columns' : 'through a layer norm'}`, () => gpu.scope(async () => {
    const { base, dictionary } = made(one);
    const examples = examplesOf(x, one);
    const codes = Array.from({ length: n }, (_, r) => codes64(rowOf(x, r), one));
    const found = dictionary.encode(examples);
    assert.ok(relativeError(await found.read(), codes.flat()) <= 1e-5 && codes.flat().some((v) => v > 0));
    const back = codes.flatMap((own, r) => decode64(own, rowOf(x, r), one));
    assert.ok(relativeError(await dictionary.decode(found).read(), back) <= 1e-5, 'its own codes');
    const half = Tensor.from(gpu, Float32Array.from(codes.flat(), (v) => v / 2), [n, F]);
    assert.ok(relativeError(await dictionary.decode(half, examples).read(), codes.flatMap((own, r) => decode64(own.map((v) => v / 2), rowOf(x, r), one))) <= 1e-5, 'changed codes');
    assert.ok(relativeError(await dictionary.directions([3, 0, 19]).read(), [3, 0, 19].flatMap((f) => directions64[f]!)) <= 1e-6);
    assert.ok(relativeError(await dictionary.additions(examples).read(), codes.flatMap((_, r) => additions64(rowOf(x, r), one))) <= 1e-5);
    const weights = codes.flatMap((own) => {
      const sum = Array.from({ length: d }, (_, k) => own.reduce((total, f, j) => total + f * directions64[j]![k]!, 0));
      const square = sum.reduce((total, v) => total + v * v, 0);
      return own.map((f, j) => (f * sum.reduce((total, v, k) => total + v * directions64[j]![k]!, 0)) / square);
    });
    assert.ok(relativeError(await dictionary.contributions(found).read(), weights) <= 1e-5);
    assert.equal([dictionary.dIn, dictionary.features, dictionary.reads, dictionary.k], [d, F, HOOK, null]);
    for (const part of [dictionary, base]) part.dispose();
  }));

  test(`edits with it move the site by what features add there, ${one.normalization} ${one.epsilon}`, () => gpu.scope(async () => {
    const { base, dictionary } = made(one);
    const [source, target] = [examplesOf(x, one), examplesOf(y, one)];
    const ks = [2, F];
    const results = dictionary.edits(source, target, ks.map((k) => ({ attributes: [], k })));
    for (const [i, k] of ks.entries()) {
      const edited = await results[i]!.activations.read();
      for (let r = 0; r < n; r++) {
        const [from, to] = [rowOf(x, r), rowOf(y, r)];
        const [alpha, beta] = [additions64(from, one), additions64(to, one)];
        const moved = site64(from, one);
        let left = site64(to, one).map((v, j) => v - moved[j]!);
        const free = new Set(Array.from({ length: F }, (_, f) => f));
        const after = (f: number): number[] => left.map((v, j) => v - (beta[f]! - alpha[f]!) * directions64[f]![j]!);
        const length = (v: number[]): number => v.reduce((sum, w) => sum + w * w, 0);
        for (let round = 0; round < k; round++) {
          const best = [...free].sort((f, g) => length(after(f)) - length(after(g)))[0]!;
          if (length(after(best)) >= length(left)) break;
          free.delete(best);
          const next = after(best);
          left.forEach((v, j) => (moved[j]! += v - next[j]!));
          left = next;
        }
        assert.ok(free.size < F, 'the edit does something');
        moved.forEach((v, j) => assert.ok(Math.abs(edited[r * d + j]! - v) < 1e-4 * Math.max(1, Math.abs(v)), `k ${k}, ${r} ${j}: ${edited[r * d + j]} is not ${v}`));
      }
    }
    for (const part of [dictionary, base]) part.dispose();
  }));
}

test('what examples must have, and which maps fit', () => gpu.scope(async () => {
  const { base, dictionary } = made(cases[1]!);
  const bare = { activations: Tensor.zeros(gpu, [n, d]), attributes: {} };
  assert.match(await refusal(() => dictionary.encode(bare), UsageError), /reads blocks\.1\.hook_resid_pre, whose activations the examples do not have/);
  assert.match(await refusal(() => dictionary.decode(Tensor.zeros(gpu, [n, F])), UsageError), /give decode the examples/);
  assert.match(await refusal(() => new ProjectedDictionary(base, HOOK, { matrix: Tensor.zeros(gpu, [d, D]) }), ShapeError), /width 12 cannot be read through a map of shape \[5, 12\]/);
  for (const part of [dictionary, base]) part.dispose();
}));

test.run();
