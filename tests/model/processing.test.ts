import { Matrix } from 'ml-matrix';
import * as assert from 'uvu/assert';
import { Gpt2, NO_PROCESSING, type WeightProcessing } from '../../src/model/index.ts';
import { processBlock, productFactors } from '../../src/model/process-weights.ts';
import type { BlockNumbers } from '../../src/model/processing.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { fixtureParts, modelSource } from '../support/models.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('weight processing');
const TOKENS = [[5, 17, 3, 88, 41, 2, 60], [9, 9, 30, 12, 0, 96, 1]];
const [D, H, d, M] = [12, 3, 4, 20];
const ALL: WeightProcessing = { foldLn: true, centerWritingWeights: true, centerUnembed: true, foldValueBiases: true, refactorFactoredAttnMatrices: true };

/** Logit differences to token 0 and all patterns: what no processing may change. */
async function behaviour(processing: Partial<WeightProcessing>): Promise<{ differences: number[]; patterns: number[]; logits: Float32Array; processing: WeightProcessing }> {
  const { config, tensors } = await fixtureParts();
  // Norms as they come are close to one and zero; stronger ones show more.
  for (const [name, tensor] of Object.entries(tensors)) {
    if (/ln_.*weight/.test(name)) tensor.data.set(random(48, name.length).map((v) => 1 + v / 2));
    if (/ln_.*bias|attn.*bias/.test(name)) tensor.data.set(random(tensor.data.length, name.length + 7).map((v) => v / 2));
  }
  const model = await Gpt2.load(await testGpu(), modelSource(config, tensors), { processing });
  const run = model.run(TOKENS, { cache: '*.hook_pattern', logits: 'all' });
  const logits = await run.logits!.read();
  const patterns = (await Promise.all([...run.cache.values()].map((t) => t.read()))).flatMap((t) => [...t]);
  run.dispose();
  model.dispose();
  return { differences: [...logits].map((value, i) => value - logits[i - (i % 97)]!), patterns, logits, processing: model.processing };
}

test('every processing leaves logit differences and patterns as they are, and is recorded', async () => {
  const raw = await behaviour({});
  assert.equal(raw.processing, NO_PROCESSING);
  const ways: Partial<WeightProcessing>[] = [...Object.keys(NO_PROCESSING).map((name) => ({ [name]: true })), { foldLn: true, centerWritingWeights: true, centerUnembed: true }, ALL];
  for (const way of ways) {
    const processed = await behaviour(way);
    assert.ok(relativeError(processed.differences, raw.differences) < 1e-5, `${JSON.stringify(way)}: ${relativeError(processed.differences, raw.differences)}`);
    assert.ok(relativeError(processed.patterns, raw.patterns) < 1e-5, `${JSON.stringify(way)}: ${relativeError(processed.patterns, raw.patterns)}`);
    const recorded = { ...NO_PROCESSING, ...way };
    // The refactoring folds the values' biases.
    if (recorded.refactorFactoredAttnMatrices) recorded.foldValueBiases = true;
    assert.equal(processed.processing, recorded);
  }
});

test('centred logits have mean zero; a folded norm shows a plain normalised vector; centred writers write vectors of mean zero', async () => {
  const gpu = await testGpu();
  const { config, tensors } = await fixtureParts();
  const model = await Gpt2.load(gpu, modelSource(config, tensors), { processing: ALL });
  const run = model.run(TOKENS, { cache: ['blocks.1.ln1.*', 'blocks.*.hook_resid_*', 'ln_final.hook_normalized'], logits: 'all' });
  const logits = await run.logits!.read();
  for (let row = 0; row < 14; row++) assert.ok(Math.abs(mean(logits.subarray(row * 97, (row + 1) * 97))) < 1e-5);
  for (const [name, tensor] of run.cache) {
    if (name.endsWith('scale')) continue;
    const values = await tensor.read();
    for (let row = 0; row < 14; row++) {
      const own = values.subarray(row * 48, (row + 1) * 48);
      assert.ok(Math.abs(mean(own)) < 1e-5, name);
      if (name.endsWith('normalized')) assert.ok(Math.abs(mean(own.map((v) => v * v)) - 1) < 1e-3, name);
    }
  }
  run.dispose();
  model.dispose();
});

function block(): BlockNumbers {
  const numbers = (n: number, seed: number): Float64Array => Float64Array.from(random(n, seed));
  return {
    ln1Weight: numbers(D, 1), ln1Bias: numbers(D, 2), qkvWeight: numbers(D * 3 * D, 3), qkvBias: numbers(3 * D, 4), outWeight: numbers(D * D, 5), outBias: numbers(D, 6),
    ln2Weight: numbers(D, 7), ln2Bias: numbers(D, 8), mlpInWeight: numbers(D * M, 9), mlpInBias: numbers(M, 10), mlpOutWeight: numbers(M * D, 11), mlpOutBias: numbers(D, 12),
  };
}

/** One head's factors: [W_Q; b_Q], [W_K; b_K], W_V, W_O. */
function factors(b: BlockNumbers, head: number): { q: Matrix; k: Matrix; v: Matrix; o: Matrix } {
  const part = (p: number, rows: number): Matrix => new Matrix(Array.from({ length: rows }, (_, i) => Array.from({ length: d }, (_, j) => (i < D ? b.qkvWeight[i * 3 * D + p * D + head * d + j]! : b.qkvBias[p * D + head * d + j]!))));
  const o = new Matrix(Array.from({ length: d }, (_, j) => Array.from({ length: D }, (_, i) => b.outWeight[(head * d + j) * D + i]!)));
  return { q: part(0, D + 1), k: part(1, D + 1), v: part(2, D), o };
}

test('refactoring keeps W_Q W_Kᵀ with biases and W_V W_O, and makes their factors singular vectors', () => {
  const before = block();
  const after = block();
  processBlock(after, H, { ...NO_PROCESSING, refactorFactoredAttnMatrices: true });
  for (let head = 0; head < H; head++) {
    const a = factors(before, head);
    const b = factors(after, head);
    close(b.q.mmul(b.k.transpose()), a.q.mmul(a.k.transpose()));
    close(b.v.mmul(b.o), a.v.mmul(a.o));
    // Queries and keys share their scale; columns are orthogonal; rows of W_O are orthonormal, so ‖z‖ is the norm of what the head writes.
    close(b.q.transpose().mmul(b.q), b.k.transpose().mmul(b.k));
    const qq = b.q.transpose().mmul(b.q);
    const vv = b.v.transpose().mmul(b.v);
    close(qq, Matrix.diag(qq.diagonal()));
    close(vv, Matrix.diag(vv.diagonal()));
    close(b.o.mmul(b.o.transpose()), Matrix.eye(d));
    const order = vv.diagonal();
    assert.ok(order.every((value, i) => i === 0 || value <= order[i - 1]! + 1e-9), 'largest first');
  }
  // b_O takes over what the values' biases wrote.
  for (let i = 0; i < D; i++) {
    let written = before.outBias[i]!;
    for (let j = 0; j < D; j++) written += before.qkvBias[2 * D + j]! * before.outWeight[j * D + i]!;
    assert.ok(Math.abs(after.outBias[i]! - written) < 1e-12);
    assert.is(after.qkvBias[2 * D + i], 0);
  }
});

test('folding a norm gives the same queries, keys and values for any normalised input', () => {
  const before = block();
  const after = block();
  processBlock(after, H, { ...NO_PROCESSING, foldLn: true });
  assert.is(after.ln1Weight, null);
  const x = random(D, 20);
  const centre = mean(x);
  const scale = Math.sqrt(mean(x.map((v) => (v - centre) ** 2)));
  for (let j = 0; j < 3 * D; j++) {
    let [plain, folded] = [before.qkvBias[j]!, after.qkvBias[j]!];
    for (let i = 0; i < D; i++) {
      const normalised = (x[i]! - centre) / scale;
      plain += (normalised * before.ln1Weight![i]! + before.ln1Bias![i]!) * before.qkvWeight[i * 3 * D + j]!;
      folded += normalised * after.qkvWeight[i * 3 * D + j]!;
    }
    assert.ok(Math.abs(plain - folded) < 1e-6, `${plain} ${folded}`);
    let column = 0;
    for (let i = 0; i < D; i++) column += after.qkvWeight[i * 3 * D + j]!;
    assert.ok(Math.abs(column) < 1e-9, 'columns are centred');
  }
});

test('singular vectors of a product come out of its thin factors', () => {
  const a = new Matrix(Array.from({ length: 9 }, (_, i) => [...random(3, i + 1)]));
  const b = new Matrix(Array.from({ length: 7 }, (_, i) => [...random(3, i + 30)]));
  const { left, right, values } = productFactors(a, b);
  close(left.mmul(Matrix.diag(values)).mmul(right.transpose()), a.mmul(b.transpose()));
  close(left.transpose().mmul(left), Matrix.eye(3));
  close(right.transpose().mmul(right), Matrix.eye(3));
});

function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum / values.length;
}

function close(a: Matrix, b: Matrix): void {
  const error = Matrix.sub(a, b).norm() / b.norm();
  assert.ok(error < 1e-9, `error ${error}`);
}

test.run();
