/** Causal attention in ONNX: ONNX Runtime's fused kernel, or single operations with a mask. */
import type { AttentionWork } from './peer.ts';
import type { OnnxConstant, OnnxNode, OnnxValue } from './onnx.ts';

export interface AttentionShape { batch: number; positions: number; heads: number; width: number }

export interface AttentionNodes {
  /** q, k, v [batch, positions, heads · width] to an output of the same shape; names inside start with the output's. */
  nodes(q: string, k: string, v: string, output: string): OnnxNode[];
  constants: OnnxConstant[];
  /** What the graph must be fed besides. */
  inputs: OnnxValue[];
  feeds: [string, Float32Array][];
}

export function attentionNodes(shape: AttentionShape, fused: boolean): AttentionNodes {
  return fused ? fusedNodes(shape) : singleNodes(shape);
}

/** https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MultiHeadAttention */
function fusedNodes({ heads }: AttentionShape): AttentionNodes {
  const nodes = (q: string, k: string, v: string, output: string): OnnxNode[] => [
    { op: 'MultiHeadAttention', domain: 'com.microsoft', inputs: [q, k, v], outputs: [output], attributes: { num_heads: heads, unidirectional: 1 } },
  ];
  return { nodes, constants: [], inputs: [], feeds: [] };
}

function singleNodes({ batch, positions, heads, width }: AttentionShape): AttentionNodes {
  const big = BigInt;
  const constants: OnnxConstant[] = [
    { name: 'by_head', shape: [4], data: BigInt64Array.of(big(batch), big(positions), big(heads), big(width)) },
    { name: 'together', shape: [3], data: BigInt64Array.of(big(batch), big(positions), big(heads * width)) },
    { name: 'scale', shape: [1], data: Float32Array.of(1 / Math.sqrt(width)) },
  ];
  const mask = Float32Array.from({ length: positions * positions }, (_, i) => (i % positions <= Math.floor(i / positions) ? 0 : -1e9));
  const nodes = (q: string, k: string, v: string, output: string): OnnxNode[] => {
    const name = (part: string): string => `${output}_${part}`;
    const apart = (input: string, part: string, perm: number[]): OnnxNode[] => [
      { op: 'Reshape', inputs: [input, 'by_head'], outputs: [name(`${part}_4d`)] },
      { op: 'Transpose', inputs: [name(`${part}_4d`)], outputs: [name(part)], attributes: { perm } },
    ];
    return [
      ...apart(q, 'q', [0, 2, 1, 3]), ...apart(k, 'k', [0, 2, 3, 1]), ...apart(v, 'v', [0, 2, 1, 3]),
      { op: 'MatMul', inputs: [name('q'), name('k')], outputs: [name('products')] },
      { op: 'Mul', inputs: [name('products'), 'scale'], outputs: [name('scores')] },
      { op: 'Add', inputs: [name('scores'), 'mask'], outputs: [name('masked')] },
      { op: 'Softmax', inputs: [name('masked')], outputs: [name('pattern')], attributes: { axis: -1 } },
      { op: 'MatMul', inputs: [name('pattern'), name('v')], outputs: [name('heads')] },
      { op: 'Transpose', inputs: [name('heads')], outputs: [name('rows')], attributes: { perm: [0, 2, 1, 3] } },
      { op: 'Reshape', inputs: [name('rows'), 'together'], outputs: [output] },
    ];
  };
  return { nodes, constants, inputs: [{ name: 'mask', shape: [1, 1, positions, positions] }], feeds: [['mask', mask]] };
}

/** A small piece of attention that is long enough for the fused kernel to take several steps, and its result. */
export function fusedTrial(): { work: AttentionWork; expected: Float64Array } {
  const [positions, width] = [40, 64];
  const qkv = Float32Array.from({ length: positions * 3 * width }, (_, i) => Math.sin(i * 12.9898) * 0.5);
  const at = (position: number, which: number, i: number): number => qkv[(position * 3 + which) * width + i]!;
  const expected = new Float64Array(positions * width);
  for (let query = 0; query < positions; query++) {
    const scores: number[] = [];
    for (let key = 0; key <= query; key++) {
      let product = 0;
      for (let i = 0; i < width; i++) product += at(query, 0, i) * at(key, 1, i);
      scores.push(Math.exp(product / Math.sqrt(width)));
    }
    const sum = scores.reduce((a, b) => a + b, 0);
    for (let i = 0; i < width; i++) expected[query * width + i] = scores.reduce((total, score, key) => total + (score / sum) * at(key, 2, i), 0);
  }
  return { work: { op: 'attention', batch: 1, positions, heads: 1, width, qkv }, expected };
}
