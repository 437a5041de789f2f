import * as assert from 'uvu/assert';
import type { Dictionary, Examples } from '../../src/dictionary/dictionary.ts';
import { Catalogue, type EditedSection, type Entry } from '../../src/evaluation/catalogue.ts';
import { choose, measureDistances } from '../../src/evaluation/choice.ts';
import { controlRows, sectionWeight } from '../../src/evaluation/control.ts';
import { distinctEdits, methodsFor, type EditPlan } from '../../src/evaluation/methods.ts';
import { Measurements, Tally } from '../../src/evaluation/tally.ts';
import { parseSite, type SiteAddress } from '../../src/task/sites.ts';
import { addScaled, sub, Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';

const test = gpuSuite('control test');

const agnostic = (...ks: number[]): EditPlan => ({ ks, ways: ['agnostic'] });

const A = parseSite('z@L0H0@end');
const B = parseSite('z@L0H1@end');

/** A dictionary whose edit goes the share `reach` of the way to the target. */
function towards(reach: number): Dictionary {
  return {
    name: 'vanilla', dIn: 4, features: 1,
    encode: () => { throw new Error('not used'); },
    decode: () => { throw new Error('not used'); },
    contributions: () => { throw new Error('not used'); },
    edit: (source: Examples, target: Examples) => ({
      activations: addScaled(source.activations, sub(target.activations, source.activations), reach),
      weightRemoved: Tensor.zeros(source.activations.gpu, [source.activations.shape[0]!]),
    }),
    dispose: () => {},
  };
}

const entry = (name: string, variant: string, dictionary: Dictionary): Entry => ({ name, variant, dictionary, source: 'trained', lambda: null, scale: null, curve: [] });

function section(name: string, sites: SiteAddress[], edits: string[][]): EditedSection {
  return { name, sites, edits, origin: 'given', effects: {} };
}

test('each site uses the SAE whose edits come closest, per edit and k', async () => {
  const gpu = await testGpu();
  const catalogue = new Catalogue();
  catalogue.add(A, entry('vanilla λ=1', 'vanilla', towards(0.3)));
  catalogue.add(A, entry('vanilla λ=2', 'vanilla', towards(0.8)));
  catalogue.add(B, entry('vanilla λ=1', 'vanilla', towards(0.9)));
  catalogue.add(B, entry('vanilla λ=2', 'vanilla', towards(0.5)));
  const sections = [section('both', [A, B], [['S']])];
  const tally = new Tally(gpu, 10);
  const [source, target] = [random([10, 4], 1), random([10, 4], 2)];
  gpu.scope(() => {
    for (const site of [A, B]) {
      // in two batches, as an evaluation would
      for (const [start, end] of [[0, 6], [6, 10]] as const) {
        const part = (values: Float32Array): Examples => ({ activations: Tensor.from(gpu, values.slice(start * 4, end * 4), [end - start, 4]), attributes: {} });
        measureDistances({ site, source: part(source), target: part(target) }, ['S'], catalogue.at(site), agnostic(2, 4), tally, start);
      }
    }
  });
  const measured = await tally.read();
  const choice = choose(measured, catalogue, sections, agnostic(2, 4));
  const distance = (reach: number) => {
    let sum = 0;
    for (let i = 0; i < 10; i++) sum += (1 - reach) * Math.hypot(...[0, 1, 2, 3].map((d) => target[4 * i + d]! - source[4 * i + d]!));
    return sum / 10;
  };
  for (const k of [2, 4]) {
    const [atA, atB] = [A, B].map((site) => choice.get(site, 'S', { variant: 'vanilla', way: 'agnostic', k }));
    assert.is(atA!.entry.name, 'vanilla λ=2');
    assert.is(atB!.entry.name, 'vanilla λ=1');
    assert.ok(Math.abs(atA!.distance! - distance(0.8)) < 1e-5);
    assert.ok(Math.abs(atB!.distance! - distance(0.9)) < 1e-5);
  }
});

test('rows: agreement with the ground truth, not with the answer; weights over sites and prompts; relative axes', () => {
  const catalogue = new Catalogue();
  for (const site of [A, B]) {
    catalogue.add(site, entry('supervised', 'supervised', towards(1)));
    catalogue.add(site, entry('vanilla λ=1', 'vanilla', towards(1)));
  }
  const sections = [section('both', [A, B], [['S']])];
  const numbers = new Map<string, Float32Array | Uint32Array>([
    ['clean prediction', Uint32Array.of(1, 2, 3, 4)],
    ['truth|both|S|', Uint32Array.of(1, 9, 9, 9)],
    ['truth LD|both|S|', Float32Array.of(0, 1, 2, 3)],
    ['prediction|both|S|supervised|supervised|2', Uint32Array.of(1, 9, 9, 4)],
    ['prediction|both|S|vanilla|agnostic|2', Uint32Array.of(1, 9, 3, 4)],
    ['LD|both|S|supervised|supervised|2', Float32Array.of(1, 1, 1, 1)],
    ['LD|both|S|vanilla|agnostic|2', Float32Array.of(2, 2, 2, 2)],
    ['distance|z@L0H0@end|S|vanilla λ=1|agnostic|2', Float32Array.of(1, 4)],
    ['distance|z@L0H1@end|S|vanilla λ=1|agnostic|2', Float32Array.of(1, 4)],
  ]);
  for (const [site, weights] of [['z@L0H0@end', [0.2, 0.4, NaN, NaN]], ['z@L0H1@end', [0.4, 0.4, 0.6, NaN]]] as const) {
    numbers.set(`weight|${site}|S|supervised|supervised|2`, Float32Array.of(0.25, 0.25, 0.25, 0.25));
    numbers.set(`weight|${site}|S|vanilla|agnostic|2`, Float32Array.from(weights));
    for (const variant of ['supervised', 'vanilla']) numbers.set(`distance|${site}|S|${variant}|${variant === 'supervised' ? 'supervised' : 'agnostic'}|2`, Float32Array.of(1, 4, 9, 16));
    numbers.set(`no edit|${site}|S|`, Float32Array.of(4, 4, 4, 4));
  }
  const measured = new Measurements(numbers);
  const choice = choose(measured, catalogue, sections, agnostic(2));
  const [supervised, vanilla, ...more] = controlRows(measured, choice, catalogue, sections, agnostic(2));
  assert.is(more.length, 0);
  assert.is(supervised!.accuracy, 0.75);
  assert.is(supervised!.accuracyNoEdit, 0.25);
  assert.is(supervised!.groundTruthFlipped, 0.75);
  assert.is(supervised!.weightRemoved, 0.25);
  assert.is(supervised!.accuracyRelative, 1);
  assert.is(supervised!.weightRelative, 0);
  assert.is(supervised!.distance, 2.5);
  assert.is(supervised!.distanceNoEdit, 2);
  assert.equal(supervised!.chosen, []);
  assert.is(vanilla!.accuracy, 0.5);
  assert.is(vanilla!.accuracyRelative, 0.5);
  // prompt means 0.3, 0.4, 0.6 and none
  assert.ok(Math.abs(vanilla!.weightRemoved! - 1.3 / 3) < 1e-6);
  assert.is(vanilla!.weightSkipped, 3);
  assert.ok(Math.abs(vanilla!.weightRelative! - (1.3 / 3 - 0.25) / 0.75) < 1e-6);
  assert.equal(vanilla!.chosen.map(({ site, dictionary }) => [site, dictionary]), [['z@L0H0@end', 'vanilla λ=1'], ['z@L0H1@end', 'vanilla λ=1']]);
  assert.is(vanilla!.logitDiffGroundTruth, 1.5);
});

test('weights of a cross-section: mean over sites that have one, then over prompts that have one', () => {
  assert.equal(sectionWeight([[1, NaN], [3, NaN]]), { mean: 2, skipped: 2 });
  assert.equal(sectionWeight([[1, 5], [NaN, 7]]), { mean: 3.5, skipped: 1 });
});

test('supervised edits stand beside k = 2 per attribute; variants need a dictionary at every site', () => {
  const catalogue = new Catalogue();
  for (const site of [A, B]) catalogue.add(site, entry('supervised', 'supervised', towards(1)));
  catalogue.add(A, entry('vanilla λ=1', 'vanilla', towards(1)));
  const both = section('both', [A, B], [['S'], ['S', 'Pos']]);
  const alone = section('alone', [A], [['S']]);
  const supervised = (k: number) => ({ variant: 'supervised', way: 'supervised', k });
  const vanilla = (way: string, k: number) => ({ variant: 'vanilla', way, k });
  assert.equal(methodsFor(both, catalogue, ['S'], agnostic(2, 4)), [supervised(2)]);
  assert.equal(methodsFor(both, catalogue, ['S', 'Pos'], agnostic(2)), [supervised(4)]);
  assert.equal(methodsFor(alone, catalogue, ['S'], agnostic(2, 4)), [supervised(2), vanilla('agnostic', 2), vanilla('agnostic', 4)]);
  assert.equal(methodsFor(alone, catalogue, ['S'], { ks: [2, 3], ways: ['aware', 'threshold', 'reconstruction'] }),
    [supervised(2), vanilla('aware', 2), vanilla('threshold', 0), vanilla('reconstruction', 2), vanilla('reconstruction', 3)]);
  assert.equal(distinctEdits([both, alone]), [['S'], ['S', 'Pos']]);
});

test('a tally keeps many measurements of many batches apart', async () => {
  const gpu = await testGpu();
  const tally = new Tally(gpu, 5);
  const parts = [[0, 2], [2, 3]] as const;
  gpu.scope(() => {
    for (let i = 0; i < 130; i++) {
      for (const [start, count] of parts) tally.put(`m${i}`, start, Tensor.from(gpu, Array.from({ length: count }, (_, j) => 10 * i + start + j), [count]));
      tally.put(`u${i}`, 0, Tensor.from(gpu, Uint32Array.from([i, i, i, i, i + 1]), [5]));
    }
  });
  const measured = await tally.read();
  for (let i = 0; i < 130; i++) {
    assert.equal([...measured.get(`m${i}`)], [0, 1, 2, 3, 4].map((j) => 10 * i + j));
    assert.equal([...measured.get(`u${i}`)], [i, i, i, i, i + 1]);
  }
  assert.throws(() => measured.get('nothing'), /nothing was measured under "nothing"/);
});

test.run();
