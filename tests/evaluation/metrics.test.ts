/** SAE metrics against everything computed again, plainly and in float64: the model, the dictionary, and each formula as its source writes it. */
import * as assert from 'uvu/assert';
import { Sae } from '../../src/dictionary/index.ts';
import { UnknownSiteError, UsageError } from '../../src/errors.ts';
import { logitDiffRecovered, measureRecovered } from '../../src/evaluation/ld-recovered.ts';
import { evaluateDictionaries, evaluateMetrics, type MetricsOptions, type PromptStream } from '../../src/evaluation/metrics-run.ts';
import { dictionaryMetricsSchema, MetricTotals, type DictionaryMetrics } from '../../src/evaluation/metrics.ts';
import { saeBenchSchema, saebenchJsonSchema, saebenchResult } from '../../src/evaluation/saebench.ts';
import { ioiEvaluation } from '../../src/evaluation/task.ts';
import { openSafetensors } from '../../src/files/index.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { collectActivations, grammarFor, IoiTask, parseSite } from '../../src/task/index.ts';
import { meanColumns, Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { FIXTURE } from '../support/models.ts';
import { random } from '../support/numbers.ts';
import { referenceRun, referenceWeights, type Activation, type ReferenceWeights } from '../support/reference-gpt2.ts';
import { referenceDecode, referenceEncode, type PlainSae } from '../support/sae.ts';

const test = gpuSuite('SAE metrics');
const SOURCE = directorySource(`${FIXTURE}/model`);
const CONFIG = { layers: 3, heads: 4, width: 48, mlpWidth: 192, vocabulary: 97, epsilon: 1e-5 };
/** Of unequal lengths; 0 is the token that begins prompts. */
const TOKENS = [[0, 17, 3, 88, 41, 2, 60], [0, 9, 9, 30], [0, 77, 1, 64, 50, 23, 23, 8, 9], [0, 5], [0, 31, 92, 31, 7, 12]];
const FEATURES = 23;

let model: Gpt2;
let weights: ReferenceWeights;
test.before(async () => {
  model = await Gpt2.load(await testGpu(), SOURCE);
  weights = await referenceWeights(await openSafetensors(SOURCE));
});
test.after(() => model.dispose());

/** A dictionary whose biases keep some features from ever firing. */
function plain(width: number, seed: number): PlainSae {
  const numbers = (n: number, s: number, scale: number) => Float64Array.from(random(n, s), (x) => Math.fround(scale * x));
  const encoderBias = numbers(FEATURES, seed + 1, 0.3).map((x, i) => (i % 6 === 0 ? -1000 : x));
  return { features: FEATURES, width, encoder: numbers(FEATURES * width, seed, 0.4), encoderBias, decoder: numbers(FEATURES * width, seed + 2, 0.25), decoderBias: numbers(width, seed + 3, 0.1) };
}

async function upload(sae: PlainSae, scale = 1): Promise<Sae> {
  const gpu = await testGpu();
  const tensor = (data: Float64Array, shape: number[], factor = 1) => Tensor.from(gpu, Float32Array.from(data, (x) => x * factor), shape);
  return new Sae('vanilla test', {
    encoder: tensor(sae.encoder, [FEATURES, sae.width]), encoderBias: tensor(sae.encoderBias, [FEATURES], scale),
    decoder: tensor(sae.decoder, [FEATURES, sae.width]), decoderBias: tensor(sae.decoderBias, [sae.width], scale),
  });
}

/** A hook's rows of one prompt, or one head's part of them. */
function rowsOf({ shape, data }: Activation, head?: number): { row: (t: number) => Float64Array; count: number } {
  const all = data.length / shape[0]!;
  const width = head === undefined ? all : all / shape[1]!;
  return { count: shape[0]!, row: (t) => data.subarray(t * all + (head ?? 0) * width, t * all + (head ?? 0) * width + width) };
}

const total = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);
const average = (values: readonly number[]) => total(values) / values.length;
const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => { let sum = 0; for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!; return sum; };
const norm = (a: ArrayLike<number>) => Math.sqrt(dot(a, a));
const minus = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a, (x, i) => x - b[i]!);
const centre = (rows: readonly ArrayLike<number>[]) => Array.from(rows[0]!, (_, i) => average(rows.map((row) => row[i]!)));
const variance = (rows: readonly ArrayLike<number>[]) => { const c = centre(rows); return total(c.map((m, i) => total(rows.map((row) => (row[i]! - m) ** 2)) / (rows.length - 1))); };

/** Everything from scratch. `legacyBatches` are the prompts of each batch. */
function reference(sae: PlainSae, { hook, head, excludeTokens = [], ablate }: MetricsOptions, legacyBatches: number[][]): Omit<DictionaryMetrics, 'notes'> {
  const counts = (id: number) => !excludeTokens.includes(id);
  const x: Float64Array[] = [], xHat: number[][] = [], codes: number[][] = [], owner: number[] = [];
  const losses = { original: [] as number[], sae: [] as number[], ablation: [] as number[], klSae: [] as number[], klAblation: [] as number[], mean: [] as number[], klMean: [] as number[] };
  const passes = [0, 1].flatMap((pass) => TOKENS.map((prompt, p) => ({ pass, p, prompt })));
  for (const { pass, p, prompt } of passes) {
    const run = (edit?: (row: Float64Array, t: number) => void) => referenceRun(weights, CONFIG, prompt, (name, activation) => {
      if (name !== hook || !edit) return;
      const rows = rowsOf(activation, head);
      for (let t = 0; t < rows.count; t++) edit(rows.row(t), t);
    });
    const clean = run();
    const rows = rowsOf(clean.get(hook)!, head);
    if (pass === 0) prompt.forEach((id, t) => {
      if (!counts(id)) return;
      x.push(rows.row(t).slice());
      codes.push(referenceEncode(sae, x.at(-1)!));
      xHat.push(referenceDecode(sae, codes.at(-1)!));
      owner.push(p);
    });
    const logs = (result: Map<string, Activation>) => prompt.map((_, t) => {
      const logits = result.get('logits')!.data.subarray(t * 97, (t + 1) * 97);
      const highest = Math.max(...logits);
      const sum = Math.log(total(Array.from(logits, (l) => Math.exp(l - highest)))) + highest;
      return Array.from(logits, (l) => l - sum);
    });
    const original = logs(clean);
    // The mean is known when all activations are.
    if (pass === 1) {
      const m = centre(x);
      const withMean = logs(run((row, t) => { if (counts(prompt[t]!)) row.set(m); }));
      prompt.forEach((id, t) => {
        if (!counts(id)) return;
        losses.klMean.push(total(original[t]!.map((log, v) => Math.exp(log) * (log - withMean[t]![v]!))));
        if (t + 1 < prompt.length) losses.mean.push(-withMean[t]![prompt[t + 1]!]!);
      });
      continue;
    }
    const withSae = logs(run((row, t) => { if (counts(prompt[t]!)) row.set(referenceDecode(sae, referenceEncode(sae, row.slice()))); }));
    const withZeros = logs(run((row, t) => { if (ablate !== 'scored' || counts(prompt[t]!)) row.fill(0); }));
    prompt.forEach((id, t) => {
      if (!counts(id)) return;
      const kl = (other: number[][]) => total(original[t]!.map((log, v) => Math.exp(log) * (log - other[t]![v]!)));
      losses.klSae.push(kl(withSae));
      losses.klAblation.push(kl(withZeros));
      if (t + 1 === prompt.length) return;
      for (const [name, values] of [['original', original], ['sae', withSae], ['ablation', withZeros]] as const) losses[name].push(-values[t]![prompt[t + 1]!]!);
    });
  }
  const e = x.map((row, i) => minus(row, xHat[i]!));
  const mean = centre(x);
  const legacy = legacyBatches.flatMap((batch) => {
    const own = x.map((_, i) => i).filter((i) => batch.includes(owner[i]!));
    const c = centre(own.map((i) => x[i]!));
    return own.map((i) => 1 - dot(e[i]!, e[i]!) / dot(minus(x[i]!, c), minus(x[i]!, c)));
  });
  const ce = { original: average(losses.original), sae: average(losses.sae), ablation: average(losses.ablation) };
  const kl = { sae: average(losses.klSae), ablation: average(losses.klAblation) };
  const cossim = average(x.map((row, i) => dot(row, xHat[i]!) / norm(row) / norm(xHat[i]!)));
  const l2Ratio = average(x.map((row, i) => norm(xHat[i]!) / norm(row)));
  const bias = average(xHat.map((row) => dot(row, row))) / average(x.map((row, i) => dot(row, xHat[i]!)));
  const l0 = average(codes.map((f) => f.filter((c) => c !== 0).length));
  const l1 = average(codes.map((f) => total(f.map(Math.abs))));
  const fires = (f: number) => codes.flatMap((code, i) => (code[f] !== 0 ? [owner[i]!] : []));
  const features = Array.from({ length: FEATURES }, (_, f) => f);
  const row = (matrix: Float64Array, f: number) => matrix.subarray(f * sae.width, (f + 1) * sae.width);
  const [ceMean, klMean] = [average(losses.mean), average(losses.klMean)];
  const score = (ce.ablation - ce.sae) / (ce.ablation - ce.original);
  return {
    mean_ablation: { ce_loss_with_mean_ablation: ceMean, ce_loss_score: (ceMean - ce.sae) / (ceMean - ce.original), kl_div_with_mean_ablation: klMean, kl_div_score: (klMean - kl.sae) / klMean },
    saelens: {
      model_behavior_preservation: { kl_div_score: (kl.ablation - kl.sae) / kl.ablation, kl_div_with_ablation: kl.ablation, kl_div_with_sae: kl.sae },
      model_performance_preservation: { ce_loss_score: score, ce_loss_with_ablation: ce.ablation, ce_loss_with_sae: ce.sae, ce_loss_without_sae: ce.original },
      reconstruction_quality: {
        explained_variance: 1 - total(e.map((r) => dot(r, r))) / total(x.map((r) => dot(minus(r, mean), minus(r, mean)))),
        explained_variance_legacy: average(legacy), mse: average(e.map((r) => dot(r, r))), cossim,
      },
      shrinkage: { l2_norm_in: average(x.map(norm)), l2_norm_out: average(xHat.map(norm)), l2_ratio: l2Ratio, relative_reconstruction_bias: bias },
      sparsity: { l0, l1 },
      token_stats: { total_tokens_eval_reconstruction: x.length, total_tokens_eval_sparsity_variance: x.length },
    },
    dictionary_learning: {
      l2_loss: average(e.map(norm)), l1_loss: l1, l0, frac_variance_explained: 1 - variance(e) / variance(x), cossim, l2_ratio: l2Ratio, relative_reconstruction_bias: bias,
      loss_original: ce.original, loss_reconstructed: ce.sae, loss_zero: ce.ablation, frac_recovered: score,
      frac_alive: features.filter((f) => fires(f).length > 0).length / FEATURES,
    },
    features: {
      feature_density: features.map((f) => fires(f).length / x.length),
      consistent_activation_heuristic: features.map((f) => (fires(f).length > 0 ? fires(f).length / new Set(fires(f)).size : null)),
      encoder_bias: [...sae.encoderBias],
      encoder_norm: features.map((f) => norm(row(sae.encoder, f))),
      encoder_decoder_cosine_sim: features.map((f) => dot(row(sae.encoder, f), row(sae.decoder, f)) / norm(row(sae.encoder, f)) / norm(row(sae.decoder, f))),
    },
  };
}

/** Quotients of small differences of losses, which float32 keeps fewer digits of. */
const DIFFERENCES = /(_score|frac_recovered|bias)$/;

/** Every number of two results, by its path. */
function assertClose(found: unknown, expected: unknown, tolerance: number, path = ''): void {
  if (typeof expected === 'number') {
    assert.ok(typeof found === 'number' && Math.abs(found - expected) <= (DIFFERENCES.test(path) ? 10 : 1) * tolerance * Math.max(0.01, Math.abs(expected)), `${path}: ${String(found)} instead of ${expected}`);
  } else if (expected === null) assert.is(found, null, path);
  else for (const [key, value] of Object.entries(expected as object)) assertClose((found as Record<string, unknown>)[key], value, tolerance, `${path}.${key}`);
}

const PLACES: [hook: string, head: number | undefined, width: number, ablate?: 'scored'][] = [
  ['blocks.1.attn.hook_z', 2, 12], ['blocks.0.attn.hook_q', 1, 12, 'scored'], ['blocks.1.attn.hook_z', undefined, 48], ['blocks.1.hook_resid_pre', undefined, 48], ['blocks.2.hook_mlp_out', undefined, 48, 'scored'],
];

for (const [hook, head, width, ablate] of PLACES) {
  test(`all metrics at ${hook}${head === undefined ? '' : ` head ${head}`}`, async () => {
    const sae = plain(width, width + (head ?? 0));
    const dictionary = await upload(sae);
    const options: MetricsOptions = { hook, ...(head === undefined ? {} : { head }), tokens: TOKENS, excludeTokens: [0], batch: 2, ablate, meanAblation: true };
    const found = await evaluateMetrics(model, dictionary, options);
    dictionary.dispose();
    dictionaryMetricsSchema.parse(found);
    assert.equal(found.notes, []);
    const expected = reference(sae, options, [[0, 1], [2, 3], [4]]);
    assert.ok(expected.dictionary_learning.frac_alive! < 1 && expected.saelens.sparsity.l0! > 1);
    assertClose(found, expected, 1e-4);
  });
}

test('nothing but the legacy number depends on the batch size; excluded tokens change what is scored', async () => {
  const dictionary = await upload(plain(12, 3));
  const measure = (more: Partial<MetricsOptions>) => evaluateMetrics(model, dictionary, { hook: 'blocks.0.attn.hook_v', head: 3, tokens: TOKENS, excludeTokens: [0], ...more });
  const [one, two, all] = [await measure({ batch: 1 }), await measure({ batch: 2 }), await measure({})];
  for (const result of [two, all]) {
    const { explained_variance_legacy: _, ...quality } = one.saelens.reconstruction_quality;
    assertClose(result, { ...one, saelens: { ...one.saelens, reconstruction_quality: quality }, notes: [] }, 1e-5);
  }
  assert.is.not(one.saelens.reconstruction_quality.explained_variance_legacy, all.saelens.reconstruction_quality.explained_variance_legacy);
  const everything = await measure({ excludeTokens: [] });
  assert.is(everything.saelens.token_stats.total_tokens_eval_reconstruction, TOKENS.flat().length);
  assert.is(all.saelens.token_stats.total_tokens_eval_reconstruction, TOKENS.flat().length - TOKENS.length);
  const without = await measure({ losses: false });
  assert.is(without.saelens.model_behavior_preservation.kl_div_score, null);
  assert.is(without.dictionary_learning.frac_recovered, null);
  assert.match(without.notes.join(), /not measured/);
  assert.is(without.saelens.sparsity.l0, all.saelens.sparsity.l0);
  dictionary.dispose();
});

test('a stream of prompts is measured as their list is, no more than a batch of it at a time; several dictionaries in one go as one by one', async () => {
  const [narrow, other, wide] = [await upload(plain(12, 3)), await upload(plain(12, 50)), await upload(plain(48, 9))];
  const placed = [
    { dictionary: narrow, hook: 'blocks.1.attn.hook_z', head: 2 }, { dictionary: wide, hook: 'blocks.2.hook_mlp_out' }, { dictionary: other, hook: 'blocks.1.attn.hook_z', head: 2 }, { dictionary: narrow, hook: 'blocks.1.attn.hook_z', head: 0 },
  ];
  const common = { excludeTokens: [0], batch: 2, meanAblation: true } as const;
  let [opened, read, most] = [0, 0, 0];
  const stream = async function* (): AsyncGenerator<Uint32Array> {
    opened += 1;
    read = 0;
    for (const prompt of TOKENS) {
      read += 1;
      yield Uint32Array.from(prompt);
    }
  };
  const told: [number, number | null][] = [];
  const together = await evaluateDictionaries(model, placed, {
    ...common, tokens: stream,
    onProgress: (done, total) => {
      told.push([done, total]);
      most = Math.max(most, read - (done - (opened - 1) * TOKENS.length));
    },
  });
  assert.equal([opened, most], [2, 1]);
  assert.equal(told, [[2, null], [4, null], [5, null], [7, 10], [9, 10], [10, 10]]);
  for (const [i, { dictionary, ...place }] of placed.entries()) {
    assert.equal(together[i], await evaluateMetrics(model, dictionary, { ...place, ...common, tokens: TOKENS }), `dictionary ${i}`);
  }
  assert.is.not(together[0]!.saelens.sparsity.l0, together[3]!.saelens.sparsity.l0);
  const nothing: PromptStream = async function* () {};
  await evaluateDictionaries(model, placed, { tokens: nothing }).then(() => assert.unreachable(), (error: unknown) => assert.ok(error instanceof UsageError && /no token to score/.test(error.message), String(error)));
  for (const dictionary of [narrow, other, wide]) dictionary.dispose();
});

test('against the mean of activations one that always gives it recovers nothing', async () => {
  const gpu = await testGpu();
  const x = TOKENS.flatMap((prompt) => { const { row } = rowsOf(referenceRun(weights, CONFIG, prompt).get('blocks.2.hook_mlp_out')!); return prompt.flatMap((id, t) => (id === 0 ? [] : [row(t).slice()])); });
  const constant = new Sae('vanilla mean', {
    encoder: Tensor.zeros(gpu, [1, 48]), encoderBias: Tensor.zeros(gpu, [1]), decoder: Tensor.zeros(gpu, [1, 48]), decoderBias: Tensor.from(gpu, Float32Array.from(centre(x)), [48]),
  });
  const { mean_ablation: found, saelens } = await evaluateMetrics(model, constant, { hook: 'blocks.2.hook_mlp_out', tokens: TOKENS, excludeTokens: [0], meanAblation: true });
  constant.dispose();
  assert.ok(Math.abs(found!.ce_loss_score!) < 1e-3 && Math.abs(found!.kl_div_score!) < 1e-4, JSON.stringify(found));
  assert.ok(Math.abs(saelens.model_behavior_preservation.kl_div_score!) > 0.01);
});

test('a perfect dictionary recovers everything, one of zeros nothing', async () => {
  const gpu = await testGpu();
  // Features ± of every coordinate: x = relu(x) − relu(−x).
  const signed = Float32Array.from({ length: 24 * 12 }, (_, i) => (Math.floor(i / 12) % 12 === i % 12 ? (i < 144 ? 1 : -1) : 0));
  const make = (decoder: Float32Array) => new Sae('vanilla x', { encoder: Tensor.from(gpu, signed, [24, 12]), encoderBias: Tensor.zeros(gpu, [24]), decoder: Tensor.from(gpu, decoder, [24, 12]), decoderBias: Tensor.zeros(gpu, [12]) });
  const [perfect, nothing] = [make(signed), make(new Float32Array(24 * 12))];
  const at = { hook: 'blocks.1.attn.hook_v', head: 0, tokens: TOKENS, excludeTokens: [0], ablate: 'scored' } as const;
  const [best, worst] = [await evaluateMetrics(model, perfect, at), await evaluateMetrics(model, nothing, at)];
  const { saelens: s } = best;
  for (const value of [s.reconstruction_quality.explained_variance, s.reconstruction_quality.cossim, s.shrinkage.l2_ratio, s.shrinkage.relative_reconstruction_bias, s.model_behavior_preservation.kl_div_score, best.dictionary_learning.frac_recovered]) {
    assert.ok(Math.abs(value! - 1) < 1e-3, `${value}`);
  }
  assert.ok(Math.abs(s.sparsity.l0! - 12) < 1e-6 && s.reconstruction_quality.mse! < 1e-10);
  assert.ok(Math.abs(worst.saelens.model_behavior_preservation.kl_div_score!) < 1e-5);
  assert.is(worst.saelens.reconstruction_quality.cossim, 0);
  assert.is(worst.saelens.shrinkage.relative_reconstruction_bias, null);
  assert.match(worst.notes.join(), /relative_reconstruction_bias: x·x̂ is 0/);
  for (const dictionary of [perfect, nothing]) dictionary.dispose();
});

/** Totals of given activations and reconstructions, without a model. */
function totalsOf(x: number[][], xHat: number[][], batches: number[][] = [x.map((_, i) => i)]): DictionaryMetrics {
  const totals = new MetricTotals(x[0]!.length, 1);
  const m = centre(batches[0]!.map((i) => x[i]!));
  const me = centre(batches[0]!.map((i) => minus(x[i]!, xHat[i]!)));
  for (const batch of batches) {
    const rows = batch.map((i) => ({ x: x[i]!, y: xHat[i]!, e: minus(x[i]!, xHat[i]!) }));
    const own = centre(rows.map((r) => r.x));
    const square = (f: (r: (typeof rows)[number]) => number[]) => rows.map((r) => dot(f(r), f(r)));
    totals.add({
      squaredIn: square((r) => r.x), squaredOut: square((r) => r.y), dot: rows.map((r) => dot(r.x, r.y)), squaredError: square((r) => r.e),
      squaredFromCentre: square((r) => minus(r.x, m)), squaredErrorFromCentre: square((r) => minus(r.e, me)), squaredFromBatchMean: square((r) => minus(r.x, own)),
      l0: rows.map(() => 1), l1: rows.map(() => 1),
    }, { fromCentre: centre(rows.map((r) => minus(r.x, m))).map((v) => v * rows.length), errorFromCentre: centre(rows.map((r) => minus(r.e, me))).map((v) => v * rows.length), active: [rows.length], activePrompts: [1] });
  }
  return totals.finish(false);
}

test('scale and shift: shares do not know the unit; a constant offset costs explained_variance, but not frac_variance_explained', () => {
  const table = (seed: number) => Array.from({ length: 30 }, (_, i) => Array.from(random(5, seed + i), (v) => v));
  const x = table(1);
  const xHat = x.map((row, i) => row.map((v, k) => 0.8 * v + 0.1 * table(100)[i]![k]!));
  const times = (rows: number[][], c: number) => rows.map((row) => row.map((v) => c * v));
  const plus = (rows: number[][], c: number) => rows.map((row) => row.map((v) => v + c));
  const [base, scaled] = [totalsOf(x, xHat), totalsOf(times(x, 1000), times(xHat, 1000))];
  for (const name of ['explained_variance', 'explained_variance_legacy', 'cossim'] as const) assertClose(scaled.saelens.reconstruction_quality[name], base.saelens.reconstruction_quality[name], 1e-9, name);
  for (const name of ['frac_variance_explained', 'l2_ratio', 'relative_reconstruction_bias'] as const) assertClose(scaled.dictionary_learning[name], base.dictionary_learning[name], 1e-9, name);
  assertClose(scaled.saelens.reconstruction_quality.mse, base.saelens.reconstruction_quality.mse! * 1e6, 1e-9, 'mse');
  // Activations far from zero: shares of variance hold, which sums about zero in float32 would lose.
  const moved = totalsOf(plus(x, 500), plus(xHat, 500), [[0, 1, 2, 3], x.map((_, i) => i).slice(4)]);
  assertClose(moved.saelens.reconstruction_quality.explained_variance, base.saelens.reconstruction_quality.explained_variance, 1e-9, 'moved');
  const offset = totalsOf(x, plus(xHat, 3));
  assertClose(offset.dictionary_learning.frac_variance_explained, base.dictionary_learning.frac_variance_explained, 1e-9, 'offset');
  assert.ok(offset.saelens.reconstruction_quality.explained_variance! < base.saelens.reconstruction_quality.explained_variance! - 1);
  const constant = totalsOf(times(x, 0), xHat);
  assert.is(constant.saelens.reconstruction_quality.explained_variance, null);
  assert.match(constant.notes.join('; '), /explained_variance: the activations do not vary/);
});

test('what cannot be measured is refused', async () => {
  const dictionary = await upload(plain(12, 3));
  const refuses = async (options: MetricsOptions, type: typeof UsageError | typeof UnknownSiteError, pattern: RegExp) => {
    let error: unknown;
    await evaluateMetrics(model, dictionary, options).catch((e) => { error = e; });
    assert.ok(error instanceof type && pattern.test(error.message), String(error));
  };
  await refuses({ hook: 'blocks.0.hook_mlp_out', head: 1, tokens: TOKENS }, UnknownSiteError, /has no heads/);
  await refuses({ hook: 'blocks.0.attn.hook_z', head: 4, tokens: TOKENS }, UnknownSiteError, /heads 0 to 3, not 4/);
  await refuses({ hook: 'blocks.0.attn.hook_pattern', tokens: TOKENS }, UnknownSiteError, /every pair of positions/);
  await refuses({ hook: 'blocks.0.ln1.hook_scale', tokens: TOKENS }, UnknownSiteError, /can be read but not edited/);
  await refuses({ hook: 'blocks.0.attn.hook_z', head: 1, tokens: [[0], [0]], excludeTokens: [0] }, UsageError, /no token to score/);
  dictionary.dispose();
});

test('SAEBench files: every field, numbers of nine digits, nulls where nothing is', async () => {
  const dictionary = await upload(plain(12, 5));
  const metrics = await evaluateMetrics(model, dictionary, { hook: 'blocks.0.attn.hook_z', head: 0, tokens: TOKENS, excludeTokens: [0] });
  dictionary.dispose();
  const result = saebenchResult({
    metrics, id: 'z head 0', release: 'mine', version: '1.2.3', evalId: 'an-id', time: 1700000000123, cfg: { architecture: 'standard', d_sae: FEATURES },
    config: { model_name: 'random', llm_dtype: 'float32', batch_size_prompts: null, dataset: 'test', context_size: 9, prompts: 5, exclude_special_tokens_from_reconstruction: true, excluded_tokens: [0] },
  });
  assert.equal(saeBenchSchema.parse(JSON.parse(JSON.stringify(result))), result);
  assert.equal(Object.keys(result).sort(), ['datetime_epoch_millis', 'eval_config', 'eval_id', 'eval_result_details', 'eval_result_metrics', 'eval_result_unstructured', 'eval_type_id', 'sae_bench_commit_hash', 'sae_cfg_dict', 'sae_lens_id', 'sae_lens_release_id', 'sae_lens_version']);
  assert.is(result.datetime_epoch_millis, 1700000000123);
  assert.is(result.eval_result_metrics.sparsity.l0, Number(metrics.saelens.sparsity.l0!.toPrecision(9)));
  assert.equal(result.eval_result_details.map(({ index }) => index), Array.from({ length: FEATURES }, (_, i) => i));
  assert.is(result.eval_result_details[6]!.feature_density, 0);
  assert.is(result.eval_result_details[6]!.consistent_activation_heuristic, null);
  assert.ok(Object.keys((saebenchJsonSchema() as { properties: object }).properties).includes('eval_result_metrics'));
  assert.throws(() => saeBenchSchema.parse({ ...result, eval_type_id: 'other' }));
});

test('logit difference recovered: both conventions, their end points, and the guard', () => {
  const of = (patched: number, old = false) => logitDiffRecovered({ clean: 4, meanAblated: 1, patched }, { old }).value;
  assert.equal([of(4), of(1), of(2.5), of(5.5), of(-0.5)], [1, 0, 0.5, 1.5, 0.5]);
  assert.equal([of(4, true), of(1, true), of(2.5, true), of(5.5, true)], [0, 1, 0.5, -0.5]);
  const small = logitDiffRecovered({ clean: 4, meanAblated: 3.97, patched: 3 });
  assert.is(small.value, null);
  assert.match(small.note!, /too little to divide by/);
  assert.is(logitDiffRecovered({ clean: 0, meanAblated: 0, patched: 1 }).value, null);
});

test('recovered at sites of a model: a perfect dictionary 1, the mean 0, in the old convention the other way', async () => {
  const gpu = await testGpu();
  const source = directorySource('models/ioi-mini');
  const mini = await Gpt2.load(gpu, source);
  const task = ioiEvaluation(IoiTask.create(mini.tokenizer!, await grammarFor(source)));
  const prompts = task.evaluation(20, 1);
  const sites = ['z@L0H3@end', 'z@L0H1@io'].map((text) => parseSite(text));
  const activations = await collectActivations(mini, prompts, sites);
  const width = mini.config.headWidth;
  const identity = Float32Array.from({ length: 2 * width * width }, (_, i) => (Math.floor(i / width) % width === i % width ? (i < width * width ? 1 : -1) : 0));
  const perfect = new Sae('vanilla p', { encoder: Tensor.from(gpu, identity, [2 * width, width]), encoderBias: Tensor.zeros(gpu, [2 * width]), decoder: Tensor.from(gpu, identity, [2 * width, width]), decoderBias: Tensor.zeros(gpu, [width]) });
  const means = activations.map((own) => gpu.scope(() => meanColumns(own).reshape([1, width])));
  const constant = new Sae('vanilla c', { encoder: Tensor.zeros(gpu, [1, width]), encoderBias: Tensor.zeros(gpu, [1]), decoder: Tensor.zeros(gpu, [1, width]), decoderBias: gpu.scope(() => means[0]!.clone().reshape([width])) });
  const studies = sites.map((site, i) => ({ site, mean: means[i]!, dictionaries: [{ name: 'perfect', dictionary: perfect }, ...(i === 0 ? [{ name: 'mean', dictionary: constant }] : [])] }));
  const rows = await measureRecovered(mini, prompts, studies, { batch: 7 });
  assert.equal(rows.map(({ site, dictionary }) => [site, dictionary]), [['z@L0H3@end', 'perfect'], ['z@L0H3@end', 'mean'], ['z@L0H1@io', 'perfect']]);
  assert.ok(Math.abs(rows[0]!.recovered! - 1) < 1e-3 && Math.abs(rows[1]!.recovered!) < 1e-3, JSON.stringify(rows));
  assert.ok(rows[0]!.logitDiffClean > 5 && rows[0]!.logitDiffMeanAblated < rows[0]!.logitDiffClean - 1);
  const old = await measureRecovered(mini, prompts, studies, { old: true });
  assert.ok(Math.abs(old[0]!.recovered!) < 1e-3 && Math.abs(old[1]!.recovered! - 1) < 1e-3);
  assert.ok(rows[2]!.recovered === null ? /too little/.test(rows[2]!.note!) : Math.abs(rows[2]!.recovered - 1) < 1e-2);
  for (const tensor of [...activations, ...means]) tensor.dispose();
  for (const dictionary of [perfect, constant]) dictionary.dispose();
  mini.dispose();
});

test.run();
