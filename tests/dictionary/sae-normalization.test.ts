import * as assert from 'uvu/assert';
import { Sae } from '../../src/dictionary/sae.ts';
import { ShapeError, UsageError } from '../../src/errors.ts';
import { multiplyRows, normalizeRows, restoreRows, ROW_NORMALIZATIONS, Tensor, type RowNormalization } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';
import { referenceDecode, referenceEncode, type PlainSae } from '../support/sae.ts';

const test = gpuSuite('normalised activations');
const gpu = await testGpu();

/** In float64, by the definition: what is taken off and what is divided by. */
function scales(row: ArrayLike<number>, kind: RowNormalization): { shift: number; scale: number } {
  const x = Array.from(row);
  const mean = x.reduce((sum, v) => sum + v, 0) / x.length;
  if (kind === 'constant_norm_rescale') return { shift: 0, scale: Math.hypot(...x) / Math.sqrt(x.length) };
  return { shift: mean, scale: Math.sqrt(x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (x.length - 1)) + 1e-5 };
}

const rowsOf = (x: Float32Array, width: number): Float32Array[] => Array.from({ length: x.length / width }, (_, r) => x.subarray(r * width, (r + 1) * width));

for (const kind of ROW_NORMALIZATIONS) {
  test(`rows by ${kind}, and back`, () => gpu.scope(async () => {
    for (const [rows, width, mean] of [[1, 2, 0], [7, 5, 3], [33, 768, 0.2], [300, 64, -20]] as const) {
      const x = random(rows * width, rows).map((v, i) => v * (1 + (i % 7)) + mean);
      const { rows: found, shift, scale } = normalizeRows(Tensor.from(gpu, x, [rows, width]), kind);
      const expected = rowsOf(x, width).map((row) => scales(row, kind));
      const flat = rowsOf(x, width).flatMap((row, r) => [...row].map((v) => (v - expected[r]!.shift) / expected[r]!.scale));
      assert.ok(relativeError(await found.read(), flat) <= 4e-6, `${kind} ${rows} ${width}`);
      assert.ok(relativeError(await scale.read(), expected.map((e) => e.scale)) <= 2e-6);
      assert.ok(relativeError(await shift.read(), expected.map((e) => e.shift)) <= 2e-6);
      assert.ok(relativeError(await restoreRows(found, { shift, scale }).read(), x) <= 1e-6);
      assert.ok(relativeError(await multiplyRows(found, scale).read(), flat.map((v, i) => v * expected[Math.floor(i / width)]!.scale)) <= 4e-6);
    }
  }));
}

test('rows that are all the same number, or nothing, stay finite', () => gpu.scope(async () => {
  const x = Tensor.from(gpu, [0, 0, 0, 0, 5, 5, 5, 5], [2, 4]);
  const layer = normalizeRows(x, 'layer_norm');
  assert.equal([...await layer.rows.read()], [0, 0, 0, 0, 0, 0, 0, 0]);
  assert.equal([...await restoreRows(layer.rows, layer).read()], [0, 0, 0, 0, 5, 5, 5, 5]);
  const constant = normalizeRows(x, 'constant_norm_rescale');
  assert.equal([...await constant.rows.read()].map((v) => Math.fround(Math.round(v * 1e5) / 1e5)), [0, 0, 0, 0, 1, 1, 1, 1]);
  assert.throws(() => normalizeRows(Tensor.zeros(gpu, [3, 1]), 'layer_norm'), (e: Error) => e instanceof ShapeError && /no deviation/.test(e.message));
  assert.throws(() => restoreRows(x, { shift: Tensor.zeros(gpu, [3]), scale: Tensor.zeros(gpu, [3]) }), (e: Error) => e instanceof ShapeError);
}));

const [n, d, F] = [9, 6, 20];
const plain: PlainSae = {
  features: F, width: d, encoder: Float64Array.from(random(F * d, 1)), encoderBias: Float64Array.from(random(F, 2)), decoder: Float64Array.from(random(F * d, 3)), decoderBias: Float64Array.from(random(d, 4)),
};
const upload = (normalization: RowNormalization | null): Sae => {
  const make = (v: Float64Array, shape: number[]): Tensor => Tensor.from(gpu, Float32Array.from(v), shape);
  return new Sae('normalising', { encoder: make(plain.encoder, [F, d]), encoderBias: make(plain.encoderBias, [F]), decoder: make(plain.decoder, [F, d]), decoderBias: make(plain.decoderBias, [d]) }, {}, { normalization });
};
const x = random(n * d, 7).map((v, i) => 3 * v + (i % 4));
const y = random(n * d, 8).map((v) => 5 * v - 2);
/** Codes of a row, and the row of given codes. */
const encode64 = (row: Float32Array, kind: RowNormalization): number[] => {
  const { shift, scale } = scales(row, kind);
  return referenceEncode(plain, [...row].map((v) => (v - shift) / scale));
};
const decode64 = (codes: number[], row: Float32Array, kind: RowNormalization): number[] => {
  const { shift, scale } = scales(row, kind);
  return referenceDecode(plain, codes).map((v) => v * scale + shift);
};

for (const kind of ROW_NORMALIZATIONS) {
  test(`a dictionary of ${kind}: codes, counts, reconstructions`, () => gpu.scope(async () => {
    const sae = upload(kind);
    const examples = { activations: Tensor.from(gpu, x, [n, d]), attributes: {} };
    const codes = rowsOf(x, d).map((row) => encode64(row, kind));
    const found = sae.encode(examples);
    assert.ok(relativeError(await found.read(), codes.flat()) <= 1e-5);
    assert.equal([...await sae.activeCounts(examples).readU32()], codes.map((row) => row.filter((v) => v > 0).length));
    const back = rowsOf(x, d).flatMap((row, r) => decode64(codes[r]!, row, kind));
    assert.ok(relativeError(await sae.decode(found).read(), back) <= 1e-5);
    assert.ok(relativeError(await sae.decode(found, examples).read(), back) <= 1e-5);
    // Changed codes are decoded with the scales of the example that they are of.
    const half = Tensor.from(gpu, (await found.read()).map((v) => v / 2), [n, F]);
    assert.ok(relativeError(await sae.decode(half, examples).read(), rowsOf(x, d).flatMap((row, r) => decode64(codes[r]!.map((v) => v / 2), row, kind))) <= 1e-5);
    assert.throws(() => sae.decode(half), (e: Error) => e instanceof UsageError && /give decode the examples/.test(e.message));
    examples.activations.dispose();
    assert.throws(() => sae.decode(found), (e: Error) => e instanceof UsageError);
    sae.dispose();
  }));

  test(`edits with ${kind} move activations by what features add to them`, () => gpu.scope(async () => {
    const sae = upload(kind);
    const [source, target] = [x, y].map((of) => ({ activations: Tensor.from(gpu, of, [n, d]), attributes: {} }));
    for (const features of ['agnostic', 'reconstruction'] as const) {
      const found = await sae.edit(source!, target!, { attributes: [], k: 3, features }).activations.read();
      for (let r = 0; r < n; r++) {
        const [from, to] = [rowsOf(x, d)[r]!, rowsOf(y, d)[r]!];
        const [alpha, beta] = [from, to].map((row) => encode64(row, kind).map((f) => f * scales(row, kind).scale));
        const move = (f: number): number[] => Array.from({ length: d }, (_, k) => (beta![f]! - alpha![f]!) * plain.decoder[f * d + k]!);
        const [start, goal] = features === 'agnostic' ? [[...from], [...to]] : [from, to].map((row) => decode64(encode64(row, kind), row, kind));
        let left = goal!.map((v, k) => v - start![k]!);
        const length = (v: number[]): number => v.reduce((sum, w) => sum + w * w, 0);
        const moved = [...from];
        const free = new Set(Array.from({ length: F }, (_, f) => f));
        for (let round = 0; round < 3; round++) {
          const after = (f: number): number[] => left.map((v, k) => v - move(f)[k]!);
          const best = [...free].sort((f, g) => length(after(f)) - length(after(g)))[0]!;
          if (length(after(best)) >= length(left)) break;
          free.delete(best);
          move(best).forEach((v, k) => (moved[k]! += v));
          left = after(best);
        }
        assert.ok(free.size < F);
        moved.forEach((v, k) => assert.ok(Math.abs(found[r * d + k]! - v) < 5e-5, `${features} ${r} ${k}: ${found[r * d + k]} is not ${v}`));
      }
    }
    sae.dispose();
  }));
}

test('an edit of the only feature moves the activation by its code, its scale and its direction', () => gpu.scope(async () => {
  const sae = new Sae('one', { encoder: Tensor.from(gpu, [1, 0, 0], [1, 3]), encoderBias: Tensor.zeros(gpu, [1]), decoder: Tensor.from(gpu, [0, 2, 0], [1, 3]), decoderBias: Tensor.zeros(gpu, [3]) }, {}, { normalization: 'layer_norm' });
  // (4, 0, 2) has mean 2 and deviation 2: its code is 1, which adds 2 · (0, 2, 0). (0, 4, 2) has code 0.
  const side = (values: number[]) => ({ activations: Tensor.from(gpu, values, [1, 3]), attributes: {} });
  const { activations } = sae.edit(side([0, 0, 2]), side([4, 4, 2]), { attributes: [], k: 1 });
  const found = await activations.read();
  // The target's code is (4 − 10/3) / σ with σ = 2/√3 of (4, 4, 2), so that it adds 2 · (4 − 10/3) = 4/3; the source has none.
  assert.ok(Math.abs(found[1]! - 4 / 3) < 1e-4 && found[0] === 0 && found[2] === 2, [...found].join());
  sae.dispose();
}));

test.run();
