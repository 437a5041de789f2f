/** The benchmark's work as programs of jax-js, under `jit`. */
import type { Jax, JaxArray } from './jax.ts';
import { joinParts, leftOf, length, matmulParts, ranges, rightOf, splitQkv, transposed } from './parts.ts';
import { jaxForward } from './jax-forward.ts';
import type { AdamWork, AttentionWork, LayerNormWork, MatmulWork, PeerWork, SaeStepWork, SoftmaxWork } from './peer.ts';

export interface JaxProgram {
  /** Starts the work; the outputs are the caller's to dispose. */
  start(): JaxArray[];
  /** How many of the outputs, from the first, hold the result. */
  results: number;
  join(results: readonly Float32Array[]): Float32Array;
  dispose(): void;
}

/** The program for a piece of work, no array of it above `limit` bytes; null where jax-js has no way. */
export function jaxProgram(jax: Jax, work: PeerWork, limit: number): JaxProgram | null {
  switch (work.op) {
    case 'matmul': return matmul(jax, work, limit);
    case 'attention': return attention(jax, work);
    case 'layer-norm': return layerNorm(jax, work);
    case 'softmax': return softmax(jax, work);
    case 'adam': return adam(jax, work);
    case 'forward': return jaxForward(jax, work, limit);
    case 'sae-step': return saeStep(jax, work, limit);
  }
}

/** A jitted function of arrays that stay. */
export function program(jax: Jax, f: (...inputs: JaxArray[]) => JaxArray[], inputs: readonly JaxArray[], results = 1, join: JaxProgram['join'] = (all) => all[0]!): JaxProgram {
  const jitted = jax.jit(f);
  return {
    results, join,
    start: () => jitted(...inputs.map((x) => x.ref)),
    dispose() {
      for (const x of inputs) x.dispose();
      jitted.dispose?.();
    },
  };
}

/** Transposed operands are views, which cost nothing by themselves; a lone right side is laid out the other way beforehand, as weights can be. */
function matmul(jax: Jax, work: MatmulWork, limit: number): JaxProgram {
  const { batch, m, k, transposeA, transposeB } = work;
  const np = jax.numpy;
  const parts = matmulParts(work, limit);
  const turn = transposeB && batch === 1;
  const lefts = new Map<number, number>();
  const inputs: JaxArray[] = [];
  const pairs = parts.map((part) => {
    const [size, n] = [length(part.batch), length(part.columns)];
    if (!lefts.has(part.batch.from)) lefts.set(part.batch.from, inputs.push(np.array(leftOf(work, part), { shape: transposeA ? [size, k, m] : [size, m, k] })) - 1);
    const b = rightOf(work, part);
    const right = inputs.push(np.array(turn ? transposed(b, n, k) : b, { shape: transposeB && !turn ? [size, n, k] : [size, k, n] })) - 1;
    return [lefts.get(part.batch.from)!, right] as const;
  });
  const swap = (x: JaxArray, needed: boolean): JaxArray => (needed ? x.transpose([0, 2, 1]) : x);
  const f = (...x: JaxArray[]): JaxArray[] => {
    const out = pairs.map(([a, b]) => np.matmul(swap(x[a]!.ref, transposeA), swap(x[b]!.ref, transposeB && !turn)));
    for (const input of x) input.dispose();
    return out;
  };
  return program(jax, f, inputs, parts.length, (results) => joinParts(work, parts, results));
}

function attention(jax: Jax, { batch, positions, heads, width, qkv }: AttentionWork): JaxProgram {
  const inputs = splitQkv(qkv, batch * positions, heads * width).map((data) => jax.numpy.array(data, { shape: [batch, positions, heads, width] }));
  return program(jax, (q, k, v) => [jax.nn.dotProductAttention(q!, k!, v!, { isCausal: true })], inputs);
}

/** (x − mean) / √(variance + ε) · γ + β over the last axis. */
export function jaxLayerNorm(jax: Jax, x: JaxArray, gamma: JaxArray, beta: JaxArray, epsilon: number): JaxArray {
  return jax.nn.standardize(x, -1, { epsilon }).mul(gamma).add(beta);
}

function layerNorm(jax: Jax, { rows, width, epsilon, x, gamma, beta }: LayerNormWork): JaxProgram {
  const np = jax.numpy;
  const inputs = [np.array(x, { shape: [rows, width] }), np.array(gamma, { shape: [width] }), np.array(beta, { shape: [width] })];
  return program(jax, (a, g, b) => [jaxLayerNorm(jax, a!, g!, b!, epsilon)], inputs);
}

function softmax(jax: Jax, { rows, width, x }: SoftmaxWork): JaxProgram {
  return program(jax, (a) => [jax.nn.softmax(a!, -1)], [jax.numpy.array(x, { shape: [rows, width] })]);
}

/** Adam's first step for one parameter: the new parameter and moments. Consumes its arguments. */
export function jaxAdam(jax: Jax, parameter: JaxArray, gradient: JaxArray, m: JaxArray, v: JaxArray): [JaxArray, JaxArray, JaxArray] {
  const [beta1, beta2, rate, epsilon] = [0.9, 0.999, 1e-3, 1e-8];
  const m2 = m.mul(beta1).add(gradient.ref.mul(1 - beta1));
  const v2 = v.mul(beta2).add(jax.numpy.square(gradient).mul(1 - beta2));
  const size = jax.numpy.sqrt(v2.ref.mul(1 / (1 - beta2))).add(epsilon);
  return [parameter.sub(m2.ref.mul(rate / (1 - beta1)).div(size)), m2, v2];
}

function adam(jax: Jax, { parameters, parameter, gradient }: AdamWork): JaxProgram {
  const array = (data: Float32Array): JaxArray => jax.numpy.array(data, { shape: [parameters] });
  const inputs = [array(parameter), array(gradient), array(new Float32Array(parameters)), array(new Float32Array(parameters))];
  return program(jax, (p, g, m, v) => jaxAdam(jax, p!, g!, m!, v!), inputs);
}

/** Loss and gradients by jax-js's own differentiation, then Adam, for as many dictionaries at once as `limit` lets the features of all rows be. */
function saeStep(jax: Jax, { dictionaries, rows, width, features, l1, x, encoder, decoder }: SaeStepWork, limit: number): JaxProgram {
  const np = jax.numpy;
  const groups = ranges(dictionaries, Math.floor(limit / (4 * features * Math.max(rows, width))));
  const swapped = (a: JaxArray): JaxArray => a.transpose([0, 2, 1]);
  const loss = (enc: JaxArray, dec: JaxArray, bEnc: JaxArray, bDec: JaxArray, examples: JaxArray): JaxArray => {
    const f = jax.nn.relu(np.matmul(examples.ref.sub(bDec.ref), swapped(enc)).add(bEnc));
    const rest = np.matmul(f.ref, dec).add(bDec).sub(examples);
    return np.square(rest).sum().add(f.sum().mul(l1)).div(rows);
  };
  const gradients = jax.valueAndGrad(loss, { argnums: [0, 1, 2, 3] });
  const step = (...args: JaxArray[]): JaxArray[] => {
    const [parameters, examples, moments] = [args.slice(0, 4), args[4]!, args.slice(5)];
    const [value, slopes] = gradients(...parameters.map((p) => p.ref), examples);
    const [enc, dec, bEnc, bDec] = parameters.map((p, i) => jaxAdam(jax, p, slopes[i]!, moments[2 * i]!, moments[2 * i + 1]!));
    return [dec![0], ...[enc!, bEnc!, bDec!].flat(), dec![1], dec![2], value];
  };
  const cut = (data: Float32Array, { from, to }: { from: number; to: number }, ...shape: number[]): JaxArray => {
    const size = shape.reduce((p, n) => p * n, 1);
    return np.array(data.subarray(from * size, to * size), { shape: [to - from, ...shape] });
  };
  const programs = groups.map((group) => {
    const shapes = [[features, width], [features, width], [1, features], [1, width]];
    const zeros = (shape: readonly number[]): JaxArray => np.array(new Float32Array(length(group) * shape.reduce((p, n) => p * n, 1)), { shape: [length(group), ...shape] });
    const parameters = [cut(encoder, group, features, width), cut(decoder, group, features, width), zeros(shapes[2]!), zeros(shapes[3]!)];
    return program(jax, step, [...parameters, cut(x, group, rows, width), ...shapes.flatMap((shape) => [zeros(shape), zeros(shape)])]);
  });
  return {
    // Of each group the decoder comes first.
    results: groups.length,
    start() {
      const outputs = programs.map((p) => p.start());
      return [...outputs.map(([decoders]) => decoders!), ...outputs.flatMap(([, ...rest]) => rest)];
    },
    join(results) {
      const out = new Float32Array(dictionaries * features * width);
      results.forEach((data, i) => out.set(data, groups[i]!.from * features * width));
      return out;
    },
    dispose: () => { for (const p of programs) p.dispose(); },
  };
}
