/** Dictionaries trained on text in the three tests: where they take part and where not, and perfect ones of whole hooks, which must score as the activations themselves. */
import * as assert from 'uvu/assert';
import { frequentFeatures, Sae, withFeatures } from '../../src/dictionary/index.ts';
import { UnknownSiteError, UsageError } from '../../src/errors.ts';
import type { LoadedDictionary } from '../../src/evaluation/dictionaries.ts';
import { evaluate, type EvaluationOptions } from '../../src/evaluation/evaluate.ts';
import { parseResults, resultsText, type Results } from '../../src/evaluation/results.ts';
import { findSections } from '../../src/evaluation/select-sections.ts';
import { checkPath, checkReading, pathTo, reaches, readingKind } from '../../src/evaluation/serving.ts';
import { ioiEvaluation, type EvaluationTask } from '../../src/evaluation/task.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { collectActivations, grammarFor, IoiTask, parseSite, type CrossSection } from '../../src/task/index.ts';
import { scaleRows, Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { IOI_MINI } from '../support/models.ts';
import { random } from '../support/numbers.ts';
import { refusal } from '../support/refusal.ts';

const test = gpuSuite('dictionaries trained on text');
const gpu = await testGpu();
let loading: Promise<{ model: Gpt2; task: EvaluationTask }> | null = null;
const mini = (): Promise<{ model: Gpt2; task: EvaluationTask }> => loading ??= (async () => {
  const model = await Gpt2.load(gpu, directorySource(IOI_MINI));
  return { model, task: ioiEvaluation(IoiTask.create(model.tokenizer!, await grammarFor(directorySource(IOI_MINI)))) };
})();
test.before(async () => { await mini(); });
test.after(async () => { (await mini()).model.dispose(); });

async function run(options: Partial<EvaluationOptions>): Promise<Results> {
  const { model, task } = await mini();
  const results = await evaluate(model, task, { prompts: 8, selectionPrompts: 4, trainPrompts: 40, dictionaries: [], ...options });
  return parseResults(JSON.parse(resultsText(results)));
}

const section = (name: string, sites: string, edits: string[][] = [['S']]): CrossSection => ({ name, sites: sites.split(',').map((site) => parseSite(site)), edits });

/** Two features for each axis, one for its positive and one for its negative side: reconstructions are exact. */
function exact(width: number): Sae {
  const rows = Float32Array.from({ length: 2 * width * width }, (_, i) => (i % width === Math.floor(i / width) % width ? (i < width * width ? 1 : -1) : 0));
  const decoder = Tensor.from(gpu, rows, [2 * width, width]);
  return new Sae('vanilla exact', { encoder: decoder.clone(), encoderBias: Tensor.zeros(gpu, [2 * width]), decoder, decoderBias: Tensor.zeros(gpu, [width]) });
}

function someSae(width: number, features: number, options: ConstructorParameters<typeof Sae>[3] = {}): Sae {
  const decoder = gpu.scope(() => scaleRows(Tensor.from(gpu, random(features * width, 3), [features, width])));
  const small = (n: number, seed: number): Tensor => Tensor.from(gpu, random(n, seed).map((v) => v / 10), [n]);
  return new Sae('vanilla random', { encoder: decoder.clone(), encoderBias: small(features, 4), decoder, decoderBias: small(width, 5) }, {}, options);
}

const text = (dictionary: Sae, hook: string, head: number | null, more: Partial<LoadedDictionary> = {}): LoadedDictionary => ({
  site: null, reads: { hook, head }, name: 'vanilla (text)', variant: 'vanilla (text)', lambda: 1, scale: null, trainedOn: 'text', dictionary, ...more,
});

test('which sites follow from which hooks, and why not from others', async () => {
  const at = (hook: string, head: number | null, site: string) => pathTo({ hook, head }, parseSite(site));
  assert.is(at('blocks.1.attn.hook_z', 2, 'z@L1H2@end'), 'own');
  assert.is(at('blocks.1.attn.hook_z', null, 'z@L1H2@io'), 'columns');
  assert.is(at('blocks.1.attn.hook_q', null, 'q@L1H0@io'), 'columns');
  for (const kind of ['q', 'k', 'v']) {
    assert.is(at('blocks.1.hook_resid_pre', null, `${kind}@L1H2@end`), 'layer norm');
    assert.is(at('blocks.0.hook_resid_post', null, `${kind}@L1H2@end`), 'layer norm');
  }
  for (const [hook, head, site] of [
    ['blocks.1.attn.hook_z', 2, 'z@L1H3@end'], ['blocks.1.attn.hook_z', 2, 'v@L1H2@end'], ['blocks.1.attn.hook_z', null, 'z@L2H2@end'], ['blocks.1.hook_resid_pre', null, 'z@L1H2@end'],
    ['blocks.1.hook_resid_post', null, 'q@L1H2@end'], ['blocks.1.hook_resid_mid', null, 'q@L1H2@end'],
  ] as const) assert.is(reaches({ hook, head }, parseSite(site)), false, `${hook} ${site}`);
  const kinds = [readingKind({ hook: 'blocks.0.attn.hook_z', head: 1 }), readingKind({ hook: 'blocks.0.attn.hook_z', head: null }), readingKind({ hook: 'blocks.0.hook_resid_post', head: null })];
  assert.equal(kinds, ['', 'all heads', 'residual']);
  const { model: { config } } = await mini();
  const refused = (hook: string, head: number | null, type: typeof UsageError | typeof UnknownSiteError = UsageError) =>
    refusal(() => checkReading({ hook, head }, config, 'x'), type);
  assert.match(await refused('blocks.3.hook_resid_post', null), /behind the last layer there is no head/);
  assert.match(await refused('blocks.1.hook_resid_mid', null), /an MLP, which is not linear/);
  assert.match(await refused('blocks.1.hook_mlp_out', null), /no linear map of the model leads from there/);
  assert.match(await refused('blocks.1.attn.hook_z', 4, UnknownSiteError), /heads 0 to 3/);
  checkReading({ hook: 'blocks.2.hook_resid_post', head: null }, config, 'x');
  assert.match(await refusal(() => checkPath({ hook: 'blocks.1.hook_resid_pre', head: null }, parseSite('z@L1H2@end'), 'x'), UsageError), /z is a sum over positions that attention weighs/);
  assert.match(await refusal(() => checkPath({ hook: 'blocks.1.hook_resid_pre', head: null }, parseSite('q@L2H2@end'), 'x'), UsageError), /heads of layer 2 read another/);
});

test('a dictionary of text takes part at every position of its head, beside one of the task, without its rare features', async () => {
  const own = someSae(32, 40, { frequencies: Float32Array.from({ length: 40 }, (_, f) => (f < 9 ? 0 : 0.1)) });
  const kept = frequentFeatures(own.frequencies!, 1e-6);
  const few = withFeatures(own, kept);
  const site = parseSite('z@L0H3@end');
  const results = await run({
    dictionaries: ['supervised'], ks: [2, 32], crossSections: [section('S out', 'z@L0H3@end'), section('early', 'z@L0H3@s2,z@L0H3@io', [])],
    loaded: [{ site, name: 'vanilla λ=1', variant: 'vanilla', lambda: 1, scale: null, dictionary: own, trainedOn: 'task' }, text(few, 'blocks.0.attn.hook_z', 3, { filter: { kept, dropped: 9, minFrequency: 1e-6 } })],
  });
  assert.equal(results.tests.approximation.map(({ crossSection, dictionary }) => `${crossSection}: ${dictionary}`), ['S out: supervised', 'S out: vanilla λ=1', 'S out: vanilla (text)', 'early: supervised', 'early: vanilla (text)']);
  assert.equal(results.tests.control.filter(({ crossSection }) => crossSection === 'S out').map(({ dictionary, k }) => `${dictionary} ${k}`), [
    'supervised 2', 'vanilla 2', 'vanilla 32', 'vanilla (text) 2', 'vanilla (text) 32',
  ]);
  assert.equal(results.dictionaries.map(({ site: at, name, trainedOn, features, dropped, minFrequency }) => [at, name, trainedOn, features, dropped, minFrequency]), [
    ['z@L0H3@end', 'supervised', undefined, 252, undefined, undefined], ['z@L0H3@end', 'vanilla λ=1', 'task', 40, undefined, undefined], ['z@L0H3@end', 'vanilla (text)', 'text', 31, 9, 1e-6],
    ...['z@L0H3@s2', 'z@L0H3@io'].flatMap((at) => [[at, 'supervised', undefined, 252, undefined, undefined], [at, 'vanilla (text)', 'text', 31, 9, 1e-6]]),
  ]);
  for (const row of results.tests.interpretability) {
    assert.is(row.unionLimit, row.dictionary === 'vanilla (text)' ? 30 : undefined);
    // Numbers are those that features had when the dictionary was loaded.
    if (row.dictionary === 'vanilla (text)') assert.ok(row.best.length > 0 && row.best.every(({ feature }) => feature >= 9 && feature < 40));
  }
  const unions = results.tests.interpretability.flatMap(({ dictionary, best }) => best.filter(({ kind }) => kind.startsWith('union')).map(({ property }) => ({ dictionary, values: property.split(' or ').length })));
  assert.ok(unions.some(({ dictionary, values }) => dictionary === 'vanilla (text)' && values > 10), 'no union of more than ten is best here');
  assert.ok(unions.every(({ dictionary, values }) => values <= (dictionary === 'vanilla (text)' ? 30 : 10)));
  for (const sae of [own, few]) sae.dispose();
});

test('perfect dictionaries of all heads together and of the residual stream score as the activations themselves', async () => {
  const { model } = await mini();
  const whole = exact(model.config.width);
  const answer = [0, 1, 2, 3].map((head) => `z@L1H${head}@end`).join();
  const results = await run({
    ks: [2, 256], crossSections: [section('S in', 'v@L0H3@s2'), section('heads', answer, [['IO']])],
    loaded: [text(whole, 'blocks.0.hook_resid_pre', null), text(whole, 'blocks.1.attn.hook_z', null)],
  });
  for (const row of results.tests.approximation) {
    assert.ok(Math.abs(row.sufficiency! - 1) < 1e-4, `${row.crossSection} ${row.sufficiency}`);
    assert.ok(Math.abs(row.necessity! - 1) < 1e-4, `${row.crossSection} ${row.necessity}`);
    assert.ok(row.meanAbsoluteChange < 1e-3 && Math.abs(row.logitDiffClean - row.logitDiffMeanAblated) > 0.05 * row.logitDiffClean);
  }
  for (const row of results.tests.control) {
    // Through a layer norm more features than dimensions meet in a head, so that taking one after the other may come to rest before the end.
    if (row.k === 256 && row.crossSection === 'heads') assert.ok(row.accuracy === 1 && row.distance < 1e-3 && Math.abs(row.logitDiff - row.logitDiffGroundTruth) < 1e-2, `${row.crossSection} ${row.accuracy} ${row.distance}`);
    else assert.ok(row.distance <= row.distanceNoEdit);
  }
  const of = (crossSection: string, attribute: string, k: number) => results.tests.control.find((row) => row.crossSection === crossSection && row.attribute === attribute && row.k === k)!;
  assert.ok(of('heads', 'IO', 256).accuracyNoEdit < 0.9 && of('heads', 'IO', 256).distanceNoEdit > 0.5, 'the edit makes a difference');
  assert.ok(of('S in', 'S', 256).distance < 0.5 * of('S in', 'S', 256).distanceNoEdit && of('S in', 'S', 256).distance < 0.8 * of('S in', 'S', 2).distance);
  for (const row of results.dictionaries) {
    assert.ok(row.explainedVariance! > 1 - 1e-5, `${row.site} ${row.explainedVariance}`);
    assert.is(row.reads, row.site.startsWith('z') ? 'blocks.1.attn.hook_z' : 'blocks.0.hook_resid_pre');
    assert.match(row.note!, row.site.startsWith('z') ? /columns of the head/ : /scale that of the clean activation/);
    assert.ok(Math.abs(row.l0 - model.config.width) <= 1);
  }
  whole.dispose();
});

test('a dictionary that serves no site is refused before anything is trained, and so are two of one name', async () => {
  const some = someSae(32, 8);
  const message = await refusal(() => run({ loaded: [text(some, 'blocks.0.attn.hook_z', 2)], crossSections: [section('S out', 'z@L0H3@end')] }), UsageError);
  assert.match(message, /reads head 2 of blocks\.0\.attn\.hook_z, but no cross-section has a site that follows from it: they have z@L0H3@end/);
  const twice = [text(some, 'blocks.0.attn.hook_z', 3), { ...text(some, 'blocks.0.attn.hook_z', 3), site: parseSite('z@L0H3@end') }];
  assert.match(await refusal(() => run({ loaded: twice, crossSections: [section('S out', 'z@L0H3@end')] }), UsageError), /two dictionaries at z@L0H3@end would be called vanilla \(text\)/);
  some.dispose();
});

test('where cross-sections are found by patching, the strongest site that a dictionary serves gets one', async () => {
  const { model, task } = await mini();
  const { ranking, sections } = await findSections(model, task, {
    prompts: 4, threshold: 0.2, strong: 0.7, sections: 1, kinds: ['z'], positions: ['end'], seed: 0, extra: [(site) => reaches({ hook: 'blocks.2.attn.hook_z', head: null }, site)],
  });
  const first = ranking.find(({ layer }) => layer === 2)!;
  assert.equal(sections.map(({ sites }) => sites.map(({ layer, head }) => [layer, head])).at(-1), [[2, first.head]]);
  assert.is(sections.length, 2);
});

test('places of whole hooks are collected as the model has them', async () => {
  const { model, task } = await mini();
  const prompts = task.training(5, 1);
  const [residual, z, own] = await collectActivations(model, prompts, [{ hook: 'blocks.2.hook_resid_pre', position: 's2' }, { hook: 'blocks.1.attn.hook_z', position: 'end' }, parseSite('z@L1H2@end')], { batch: 3 });
  const [all, head] = [await z!.read(), await own!.read()];
  assert.equal([residual!.shape, z!.shape], [[5, 128], [5, 128]]);
  for (let p = 0; p < 5; p++) assert.equal(all.slice(p * 128 + 64, p * 128 + 96), head.slice(p * 32, (p + 1) * 32));
  const values = await residual!.read();
  for (let p = 0; p < 5; p++) {
    const run = model.run([prompts.tokens[p]!], { cache: 'blocks.2.hook_resid_pre', logits: 'none' });
    const whole = await run.get('blocks.2.hook_resid_pre').read();
    const at = prompts.positions['s2']![p]!;
    for (let i = 0; i < 128; i++) assert.ok(Math.abs(values[p * 128 + i]! - whole[at * 128 + i]!) < 1e-4);
    run.dispose();
  }
  for (const tensor of [residual!, z!, own!]) tensor.dispose();
});

test.run();
