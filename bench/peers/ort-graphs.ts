/** The benchmark's work as ONNX graphs. */
import type { OnnxConstant, OnnxGraph, OnnxNode, OnnxValue } from './onnx.ts';
import { attentionNodes } from './ort-attention.ts';
import { forward } from './ort-forward.ts';
import { joinParts, leftOf, length, matmulParts, rightOf, splitQkv, transposed } from './parts.ts';
import type { AdamWork, AttentionWork, LayerNormWork, MatmulWork, PeerWork, SoftmaxWork } from './peer.ts';

export interface GraphPlan {
  graph: OnnxGraph;
  /** Contents of the graph's inputs, by name. */
  feeds: ReadonlyMap<string, Float32Array | Int32Array>;
  /** How many of the graph's outputs, from the first, hold the result. */
  results: number;
  join(results: readonly Float32Array[]): Float32Array;
}

/** The graph for a piece of work, no tensor of it above `limit` bytes, attention by the fused kernel or by single operations; null for training, of which this runtime has none. */
export function graphOf(work: PeerWork, limit: number, fused: boolean): GraphPlan | null {
  switch (work.op) {
    case 'matmul': return matmul(work, limit);
    case 'attention': return attention(work, fused);
    case 'layer-norm': return layerNorm(work);
    case 'softmax': return softmax(work);
    case 'adam': return adam(work);
    case 'forward': return forward(work, limit, fused);
    case 'sae-step': return null;
  }
}

const only = (results: readonly Float32Array[]): Float32Array => results[0]!;

/**
 * MatMul; a product of two matrices with a transposed left side by Gemm, which reads it as it lies, other transposed operands through a
 * Transpose in the graph. A transposed right side of a single product is laid out the other way beforehand, as weights can be.
 */
function matmul(work: MatmulWork, limit: number): GraphPlan {
  const { batch, m, k, transposeA, transposeB } = work;
  const parts = matmulParts(work, limit);
  const feeds = new Map<string, Float32Array>();
  const [nodes, inputs, outputs]: [OnnxNode[], OnnxValue[], OnnxValue[]] = [[], [], []];
  const single = batch === 1;
  const shaped = (size: number, ...shape: number[]): number[] => (single ? shape : [size, ...shape]);
  const swapped = (name: string): string => {
    nodes.push({ op: 'Transpose', inputs: [name], outputs: [`${name}_swapped`], attributes: { perm: [0, 2, 1] } });
    return `${name}_swapped`;
  };
  const lefts = new Map<number, string>();
  parts.forEach((part, i) => {
    const [size, n] = [length(part.batch), length(part.columns)];
    let left = lefts.get(part.batch.from);
    if (!left) {
      const name = `a${i}`;
      inputs.push({ name, shape: transposeA ? shaped(size, k, m) : shaped(size, m, k) });
      feeds.set(name, leftOf(work, part));
      left = transposeA && !single ? swapped(name) : name;
      lefts.set(part.batch.from, left);
    }
    const name = `b${i}`;
    const data = rightOf(work, part);
    const turn = single && transposeB;
    inputs.push({ name, shape: transposeB && !turn ? shaped(size, n, k) : shaped(size, k, n) });
    feeds.set(name, turn ? transposed(data, n, k) : data);
    const right = transposeB && !turn ? swapped(name) : name;
    const output = `c${i}`;
    outputs.push({ name: output, shape: shaped(size, m, n) });
    nodes.push(single && transposeA ? { op: 'Gemm', inputs: [left, right], outputs: [output], attributes: { transA: 1 } } : { op: 'MatMul', inputs: [left, right], outputs: [output] });
  });
  return { graph: { nodes, inputs, outputs }, feeds, results: outputs.length, join: (results) => joinParts(work, parts, results) };
}

function attention({ batch, positions, heads, width, qkv }: AttentionWork, fused: boolean): GraphPlan {
  const shape = [batch, positions, heads * width];
  const [q, k, v] = splitQkv(qkv, batch * positions, heads * width);
  const made = attentionNodes({ batch, positions, heads, width }, fused);
  const inputs = [...['q', 'k', 'v'].map((name) => ({ name, shape })), ...made.inputs];
  const graph: OnnxGraph = { nodes: made.nodes('q', 'k', 'v', 'out'), constants: made.constants, inputs, outputs: [{ name: 'out', shape }] };
  return { graph, feeds: new Map([['q', q], ['k', k], ['v', v], ...made.feeds]), results: 1, join: only };
}

function layerNorm({ rows, width, epsilon, x, gamma, beta }: LayerNormWork): GraphPlan {
  const graph: OnnxGraph = {
    nodes: [{ op: 'LayerNormalization', inputs: ['x', 'gamma', 'beta'], outputs: ['out'], attributes: { axis: -1, epsilon: { float: epsilon } } }],
    inputs: [{ name: 'x', shape: [rows, width] }, { name: 'gamma', shape: [width] }, { name: 'beta', shape: [width] }],
    outputs: [{ name: 'out', shape: [rows, width] }],
  };
  return { graph, feeds: new Map([['x', x], ['gamma', gamma], ['beta', beta]]), results: 1, join: only };
}

function softmax({ rows, width, x }: SoftmaxWork): GraphPlan {
  const shape = [rows, width];
  const graph: OnnxGraph = { nodes: [{ op: 'Softmax', inputs: ['x'], outputs: ['out'], attributes: { axis: -1 } }], inputs: [{ name: 'x', shape }], outputs: [{ name: 'out', shape }] };
  return { graph, feeds: new Map([['x', x]]), results: 1, join: only };
}

/** Adam as elementwise operations; the first step's corrections of the moments are constants of the graph. */
function adam({ parameters, parameter, gradient }: AdamWork): GraphPlan {
  const shape = [parameters];
  const [beta1, beta2, rate, epsilon] = [0.9, 0.999, 1e-3, 1e-8];
  const constants: OnnxConstant[] = [];
  const nodes: OnnxNode[] = [];
  const number = (name: string, value: number): string => {
    constants.push({ name, shape: [1], data: Float32Array.of(value) });
    return name;
  };
  const step = (op: string, output: string, ...inputs: string[]): string => {
    nodes.push({ op, inputs, outputs: [output] });
    return output;
  };
  const m = step('Add', 'm_new', step('Mul', 'm_old', 'm', number('beta1', beta1)), step('Mul', 'm_add', 'g', number('rest1', 1 - beta1)));
  const squared = step('Mul', 'g_squared', 'g', 'g');
  const v = step('Add', 'v_new', step('Mul', 'v_old', 'v', number('beta2', beta2)), step('Mul', 'v_add', squared, number('rest2', 1 - beta2)));
  const root = step('Sqrt', 'v_root', step('Div', 'v_right', v, number('correction2', 1 - beta2)));
  const size = step('Add', 'v_size', root, number('epsilon', epsilon));
  const change = step('Div', 'change', step('Mul', 'm_scaled', m, number('rate', rate / (1 - beta1))), size);
  step('Sub', 'p_new', 'p', change);
  const graph: OnnxGraph = { nodes, constants, inputs: ['p', 'g', 'm', 'v'].map((name) => ({ name, shape })), outputs: ['p_new', 'm_new', 'v_new'].map((name) => ({ name, shape })) };
  const zeros = new Float32Array(parameters);
  return { graph, feeds: new Map([['p', parameter], ['g', gradient], ['m', zeros], ['v', zeros]]), results: 1, join: only };
}
