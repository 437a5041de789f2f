import * as assert from 'uvu/assert';
import type { Examples } from '../../src/dictionary/dictionary.ts';
import { SupervisedCodes } from '../../src/dictionary/supervised.ts';
import { segments, Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('supervised mean codes');
const SPACES = [{ name: 'A', values: 5 }, { name: 'B', values: 3 }, { name: 'C', values: 2 }];

/** Values drawn uniformly and independently; value 4 of A never occurs. */
function drawAttributes(n: number, seed: number): Record<string, Uint32Array> {
  const draw = random([n, 3], seed);
  const column = (at: number, values: number) => Uint32Array.from({ length: n }, (_, i) => Math.min(values - 1, Math.floor(((draw[3 * i + at]! + 1) / 2) * values)));
  return { A: column(0, 4), B: column(1, 3), C: column(2, 2) };
}

/** Mean codes from the definition, in float64: [feature][dimension] and the mean. */
function bruteForce(x: Float32Array, attributes: Record<string, Uint32Array>, width: number): { vectors: number[][]; mean: number[] } {
  const n = x.length / width;
  const meanOf = (rows: number[]) => Array.from({ length: width }, (_, d) => rows.reduce((sum, row) => sum + x[row * width + d]!, 0) / rows.length);
  const all = [...Array(n).keys()];
  const mean = meanOf(all);
  const vectors = SPACES.flatMap(({ name, values }) => Array.from({ length: values }, (_, value) => {
    const rows = all.filter((row) => attributes[name]![row] === value);
    return rows.length === 0 ? mean.map(() => 0) : meanOf(rows).map((m, d) => m - mean[d]!);
  }));
  return { vectors, mean };
}

async function fitted(n: number, width: number, seed: number) {
  const gpu = await testGpu();
  const x = random([n, width], seed).map((value) => value + 0.5);
  const attributes = drawAttributes(n, seed + 1);
  const examples: Examples = { activations: Tensor.from(gpu, x, [n, width]), attributes };
  return { gpu, x, attributes, examples, codes: SupervisedCodes.fit(examples, { spaces: SPACES }), ...bruteForce(x, attributes, width) };
}

test('codes are conditional means minus the mean; a value never seen has the zero vector', async () => {
  for (const [n, width] of [[300, 7], [41, 32], [1, 4]] as const) {
    const { codes, examples, vectors, mean } = await fitted(n, width, n);
    assert.ok(relativeError(await codes.mean.read(), mean) < 1e-5);
    const found = await codes.vectors.read();
    const expected = vectors.flat();
    const largest = Math.max(...expected.map(Math.abs), 1e-3);
    found.forEach((value, i) => assert.ok(Math.abs(value - expected[i]!) < 1e-5 * Math.max(1, largest), `${n}x${width}: element ${i}`));
    assert.ok(found.subarray(4 * width, 5 * width).every((value) => value === 0));
    codes.dispose();
    examples.activations.dispose();
  }
});

test('codes of an attribute do not depend on which others are there', async () => {
  const { codes, examples } = await fitted(200, 8, 5);
  const alone = SupervisedCodes.fit(examples, { spaces: [SPACES[1]!] });
  assert.equal([...(await alone.vectors.read())], [...(await codes.vectors.read()).subarray(5 * 8, 8 * 8)]);
  alone.dispose();
  codes.dispose();
  examples.activations.dispose();
});

test('encode, decode and contributions against the definition; weights sum to one', async () => {
  const { codes, examples, attributes, vectors, mean, gpu } = await fitted(90, 6, 9);
  await gpu.scope(async () => {
    const oneHot = codes.encode(examples);
    const active = (row: number) => [attributes.A![row]!, 5 + attributes.B![row]!, 8 + attributes.C![row]!];
    const encoded = await oneHot.read();
    const expected = new Float32Array(90 * 10);
    for (let row = 0; row < 90; row++) for (const feature of active(row)) expected[row * 10 + feature] = 1;
    assert.equal([...encoded], [...expected]);
    const signal = (row: number) => mean.map((_, d) => active(row).reduce((sum, feature) => sum + vectors[feature]![d]!, 0));
    const decoded = await codes.decode(oneHot).read();
    assert.ok(relativeError(decoded, [...Array(90).keys()].flatMap((row) => signal(row).map((value, d) => value + mean[d]!))) < 1e-5);
    const weights = await codes.contributions(oneHot).read();
    for (let row = 0; row < 90; row++) {
      const r = signal(row);
      const square = r.reduce((sum, value) => sum + value * value, 0);
      let total = 0;
      for (let feature = 0; feature < 10; feature++) {
        const weight = weights[row * 10 + feature]!;
        const on = active(row).includes(feature);
        const expectedWeight = on ? r.reduce((sum, value, d) => sum + value * vectors[feature]![d]!, 0) / square : 0;
        assert.ok(Math.abs(weight - expectedWeight) < 1e-4 * Math.max(1, Math.abs(expectedWeight)), `row ${row} feature ${feature}: ${weight} ${expectedWeight}`);
        total += weight;
      }
      assert.ok(Math.abs(total - 1) < 1e-4);
    }
  });
  codes.dispose();
  examples.activations.dispose();
});

test('an edit takes the old vectors out and puts the new ones in, and keeps the error', async () => {
  const { codes, examples, attributes, vectors, x, mean, gpu } = await fitted(60, 6, 13);
  const changed = drawAttributes(60, 99);
  const target: Examples = { activations: examples.activations, attributes: { ...attributes, B: changed.B!, C: changed.C! } };
  await gpu.scope(async () => {
    for (const names of [['B'], ['B', 'C']]) {
      const { activations, weightRemoved } = codes.edit(examples, target, { attributes: names });
      const [edited, weights] = [await activations.read(), await weightRemoved.read()];
      const offset: Record<string, number> = { A: 0, B: 5, C: 8 };
      for (let row = 0; row < 60; row++) {
        const old = (name: string) => vectors[offset[name]! + attributes[name]![row]!]!;
        const fresh = (name: string) => vectors[offset[name]! + target.attributes[name]![row]!]!;
        const r = mean.map((_, d) => ['A', 'B', 'C'].reduce((sum, name) => sum + old(name)[d]!, 0));
        const square = r.reduce((sum, value) => sum + value * value, 0);
        let weight = 0;
        for (const name of names) weight += r.reduce((sum, value, d) => sum + value * old(name)[d]!, 0) / square;
        for (let d = 0; d < 6; d++) {
          const expected = names.reduce((value, name) => value - old(name)[d]! + fresh(name)[d]!, x[row * 6 + d]!);
          assert.ok(Math.abs(edited[row * 6 + d]! - expected) < 1e-5);
        }
        assert.ok(Math.abs(weights[row]! - weight) < 1e-4 * Math.max(1, Math.abs(weight)), `${weights[row]} ${weight}`);
      }
    }
  });
  assert.throws(() => codes.edit(examples, target, { attributes: ['D'] }), /no attribute D; it has A, B, C/);
  codes.dispose();
  examples.activations.dispose();
});

test('an attribute that the activations do not carry goes to zero as examples grow in number', async () => {
  const gpu = await testGpu();
  const norms: number[] = [];
  for (const n of [100, 10_000]) {
    const attributes = drawAttributes(n, 21);
    // the activation is a function of A and noise; B is independent of both
    const noise = random([n, 4], 22);
    const x = noise.map((value, i) => value + attributes.A![Math.floor(i / 4)]!);
    const activations = Tensor.from(gpu, x, [n, 4]);
    const codes = SupervisedCodes.fit({ activations, attributes }, { spaces: SPACES });
    const vectors = await codes.vectors.read();
    norms.push(Math.hypot(...vectors.subarray(5 * 4, 8 * 4)));
    assert.ok(Math.hypot(...vectors.subarray(0, 4)) > 1);
    codes.dispose();
    activations.dispose();
  }
  assert.ok(norms[1]! < norms[0]! / 4 && norms[1]! < 0.1, `${norms}`);
});

test('weights are NaN where nothing is known of any value', async () => {
  const { codes, examples, gpu } = await fitted(50, 4, 31);
  const only = SupervisedCodes.fit(examples, { spaces: [SPACES[0]!] });
  await gpu.scope(async () => {
    // value 4 of A was never seen: its vector, and with it the whole signal, is zero
    const unseen: Examples = { activations: examples.activations, attributes: { A: new Uint32Array(50).fill(4) } };
    assert.ok((await only.edit(unseen, examples, { attributes: ['A'] }).weightRemoved.read()).every(Number.isNaN));
    assert.ok((await only.contributions(only.encode(unseen)).read()).every(Number.isNaN));
  });
  only.dispose();
  codes.dispose();
  examples.activations.dispose();
});

test('bad examples are refused by name', async () => {
  const { codes, examples, attributes } = await fitted(10, 4, 41);
  assert.throws(() => SupervisedCodes.fit({ ...examples, attributes: { A: attributes.A! } }, { spaces: SPACES }), /10 examples come with no values of attribute B/);
  assert.throws(() => codes.encode({ ...examples, attributes: { ...attributes, C: new Uint32Array(10).fill(2) } }), /attribute C has 2 values, an example has number 2/);
  codes.dispose();
  examples.activations.dispose();
});

test('segments list rows by value in their own order', () => {
  const { order, starts } = segments(Uint32Array.of(2, 0, 2, 1, 0), 4);
  assert.equal([...order], [1, 4, 3, 0, 2]);
  assert.equal([...starts], [0, 2, 3, 5, 5]);
});

test.run();
