/** GPT-2's forward pass in TensorFlow.js's own operations. */
import { embedded, joinVocabulary, lastRows, vocabularyParts, weight } from './gpt2.ts';
import { length } from './parts.ts';
import type { ForwardWork } from './peer.ts';
import type { Tf, TfTensor } from './tfjs.ts';
import { causalMask, tfAttention, tfLayerNorm, type TfProgram } from './tfjs-programs.ts';

/** Logits in as many parts of the vocabulary as bindings of `limit` bytes need. */
export function tfForward(tf: Tf, work: ForwardWork, limit: number): TfProgram {
  const { batch, positions, layers, heads, model, hidden, epsilon, lastOnly } = work;
  const inputs: TfTensor[] = [];
  const feed = (data: Float32Array, ...shape: number[]): TfTensor => {
    const tensor = tf.tensor(data, shape);
    inputs.push(tensor);
    return tensor;
  };
  const norm = (name: string): ((x: TfTensor) => TfTensor) => {
    const [gamma, beta] = [feed(weight(work, `${name}.weight`), model), feed(weight(work, `${name}.bias`), model)];
    return (x) => tfLayerNorm(tf, x, gamma, beta, epsilon);
  };
  // The bias in the product's own kernel.
  const linear = (name: string, from: number, to: number): ((x: TfTensor) => TfTensor) => {
    const [b, bias] = [feed(weight(work, `${name}.weight`), from, to), feed(weight(work, `${name}.bias`), to)];
    return (a) => tf.fused.matMul({ a, b, bias });
  };
  const start = feed(embedded(work), batch * positions, model);
  const blocks = Array.from({ length: layers }, (_, layer) => ({
    first: norm(`h.${layer}.ln_1`), qkv: linear(`h.${layer}.attn.c_attn`, model, 3 * model), out: linear(`h.${layer}.attn.c_proj`, model, model),
    second: norm(`h.${layer}.ln_2`), up: linear(`h.${layer}.mlp.c_fc`, model, hidden), down: linear(`h.${layer}.mlp.c_proj`, hidden, model),
  }));
  const final = norm('ln_f');
  const parts = vocabularyParts(work, limit);
  const unembed = parts.map(({ range, data }) => feed(data, model, length(range)));
  const [mask, hiddenScore] = [causalMask(tf, positions), tf.scalar(-1e9)];
  inputs.push(mask, hiddenScore);

  // https://arxiv.org/abs/1606.08415, the form with tanh
  const gelu = (x: TfTensor): TfTensor => {
    const inner = tf.mul(tf.mul(x, tf.add(tf.mul(tf.square(x), 0.044715), 1)), Math.sqrt(2 / Math.PI));
    return tf.mul(tf.mul(x, 0.5), tf.add(tf.tanh(inner), 1));
  };
  const forward = (): TfTensor[] => {
    let stream = start;
    for (const { first, qkv, out, second, up, down } of blocks) {
      const all = qkv(first(stream));
      const split = [0, 1, 2].map((i) => tf.reshape(tf.slice(all, [0, i * model], [batch * positions, model]), [batch, positions, heads, model / heads]));
      stream = tf.add(stream, out(tf.reshape(tfAttention(tf, split, mask, hiddenScore), [batch * positions, model])));
      stream = tf.add(stream, down(gelu(up(second(stream)))));
    }
    if (lastOnly) stream = tf.reshape(tf.slice(tf.reshape(stream, [batch, positions, model]), [0, positions - 1, 0], [batch, 1, model]), [lastRows(work), model]);
    const last = final(stream);
    return unembed.map((words) => tf.matMul(last, words));
  };
  return { inputs, results: parts.length, join: (results) => joinVocabulary(work, parts, results), start: forward };
}
