/** Sums over samples that give the loss of every member of the over-splitting toy's two families of dictionaries, on the GPU. */
import idealSource from '../../kernels/toy-ideal.wgsl';
import randomSource from '../../kernels/toy-random.wgsl';
import { ShapeError } from '../errors.ts';
import { defineKernel } from '../gpu/index.ts';
import { affine, compactRows, matmul, relu, scaleRows, showShape, sumColumns, sumSquaresRows, Tensor } from '../tensor/index.ts';

const WORKGROUP = 64;
/** Samples that one thread sums over. */
const IDEAL_SLICE = 256;
const RANDOM_SLICE = 32;
const idealKernel = defineKernel('toy-ideal', idealSource);
const randomKernel = defineKernel('toy-random', randomSource);

/**
 * For each pair of γ and slope of the two-feature family, [gammas, slopes, 3]: sums over samples of ‖x‖² − ‖x − x̂‖², of the codes, and of
 * whether a feature is active. `along` [n] holds the samples' components along the axis of the mixture; slope = k ‖μ‖.
 */
export function idealSums(along: Tensor, gammas: Tensor, slopes: Tensor): Tensor {
  const { gpu } = along;
  return gpu.scope(() => {
    const [samples, G, S] = [along.size, gammas.size, slopes.size];
    const slices = Math.ceil(samples / IDEAL_SLICE);
    const parts = Tensor.empty(gpu, [slices, G * S * 3]);
    gpu.dispatch({
      kernel: idealKernel, params: { samples, slice: IDEAL_SLICE, slices, gammas: G, slopes: S },
      bindings: [along, gammas, slopes, parts], groups: Math.ceil((slices * G * S) / WORKGROUP),
    });
    return sumColumns(parts).reshape([G, S, 3]);
  });
}

/** A random family: encoder rows β v, decoder rows v / ‖v‖, biases −bias. */
export interface RandomFamily {
  /** v: [features, d] */
  rows: Tensor;
  bias: number;
  /** Not negative. */
  betas: readonly number[];
}

/** What sums over a random family need beside the samples; made once for all of them. */
export interface PlacedFamily extends RandomFamily {
  /** v_i·v_j / (‖v_i‖ ‖v_j‖): [features, features] */
  gram: Tensor;
  /** 1 / ‖v_i‖: [features] */
  inverse: Tensor;
  placedBetas: Tensor;
}

/** Reads the lengths of the rows back once. The tensors belong to the caller's scope. */
export async function placeFamily(family: RandomFamily): Promise<PlacedFamily> {
  const { rows, betas } = family;
  const { gpu } = rows;
  const squares = await gpu.scope(() => sumSquaresRows(rows).read());
  return gpu.scope(() => {
    const unit = scaleRows(rows);
    return {
      ...family, gram: matmul(unit, unit, { transposeB: true }), inverse: Tensor.from(gpu, squares.map((square) => 1 / Math.sqrt(square)), [squares.length]),
      placedBetas: Tensor.from(gpu, betas, [betas.length]),
    };
  });
}

/** For each β, [betas, 3]: sums over the samples x [n, d] of ‖x‖² − ‖x − x̂‖², of the codes, and of the number of active features. */
export function randomSums(x: Tensor, family: PlacedFamily): Tensor {
  const { gpu } = x;
  const { rows, bias, gram, inverse, placedBetas } = family;
  const [samples = 0, width] = x.shape;
  const [features = 0, d] = rows.shape;
  if (width !== d) throw new ShapeError(`random dictionaries: samples ${showShape(x.shape)} do not fit rows ${showShape(rows.shape)}`);
  const betas = placedBetas.size;
  const largest = Math.max(...family.betas);
  return gpu.scope(() => {
    // A feature is active where v·x > bias / β; a list that is empty needs no threshold.
    const threshold = largest > 0 ? bias / largest : 0;
    const above = largest > 0 ? relu(affine(matmul(x, rows, { transposeB: true }), 1, -threshold)) : Tensor.zeros(gpu, [samples, features]);
    const { index, value, counts } = compactRows(above);
    const slices = Math.ceil(samples / RANDOM_SLICE);
    const parts = Tensor.empty(gpu, [slices, betas * 3]);
    gpu.dispatch({
      kernel: randomKernel, params: { samples, features, slice: RANDOM_SLICE, slices, betas, bias, threshold },
      bindings: [index, value, counts, gram, inverse, placedBetas, parts], groups: Math.ceil((slices * betas) / WORKGROUP),
    });
    return sumColumns(parts).reshape([betas, 3]);
  });
}
