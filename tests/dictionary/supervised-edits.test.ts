import * as assert from 'uvu/assert';
import type { CodeEdit, Examples } from '../../src/dictionary/dictionary.ts';
import { ioiParametrization, type Parametrization } from '../../src/dictionary/parametrization.ts';
import { SupervisedCodes } from '../../src/dictionary/supervised.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';

const test = gpuSuite('edits through supervised codes');
const NAMES = 6;
const SPACES = [...['IO', 'S', 'name1', 'name2'].map((name) => ({ name, values: NAMES })), ...['Pos', 'io_gender', 's_gender'].map((name) => ({ name, values: 2 }))];
const [N, WIDTH] = [96, 5];

/** The columns of prompts from who is IO, who is S and who comes first. */
function columns(IO: Uint32Array, S: Uint32Array, Pos: Uint32Array): Record<string, Uint32Array> {
  return {
    IO, S, Pos, name1: IO.map((io, row) => (Pos[row] ? S[row]! : io)), name2: S.map((s, row) => (Pos[row] ? IO[row]! : s)), io_gender: IO.map((name) => name % 2), s_gender: S.map((name) => name % 2),
  };
}

/** Prompts whose values are drawn among `names` names; name 5 is never drawn. */
function drawn(seed: number): Record<string, Uint32Array> {
  const draw = random([N, 3], seed);
  const column = (at: number, values: number) => Uint32Array.from({ length: N }, (_, row) => Math.floor(((draw[3 * row + at]! + 1) / 2) * values));
  return columns(column(0, NAMES - 1), column(1, NAMES - 1), column(2, 2));
}

/** Source prompts, all three attributes different in `other`, and activations that carry them. */
async function setting(): Promise<{ x: Float32Array; source: Examples; other: Record<string, Uint32Array> }> {
  const gpu = await testGpu();
  const attributes = drawn(1);
  const noise = random([N, WIDTH], 2);
  const x = noise.map((value, i) => {
    const [row, d] = [Math.floor(i / WIDTH), i % WIDTH];
    return 0.4 + 0.3 * value + Math.sin(2 * attributes.IO![row]! + d) + Math.cos(3 * attributes.S![row]! + d) + 0.5 * attributes.Pos![row]! * (d % 2 ? 1 : -1);
  });
  return { x, source: { activations: Tensor.from(gpu, x, [N, WIDTH]), attributes }, other: drawn(3) };
}

/** The prompts with some attributes as in `other`. */
function counterfactual(source: Record<string, Uint32Array>, other: Record<string, Uint32Array>, edit: readonly string[]): Record<string, Uint32Array> {
  const pick = (name: string) => (edit.includes(name) ? other : source)[name]!;
  return columns(pick('IO'), pick('S'), pick('Pos'));
}

type Feature = [first: number, id: (attributes: Record<string, Uint32Array>, row: number) => number];

/** The definition, row by row in float64: `swapped` features leave, those of the target's labels come. */
function reference(
  { vectors, mean, x }: { vectors: Float32Array; mean: Float32Array; x: Float32Array }, all: Feature[], swapped: Feature[],
  source: Record<string, Uint32Array>, target: Record<string, Uint32Array>, method: CodeEdit,
): { activations: number[]; weights: number[] } {
  const vector = ([first, id]: Feature, attributes: Record<string, Uint32Array>, row: number) => [...vectors.subarray((first + id(attributes, row)) * WIDTH, (first + id(attributes, row) + 1) * WIDTH)];
  const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((sum, value, d) => sum + value * b[d]!, 0);
  const activations: number[] = [];
  const weights: number[] = [];
  for (let row = 0; row < N; row++) {
    let a = [...x.subarray(row * WIDTH, (row + 1) * WIDTH)];
    const signal = all.map((feature) => vector(feature, source, row)).reduce((sum, u) => sum.map((value, d) => value + u[d]!));
    let weight = 0;
    for (const feature of swapped) {
      const old = vector(feature, source, row);
      weight += dot(old, signal) / dot(signal, signal);
      const norm = Math.sqrt(dot(old, old));
      const unit = old.map((value) => (norm > 0 ? value / norm : 0));
      const level = dot(mean, unit);
      const amount = {
        'arithmetic': -norm, 'subtract': -norm, 'zero-ablate': -dot(a, unit), 'mean-ablate': level - dot(a, unit),
        // the mean projection, a number, is taken from every entry of a before the product with the unit vector
        'mean-ablate-broadcast': dot(a.map((value) => level - value), unit),
      }[method];
      a = a.map((value, d) => value + amount * unit[d]!);
    }
    if (method !== 'subtract') for (const feature of swapped) a = a.map((value, d) => value + vector(feature, target, row)[d]!);
    activations.push(...a);
    weights.push(weight);
  }
  return { activations, weights };
}

async function compare(parametrization: Parametrization, all: Feature[], cases: { edit: string[]; swapped: number[]; released?: boolean }[], methods: CodeEdit[]): Promise<void> {
  const { x, source, other } = await setting();
  const { gpu } = source.activations;
  const codes = SupervisedCodes.fit(source, { spaces: SPACES, parametrization });
  const own = { vectors: await codes.vectors.read(), mean: await codes.mean.read(), x };
  for (const { edit, swapped, released } of cases) {
    const attributes = counterfactual(source.attributes, other, edit);
    for (const method of methods) {
      const expected = reference(own, all, swapped.map((at) => all[at]!), source.attributes, attributes, method);
      await gpu.scope(async () => {
        const result = codes.edit(source, { activations: source.activations, attributes }, { attributes: edit, method, ...(released ? { coupledPosEdit: true } : {}) });
        const [activations, weights] = [await result.activations.read(), await result.weightRemoved.read()];
        const what = `${parametrization.name}, ${edit.join('+')}, ${method}`;
        activations.forEach((value, i) => assert.ok(Math.abs(value - expected.activations[i]!) < 1e-5, `${what}: element ${i}: ${value}, not ${expected.activations[i]}`));
        weights.forEach((value, i) => assert.ok(Math.abs(value - expected.weights[i]!) < 1e-4 * Math.max(1, Math.abs(expected.weights[i]!)), `${what}: weight ${i}`));
      });
    }
  }
  codes.dispose();
  source.activations.dispose();
}

const ALL_METHODS: CodeEdit[] = ['arithmetic', 'zero-ablate', 'mean-ablate', 'mean-ablate-broadcast', 'subtract'];

test('independent codes: every method against the definition, one attribute and several', async () => {
  const all: Feature[] = [[0, (a, row) => a.IO![row]!], [NAMES, (a, row) => a.S![row]!], [2 * NAMES, (a, row) => a.Pos![row]!]];
  await compare(ioiParametrization('independent'), all, [
    { edit: ['IO'], swapped: [0] }, { edit: ['Pos'], swapped: [2] }, { edit: ['Pos', 'S'], swapped: [1, 2] }, { edit: ['S', 'Pos', 'IO'], swapped: [0, 1, 2] },
  ], ALL_METHODS);
});

test('coupled codes: IO and S swap their own term, Pos swaps both, or as released only that of S', async () => {
  const pair = (name: string) => (a: Record<string, Uint32Array>, row: number) => a[name]![row]! * 2 + a.Pos![row]!;
  const all: Feature[] = [[0, pair('IO')], [2 * NAMES, pair('S')]];
  await compare(ioiParametrization('coupled'), all, [
    { edit: ['IO'], swapped: [0] }, { edit: ['S'], swapped: [1] }, { edit: ['Pos'], swapped: [0, 1] }, { edit: ['IO', 'Pos'], swapped: [0, 1] },
    { edit: ['Pos'], swapped: [1], released: true }, { edit: ['IO'], swapped: [0], released: true },
  ], ALL_METHODS);
});

test('columns that follow from attributes change with them: names in their places, genders', async () => {
  const names: Feature[] = [[0, (a, row) => a.name1![row]!], [NAMES, (a, row) => a.name2![row]!]];
  await compare(ioiParametrization('names', 'io'), names, [{ edit: ['IO'], swapped: [0, 1] }, { edit: ['Pos'], swapped: [0, 1] }], ['arithmetic']);
  const gender: Feature[] = [
    [0, (a, row) => a.IO![row]!], [NAMES, (a, row) => a.S![row]!], [2 * NAMES, (a, row) => a.Pos![row]!], [2 * NAMES + 2, (a, row) => a.io_gender![row]!], [2 * NAMES + 4, (a, row) => a.s_gender![row]!],
  ];
  await compare(ioiParametrization('independent+gender'), gender, [{ edit: ['IO'], swapped: [0, 3] }, { edit: ['S', 'Pos'], swapped: [1, 2, 4] }], ['arithmetic', 'mean-ablate']);
});

test('an edit of one attribute leaves the others as the source has them, whatever the target has', async () => {
  const { source, other } = await setting();
  const { gpu } = source.activations;
  const codes = SupervisedCodes.fit(source, { spaces: SPACES, parametrization: ioiParametrization('coupled') });
  await gpu.scope(async () => {
    const target = (attributes: Record<string, Uint32Array>) => ({ activations: source.activations, attributes });
    const [all, one] = [other, counterfactual(source.attributes, other, ['IO'])].map((attributes) => codes.edit(source, target(attributes), { attributes: ['IO'] }).activations);
    assert.equal([...(await all!.read())], [...(await one!.read())]);
  });
  codes.dispose();
  source.activations.dispose();
});

test('a name never seen has no direction: nothing is taken out, and the rest of the edit stands', async () => {
  const { x, source } = await setting();
  const { gpu } = source.activations;
  const codes = SupervisedCodes.fit(source, { spaces: SPACES, parametrization: ioiParametrization('nm') });
  const unseen = { ...source, attributes: { ...source.attributes, IO: new Uint32Array(N).fill(NAMES - 1) } };
  for (const method of ALL_METHODS) {
    await gpu.scope(async () => {
      const { activations } = codes.edit(unseen, unseen, { attributes: ['IO'], method });
      assert.equal([...(await activations.read())], [...x], method);
    });
  }
  codes.dispose();
  source.activations.dispose();
});

test('no attributes, no change; attributes that no term has are refused and can be asked about', async () => {
  const { x, source, other } = await setting();
  const { gpu } = source.activations;
  const codes = SupervisedCodes.fit(source, { spaces: SPACES, parametrization: ioiParametrization('si') });
  await gpu.scope(async () => {
    const { activations, weightRemoved } = codes.edit(source, { ...source, attributes: other }, { attributes: [] });
    assert.equal([...(await activations.read())], [...x]);
    assert.ok((await weightRemoved.read()).every((weight) => weight === 0));
  });
  assert.ok(codes.canEdit(['S', 'Pos']));
  assert.not.ok(codes.canEdit(['S', 'IO']));
  assert.throws(() => codes.edit(source, source, { attributes: ['IO'] }), /has no attribute IO; it has S, Pos/);
  codes.dispose();
  source.activations.dispose();
});

test('codes under another way of editing are a dictionary of its own name', async () => {
  const { source, other } = await setting();
  const { gpu } = source.activations;
  const codes = SupervisedCodes.fit(source, { spaces: SPACES, parametrization: ioiParametrization('coupled') });
  const target = { ...source, attributes: counterfactual(source.attributes, other, ['Pos']) };
  const [ablating, released] = [codes.editedBy('zero-ablate'), codes.editedBy('arithmetic', { coupledPosEdit: true })];
  assert.equal([ablating.name, released.name], ['supervised mean coupled by zero-ablate', 'supervised mean coupled by arithmetic of the last term']);
  assert.not.ok(ablating.canEdit(['name1']));
  assert.equal([codes.changes(['IO']), ablating.changes(['Pos']), released.changes(['Pos']), codes.editedBy('subtract').changes(['IO', 'S'])], [2, 4, 2, 2]);
  await gpu.scope(async () => {
    const options = { attributes: ['Pos'], k: 2 };
    const [a, b, c, d] = [ablating.edit(source, target, options), codes.edit(source, target, { ...options, method: 'zero-ablate' }), released.edit(source, target, options), codes.edit(source, target, { ...options, coupledPosEdit: true })];
    assert.equal([...(await a.activations.read())], [...(await b.activations.read())]);
    assert.equal([...(await c.activations.read())], [...(await d.activations.read())]);
    assert.not.equal([...(await a.activations.read())], [...(await c.activations.read())]);
    assert.equal([...(await ablating.decode(ablating.encode(source)).read())], [...(await codes.decode(codes.encode(source)).read())]);
  });
  ablating.dispose();
  assert.not.ok(codes.vectors.disposed);
  codes.dispose();
  source.activations.dispose();
});

test.run();
