import * as assert from 'uvu/assert';
import { ShapeError } from '../../src/errors.ts';
import { adam, adamDefaults, adamPlan, adamRows, adamRowsPlan, type AdamPlan, type AdamRowsPlan } from '../../src/tensor/adam.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { openGpu } from '../../src/node.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('adam');
const gpu = await testGpu();

interface State { w: Float64Array; m: Float64Array; v: Float64Array }

const state = (w: Float32Array): State => ({ w: Float64Array.from(w), m: new Float64Array(w.length), v: new Float64Array(w.length) });

/** Adam by the paper's formulas in float64. */
function referenceStep({ w, m, v }: State, g: ArrayLike<number>, rate: (i: number) => number, t: number): void {
  const { beta1, beta2, epsilon } = adamDefaults;
  for (let i = 0; i < w.length; i++) {
    m[i] = beta1 * m[i]! + (1 - beta1) * g[i]!;
    v[i] = beta2 * v[i]! + (1 - beta2) * g[i]! ** 2;
    w[i]! -= rate(i) * (m[i]! / (1 - beta1 ** t)) / (Math.sqrt(v[i]! / (1 - beta2 ** t)) + epsilon);
  }
}

function tensors(shape: number[], w: Float32Array, rates: number[]): { parameter: Tensor; gradient: Tensor; first: Tensor; second: Tensor; rate: Tensor } {
  return {
    parameter: Tensor.from(gpu, w, shape), gradient: Tensor.empty(gpu, shape), first: Tensor.zeros(gpu, shape), second: Tensor.zeros(gpu, shape),
    rate: Tensor.from(gpu, rates, [rates.length]),
  };
}

for (const [size, plan] of [
  [77], [80], [84], [80, { vector: 4, perThread: 2, workgroup: 32 }], [84, { vector: 4, perThread: 1, workgroup: 64 }], [84, { vector: 1, perThread: 1, workgroup: 64 }],
] as [number, AdamPlan?][]) test(`100 steps on two models of ${size} with rates of their own and a schedule${plan ? `, ${JSON.stringify(plan)}` : ''}`, () => gpu.scope(async () => {
  const models = 2;
  const rates = [1e-2, 3e-3];
  const w = random(models * size, 1);
  const target = random(models * size, 2);
  const reference = state(w);
  const on = tensors([models, size], w, rates);
  for (let t = 1; t <= 100; t++) {
    const noise = random(models * size, 100 + t);
    // Gradients of different sizes, depending on the weights, so that an error would feed back.
    const gradient = (values: ArrayLike<number>): Float32Array => Float32Array.from(noise, (e, i) => 10 ** (i % 5 - 3) * (values[i]! - target[i]! + e));
    on.gradient.write(gradient(reference.w));
    const factor = 1 - t / 200;
    adam(on, { ...adamDefaults, step: t, factor }, plan);
    referenceStep(reference, gradient(reference.w), (i) => rates[Math.floor(i / size)]! * factor, t);
  }
  assert.ok(relativeError(await on.parameter.read(), reference.w) <= 1e-4);
  assert.ok(relativeError(await on.first.read(), reference.m) <= 1e-4);
  assert.ok(relativeError(await on.second.read(), reference.v) <= 1e-4);
}));

const SUBGROUP = gpu.subgroupSize;
const lanes = (teams: number, held: number): AdamRowsPlan => ({ subgroup: SUBGROUP, workgroup: SUBGROUP * teams, held });
const rowCases: [boolean, number, (AdamRowsPlan | null)?][] = [[true, 7], [false, 7], [true, 64], [false, 100], [true, 8, null]];
if (SUBGROUP) rowCases.push([true, 8, lanes(4, 1)], [true, 2 * SUBGROUP * 4, lanes(1, 2)], [true, 28, lanes(2, 7)], [false, 28, lanes(2, 7)], [true, 68, lanes(4, 0)], [false, 68, lanes(1, 0)]);
for (const [project, width, plan] of rowCases) {
  test(`100 steps on rows of ${width} of unit length, ${project ? 'with' : 'without'} projection${plan === undefined ? '' : `, ${JSON.stringify(plan)}`}`, () => gpu.scope(async () => {
    const [models, rows] = [2, 9];
    const rates = [1e-2, 2e-3];
    const w = random(models * rows * width, 3);
    const normalise = (values: Float64Array | Float32Array): void => {
      for (let r = 0; r < models * rows; r++) {
        const row = values.subarray(r * width, (r + 1) * width);
        const norm = Math.hypot(...row);
        for (let i = 0; i < width; i++) row[i]! /= norm;
      }
    };
    normalise(w);
    const reference = state(w);
    const on = tensors([models, rows, width], w, rates);
    for (let t = 1; t <= 100; t++) {
      const g = Float64Array.from(random(w.length, 500 + t), (e, i) => e + reference.w[(i * 7 + 3) % w.length]!);
      on.gradient.write(Float32Array.from(g));
      adamRows(on, { ...adamDefaults, step: t }, { project, normalise: true, ...(plan === undefined ? {} : { plan }) });
      if (project) {
        for (let r = 0; r < models * rows; r++) {
          let along = 0;
          for (let i = r * width; i < (r + 1) * width; i++) along += g[i]! * reference.w[i]!;
          for (let i = r * width; i < (r + 1) * width; i++) g[i]! -= along * reference.w[i]!;
        }
      }
      referenceStep(reference, g, (i) => rates[Math.floor(i / (rows * width))]!, t);
      normalise(reference.w);
    }
    const found = await on.parameter.read();
    assert.ok(relativeError(found, reference.w) <= 1e-4);
    for (let r = 0; r < models * rows; r++) assert.ok(Math.abs(Math.hypot(...found.subarray(r * width, (r + 1) * width)) - 1) < 1e-6);
  }));
}

test('parameters beyond the binding limit are done in windows, each with its model\'s rate', async () => {
  const small = await openGpu({ windowBytes: 1024 });
  for (const size of [500, 333]) {
    const w = random(3 * size, 5);
    const g = random(3 * size, 6);
    const rates = [1e-2, 2e-2, 3e-2];
    const reference = state(w);
    referenceStep(reference, g, (i) => rates[Math.floor(i / size)]!, 1);
    const make = (values: Float32Array): Tensor => Tensor.from(small, values, [3, size]);
    const parameter = make(w);
    adam({ parameter, gradient: make(g), first: make(new Float32Array(3 * size)), second: make(new Float32Array(3 * size)), rate: Tensor.from(small, rates, [3]) }, { ...adamDefaults, step: 1 });
    assert.ok(relativeError(await parameter.read(), reference.w) <= 1e-5);
  }
  small.destroy();
});

test('the plan keeps a thread within one model', () => {
  assert.equal([8, 12, 7, 1].map((size) => adamPlan(true, size)).map((p) => [p.vector, p.perThread]), [[4, 2], [4, 1], [1, 1], [1, 1]]);
  assert.is(adamPlan(false, 8).perThread, 1);
});

test('a row of Adam fits the threads of a subgroup or is read again', () => {
  const plan = (software: boolean, subgroupSize: number, width: number): unknown => adamRowsPlan({ software, subgroupSize }, 1000, width)?.held;
  assert.equal([[true, 8, 32], [true, 8, 64], [true, 8, 68], [true, 8, 768], [false, 32, 768], [false, 32, 2048]].map(([s, n, w]) => plan(s as boolean, n as number, w as number)), [1, 2, 0, 0, 6, 0]);
  assert.equal([plan(true, 0, 64), plan(true, 8, 66)], [undefined, undefined]);
});

test('a row of zeros and an empty parameter stay as they are', () => gpu.scope(async () => {
  const zero = tensors([1, 2, 3], new Float32Array(6), [0.1]);
  zero.gradient.write(new Float32Array(6));
  adamRows(zero, { ...adamDefaults, step: 1 }, { project: true, normalise: true });
  assert.equal([...await zero.parameter.read()], [0, 0, 0, 0, 0, 0]);
  const none = tensors([1, 0], new Float32Array(0), [0.1]);
  adam(none, { ...adamDefaults, step: 1 });
  assert.is((await none.parameter.read()).length, 0);
}));

test('shapes that do not fit are refused', () => gpu.scope(() => {
  const good = tensors([2, 3], new Float32Array(6), [0.1, 0.1]);
  assert.throws(() => adam({ ...good, gradient: Tensor.zeros(gpu, [2, 4]) }, { ...adamDefaults, step: 1 }), (e: unknown) => e instanceof ShapeError);
  assert.throws(() => adam({ ...good, rate: Tensor.zeros(gpu, [3]) }, { ...adamDefaults, step: 1 }), (e: unknown) => e instanceof ShapeError);
}));

test.run();
