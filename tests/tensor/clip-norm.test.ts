import * as assert from 'uvu/assert';
import { ShapeError } from '../../src/errors.ts';
import { openGpu } from '../../src/node.ts';
import { adam, adamDefaults, adamRows, clipFactors, Tensor } from '../../src/tensor/index.ts';
import { adamPlan, adamRowsPlan } from '../../src/tensor/adam.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('gradients clipped');
const gpu = await testGpu();

/** torch.nn.utils.clip_grad_norm_ in float64, for each model: parts as flat arrays of all models. */
function reference(parts: readonly Float32Array[], models: number, most: number): number[] {
  return Array.from({ length: models }, (_, m) => {
    let squares = 0;
    for (const part of parts) {
      const size = part.length / models;
      for (const value of part.subarray(m * size, (m + 1) * size)) squares += value * value;
    }
    return Math.min(1, most / (Math.sqrt(squares) + 1e-6));
  });
}

/** Sizes that no kernel likes, and one of more rows than a workgroup has threads. */
const CASES: [models: number, features: number, width: number][] = [[1, 1, 1], [2, 5, 3], [3, 17, 12], [5, 333, 20], [2, 64, 129]];

for (const [models, features, width] of CASES) {
  test(`factors of ${models} models of ${features} by ${width} are torch's`, () => gpu.scope(async () => {
    const shapes = [[models, features, width], [models, features], [models, features, width], [models, width], [models, features]];
    // Models of very different lengths, some below the bound and some beyond.
    const parts = shapes.map((shape, p) => random(shape, 7 * p + features).map((v, i) => v * 10 ** (Math.floor((i * models) / shape.reduce((a, b) => a * b)) - 1)));
    const tensors = parts.map((part, p) => Tensor.from(gpu, part, shapes[p]!));
    for (const most of [1e-3, 1, 30, 1e6]) {
      const factors = await clipFactors(tensors, most).read();
      assert.ok(relativeError(factors, reference(parts, models, most)) < 1e-6, `${factors}, not ${reference(parts, models, most)} at ${most}`);
    }
    assert.ok([...await clipFactors(tensors, 1e6).read()].every((factor) => factor === 1));
    // A model's factor is the same alone.
    const alone = clipFactors(parts.map((part, p) => Tensor.from(gpu, part.subarray(0, part.length / models), [1, ...shapes[p]!.slice(1)])), 1);
    assert.equal((await alone.read())[0], (await clipFactors(tensors, 1).read())[0]);
  }));
}

test('gradients of zeros, of no finite length and of other models', () => gpu.scope(async () => {
  const [zeros, huge] = [Tensor.zeros(gpu, [1, 4]), Tensor.from(gpu, [1e30, 1, 1, 1], [1, 4])];
  assert.equal([...await clipFactors([zeros], 1).read()], [1]);
  assert.equal([...await clipFactors([zeros, huge], 1).read()], [0]);
  assert.throws(() => clipFactors([zeros, Tensor.zeros(gpu, [2, 4])], 1), (e: unknown) => e instanceof ShapeError && /\[1, 4\], \[2, 4\]/.test(e.message));
  assert.throws(() => clipFactors([], 1), (e: unknown) => e instanceof ShapeError);
}));

test('matrices beyond one binding are done in windows', async () => {
  const small = await openGpu({ windowBytes: 4096 });
  const values = random(2 * 33 * 16, 4);
  const tensor = Tensor.from(small, values, [2, 33, 16]);
  assert.ok(relativeError(await clipFactors([tensor], 0.5).read(), reference([values], 2, 0.5)) < 1e-6);
  small.destroy();
});

/** Adam with the gradient multiplied first, in float64; rows of `width` are projected and brought to unit length where that is given. */
function step(w: Float64Array, m: Float64Array, v: Float64Array, gradient: Float32Array, factors: readonly number[], rates: readonly number[], t: number, width = 0): void {
  const { beta1, beta2, epsilon } = adamDefaults;
  const size = w.length / rates.length;
  const g = Float64Array.from(gradient, (value, i) => value * factors[Math.floor(i / size)]!);
  for (let start = 0; width > 0 && start < w.length; start += width) {
    let [along, square] = [0, 0];
    for (let i = start; i < start + width; i++) [along, square] = [along + g[i]! * w[i]!, square + w[i]! ** 2];
    for (let i = start; i < start + width; i++) g[i]! -= (along / square) * w[i]!;
  }
  for (let i = 0; i < w.length; i++) {
    m[i] = beta1 * m[i]! + (1 - beta1) * g[i]!;
    v[i] = beta2 * v[i]! + (1 - beta2) * g[i]! ** 2;
    w[i]! -= rates[Math.floor(i / size)]! * (m[i]! / (1 - beta1 ** t)) / (Math.sqrt(v[i]! / (1 - beta2 ** t)) + epsilon);
  }
  for (let start = 0; width > 0 && start < w.length; start += width) {
    const row = w.subarray(start, start + width);
    const norm = Math.hypot(...row);
    row.forEach((value, i) => { row[i] = value / norm; });
  }
}

const ROWS: [width: number, lanes: boolean][] = [[7, false], [12, false], ...(gpu.subgroupSize > 0 ? [[12, true], [4 * gpu.subgroupSize * 9, true]] as [number, boolean][] : [])];
const FLAT: [size: number, vector: boolean][] = [[77, false], [80, true], [84, true]];

for (const [width, inRows, special] of [...ROWS.map(([w, lanes]) => [w, true, lanes] as const), ...FLAT.map(([s, vector]) => [s, false, vector] as const)]) {
  test(`twelve steps of Adam with gradients clipped, ${inRows ? `rows of ${width}${special ? ' by subgroups' : ''}` : `${width} numbers${special ? ' by fours' : ''}`}`, () => gpu.scope(async () => {
    const shape = inRows ? [3, 5, width] : [3, width];
    const size = shape.reduce((a, b) => a * b);
    const rates = [1e-2, 3e-3, 2e-2];
    const start = random(size, 1);
    if (inRows) for (let i = 0; i < size; i += width) {
      const norm = Math.hypot(...start.subarray(i, i + width));
      for (let k = i; k < i + width; k++) start[k]! /= norm;
    }
    const [w, m, v] = [Float64Array.from(start), new Float64Array(size), new Float64Array(size)];
    const on = { parameter: Tensor.from(gpu, start, shape), gradient: Tensor.empty(gpu, shape), first: Tensor.zeros(gpu, shape), second: Tensor.zeros(gpu, shape), rate: Tensor.from(gpu, rates, [3]) };
    for (let t = 1; t <= 12; t++) {
      // The first model's gradient always stays within the bound, the last one's seldom does.
      const g = random(size, 40 + t).map((value, i) => value * [0.1, 1, 40][Math.floor((i * 3) / size)]! + 0.3 * w[(i * 7 + 3) % size]!);
      on.gradient.write(g);
      gpu.scope(() => {
        const clip = clipFactors([on.gradient], 2 * Math.sqrt(width));
        const how = { ...adamDefaults, step: t };
        if (inRows) adamRows({ ...on, clip }, how, { project: true, normalise: true, plan: special ? adamRowsPlan(gpu, 15, width) : null });
        else adam({ ...on, clip }, how, special ? adamPlan(gpu.software, width) : { vector: 1, perThread: 1, workgroup: 256 });
      });
      const factors = reference([g], 3, 2 * Math.sqrt(width));
      if (t === 1) assert.ok(factors[0] === 1 && factors[2]! < 0.5, `${factors}`);
      step(w, m, v, g, factors, rates, t, inRows ? width : 0);
    }
    assert.ok(relativeError(await on.parameter.read(), w) < 1e-4);
    assert.ok(relativeError(await on.first.read(), m) < 1e-4 && relativeError(await on.second.read(), v) < 1e-4);
  }));
}

test('factors for other models are refused', () => gpu.scope(() => {
  const zeros = (): Tensor => Tensor.zeros(gpu, [2, 4]);
  const on = { parameter: zeros(), gradient: zeros(), first: zeros(), second: zeros(), rate: Tensor.zeros(gpu, [2]), clip: Tensor.zeros(gpu, [3]) };
  assert.throws(() => adam(on, { ...adamDefaults, step: 1 }), (e: unknown) => e instanceof ShapeError && /3 factors of gradients/.test(e.message));
}));

test.run();
