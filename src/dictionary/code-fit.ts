/**
 * Fitting of supervised codes (arXiv 2405.08366, section 3 and A.5, A.6). Symbols: C the one-hot design [n, features], one 1 per term and
 * example; A the activations [n, d], ā their mean; G = CᵀC, how often two features occur together; B = Cᵀ(A − ā).
 *
 *   mean      u_{i=v} = mean of a over examples with that value, minus ā
 *   mse       U = G⁺ B, the least squares solution of smallest norm
 *   mse-adam  the same problem by full-batch gradient descent with Adam, as the released code does. The gradient of the mean over all entries
 *             of (A − ā − CU)² is 2/(nd) (G U − B), so that a step's cost does not depend on the number of examples.
 *
 * G depends on the labels alone. Sites that share their prompts are therefore fitted together and G is decomposed once.
 * A feature that no example has gets the zero vector by every method.
 */
import { LimitError, ShapeError, UsageError } from '../errors.ts';
import type { Gpu } from '../gpu/index.ts';
import { adam, adamDefaults, affine, gatherRows, matmul, meanColumns, mul, randomNormal, scatterRows, segments, segmentSum, sub, sumColumns, Tensor, transpose } from '../tensor/index.ts';
import { termIds, type Term } from './parametrization.ts';

export type CodeMethod = 'mean' | 'mse' | 'mse-adam';

/** Settings of `mse-adam`; those of the released code unless told. */
export interface AdamCodesOptions {
  /** full-batch steps, 1000 */
  epochs?: number;
  /** learning rate, 0.1 */
  rate?: number;
  /** centre the activations and keep their mean as the bias; otherwise the bias is one more trained code. True */
  manualBias?: boolean;
  /** of the initial codes, drawn from N(0, 1); 0 */
  seed?: number;
}

/** Eigenvalues of a symmetric matrix [size, size], and its eigenvectors: entry `row` of the one of eigenvalue `column`. */
export type Decompose = (size: number, matrix: Float64Array) => { values: readonly number[]; vector(row: number, column: number): number };

/** Codes of one site: vectors [features, d] and the bias [d]. */
export interface FittedCodes {
  vectors: Tensor;
  mean: Tensor;
}

/** Features beyond which the normal matrix is not decomposed: the time grows with the cube, a quarter of a minute here. */
const MOST_FEATURES = 1500;
/** Eigenvalues of G below this share of the largest are zeros: G holds whole numbers, and rounding leaves about 1e-16. */
const RANK_TOLERANCE = 1e-11;

/** Labels of the examples as the fit needs them. */
export class Design {
  readonly n: number;
  readonly features: number;
  readonly terms: readonly Term[];
  /** Examples of every feature, [features]. */
  readonly counts: Float64Array;
  /** Per term each example's feature, counted from the dictionary's first. */
  readonly rows: readonly Uint32Array[];

  /** Throws ShapeError if there are no examples or labels do not fit. */
  constructor(terms: readonly Term[], attributes: Readonly<Record<string, Uint32Array>>, n: number) {
    if (n === 0) throw new ShapeError('supervised codes need at least one example');
    this.n = n;
    this.terms = terms;
    this.features = terms.reduce((sum, { values }) => sum + values, 0);
    this.counts = new Float64Array(this.features);
    this.rows = terms.map((term) => termIds(term, attributes, n).map((id) => term.first + id));
    for (const rows of this.rows) for (const feature of rows) this.counts[feature]!++;
  }

  /** Features that some example has. */
  seen(): Uint32Array {
    return Uint32Array.from(this.counts.keys()).filter((feature) => this.counts[feature]! > 0);
  }

  /** G among the features seen, [seen, seen]; with `bias`, a last row and column of the feature that every example has. */
  normal(seen: Uint32Array, bias = false): Float64Array {
    const size = seen.length + (bias ? 1 : 0);
    if (size > MOST_FEATURES) throw new LimitError(`least squares of ${size} features would take too long (at most ${MOST_FEATURES}); mean codes have no such limit`);
    const at = new Int32Array(this.features).fill(-1);
    seen.forEach((feature, index) => { at[feature] = index; });
    const places = this.rows.map((rows) => Int32Array.from(rows, (feature) => at[feature]!));
    if (bias) places.push(new Int32Array(this.n).fill(seen.length));
    const normal = new Float64Array(size * size);
    for (const a of places) for (const b of places) for (let row = 0; row < this.n; row++) normal[a[row]! * size + b[row]!]!++;
    return normal;
  }
}

/** Codes of every site; the tensors belong to the caller's scope. Least squares need `decompose`. */
export function fitCodes(sites: readonly Tensor[], design: Design, method: CodeMethod, options: AdamCodesOptions = {}, decompose: Decompose | null = null): FittedCodes[] {
  const [first] = sites;
  if (!first) return [];
  if (method === 'mse-adam') return descend(sites, design, options);
  if (method === 'mse' && !decompose) throw new UsageError('codes by least squares are awaited: SupervisedCodes.solve, not fit');
  const solve = method === 'mse' ? leastSquares(first.gpu, design, decompose!) : meanSolution(first.gpu, design);
  return sites.map((activations) => {
    const mean = meanColumns(activations);
    return { mean, vectors: solve(classSums(sub(activations, mean), design)) };
  });
}

/** Cᵀ x: the sum of x [n, d] over the examples of every feature, [features, d]. */
function classSums(x: Tensor, design: Design): Tensor {
  const { gpu } = x;
  const width = x.shape[1]!;
  const sums = Tensor.empty(gpu, [design.features, width]);
  design.terms.forEach(({ first, values }, at) => {
    const { order, starts } = segments(design.rows[at]!.map((feature) => feature - first), values);
    const own = segmentSum(x, Tensor.from(gpu, order, [design.n]), Tensor.from(gpu, starts, [values + 1]));
    place(own, sums, first * width);
  });
  return sums;
}

type Solver = (sums: Tensor) => Tensor;

function meanSolution(gpu: Gpu, { counts, features }: Design): Solver {
  return (sums) => {
    const width = sums.shape[1]!;
    const shares = new Float32Array(features * width);
    counts.forEach((count, feature) => shares.fill(count > 0 ? 1 / count : 0, feature * width, (feature + 1) * width));
    return mul(sums, Tensor.from(gpu, shares, [features, width]));
  };
}

/** G⁺ B = V Λ⁻¹ Vᵀ B over the eigenvectors V of G whose eigenvalue is not zero: decomposed in float64, multiplied on the GPU. */
function leastSquares(gpu: Gpu, design: Design, decompose: Decompose): Solver {
  const seen = design.seen();
  const size = seen.length;
  const normal = design.normal(seen);
  const { values, vector } = decompose(size, normal);
  const largest = Math.max(...values);
  const kept = [...values.keys()].filter((at) => values[at]! > RANK_TOLERANCE * largest);
  const basis = new Float32Array(size * kept.length);
  const scaled = new Float32Array(size * kept.length);
  for (let row = 0; row < size; row++) {
    kept.forEach((column, at) => {
      basis[row * kept.length + at] = vector(row, column);
      scaled[row * kept.length + at] = vector(row, column) / values[column]!;
    });
  }
  const shape = [size, kept.length];
  const [v, vOverLambda, rows] = [Tensor.from(gpu, basis, shape), Tensor.from(gpu, scaled, shape), Tensor.from(gpu, seen, [size])];
  return (sums) => {
    const solution = Tensor.zeros(gpu, sums.shape);
    scatterRows(solution, rows, matmul(vOverLambda, matmul(v, gatherRows(sums, rows), { transposeA: true })));
    return solution;
  };
}

/**
 * All sites in one descent: codes lie transposed, [sites · d, seen], so that one product with G serves every site. Unseen features are left out.
 */
function descend(sites: readonly Tensor[], design: Design, { epochs = 1000, rate = 0.1, manualBias = true, seed = 0 }: AdamCodesOptions): FittedCodes[] {
  const { gpu } = sites[0]!;
  const width = sites[0]!.shape[1]!;
  const seen = design.seen();
  const size = seen.length + (manualBias ? 0 : 1);
  const shape = [1, sites.length * width, size];
  const [codes, targets] = [Tensor.empty(gpu, shape), Tensor.empty(gpu, shape)];
  const rows = Tensor.from(gpu, seen, [seen.length]);
  const means = sites.map((activations, site) => {
    const mean = meanColumns(activations);
    const sums = gatherRows(classSums(manualBias ? sub(activations, mean) : activations, design), rows);
    const own = manualBias ? sums : stacked(sums, sumColumns(activations));
    // the gradient's constant part, −2/(nd) Bᵀ
    place(affine(transpose(own), -2 / (design.n * width)), targets, site * width * size);
    place(randomNormal(gpu, [width, size], { seed, stream: site }), codes, site * width * size);
    return mean;
  });
  const normal = Tensor.from(gpu, Float32Array.from(design.normal(seen, !manualBias), (count) => count / design.n), [size, size]);
  const state = { gradient: Tensor.empty(gpu, shape), first: Tensor.zeros(gpu, shape), second: Tensor.zeros(gpu, shape), rate: Tensor.from(gpu, [rate], [1]) };
  for (let step = 1; step <= epochs; step++) {
    matmul(codes, normal, { scale: 2 / width, residual: targets, out: state.gradient });
    adam({ parameter: codes, ...state }, { ...adamDefaults, step });
  }
  return sites.map((_, site) => {
    const own = transpose(codes.reshape([sites.length * width, size]).rows(site * width, width));
    const vectors = Tensor.zeros(gpu, [design.features, width]);
    scatterRows(vectors, rows, own.rows(0, seen.length));
    return { vectors, mean: manualBias ? means[site]! : own.rows(seen.length, 1).clone().reshape([width]) };
  });
}

/** Rows with one more below. */
function stacked(rows: Tensor, last: Tensor): Tensor {
  const [count, width] = rows.shape as [number, number];
  const out = Tensor.empty(rows.gpu, [count + 1, width]);
  place(rows, out, 0);
  place(last, out, count * width);
  return out;
}

/** Copies `part` into `whole` from an element on, wherever that lies. */
function place(part: Tensor, whole: Tensor, element: number): void {
  part.gpu.copy(part, { storage: whole.storage, byteOffset: whole.byteOffset + element * 4, byteLength: part.byteLength }, part.byteLength);
}
