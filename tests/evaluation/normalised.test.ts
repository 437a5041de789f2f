/**
 * Dictionaries that bring every activation to a scale of its own, wherever changed codes are decoded: against a computation in float64, where a
 * feature adds its code times the scale of the example that it is active on, and the mean is never added to differences.
 */
import * as assert from 'uvu/assert';
import { Sae, type Examples } from '../../src/dictionary/index.ts';
import { interpretedApproximation, patchFeatures } from '../../src/evaluation/causal.ts';
import { Catalogue } from '../../src/evaluation/catalogue.ts';
import { describe } from '../../src/evaluation/dictionaries.ts';
import { evaluate } from '../../src/evaluation/evaluate.ts';
import { featurePages } from '../../src/evaluation/features.ts';
import { selectionDistances } from '../../src/evaluation/scoring.ts';
import { ioiEvaluation, sampleEdited } from '../../src/evaluation/task.ts';
import { groupsFor, singledOut, splitActivations } from '../../src/evaluation/terms.ts';
import { openSource } from '../../src/files/index.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { collectActivations, formatSite, grammarFor, hookOf, IoiTask, parseSite, positionsOf, type IoiPrompts, type Prompts } from '../../src/task/index.ts';
import { meanColumns, Tensor, type RowNormalization } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { IOI_MINI } from '../support/models.ts';
import { random, relativeError } from '../support/numbers.ts';
import { referenceDecode, referenceEncode, type PlainSae } from '../support/sae.ts';

const test = gpuSuite('dictionaries of normalised activations');
const gpu = await testGpu();
const KIND: RowNormalization = 'layer_norm';
const [d, F] = [32, 40];
const plain: PlainSae = {
  features: F, width: d, encoder: Float64Array.from(random(F * d, 1)), encoderBias: Float64Array.from(random(F, 2)),
  decoder: Float64Array.from(random(F * d, 3), (v) => v / 6), decoderBias: Float64Array.from(random(d, 4), (v) => v / 4),
};
const made = (): Sae => {
  const from = (v: Float64Array, shape: number[]): Tensor => Tensor.from(gpu, Float32Array.from(v), shape);
  return new Sae('vanilla normalised', {
    encoder: from(plain.encoder, [F, d]), encoderBias: from(plain.encoderBias, [F]), decoder: from(plain.decoder, [F, d]), decoderBias: from(plain.decoderBias, [d]),
  }, {}, { normalization: KIND });
};

type Rows = number[][];
const rows = async (tensor: Tensor): Promise<Rows> => {
  const values = await tensor.read();
  const width = tensor.shape.at(-1)!;
  return Array.from({ length: values.length / width }, (_, r) => Array.from(values.subarray(r * width, (r + 1) * width)));
};
const mean = (values: ArrayLike<number>): number => Array.from(values).reduce((sum, v) => sum + v, 0) / values.length;

/** What a row is taken apart into: μ + s b, and s f_j of every feature. */
function taken(row: number[]): { bias: number[]; added: number[]; codes: number[] } {
  const shift = mean(row);
  const scale = Math.sqrt(row.reduce((sum, v) => sum + (v - shift) ** 2, 0) / (d - 1)) + 1e-5;
  const codes = referenceEncode(plain, row.map((v) => (v - shift) / scale));
  return { bias: referenceDecode(plain, new Float64Array(F)).map((v) => v * scale + shift), added: codes.map((f) => f * scale), codes };
}
const plus = (base: number[], added: number[], sign: number, picked: (feature: number) => boolean): number[] => base.map((v, k) => v + sign * added.reduce((sum, f, j) => sum + (picked(j) ? f * plain.decoder[j * d + k]! : 0), 0));

const SITES = ['z@L0H3@end', 'z@L1H0@end'].map((site) => parseSite(site));
const bestF1 = Array.from(random(F, 9), (v) => (v + 1) / 2);

async function withTask(body: (model: Gpt2, task: IoiTask, prompts: IoiPrompts) => Promise<void>): Promise<void> {
  const model = await Gpt2.load(gpu, openSource(IOI_MINI));
  try {
    const task = IoiTask.create(model.tokenizer!, await grammarFor(openSource(IOI_MINI)));
    await gpu.scope(async () => body(model, task, task.sample({ count: 10, seed: 5 })));
  } finally {
    model.dispose();
  }
}

/** Logit differences and predictions with rows of each site put in place, by a plain run. */
async function patched(model: Gpt2, prompts: Prompts, values: readonly Rows[]): Promise<{ differences: number[]; predictions: number[] }> {
  return gpu.scope(async () => {
    const run = model.run(prompts.tokens, {
      edits: SITES.map((site, i) => ({ hook: hookOf(site), head: site.head, positions: positionsOf(prompts, site.position), values: Tensor.from(gpu, Float32Array.from(values[i]!.flat()), [prompts.count, d]) })),
    });
    const logits = await rows(run.logits!);
    run.dispose();
    return { differences: logits.map((row, p) => row[prompts.correct[p]!]! - row[prompts.incorrect[p]!]!), predictions: logits.map((row) => row.indexOf(Math.max(...row))) };
  });
}

test('interpretable features taken out, and taken from counterfactuals', () => withTask(async (model, task, prompts) => {
  const sae = made();
  const tensors = await collectActivations(model, prompts, SITES);
  const activations = await Promise.all(tensors.map(rows));
  const studies = [{ crossSection: 'out', dictionary: 'vanilla', sites: SITES.map((site, i) => ({ site, dictionary: sae, bestF1, mean: meanColumns(tensors[i]!).reshape([1, d]) })) }];
  const [row] = await interpretedApproximation(model, prompts, studies, { thresholds: [0.5] });
  for (const [found, picked] of [[row!.logitDiffKept, (f: number) => bestF1[f]! < 0.5], [row!.logitDiffRemoved, (f: number) => bestF1[f]! >= 0.5]] as const) {
    const { differences } = await patched(model, prompts, activations.map((site) => site.map((a) => plus(a, taken(a).added, -1, picked))));
    assert.ok(Math.abs(found - mean(differences)) < 2e-3, `${found} is not ${mean(differences)}`);
  }
  assert.ok(Math.abs(row!.logitDiffKept - row!.logitDiffRemoved) > 0.01);

  const counterfactual = task.counterfactual(prompts, ['IO'], { seed: 9 });
  const others = await Promise.all((await collectActivations(model, counterfactual, SITES)).map(rows));
  const [both] = await patchFeatures(model, { attribute: 'IO', prompts, counterfactual }, studies, { thresholds: [0.5] });
  const mixed = (own: (f: number) => boolean) => patched(model, prompts, activations.map((site, i) => site.map((a, p) => {
    const [from, to] = [taken(a), taken(others[i]![p]!)];
    return plus(plus(from.bias, from.added, 1, own), to.added, 1, (f) => !own(f));
  })));
  const share = (predictions: number[], wanted: ArrayLike<number>): number => mean(predictions.map((id, p) => (id === wanted[p] ? 1 : 0)));
  const clean = (await patched(model, prompts, activations)).predictions;
  assert.is(both!.faithfulness, share((await mixed((f) => bestF1[f]! < 0.5)).predictions, counterfactual.correct));
  assert.is(both!.completeness, share((await mixed((f) => bestF1[f]! >= 0.5)).predictions, clean));
  sae.dispose();
}));

test('activations taken apart into terms, the features that matter most, pages of features, and what a dictionary is like', () => withTask(async (model, _task, prompts) => {
  const sae = made();
  const site = SITES[0]!;
  const [activations] = await collectActivations(model, prompts, [site]);
  const examples: Examples = { activations: activations!, attributes: {} };
  const list = await rows(activations!);
  const { names, values } = splitActivations(sae, examples, singledOut(F, [3, 17]));
  assert.equal(names, ['bias', 'feature 3', 'feature 17', 'other features', 'error']);
  const expected = list.map((a) => {
    const { bias, added } = taken(a);
    const parts = [bias, ...[(f: number) => f === 3, (f: number) => f === 17, (f: number) => f !== 3 && f !== 17].map((picked) => plus(bias.map(() => 0), added, 1, picked))];
    return [...parts, a.map((v, k) => v - parts.reduce((sum, part) => sum + part[k]!, 0))];
  });
  assert.ok(relativeError(await values.read(), expected.flat(2)) < 1e-5);
  const against = Tensor.from(gpu, random(prompts.count * d, 6), [prompts.count, d]);
  const [along] = [await rows(against)];
  const importance = Array.from({ length: F }, (_, f) => mean(list.map((a, p) => (taken(a).added[f]! * Array.from({ length: d }, (__, k) => plain.decoder[f * d + k]! * along[p]![k]!).reduce((x, y) => x + y)) ** 2)));
  const foremost = importance.map((_, f) => f).sort((x, y) => importance[y]! - importance[x]!).slice(0, 3);
  assert.equal((await groupsFor(sae, examples, against, 3)).names.slice(0, 3), foremost.map((f) => `feature ${f}`));

  const [page] = await featurePages(model, prompts, [{ site, name: 'vanilla', dictionary: sae, examples, features: [3] }], { examples: 2 });
  assert.match(page!.attributionNote!, /scale of its own/);
  assert.ok(page!.logits!.top.length > 0 && page!.examples.every(({ attribution }) => attribution === null));
  assert.ok(Math.abs(page!.activity[0]!.density - mean(list.map((a) => (taken(a).codes[3]! > 0 ? 1 : 0)))) < 1e-9);

  const catalogue = new Catalogue();
  catalogue.add(site, { name: 'vanilla', variant: 'vanilla', dictionary: sae, source: 'loaded', lambda: null, scale: null, curve: [] });
  const { dictionaries: [row], weights: [weight] } = await describe(catalogue, prompts, [site], new Map([[formatSite(site), activations!]]));
  const centre = Array.from({ length: d }, (_, k) => mean(list.map((a) => a[k]!)));
  const squares = (parts: (a: number[]) => number[]): number => list.reduce((sum, a) => sum + parts(a).reduce((own, v) => own + v * v, 0), 0);
  const explained = 1 - squares((a) => { const { bias, added } = taken(a); const back = plus(bias, added, 1, () => true); return a.map((v, k) => v - back[k]!); }) / squares((a) => a.map((v, k) => v - centre[k]!));
  assert.ok(Math.abs(row!.explainedVariance! - explained) < 1e-4 * Math.abs(explained), `${row!.explainedVariance} is not ${explained}`);
  assert.ok(Math.abs(row!.l0 - mean(list.map((a) => taken(a).codes.filter((f) => f > 0).length))) < 1e-5);
  assert.is(weight!.sumsToOne, true);
  catalogue.dispose();
  sae.dispose();
}));

test('a whole evaluation by every method; distances that SAEs are chosen by do not depend on how many rows are encoded at once', () => withTask(async (model, own) => {
  const sae = made();
  const task = ioiEvaluation(own);
  const site = SITES[0]!;
  const loaded = [{ site, name: 'vanilla', variant: 'vanilla', lambda: null, scale: null, dictionary: sae }];
  const results = await evaluate(model, task, {
    prompts: 8, selectionPrompts: 5, trainPrompts: 40, dictionaries: [], loaded, ks: [2], methods: ['agnostic', 'reconstruction', 'aware', 'threshold'], crossSections: [{ name: 'out', sites: [site], edits: [['S']] }],
  });
  assert.equal(results.tests.control.map(({ method }) => method), ['agnostic', 'reconstruction', 'aware', 'threshold']);
  assert.ok(results.tests.control[0]!.distance < results.tests.control[0]!.distanceNoEdit);
  assert.ok(results.tests.weights[0]!.sumsToOne && results.tests.approximation[0]!.sufficiency !== null);

  const catalogue = new Catalogue();
  catalogue.add(site, { name: 'vanilla', variant: 'vanilla', dictionary: sae, source: 'loaded', lambda: null, scale: null, curve: [] });
  const sections = [{ name: 'out', sites: [site], edits: [['S']], origin: 'given' as const, effects: {} }];
  const edits = new Map([['S', ['S']]]);
  const scoring = { model, catalogue, sections, edits, plan: { ks: [2], ways: ['agnostic' as const] }, batch: 8 };
  const sample = sampleEdited(task, 11, 1, 2, edits);
  const key = 'distance|z@L0H3@end|S|vanilla|agnostic|2';
  const [whole, parts] = [await selectionDistances(scoring, sample, () => {}), await selectionDistances({ ...scoring, codeBytes: 4 * 4 * F }, sample, () => {})];
  assert.ok(relativeError(parts.get(key), whole.get(key)) < 1e-6 && whole.get(key).length === 11 && whole.get(key).every((v) => v > 0));
  catalogue.dispose();
  sae.dispose();
}));

test.run();
