/**
 * The greedy edit of an SAE's code (arXiv 2405.08366, section 5.1): move a source activation towards a target's by setting at most k
 * features to their value at the target, chosen one after the other, each as the one that leaves the shortest residual.
 */
import applySource from '../../kernels/greedy-apply.wgsl';
import selectSource from '../../kernels/greedy-select.wgsl';
import weightSource from '../../kernels/greedy-weight.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel, type Gpu } from '../gpu/index.ts';
import { sub } from './elementwise.ts';
import { matmul } from './matmul.ts';
import { compactRows, groupsFor, padRows, vec4s } from './sae.ts';
import { sameShape, showShape, Tensor } from './tensor.ts';

const kernels = {
  select: defineKernel('greedy-select', selectSource),
  apply: defineKernel('greedy-apply', applySource),
  weight: defineKernel('greedy-weight', weightSource),
};

/** A Gram matrix of more bytes than this is not formed; its entries are computed where they are needed. */
const GRAM_BYTES = 64 * 2 ** 20;
const NAN_BITS = 0x7fc00000;

export interface GreedyChoice {
  /** Features in the order in which they were taken, u32 [n, k]; 0xffffffff from where no move helps. The first k' columns are the edit with k'. */
  chosen: Tensor;
  /** Change of each taken feature's code, [n, k]; 0 where none was taken. */
  moves: Tensor;
}

/** True if the Gram matrix of `features` rows is worth forming on this device. */
export function formsGram(gpu: Pick<Gpu, 'limits'>, features: number): boolean {
  return features * features * 4 <= Math.min(GRAM_BYTES, gpu.limits.bindingBytes);
}

/** d_i·d_j of the decoder's rows, [features, features]; null where `formsGram` says no. */
export function gramMatrix(decoder: Tensor): Tensor | null {
  return formsGram(decoder.gpu, decoder.shape[0]!) ? matmul(decoder, decoder, { transposeB: true }) : null;
}

export interface GreedyProblem {
  /** Activations [n, d] to start from and to come close to. */
  source: Tensor;
  target: Tensor;
  /** Their codes, [n, features]. */
  sourceCodes: Tensor;
  targetCodes: Tensor;
  /** Decoder rows, [features, d]. */
  decoder: Tensor;
  /** From `gramMatrix`; made here if not given. */
  gram?: Tensor | null;
}

/** k greedy rounds for every row, on the GPU, without reading back. Throws ShapeError where shapes do not fit. */
export function greedyChoose(problem: GreedyProblem, k: number): GreedyChoice {
  const { source, target, sourceCodes, targetCodes, decoder } = problem;
  const { gpu } = source;
  const [n = 0, width = 0] = source.shape;
  const [features = 0] = decoder.shape;
  if (!sameShape(source.shape, target.shape) || decoder.shape[1] !== width || !sameShape(sourceCodes.shape, [n, features]) || !sameShape(targetCodes.shape, [n, features])) {
    throw new ShapeError(`greedy edit: activations ${showShape(source.shape)} and ${showShape(target.shape)}, codes ${showShape(sourceCodes.shape)} and ${showShape(targetCodes.shape)}, decoder ${showShape(decoder.shape)}`);
  }
  if (!Number.isInteger(k) || k < 0) throw new ShapeError(`greedy edit: k is ${k}, not a whole number`);
  return gpu.scope(() => {
    const chosen = Tensor.empty(gpu, [n, k], 'u32');
    const moves = Tensor.empty(gpu, [n, k]);
    if (chosen.size === 0) return { chosen, moves };
    const gram = problem.gram === undefined ? gramMatrix(decoder) : problem.gram;
    const along = matmul(sub(target, source), decoder, { transposeB: true });
    const { index, value, counts } = compactRows(sub(targetCodes, sourceCodes));
    const rows = padRows(decoder);
    gpu.dispatch({
      kernel: kernels.select, constants: { GRAM: gram !== null }, params: { prompts: n, features, width4: vec4s(width), k },
      bindings: [index, value, counts, along, gram ?? rows, rows, chosen, moves], groups: groupsFor(n),
    });
    return { chosen, moves };
  });
}

/** source + Σ_i moves_i d_{chosen_i} over the first `k` taken, all unless given: [n, d]. */
export function greedyApply(source: Tensor, decoder: Tensor, { chosen, moves }: GreedyChoice, k = chosen.shape[1]!): Tensor {
  const { gpu } = source;
  const [n = 0, width = 0] = source.shape;
  const out = Tensor.empty(gpu, source.shape);
  gpu.dispatch({
    kernel: kernels.apply, params: { prompts: n, width, stride: width, k: taken(chosen, k), rounds: chosen.shape[1]! },
    bindings: [source, chosen, moves, decoder, out], groups: groupsFor(n * width),
  });
  return out;
}

/** What the weights of an example's features need, made once for all its edits. */
export interface WeightTerms {
  /** â − b, [n, d] */
  signal: Tensor;
  /** (â − b)·d_j of every feature, [n, features] */
  along: Tensor;
}

/** Codes [n, features], decoder [features, d]. */
export function weightTerms(codes: Tensor, decoder: Tensor): WeightTerms {
  const signal = matmul(codes, decoder);
  return { signal, along: matmul(signal, decoder, { transposeB: true }) };
}

/** Weight in the source's reconstruction of the first `k` chosen features, all unless given: [n]; NaN where no feature is active. Codes [n, features] of the source. */
export function greedyWeightRemoved(codes: Tensor, decoder: Tensor, { chosen }: GreedyChoice, k = chosen.shape[1]!, terms?: WeightTerms): Tensor {
  const { gpu } = codes;
  const [n = 0, features = 0] = codes.shape;
  return gpu.scope(() => {
    const { signal, along } = terms ?? weightTerms(codes, decoder);
    const out = Tensor.empty(gpu, [n]);
    gpu.dispatch({
      kernel: kernels.weight, params: { prompts: n, features, width: decoder.shape[1]!, k: taken(chosen, k), rounds: chosen.shape[1]!, undefined: NAN_BITS },
      bindings: [codes, along, signal, chosen, out], groups: groupsFor(n),
    });
    return out;
  });
}

function taken(chosen: Tensor, k: number): number {
  if (!(Number.isInteger(k) && k >= 0 && k <= chosen.shape[1]!)) throw new ShapeError(`greedy edit: ${k} of ${chosen.shape[1]} features that were chosen`);
  return k;
}
