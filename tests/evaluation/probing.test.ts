import { Matrix, pseudoInverse } from 'ml-matrix';
import * as assert from 'uvu/assert';
import type { Dictionary, Examples } from '../../src/dictionary/dictionary.ts';
import { SupervisedCodes } from '../../src/dictionary/supervised.ts';
import { trainProbe } from '../../src/evaluation/probe.ts';
import { probeRow, probingRow, probingTest } from '../../src/evaluation/probing.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('linear probes');

/** Columns at mean 0 and deviation 1, as rows. */
function standardised(x: Float32Array, width: number): number[][] {
  const n = x.length / width;
  const column = (d: number) => Array.from({ length: n }, (_, row) => x[row * width + d]!);
  const moments = Array.from({ length: width }, (_, d) => {
    const mean = column(d).reduce((a, b) => a + b) / n;
    return { mean, deviation: Math.sqrt(column(d).reduce((sum, value) => sum + (value - mean) ** 2, 0) / n) };
  });
  return Array.from({ length: n }, (_, row) => moments.map(({ mean, deviation }, d) => (x[row * width + d]! - mean) / deviation));
}

/** The minimum of ½‖W‖² + C Σ −log softmax(Wx + b) by Newton's method in float64: logits [n][classes]. */
function newton(rows: number[][], labels: Uint32Array, classes: number, C: number): number[][] {
  const inputs = rows.map((row) => [...row, 1]);
  const width = inputs[0]!.length;
  const size = width * classes;
  let weights = new Array<number>(size).fill(0);
  const logits = () => inputs.map((row) => Array.from({ length: classes }, (_, c) => row.reduce((sum, value, d) => sum + value * weights[c * width + d]!, 0)));
  for (let step = 0; step < 40; step++) {
    const gradient = weights.map((weight, at) => (at % width === width - 1 ? 0 : weight));
    const hessian = Matrix.zeros(size, size);
    weights.forEach((_, at) => { if (at % width !== width - 1) hessian.set(at, at, 1); });
    logits().forEach((own, row) => {
      const top = Math.max(...own);
      const powers = own.map((value) => Math.exp(value - top));
      const total = powers.reduce((a, b) => a + b);
      const p = powers.map((value) => value / total);
      for (let a = 0; a < classes; a++) {
        for (let d = 0; d < width; d++) {
          gradient[a * width + d]! += C * (p[a]! - (labels[row] === a ? 1 : 0)) * inputs[row]![d]!;
          for (let b = 0; b < classes; b++) {
            const curve = C * p[a]! * ((a === b ? 1 : 0) - p[b]!);
            for (let e = 0; e < width; e++) hessian.set(a * width + d, b * width + e, hessian.get(a * width + d, b * width + e) + curve * inputs[row]![d]! * inputs[row]![e]!);
          }
        }
      }
    });
    const move = pseudoInverse(hessian).mmul(Matrix.columnVector(gradient)).to1DArray();
    weights = weights.map((weight, at) => weight - move[at]!);
  }
  return logits();
}

/** Two classes as scikit-learn has them: one vector, ½‖w‖² + C Σ log(1 + exp(∓(wx + b))). Logits of class 1 over class 0. */
function newtonBinary(rows: number[][], labels: Uint32Array, C: number): number[] {
  const inputs = rows.map((row) => [...row, 1]);
  const width = inputs[0]!.length;
  let weights = new Array<number>(width).fill(0);
  const margin = (row: number[]) => row.reduce((sum, value, d) => sum + value * weights[d]!, 0);
  for (let step = 0; step < 40; step++) {
    const gradient = weights.map((weight, d) => (d === width - 1 ? 0 : weight));
    const hessian = Matrix.zeros(width, width);
    for (let d = 0; d < width - 1; d++) hessian.set(d, d, 1);
    inputs.forEach((row, at) => {
      const p = 1 / (1 + Math.exp(-margin(row)));
      for (let d = 0; d < width; d++) {
        gradient[d]! += C * (p - labels[at]!) * row[d]!;
        for (let e = 0; e < width; e++) hessian.set(d, e, hessian.get(d, e) + C * p * (1 - p) * row[d]! * row[e]!);
      }
    });
    const move = pseudoInverse(hessian).mmul(Matrix.columnVector(gradient)).to1DArray();
    weights = weights.map((weight, d) => weight - move[d]!);
  }
  return inputs.map(margin);
}

/** Rows with a mean per class, noise, and columns of unlike scale. */
function clusters(n: number, width: number, classes: number, noise: number, seed: number): { x: Float32Array; labels: Uint32Array } {
  const [centres, jitter, pick] = [random([classes, width], seed), random([n, width], seed + 1), random(n, seed + 2)];
  const labels = Uint32Array.from(pick, (value) => Math.floor(((value + 1) / 2) * classes));
  return { labels, x: jitter.map((value, i) => (1 + (i % width) * 3) * (0.7 + centres[labels[Math.floor(i / width)]! * width + (i % width)]! + noise * value)) };
}

test('probes reach the minimum of the penalised loss: against Newton in float64', async () => {
  const gpu = await testGpu();
  for (const [classes, C] of [[3, 1], [5, 0.3]] as const) {
    const { x, labels } = clusters(90, 4, classes, 1.5, classes);
    const activations = Tensor.from(gpu, x, [90, 4]);
    const probe = await trainProbe(activations, labels, { C, tolerance: 1e-6 });
    assert.ok(probe.converged);
    const centred = (rows: number[][]) => rows.flatMap((row) => row.map((value) => value - row.reduce((a, b) => a + b) / row.length));
    const expected = centred(newton(standardised(x, 4), labels, classes, C));
    const found = await gpu.scope(async () => probe.logits(activations).read());
    const rows = Array.from({ length: 90 }, (_, row) => [...found.subarray(row * classes, (row + 1) * classes)]);
    assert.ok(relativeError(centred(rows), expected) < 1e-4, `${relativeError(centred(rows), expected)} in ${probe.iterations}`);
    probe.dispose();
    activations.dispose();
  }
});

test('two classes are penalised as one vector', async () => {
  const gpu = await testGpu();
  const { x, labels } = clusters(70, 3, 2, 2, 19);
  const activations = Tensor.from(gpu, x, [70, 3]);
  const probe = await trainProbe(activations, labels, { tolerance: 1e-6 });
  const found = await gpu.scope(async () => probe.logits(activations).read());
  const expected = newtonBinary(standardised(x, 3), labels, 1);
  const margins = Array.from({ length: 70 }, (_, row) => found[2 * row + 1]! - found[2 * row]!);
  assert.ok(relativeError(margins, expected) < 1e-4, `${relativeError(margins, expected)}`);
  probe.dispose();
  activations.dispose();
});

test('values that do not occur are never named, a constant column does no harm, a limit of steps is kept', async () => {
  const gpu = await testGpu();
  const { x, labels } = clusters(60, 4, 3, 0.1, 23);
  for (let row = 0; row < 60; row++) x[row * 4 + 2] = 7;
  const gaps = labels.map((label) => 10 * label + 1);
  const activations = Tensor.from(gpu, x, [60, 4]);
  const probe = await trainProbe(activations, gaps);
  assert.equal([...probe.classes], [1, 11, 21]);
  assert.ok((await probe.accuracy(activations, gaps)) > 0.98 && probe.converged);
  assert.equal([...(await probe.predict(activations))].every((value) => [1, 11, 21].includes(value)), true);
  const short = await trainProbe(activations, gaps, { iterations: 3, tolerance: 1e-9 });
  assert.equal([short.iterations, short.converged], [3, false]);
  const single = await trainProbe(activations, new Uint32Array(60).fill(4));
  assert.is(await single.accuracy(activations, new Uint32Array(60).fill(4)), 1);
  for (const item of [probe, short, single]) item.dispose();
  const refused = async (make: () => Promise<unknown>, message: RegExp) => {
    try { await make(); } catch (error) { return assert.match((error as Error).message, message); }
    assert.unreachable();
  };
  await refused(() => trainProbe(activations, gaps.slice(1)), /a probe of activations \[60, 4\] cannot have 59 labels/);
  await refused(() => trainProbe(activations, gaps, { C: 0 }), /probes: C 0 is not a positive number/);
  activations.dispose();
});

test('where the conditional means of an attribute are equal, its codes are zero and no probe does better than a constant', async () => {
  // Every noise vector occurs once with each value and once with each sign of B's direction; only the spread differs between values.
  const gpu = await testGpu();
  const [half, width] = [40, 5];
  const noise = random([half, width], 31);
  const n = half * 4;
  const A = Uint32Array.from({ length: n }, (_, row) => row % 2);
  const x = Float32Array.from({ length: n * width }, (_, i) => {
    const row = Math.floor(i / width);
    return 0.6 + (1 + A[row]!) * (row % 4 < 2 ? 1 : -1) * noise[Math.floor(row / 4) * width + (i % width)]!;
  });
  const activations = Tensor.from(gpu, x, [n, width]);
  const codes = SupervisedCodes.fit({ activations, attributes: { A } }, { spaces: [{ name: 'A', values: 2 }] });
  const probe = await trainProbe(activations, A, { tolerance: 1e-7 });
  assert.ok((await codes.vectors.read()).every((value) => Math.abs(value) < 1e-6));
  assert.ok((await gpu.scope(async () => probe.logits(activations).read())).every((value) => Math.abs(value) < 1e-5));
  for (const item of [codes, probe, activations]) item.dispose();
});

test('after a supervised edit the probe of that attribute reads the new value, the others the old', async () => {
  const gpu = await testGpu();
  const [n, width] = [160, 12];
  const spaces = [{ name: 'S', values: 5 }, { name: 'Pos', values: 2 }];
  const draw = random([n, 3], 3);
  const column = (at: number, values: number) => Uint32Array.from({ length: n }, (_, row) => Math.floor(((draw[3 * row + at]! + 1) / 2) * values));
  const attributes = { S: column(0, 5), Pos: column(1, 2) };
  const [names, positions, noise] = [random([5, width], 5), random([2, width], 6), random([n, width], 7)];
  const activationsOf = (labels: Record<string, Uint32Array>) => noise.map((value, i) => 0.3 * value + names[labels.S![Math.floor(i / width)]! * width + (i % width)]! + positions[labels.Pos![Math.floor(i / width)]! * width + (i % width)]!);
  const examples = (labels: Record<string, Uint32Array>): Examples => ({ activations: Tensor.from(gpu, activationsOf(labels), [n, width]), attributes: labels });
  const changed = { ...attributes, S: attributes.S.map((value) => (value + 1) % 5) };
  const [clean, target] = [examples(attributes), examples(changed)];
  const codes = await SupervisedCodes.solve(clean, { spaces, method: 'mse' });
  const onlyPos = SupervisedCodes.fit(clean, { spaces: [spaces[1]!] });
  // a dictionary that puts the counterfactual of the opposite Pos in place: it edits what it should leave
  const spoiler = examples({ ...changed, Pos: attributes.Pos.map((value) => 1 - value) });
  const clumsy: Pick<Dictionary, 'edit'> = { edit: () => ({ activations: spoiler.activations.clone(), weightRemoved: Tensor.zeros(gpu, [n]) }) };
  let progress = 0;
  const { probes, edits } = await probingTest([{
    site: 'z@L0H0@end', training: clean, clean, counterfactuals: [{ edit: ['S'], target }],
    dictionaries: [{ name: 'supervised', dictionary: codes }, { name: 'supervised mean Pos', dictionary: onlyPos }, { name: 'vanilla', dictionary: clumsy }],
  }], { attributes: ['S', 'Pos'], ks: [2, 4], onProgress: (done, total) => { progress = done / total; } });
  assert.is(progress, 1);
  probes.forEach((row) => probeRow.parse(row));
  edits.forEach((row) => probingRow.parse(row));
  assert.equal(probes.map(({ attribute, classes, trainAccuracy, testAccuracy }) => [attribute, classes, trainAccuracy, testAccuracy]), [['S', 5, 1, 1], ['Pos', 2, 1, 1]]);
  const short = edits.map(({ dictionary, k, edited, probed, accuracyClean, accuracyAfter, accuracyCounterfactual, accuracyOriginal }) => [dictionary, k, edited, probed, accuracyClean, accuracyAfter, accuracyCounterfactual, accuracyOriginal]);
  assert.equal(short, [
    ['supervised', 2, 'S', 'S', 1, 1, 1, 0], ['supervised', 2, 'S', 'Pos', 1, 1, 1, 1],
    ...[2, 4].flatMap((k) => [['vanilla', k, 'S', 'S', 1, 1, 1, 0], ['vanilla', k, 'S', 'Pos', 1, 0, 1, 0]]),
  ]);
  for (const item of [codes, onlyPos, clean.activations, target.activations, spoiler.activations]) item.dispose();
});

test.run();
