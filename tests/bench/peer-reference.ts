/** What the benchmark's work must give, in float64 by the plainest loops. */
import type { PeerWork } from '../../bench/peers/peer.ts';

type Numbers = ArrayLike<number>;

/** a [m, k] times b [k, n], read through functions of row and column. */
function product(m: number, k: number, n: number, a: (i: number, j: number) => number, b: (i: number, j: number) => number): Float64Array {
  return Float64Array.from({ length: m * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    let sum = 0;
    for (let x = 0; x < k; x++) sum += a(i, x) * b(x, j);
    return sum;
  });
}

const plain = (data: Numbers, columns: number, from = 0) => (i: number, j: number): number => data[from + i * columns + j]!;
const turned = (data: Numbers, columns: number, from = 0) => (i: number, j: number): number => data[from + j * columns + i]!;

function layerNorm(x: Numbers, width: number, gamma: Numbers, beta: Numbers, epsilon: number): Float64Array {
  const out = new Float64Array(x.length);
  for (let at = 0; at < x.length; at += width) {
    const row = Array.from({ length: width }, (_, i) => x[at + i]!);
    const mean = row.reduce((a, b) => a + b, 0) / width;
    const deviation = Math.sqrt(row.reduce((sum, v) => sum + (v - mean) ** 2, 0) / width + epsilon);
    row.forEach((v, i) => { out[at + i] = ((v - mean) / deviation) * gamma[i]! + beta[i]!; });
  }
  return out;
}

function softmax(x: Numbers, width: number): Float64Array {
  const out = new Float64Array(x.length);
  for (let at = 0; at < x.length; at += width) {
    const powers = Array.from({ length: width }, (_, i) => Math.exp(x[at + i]!));
    const sum = powers.reduce((a, b) => a + b, 0);
    powers.forEach((p, i) => { out[at + i] = p / sum; });
  }
  return out;
}

function attention(qkv: Numbers, batch: number, positions: number, heads: number, width: number): Float64Array {
  const out = new Float64Array(batch * positions * heads * width);
  const from = (b: number, position: number, which: number, head: number): number => (((b * positions + position) * 3 + which) * heads + head) * width;
  for (let b = 0; b < batch; b++) for (let head = 0; head < heads; head++) for (let query = 0; query < positions; query++) {
    const scores = Float64Array.from({ length: query + 1 }, (_, key) => {
      let sum = 0;
      for (let i = 0; i < width; i++) sum += qkv[from(b, query, 0, head) + i]! * qkv[from(b, key, 1, head) + i]!;
      return sum / Math.sqrt(width);
    });
    const pattern = softmax(scores, query + 1);
    for (let i = 0; i < width; i++) out[((b * positions + query) * heads + head) * width + i] = pattern.reduce((sum, p, key) => sum + p * qkv[from(b, key, 2, head) + i]!, 0);
  }
  return out;
}

/** Adam's first step, from zero moments. */
function adam(parameter: Numbers, gradient: Numbers): Float64Array {
  return Float64Array.from({ length: parameter.length }, (_, i) => parameter[i]! - (1e-3 * gradient[i]!) / (Math.abs(gradient[i]!) + 1e-8));
}

const gelu = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

function forward(work: Extract<PeerWork, { op: 'forward' }>): Float64Array {
  const { batch, positions, layers, heads, model, hidden, vocabulary, epsilon, tokens, weights, lastOnly } = work;
  const of = (name: string): Float32Array => weights.get(name)!.data;
  const rows = batch * positions;
  const norm = (x: Numbers, name: string): Float64Array => layerNorm(x, model, of(`${name}.weight`), of(`${name}.bias`), epsilon);
  const linear = (x: Numbers, name: string, from: number, to: number): Float64Array =>
    product(rows, from, to, plain(x, from), plain(of(`${name}.weight`), to)).map((v, i) => v + of(`${name}.bias`)[i % to]!);
  let stream = Float64Array.from({ length: rows * model }, (_, at) => {
    const [row, i] = [Math.floor(at / model), at % model];
    return of('wte.weight')[tokens[row]! * model + i]! + of('wpe.weight')[(row % positions) * model + i]!;
  });
  for (let layer = 0; layer < layers; layer++) {
    const name = (part: string): string => `h.${layer}.${part}`;
    const mixed = attention(linear(norm(stream, name('ln_1')), name('attn.c_attn'), model, 3 * model), batch, positions, heads, model / heads);
    const attended = linear(mixed, name('attn.c_proj'), model, model);
    stream = stream.map((v, i) => v + attended[i]!);
    const down = linear(linear(norm(stream, name('ln_2')), name('mlp.c_fc'), model, hidden).map(gelu), name('mlp.c_proj'), hidden, model);
    stream = stream.map((v, i) => v + down[i]!);
  }
  const logits = product(rows, model, vocabulary, plain(norm(stream, 'ln_f'), model), turned(of('wte.weight'), model));
  if (!lastOnly) return logits;
  return Float64Array.from({ length: batch * vocabulary }, (_, at) => logits[(Math.floor(at / vocabulary) * positions + positions - 1) * vocabulary + (at % vocabulary)]!);
}

/** Decoders after one step; their gradient is fᵀ · 2 (x̂ − x) / rows. */
function saeStep({ dictionaries, rows, width, features, x, encoder, decoder }: Extract<PeerWork, { op: 'sae-step' }>): Float64Array {
  const out = new Float64Array(decoder.length);
  for (let d = 0; d < dictionaries; d++) {
    const [examples, matrix] = [d * rows * width, d * features * width];
    const f = product(rows, width, features, plain(x, width, examples), turned(encoder, width, matrix)).map((v) => Math.max(v, 0));
    const rest = product(rows, features, width, plain(f, features), plain(decoder, width, matrix)).map((v, i) => (2 * (v - x[examples + i]!)) / rows);
    out.set(adam(decoder.subarray(matrix, matrix + features * width), product(features, rows, width, turned(f, features), plain(rest, width))), matrix);
  }
  return out;
}

export function reference(work: PeerWork): Float64Array {
  switch (work.op) {
    case 'matmul': {
      const { batch, m, k, n, a, b, transposeA, transposeB } = work;
      const out = new Float64Array(batch * m * n);
      for (let i = 0; i < batch; i++) out.set(product(m, k, n, transposeA ? turned(a, m, i * m * k) : plain(a, k, i * m * k), transposeB ? turned(b, k, i * k * n) : plain(b, n, i * k * n)), i * m * n);
      return out;
    }
    case 'attention': return attention(work.qkv, work.batch, work.positions, work.heads, work.width);
    case 'layer-norm': return layerNorm(work.x, work.width, work.gamma, work.beta, work.epsilon);
    case 'softmax': return softmax(work.x, work.width);
    case 'adam': return adam(work.parameter, work.gradient);
    case 'forward': return forward(work);
    case 'sae-step': return saeStep(work);
  }
}
