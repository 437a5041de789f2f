/**
 * Is this adapter to be trusted? Small kernels against float64 on the CPU, and the embedded model against logits that an
 * independent program computed (tests/support/selftest-reference.py). Drivers have been seen to compute wrongly without any error.
 */
import type { FileSource } from '../files/index.ts';
import type { Gpu } from '../gpu/index.ts';
import { layerNorm, matmul, softmax, Tensor } from '../tensor/index.ts';
import { Gpt2 } from './gpt2.ts';
import reference from './selftest-reference.json';
import type { Check } from './selftest.ts';

const KERNEL_ERROR = 1e-5;
const LOGIT_ERROR = 1e-4;

/** See selfTest. */
export async function runChecks(gpu: Gpu, model: string | FileSource): Promise<Check[]> {
  const checks = [
    await check('matmul', KERNEL_ERROR, () => matmulError(gpu)),
    await check('softmax', KERNEL_ERROR, () => softmaxError(gpu)),
    await check('layer norm', KERNEL_ERROR, () => layerNormError(gpu)),
  ];
  let outputs: Float32Array[] = [];
  checks.push(await check('logits of ioi-mini', LOGIT_ERROR, async () => {
    outputs = await referenceLogits(gpu, model);
    return logitError(outputs);
  }));
  checks.push(await check('sign of the indirect-object logit difference, prompts wrong', 0, async () => wrongPredictions(outputs)));
  return checks;
}

async function check(name: string, allowed: number, measure: () => Promise<number>): Promise<Check> {
  try {
    const error = await measure();
    const passed = error <= allowed;
    return { name, passed, error, allowed, problem: passed ? '' : `measured ${error}, allowed ${allowed}` };
  } catch (error) {
    return { name, passed: false, error: NaN, allowed, problem: (error as Error).message };
  }
}

/** Numbers in [-1, 1] without a pattern that a kernel could get right by luck. */
function numbers(count: number, seed: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => Math.sin((i + 1) * (12.9898 + seed)));
}

function relativeError(out: Float32Array, expected: Float64Array): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (out[i]! - expected[i]!) ** 2;
    norm += expected[i]! ** 2;
  }
  return Math.sqrt(difference / norm);
}

/** Runs an operation on the GPU, frees what it made, and returns its elements. */
async function compute(gpu: Gpu, operation: () => Tensor): Promise<Float32Array> {
  const out = gpu.scope(operation);
  try {
    return await out.read();
  } finally {
    out.dispose();
  }
}

/** [67, 131] × [131, 45], plain and with both operands transposed. */
async function matmulError(gpu: Gpu): Promise<number> {
  const [m, k, n] = [67, 131, 45];
  const a = numbers(m * k, 1);
  const b = numbers(k * n, 2);
  const expected = new Float64Array(m * n);
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) for (let p = 0; p < k; p++) expected[i * n + j]! += a[i * k + p]! * b[p * n + j]!;
  const flipped = (x: Float32Array, rows: number, columns: number): Float32Array =>
    Float32Array.from({ length: x.length }, (_, i) => x[(i % rows) * columns + Math.floor(i / rows)]!);
  const plain = await compute(gpu, () => matmul(Tensor.from(gpu, a, [m, k]), Tensor.from(gpu, b, [k, n])));
  const transposed = await compute(gpu, () =>
    matmul(Tensor.from(gpu, flipped(a, m, k), [k, m]), Tensor.from(gpu, flipped(b, k, n), [n, k]), { transposeA: true, transposeB: true }));
  return Math.max(relativeError(plain, expected), relativeError(transposed, expected));
}

/** Rows of 301 numbers that exp() alone would overflow. */
async function softmaxError(gpu: Gpu): Promise<number> {
  const [rows, width] = [13, 301];
  const x = numbers(rows * width, 3).map((v) => 100 + 8 * v);
  const expected = new Float64Array(x.length);
  for (let r = 0; r < rows; r++) {
    const row = x.subarray(r * width, (r + 1) * width);
    const exps = Array.from(row, (v) => Math.exp(v - Math.max(...row)));
    const sum = exps.reduce((total, e) => total + e, 0);
    exps.forEach((e, i) => { expected[r * width + i] = e / sum; });
  }
  return relativeError(await compute(gpu, () => softmax(Tensor.from(gpu, x, [rows, width]))), expected);
}

/** Rows with one outlier, as GPT-2's residual stream has them. */
async function layerNormError(gpu: Gpu): Promise<number> {
  const [rows, width, epsilon] = [13, 130, 1e-5];
  const x = numbers(rows * width, 4).map((v, i) => (i % width === 5 ? 300 : 3 + v));
  const gamma = numbers(width, 5);
  const beta = numbers(width, 6);
  const expected = new Float64Array(x.length);
  for (let r = 0; r < rows; r++) {
    const row = Array.from(x.subarray(r * width, (r + 1) * width));
    const mean = row.reduce((sum, v) => sum + v, 0) / width;
    const variance = row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / width;
    row.forEach((v, i) => { expected[r * width + i] = (v - mean) / Math.sqrt(variance + epsilon) * gamma[i]! + beta[i]!; });
  }
  const out = await compute(gpu, () => layerNorm(Tensor.from(gpu, x, [rows, width]), Tensor.from(gpu, gamma, [width]), Tensor.from(gpu, beta, [width]), epsilon));
  return relativeError(out, expected);
}

/** Logits of the last position of each reference prompt, [vocabulary] each, from one padded batch. */
async function referenceLogits(gpu: Gpu, where: string | FileSource): Promise<Float32Array[]> {
  const model = await Gpt2.load(gpu, where);
  try {
    const run = model.run(reference.prompts.map((p) => p.tokens), { logits: reference.prompts.map((p) => p.tokens.length - 1) });
    try {
      const all = await run.logits!.read();
      const vocabulary = model.config.vocabulary;
      return reference.prompts.map((_, i) => all.subarray(i * vocabulary, (i + 1) * vocabulary));
    } finally {
      run.dispose();
    }
  } finally {
    model.dispose();
  }
}

/** Largest absolute error over the root mean square of the stored logits. */
function logitError(outputs: readonly Float32Array[]): number {
  let largest = 0;
  let squares = 0;
  let count = 0;
  reference.prompts.forEach((prompt, p) => prompt.ids.forEach((id, i) => {
    // NaN would lose every comparison.
    const difference = Math.abs(outputs[p]![id]! - prompt.logits[i]!);
    largest = Number.isNaN(difference) ? Infinity : Math.max(largest, difference);
    squares += prompt.logits[i]! ** 2;
    count++;
  }));
  return largest / Math.sqrt(squares / count);
}

/** How many prompts do not give their indirect object the largest logit of all, the subject's among them. */
function wrongPredictions(outputs: readonly Float32Array[]): number {
  if (outputs.length === 0) throw new Error('the model did not run');
  return reference.prompts.filter((prompt, p) => {
    const logits = outputs[p]!;
    return !(logits[prompt.correct]! > logits[prompt.incorrect]! && logits.every((v) => v <= logits[prompt.correct]!));
  }).length;
}
