import * as assert from 'uvu/assert';
import type { Dictionary, Examples } from '../../src/dictionary/dictionary.ts';
import { evaluate, type EvaluationOptions } from '../../src/evaluation/evaluate.ts';
import { rankSites } from '../../src/evaluation/discover.ts';
import { parseResults, resultsText, withoutTimes, type Results } from '../../src/evaluation/results.ts';
import { contrastFor } from '../../src/evaluation/select-sections.ts';
import { ioiEvaluation, seedsOf, type EvaluationTask } from '../../src/evaluation/task.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { collectActivations, grammarFor, hookOf, IoiTask, parseSite, type CrossSection } from '../../src/task/index.ts';
import { gatherRows, meanColumns, Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';

const test = gpuSuite('evaluation on ioi-mini');

let loaded: Promise<{ model: Gpt2; task: EvaluationTask }> | null = null;

/** One model for all tests of this file, loaded before the first of them counts memory. */
function mini(): Promise<{ model: Gpt2; task: EvaluationTask }> {
  loaded ??= (async () => {
    const source = directorySource('models/ioi-mini');
    const model = await Gpt2.load(await testGpu(), source);
    return { model, task: ioiEvaluation(IoiTask.create(model.tokenizer!, await grammarFor(source))) };
  })();
  return loaded;
}

test.before(async () => { await mini(); });
test.after(async () => { (await mini()).model.dispose(); });

const SITE = parseSite('z@L0H3@end');
const S_OUT: CrossSection = { name: 'S out', sites: [SITE] };

async function run(options: Partial<EvaluationOptions>): Promise<Results> {
  const { model, task } = await mini();
  return evaluate(model, task, { prompts: 40, selectionPrompts: 12, trainPrompts: 120, ...options });
}

test('supervised codes where END reads S: what an independent float64 program found, within sampling error', async () => {
  // That program: 3,000 training and 300 scored prompts; sufficiency 0.98, necessity 0.99, S edits 0.52 without an edit and 0.97 supervised.
  // Here 1,200 and 80: mean codes from 10 prompts a name are noisier, and 0.52 of 80 has a standard error of 0.06.
  const results = await run({ prompts: 80, trainPrompts: 1200, dictionaries: ['supervised'], crossSections: [S_OUT] });
  const [row] = results.tests.approximation;
  assert.ok(Math.abs(row!.sufficiency! - 0.96) < 0.1, `sufficiency ${row!.sufficiency}`);
  assert.ok(Math.abs(row!.necessity! - 0.99) < 0.05, `necessity ${row!.necessity}`);
  const edit = (attribute: string) => results.tests.control.find((control) => control.attribute === attribute)!;
  assert.ok(Math.abs(edit('S').accuracyNoEdit - 0.52) < 0.15, `no edit ${edit('S').accuracyNoEdit}`);
  assert.ok(edit('S').accuracy > 0.88, `supervised ${edit('S').accuracy}`);
  // IO is not represented here: the ground-truth patch changes nothing, and nor does the edit
  assert.is(edit('IO').accuracyNoEdit, 1);
  assert.ok(edit('IO').accuracy > 0.97);
  assert.ok(results.task.accuracy > 0.98 && results.task.logitDiff.mean > 7 && results.task.logitDiff.mean < 9);
  assert.equal(results.tests.control.map(({ k }) => k), [2, 2, 2]);
});

test('z of all heads at END carries the answer: IO edits do nothing without and everything with codes', async () => {
  const sites = [0, 1, 2, 3].flatMap((layer) => [0, 1, 2, 3].map((head) => ({ ...SITE, layer, head })));
  const results = await run({ prompts: 24, trainPrompts: 500, dictionaries: ['supervised'], crossSections: [{ name: 'z at END', sites, edits: [['IO']] }] });
  const [row] = results.tests.control;
  assert.ok(row!.accuracyNoEdit < 0.05 && row!.accuracy > 0.9, `${row!.accuracyNoEdit} ${row!.accuracy}`);
});

/** A dictionary with one feature that gives back what `decode` makes of the activations. */
function synthetic(name: string, reconstruct: (activations: Tensor) => Tensor): { site: typeof SITE; name: string; variant: string; lambda: null; scale: null; dictionary: Dictionary } {
  let last: Tensor | null = null;
  const dictionary: Dictionary = {
    name, dIn: 32, features: 1,
    encode: ({ activations }: Examples) => {
      last = activations;
      return Tensor.from(activations.gpu, new Float32Array(activations.shape[0]!).fill(1), [activations.shape[0]!, 1]);
    },
    decode: () => reconstruct(last!),
    contributions: (codes) => codes.clone(),
    edit: (_source, target) => ({
      activations: target.activations.clone(), weightRemoved: Tensor.from(target.activations.gpu, new Float32Array(target.activations.shape[0]!).fill(1), [target.activations.shape[0]!]),
    }),
    dispose: () => {},
  };
  return { site: SITE, name, variant: name, lambda: null, scale: null, dictionary };
}

test('end points: perfect reconstructions score 1 and 1, the mean scores 0 in necessity, an edit to the target is the ground truth', async () => {
  const { model, task } = await mini();
  const { gpu } = model;
  const [training] = await collectActivations(model, task.training(120, seedsOf(0).training), [SITE]);
  const mean = gpu.scope(() => meanColumns(training!).reshape([1, 32]));
  const identity = synthetic('vanilla identity', (activations) => activations.clone());
  const constant = synthetic('vanilla mean', (activations) => gatherRows(mean, Tensor.from(gpu, new Uint32Array(activations.shape[0]!), [activations.shape[0]!])));
  const results = await run({ dictionaries: [], loaded: [identity, constant], crossSections: [{ ...S_OUT, edits: [['S']] }] });
  const [perfect, nothing] = results.tests.approximation;
  assert.ok(Math.abs(perfect!.sufficiency! - 1) < 1e-5 && Math.abs(perfect!.necessity! - 1) < 1e-5, `${perfect!.sufficiency} ${perfect!.necessity}`);
  assert.ok(perfect!.meanAbsoluteChange < 1e-3);
  assert.ok(Math.abs(nothing!.necessity!) < 1e-4, `${nothing!.necessity}`);
  assert.ok(Math.abs(nothing!.sufficiency! - nothing!.logitDiffMeanAblated / nothing!.logitDiffClean) < 1e-5);
  for (const row of results.tests.control) {
    assert.is(row.accuracy, 1);
    assert.is(row.weightRemoved, 1);
    assert.ok(row.distance < 1e-5 && row.distanceNoEdit > 0.1);
    assert.ok(Math.abs(row.logitDiff - row.logitDiffGroundTruth) < 1e-3);
  }
  for (const tensor of [training!, mean]) tensor.dispose();
});

test('everything together, found cross-sections and trained SAEs: typed, complete, and the same bytes again', async () => {
  const options: Partial<EvaluationOptions> = {
    ks: [1, 2], methods: ['agnostic', 'aware'], selectionPrompts: 6, sae: { lambdas: [1, 2], features: 24, epochs: 3, batch: 64, learningRate: 5e-3 }, prompts: 8, trainPrompts: 64, seed: 3,
    discovery: { prompts: 5, threshold: 0.2, strong: 0.7, sections: 3, kinds: ['z'], positions: ['end'] },
  };
  const phases = new Set<string>();
  const { model, task } = await mini();
  const results = await evaluate(model, task, options, { onProgress: (phase) => phases.add(phase) });
  for (const phase of ['sites', 'training activations', 'SAE training', 'choice of SAEs', 'patched runs', 'interpretation']) assert.ok(phases.has(phase), phase);
  const again = await run(options);
  assert.is(JSON.stringify(withoutTimes(again)), JSON.stringify(withoutTimes(results)));
  const read = parseResults(JSON.parse(resultsText(results)));
  assert.ok(read.crossSections.length > 0 && read.crossSections.every(({ origin, edits }) => origin === 'discovered' && edits.length > 0));
  assert.is(read.sites.length, 4 * 4);
  assert.is(read.sites[0]!.site, 'z@L0H3@end');
  assert.equal(read.crossSections.map(({ name }) => name), ['z@L0H3@end', 'z@end']);
  for (const { name, sites, edits } of read.crossSections) {
    const rows = read.tests.approximation.filter(({ crossSection }) => crossSection === name);
    assert.equal(rows.map(({ dictionary }) => dictionary), ['supervised', 'vanilla λ=1', 'vanilla λ=2']);
    for (const edit of edits) {
      const control = read.tests.control.filter((row) => row.crossSection === name && row.attribute === edit.join('+'));
      assert.equal(control.map(({ dictionary, k }) => `${dictionary} ${k}`), ['supervised 2', 'vanilla 1', 'vanilla 2', 'vanilla, aware 2']);
      for (const row of control.slice(1)) assert.equal(row.chosen.map(({ site }) => site), sites);
    }
  }
  const dictionaries = read.dictionaries.filter(({ variant }) => variant === 'vanilla');
  assert.is(dictionaries.length, 2 * new Set(read.crossSections.flatMap(({ sites }) => sites)).size);
  for (const { curve, features, lambda } of dictionaries) assert.ok(curve.length === 3 && features === 24 && lambda! >= 1);
  // no value of any attribute is missing where features are interpreted
  assert.ok(read.task.interpretabilityPrompts > read.task.trainPrompts);
  for (const row of read.tests.interpretability) {
    assert.is(row.f1.bins.reduce((a, b) => a + b), row.alive);
    if (row.dictionary === 'supervised') assert.is(row.interpretable['0.8'], row.alive);
  }
  for (const row of read.tests.weights) if (row.meanSum !== null) assert.ok(Math.abs(row.meanSum - 1) < 0.05, `${row.site} ${row.dictionary}: ${row.meanSum}`);
});

test('effects of sites equal those of whole runs with the activation put in by hand', async () => {
  const { model, task } = await mini();
  const contrast = contrastFor(task, 4, 1);
  const { prompts, counterfactuals } = contrast;
  const ranking = await rankSites(model, contrast, { threshold: 0.2, kinds: ['q', 'v'], positions: ['io', 's2'] });
  assert.is(ranking.length, 4 * 4 * 2 * 2);
  const differences = async (edit: { text: string; attribute: string } | null): Promise<number[]> => {
    const out: number[] = [];
    for (let i = 0; i < prompts.count; i++) {
      const edits = [];
      let values: Tensor | null = null;
      if (edit) {
        const site = parseSite(edit.text);
        const other = counterfactuals.get(edit.attribute)!;
        const source = model.run([other.tokens[i]!], { captures: [{ hook: hookOf(site), head: site.head, positions: [other.positions[site.position]![i]!] }], logits: 'none' });
        values = source.captured[0]!;
        edits.push({ hook: hookOf(site), head: site.head, positions: [prompts.positions[site.position]![i]!], values });
        source.dispose();
      }
      const result = model.run([prompts.tokens[i]!], { edits });
      const logits = await result.logits!.read();
      out.push(logits[prompts.correct[i]!]! - logits[prompts.incorrect[i]!]!);
      result.dispose();
      values?.dispose();
    }
    return out;
  };
  const clean = await differences(null);
  const scale = clean.reduce((a, b) => a + b) / clean.length;
  for (const [text, attribute] of [['v@L0H3@s2', 'S'], ['v@L0H2@io', 'IO'], ['v@L1H0@io', 'Pos'], ['v@L3H0@s2', 'S'], ['q@L3H3@io', 'IO'], ['q@L1H1@s2', 'S'], ['v@L0H3@s2', 'IO']] as const) {
    const patched = await differences({ text, attribute });
    const effect = patched.reduce((sum, value, i) => sum + Math.abs(value - clean[i]!), 0) / clean.length / scale;
    const row = ranking.find(({ site }) => site === text)!;
    assert.ok(Math.abs(row.byAttribute[attribute]!.effect - effect) < 1e-4, `${text} ${attribute}: ${row.byAttribute[attribute]!.effect} is not ${effect}`);
  }
  assert.is(ranking.find(({ site }) => site === 'q@L3H3@io')!.effect, 0);
});

test('what cannot be evaluated is refused before any work', async () => {
  const fails = async (options: Partial<EvaluationOptions>, pattern: RegExp) => {
    let message = 'nothing was refused';
    await run(options).catch((error: Error) => { message = error.message; });
    assert.match(message, pattern);
  };
  await fails({ dictionaries: ['gated'] }, /unknown dictionary "gated"; there are supervised, vanilla/);
  await fails({ dictionaries: [] }, /there is no dictionary to evaluate/);
  await fails({ crossSections: [{ name: 'a', sites: [{ ...SITE, head: 4 }] }] }, /z@L0H4@end.*heads 0 to 3/);
  await fails({ crossSections: [S_OUT, S_OUT] }, /two cross-sections are called "S out"/);
  await fails({ ks: [0] }, /an edit cannot change 0 features/);
  await fails({ methods: ['greedy' as 'agnostic'] }, /unknown method "greedy".*agnostic, reconstruction, aware, threshold/);
  await fails({ prompts: 0 }, /prompts is 0/);
  const wide = synthetic('vanilla wide', (activations) => activations.clone());
  await fails({ crossSections: [S_OUT], loaded: [{ ...wide, dictionary: { ...wide.dictionary, dIn: 64 } }] }, /width 64, but z@L0H3@end of ioi-mini has width 32/);
});

test('a stopped evaluation rejects and gives its memory back', async () => {
  const { model, task } = await mini();
  for (const stopAt of ['SAE training', 'patched runs']) {
    const controller = new AbortController();
    let stopped = false;
    await evaluate(model, task, {
      prompts: 8, selectionPrompts: 4, trainPrompts: 60, crossSections: [S_OUT], sae: { lambdas: [1], features: 8, epochs: 2, batch: 32 },
    }, { signal: controller.signal, onProgress: (phase) => { if (phase === stopAt) controller.abort(); } }).catch(() => { stopped = true; });
    assert.ok(stopped, stopAt);
  }
});

test.run();
