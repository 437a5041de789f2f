/** The benchmark's work in TensorFlow.js's own operations. */
import { joinParts, leftOf, length, matmulParts, ranges, rightOf, splitQkv, transposed } from './parts.ts';
import { tfForward } from './tfjs-forward.ts';
import type { AdamWork, AttentionWork, LayerNormWork, MatmulWork, PeerWork, SaeStepWork, SoftmaxWork } from './peer.ts';
import type { Tf, TfTensor } from './tfjs.ts';

export interface TfProgram {
  /** Runs inside `tidy`. */
  start(): TfTensor[];
  /** How many of the outputs, from the first, hold the result. */
  results: number;
  join(results: readonly Float32Array[]): Float32Array;
  /** What stays from run to run. */
  inputs: readonly TfTensor[];
}

/** The program for a piece of work, no tensor of it above `limit` bytes; null where there is no way. */
export function tfProgram(tf: Tf, work: PeerWork, limit: number): TfProgram | null {
  switch (work.op) {
    case 'matmul': return matmul(tf, work, limit);
    case 'attention': return attention(tf, work);
    case 'layer-norm': return layerNorm(tf, work);
    case 'softmax': return softmax(tf, work);
    case 'adam': return adam(tf, work);
    case 'forward': return tfForward(tf, work, limit);
    case 'sae-step': return saeStep(tf, work, limit);
  }
}

const only = (results: readonly Float32Array[]): Float32Array => results[0]!;

/** A lone right side that comes transposed is laid out the other way beforehand: its kernel for a transposed one reads no vectors. */
function matmul(tf: Tf, work: MatmulWork, limit: number): TfProgram {
  const { batch, m, k, transposeA, transposeB } = work;
  const parts = matmulParts(work, limit);
  const turn = transposeB && batch === 1;
  const lefts = new Map<number, TfTensor>();
  const inputs: TfTensor[] = [];
  const kept = (tensor: TfTensor): TfTensor => {
    inputs.push(tensor);
    return tensor;
  };
  const pairs = parts.map((part) => {
    const [size, n] = [length(part.batch), length(part.columns)];
    let left = lefts.get(part.batch.from);
    if (!left) lefts.set(part.batch.from, (left = kept(tf.tensor(leftOf(work, part), transposeA ? [size, k, m] : [size, m, k]))));
    const b = rightOf(work, part);
    const right = kept(tf.tensor(turn ? transposed(b, n, k) : b, transposeB && !turn ? [size, n, k] : [size, k, n]));
    return [left, right] as const;
  });
  return {
    inputs, results: parts.length, join: (results) => joinParts(work, parts, results),
    start: () => pairs.map(([a, b]) => tf.matMul(a, b, transposeA, transposeB && !turn)),
  };
}

/** What hides later positions: [1, 1, positions, positions], true where a query may look. */
export function causalMask(tf: Tf, positions: number): TfTensor {
  const mask = Uint8Array.from({ length: positions * positions }, (_, i) => (i % positions <= Math.floor(i / positions) ? 1 : 0));
  return tf.tensor(mask, [1, 1, positions, positions], 'bool');
}

/** Attention over q, k, v [batch, positions, heads, width] with a mask of what each query may see, and a number for what it may not. */
export function tfAttention(tf: Tf, [q, k, v]: readonly TfTensor[], mask: TfTensor, hidden: TfTensor): TfTensor {
  const byHead = (x: TfTensor): TfTensor => tf.transpose(x, [0, 2, 1, 3]);
  const width = q!.shape[3]!;
  const scores = tf.matMul(tf.mul(byHead(q!), 1 / Math.sqrt(width)), byHead(k!), false, true);
  return byHead(tf.matMul(tf.softmax(tf.where(mask, scores, hidden)), byHead(v!)));
}

function attention(tf: Tf, { batch, positions, heads, width, qkv }: AttentionWork): TfProgram {
  const qkvs = splitQkv(qkv, batch * positions, heads * width).map((data) => tf.tensor(data, [batch, positions, heads, width]));
  const [mask, hidden] = [causalMask(tf, positions), tf.scalar(-1e9)];
  return { inputs: [...qkvs, mask, hidden], results: 1, join: only, start: () => [tfAttention(tf, qkvs, mask, hidden)] };
}

/** (x − mean) / √(variance + ε) · γ + β over the last axis. */
export function tfLayerNorm(tf: Tf, x: TfTensor, gamma: TfTensor, beta: TfTensor, epsilon: number): TfTensor {
  const centred = tf.sub(x, tf.mean(x, -1, true));
  const variance = tf.mean(tf.square(centred), -1, true);
  return tf.add(tf.mul(tf.mul(centred, tf.rsqrt(tf.add(variance, epsilon))), gamma), beta);
}

function layerNorm(tf: Tf, { rows, width, epsilon, x, gamma, beta }: LayerNormWork): TfProgram {
  const inputs = [tf.tensor(x, [rows, width]), tf.tensor(gamma, [width]), tf.tensor(beta, [width])];
  return { inputs, results: 1, join: only, start: () => [tfLayerNorm(tf, inputs[0]!, inputs[1]!, inputs[2]!, epsilon)] };
}

function softmax(tf: Tf, { rows, width, x }: SoftmaxWork): TfProgram {
  const input = tf.tensor(x, [rows, width]);
  return { inputs: [input], results: 1, join: only, start: () => [tf.softmax(input)] };
}

/** Adam's first step for one parameter: the new parameter and moments. */
export function tfAdam(tf: Tf, parameter: TfTensor, gradient: TfTensor, m: TfTensor, v: TfTensor): [TfTensor, TfTensor, TfTensor] {
  const [beta1, beta2, rate, epsilon] = [0.9, 0.999, 1e-3, 1e-8];
  const m2 = tf.add(tf.mul(m, beta1), tf.mul(gradient, 1 - beta1));
  const v2 = tf.add(tf.mul(v, beta2), tf.mul(tf.square(gradient), 1 - beta2));
  const size = tf.add(tf.sqrt(tf.mul(v2, 1 / (1 - beta2))), epsilon);
  return [tf.sub(parameter, tf.div(tf.mul(m2, rate / (1 - beta1)), size)), m2, v2];
}

function adam(tf: Tf, { parameters, parameter, gradient }: AdamWork): TfProgram {
  const zeros = new Float32Array(parameters);
  const inputs = [parameter, gradient, zeros, zeros].map((data) => tf.tensor(data, [parameters]));
  return { inputs, results: 1, join: only, start: () => tfAdam(tf, inputs[0]!, inputs[1]!, inputs[2]!, inputs[3]!) };
}

/** Loss and gradients written out, then Adam, for as many dictionaries at once as `limit` lets the features of all rows be. */
function saeStep(tf: Tf, { dictionaries, rows, width, features, l1, x, encoder, decoder }: SaeStepWork, limit: number): TfProgram {
  const groups = ranges(dictionaries, Math.floor(limit / (4 * features * Math.max(rows, width))));
  const inputs: TfTensor[] = [];
  const kept = (tensor: TfTensor): TfTensor => {
    inputs.push(tensor);
    return tensor;
  };
  const sets = groups.map((group) => {
    const tensor = (data: Float32Array | null, ...shape: number[]): TfTensor => {
      const size = shape.reduce((p, n) => p * n, 1);
      return kept(tf.tensor(data ? data.slice(group.from * size, group.to * size) : new Float32Array(length(group) * size), [length(group), ...shape]));
    };
    const shapes = [[features, width], [features, width], [1, features], [1, width]];
    const parameters = [tensor(encoder, features, width), tensor(decoder, features, width), tensor(null, 1, features), tensor(null, 1, width)];
    return { examples: tensor(x, rows, width), parameters, moments: shapes.map((shape) => [tensor(null, ...shape), tensor(null, ...shape)] as const) };
  });
  const step = ({ examples, parameters, moments }: (typeof sets)[number]): TfTensor[] => {
    const [enc, dec, bEnc, bDec] = parameters as [TfTensor, TfTensor, TfTensor, TfTensor];
    const centred = tf.sub(examples, bDec);
    const before = tf.add(tf.matMul(centred, enc, false, true), bEnc);
    const f = tf.relu(before);
    const rest = tf.mul(tf.sub(tf.add(tf.matMul(f, dec), bDec), examples), 2 / rows);
    const toFeatures = tf.mul(tf.add(tf.matMul(rest, dec, false, true), l1 / rows), tf.step(before));
    const toBias = tf.sum(toFeatures, 1, true);
    const slopes = [tf.matMul(toFeatures, centred, true), tf.matMul(f, rest, true), toBias, tf.sub(tf.sum(rest, 1, true), tf.matMul(toBias, enc))];
    const [newEnc, newDec, ...biases] = parameters.map((p, i) => tfAdam(tf, p, slopes[i]!, ...moments[i]!));
    return [...newDec!, ...newEnc!, ...biases.flat()];
  };
  return {
    inputs, results: groups.length,
    start() {
      const outputs = sets.map(step);
      return [...outputs.map(([decoders]) => decoders!), ...outputs.flatMap(([, ...rest]) => rest)];
    },
    join(results) {
      const out = new Float32Array(dictionaries * features * width);
      results.forEach((data, i) => out.set(data, groups[i]!.from * features * width));
      return out;
    },
  };
}
