import * as assert from 'uvu/assert';
import { Sae, type Dictionary } from '../../src/dictionary/index.ts';
import {
  addRankings, approximationRows, bestByTradeOffs, Catalogue, choose, controlRows, describe, editsOf, fitSupervisedCodes, ioiEvaluation, measureTradeOff, sampleEdited, scorePrompts, seedsOf,
  selectionDistances, withEveryValue, type EditedSection, type EditPlan, type Entry, type Scoring,
} from '../../src/evaluation/index.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { collectActivations, formatSite, grammarFor, IoiTask, parseSite } from '../../src/task/index.ts';
import { meanColumns, Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';

const test = gpuSuite('Test 2 by every method on ioi-mini');
const gpu = await testGpu();
const source = directorySource('models/ioi-mini');
const model = await Gpt2.load(gpu, source);
const task = ioiEvaluation(IoiTask.create(model.tokenizer!, await grammarFor(source)));
test.after(() => model.dispose());

const WIDTH = model.config.headWidth;
const FEATURES = 48;
const SITES = ['z@L0H3@end', 'z@L1H0@end'].map((text) => parseSite(text));
const SECTIONS: EditedSection[] = [
  { name: 'both', sites: SITES, edits: [['S'], ['IO', 'Pos']], origin: 'given', effects: {} },
  { name: 'one', sites: [SITES[0]!], edits: [['S']], origin: 'given', effects: {} },
];

/** A top-k dictionary of random directions around the mean. */
function randomSae(name: string, mean: Float32Array, seed: number): Sae {
  const rows = random(FEATURES * WIDTH, seed).map((v) => v / 4);
  return new Sae(name, {
    encoder: gpu.keep(Tensor.from(gpu, rows, [FEATURES, WIDTH])), encoderBias: gpu.keep(Tensor.zeros(gpu, [FEATURES])),
    decoder: gpu.keep(Tensor.from(gpu, rows, [FEATURES, WIDTH])), decoderBias: gpu.keep(Tensor.from(gpu, mean, [WIDTH])),
  }, {}, { variant: 'topk', k: 3 });
}

/** The same dictionary without anything that edits share: each is made, and run, by itself. */
function separately(sae: Sae): Dictionary {
  return {
    name: sae.name, dIn: sae.dIn, features: sae.features, encode: (examples) => sae.encode(examples), decode: (codes) => sae.decode(codes),
    contributions: (codes) => sae.contributions(codes), edit: (from, to, options) => sae.edit(from, to, options), dispose: () => {},
  };
}

test('edits that share work, and are run once where they are the same, give the rows of edits made one by one', async () => {
  const seeds = seedsOf(0);
  const training = task.training(100, seeds.training);
  const interpreted = withEveryValue(task, training, seeds.interpretability);
  const all = await collectActivations(model, interpreted, SITES);
  const activations = new Map(SITES.map((site, i) => [formatSite(site), all[i]!]));
  const own = new Map([...activations].map(([site, values]) => [site, values.rows(0, training.count)]));
  const catalogue = new Catalogue();
  const codes = await fitSupervisedCodes(training, SITES, own, { method: 'mean', parametrization: 'independent' });
  const coupled = await fitSupervisedCodes(training, SITES, own, { method: 'mean', parametrization: 'coupled' });
  for (const [i, site] of SITES.entries()) {
    const mean = gpu.scope(() => meanColumns(own.get(formatSite(site))!).reshape([1, WIDTH]));
    catalogue.setMean(site, mean);
    const add = (name: string, variant: string, dictionary: Dictionary, more: Partial<Entry> = {}) => catalogue.add(site, { name, variant, dictionary, source: 'trained', lambda: null, scale: null, curve: [], ...more });
    for (const made of [codes, coupled]) add(made.get(formatSite(site))!.name, made.get(formatSite(site))!.name, made.get(formatSite(site))!);
    for (const seed of [1, 2]) {
      const sae = randomSae(`topk ${seed}`, await mean.read(), 10 * i + seed);
      add(`topk ${seed}`, 'topk', sae);
      add(`single ${seed}`, 'single', separately(sae));
    }
  }
  await addRankings(gpu, catalogue, SITES, { prompts: interpreted, activations });
  const edits = editsOf(SECTIONS);
  const scored = sampleEdited(task, 8, seeds.evaluation, seeds.counterfactual, edits);
  const selection = sampleEdited(task, 6, seeds.selection, seeds.counterfactual, edits);
  const plan: EditPlan = { ks: [2, 4, 16], ways: ['agnostic', 'aware', 'threshold', 'reconstruction'], ksOf: { reconstruction: [4] }, codeEdits: ['arithmetic', 'zero-ablate', 'subtract'] };
  // Batches that end within spans, so that parts of the prompts meet again.
  const scoring: Scoring = { model, catalogue, sections: SECTIONS, edits, plan, batch: 5 };
  const choice = choose(await selectionDistances(scoring, selection, () => {}), catalogue, SECTIONS, plan);
  const tradeOffs = await measureTradeOff(model, catalogue, SITES, selection.prompts);
  assert.equal(tradeOffs.map(({ dictionary }) => dictionary), SITES.flatMap(() => ['topk 1', 'single 1', 'topk 2', 'single 2']));
  for (const row of tradeOffs) assert.ok(row.l0 > 0 && row.l0 <= 3 && row.error > 0, JSON.stringify(row));
  const approximated = bestByTradeOffs(tradeOffs, catalogue, SECTIONS, plan);
  const measured = await scorePrompts({ ...scoring, approximated }, scored, choice, () => {});
  const rows = controlRows(measured, choice, catalogue, SECTIONS, plan);

  for (const [section, attribute] of [['both', 'S'], ['both', 'IO+Pos'], ['one', 'S']]) {
    const here = rows.filter((row) => row.crossSection === section && row.attribute === attribute);
    const names = (of: string) => here.filter(({ dictionary }) => dictionary.startsWith(of)).map(({ dictionary, k }) => `${dictionary} ${k}`);
    const several = attribute === 'IO+Pos';
    assert.equal(names('supervised'), ['supervised', 'supervised mean coupled'].flatMap((name, i) => {
      const terms = i === 1 && several ? 2 : several ? 2 : 1;
      return [`${name} ${2 * terms}`, `${name} by zero-ablate ${2 * terms}`, `${name} by subtract ${terms}`];
    }));
    assert.equal(names('topk'), ['topk 2', 'topk 4', 'topk 16', ...(several ? [] : ['topk, aware 2']), 'topk, aware 4', 'topk, aware 16', 'topk, threshold 0', 'topk, reconstruction 4']);
    const [shared, single] = ['topk', 'single'].map((of) => here.filter(({ dictionary }) => dictionary.startsWith(of)).map(({ dictionary: _, chosen, ...row }) => ({ ...row, chosen: chosen.map(({ dictionary, ...more }) => ({ ...more, seed: dictionary.at(-1) })) })));
    assert.equal(shared, single);
    const edit = (name: string, k: number) => here.find((row) => row.dictionary === name && row.k === k)!;
    assert.ok(edit('topk, aware', 4).changed! <= 4 && edit('topk, aware', 16).changed! <= 12 && edit('topk, threshold', 0).changed! > 0);
    assert.ok(edit('topk', 4).distance <= edit('topk', 2).distance && edit('topk', 2).distance <= edit('topk', 2).distanceNoEdit);
    for (const row of here.filter(({ dictionary }) => dictionary === 'supervised')) assert.equal([row.accuracyRelative, row.weightRelative].map((v) => v ?? 1), [row.accuracyRelative ?? 1, 0]);
  }
  const reference = rows.find(({ dictionary }) => dictionary === 'supervised')!;
  assert.is(reference.weightNormalised!.mean, 0);

  const first = approximationRows(measured, catalogue, SECTIONS, approximated);
  assert.equal(first.map(({ crossSection, dictionary, selection: how }) => [crossSection, dictionary, how]), ['both', 'one'].flatMap((name) => ['topk', 'single'].map((variant) => [name, variant, 'trade-off'])));
  for (const row of first) {
    assert.ok(Math.abs(row.change!.mean! - row.meanAbsoluteChange) < 1e-9 && row.change!.count === 8);
    assert.is(row.change!.histogram.counts.reduce((a, b) => a + b), 8);
  }
  assert.equal(first[0]!.sufficiency, first[1]!.sufficiency);
  const { weights } = await describe(catalogue, interpreted, SITES, activations);
  for (const row of weights) assert.ok(row.sumsToOne !== false && (row.meanSum === null || Math.abs(row.meanSum - 1) < 1e-4), JSON.stringify(row));

  catalogue.dispose();
  for (const tensor of [...all, ...own.values()]) tensor.dispose();
});

test.run();
