/** GPT-2's forward pass as an ONNX graph of ONNX Runtime's fused operations, all weights fed. */
import { embedded, lastRows, vocabularyParts, joinVocabulary, weight } from './gpt2.ts';
import type { OnnxConstant, OnnxNode, OnnxValue } from './onnx.ts';
import { attentionNodes } from './ort-attention.ts';
import type { GraphPlan } from './ort-graphs.ts';
import { length } from './parts.ts';
import type { ForwardWork } from './peer.ts';

const MICROSOFT = 'com.microsoft';

/** Logits in as many parts of the vocabulary as bindings of `limit` bytes need. */
export function forward(work: ForwardWork, limit: number, fused: boolean): GraphPlan {
  const { batch, positions, layers, heads, model, hidden, epsilon, lastOnly } = work;
  const rows = batch * positions;
  const [nodes, inputs]: [OnnxNode[], OnnxValue[]] = [[], []];
  const feeds = new Map<string, Float32Array>();
  const constants: OnnxConstant[] = [];
  const feed = (name: string, data: Float32Array, ...shape: number[]): string => {
    inputs.push({ name, shape });
    feeds.set(name, data);
    return name;
  };
  const given = (name: string, ...shape: number[]): string => feed(name, weight(work, name), ...shape);
  const linear = (input: string, name: string, from: number, to: number): string => {
    nodes.push({ op: 'Gemm', inputs: [input, given(`${name}.weight`, from, to), given(`${name}.bias`, to)], outputs: [`${name}.out`] });
    return `${name}.out`;
  };
  const norm = (name: string): [string, string] => [given(`${name}.weight`, model), given(`${name}.bias`, model)];
  const shaped = (input: string, output: string, shape: string): string => {
    nodes.push({ op: 'Reshape', inputs: [input, shape], outputs: [output] });
    return output;
  };
  /** The sum of the stream and what is added to it, and that sum normalised. */
  const addAndNorm = (stream: string, added: string, name: string): [string, string] => {
    nodes.push({ op: 'SkipLayerNormalization', domain: MICROSOFT, inputs: [stream, added, ...norm(name)], outputs: [`${name}.out`, '', '', `${name}.sum`], attributes: { epsilon: { float: epsilon } } });
    return [`${name}.sum`, `${name}.out`];
  };
  constants.push({ name: 'flat', shape: [2], data: BigInt64Array.of(BigInt(rows), BigInt(model)) }, { name: 'deep', shape: [3], data: BigInt64Array.of(BigInt(batch), BigInt(positions), BigInt(model)) });
  const attention = attentionNodes({ batch, positions, heads, width: model / heads }, fused);
  constants.push(...attention.constants);
  for (const [name, data] of attention.feeds) feed(name, data, ...attention.inputs.find((v) => v.name === name)!.shape);

  let stream = feed('embedded', embedded(work), rows, model);
  nodes.push({ op: 'LayerNormalization', inputs: [stream, ...norm('h.0.ln_1')], outputs: ['h.0.ln_1.out'], attributes: { axis: -1, epsilon: { float: epsilon } } });
  let normed = 'h.0.ln_1.out';
  for (let layer = 0; layer < layers; layer++) {
    const name = (part: string): string => `h.${layer}.${part}`;
    const qkv = linear(normed, name('attn.c_attn'), model, 3 * model);
    const split = ['q', 'k', 'v'].map((part) => name(`attn.${part}`));
    nodes.push({ op: 'Split', inputs: [qkv], outputs: split, attributes: { axis: -1, num_outputs: 3 } });
    const [q, k, v] = split.map((part) => shaped(part, `${part}.deep`, 'deep'));
    nodes.push(...attention.nodes(q!, k!, v!, name('attn.mixed')));
    const attended = linear(shaped(name('attn.mixed'), name('attn.flat'), 'flat'), name('attn.c_proj'), model, model);
    [stream, normed] = addAndNorm(stream, attended, name('ln_2'));
    const up = linear(normed, name('mlp.c_fc'), model, hidden);
    nodes.push({ op: 'FastGelu', domain: MICROSOFT, inputs: [up], outputs: [name('mlp.gelu')] });
    const down = linear(name('mlp.gelu'), name('mlp.c_proj'), hidden, model);
    [stream, normed] = addAndNorm(stream, down, layer + 1 < layers ? `h.${layer + 1}.ln_1` : 'ln_f');
  }
  if (lastOnly) {
    // Rows of last positions: every `positions`-th, from the first of them.
    const vector = (name: string, value: number): OnnxConstant => ({ name, shape: [1], data: BigInt64Array.of(BigInt(value)) });
    constants.push(vector('last_from', positions - 1), vector('last_to', rows), vector('last_axis', 0), vector('last_step', positions));
    nodes.push({ op: 'Slice', inputs: [normed, 'last_from', 'last_to', 'last_axis', 'last_step'], outputs: ['last'] });
    normed = 'last';
  }
  const parts = vocabularyParts(work, limit);
  const outputs = parts.map(({ range, data }, i) => {
    nodes.push({ op: 'MatMul', inputs: [normed, feed(`unembed${i}`, data, model, length(range))], outputs: [`logits${i}`] });
    return { name: `logits${i}`, shape: [lastRows(work), length(range)] };
  });
  return { graph: { nodes, constants, inputs, outputs }, feeds, results: outputs.length, join: (results) => joinVocabulary(work, parts, results) };
}
