/** What the explore panel's engine tells, against the library and plain sums. */
import * as assert from 'uvu/assert';
import { loadSae, Sae, saeFiles } from '../../src/dictionary/index.ts';
import { TokenError, UsageError } from '../../src/errors.ts';
import { Interpreter } from '../../src/evaluation/index.ts';
import { memorySource, openSource, type FileSource } from '../../src/files/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { DictionaryEngine } from '../../src/web/engine/dictionaries.ts';
import { SUPERVISED, type PromptAsked } from '../../src/web/engine/explore-facts.ts';
import { ExploreEngine } from '../../src/web/engine/explore.ts';
import { Session } from '../../src/web/engine/session.ts';
import type { Origin } from '../../src/web/protocol.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { fixtureParts, IOI_MINI, modelSource, ROOT } from '../support/models.ts';
import { refusal } from '../support/refusal.ts';

const test = gpuSuite('explore engine');
const gpu = await testGpu();
const near = (a: number, b: number, allowed: number, what = ''): void => assert.ok(Math.abs(a - b) <= allowed, `${what} ${a} is not ${b}`);
const sum = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);

async function filesOf(source: FileSource, names: readonly string[]): Promise<Origin> {
  const files = await Promise.all(names.map(async (path) => ({ path, file: new File([new Uint8Array(await source.bytes(path))], path) })));
  return { kind: 'files', name: source.name, files };
}

const asked = (more: Partial<PromptAsked> = {}): PromptAsked => ({ text: null, seed: 0, bos: null, first: null, second: null, ...more });

/** A session on the tests' device with the embedded model, and one of its dictionaries. */
async function withSession(body: (explore: ExploreEngine, session: Session) => Promise<void>, origin?: Origin): Promise<void> {
  const session = new Session();
  (session as unknown as { opened: typeof gpu }).opened = gpu;
  const explore = new ExploreEngine(session);
  try {
    await session.load(origin ?? (await filesOf(openSource(IOI_MINI), ['config.json', 'model.safetensors', 'tokenizer.json', 'ioi.json'])));
    if (!origin) await new DictionaryEngine(session).add(await filesOf(openSource(`${ROOT}/models/ioi-mini-saes/z-L0H3-end`), ['cfg.json', 'sae_weights.safetensors']), 'z3');
    await body(explore, session);
  } finally {
    session.drop();
  }
}

test('a sample and a typed prompt: tokens, likeliest tokens, two tokens compared', () => withSession(async (explore, { model, ioi }) => {
  const prompts = ioi!.sample({ count: 1, seed: 5 });
  const run = model.run(prompts.tokens);
  const logits = await run.logits!.read();
  run.dispose();
  const found = await explore.predict(asked({ seed: 5 }));
  assert.is(found.text, prompts.texts[0]);
  assert.equal(found.tokens.map(({ id }) => id), prompts.tokens[0]);
  assert.equal(Object.values(found.task!.positions), Object.values(prompts.positions).map((list) => list[0]));
  const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]!);
  assert.equal(found.predictions.map(({ id }) => id), order.slice(0, 10));
  assert.equal([found.pair!.first.id, found.pair!.second.id, found.pair!.from], [prompts.correct[0], prompts.incorrect[0], 'task']);
  near(found.pair!.difference, logits[prompts.correct[0]!]! - logits[prompts.incorrect[0]!]!, 1e-4);
  assert.is(found.pair!.second.rank, 1 + order.indexOf(prompts.incorrect[0]!));
  const total = sum(Array.from(logits, (value) => Math.exp(value)));
  near(found.pair!.second.probability, Math.exp(logits[prompts.incorrect[0]!]!) / total, 1e-6);

  const typed = await explore.predict(asked({ text: prompts.texts[0]!, first: 'Mary', second: '#7' }));
  assert.equal(typed.tokens, found.tokens);
  // A typed sentence of the task's kind is read as its prompt.
  assert.equal([typed.task, typed.taskProblem], [found.task, null]);
  assert.equal([typed.pair!.first.token, typed.pair!.second.id, typed.pair!.from], [' Mary', 7, 'chosen']);
  near(typed.pair!.difference, logits[model.tokenizer!.single(' Mary')!]! - logits[7]!, 1e-4);
  const same = await explore.predict(asked({ text: prompts.texts[0]! }));
  assert.equal(same.pair, found.pair);
  const free = await explore.predict(asked({ text: 'One day Mary went to the' }));
  assert.equal([free.pair!.first.id, free.pair!.second.id, free.pair!.from], [...free.predictions.slice(0, 2).map(({ id }) => id), 'likeliest']);
  assert.is(free.task, null);
  assert.match(free.taskProblem!, /only name/);
  assert.match((await explore.predict(asked({ text: prompts.texts[0]!, bos: true }))).taskProblem!, /begin without/);
  const withBos = await explore.predict(asked({ text: 'One day', bos: true }));
  assert.is(withBos.tokens[0]!.id, model.tokenizer!.bos);
  const unknown = await explore.predict(asked({ text: 'One day', first: 'xylophone' }));
  assert.match(unknown.firstProblem!, /“xylophone” is not one token but \d+: “/);
  assert.is(unknown.pair, null);
  assert.match(await refusal(() => explore.predict(asked({ text: '' })), TokenError), /empty: type a few words/);
  assert.match(await refusal(() => explore.predict(asked({ text: 'and '.repeat(80) })), TokenError), /has \d+ tokens, but the model’s context holds 64: leave out \d+/);
}));

test('effects, sizes and attention at sites', () => withSession(async (explore, { model }) => {
  const { tokens, pair } = await explore.predict(asked({ seed: 2 }));
  const ids = tokens.map(({ id }) => id);
  const [a, b] = [pair!.first.id, pair!.second.id];
  const effects = await explore.effects(ids, a, b);
  near(effects.total, pair!.difference, 1e-3);
  const attention = await explore.attention(ids, 0, 3, ids.length - 1, [a, b]);
  assert.equal([attention.start, attention.end], [0, ids.length]);
  for (const row of attention.weights) near(sum([...row]), 1, 1e-4);
  assert.is(attention.weights[0]![1], 0);
  near(sum(attention.sources!), effects.heads[0]![3]!, 1e-3, 'sources');
  const position = 5;
  const run = model.run([ids], { cache: ['*.hook_q', '*.hook_pattern', '*.hook_mlp_out'], logits: 'none' });
  const [queries, patterns, mlps] = [await explore.sizes(ids, 'q', position), await explore.sizes(ids, 'pattern', position), await explore.sizes(ids, 'mlp_out', position)];
  const { heads, headWidth, width, layers } = model.config;
  for (let layer = 0; layer < layers; layer++) {
    const [q, pattern, mlp] = await Promise.all([`blocks.${layer}.attn.hook_q`, `blocks.${layer}.attn.hook_pattern`, `blocks.${layer}.hook_mlp_out`].map((hook) => run.get(hook).read())) as [Float32Array, Float32Array, Float32Array];
    const own = (values: Float32Array, start: number, count: number): number => Math.hypot(...values.subarray(start, start + count));
    for (let head = 0; head < heads; head++) {
      near(queries[layer]![head]!, own(q, (position * heads + head) * headWidth, headWidth), 1e-3);
      const row = pattern.subarray((head * ids.length + position) * ids.length, (head * ids.length + position) * ids.length + ids.length);
      near(patterns[layer]![head]!, Math.max(...row.subarray(1)), 1e-5);
    }
    assert.is(mlps[layer]!.length, 1);
    near(mlps[layer]![0]!, own(mlp, position * width, width), 1e-3);
  }
  run.dispose();
  // The lens of what the last block leaves is the model's own prediction, here and at an earlier token.
  const answer = await explore.predict(asked({ seed: 2 }));
  const lens = await explore.lens(ids, 'resid_post', ids.length - 1);
  assert.is(lens.length, layers);
  assert.equal(lens[3]!.map(({ id }) => id), answer.predictions.slice(0, 5).map(({ id }) => id));
  lens[3]!.forEach(({ probability }, i) => near(probability, answer.predictions[i]!.probability, 1e-5));
  const within = (await explore.lens(ids, 'resid_post', position))[3]![0]!;
  const cut = model.run([ids.slice(0, position + 1)]);
  const logits = await cut.logits!.read();
  cut.dispose();
  assert.is(within.id, logits.indexOf(Math.max(...logits)));
  // Before the first block there are the embeddings alone.
  assert.equal(await explore.lens([ids[0]!, 7], 'resid_pre', 1).then((rows) => rows[0]), await explore.lens([ids[3]!, 7], 'resid_pre', 1).then((rows) => rows[0]));
  // A long prompt is shown around the position.
  const long = Array.from({ length: 60 }, (_, i) => (i * 31) % 900);
  const part = await explore.attention(long, 1, 2, 55, null);
  assert.equal([part.start, part.end, part.weights.length, part.sources], [12, 60, 48, null]);
  const whole = model.run([long], { cache: 'blocks.1.attn.hook_pattern', logits: 'none' });
  const all = await whole.get('blocks.1.attn.hook_pattern').read();
  whole.dispose();
  assert.equal([...part.weights[40]!], [...all.subarray((2 * 60 + 52) * 60 + 12, (2 * 60 + 52) * 60 + 60)]);
}));

test('features of a dictionary and supervised codes: activations, contributions, effects, reconstruction', () => withSession(async (explore, session) => {
  const { model } = session;
  const { tokens, pair, task } = await explore.predict(asked({ seed: 1 }));
  const ids = tokens.map(({ id }) => id);
  const end = task!.positions.end!;
  const both: [number, number] = [pair!.first.id, pair!.second.id];
  const site = { kind: 'z', layer: 0, head: 3 } as const;
  const found = await explore.features({ ids, site, position: end, dictionary: 'z3', pair: both, task: null });
  const sae = await loadSae(gpu, openSource(`${ROOT}/models/ioi-mini-saes/z-L0H3-end`), { width: 32 });
  const run = model.run([ids], { captures: [{ hook: 'blocks.0.attn.hook_z', head: 3, positions: [end] }], logits: 'none' });
  const [z] = run.captured;
  const [codes, back, decoder, activation] = await gpu.scope(() => {
    const own = sae.encode({ activations: z! });
    return Promise.all([own.read(), sae.decode(own).read(), sae.weights.decoder.read(), z!.read()]);
  });
  const active = [...codes.keys()].filter((feature) => codes[feature] !== 0);
  assert.is(found.active, active.length);
  assert.is(found.features, sae.features);
  assert.equal(found.rows.map(({ feature }) => feature).sort((a, b) => a - b), active);
  near(sum(found.rows.map(({ contribution }) => contribution)), 1, 1e-3, 'contributions');
  for (const { feature, activation: code } of found.rows) near(code, codes[feature]!, 1e-4);
  const error = activation.map((value, i) => value - back[i]!);
  near(found.relativeError, sum([...error].map((v) => v * v)) / sum([...activation].map((v) => v * v)), 1e-4);
  near(found.norm, Math.hypot(...activation), 1e-3);
  // The effect of a feature is that of its decoder row through the head's part of W_O.
  const head = (await explore.effects(ids, ...both)).heads[0]![3]!;
  const [largest] = found.rows;
  const scaled = model.run([ids], { cache: 'ln_final.hook_scale', logits: 'none' });
  const scale = await scaled.get('ln_final.hook_scale').read();
  scaled.dispose();
  const [outWeight, unembed, gamma] = await Promise.all([model.weights.blocks[0]!.outWeight, model.weights.unembed, model.weights.finalNorm!.weight].map((t) => t.read())) as [Float32Array, Float32Array, Float32Array];
  const effectOf = (direction: Float32Array): number => {
    const written = Float64Array.from({ length: 128 }, (_, d) => direction.reduce((total, value, k) => total + value * outWeight[(96 + k) * 128 + d]!, 0));
    const mean = sum([...written]) / 128;
    return sum([...written].map((value, d) => ((value - mean) / scale[end]!) * gamma[d]! * (unembed[both[0] * 128 + d]! - unembed[both[1] * 128 + d]!)));
  };
  near(effectOf(activation), head, 1e-3, 'head');
  near(largest!.effect!, effectOf(decoder.slice(largest!.feature * 32, (largest!.feature + 1) * 32).map((value) => value * largest!.activation)), 1e-3, 'feature');
  const earlier = await explore.features({ ids, site, position: end - 2, dictionary: 'z3', pair: both, task: null });
  assert.ok(earlier.rows.every(({ effect }) => effect === null) && /last token/.test(earlier.effectNote));
  sae.dispose();
  z!.dispose();

  const attributes = Object.fromEntries(Object.entries(task!.attributes).map(([name, { id }]) => [name, id]));
  const codesAt = await explore.features({ ids, site, position: end, dictionary: SUPERVISED, pair: both, task: { position: 'end', attributes } });
  assert.equal(codesAt.rows.map(({ label }) => label).sort(), Object.entries(task!.attributes).map(([name, { value }]) => `${name} = ${value}`).sort());
  near(sum(codesAt.rows.map(({ contribution }) => contribution)), 1, 1e-3);
  assert.ok(codesAt.rows.every(({ activation: code, effect }) => code === 1 && effect !== null));
  // Values are seen through the attention of the last token.
  const v = await explore.features({ ids, site: { kind: 'v', layer: 0, head: 3 }, position: task!.positions.s2!, dictionary: SUPERVISED, pair: both, task: { position: 's2', attributes } });
  const { weights } = await explore.attention(ids, 0, 3, end, null);
  assert.match(v.effectNote, new RegExp(weights[end]![task!.positions.s2!]!.toFixed(3).replace('.', '\\.')));
  assert.match(await refusal(() => explore.features({ ids, site: { kind: 'resid_pre', layer: 0, head: null }, position: end, dictionary: SUPERVISED, pair: null, task: { position: 'end', attributes } }), UsageError), /q, k, v or z/);
  assert.match(await refusal(() => explore.features({ ids, site, position: end, dictionary: 'gone', pair: null, task: null }), UsageError), /no dictionary gone/);
}));

test('what features stand for, and their pages', () => withSession(async (explore, session) => {
  const asking = { dictionary: 'z3', site: { kind: 'z', layer: 0, head: 3 }, position: 'end' } as const;
  const { dictionary } = session.dictionary('z3').loaded;
  const activations = await session.exclusive(() => session.data.activations({ kind: 'z', layer: 0, head: 3, position: 'end' }));
  const { prompts } = session.data;
  const interpreter = new Interpreter(gpu, prompts);
  const plain = await gpu.scope(() => interpreter.interpret(dictionary.encode({ activations, attributes: {} }), 'end'));
  interpreter.dispose();
  const chosen = plain.interpretations.slice(0, 5);
  const found = await explore.interpretations(asking, [...chosen.map(({ feature }) => feature), dictionary.features]);
  assert.equal(found.features.map(({ feature, property, f1 }) => ({ feature, property, f1 })), chosen.map(({ feature, property, f1 }) => ({ feature, property, f1 })));
  assert.is(found.prompts, prompts.count);
  const [x, back] = await gpu.scope(() => Promise.all([activations.read(), dictionary.decode(dictionary.encode({ activations, attributes: {} })).read()]));
  let [error, spread] = [0, 0];
  for (let d = 0; d < 32; d++) {
    const column = Array.from({ length: prompts.count }, (_, p) => x[p * 32 + d]!);
    const mean = sum(column) / column.length;
    column.forEach((value, p) => { spread += (value - mean) ** 2; error += (value - back[p * 32 + d]!) ** 2; });
  }
  near(found.explained, 1 - error / spread, 1e-4);
  const { feature } = chosen[0]!;
  const page = await explore.page(asking, feature);
  assert.equal(page.interpretation!.property, chosen[0]!.property);
  assert.is(page.activity[0]!.positions, prompts.count);
  assert.ok(page.examples.length > 0 && page.examples.every(({ tokens, position }) => position === tokens.length - 1));
  assert.is(page.logits!.top.length, 8);
  assert.match(await refusal(() => explore.page(asking, dictionary.features), UsageError), /features 0 to/);
}));

test('dictionaries of text on the residual stream and on all heads together', () => withSession(async (explore, session) => {
  const { model } = session;
  const { tokens, pair } = await explore.predict(asked({ seed: 6 }));
  const ids = tokens.map(({ id }) => id);
  const both: [number, number] = [pair!.first.id, pair!.second.id];
  const last = ids.length - 1;
  const effects = await explore.effects(ids, ...both);
  const stream = effects.embed + effects.posEmbed + sum(effects.heads.slice(0, 2).flat()) + sum(effects.attentionBias.slice(0, 2)) + sum(effects.mlps.slice(0, 2));
  for (const { hook, site, whole } of [
    { hook: 'blocks.1.hook_resid_post', site: { kind: 'resid_pre', layer: 2, head: null }, whole: stream },
    { hook: 'blocks.1.attn.hook_z', site: { kind: 'z', layer: 1, head: 2 }, whole: sum(effects.heads[1]!) },
  ] as const) {
    // Features ± of every coordinate give any activation back whole, so that their effects add up to the component's own.
    const rows = Tensor.from(gpu, Float32Array.from({ length: 256 * 128 }, (_, i) => (Math.floor(i / 128) % 128 !== i % 128 ? 0 : i < 128 * 128 ? 1 : -1)), [256, 128]);
    const sae = new Sae('plain', { encoder: rows, encoderBias: Tensor.zeros(gpu, [256]), decoder: rows.clone(), decoderBias: Tensor.zeros(gpu, [128]) }, { hook_name: hook });
    const source = memorySource(await saeFiles(sae), 'plain');
    sae.dispose();
    await new DictionaryEngine(session).add(await filesOf(source, await source.list!()), hook);
    const found = await explore.features({ ids, site, position: last, dictionary: hook, pair: both, task: null });
    assert.is(found.active, 128);
    near(found.cosine, 1, 1e-4);
    near(found.relativeError, 0, 1e-6);
    assert.ok(found.rows.length < 128 && found.rows.every(({ contribution }, i) => i === 0 || contribution <= found.rows[i - 1]!.contribution + 1e-9));
    // Of those listed, the effects are those of the activation's own coordinates.
    const run = model.run([ids], { cache: [hook, 'ln_final.hook_scale'], logits: 'none' });
    const [x, scale] = await Promise.all([run.get(hook).read(), run.get('ln_final.hook_scale').read()]);
    run.dispose();
    const [unembed, gamma, out] = await Promise.all([model.weights.unembed, model.weights.finalNorm!.weight, model.weights.blocks[1]!.outWeight].map((t) => t.read())) as [Float32Array, Float32Array, Float32Array];
    const g = Float64Array.from({ length: 128 }, (_, d) => gamma[d]! * (unembed[both[0] * 128 + d]! - unembed[both[1] * 128 + d]!));
    const mean = sum([...g]) / 128;
    const along = Float64Array.from({ length: 128 }, (_, i) => (site.kind === 'z' ? sum(Array.from(g, (value, d) => out[i * 128 + d]! * (value - mean))) : g[i]! - mean) / scale[last]!);
    for (const { feature, effect } of found.rows) near(effect!, x[last * 128 + (feature % 128)]! * along[feature % 128]!, 1e-3);
    near(sum(Array.from(along, (value, i) => value * x[last * 128 + i]!)), whole, 2e-3, 'whole');
    const page = await explore.page({ dictionary: hook, site, position: 's2' }, found.rows[0]!.feature);
    assert.ok(page.examples.length > 0 && page.logits !== null && page.interpretation !== null);
  }
}));

test('a model without a tokenizer or the task is explored by token ids', async () => {
  const { config, tensors } = await fixtureParts();
  const origin = await filesOf(modelSource(config, tensors), ['config.json', 'model.safetensors']);
  await withSession(async (explore, { task }) => {
    assert.is(task, null);
    const first = await explore.predict(asked());
    assert.equal(first.tokens.map(({ id, text }) => [id, text]), [[0, '#0'], [1, '#1'], [2, '#2'], [3, '#3']]);
    const found = await explore.predict(asked({ text: '5, 9 11', first: '4' }));
    assert.equal(found.tokens.map(({ id }) => id), [5, 9, 11]);
    assert.is(found.pair!.first.id, 4);
    assert.match(await refusal(() => explore.predict(asked({ text: '5 five' })), TokenError), /“five” is no token id/);
    assert.match((await explore.predict(asked({ text: '5', second: '#99999' }))).secondProblem!, /there is no token #99999/);
    near((await explore.effects([5, 9, 11], 4, found.pair!.second.id)).total, found.pair!.difference, 1e-3);
    assert.is((await explore.attention([5, 9, 11], 0, 0, 1, null)).weights.length, 3);
  }, origin);
});

test.run();
