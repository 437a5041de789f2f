import * as assert from 'uvu/assert';
import { columnIds, columnSpaces, Sae, SupervisedCodes } from '../../src/dictionary/index.ts';
import { ShapeError, UsageError } from '../../src/errors.ts';
import { attributeSources, featureDirections, logitEffects } from '../../src/evaluation/feature-effects.ts';
import { featurePage, featurePages, type FeaturePage } from '../../src/evaluation/features.ts';
import { Interpreter } from '../../src/evaluation/interpreter.ts';
import { openSource } from '../../src/files/index.ts';
import { Gpt2, NO_PROCESSING } from '../../src/model/index.ts';
import { collectActivations, grammarFor, IoiTask, parseSite, type IoiPrompts, type SiteAddress } from '../../src/task/index.ts';
import { scaleRows, Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { IOI_MINI } from '../support/models.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('feature pages');
const gpu = await testGpu();
const near = (a: number, b: number, allowed: number, what = ''): void => assert.ok(Math.abs(a - b) <= allowed, `${what} ${a} is not ${b}`);

async function withModel(processing: Partial<typeof NO_PROCESSING>, body: (model: Gpt2, prompts: IoiPrompts) => Promise<void>): Promise<void> {
  const model = await Gpt2.load(gpu, openSource(IOI_MINI), { processing });
  try {
    const prompts = IoiTask.create(model.tokenizer!, await grammarFor(openSource(IOI_MINI))).sample({ count: 14, seed: 2 });
    await gpu.scope(async () => body(model, prompts));
  } finally {
    model.dispose();
  }
}

function randomSae(width: number, features: number, seed: number, options: ConstructorParameters<typeof Sae>[3] = {}): Sae {
  const decoder = scaleRows(Tensor.from(gpu, random(features * width, seed), [features, width]));
  const scaled = (n: number, from: number, by: number): Tensor => Tensor.from(gpu, random(n, from).map((v) => v * by), [n]);
  return new Sae(`${options.variant ?? 'vanilla'} random`, {
    encoder: scaleRows(Tensor.from(gpu, random(features * width, seed + 3), [features, width])), encoderBias: scaled(features, seed + 1, 0.2), decoder, decoderBias: scaled(width, seed + 2, 0.5),
    ...(options.variant === 'gated' ? { magnitudeScale: scaled(features, seed + 4, 0.3), magnitudeBias: scaled(features, seed + 5, 0.3) } : {}),
  }, {}, options);
}

const rowsOf = (values: Float32Array, width: number): Float64Array[] => Array.from({ length: values.length / width }, (_, r) => Float64Array.from(values.subarray(r * width, (r + 1) * width)));
const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).reduce((sum, value, i) => sum + value * b[i]!, 0);

test('contributions of source positions and biases add up to the pre-activation, and each is pattern times value', () => withModel({}, async (model, prompts) => {
  const site = parseSite('z@L2H1@end');
  const sae = randomSae(32, 20, 1);
  const places = [0, 3, 7, 11].map((p, i) => ({ tokens: prompts.tokens[p]!, position: i === 3 ? 5 : prompts.positions.end![p]!, feature: [2, 9, 9, 14][i]! }));
  const found = await attributeSources(model, site, sae, places);
  const run = model.run(places.map(({ tokens }) => tokens), { cache: ['blocks.2.attn.hook_pattern', 'blocks.2.attn.hook_v', 'blocks.2.attn.hook_z'], logits: 'none' });
  const [pattern, v, z, encoder, bias, decoderBias] = (await Promise.all([run.get('blocks.2.attn.hook_pattern'), run.get('blocks.2.attn.hook_v'), run.get('blocks.2.attn.hook_z'), sae.weights.encoder, sae.weights.encoderBias, sae.weights.decoderBias].map((t) => t.read()))) as [Float32Array, Float32Array, Float32Array, Float32Array, Float32Array, Float32Array];
  const T = run.length;
  run.dispose();
  const e = rowsOf(encoder, 32);
  places.forEach(({ position, feature }, i) => {
    const { bySource, constant, preActivation } = found[i]!;
    assert.is(bySource.length, position + 1);
    const at = (values: Float32Array, s: number): Float32Array => values.subarray(((i * T + s) * 4 + 1) * 32, ((i * T + s) * 4 + 2) * 32);
    const exact = dot(e[feature]!, at(z, position).map((value, k) => value - decoderBias[k]!)) + bias[feature]!;
    near(preActivation, exact, 1e-4);
    near(bySource.reduce((a, b) => a + b, 0) + constant, exact, 1e-4, 'closure');
    bySource.forEach((share, s) => near(share, pattern[((i * 4 + 1) * T + position) * T + s]! * dot(e[feature]!, at(v, s)), 1e-5));
  });
}));

test('effects on logits: by hand, and the same whether norms are folded or not', async () => {
  const site = parseSite('z@L1H2@end');
  const direction = random(32 * 3, 6);
  const found: Float32Array[][] = [];
  for (const processing of [{}, { foldLn: true, centerWritingWeights: true, centerUnembed: true }]) {
    await withModel(processing, async (model) => { found.push((await logitEffects(model, site, Tensor.from(gpu, direction, [3, 32])))!); });
  }
  await withModel({}, async (model) => {
    const { blocks, unembed, finalNorm } = model.weights;
    const [out, table, gain] = (await Promise.all([blocks[1]!.outWeight, unembed, finalNorm!.weight].map((t) => t.read()))) as [Float32Array, Float32Array, Float32Array];
    for (const [row, effects] of found[0]!.entries()) {
      const written = Array.from({ length: 128 }, (_, d) => Array.from({ length: 32 }, (_, k) => direction[row * 32 + k]! * out[(2 * 32 + k) * 128 + d]!).reduce((a, b) => a + b, 0));
      const mean = written.reduce((a, b) => a + b, 0) / 128;
      const plain = rowsOf(table, 128).map((u) => dot(u, written.map((value, d) => (value - mean) * gain[d]!)));
      const centre = plain.reduce((a, b) => a + b, 0) / plain.length;
      assert.ok(relativeError(effects, plain.map((value) => value - centre)) < 1e-5);
      assert.ok(relativeError(found[1]![row]!, effects) < 1e-4, 'with folded norms');
    }
    assert.is(await logitEffects(model, parseSite('q@L1H2@end'), Tensor.from(gpu, direction, [3, 32])), null);
    // The direction of a feature is its decoder row, whatever the bias.
    const sae = randomSae(32, 6, 3);
    const [directions, decoder] = await Promise.all([featureDirections(sae, gpu, [4, 1]).read(), sae.weights.decoder.read()]);
    assert.ok(relativeError(directions, [...decoder.subarray(4 * 32, 5 * 32), ...decoder.subarray(32, 64)]) < 1e-5);
  });
});

test('pages: examples, activity and interpretations by brute force, on prompts and on other text', () => withModel({}, async (model, prompts) => {
  const site = parseSite('z@L3H1@end');
  const [activations] = await collectActivations(model, prompts, [site]);
  const sae = randomSae(32, 40, 5);
  const examples = { activations: activations!, attributes: {} };
  const codes = rowsOf(await sae.encode(examples).read(), 40);
  const interpreter = new Interpreter(gpu, prompts);
  const { interpretations } = await gpu.scope(() => interpreter.interpret(sae.encode(examples), site.position));
  interpreter.dispose();
  // Text of several lengths, one beginning with the beginning-of-sequence token, and one longer than the context.
  const bos = model.tokenizer!.bos!;
  const sequences = [[bos, 5, 9, 100, 7], [3, 4, 5], Array.from({ length: 70 }, (_, i) => (i * 37) % 900), [8]];
  const pages = await featurePages(model, prompts, [{ site, name: 'vanilla', dictionary: sae, examples, interpretations }], {
    pages: 4, examples: 3, tokens: 5, context: 2, streams: [{ name: 'text', sequences }],
  });
  assert.is(pages.length, 4);
  const byF1 = [...interpretations].sort((a, b) => b.f1 - a.f1 || b.active - a.active || a.feature - b.feature).slice(0, 4);
  assert.equal(pages.map(({ feature }) => feature), byF1.map(({ feature }) => feature));
  const inText = await gpu.scope(async () => Promise.all(sequences.map(async (tokens, index) => {
    const length = Math.min(64, tokens.length);
    const run = model.run([tokens.slice(0, 64)], { captures: [], cache: 'blocks.3.attn.hook_z', logits: 'none' });
    const z = rowsOf(await run.get('blocks.3.attn.hook_z').read(), 128).slice(0, length);
    run.dispose();
    const own = rowsOf(await sae.encode({ activations: Tensor.from(gpu, Float32Array.from(z.flatMap((row) => [...row.subarray(32, 64)])), [length, 32]) }).read(), 40);
    return own.map((row, position) => ({ index, position, row })).filter(({ position }) => !(position === 0 && tokens[0] === bos));
  })));
  for (const [i, given] of pages.entries()) {
    const page: FeaturePage = featurePage.parse(given);
    const { feature } = page;
    assert.is(page.interpretation!.property, byF1[i]!.property);
    const here = codes.map((row) => row[feature]!);
    checkActivity(page.activity[0]!, 'prompts', here);
    checkActivity(page.activity[1]!, 'text', inText.flat().map(({ row }) => row[feature]!));
    const best = here.map((code, index) => ({ code, index })).filter(({ code }) => code > 0).sort((a, b) => b.code - a.code || a.index - b.index).slice(0, 3);
    const shown = page.examples.filter(({ source }) => source === 'prompts');
    assert.equal(shown.map(({ index }) => index), best.map(({ index }) => index));
    for (const example of shown) {
      near(example.activation, here[example.index]!, 1e-4);
      assert.is(example.tokens.join(''), model.tokenizer!.decode(prompts.tokens[example.index]!));
      assert.is(example.position, prompts.positions.end![example.index]);
      // The code of a vanilla dictionary is the pre-activation where that is above zero.
      near(example.attribution!.preActivation, example.activation, 1e-3);
      near(example.attribution!.bySource.reduce((a, b) => a + b, 0) + example.attribution!.constant, example.attribution!.preActivation, 1e-3);
    }
    const ofText = inText.map((list) => list.reduce((most, { row, position, index }) => (row[feature]! > most.code ? { code: row[feature]!, position, index } : most), { code: 0, position: -1, index: -1 }))
      .filter(({ code }) => code > 0).sort((a, b) => b.code - a.code).slice(0, 3);
    const found = page.examples.filter(({ source }) => source === 'text');
    assert.equal(found.map(({ index, position }) => [index, position]), ofText.map(({ index, position }) => [index, position]));
    for (const { index, first, position, tokens } of found) {
      assert.is(first, Math.max(0, position - 2));
      assert.is(tokens[position - first], model.tokenizer!.token(sequences[index]![position]!));
      assert.ok(tokens.length <= 5);
    }
    const [effects] = (await logitEffects(model, site, featureDirections(sae, gpu, [feature])))!;
    const sorted = [...effects!].sort((a, b) => b - a);
    page.logits!.top.forEach(({ id, token, effect }, rank) => {
      near(effect, sorted[rank]!, 1e-5);
      assert.is(token, model.tokenizer!.token(id));
    });
    near(page.logits!.bottom[0]!.effect, sorted.at(-1)!, 1e-5);
    assert.is(page.logits!.bottom.length, 5);
  }
}));

function checkActivity(found: FeaturePage['activity'][number], source: string, codes: number[]): void {
  const active = codes.filter((code) => code !== 0);
  assert.is(found.source, source);
  assert.is(found.positions, codes.length);
  near(found.density, active.length / codes.length, 1e-12);
  if (active.length === 0) return assert.equal([found.mean, found.most], [null, null]);
  near(found.mean!, active.reduce((a, b) => a + b, 0) / active.length, 1e-3);
  near(found.most!, Math.max(...active), 1e-3);
  assert.is(found.bins.reduce((a, b) => a + b, 0), active.length);
  assert.ok(found.bins.at(-1)! >= 1);
}

test('other kinds of sites and dictionaries say what is not known of them', () => withModel({}, async (model, prompts) => {
  const sites = ['v@L1H0@s2', 'q@L2H3@end', 'z@L2H2@end'].map((text) => parseSite(text)) as [SiteAddress, SiteAddress, SiteAddress];
  const [v, q, zs] = await collectActivations(model, prompts, sites) as [Tensor, Tensor, Tensor];
  const spaces = columnSpaces(prompts).filter(({ name }) => ['IO', 'S', 'Pos'].includes(name));
  const attributes = columnIds(prompts);
  const supervised = SupervisedCodes.fit({ activations: zs, attributes }, { spaces });
  const streams = [{ name: 'text', sequences: [[1, 2, 3]] }];
  const [ofV, ofQ, ofZ, ofGated] = await featurePages(model, prompts, [
    { site: sites[0], name: 'topk', dictionary: randomSae(32, 20, 7, { variant: 'topk', k: 3, signed: true }), examples: { activations: v, attributes }, features: [5] },
    { site: sites[1], name: 'vanilla', dictionary: randomSae(32, 20, 8), examples: { activations: q, attributes }, features: [1] },
    { site: sites[2], name: 'supervised', dictionary: supervised, examples: { activations: zs, attributes }, features: [supervised.features - 1] },
    { site: sites[2], name: 'gated', dictionary: randomSae(32, 20, 9, { variant: 'gated' }), examples: { activations: zs, attributes } },
  ], { pages: 1, streams });
  assert.ok(ofV!.logits && /attention/.test(ofV!.logitsNote!) && /own position/.test(ofV!.attributionNote!));
  assert.is(ofQ!.logits, null);
  assert.match(ofQ!.logitsNote!, /attention only/);
  assert.ok(ofQ!.examples.every(({ attribution }) => attribution === null));
  assert.equal([ofV, ofQ, ofZ].map((page) => page!.activity.length), [2, 2, 1]);
  assert.match(ofZ!.attributionNote!, /labels/);
  near(ofZ!.activity[0]!.density, [...prompts.attributes.Pos!.ids].filter((id) => id === 1).length / prompts.count, 1e-12);
  assert.is(ofGated!.interpretation, null);
  assert.ok(ofGated!.examples.length > 0 && ofGated!.examples.every(({ attribution }) => attribution !== null));
  const study = { site: sites[1], name: 'vanilla', dictionary: randomSae(32, 20, 8), examples: { activations: q, attributes } };
  for (const [bad, kind] of [[{ ...study, features: [20] }, UsageError], [{ ...study, examples: { activations: q.rows(0, 3), attributes } }, ShapeError]] as const) {
    const error = await featurePages(model, prompts, [bad]).then(() => null, (e: unknown) => e);
    assert.ok(error instanceof kind, String(error));
  }
}));

test('dictionaries of the residual stream and of all heads together: what they write, and where they are active', () => withModel({}, async (model, prompts) => {
  const places = ['blocks.2.hook_resid_pre', 'blocks.1.attn.hook_z', 'blocks.3.mlp.hook_post', 'blocks.3.attn.hook_q'].map((hook) => ({ hook, position: 's2' }));
  const activations = await collectActivations(model, prompts, places);
  const [out, mlpOut, table, gain] = (await Promise.all([model.weights.blocks[1]!.outWeight, model.weights.blocks[3]!.mlpOutWeight, model.weights.unembed, model.weights.finalNorm!.weight].map((t) => t.read()))) as [Float32Array, Float32Array, Float32Array, Float32Array];
  const sequences = [[5, 9, 100, 7], [3, 4]];
  for (const [i, place] of places.entries()) {
    const width = activations[i]!.shape[1]!;
    const sae = randomSae(width, 30, 20 + i);
    const examples = { activations: activations[i]!, attributes: {} };
    const [page] = await featurePages(model, prompts, [{ site: place, name: 'vanilla', dictionary: sae, examples, features: [7] }], { tokens: 3, streams: [{ name: 'text', sequences }] });
    assert.is(page!.site, `${place.hook}@s2`);
    checkActivity(page!.activity[0]!, 'prompts', rowsOf(await sae.encode(examples).read(), 30).map((row) => row[7]!));
    const run = model.run(sequences, { cache: place.hook, logits: 'none' });
    const codes = rowsOf(await sae.encode({ activations: run.get(place.hook).reshape([8, width]) }).read(), 30);
    run.dispose();
    checkActivity(page!.activity[1]!, 'text', [0, 1, 2, 3, 4, 5].map((row) => codes[row]![7]!));
    assert.ok(page!.examples.every(({ attribution }) => attribution === null));
    assert.match(page!.attributionNote!, place.hook.endsWith('_z') ? /all heads/ : /no head/);
    if (place.hook.endsWith('_q')) {
      assert.is(page!.logits, null);
      continue;
    }
    const direction = (await sae.weights.decoder.read()).subarray(7 * width, 8 * width);
    const weight = [null, out, mlpOut][i]!;
    const written = weight ? Array.from({ length: 128 }, (_, d) => direction.reduce((sum, value, k) => sum + value * weight[k * 128 + d]!, 0)) : Array.from(direction);
    const mean = written.reduce((a, b) => a + b, 0) / 128;
    const plain = rowsOf(table, 128).map((u) => dot(u, written.map((value, d) => (value - mean) * gain[d]!)));
    const centre = plain.reduce((a, b) => a + b, 0) / plain.length;
    const best = [...plain.keys()].sort((a, b) => plain[b]! - plain[a]!).slice(0, 3);
    assert.equal(page!.logits!.top.map(({ id }) => id), best);
    page!.logits!.top.forEach(({ id, effect }) => near(effect, plain[id]! - centre, 1e-4));
  }
}));

test.run();
