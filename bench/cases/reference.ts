/** GPT-2's forward pass in float64 for one prompt, quick enough for a real model's size: what the timed passes are held against. */
import type { Weights } from './models.ts';

export interface ReferenceSizes { layers: number; heads: number; width: number; mlpWidth: number; epsilon: number }

/** One head's output replaced at one position: `values` [width of a head]. */
export interface ReferenceEdit { layer: number; head: number; position: number; values: ArrayLike<number> }

/** The last layer norm's output [positions, width] for a prompt; times the embedding's rows these are the logits. */
export function referenceFinal(weights: Weights, sizes: ReferenceSizes, tokens: ArrayLike<number>, edits: readonly ReferenceEdit[] = []): Float64Array {
  const { layers, heads, width: D, mlpWidth: M, epsilon } = sizes;
  const T = tokens.length;
  const d = D / heads;
  const get = (name: string): Float32Array => weights.get(name)!.data;
  const x = new Float64Array(T * D);
  for (let t = 0; t < T; t++) for (let i = 0; i < D; i++) x[t * D + i] = get('wte.weight')[tokens[t]! * D + i]! + get('wpe.weight')[t * D + i]!;

  const norm = (name: string): Float64Array => {
    const [gamma, beta] = [get(`${name}.weight`), get(`${name}.bias`)];
    const out = new Float64Array(T * D);
    for (let t = 0; t < T; t++) {
      const row = x.subarray(t * D, (t + 1) * D);
      let mean = 0;
      for (const v of row) mean += v / D;
      let variance = 0;
      for (const v of row) variance += (v - mean) ** 2 / D;
      const scale = 1 / Math.sqrt(variance + epsilon);
      for (let i = 0; i < D; i++) out[t * D + i] = (row[i]! - mean) * scale * gamma[i]! + beta[i]!;
    }
    return out;
  };
  const linear = (rows: Float64Array, name: string, inputs: number, outputs: number): Float64Array => {
    const [weight, bias] = [get(`${name}.weight`), get(`${name}.bias`)];
    const out = new Float64Array(T * outputs);
    for (let t = 0; t < T; t++) out.set(bias, t * outputs);
    for (let t = 0; t < T; t += 4) addProducts(out, rows, weight, t, Math.min(4, T - t), inputs, outputs);
    return out;
  };
  const addTo = (more: Float64Array): void => {
    for (let i = 0; i < x.length; i++) x[i]! += more[i]!;
  };

  for (let layer = 0; layer < layers; layer++) {
    const at = `h.${layer}`;
    const qkv = linear(norm(`${at}.ln_1`), `${at}.attn.c_attn`, D, 3 * D);
    const z = attend(qkv, T, heads, d);
    for (const edit of edits) if (edit.layer === layer) for (let c = 0; c < d; c++) z[edit.position * D + edit.head * d + c] = edit.values[c]!;
    addTo(linear(z, `${at}.attn.c_proj`, D, D));
    const hidden = linear(norm(`${at}.ln_2`), `${at}.mlp.c_fc`, D, M);
    for (let i = 0; i < hidden.length; i++) hidden[i] = gelu(hidden[i]!);
    addTo(linear(hidden, `${at}.mlp.c_proj`, M, D));
  }
  return norm('ln_f');
}

/** out[t …] += rows[t …] weight for up to four rows, which share each weight that is read. */
function addProducts(out: Float64Array, rows: Float64Array, weight: Float32Array, t: number, count: number, inputs: number, outputs: number): void {
  const o = Array.from({ length: 4 }, (_, r) => (r < count ? out.subarray((t + r) * outputs, (t + r + 1) * outputs) : new Float64Array(outputs)));
  const [o0, o1, o2, o3] = o as [Float64Array, Float64Array, Float64Array, Float64Array];
  for (let i = 0; i < inputs; i++) {
    const [a, b, c, e] = [0, 1, 2, 3].map((r) => (r < count ? rows[(t + r) * inputs + i]! : 0)) as [number, number, number, number];
    const start = i * outputs;
    for (let j = 0; j < outputs; j++) {
      const w = weight[start + j]!;
      o0[j]! += a * w;
      o1[j]! += b * w;
      o2[j]! += c * w;
      o3[j]! += e * w;
    }
  }
}

function attend(qkv: Float64Array, T: number, heads: number, d: number): Float64Array {
  const D = heads * d;
  const z = new Float64Array(T * D);
  for (let h = 0; h < heads; h++) for (let i = 0; i < T; i++) {
    const scores: number[] = [];
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let c = 0; c < d; c++) sum += qkv[i * 3 * D + h * d + c]! * qkv[j * 3 * D + D + h * d + c]!;
      scores.push(sum / Math.sqrt(d));
    }
    const most = scores.reduce((a, b) => Math.max(a, b));
    const exps = scores.map((s) => Math.exp(s - most));
    const total = exps.reduce((a, b) => a + b);
    for (let j = 0; j <= i; j++) for (let c = 0; c < d; c++) z[i * D + h * d + c]! += (exps[j]! / total) * qkv[j * 3 * D + 2 * D + h * d + c]!;
  }
  return z;
}

/** GELU in its tanh form. */
function gelu(y: number): number {
  return 0.5 * y * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (y + 0.044715 * y ** 3)));
}

/** The logit of a token id: `final` [width] times its embedding. */
export function logit(weights: Weights, final: Float64Array, id: number): number {
  const D = final.length;
  const embedding = weights.get('wte.weight')!.data;
  let sum = 0;
  for (let i = 0; i < D; i++) sum += final[i]! * embedding[id * D + i]!;
  return sum;
}
