/** GPT-2 in float64, written plainly, one prompt at a time: what the engine's forward pass is compared with. */
import type { TensorFile } from '../../src/files/index.ts';

export interface ReferenceConfig { layers: number; heads: number; width: number; mlpWidth: number; vocabulary: number; epsilon: number }

/** Weights by their names without prefix, row-major as in the file. */
export type ReferenceWeights = Record<string, Float64Array>;

export interface Activation { shape: number[]; data: Float64Array }

/** Called at every hook; may change the data in place. */
export type ReferenceEdit = (hook: string, activation: Activation) => void;

/** Reads all tensors of a file as float64; `round` may round each number, as storing it in fewer bits would. */
export async function referenceWeights(file: TensorFile, round: (x: number) => number = (x) => x): Promise<ReferenceWeights> {
  const weights: ReferenceWeights = {};
  for (const name of file.names) weights[name.replace(/^transformer\./, '')] = Float64Array.from(await file.f32(name), round);
  return weights;
}

/** All activations of one prompt by hook name, without the prompt axis, and the logits. Masked scores are -1e30. */
export function referenceRun(weights: ReferenceWeights, config: ReferenceConfig, tokens: readonly number[], edit: ReferenceEdit = () => {}): Map<string, Activation> {
  const { layers, heads, width: D, mlpWidth: M, vocabulary, epsilon } = config;
  const T = tokens.length;
  const d = D / heads;
  const found = new Map<string, Activation>();
  const hook = (name: string, shape: number[], data: Float64Array): Float64Array => {
    edit(name, { shape, data });
    found.set(name, { shape, data: data.slice() });
    return data;
  };
  const get = (name: string): Float64Array => weights[name]!;

  const wte = get('wte.weight');
  const embedded = new Float64Array(T * D);
  const positions = new Float64Array(T * D);
  for (let t = 0; t < T; t++) for (let i = 0; i < D; i++) {
    embedded[t * D + i] = wte[tokens[t]! * D + i]!;
    positions[t * D + i] = get('wpe.weight')[t * D + i]!;
  }
  hook('hook_embed', [T, D], embedded);
  hook('hook_pos_embed', [T, D], positions);
  let x: Float64Array = embedded.map((value, i) => value + positions[i]!);

  const norm = (prefix: string, name: string): Float64Array => {
    const scale = new Float64Array(T);
    const out = new Float64Array(T * D);
    for (let t = 0; t < T; t++) {
      const row = x.subarray(t * D, (t + 1) * D);
      const mean = row.reduce((a, b) => a + b, 0) / D;
      scale[t] = Math.sqrt(row.reduce((a, b) => a + (b - mean) ** 2, 0) / D + epsilon);
      for (let i = 0; i < D; i++) out[t * D + i] = ((row[i]! - mean) / scale[t]!) * (get(`${name}.weight`)[i] ?? 1) + (get(`${name}.bias`)[i] ?? 0);
    }
    hook(`${prefix}.hook_scale`, [T, 1], scale);
    return hook(`${prefix}.hook_normalized`, [T, D], out);
  };

  for (let layer = 0; layer < layers; layer++) {
    const at = `blocks.${layer}`;
    const file = `h.${layer}`;
    hook(`${at}.hook_resid_pre`, [T, D], x);
    const qkv = linear(norm(`${at}.ln1`, `${file}.ln_1`), get(`${file}.attn.c_attn.weight`), get(`${file}.attn.c_attn.bias`), T, D, 3 * D);
    const [q, k, v] = ['q', 'k', 'v'].map((name, part) => {
      const data = new Float64Array(T * D);
      for (let t = 0; t < T; t++) for (let i = 0; i < D; i++) data[t * D + i] = qkv[t * 3 * D + part * D + i]!;
      return hook(`${at}.attn.hook_${name}`, [T, heads, d], data);
    }) as [Float64Array, Float64Array, Float64Array];
    const scores = new Float64Array(heads * T * T).fill(-1e30);
    for (let h = 0; h < heads; h++) for (let i = 0; i < T; i++) for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let c = 0; c < d; c++) sum += q[i * D + h * d + c]! * k[j * D + h * d + c]!;
      scores[(h * T + i) * T + j] = sum / Math.sqrt(d);
    }
    hook(`${at}.attn.hook_attn_scores`, [heads, T, T], scores);
    const pattern = new Float64Array(heads * T * T);
    for (let r = 0; r < heads * T; r++) {
      const row = scores.subarray(r * T, (r + 1) * T);
      const most = row.reduce((a, b) => Math.max(a, b), -Infinity);
      const total = row.reduce((a, b) => a + Math.exp(b - most), 0);
      for (let j = 0; j < T; j++) pattern[r * T + j] = Math.exp(row[j]! - most) / total;
    }
    hook(`${at}.attn.hook_pattern`, [heads, T, T], pattern);
    const z = new Float64Array(T * D);
    for (let h = 0; h < heads; h++) for (let i = 0; i < T; i++) for (let j = 0; j < T; j++) {
      for (let c = 0; c < d; c++) z[i * D + h * d + c] = z[i * D + h * d + c]! + pattern[(h * T + i) * T + j]! * v[j * D + h * d + c]!;
    }
    hook(`${at}.attn.hook_z`, [T, heads, d], z);
    const result = new Float64Array(T * heads * D);
    const out = get(`${file}.attn.c_proj.weight`);
    for (let t = 0; t < T; t++) for (let h = 0; h < heads; h++) for (let c = 0; c < d; c++) for (let i = 0; i < D; i++) {
      const to = (t * heads + h) * D + i;
      result[to] = result[to]! + z[t * D + h * d + c]! * out[(h * d + c) * D + i]!;
    }
    hook(`${at}.attn.hook_result`, [T, heads, D], result);
    const attnOut = hook(`${at}.hook_attn_out`, [T, D], linear(z, out, get(`${file}.attn.c_proj.bias`), T, D, D));
    x = hook(`${at}.hook_resid_mid`, [T, D], x.map((value, i) => value + attnOut[i]!));
    const pre = linear(norm(`${at}.ln2`, `${file}.ln_2`), get(`${file}.mlp.c_fc.weight`), get(`${file}.mlp.c_fc.bias`), T, D, M);
    hook(`${at}.mlp.hook_pre`, [T, M], pre);
    const post = hook(`${at}.mlp.hook_post`, [T, M], pre.map((y) => 0.5 * y * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (y + 0.044715 * y ** 3)))));
    const mlpOut = hook(`${at}.hook_mlp_out`, [T, D], linear(post, get(`${file}.mlp.c_proj.weight`), get(`${file}.mlp.c_proj.bias`), T, M, D));
    x = hook(`${at}.hook_resid_post`, [T, D], x.map((value, i) => value + mlpOut[i]!));
  }
  const last = norm('ln_final', 'ln_f');
  const head = weights['lm_head.weight'] ?? wte;
  const logits = new Float64Array(T * vocabulary);
  for (let t = 0; t < T; t++) for (let n = 0; n < vocabulary; n++) {
    let sum = 0;
    for (let i = 0; i < D; i++) sum += last[t * D + i]! * head[n * D + i]!;
    logits[t * vocabulary + n] = sum;
  }
  hook('logits', [T, vocabulary], logits);
  return found;
}

/** x [rows, inputs] W [inputs, outputs] + b */
function linear(x: Float64Array, weight: Float64Array, bias: Float64Array, rows: number, inputs: number, outputs: number): Float64Array {
  const out = new Float64Array(rows * outputs);
  for (let r = 0; r < rows; r++) {
    for (let j = 0; j < outputs; j++) out[r * outputs + j] = bias[j]!;
    for (let i = 0; i < inputs; i++) {
      const value = x[r * inputs + i]!;
      for (let j = 0; j < outputs; j++) out[r * outputs + j] = out[r * outputs + j]! + value * weight[i * outputs + j]!;
    }
  }
  return out;
}
