import * as assert from 'uvu/assert';
import type { Dictionary, Examples } from '../../src/dictionary/dictionary.ts';
import { independent } from '../../src/dictionary/parametrization.ts';
import { SupervisedCodes } from '../../src/dictionary/supervised.ts';
import { randomSets, SyntheticDictionary } from '../../src/dictionary/synthetic.ts';
import { agreement, f1Score, meanIgnoringNaN, necessity, sufficiency } from '../../src/evaluation/formulas.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('dictionaries with known answers');
const NAMES = 12;
const WIDTH = 32;
const SPACES = [{ name: 'IO', values: NAMES }, { name: 'S', values: NAMES }, { name: 'Pos', values: 2 }];
const GENDER = Uint32Array.from({ length: NAMES }, (_, name) => name % 2);

type Labels = Record<'IO' | 'S' | 'Pos', Uint32Array>;

/** Every combination of IO, S and Pos once, so that attributes are independent without sampling error. */
const ALL: Labels = (() => {
  const rows = Array.from({ length: NAMES * NAMES * 2 }, (_, row) => row);
  const column = (of: (row: number) => number) => Uint32Array.from(rows, of);
  return { IO: column((row) => row % NAMES), S: column((row) => Math.floor(row / NAMES) % NAMES), Pos: column((row) => Math.floor(row / NAMES ** 2)) };
})();

/** A world without noise: a = base + io + s + pos, the vectors of S and Pos `rest` times as long as those of IO. The answer is read along the vectors of IO names, the logit difference along one direction. */
function world(seed: number, rest: number) {
  const table = (rows: number, scale: number, salt: number) => random([rows, WIDTH], seed + salt).map((value) => value * scale);
  const gendered = table(2, 0.5, 1);
  const [io, s, pos, base] = [table(NAMES, 1, 2), table(NAMES, rest, 3), table(2, rest, 4), table(1, 1, 5)];
  for (let name = 0; name < NAMES; name++) for (let d = 0; d < WIDTH; d++) io[name * WIDTH + d]! += gendered[GENDER[name]! * WIDTH + d]!;
  const activations = (labels: Labels) => Float32Array.from({ length: labels.IO.length * WIDTH }, (_, i) => {
    const [row, d] = [Math.floor(i / WIDTH), i % WIDTH];
    return base[d]! + io[labels.IO[row]! * WIDTH + d]! + s[labels.S[row]! * WIDTH + d]! + pos[labels.Pos[row]! * WIDTH + d]!;
  });
  const scores = (a: Float32Array, row: number) => Array.from({ length: NAMES }, (_, name) => {
    let sum = 0;
    for (let d = 0; d < WIDTH; d++) sum += a[row * WIDTH + d]! * (io[name * WIDTH + d]! - gendered[GENDER[name]! * WIDTH + d]! / 2);
    return sum;
  });
  const rowsOf = (a: Float32Array) => Array.from({ length: a.length / WIDTH }, (_, row) => row);
  return {
    activations,
    prediction: (a: Float32Array) => rowsOf(a).map((row) => { const own = scores(a, row); return own.indexOf(Math.max(...own)); }),
    // of name 0 against name 1
    logitDiff: (a: Float32Array) => rowsOf(a).map((row) => { const own = scores(a, row); return 1 + own[0]! - own[1]!; }),
  };
}

async function setting(seed = 11, rest = 1) {
  const gpu = await testGpu();
  const { activations, ...readout } = world(seed, rest);
  const examplesOf = (labels: Labels): Examples => ({ activations: Tensor.from(gpu, activations(labels), [labels.IO.length, WIDTH]), attributes: labels });
  const source = examplesOf(ALL);
  const codes = SupervisedCodes.fit(source, { spaces: SPACES, parametrization: independent(SPACES) });
  return { gpu, source, codes, examplesOf, ...readout };
}

type Setting = Awaited<ReturnType<typeof setting>>;

/** Test 1: both scores are 1, by the formulas of the evaluation. */
async function approximates({ gpu, source, codes, logitDiff }: Setting, dictionary: Dictionary): Promise<void> {
  const reconstruction = await gpu.scope(async () => dictionary.decode(dictionary.encode(source)).read());
  const supervised = await gpu.scope(async () => codes.decode(codes.encode(source)).read());
  assert.ok(relativeError(reconstruction, supervised) < 1e-5, `${dictionary.name}: ${relativeError(reconstruction, supervised)}`);
  const [clean, mean] = [await source.activations.read(), await codes.mean.read()];
  const residual = clean.map((a, i) => mean[i % WIDTH]! + a - reconstruction[i]!);
  const ablated = clean.map((_, i) => mean[i % WIDTH]!);
  assert.ok(Math.abs(sufficiency(logitDiff(reconstruction), logitDiff(clean)).value! - 1) < 1e-4);
  const odd = (values: number[]) => values.filter((_, row) => ALL.IO[row] === 0);
  assert.ok(Math.abs(necessity(odd(logitDiff(residual)), odd(logitDiff(ablated)), odd(logitDiff(clean))).value! - 1) < 1e-4);
}

/** New IO names `step` further on, in all prompts but those where that is S. */
function renamed(step: number): { from: Labels; to: Labels } {
  const rows = [...ALL.IO.keys()].filter((row) => ALL.IO[row] !== ALL.S[row] && (ALL.IO[row]! + step) % NAMES !== ALL.S[row]);
  const pick = (column: Uint32Array) => Uint32Array.from(rows, (row) => column[row]!);
  const from = { IO: pick(ALL.IO), S: pick(ALL.S), Pos: pick(ALL.Pos) };
  return { from, to: { ...from, IO: from.IO.map((name) => (name + step) % NAMES) } };
}

/** Test 2: agreement of predictions after the edit with those of the counterfactual, mean weight removed, and the largest distance left. */
async function control({ gpu, examplesOf, prediction }: Setting, dictionary: Dictionary, step: number, k: number): Promise<{ accuracy: number; weight: number; distance: number }> {
  const { from, to } = renamed(step);
  return gpu.scope(async () => {
    const [source, target] = [examplesOf(from), examplesOf(to)];
    const { activations, weightRemoved } = dictionary.edit(source, target, { attributes: ['IO'], k });
    const [edited, truth, weights] = [await activations.read(), await target.activations.read(), await weightRemoved.read()];
    const distance = edited.reduce((most, value, i) => Math.max(most, Math.abs(value - truth[i]!)), 0);
    return { accuracy: agreement(prediction(edited), prediction(truth)), weight: meanIgnoringNaN(weights).mean, distance };
  });
}

/** Test 3: F1 of every feature with every value of IO, [feature][value]. */
async function interpreted({ gpu, source }: Setting, dictionary: Dictionary): Promise<ReturnType<typeof f1Score>[][]> {
  const codes = await gpu.scope(async () => dictionary.encode(source).read());
  const n = ALL.IO.length;
  return Array.from({ length: dictionary.features }, (_, feature) => {
    const active = [...Array(n).keys()].filter((row) => codes[row * dictionary.features + feature]! > 0);
    return Array.from({ length: NAMES }, (_, name) => f1Score(active.filter((row) => ALL.IO[row] === name).length, active.length, n / NAMES));
  });
}

test('group and value: exact, one more feature where the group changes, and interpretable', async () => {
  const own = await setting();
  const dictionary = await SyntheticDictionary.groupAndValue(own.codes, { IO: GENDER });
  assert.is(dictionary.name, 'synthetic group+value');
  assert.is(dictionary.features, 2 + NAMES + NAMES + 2);
  await approximates(own, dictionary);
  // a name of the same gender: one feature out, one in; of the other gender: two out, two in
  const [same, other, tooFew] = [await control(own, dictionary, 2, 2), await control(own, dictionary, 1, 4), await control(own, dictionary, 1, 2)];
  assert.ok(same.accuracy === 1 && same.distance < 1e-4, `${same.distance}`);
  assert.ok(other.accuracy === 1 && other.distance < 1e-4, `${other.distance}`);
  assert.ok(tooFew.distance > 0.1, `${tooFew.distance}`);
  assert.ok(same.weight > 0 && same.weight < other.weight && other.weight < 0.7, `${same.weight} ${other.weight}`);
  const scores = await interpreted(own, dictionary);
  // features: two genders, then names. A name's feature is its name; a gender's has recall 1 and a precision of one in its names.
  for (let name = 0; name < NAMES; name++) assert.equal(scores[2 + name]![name]!, { precision: 1, recall: 1, f1: 1 });
  for (const gender of [0, 1]) for (const score of scores[gender]!.filter((_, name) => GENDER[name] === gender)) assert.equal([score.precision, score.recall], [2 / NAMES, 1]);
  for (const item of [dictionary, own.codes, own.source.activations]) item.dispose();
});

test('overlapping sets: exact, as many features to an edit as sets differ, and little precision', async () => {
  const own = await setting(31);
  const [count, each] = [18, 3];
  const sets = randomSets(NAMES, count, each, 5);
  assert.is(sets.flat().length, NAMES * each);
  const dictionary = await SyntheticDictionary.overlapping(own.codes, { IO: sets });
  await approximates(own, dictionary);
  const full = await control(own, dictionary, 1, 2 * each);
  const few = await control(own, dictionary, 1, 2);
  assert.ok(full.accuracy > 0.8 && few.accuracy < 0.7, `${full.accuracy} ${few.accuracy}`);
  assert.ok(few.distance > 0.1);
  const scores = await interpreted(own, dictionary);
  sets.forEach((values, set) => {
    for (let name = 0; name < NAMES; name++) {
      const score = scores[set]![name]!;
      if (values.includes(name)) assert.ok(Math.abs(score.precision - 1 / values.length) < 1e-9 && score.recall === 1);
      else if (values.length > 0) assert.is(score.f1, 0);
    }
  });
  for (const item of [dictionary, own.codes, own.source.activations]) item.dispose();
});

test('over-fitted: exact, two features to any edit, all weight removed, precision 1 and small recall', async () => {
  // greedy steps reach the new combination only where it shares less than half of its squared length with the old one: neither move helps alone
  const own = await setting(51, 0.4);
  const dictionary = await SyntheticDictionary.overfitted(own.codes, [ALL]);
  assert.is(dictionary.features, NAMES * NAMES * 2);
  await approximates(own, dictionary);
  const [one, both] = [await control(own, dictionary, 1, 1), await control(own, dictionary, 1, 2)];
  assert.ok(both.accuracy === 1 && both.distance < 1e-4);
  assert.ok(one.distance > 0.1 && one.accuracy < 1);
  assert.ok(Math.abs(both.weight - 1) < 1e-5, `${both.weight}`);
  const scores = await interpreted(own, dictionary);
  for (const row of scores) {
    const best = row.reduce((a, b) => (b.f1 > a.f1 ? b : a));
    assert.is(best.precision, 1);
    assert.is(best.recall, 1 / (NAMES * 2));
  }
  for (const item of [dictionary, own.codes, own.source.activations]) item.dispose();
});

test('weights sum to one; a combination that was never seen has no active feature', async () => {
  const own = await setting();
  const part: Labels = { IO: ALL.IO.slice(0, 20), S: ALL.S.slice(0, 20), Pos: ALL.Pos.slice(0, 20) };
  const made = [
    await SyntheticDictionary.groupAndValue(own.codes, { IO: GENDER, S: GENDER }),
    await SyntheticDictionary.overlapping(own.codes, { S: randomSets(NAMES, 18, 3, 1) }),
    await SyntheticDictionary.overfitted(own.codes, [part]),
  ];
  for (const dictionary of made) {
    await own.gpu.scope(async () => {
      const weights = await dictionary.contributions(dictionary.encode(own.source)).read();
      for (let row = 0; row < ALL.IO.length; row++) {
        const sum = weights.subarray(row * dictionary.features, (row + 1) * dictionary.features).reduce((a, b) => a + b);
        if (dictionary.name === 'synthetic over-fitted' && row >= 20) assert.ok(Number.isNaN(sum));
        else assert.ok(Math.abs(sum - 1) < 1e-4, `${dictionary.name}: ${sum}`);
      }
    });
    dictionary.dispose();
  }
  own.codes.dispose();
  own.source.activations.dispose();
});

test('columns that are no term of their own, wrong groups and too few sets are refused', async () => {
  const own = await setting();
  const refused = async (make: () => Promise<unknown>, message: RegExp) => {
    try { await make(); } catch (error) { return assert.match((error as Error).message, message); }
    assert.unreachable();
  };
  await refused(() => SyntheticDictionary.groupAndValue(own.codes, { gender: GENDER }), /codes of gender alone are to be divided, but supervised has no such term/);
  await refused(() => SyntheticDictionary.groupAndValue(own.codes, { IO: GENDER.slice(1) }), /11 values of IO come with a group, but there are 12/);
  await refused(() => SyntheticDictionary.overlapping(own.codes, { IO: randomSets(NAMES, 4, 2, 1) }), /the sets of values of IO do not tell all values apart/);
  assert.throws(() => randomSets(3, 2, 3, 1), /a value cannot be in 3 of 2 sets/);
  own.codes.dispose();
  own.source.activations.dispose();
});

test.run();
