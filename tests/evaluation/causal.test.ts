import * as assert from 'uvu/assert';
import { columnIds, columnSpaces, Sae, SupervisedCodes, type Dictionary } from '../../src/dictionary/index.ts';
import { ShapeError, UsageError } from '../../src/errors.ts';
import { CAUSAL_THRESHOLDS, featurePatchRow, interpretedApproximation, interpretedApproximationRow, patchFeatures, type CausalStudy } from '../../src/evaluation/causal.ts';
import { necessity, sufficiency } from '../../src/evaluation/formulas.ts';
import { concatenate } from '../../src/evaluation/task.ts';
import { openSource } from '../../src/files/index.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { collectActivations, grammarFor, hookOf, IoiTask, parseSite, positionsOf, type IoiPrompts, type Prompts, type SiteAddress } from '../../src/task/index.ts';
import { meanColumns, scaleRows, Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { IOI_MINI } from '../support/models.ts';
import { random } from '../support/numbers.ts';

const test = gpuSuite('causal tests of interpretations');
const gpu = await testGpu();
const SITES = ['z@L3H0@end', 'z@L2H2@end', 'z@L3H3@end'].map((text) => parseSite(text));
/** What carries most of the answer in this model. */
const ANSWER_SITES = [0, 1, 2, 3].map((head) => parseSite(`z@L1H${head}@end`));
const near = (a: number | null, b: number, allowed: number, what = ''): void => assert.ok(a !== null && Math.abs(a - b) <= allowed, `${what} ${a} is not ${b}`);
const mean = (values: ArrayLike<number>): number => Array.from(values).reduce((sum, value) => sum + value, 0) / values.length;

async function withTask(body: (model: Gpt2, task: IoiTask, prompts: IoiPrompts) => Promise<void>): Promise<void> {
  const model = await Gpt2.load(gpu, openSource(IOI_MINI));
  try {
    const task = IoiTask.create(model.tokenizer!, await grammarFor(openSource(IOI_MINI)));
    await gpu.scope(async () => body(model, task, task.sample({ count: 14, seed: 5 })));
  } finally {
    model.dispose();
  }
}

/** Rows of activations as plain lists, site by site. */
type Rows = number[][];
const rows = async (tensor: Tensor): Promise<Rows> => {
  const values = await tensor.read();
  const width = tensor.shape.at(-1)!;
  return Array.from({ length: values.length / width }, (_, r) => Array.from(values.subarray(r * width, (r + 1) * width)));
};

/** Logit differences and predictions with rows of each site put in place, by a plain run from the beginning. */
async function patched(model: Gpt2, prompts: Prompts, sites: readonly SiteAddress[], values: readonly Rows[]): Promise<{ differences: number[]; predictions: number[] }> {
  return gpu.scope(async () => {
    const run = model.run(prompts.tokens, {
      edits: sites.map((site, i) => ({ hook: hookOf(site), head: site.head, positions: positionsOf(prompts, site.position), values: Tensor.from(gpu, Float32Array.from(values[i]!.flat()), [prompts.count, values[i]![0]!.length]) })),
    });
    const logits = await rows(run.logits!);
    run.dispose();
    return {
      differences: logits.map((row, p) => row[prompts.correct[p]!]! - row[prompts.incorrect[p]!]!),
      predictions: logits.map((row) => row.indexOf(Math.max(...row))),
    };
  });
}

/** What is left of activations when the features that a question picks are taken out, or taken from elsewhere, from the definition. */
const combine = (base: Rows, codes: Rows, decoder: Rows, sign: number, picked: (feature: number) => boolean): Rows => base.map((row, p) => row.map((value, k) => value + sign * decoder.reduce((sum, d, f) => sum + (picked(f) ? codes[p]![f]! * d[k]! : 0), 0)));

function randomSae(width: number, seed: number): Sae {
  const features = 40;
  const decoder = scaleRows(Tensor.from(gpu, random(features * width, seed), [features, width]));
  const scaled = (n: number, from: number, by: number): Tensor => Tensor.from(gpu, random(n, from).map((v) => v * by), [n]);
  return new Sae('vanilla random', { encoder: decoder.clone(), encoderBias: scaled(features, seed + 1, 0.1), decoder, decoderBias: scaled(width, seed + 2, 0.3) });
}

/** Two features for each axis, one for its positive and one for its negative side: reconstructions are exact. */
function exactSae(width: number): Sae {
  const rowsOfBoth = Float32Array.from({ length: 2 * width * width }, (_, i) => (i % width === Math.floor(i / width) % width ? (i < width * width ? 1 : -1) : 0));
  const weights = Tensor.from(gpu, rowsOfBoth, [2 * width, width]);
  return new Sae('vanilla exact', { encoder: weights.clone(), encoderBias: Tensor.zeros(gpu, [2 * width]), decoder: weights, decoderBias: Tensor.zeros(gpu, [width]) });
}

interface Site { site: SiteAddress; activations: Rows; mean: Tensor; dictionary: Sae; bestF1: number[] }

async function randomSites(model: Gpt2, prompts: Prompts, sites: readonly SiteAddress[]): Promise<Site[]> {
  const tensors = await collectActivations(model, prompts, sites);
  return Promise.all(sites.map(async (site, i) => ({
    site, activations: await rows(tensors[i]!), mean: meanColumns(tensors[i]!).reshape([1, tensors[i]!.shape[1]!]), dictionary: randomSae(tensors[i]!.shape[1]!, 10 * i + 1),
    bestF1: Array.from(random(40, 70 + i), (x) => (x + 1) / 2),
  })));
}

const studyOf = (name: string, sites: readonly { site: SiteAddress; dictionary: Dictionary; bestF1: ArrayLike<number>; mean: Tensor }[]): CausalStudy => ({ crossSection: 'out', dictionary: name, sites });

test('sufficiency and necessity of interpretable features of random SAEs equal a plain computation', () => withTask(async (model, _task, prompts) => {
  const sites = await randomSites(model, prompts, SITES);
  const thresholds = [0.3, 0.302, 0.7];
  const progress: number[] = [];
  const found = (await interpretedApproximation(model, prompts, [studyOf('vanilla', sites)], { thresholds, batch: 9, onProgress: (done, total) => progress.push(done / total) })).map((row) => interpretedApproximationRow.parse(row));
  assert.equal(found.map(({ threshold }) => threshold), thresholds);
  assert.is(progress.at(-1), 1);
  const clean = (await patched(model, prompts, [], [])).differences;
  const ablated = (await patched(model, prompts, SITES, await Promise.all(sites.map(async (site) => { const [row] = await rows(site.mean); return site.activations.map(() => row!); })))).differences;
  const codes = await Promise.all(sites.map(({ dictionary, activations }) => rows(dictionary.encode({ activations: Tensor.from(gpu, Float32Array.from(activations.flat()), [activations.length, activations[0]!.length]) }))));
  const decoders = await Promise.all(sites.map(({ dictionary }) => rows(dictionary.weights.decoder)));
  for (const row of found) {
    const without = (picked: (f1: number) => boolean) => patched(model, prompts, SITES, sites.map(({ activations, bestF1 }, i) => combine(activations, codes[i]!, decoders[i]!, -1, (f) => picked(bestF1[f]!))));
    const kept = (await without((f1) => f1 < row.threshold)).differences;
    const removed = (await without((f1) => f1 >= row.threshold)).differences;
    near(row.logitDiffKept, mean(kept), 2e-3, `kept ${row.threshold}`);
    near(row.logitDiffRemoved, mean(removed), 2e-3, `removed ${row.threshold}`);
    near(row.sufficiency, sufficiency(kept, clean).value!, 2e-3);
    near(row.necessity, necessity(removed, ablated, clean).value!, 5e-3);
    const active = (picked: (f1: number) => boolean) => mean(codes.map((list, i) => mean(list.map((own) => own.filter((code, f) => code !== 0 && picked(sites[i]!.bestF1[f]!)).length))));
    near(row.activeInterpretable, active((f1) => f1 >= row.threshold), 1e-5);
    near(row.activeOther, active((f1) => f1 < row.threshold), 1e-5);
    assert.is(row.features, sites.reduce((sum, { bestF1 }) => sum + bestF1.filter((f1) => f1 >= row.threshold).length, 0));
  }
  assert.ok(Math.abs(found[0]!.logitDiffKept - found[2]!.logitDiffKept) > 1e-3, 'the thresholds make no difference here');
}));

test('of features that all stand for something nothing is taken out, and all of it is what Test 1 takes out', () => withTask(async (model, _task, prompts) => {
  const tensors = await collectActivations(model, prompts, SITES);
  const attributes = columnIds(prompts);
  const spaces = columnSpaces(prompts).filter(({ name }) => ['IO', 'S', 'Pos'].includes(name));
  const codes = SupervisedCodes.fitSites(tensors, attributes, { spaces });
  const sites = SITES.map((site, i) => ({ site, dictionary: codes[i]!, bestF1: new Float64Array(codes[i]!.features).fill(1), mean: codes[i]!.mean.reshape([1, codes[i]!.dIn]) }));
  const found = await interpretedApproximation(model, prompts, [studyOf('supervised', sites)], { thresholds: [...CAUSAL_THRESHOLDS, 1, 1.01] });
  const clean = (await patched(model, prompts, [], [])).differences;
  const means = await rows(codes[0]!.mean.reshape([1, codes[0]!.dIn]));
  assert.is(means.length, 1);
  const parts = await Promise.all(SITES.map(async (_, i) => ({ a: await rows(tensors[i]!), mean: (await rows(codes[i]!.mean.reshape([1, codes[i]!.dIn])))[0]!, made: await rows(codes[i]!.decode(codes[i]!.encode({ activations: tensors[i]!, attributes }))) })));
  const ablated = (await patched(model, prompts, SITES, parts.map((part) => part.a.map(() => part.mean)))).differences;
  const residual = (await patched(model, prompts, SITES, parts.map((part) => part.a.map((row, p) => row.map((value, k) => part.mean[k]! + value - part.made[p]![k]!))))).differences;
  for (const row of found.slice(0, -1)) {
    near(row.sufficiency, 1, 1e-4, `t = ${row.threshold}`);
    near(row.necessity, necessity(residual, ablated, clean).value!, 1e-3);
    near(row.activeInterpretable, 3, 1e-6);
    assert.is(row.activeOther, 0);
  }
  const last = found.at(-1)!;
  near(last.logitDiffKept, mean(residual), 1e-3);
  near(last.logitDiffRemoved, mean(clean), 1e-3);
  assert.is(last.features, 0);
}));

test('features taken from counterfactuals: predictions equal a plain computation; prompts with the same answer are left out', () => withTask(async (model, task, prompts) => {
  const counterfactual = task.counterfactual(prompts, ['IO'], { seed: 9 });
  const sites = (await randomSites(model, prompts, ANSWER_SITES)).map((site, i): Site => ({ ...site, dictionary: exactSae(32), bestF1: Array.from(random(64, 30 + i), (x) => (x + 1) / 2) }));
  const others = await Promise.all((await collectActivations(model, counterfactual, ANSWER_SITES)).map(rows));
  const found = await patchFeatures(model, { attribute: 'IO', prompts, counterfactual }, [studyOf('vanilla', sites)], { thresholds: [0, 0.2, 0.8, 1.1], batch: 8 });
  const encode = (site: Site, list: Rows): Promise<Rows> => rows(site.dictionary.encode({ activations: Tensor.from(gpu, Float32Array.from(list.flat()), [list.length, list[0]!.length]) }));
  const own = await Promise.all(sites.map((site) => encode(site, site.activations)));
  const other = await Promise.all(sites.map((site, i) => encode(site, others[i]!)));
  const [decoders, biases] = await Promise.all([Promise.all(sites.map(({ dictionary }) => rows(dictionary.weights.decoder))), Promise.all(sites.map(({ dictionary }) => dictionary.weights.decoderBias.read()))]);
  const clean = (await patched(model, prompts, [], [])).predictions;
  const truth = (await patched(model, prompts, ANSWER_SITES, others)).predictions;
  const share = (predictions: number[], wanted: ArrayLike<number>): number => mean(predictions.map((id, p) => (id === wanted[p] ? 1 : 0)));
  for (const row of found.map((each) => featurePatchRow.parse(each))) {
    const mixed = (fromOther: (f1: number) => boolean) => patched(model, prompts, ANSWER_SITES, sites.map(({ activations, bestF1 }, i) => {
      const base = activations.map(() => Array.from(biases[i]!));
      return combine(combine(base, own[i]!, decoders[i]!, 1, (f) => !fromOther(bestF1[f]!)), other[i]!, decoders[i]!, 1, (f) => fromOther(bestF1[f]!));
    }));
    near(row.faithfulness, share((await mixed((f1) => f1 >= row.threshold)).predictions, counterfactual.correct), 1e-9, `faithfulness ${row.threshold}`);
    const complete = (await mixed((f1) => f1 < row.threshold)).predictions;
    near(row.completeness, share(complete, clean), 1e-9, `completeness ${row.threshold}`);
    near(row.answerKept, share(complete, prompts.correct), 1e-9);
    near(row.groundTruth, share(truth, counterfactual.correct), 1e-9);
    near(row.noPatch, share(clean, counterfactual.correct), 1e-9);
    assert.is(row.prompts, 14);
  }
  assert.ok(found[0]!.groundTruth! > 0.3 && found[0]!.noPatch === 0, 'patches do nothing here');
  // With every feature from the counterfactual its activation is there whole; with none of them nothing is changed.
  assert.equal([found[0]!.faithfulness, found[0]!.completeness], [found[0]!.groundTruth, 1]);
  assert.is(found[3]!.faithfulness, 0);
  assert.ok(found[3]!.completeness! <= 1 - found[0]!.groundTruth!);
  assert.ok(new Set(found.map(({ faithfulness, completeness }) => `${faithfulness} ${completeness}`)).size > 2, 'the thresholds make no difference here');

  // A new subject leaves the answer as it is; a mixture leaves out some.
  const sameAnswer = task.counterfactual(prompts, ['S'], { seed: 9 });
  const [nothing] = await patchFeatures(model, { attribute: 'S', prompts, counterfactual: sameAnswer }, [studyOf('vanilla', sites)], { thresholds: [0.5] });
  assert.is(nothing!.faithfulness, null);
  assert.match(nothing!.note!, /another answer when S changes/);
  const [some] = await patchFeatures(model, { attribute: 'IO', prompts, counterfactual: concatenate(counterfactual.slice(0, 6), sameAnswer.slice(6)) }, [studyOf('vanilla', sites)], { thresholds: [0] });
  assert.is(some!.prompts, 6);
  assert.equal(await patchFeatures(model, { attribute: 'IO', prompts, counterfactual }, []), []);
  near(some!.faithfulness, mean(truth.slice(0, 6).map((id, p) => (id === counterfactual.correct[p] ? 1 : 0))), 1e-9);
  await rejects(() => patchFeatures(model, { attribute: 'IO', prompts, counterfactual: counterfactual.slice(0, 4) }, [studyOf('vanilla', sites)]), UsageError);
  await rejects(() => interpretedApproximation(model, prompts, [studyOf('vanilla', sites.map((site) => ({ ...site, bestF1: [1, 2] })))]), ShapeError);
}));

async function rejects(run: () => Promise<unknown>, kind: typeof UsageError | typeof ShapeError): Promise<void> {
  const error = await run().then(() => null, (e: unknown) => e);
  assert.ok(error instanceof kind, String(error));
}

test.run();
