import { Matrix, pseudoInverse } from 'ml-matrix';
import * as assert from 'uvu/assert';
import type { Examples } from '../../src/dictionary/dictionary.ts';
import { bindTerms, columnIds, columnSpaces, independent, ioiParametrization, IOI_PARAMETRIZATIONS, termIds, type Parametrization } from '../../src/dictionary/parametrization.ts';
import { SupervisedCodes, type FitOptions } from '../../src/dictionary/supervised.ts';
import { LimitError } from '../../src/errors.ts';
import { promptTable } from '../../src/task/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';
import { refusal } from '../support/refusal.ts';

const test = gpuSuite('parametrizations and methods of supervised codes');
const SPACES = [{ name: 'A', values: 5 }, { name: 'B', values: 3 }, { name: 'C', values: 2 }, { name: 'A again', values: 5 }];
const INDEPENDENT = independent(SPACES.slice(0, 3));
const COUPLED: Parametrization = { name: 'coupled', terms: [['A', 'C'], ['B', 'C']] };
const REDUNDANT: Parametrization = { name: 'redundant', terms: [['A'], ['A again'], ['B']] };

/** Values drawn independently; value 4 of A never occurs, and B follows A half of the time if `tied`. */
function labels(n: number, seed: number, tied = false): Record<string, Uint32Array> {
  const draw = random([n, 4], seed);
  const at = (row: number, column: number, values: number) => Math.floor(((draw[4 * row + column]! + 1) / 2) * values);
  const A = Uint32Array.from({ length: n }, (_, row) => at(row, 0, 4));
  const B = Uint32Array.from({ length: n }, (_, row) => (tied && at(row, 3, 2) === 0 ? A[row]! % 3 : at(row, 1, 3)));
  return { A, B, C: Uint32Array.from({ length: n }, (_, row) => at(row, 2, 2)), 'A again': A };
}

/** The one-hot design, [n][features]. */
function designOf(parametrization: Parametrization, attributes: Record<string, Uint32Array>, n: number): number[][] {
  const terms = bindTerms(parametrization, SPACES);
  const features = terms.reduce((sum, { values }) => sum + values, 0);
  const design = Array.from({ length: n }, () => new Array<number>(features).fill(0));
  for (const term of terms) termIds(term, attributes, n).forEach((id, row) => { design[row]![term.first + id] = 1; });
  return design;
}

/** [n, width] as rows with the mean of each column taken off. */
function centredRows(x: Float32Array, width: number): { rows: number[][]; mean: number[] } {
  const n = x.length / width;
  const mean = Array.from({ length: width }, (_, d) => Array.from({ length: n }, (_, row) => x[row * width + d]!).reduce((a, b) => a + b) / n);
  return { mean, rows: Array.from({ length: n }, (_, row) => mean.map((m, d) => x[row * width + d]! - m)) };
}

const reconstruct = (codes: SupervisedCodes, examples: Examples) => examples.activations.gpu.scope(async () => codes.decode(codes.encode(examples)).read());

/** Fits, reads the codes and frees them. */
async function vectorsOf(examples: Examples, options: Partial<FitOptions>): Promise<{ vectors: Float32Array; mean: Float32Array; reconstruction: Float32Array; name: string }> {
  const codes = await SupervisedCodes.solve(examples, { spaces: SPACES, ...options });
  const reconstruction = await reconstruct(codes, examples);
  const result = { vectors: await codes.vectors.read(), mean: await codes.mean.read(), reconstruction, name: codes.name };
  codes.dispose();
  return result;
}

async function example(n: number, width: number, seed: number, tied = false, signal?: (row: number, dim: number, attributes: Record<string, Uint32Array>) => number): Promise<{ x: Float32Array; attributes: Record<string, Uint32Array>; examples: Examples }> {
  const gpu = await testGpu();
  const attributes = labels(n, seed, tied);
  const x = random([n, width], seed + 1).map((noise, i) => (signal ? signal(Math.floor(i / width), i % width, attributes) : noise + 0.3));
  return { x, attributes, examples: { activations: Tensor.from(gpu, x, [n, width]), attributes } };
}

test('least squares codes are the pseudo-inverse of the design times the centred activations', async () => {
  for (const [parametrization, n, width] of [[INDEPENDENT, 61, 5], [COUPLED, 150, 4], [REDUNDANT, 40, 3]] as const) {
    const { x, attributes, examples } = await example(n, width, n, true);
    const { vectors, mean, name } = await vectorsOf(examples, { parametrization, method: 'mse' });
    assert.is(name, `supervised mse ${parametrization.name}`);
    const centred = centredRows(x, width);
    const expected = pseudoInverse(new Matrix(designOf(parametrization, attributes, n))).mmul(new Matrix(centred.rows)).to1DArray();
    assert.ok(relativeError(vectors, expected) < 1e-5, `${parametrization.name}: ${relativeError(vectors, expected)}`);
    assert.ok(relativeError(mean, centred.mean) < 1e-5);
    examples.activations.dispose();
  }
});

test('a least squares code is the mean of what the other codes leave over, among its examples', async () => {
  const [n, width] = [200, 6];
  const { x, attributes, examples } = await example(n, width, 3, true);
  const { vectors } = await vectorsOf(examples, { parametrization: INDEPENDENT, method: 'mse' });
  const { rows } = centredRows(x, width);
  const design = designOf(INDEPENDENT, attributes, n);
  for (let feature = 0; feature < 10; feature++) {
    const own = rows.map((_, row) => row).filter((row) => design[row]![feature] === 1);
    for (let d = 0; d < width; d++) {
      const rest = own.map((row) => rows[row]![d]! - design[row]!.reduce((sum, on, other) => (on && other !== feature ? sum + vectors[other * width + d]! : sum), 0));
      const expected = own.length > 0 ? rest.reduce((a, b) => a + b, 0) / own.length : 0;
      assert.ok(Math.abs(vectors[feature * width + d]! - expected) < 2e-6, `feature ${feature}`);
    }
  }
  examples.activations.dispose();
});

test('values never seen have zero vectors by every method', async () => {
  const { examples } = await example(80, 4, 8);
  for (const method of ['mean', 'mse', 'mse-adam'] as const) {
    const { vectors } = await vectorsOf(examples, { parametrization: COUPLED, method, adam: { epochs: 5 } });
    assert.ok(vectors.subarray(8 * 4, 10 * 4).every((value) => value === 0), method);
    assert.ok(vectors.subarray(0, 8 * 4).every((value) => value !== 0), method);
  }
  examples.activations.dispose();
});

test('an attribute given twice is counted twice by mean codes and once by least squares', async () => {
  const { x, examples } = await example(120, 3, 5, false, (row, d, { A }) => Math.sin(3 * A![row]! + d));
  const twice: Parametrization = { name: 'twice', terms: [['A'], ['A again']] };
  const [mean, mse] = [await vectorsOf(examples, { parametrization: twice }), await vectorsOf(examples, { parametrization: twice, method: 'mse' })];
  const { mean: centre } = centredRows(x, 3);
  assert.ok(relativeError(mse.reconstruction, x) < 1e-6);
  assert.ok(relativeError(mean.reconstruction, x.map((value, i) => 2 * value - centre[i % 3]!)) < 1e-6);
  examples.activations.dispose();
});

test('an attribute that only goes along with another has constant least squares codes, but not constant mean codes', async () => {
  // The activation is a function of A; B is tied to A, C is independent of both, in all combinations equally often.
  const { examples } = await example(240, 3, 6, true, (row, d, { A }) => Math.cos(2 * A![row]! + d));
  const spread = (vectors: Float32Array, first: number, values: number) => Math.max(...Array.from({ length: values * 3 }, (_, i) => Math.abs(vectors[(first * 3) + i]! - vectors[first * 3 + (i % 3)]!)));
  const mean = await vectorsOf(examples, { parametrization: INDEPENDENT });
  const mse = await vectorsOf(examples, { parametrization: INDEPENDENT, method: 'mse' });
  assert.ok(spread(mean.vectors, 5, 3) > 0.1);
  assert.ok(spread(mse.vectors, 5, 3) < 1e-5 && spread(mse.vectors, 8, 2) < 1e-5);
  assert.ok(spread(mse.vectors, 0, 4) > 0.5);
  examples.activations.dispose();
});

test('among independent attributes conditional means equal the mean exactly where least squares codes are constant', async () => {
  // every combination of A (4 values seen), B and C three times: independent without sampling error
  const gpu = await testGpu();
  const n = 4 * 3 * 2 * 3;
  const attributes = {
    A: Uint32Array.from({ length: n }, (_, row) => row % 4), B: Uint32Array.from({ length: n }, (_, row) => Math.floor(row / 4) % 3), C: Uint32Array.from({ length: n }, (_, row) => Math.floor(row / 12) % 2),
  };
  const x = Float32Array.from({ length: n * 2 }, (_, i) => Math.sin(attributes.A[i >> 1]! + i % 2) + 0.4 * (i % 2) * attributes.C[i >> 1]!);
  const examples = { activations: Tensor.from(gpu, x, [n, 2]), attributes };
  const [mean, mse] = [await vectorsOf(examples, { parametrization: INDEPENDENT }), await vectorsOf(examples, { parametrization: INDEPENDENT, method: 'mse' })];
  const norm = (vectors: Float32Array, first: number, values: number) => Math.hypot(...vectors.subarray(first * 2, (first + values) * 2));
  assert.ok(norm(mean.vectors, 5, 3) < 1e-6 && norm(mse.vectors, 5, 3) < 1e-6);
  assert.ok(norm(mean.vectors, 8, 2) > 0.2 && norm(mse.vectors, 8, 2) > 0.2);
  // and where attributes are independent, both methods reconstruct alike
  assert.ok(relativeError(mean.reconstruction, mse.reconstruction) < 1e-6);
  examples.activations.dispose();
});

test('coupled codes can say all that independent codes say', async () => {
  const [n, width] = [160, 4];
  const { x, attributes, examples } = await example(n, width, 12);
  const own = await vectorsOf(examples, { parametrization: INDEPENDENT });
  // io_{a,x} = io_a + ½ pos_x and s_{b,x} = s_b + ½ pos_x, with A, B, C for IO, S, Pos
  const { A, B, C } = attributes as Record<'A' | 'B' | 'C', Uint32Array>;
  const u = (feature: number, d: number) => own.vectors[feature * width + d]!;
  const coupledVector = (first: number, value: number, pos: number, d: number) => u(first + value, d) + 0.5 * u(8 + pos, d);
  const rebuilt = x.map((_, i) => {
    const [row, d] = [Math.floor(i / width), i % width];
    return own.mean[d]! + coupledVector(0, A[row]!, C[row]!, d) + coupledVector(5, B[row]!, C[row]!, d);
  });
  assert.ok(relativeError(rebuilt, own.reconstruction) < 1e-6);
  const error = async (parametrization: Parametrization) => relativeError((await vectorsOf(examples, { parametrization, method: 'mse' })).reconstruction, x);
  const [coupled, half, alone] = [await error(COUPLED), await error({ name: 'half', terms: [['B', 'C'], ['A']] }), await error(INDEPENDENT)];
  assert.ok(coupled < half && half < alone, `${coupled} ${half} ${alone}`);
  examples.activations.dispose();
});

/** Adam on the mean over all entries of (x − design · codes)², example by example in float64. */
function adamReference(design: number[][], x: number[][], codes: number[][], steps: number): number[][] {
  const [first, second] = [0, 1].map(() => codes.map((row) => row.map(() => 0)));
  const result = codes.map((row) => [...row]);
  const width = x[0]!.length;
  for (let step = 1; step <= steps; step++) {
    const gradient = codes.map((row) => row.map(() => 0));
    design.forEach((on, row) => {
      for (let d = 0; d < width; d++) {
        const error = on.reduce((sum, value, feature) => sum + value * result[feature]![d]!, 0) - x[row]![d]!;
        on.forEach((value, feature) => { gradient[feature]![d]! += (2 * error * value) / (x.length * width); });
      }
    });
    for (let feature = 0; feature < codes.length; feature++) {
      for (let d = 0; d < width; d++) {
        const g = gradient[feature]![d]!;
        const m = (first![feature]![d] = 0.9 * first![feature]![d]! + 0.1 * g);
        const v = (second![feature]![d] = 0.999 * second![feature]![d]! + 0.001 * g * g);
        result[feature]![d]! -= (0.1 * (m / (1 - 0.9 ** step))) / (Math.sqrt(v / (1 - 0.999 ** step)) + 1e-8);
      }
    }
  }
  return result;
}

test('codes by Adam take the steps of full-batch gradient descent, with the mean as bias or a trained one', async () => {
  const [n, width] = [70, 3];
  const { x, attributes, examples } = await example(n, width, 21, true);
  for (const manualBias of [true, false]) {
    const at = (epochs: number) => vectorsOf(examples, { parametrization: INDEPENDENT, method: 'mse-adam', adam: { epochs, manualBias, seed: 4 } });
    const [start, end] = [await at(0), await at(4)];
    const design = designOf(INDEPENDENT, attributes, n).map((row) => (manualBias ? row : [...row, 1]));
    const rowsOf = ({ vectors, mean }: typeof start) => [...Array.from({ length: 10 }, (_, feature) => [...vectors.subarray(feature * width, (feature + 1) * width)]), ...(manualBias ? [] : [[...mean]])];
    const target = manualBias ? centredRows(x, width).rows : Array.from({ length: n }, (_, row) => [...x.subarray(row * width, (row + 1) * width)]);
    const expected = adamReference(design, target, rowsOf(start), 4);
    assert.ok(relativeError(rowsOf(end).flat(), expected.flat()) < 1e-5, `manual bias ${manualBias}: ${relativeError(rowsOf(end).flat(), expected.flat())}`);
    assert.ok(Math.abs(Math.hypot(...start.vectors) / Math.sqrt(9 * width) - 1) < 0.4);
  }
  examples.activations.dispose();
});

test('codes by Adam converge to the least squares reconstruction, several sites at once', async () => {
  const { attributes, examples } = await example(90, 4, 25, true);
  const gpu = await testGpu();
  const other = Tensor.from(gpu, random([90, 4], 77), [90, 4]);
  const exact = await SupervisedCodes.solveSites([examples.activations, other], attributes, { spaces: SPACES, parametrization: INDEPENDENT, method: 'mse' });
  const found = SupervisedCodes.fitSites([examples.activations, other], attributes, { spaces: SPACES, parametrization: INDEPENDENT, method: 'mse-adam', adam: { epochs: 400 } });
  for (const site of [0, 1]) {
    const [a, b] = await Promise.all([exact[site]!, found[site]!].map((codes) => reconstruct(codes, examples)));
    assert.ok(relativeError(b!, a!) < 2e-3, `${relativeError(b!, a!)}`);
  }
  for (const codes of [...exact, ...found]) codes.dispose();
  other.dispose();
  examples.activations.dispose();
});

test('sites fitted together have the codes that they have alone', async () => {
  const { attributes, examples } = await example(50, 4, 31);
  const gpu = await testGpu();
  const other = Tensor.from(gpu, random([50, 4], 32), [50, 4]);
  for (const method of ['mean', 'mse'] as const) {
    const options = { spaces: SPACES, parametrization: COUPLED, method };
    const together = await SupervisedCodes.solveSites([other, examples.activations], attributes, options);
    const alone = await SupervisedCodes.solve(examples, options);
    assert.equal([...(await together[1]!.vectors.read())], [...(await alone.vectors.read())]);
    for (const codes of [...together, alone]) codes.dispose();
  }
  other.dispose();
  examples.activations.dispose();
});

/** Two prompts with the columns of indirect-object prompts. */
const ioiPrompts = () => {
  const column = (values: number, ...ids: number[]) => ({ values: Array.from({ length: values }, (_, value) => `${value}`), ids: Uint32Array.from(ids) });
  return promptTable({
    texts: ['', ''], tokens: [[0], [0]], details: [0, 1], positions: {}, correct: new Uint32Array(2), incorrect: new Uint32Array(2),
    attributes: { IO: column(7, 1, 5), S: column(7, 2, 3), Pos: column(2, 0, 1) },
    properties: {
      name1: column(7, 1, 3), name2: column(7, 2, 5), name3: column(7, 2, 3), io_gender: column(3, 0, 1), s_gender: column(3, 1, 1),
      template: column(3, 0, 2), place: column(4, 1, 2), object: column(5, 4, 0),
    },
  });
};

test('every named parametrization is made of columns of the prompts', () => {
  const spaces = columnSpaces(ioiPrompts());
  const features = Object.fromEntries(IOI_PARAMETRIZATIONS.map((name) => [name, bindTerms(ioiParametrization(name, 'end'), spaces).reduce((sum, { values }) => sum + values, 0)]));
  assert.equal(features, {
    'independent': 16, 'coupled': 28, 'names': 21, 'independent+gender': 22, 'coupled+gender': 34, 'independent gender only': 8, 'coupled gender only': 12,
    'independent+irrelevant': 25, 'coupled+irrelevant': 37, '(S,Pos)+IO': 21, '(IO,Pos)+S': 21, 'ind': 9, 'si': 9, 'nm': 7, 'IO': 7, 'S': 7, 'Pos': 2,
  });
  assert.equal(['io', 's1', 's1+1', 's2', 'end'].map((position) => ioiParametrization('names', position).terms.length), [2, 2, 2, 3, 3]);
  assert.equal(ioiParametrization('names').terms, [['name1'], ['name2'], ['name3']]);
});

test('a combination of values is numbered with the last column fastest', () => {
  const prompts = ioiPrompts();
  const [, second] = bindTerms(ioiParametrization('coupled'), columnSpaces(prompts));
  assert.equal([second!.first, second!.values], [14, 14]);
  assert.equal([...termIds(second!, columnIds(prompts), 2)], [4, 7]);
});

test('unknown parametrizations, columns and too many features are refused', async () => {
  assert.throws(() => ioiParametrization('toString'), /unknown parametrization "toString"; there are independent, coupled, names/);
  const { examples } = await example(8, 2, 41);
  const fit = (options: Partial<FitOptions>) => () => SupervisedCodes.fit(examples, { spaces: SPACES, ...options });
  assert.throws(fit({ parametrization: { name: 'mine', terms: [['A', 'Z']] } }), /parametrization mine needs Z, which the prompts do not have; they have A, B, C/);
  assert.throws(fit({ parametrization: { name: 'mine', terms: [] } }), /parametrization mine has no terms/);
  assert.throws(fit({ parametrization: { name: 'mine', terms: [[]] } }), /has a term without columns/);
  examples.activations.dispose();
  const gpu = await testGpu();
  const many = { activations: Tensor.zeros(gpu, [1600, 2]), attributes: { id: Uint32Array.from({ length: 1600 }, (_, row) => row) } };
  const spaces = [{ name: 'id', values: 1600 }];
  assert.match(await refusal(() => SupervisedCodes.solve(many, { spaces, method: 'mse' }), LimitError), /least squares of 1600 features would take too long/);
  assert.throws(() => SupervisedCodes.fit(many, { spaces, method: 'mse' }), /codes by least squares are awaited: SupervisedCodes\.solve, not fit/);
  many.activations.dispose();
});

test.run();
