import * as assert from 'uvu/assert';
import { UsageError } from '../../src/errors.ts';
import { ioiEvaluation, type EvaluationTask } from '../../src/evaluation/index.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { openSource } from '../../src/node.ts';
import { renderReproduction } from '../../src/report/index.ts';
import { runCost, secondsOf } from '../../src/reproduction/cost.ts';
import { Lab } from '../../src/reproduction/lab.ts';
import { STAGE_MAKERS } from '../../src/reproduction/reproduce.ts';
import { addresses, type Stage } from '../../src/reproduction/stage.ts';
import { chosenStages, planReproduction, PRESETS, RELEASED, reproduce, reproductionSchema, reproductionText, settingsOf, stagesOf, type Reproduction, type Settings } from '../../src/reproduction/index.ts';
import { grammarFor, IoiTask, parseSite } from '../../src/task/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { MemoryStore } from '../support/memory-store.ts';

const test = gpuSuite('reproduction');
const gpu = await testGpu();

/** Small enough for a software driver, with everything of the paper's tests in it. */
const settings = settingsOf('workshop', 'reduced', {
  prompts: 6, selectionPrompts: 4, trainPrompts: 64, closePrompts: 4, thresholds: [0.3, 0.8], variants: [{ variant: 'vanilla', values: [0.5, 2] }, { variant: 'topk', values: [2] }], snapshotEpochs: [1, 2],
  training: { features: 16, epochs: 2, batch: 32 }, ks: [2, 4], parametrizations: ['independent', 'coupled'],
  featurePages: { features: 4, examples: 2, unions: 3 },
});
const only = ['tests', 'interpretability', 'causal', 'features', 'geometry', 'parametrizations', 'checkpoints', 'synthetic'];

async function open(): Promise<{ model: Gpt2; task: EvaluationTask }> {
  const source = openSource('models/ioi-mini');
  const model = await Gpt2.load(gpu, source);
  const task = ioiEvaluation(IoiTask.create(model.tokenizer!, await grammarFor(source)));
  const sections = [{ name: 'S', sites: [parseSite('z@L0H3@end'), parseSite('z@L1H0@end')], edits: [['S']] }];
  return { model, task: { ...task, crossSections: () => ({ origin: 'given', sections }) } };
}

const withoutTimes = ({ environment: { times: _times, ...environment }, ...rest }: Reproduction): string => JSON.stringify({ ...rest, environment });

test('killed at several moments and started again, it ends with the same numbers and repeats no finished stage', async () => {
  const { model, task } = await open();
  const whole = new MemoryStore();
  const expected = await reproduce(model, task, whole, { settings, only, versions: {} });
  await check(expected);
  for (const until of [2, whole.writes - 3]) {
    const store = new MemoryStore();
    store.until = until;
    let message = '';
    await reproduce(model, task, store, { settings, only, versions: {} }).catch((error: Error) => { message = error.message; });
    assert.is(message, 'killed', `after ${until} writes`);
    const kept = [...store.files.keys()].filter((name) => name.startsWith('stages/')).length;
    store.until = Infinity;
    const again = await reproduce(model, task, store, { settings, only, versions: {} });
    assert.is(withoutTimes(again), withoutTimes(expected));
    assert.is(again.environment.times.stages.filter(({ reused }) => reused).length, kept);
  }
  // A third time nothing is left to do.
  const last = await reproduce(model, task, whole, { settings, only, versions: {} });
  assert.ok(last.environment.times.stages.every(({ reused }) => reused));
  // Chosen as the arXiv version does, SAEs are kept and the tests made again.
  const released = ['coupled-pos-edit', 'mean-ablate-broadcast', 'shared-selection', 'f1-eval-prompts'];
  const chosen = await reproduce(model, task, whole, { settings: { ...settings, selection: 'tradeoff', released }, only: ['tests'], versions: {} });
  assert.equal(chosen.environment.times.stages.map(({ name, reused }) => `${name} ${reused}`), ['sections true', 'saes true', 'tests false']);
  assert.ok(chosen.results.tests!.control.filter(({ method }) => method === 'agnostic').every(({ chosen: own }) => own.every(({ distance }) => distance === null)));
  assert.ok(chosen.results.tests!.control.some(({ dictionary }) => dictionary === 'supervised by mean-ablate-broadcast'));
  model.dispose();
});

/** What was found fits its schema, has every dictionary and method, and makes a page. */
async function check(found: Reproduction): Promise<void> {
  const parsed = reproductionSchema.parse(JSON.parse(reproductionText(found)));
  const { tests, checkpoints, synthetic } = parsed.results;
  assert.equal([...new Set(tests!.approximation.map(({ dictionary }) => dictionary))].sort(), [
    'supervised', 'supervised mean coupled', 'supervised mse coupled', 'supervised mse independent', 'topk K=2', 'vanilla λ=0.5', 'vanilla λ=2',
  ]);
  assert.equal([...new Set(tests!.control.map(({ method }) => method))].sort(), ['agnostic', 'aware', 'reconstruction', 'supervised', 'threshold']);
  for (const row of tests!.control) assert.ok(row.accuracy >= 0 && row.accuracy <= 1);
  // Two λ at two epochs each; top-k has one K, too few to compare.
  assert.equal([...new Set(checkpoints!.correlations.map(({ variant, dictionaries }) => `${variant} ${dictionaries}`))], ['vanilla 4']);
  assert.ok(checkpoints!.summaries.length > 0 && checkpoints!.summaries.every(({ l0, error, recovered }) => l0.sites > 0 && error.sites > 0 && recovered.sites >= 0));
  // Dictionaries with known answers: made of the supervised codes, they approximate as those do.
  assert.equal([...new Set(synthetic!.features.map(({ dictionary }) => dictionary))], ['synthetic group+value', 'synthetic overlapping', 'synthetic over-fitted']);
  assert.ok(synthetic!.answers.filter(({ test: kind }) => kind === 'approximation').every(({ holds }) => holds === true));
  assert.is(synthetic!.answers.find(({ what, dictionary }) => dictionary === 'synthetic over-fitted' && /precision/.test(what))!.holds, true);
  assert.equal(checkpoints!.tradeOffs.map(({ dictionary, epoch }) => `${dictionary} ${epoch}`).slice(0, 6), [
    'vanilla λ=0.5, epoch 1 1', 'vanilla λ=2, epoch 1 1', 'topk K=2, epoch 1 1', 'vanilla λ=0.5, epoch 2 2', 'vanilla λ=2, epoch 2 2', 'topk K=2, epoch 2 2',
  ]);
  // The best of all epochs comes at least as close, on the prompts that it is chosen on, as the best of the last.
  for (const row of tests!.control.filter(({ method, k }) => method === 'agnostic' && k === 2)) {
    const best = checkpoints!.control.find((own) => own.crossSection === row.crossSection && own.attribute === row.attribute && own.dictionary === row.dictionary && own.k === row.k)!;
    row.chosen.forEach(({ distance }, i) => assert.ok(best.chosen[i]!.distance! <= distance! + 1e-6));
  }
  assert.ok(tests!.control.every(({ pool }) => pool === 'last') && checkpoints!.control.every(({ pool }) => pool === 'overall'));
  assert.is(parsed.results.causal!.approximation.length, 4);
  // Pages join at most as many values as they were asked to, and some do join.
  const { pages, unions } = parsed.results.features!;
  assert.is(unions, 3);
  assert.is(Math.max(...pages.map(({ interpretation }) => (interpretation!.kind.startsWith('union') ? interpretation!.property.split(' or ').length : 1))), 3);
  assert.is(parsed.results.occlusion, null);
  const left = parsed.published.filter(({ measured }) => measured === null);
  assert.ok(left.length > 100 && left.every(({ reason }) => reason !== null));
  // The second task has no model here; its section is drawn of another's rows.
  const page = await renderReproduction({ ...parsed, results: { ...parsed.results, 'greater-than': { prompts: 6, approximation: tests!.approximation, control: tests!.control } } });
  assert.match(page, /Published numbers beside measured ones/);
  for (const id of ['control', 'prompts', 'trade-off', 'weights', 'methods', 'swaps', 'checkpoints', 'foretells', 'sparsity', 'synthetic', 'causal', 'features', 'greater-than']) {
    assert.match(page, new RegExp(`id="${id}"`));
  }
  assert.not.match(page, /NaN|undefined/);
}

/** The same kind of value, but another. */
function altered(value: unknown): unknown {
  if (typeof value === 'number') return value + 1;
  if (typeof value === 'string') return `${value}'`;
  if (Array.isArray(value)) return value.length > 0 ? value.map(altered) : ['lr-decay'];
  if (typeof value === 'object' && value !== null) return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, altered(inner)]));
  return !value;
}

/** The value with what lies at the path altered. */
function alteredAt(value: object, [name, ...rest]: readonly string[]): object {
  const inner = (value as Record<string, unknown>)[name!];
  return { ...value, [name!]: rest.length > 0 ? alteredAt(inner as object, rest) : altered(inner) };
}

/** The object, noting the path of everything that is read of it and of objects within. Lists count whole; an object whose names are asked for counts as read whole. */
function watching<T extends object>(value: T, note: (path: string[]) => void, path: string[] = []): T {
  return new Proxy(value, {
    get(target, key) {
      const inner = Reflect.get(target, key) as unknown;
      if (typeof key === 'symbol') return inner;
      if (typeof inner === 'object' && inner !== null && !Array.isArray(inner)) return watching(inner, note, [...path, key]);
      note([...path, key]);
      return inner;
    },
    ownKeys(target) {
      for (const key of Object.keys(target)) note([...path, key]);
      return Reflect.ownKeys(target);
    },
  });
}

test('every setting that a stage reads is among its inputs: with another value it is another stage', async () => {
  const { model, task } = await open();
  const store = new MemoryStore();
  // As small as can be for what trains; a value of every setting, so that none is absent where it would be read.
  const tiny: Settings = {
    ...settings, training: { ...settings.training, learningRate: 1e-3 }, occlusion: { examples: 64, features: [8], lambdas: [1], epochs: 1, alphas: [0.5] }, overSplitting: { seeds: 1, epochs: 1, lambda: 1 },
  };
  const names = [...only, 'recovered', 'probing', 'mechanism', 'metrics', 'occlusion', 'over-splitting'];
  const done = await reproduce(model, task, store, { settings: tiny, only: names, versions: {} });
  const results = done.results as unknown as Record<string, unknown>;
  const place = await addresses(stagesOf(tiny) as Stage<never>[], 'x');
  const unseen: string[] = [];
  for (const make of STAGE_MAKERS) {
    const reads = new Set<string>();
    const watched = watching(tiny, (path) => reads.add(path.join('.')));
    const stage = make(watched);
    if (done.stages.some(({ name }) => name === stage.name)) {
      // A lab of its own: what another stage had it make would not be read again.
      const lab = new Lab(model, task, watched, store);
      await stage.run(lab, <R>(name: string) => results[name] as R, { onProgress() {} });
      lab.dispose();
    } else {
      // Toys and the second task take long or other models: they are stopped at once, having read their settings.
      const signal = AbortSignal.abort();
      await stage.run(new Lab(model, task, watched, store), () => null, { signal, onProgress() {} }).catch((error: Error) => assert.is(error.name, 'AbortError', stage.name));
    }
    assert.ok(reads.size > 0, stage.name);
    for (const name of reads) {
      const other = alteredAt(tiny, name.split('.')) as Settings;
      if ((await addresses(stagesOf(other) as Stage<never>[], 'x')).get(stage.name) === place.get(stage.name)) unseen.push(`${stage.name}: ${name}`);
    }
  }
  assert.equal(unseen, []);
  model.dispose();
});

test('presets, sizes, stages and released behaviours that do not exist are refused with those that do', () => {
  const refused = (attempt: () => unknown, words: RegExp) => assert.throws(attempt, (error: Error) => error instanceof UsageError && words.test(error.message));
  refused(() => settingsOf('nips', 'paper'), /unknown preset "nips"; there are workshop, arxiv, iclr/);
  refused(() => settingsOf('arxiv', 'huge'), /unknown sizes "huge"; there are paper, reduced/);
  refused(() => settingsOf('arxiv', 'paper', { released: ['lr-decay', 'typo'] }), /unknown released behaviour "typo"; there are .*lr-decay/);
  refused(() => chosenStages(stagesOf(settings), ['control']), /unknown stage "control"; there are sections, saes, tests/);
  assert.equal(chosenStages(stagesOf(settings), ['geometry']).map(({ name }) => name), ['sections', 'saes', 'geometry']);
  for (const preset of PRESETS) for (const sizes of ['paper', 'reduced']) assert.ok(settingsOf(preset, sizes, { released: Object.keys(RELEASED) }).variants.length >= 4);
});

test('a plan has every stage that runs on the model, and grows with its sizes', async () => {
  const { model, task } = await open();
  const ceilings = { copyGBps: 10, gflops: 50, f16Gflops: null, subgroupGops: null, dispatchesPerSecond: 5e4, source: 'wall' } as const;
  const [small, large] = [settings, { ...settings, prompts: 600 }].map((own) => planReproduction(model, task, own, ceilings));
  assert.equal(small!.stages.map(({ name }) => name), stagesOf(settings).map(({ name }) => name));
  for (const { name, operations, bytes, peak, seconds } of small!.stages) assert.ok([operations, bytes, peak, seconds].every((value) => Number.isFinite(value) && value >= 0), name);
  const tests = (plan: typeof small) => plan!.stages.find(({ name }) => name === 'tests')!;
  assert.ok(tests(large).operations > 5 * tests(small).operations, `${tests(large).operations} against ${tests(small).operations}`);
  assert.ok(Math.abs(small!.total.seconds - small!.stages.reduce((sum, { seconds }) => sum + seconds, 0)) < 1e-9);
  model.dispose();
});

test('work of a forward pass: GPT-2 Small takes 24 · 768² operations a layer and position, and less where a run starts late or ends at one position', () => {
  const shape = { layers: 12, heads: 12, width: 768, vocabulary: 50257 };
  const layer = 24 * 768 ** 2;
  const logits = 2 * 768 * 50257;
  const all = runCost(shape, { prompts: 64, positions: 19, batch: 32, logits: 19 });
  assert.is(all.operations, 64 * (12 * (19 * layer + 4 * 19 ** 2 * 768) + 19 * logits));
  assert.is(all.dispatches, 2 * (12 * 9 + 12));
  // With one row of logits the last layer's output and MLP are of one position.
  assert.is(runCost(shape, { prompts: 64, positions: 19, batch: 32 }).operations, 64 * (12 * (19 * layer + 4 * 19 ** 2 * 768) - 18 * 18 * 768 ** 2 + logits));
  // From layer 9 on, its queries, keys and values given, at one position: 2¾ layers.
  assert.is(runCost(shape, { prompts: 64, positions: 1, fromLayer: 9, resumed: true, batch: 64 }).operations, 64 * (2.75 * layer + 3 * 4 * 768 + logits));
  // As far as the attention of layer 9, and no logits: 9¼ layers.
  assert.is(runCost(shape, { prompts: 64, positions: 19, attentionOf: 9, batch: 64 }).operations, 64 * (9.25 * 19 * layer + 9.25 * 4 * 19 ** 2 * 768));
  assert.is(secondsOf({ operations: 4e9, bytes: 1e9, dispatches: 10, peak: 0 }, { operations: 2e9, bytes: 1e9, dispatches: 100 }), 2.1);
});

test.run();
