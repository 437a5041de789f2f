/** Whole paths that a demo spends its time in: the embedded model's forward pass, and a training step of many sparse autoencoders. */
import { join } from 'node:path';
import { Gpt2 } from '../src/model/index.ts';
import reference from '../src/model/selftest-reference.json';
import { packageRoot } from '../src/node-adapter.mjs';
import { SaeStep, Tensor, adam, adamDefaults, adamRows, type SaeWeights } from '../src/tensor/index.ts';
import type { Case } from './measure.ts';
import { inputs, relative, spread } from './numbers.ts';

const VOCABULARY = 1026;

/** Prompts of the self-test, over and over, padded to `length`; only the logits of each prompt's last position are computed. */
function forwardCase(batch: number, length: number): Case {
  const [layers, width, mlp] = [4, 128, 512];
  const pairs = (length * (length + 1)) / 2;
  const flops = 2 * batch * (layers * (length * width * (4 * width + 2 * mlp) + 2 * pairs * width) + width * VOCABULARY);
  return {
    kernel: 'forward pass', shape: `ioi-mini, ${batch} prompts of ${length}, last logits`, tolerance: 1e-4, flops,
    // What each layer reads and writes: the stream three times each way, q, k and v, the hidden layer.
    bytes: 4 * batch * length * layers * (6 * width + 2 * 3 * width + 2 * mlp),
    async prepare(gpu) {
      const model = await Gpt2.load(gpu, join(packageRoot(), 'models', 'ioi-mini'));
      const fitting = reference.prompts.filter((p) => p.tokens.length <= length);
      const prompts = Array.from({ length: batch }, (_, i) => fitting[i % fitting.length]!);
      const tokens = Tensor.from(gpu, prompts.flatMap((p) => [...p.tokens, ...new Array<number>(length - p.tokens.length).fill(0)]), [batch, length], 'u32');
      const logits = prompts.map((p) => p.tokens.length - 1);
      return {
        run: () => model.run(tokens, { logits }).dispose(),
        async check() {
          const run = model.run(tokens, { logits });
          const got = await run.logits!.read();
          run.dispose();
          const stride = got.length / batch;
          return relative(prompts.flatMap((p, i) => p.ids.map((id, at) => [got[i * stride + id]!, p.logits[at]!] as const)));
        },
        dispose() {
          tokens.dispose();
          model.dispose();
        },
      };
    },
  };
}

/** Forward, gradients and Adam of `count` vanilla SAEs at once, each on examples of its own. */
function trainingCase(count: number, rows: number, width: number, features: number): Case {
  const parameters = count * (2 * features * width + features + width);
  const l1 = 0.1;
  return {
    kernel: 'SAE training step', shape: `${count} SAEs, ${rows} rows, ${width} to ${features}`,
    // The encoder is dense; everything after it follows the active features, about half of them before training.
    flops: count * rows * features * width * (2 + 4 * 2 * 0.5), bytes: 28 * parameters,
    prepare(gpu) {
      const x = inputs(count * rows * width, 21);
      const matrix = inputs(count * features * width, 22);
      const make = (): SaeWeights => ({
        encoder: Tensor.from(gpu, matrix, [count, features, width]), encoderBias: Tensor.zeros(gpu, [count, features]),
        decoder: Tensor.from(gpu, matrix, [count, features, width]), decoderBias: Tensor.zeros(gpu, [count, width]),
      });
      const empty = (): SaeWeights => ({
        encoder: Tensor.zeros(gpu, [count, features, width]), encoderBias: Tensor.zeros(gpu, [count, features]),
        decoder: Tensor.zeros(gpu, [count, features, width]), decoderBias: Tensor.zeros(gpu, [count, width]),
      });
      const [weights, first, second] = [make(), empty(), empty()];
      const step = new SaeStep(gpu, { dictionaries: count, features, width, maxRows: rows });
      const data = Tensor.from(gpu, x, [count, rows, width]);
      const pool = Tensor.from(gpu, Uint32Array.from({ length: count }, (_, i) => i), [count]);
      const penalty = Tensor.from(gpu, new Float32Array(count).fill(l1), [count]);
      // A rate of zero: every repetition does the same work on the same weights.
      const rate = Tensor.zeros(gpu, [count]);
      const gradients = (): void => {
        step.forward(data, pool, weights, rows, true);
        step.backward(data, pool, weights, penalty, rows);
      };
      return {
        run() {
          gradients();
          const now = { ...adamDefaults, step: 1 };
          for (const part of ['encoder', 'encoderBias', 'decoderBias'] as const) adam({ parameter: weights[part], gradient: step.gradients[part], first: first[part], second: second[part], rate }, now);
          adamRows({ parameter: weights.decoder, gradient: step.gradients.decoder, first: first.decoder, second: second.decoder, rate }, now, { project: true, normalise: false });
        },
        async check() {
          gradients();
          const got = await step.gradients.encoder.read();
          return relative(spread(features * width, 200).map((at) => [got[at]!, encoderGradient(x, matrix, { rows, width, features, l1 }, Math.floor(at / width), at % width)] as const));
        },
        dispose() {
          step.dispose();
          for (const t of [data, pool, penalty, rate, ...[weights, first, second].flatMap((w) => Object.values(w) as Tensor[])]) t.dispose();
        },
      };
    },
  };
}

/** ∂ loss / ∂ encoder[f, k] of the first SAE, both its matrices being `matrix` and its biases zero, by the chain rule in float64. */
function encoderGradient(x: Float32Array, matrix: Float32Array, { rows, width, features, l1 }: { rows: number; width: number; features: number; l1: number }, f: number, k: number): number {
  let sum = 0;
  for (let r = 0; r < rows; r++) {
    const row = x.subarray(r * width, (r + 1) * width);
    const code = (g: number): number => {
      let dot = 0;
      for (let c = 0; c < width; c++) dot += row[c]! * matrix[g * width + c]!;
      return Math.max(0, dot);
    };
    if (code(f) <= 0) continue;
    const error = Float64Array.from(row, (v) => -v);
    for (let g = 0; g < features; g++) {
      const active = code(g);
      if (active > 0) for (let c = 0; c < width; c++) error[c]! += active * matrix[g * width + c]!;
    }
    let gradient = l1;
    for (let c = 0; c < width; c++) gradient += 2 * error[c]! * matrix[f * width + c]!;
    sum += (gradient / rows) * row[k]!;
  }
  return sum;
}

export function pathCases(): Case[] {
  return [forwardCase(64, 19), trainingCase(12, 128, 32, 256)];
}
