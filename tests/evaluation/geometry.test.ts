import * as assert from 'uvu/assert';
import { SupervisedCodes } from '../../src/dictionary/supervised.ts';
import { SyntheticDictionary } from '../../src/dictionary/synthetic.ts';
import { compareGeometry, geometryRow } from '../../src/evaluation/geometry.ts';
import { compareCoupling, compareReconstructions, couplingRow, explainedRow } from '../../src/evaluation/parametrizations.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('geometry of features and parametrizations');
const SPACES = [{ name: 'IO', values: 6 }, { name: 'S', values: 6 }, { name: 'Pos', values: 2 }];
const COUPLED = { name: 'coupled', terms: [['IO', 'Pos'], ['S', 'Pos']] };

/** Value 5 of IO and S never occurs. Activations are sums of parts for IO, S, Pos, as strongly coupled as told, and noise. */
async function setting(n: number, width: number, coupling: number, noise: number, seed: number) {
  const gpu = await testGpu();
  const draw = random([n, 3], seed);
  const column = (at: number, values: number) => Uint32Array.from({ length: n }, (_, row) => Math.floor(((draw[3 * row + at]! + 1) / 2) * values));
  const attributes = { IO: column(0, 5), S: column(1, 5), Pos: column(2, 2) };
  const [io, s, pos, joint, jitter] = [random([5, width], seed + 1), random([5, width], seed + 2), random([2, width], seed + 3), random([10, width], seed + 4), random([n, width], seed + 5)];
  const x = jitter.map((value, i) => {
    const [row, d] = [Math.floor(i / width), i % width];
    const [a, b, c] = [attributes.IO[row]!, attributes.S[row]!, attributes.Pos[row]!];
    return 0.5 + noise * value + io[a * width + d]! + s[b * width + d]! + pos[c * width + d]! + coupling * joint[(2 * a + c) * width + d]!;
  });
  return { gpu, examples: { activations: Tensor.from(gpu, x, [n, width]), attributes } };
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((sum, value, d) => sum + value * b[d]!, 0);
const cosineOf = (a: ArrayLike<number>, b: ArrayLike<number>) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
const rowsOf = (x: Float32Array, width: number) => Array.from({ length: x.length / width }, (_, row) => x.subarray(row * width, (row + 1) * width));

test('mean-max cosines against the definition, both ways, without zero rows', async () => {
  const [width, features] = [7, 23];
  const { gpu, examples } = await setting(150, width, 0, 0.2, 3);
  const codes = SupervisedCodes.fit(examples, { spaces: SPACES });
  const own = random([features, width], 8).map((value, i) => (Math.floor(i / width) === 4 ? 0 : 3 * value));
  const decoder = Tensor.from(gpu, own, [features, width]);
  const rows = await compareGeometry({ site: 'z@L0H0@end', dictionary: 'vanilla λ=1' }, decoder, codes);
  rows.forEach((row) => geometryRow.parse(row));
  assert.equal(rows.map(({ attribute, features, values }) => [attribute, features, values]), [['IO', 22, 5], ['S', 22, 5], ['Pos', 22, 2]]);
  const vectors = rowsOf(await codes.vectors.read(), width);
  const filled = rowsOf(own, width).filter((_, feature) => feature !== 4);
  const average = (values: number[]) => values.reduce((a, b) => a + b) / values.length;
  for (const [at, [first, values]] of ([[0, 5], [6, 5], [12, 2]] as const).entries()) {
    const known = vectors.slice(first, first + values);
    const best = (d: Float32Array) => Math.max(...known.map((u) => cosineOf(d, u)));
    assert.ok(Math.abs(rows[at]!.meanMaxCosine! - average(filled.map(best))) < 1e-5);
    assert.ok(Math.abs(rows[at]!.meanMaxProduct! - average(filled.map((d) => best(d) * Math.sqrt(dot(d, d))))) < 1e-5);
    assert.ok(Math.abs(rows[at]!.meanMaxCosineOfCodes! - average(known.map((u) => Math.max(...filled.map((d) => cosineOf(d, u)))))) < 1e-5);
  }
  const itself = await compareGeometry({ site: '', dictionary: '' }, codes.vectors, codes);
  assert.ok(itself.every(({ meanMaxCosineOfCodes }) => Math.abs(meanMaxCosineOfCodes! - 1) < 1e-5));
  const none = Tensor.zeros(gpu, [3, width]);
  const [nothing] = await compareGeometry({ site: '', dictionary: '' }, none, codes);
  assert.equal([nothing!.meanMaxCosine, nothing!.note], [null, 'every decoder row is zero']);
  for (const item of [none, decoder, codes, examples.activations]) item.dispose();
});

test('features of groups and values lie less along the codes than the codes themselves', async () => {
  const { examples } = await setting(200, 12, 0, 0, 5);
  const codes = SupervisedCodes.fit(examples, { spaces: SPACES });
  const dictionary = await SyntheticDictionary.groupAndValue(codes, { IO: Uint32Array.of(0, 1, 0, 1, 0, 1) });
  const [io, , pos] = await compareGeometry({ site: '', dictionary: dictionary.name }, dictionary.decoder, codes);
  assert.ok(io!.meanMaxCosineOfCodes! < 0.97, `${io!.meanMaxCosineOfCodes}`);
  assert.ok(Math.abs(pos!.meanMaxCosineOfCodes! - 1) < 1e-5);
  for (const item of [dictionary, codes, examples.activations]) item.dispose();
});

test('coupled codes of independent data differ along Pos; of coupled data less so; against the definition', async () => {
  const cosines: number[] = [];
  const width = 9;
  for (const coupling of [0, 1.5]) {
    const { examples } = await setting(900, width, coupling, 0.1, 7);
    const independent = await SupervisedCodes.solve(examples, { spaces: SPACES, method: 'mse' });
    const coupled = await SupervisedCodes.solve(examples, { spaces: SPACES, parametrization: COUPLED, method: 'mse' });
    const rows = await compareCoupling('q@L1H1@end', independent, coupled, 'Pos');
    rows.forEach((row) => couplingRow.parse(row));
    assert.equal(rows.map(({ attribute, shared, values }) => [attribute, shared, values]), [['IO', 'Pos', 5], ['S', 'Pos', 5]]);
    const [own, both] = [rowsOf(await independent.vectors.read(), width), rowsOf(await coupled.vectors.read(), width)];
    const minus = (a: Float32Array, b: Float32Array) => a.map((value, d) => value - b[d]!);
    const expected = [0, 12].map((first) => [0, 1, 2, 3, 4].map((name) => cosineOf(minus(both[first + 2 * name]!, both[first + 2 * name + 1]!), minus(own[12]!, own[13]!))));
    expected.forEach((values, at) => {
      assert.ok(Math.abs(rows[at]!.meanCosine! - values.reduce((a, b) => a + b) / 5) < 1e-5);
      assert.ok(Math.abs(rows[at]!.minCosine! - Math.min(...values)) < 1e-5);
      assert.ok(Math.abs(rows[at]!.medianCosine! - [...values].sort((a, b) => a - b)[2]!) < 1e-5);
    });
    cosines.push(rows[0]!.meanCosine!);
    for (const item of [independent, coupled, examples.activations]) item.dispose();
  }
  assert.ok(cosines[0]! > 0.98 && cosines[1]! < 0.9, `${cosines}`);
});

test('variance explained of one reconstruction by another', async () => {
  const { gpu, examples } = await setting(120, 6, 0.4, 0.1, 9);
  const dictionaries = await Promise.all([undefined, COUPLED, { name: 'Pos', terms: [['Pos']] }].map((parametrization) => SupervisedCodes.solve(examples, { spaces: SPACES, parametrization, method: 'mse' })));
  const rows = await compareReconstructions('z@L0H0@end', examples, dictionaries);
  rows.forEach((row) => explainedRow.parse(row));
  const made: Float32Array[] = [];
  for (const codes of dictionaries) made.push(await gpu.scope(async () => codes.decode(codes.encode(examples)).read()));
  let at = 0;
  for (const [a, own] of made.entries()) {
    const centred = own.map((value, i) => value - rowsOf(own, 6).reduce((sum, row) => sum + row[i % 6]!, 0) / 120);
    for (const [b, by] of made.entries()) {
      if (a === b) continue;
      const row = rows[at++]!;
      assert.equal([row.reconstruction, row.by], [dictionaries[a]!.name, dictionaries[b]!.name]);
      const left = own.map((value, i) => value - by[i]!);
      assert.ok(Math.abs(row.varianceExplained! - (1 - dot(left, left) / dot(centred, centred))) < 1e-4, `${row.varianceExplained}`);
    }
  }
  assert.is(at, rows.length);
  assert.ok(relativeError(made[0]!, made[2]!) > 0.1);
  for (const item of [...dictionaries, examples.activations]) item.dispose();
});

test('codes without the terms that are compared are refused', async () => {
  const { gpu, examples } = await setting(60, 4, 0, 0.1, 11);
  const codes = SupervisedCodes.fit(examples, { spaces: SPACES });
  const refused = async (make: () => Promise<unknown>, message: RegExp) => {
    try { await make(); } catch (error) { return assert.match((error as Error).message, message); }
    assert.unreachable();
  };
  await refused(() => compareCoupling('', codes, codes, 'Pos'), /supervised needs a term of Pos alone, supervised terms that couple it/);
  const wide = Tensor.zeros(gpu, [3, 5]);
  await refused(() => compareGeometry({ site: '', dictionary: '' }, wide, codes), /features \[3, 5\] cannot be compared with codes of width 4/);
  for (const item of [wide, codes, examples.activations]) item.dispose();
});

test.run();
