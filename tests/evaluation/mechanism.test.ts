import * as assert from 'uvu/assert';
import { columnIds, columnSpaces, Sae, SupervisedCodes } from '../../src/dictionary/index.ts';
import { ShapeError, UsageError } from '../../src/errors.ts';
import { compositionSchema, headComposition, type CompositionResult } from '../../src/evaluation/composition.ts';
import { attentionMechanism, attentionSchema, decomposeScores, type ScorePairRow } from '../../src/evaluation/mechanism.ts';
import { boxOf, singledOut, splitActivations, supervisedGroups } from '../../src/evaluation/terms.ts';
import { openSource } from '../../src/files/index.ts';
import { Gpt2, NO_PROCESSING } from '../../src/model/index.ts';
import { collectActivations, grammarFor, hookOf, IoiTask, parseSite, positionsOf, type Prompts, type SiteAddress } from '../../src/task/index.ts';
import { scaleRows, Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { IOI_MINI } from '../support/models.ts';
import { random } from '../support/numbers.ts';

const test = gpuSuite('mechanism');
const gpu = await testGpu();
const FOLDED = { foldLn: true, centerWritingWeights: true, centerUnembed: true, refactorFactoredAttnMatrices: true };

async function withModel(processing: Partial<typeof NO_PROCESSING>, body: (model: Gpt2, prompts: Prompts) => Promise<void>): Promise<void> {
  const model = await Gpt2.load(gpu, openSource(IOI_MINI), { processing });
  try {
    await body(model, IoiTask.create(model.tokenizer!, await grammarFor(openSource(IOI_MINI))).sample({ count: 16, seed: 3 }));
  } finally {
    model.dispose();
  }
}

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).reduce((sum, v, i) => sum + v * b[i]!, 0);
const rowsOf = (values: Float32Array, width: number): Float64Array[] => Array.from({ length: values.length / width }, (_, r) => Float64Array.from(values.subarray(r * width, (r + 1) * width)));
const near = (a: number, b: number, allowed: number, what = ''): void => assert.ok(Math.abs(a - b) <= allowed, `${what} ${a} is not ${b}`);

/** A dictionary with random weights at a site. */
function randomSae(width: number, features: number, seed: number): Sae {
  const decoder = scaleRows(Tensor.from(gpu, random(features * width, seed), [features, width]));
  const scaled = (n: number, from: number, by: number): Tensor => Tensor.from(gpu, random(n, from).map((v) => v * by), [n]);
  return new Sae('vanilla random', { encoder: decoder.clone(), encoderBias: scaled(features, seed + 1, 0.1), decoder, decoderBias: scaled(width, seed + 2, 0.5) });
}

test('splitting an activation loses nothing, and each group is what its features decode to', () => gpu.scope(async () => {
  const [n, d, F] = [5, 6, 9];
  const sae = randomSae(d, F, 1);
  const activations = Tensor.from(gpu, random(n * d, 9).map((v) => 4 * v), [n, d]);
  const groups = singledOut(F, [7, 2]);
  const { names, values } = splitActivations(sae, { activations, attributes: {} }, groups);
  assert.equal([...names], ['bias', 'feature 7', 'feature 2', 'other features', 'error']);
  const [parts, codes, decoder, bias, whole] = (await Promise.all([values, sae.encode({ activations }), sae.weights.decoder, sae.weights.decoderBias, activations].map((t) => t.read()))) as [Float32Array, Float32Array, Float32Array, Float32Array, Float32Array];
  const at = (p: number, term: number, k: number): number => parts[(p * names.length + term) * d + k]!;
  for (let p = 0; p < n; p++) {
    for (let k = 0; k < d; k++) {
      near(names.reduce((sum, _, term) => sum + at(p, term, k), 0), whole[p * d + k]!, 1e-5);
      near(at(p, 0, k), bias[k]!, 1e-6);
      near(at(p, 1, k), codes[p * F + 7]! * decoder[7 * d + k]!, 1e-5);
      near(at(p, 3, k), Array.from({ length: F }, (_, f) => (f === 7 || f === 2 ? 0 : codes[p * F + f]! * decoder[f * d + k]!)).reduce((a, b) => a + b, 0), 1e-5);
    }
  }
  assert.throws(() => splitActivations(sae, { activations, attributes: {} }, singledOut(F + 1, [])), (e: unknown) => e instanceof ShapeError);
}));

test('box of numbers by hand', () => {
  const box = boxOf([3, -1, 2, 0, 1]);
  assert.equal(box, { mean: 1, meanAbsolute: 1.4, least: -1, percentile5: -0.8, quartile1: 0, median: 1, quartile3: 2, percentile95: 2.8, most: 3 });
  assert.throws(() => boxOf([]), (e: unknown) => e instanceof ShapeError);
});

test('pairs of supervised features add up to the scores that the model computes', () => withModel({}, async (model, prompts) => {
  const head = { layer: 3, head: 1 };
  const sites = ['q@L3H1@end', 'k@L3H1@io', 'k@L3H1@s1'].map((text) => parseSite(text));
  await gpu.scope(async () => {
    const activations = await collectActivations(model, prompts, sites);
    const attributes = columnIds(prompts);
    const spaces = columnSpaces(prompts).filter(({ name }) => ['IO', 'S', 'Pos'].includes(name));
    const codes = SupervisedCodes.fitSites(activations, attributes, { spaces });
    const result = attentionSchema.parse(await attentionMechanism(model, prompts, {
      heads: [head], query: 'end', keys: ['io', 's1'], dictionariesAt: (site) => [codes[sites.findIndex(({ kind, position }) => kind === site.kind && position === site.position)]!],
    }));
    const run = model.run(prompts.tokens, { captures: [{ hook: 'blocks.3.attn.hook_attn_scores', head: 1, positions: positionsOf(prompts, 'end') }], logits: 'none' });
    const scores = await run.captured[0]!.read();
    const length = scores.length / prompts.count;
    const score = (position: string): number[] => Array.from(positionsOf(prompts, position), (key, p) => scores[p * length + key]!);
    const mean = (values: number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
    run.dispose();

    assert.equal(result.scores.map(({ keyPosition }) => keyPosition), ['io', 's1', 'io − s1']);
    for (const row of result.scores) {
      const expected = row.keyPosition === 'io − s1' ? score('io').map((v, p) => v - score('s1')[p]!) : score(row.keyPosition);
      near(row.score.mean, mean(expected), 1e-4, row.keyPosition);
      near(row.score.most, Math.max(...expected), 1e-3);
      assert.ok(row.closure < 1e-4 * (1 + row.score.meanAbsolute), `${row.closure}`);
      assert.is(row.prompts, prompts.count);
      const pairs = result.pairs.filter(({ keyPosition }) => keyPosition === row.keyPosition);
      assert.is(pairs.length, 25);
      near(pairs.reduce((sum, { contribution }) => sum + contribution.mean, 0), row.score.mean, 1e-4);
    }

    // One pair written out: u and v are the codes' own vectors, picked by the prompts' labels.
    const [v, u] = await Promise.all([codes[0]!.vectors.read(), codes[1]!.vectors.read()]);
    const width = model.config.headWidth;
    const vectorOf = (list: Float32Array, own: SupervisedCodes, name: string, p: number): Float32Array => {
      const term = own.terms.find(({ columns }) => columns[0] === name)!;
      const feature = term.first + attributes[name]![p]!;
      return list.subarray(feature * width, (feature + 1) * width);
    };
    const plain = Array.from({ length: prompts.count }, (_, p) => dot(vectorOf(v, codes[0]!, 'Pos', p), vectorOf(u, codes[1]!, 'IO', p)) / Math.sqrt(width));
    const found = result.pairs.find((row: ScorePairRow) => row.keyPosition === 'io' && row.query === 'Pos' && row.key === 'IO')!;
    const expected = boxOf(plain);
    for (const name of ['mean', 'median', 'percentile95', 'least'] as const) near(found.contribution[name], expected[name], 1e-4, name);
  });
}));

test('an SAE: the features that move the score most have terms of their own, and all pairs still add up', () => gpu.scope(async () => {
  const [n, d] = [30, 8];
  const examples = (seed: number) => ({ activations: Tensor.from(gpu, random(n * d, seed).map((v) => 3 * v), [n, d]), attributes: {} });
  const [query, key] = [{ position: 'end', examples: examples(1), dictionary: randomSae(d, 12, 5) }, { position: 'io', examples: examples(2), dictionary: randomSae(d, 2000, 6) }];
  const result = await decomposeScores('L0H0', query, [key], { singled: 3 });
  const [row] = result.scores;
  assert.ok(row!.closure < 1e-3);
  assert.is(result.pairs.length, 6 * 6);
  // The most important feature of the query by brute force.
  const [codes, decoder, keys] = (await Promise.all([query.dictionary.encode(query.examples), query.dictionary.weights.decoder, key.examples.activations].map((t) => t.read()))) as [Float32Array, Float32Array, Float32Array];
  const importance = Array.from({ length: 12 }, (_, f) => rowsOf(keys, d).reduce((sum, k, p) => sum + (codes[p * 12 + f]! * dot(decoder.subarray(f * d, (f + 1) * d), k)) ** 2, 0));
  const order = importance.map((_, f) => f).sort((a, b) => importance[b]! - importance[a]!).slice(0, 3);
  assert.equal([...new Set(result.pairs.map((pair) => pair.query))], ['bias', ...order.map((f) => `feature ${f}`), 'other features', 'error']);
}));

/** Sums over whole components, per prompt, cannot be read from boxes: means over prompts are. */
function meanSum(result: CompositionResult): number {
  return result.rows.filter(({ term }) => term === null).reduce((sum, { share }) => sum + share.mean, 0);
}

for (const [title, processing] of [['as loaded', {}], ['with folded norms and refactored heads', FOLDED]] as const) {
  test(`components of queries, keys and values add up, ${title}`, () => withModel(processing, async (model, prompts) => {
    await gpu.scope(async () => {
      const own = Tensor.from(gpu, random(prompts.count * model.config.headWidth, 8), [prompts.count, model.config.headWidth]);
      for (const text of ['q@L2H0@end', 'k@L1H3@s2', 'v@L3H2@io', 'q@L0H1@end']) {
        for (const direction of [null, own]) {
          const result = compositionSchema.parse(await headComposition(model, prompts, { heads: [parseSite(text)], dictionariesAt: () => [], directions: () => direction }));
          const [{ closure, projection }] = result.closures as [CompositionResult['closures'][0]];
          assert.ok(closure < 2e-4 * Math.max(1, projection.meanAbsolute), `${text}: ${closure}`);
          // Shares are of deviations from the mean, so that each component's own varies about zero only weighted by ‖u‖².
          near(meanSum(result), projection.mean, 2e-4 * Math.max(1, projection.meanAbsolute), text);
          const layers = parseSite(text).layer;
          assert.is(result.rows.length, 2 + layers * (model.config.heads + 2) + (direction ? 1 : 0));
        }
      }
    });
  }));
}

test('one component written out, with the exact and with the mean scale', () => withModel({}, async (model, prompts) => {
  const site = parseSite('q@L2H1@end');
  const { width, headWidth } = model.config;
  await gpu.scope(async () => {
    const positions = positionsOf(prompts, 'end');
    const hooks = ['blocks.1.hook_mlp_out', 'blocks.2.ln1.hook_scale'].map((hook) => ({ hook, positions }));
    const run = model.run(prompts.tokens, { captures: [...hooks, { hook: hookOf(site), head: 1, positions }], logits: 'none' });
    const block = model.weights.blocks[2]!;
    const [mlp, scale, q, weight, gamma] = (await Promise.all([...run.captured, block.qkvWeight, block.ln1!.weight].map((t) => t.read()))) as [Float32Array, Float32Array, Float32Array, Float32Array, Float32Array];
    run.dispose();
    const column = headWidth;
    for (const kind of ['exact', 'mean'] as const) {
      const middle = scale.reduce((a, b) => a + b, 0) / scale.length;
      // W (γ ⊙ (c − c̄) / σ), as layer norm has it
      const parts = rowsOf(mlp, width).map((c, p) => {
        const average = c.reduce((a, b) => a + b, 0) / width;
        const sigma = kind === 'exact' ? scale[p]! : middle;
        return Array.from({ length: headWidth }, (_, j) => c.reduce((sum, value, i) => sum + (gamma[i]! * (value - average) * weight[i * 3 * width + column + j]!) / sigma, 0));
      });
      const meanOf = (rows: ArrayLike<number>[]): number[] => Array.from({ length: headWidth }, (_, j) => rows.reduce((sum, row) => sum + row[j]!, 0) / rows.length);
      const [meanPart, queries] = [meanOf(parts), rowsOf(q, headWidth)];
      const meanQuery = meanOf(queries);
      const expected = boxOf(parts.map((part, p) => {
        const u = queries[p]!.map((v, j) => v - meanQuery[j]!);
        return dot(part.map((v, j) => v - meanPart[j]!), u) / dot(u, u);
      }));
      const result = await headComposition(model, prompts, { heads: [site], dictionariesAt: () => [], scale: kind });
      const found = result.rows.find(({ component }) => component === 'mlp L1')!.share;
      for (const name of ['mean', 'median', 'least', 'most'] as const) near(found[name], expected[name], 1e-4, name);
      assert.ok(result.closures[0]!.closure < 1e-4);
      assert.is(result.rows.some(({ component }) => component === 'scale'), kind === 'mean');
    }
  });
}));

test("the terms of an earlier head's output add up to what the head adds", () => withModel({}, async (model, prompts) => {
  const site = parseSite('q@L2H1@end');
  const earlier = parseSite('z@L1H2@end');
  await gpu.scope(async () => {
    const [z] = await collectActivations(model, prompts, [earlier]);
    const spaces = columnSpaces(prompts).filter(({ name }) => ['IO', 'S', 'Pos'].includes(name));
    const codes = SupervisedCodes.fit({ activations: z!, attributes: columnIds(prompts) }, { spaces });
    const sae = randomSae(model.config.headWidth, 40, 2);
    const at = (other: SiteAddress) => (other.layer === 1 && other.head === 2 ? [codes, sae] : []);
    const result = await headComposition(model, prompts, { heads: [site], dictionariesAt: at });
    const whole = result.rows.find(({ component, term }) => component === 'L1H2' && term === null)!;
    for (const name of [codes.name, sae.name]) {
      const terms = result.rows.filter(({ component, dictionary }) => component === 'L1H2' && dictionary === name);
      near(terms.reduce((sum, { share }) => sum + share.mean, 0), whole.share.mean, 1e-4, name);
    }
    assert.equal(result.rows.filter(({ dictionary }) => dictionary === codes.name).map(({ term }) => term), ['bias', 'IO', 'S', 'Pos', 'error']);
    assert.equal(supervisedGroups(codes).names, ['IO', 'S', 'Pos']);
    // A constant has no deviation from its mean but through each prompt's scale; with one scale for all it has none.
    const level = await headComposition(model, prompts, { heads: [site], dictionariesAt: at, scale: 'mean' });
    near(level.rows.find(({ dictionary, term }) => dictionary === codes.name && term === 'bias')!.share.meanAbsolute, 0, 1e-5);
  });
}));

test('sites and positions that are not there', () => withModel({}, async (model, prompts) => {
  const refused = async (work: Promise<unknown>, kind: typeof UsageError): Promise<void> => {
    let error: unknown = null;
    await work.catch((caught: unknown) => { error = caught; });
    assert.instance(error, kind);
  };
  await refused(headComposition(model, prompts, { heads: [parseSite('z@L1H0@end')], dictionariesAt: () => [] }), UsageError);
  await refused(attentionMechanism(model, prompts, { heads: [{ layer: 0, head: 0 }], query: 'end', keys: [], dictionariesAt: () => [] }), UsageError);
}));

test.run();
