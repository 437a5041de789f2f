/** Attention, and what works on rows: layer norm, softmax, argmax, gathers; and Adam. */
import { Tensor, adam, adamDefaults, argmax, attention, gatherRows, layerNorm, softmax } from '../../src/tensor/index.ts';
import { inputs, picks, sample, relative } from '../numbers.ts';
import { inTurns, lazy, sampled, type Case } from './case.ts';

const HEADS = 12;
const HEAD_WIDTH = 64;
const EPSILON = 1e-5;
const RATE = 1e-3;

/** Causal attention. Operations are those of the keys that a query may see, about half of all. */
function attentionCase(batch: number, positions: number, long = false): Case {
  const [heads, width] = [HEADS, HEAD_WIDTH];
  const d = heads * width;
  const pairs = (positions * (positions + 1)) / 2;
  const data = lazy(() => inputs(batch * positions * 3 * d, 3));
  return {
    group: 'kernels', kernel: 'attention', shape: `batch ${batch}, ${positions} positions, ${heads} heads of ${width}`, long,
    flops: 4 * batch * heads * pairs * width, bytes: 4 * batch * positions * d * 4,
    prepare(gpu, sets) {
      const qkv = data.get();
      const row = (b: number, p: number, part: number, h: number): Float32Array => qkv.subarray(((b * positions + p) * 3 + part) * d + h * width, ((b * positions + p) * 3 + part) * d + (h + 1) * width);
      const dot = (x: Float32Array, y: Float32Array): number => x.reduce((sum, v, i) => sum + v * y[i]!, 0);
      const turns = inTurns(sets, () => ({ qkv: Tensor.from(gpu, qkv, [batch, positions, 3 * d]) }), (set) => attention({ qkv: set.qkv, heads }));
      return {
        ...turns,
        error: sampled(batch * positions * d, 300, (at) => {
          const [b, p, h, c] = [Math.floor(at / (positions * d)), Math.floor(at / d) % positions, Math.floor((at % d) / width), at % width];
          const weights = Array.from({ length: p + 1 }, (_, s) => Math.exp(dot(row(b, p, 0, h), row(b, s, 1, h)) / Math.sqrt(width)));
          const total = weights.reduce((x, y) => x + y, 0);
          return weights.reduce((sum, w, s) => sum + (w / total) * row(b, s, 2, h)[c]!, 0);
        }),
        dispose() {
          turns.dispose();
          data.forget();
        },
      };
    },
    peerWork: () => ({ op: 'attention', batch, positions, heads, width, qkv: data.get() }),
  };
}

/** About ten operations an element: mean, variance, scale and shift. */
function layerNormCase(rows: number, width: number, long = false): Case {
  const data = lazy(() => ({ x: inputs(rows * width, 4), gamma: inputs(width, 5), beta: inputs(width, 6) }));
  return {
    group: 'kernels', kernel: 'layer norm', shape: `${rows}×${width}`, long, flops: 8 * rows * width, bytes: 8 * rows * width,
    prepare(gpu, sets) {
      const { x, gamma, beta } = data.get();
      const turns = inTurns(sets, () => ({ x: Tensor.from(gpu, x, [rows, width]), g: Tensor.from(gpu, gamma, [width]), b: Tensor.from(gpu, beta, [width]) }), (t) => layerNorm(t.x, t.g, t.b, EPSILON));
      return {
        ...turns,
        error: sampled(rows * width, 200, (at) => {
          const line = x.subarray(Math.floor(at / width) * width, (Math.floor(at / width) + 1) * width);
          const mean = line.reduce((s, v) => s + v, 0) / width;
          const variance = line.reduce((s, v) => s + (v - mean) ** 2, 0) / width;
          return ((x[at]! - mean) / Math.sqrt(variance + EPSILON)) * gamma[at % width]! + beta[at % width]!;
        }),
        dispose() {
          turns.dispose();
          data.forget();
        },
      };
    },
    peerWork: () => ({ op: 'layer-norm', rows, width, epsilon: EPSILON, ...data.get() }),
  };
}

function softmaxCase(rows: number, width: number, long = false): Case {
  const data = lazy(() => inputs(rows * width, 7));
  return {
    group: 'kernels', kernel: 'softmax', shape: `${rows}×${width}`, long, flops: 5 * rows * width, bytes: 8 * rows * width,
    prepare(gpu, sets) {
      const x = data.get();
      const turns = inTurns(sets, () => ({ x: Tensor.from(gpu, x, [rows, width]) }), (t) => softmax(t.x));
      return {
        ...turns,
        error: sampled(rows * width, 40, (at) => {
          const line = x.subarray(Math.floor(at / width) * width, (Math.floor(at / width) + 1) * width);
          return Math.exp(x[at]!) / line.reduce((s, v) => s + Math.exp(v), 0);
        }),
        dispose() {
          turns.dispose();
          data.forget();
        },
      };
    },
    peerWork: () => ({ op: 'softmax', rows, width, x: data.get() }),
  };
}

function argmaxCase(rows: number, width: number): Case {
  return {
    group: 'kernels', kernel: 'argmax', shape: `${rows}×${width}`, flops: rows * width, bytes: 4 * rows * width,
    prepare(gpu, sets) {
      const x = inputs(rows * width, 8);
      return {
        ...inTurns(sets, () => ({ x: Tensor.from(gpu, x, [rows, width]) }), (t) => argmax(t.x)),
        error: sampled(rows, rows, (at) => {
          const line = x.subarray(at * width, (at + 1) * width);
          return line.indexOf(line.reduce((a, b) => Math.max(a, b)));
        }),
      };
    },
  };
}

function gatherCase(rows: number, width: number, count: number): Case {
  return {
    group: 'kernels', kernel: 'gather rows', shape: `${count} of ${rows}×${width}`, flops: 0, bytes: 8 * count * width,
    prepare(gpu, sets) {
      const x = inputs(rows * width, 9);
      const index = picks(count, rows, 10);
      return {
        ...inTurns(sets, () => ({ x: Tensor.from(gpu, x, [rows, width]), i: Tensor.from(gpu, index, [count]) }), (t) => gatherRows(t.x, t.i)),
        error: sampled(count * width, 500, (at) => x[index[Math.floor(at / width)]! * width + (at % width)]!),
      };
    },
  };
}

/** Parameter, gradient and both moments are read, all but the gradient written: 28 bytes a parameter. */
function adamCase(parameters: number, long = false): Case {
  const data = lazy(() => ({ parameter: inputs(parameters, 19), gradient: inputs(parameters, 20) }));
  return {
    group: 'kernels', kernel: 'Adam', shape: `${parameters / 1e6} million parameters`, long, flops: 12 * parameters, bytes: 28 * parameters,
    prepare(gpu, sets) {
      const { parameter: p, gradient: g } = data.get();
      const make = (values: Float32Array): Tensor => Tensor.from(gpu, values, [1, parameters]);
      const all = Array.from({ length: sets }, () => ({ parameter: make(p), gradient: make(g), first: Tensor.zeros(gpu, [1, parameters]), second: Tensor.zeros(gpu, [1, parameters]), rate: Tensor.from(gpu, [RATE], [1]) }));
      return {
        run: (turn) => adam(all[turn % sets]!, { ...adamDefaults, step: 1 }),
        async read() {
          const fresh = { ...all[0]!, parameter: make(p), first: Tensor.zeros(gpu, [1, parameters]), second: Tensor.zeros(gpu, [1, parameters]) };
          adam(fresh, { ...adamDefaults, step: 1 });
          return fresh.parameter.read().finally(() => {
            for (const t of [fresh.parameter, fresh.first, fresh.second]) t.dispose();
          });
        },
        // A first step from zero moments moves each parameter by rate · g / (|g| + ε). The move is what is judged: beside the parameter it is small.
        error: (result) => (result.length === parameters ? relative(sample(parameters, 500).map((i) => [result[i]! - p[i]!, (-RATE * g[i]!) / (Math.abs(g[i]!) + 1e-8)] as const)) : Infinity),
        dispose() {
          for (const set of all) for (const t of Object.values(set)) t.dispose();
          data.forget();
        },
      };
    },
    // float32 holds a parameter near 1 to 6e-8, six parts in 10⁵ of a move by 1e-3.
    tolerance: 2e-4,
    peerWork: () => ({ op: 'adam', parameters, ...data.get() }),
  };
}

export function rowCases(): Case[] {
  return [
    ...[1, 32].flatMap((batch) => [19, 128, 1024].map((positions) => attentionCase(batch, positions, batch * positions > 8000))),
    layerNormCase(1216, 768), layerNormCase(4096, 768),
    softmaxCase(4096, 1024), softmaxCase(128, 50257), softmaxCase(1024, 50257, true),
    argmaxCase(64, 50257), gatherCase(50257, 768, 4096),
    adamCase(1_000_000), adamCase(4_000_000), adamCase(16_000_000), adamCase(40_000_000, true),
  ];
}
