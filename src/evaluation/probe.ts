/**
 * Linear probes: which value of an attribute does an activation show? Multinomial logistic regression on standardised activations, in the
 * convention of scikit-learn: minimise  ½ ‖W‖² + C Σ_i −log softmax(W x_i + b)_{y_i},  the intercepts b free of penalty. Two classes have one
 * vector w there, which is W_1 − W_2 here with the penalty on W doubled.
 *
 * Full-batch descent on the GPU. The Hessian of the loss never exceeds ½ X̃ᵀX̃ for each class (Böhning 1992), X̃ the activations with a column
 * of ones; steps are taken in that metric, inverted once, with Nesterov's momentum, which starts anew when it points uphill (O'Donoghue and
 * Candès 2015).
 */
import { inverse, Matrix } from 'ml-matrix';
import { ShapeError, UsageError } from '../errors.ts';
import { addScaled, affine, argmax, matmul, maxRows, meanColumns, mul, softmax, sub, sumRows, Tensor } from '../tensor/index.ts';

export interface ProbeOptions {
  /** weight of the loss against the penalty, 1 */
  C?: number;
  /** at most so many steps, 1000 */
  iterations?: number;
  /** done when no entry of the gradient of the objective / (C n) is larger, 1e-4 */
  tolerance?: number;
  signal?: AbortSignal;
}

/** Steps between looks at the gradient, each of which waits for the GPU. */
const CHECK = 10;

export class Probe {
  /** Values that the probe can name: those that it was trained on. */
  readonly classes: Uint32Array;
  /** Steps that training took, and whether the gradient was small enough at the end. */
  readonly iterations: number;
  readonly converged: boolean;
  private readonly input: Standardised;
  /** [d + 1, classes], the intercepts last, for standardised activations. */
  private readonly weights: Tensor;

  /** Takes over the tensors. */
  constructor(input: Standardised, weights: Tensor, classes: Uint32Array, iterations: number, converged: boolean) {
    this.input = input;
    this.weights = weights;
    this.classes = classes;
    this.iterations = iterations;
    this.converged = converged;
  }

  /** Scores of every class up to a constant, [n, classes]. */
  logits(x: Tensor): Tensor {
    return x.gpu.scope(() => matmul(this.input.apply(x), this.weights));
  }

  /** The likeliest value of each row. */
  async predict(x: Tensor): Promise<Uint32Array> {
    const best = await x.gpu.scope(async () => argmax(this.logits(x)).readU32());
    return best.map((at) => this.classes[at]!);
  }

  /** Share of rows whose likeliest value is the label. */
  async accuracy(x: Tensor, labels: Uint32Array): Promise<number> {
    const predicted = await this.predict(x);
    return predicted.reduce((right, value, row) => right + (value === labels[row] ? 1 : 0), 0) / labels.length;
  }

  dispose(): void {
    this.input.dispose();
    this.weights.dispose();
  }
}

/** x ↦ [(x − mean) / deviation, 1]; a column that does not vary is only centred. */
class Standardised {
  private constructor(private readonly mean: Tensor, private readonly scale: Tensor, private readonly one: Tensor) {}

  static async of(x: Tensor): Promise<Standardised> {
    const { gpu } = x;
    const width = x.shape[1]!;
    const mean = meanColumns(x);
    const variance = await gpu.scope(async () => {
      const centred = sub(x, mean);
      return meanColumns(mul(centred, centred)).read();
    });
    const scale = new Float32Array(width * (width + 1));
    const largest = Math.max(...variance);
    variance.forEach((own, d) => { scale[d * (width + 1) + d] = own > 1e-12 * largest ? 1 / Math.sqrt(own) : 1; });
    const one = new Float32Array(width + 1);
    one[width] = 1;
    return new Standardised(mean, Tensor.from(gpu, scale, [width, width + 1]), Tensor.from(gpu, one, [width + 1]));
  }

  /** [n, d + 1] */
  apply(x: Tensor): Tensor {
    return x.gpu.scope(() => matmul(sub(x, this.mean), this.scale, { bias: this.one }));
  }

  dispose(): void {
    for (const tensor of [this.mean, this.scale, this.one]) tensor.dispose();
  }
}

/**
 * Trains a probe on activations x [n, d] and each row's value. Throws ShapeError if there are not as many labels as rows, or none;
 * UsageError for options that are no positive numbers.
 */
export async function trainProbe(x: Tensor, labels: Uint32Array, options: ProbeOptions = {}): Promise<Probe> {
  const { C = 1, iterations = 1000, tolerance = 1e-4, signal } = options;
  for (const [name, value] of Object.entries({ C, iterations, tolerance })) if (!(value > 0)) throw new UsageError(`probes: ${name} ${value} is not a positive number`);
  const { gpu } = x;
  const [n = 0, width = 0] = x.shape;
  if (x.shape.length !== 2 || n === 0 || labels.length !== n) throw new ShapeError(`a probe of activations [${x.shape.join(', ')}] cannot have ${labels.length} labels`);
  const classes = Uint32Array.from(new Set(labels)).sort();
  const input = await Standardised.of(x);
  try {
    return await gpu.scope(async () => {
      const rows = input.apply(x);
      const truth = oneHot(x, labels, classes);
      const penalty = (classes.length === 2 ? 2 : 1) / C;
      const { ridge, step } = metric(await gpu.scope(async () => matmul(rows, rows, { transposeA: true }).read()), width + 1, penalty, x);
      let current = Tensor.zeros(gpu, [width + 1, classes.length]);
      let ahead = current.clone();
      let [momentum, done, converged] = [1, 0, false];
      while (done < iterations && !converged) {
        const look = (done + 1) % CHECK === 0 || done + 1 === iterations;
        const next = gpu.scope(() => {
          const error = sub(softmax(matmul(rows, ahead)), truth);
          const gradient = matmul(ridge, ahead, { residual: matmul(rows, error, { transposeA: true }) });
          const moved = matmul(step, gradient, { residual: ahead });
          const change = sub(moved, current);
          const weight = (1 + Math.sqrt(1 + 4 * momentum * momentum)) / 2;
          const further = addScaled(moved, change, (momentum - 1) / weight);
          momentum = weight;
          return { moved, further, uphill: look ? [...steepness(gradient, change)] : [] };
        });
        for (const old of [current, ahead]) old.dispose();
        current = next.moved;
        ahead = next.further;
        done++;
        if (!look) continue;
        signal?.throwIfAborted();
        const [along, highest, lowest] = (await Promise.all(next.uphill.map((tensor) => tensor.read()))).map(([value]) => value!);
        for (const tensor of next.uphill) tensor.dispose();
        converged = Math.max(highest!, lowest!) <= tolerance * n;
        if (along! > 0) {
          momentum = 1;
          ahead.dispose();
          ahead = current.clone();
        }
      }
      return new Probe(input, current, classes, done, converged);
    });
  } catch (error) {
    input.dispose();
    throw error;
  }
}

/** 1 at each row's class, [n, classes]. */
function oneHot(x: Tensor, labels: Uint32Array, classes: Uint32Array): Tensor {
  const place = new Map([...classes].map((value, at) => [value, at]));
  const truth = new Float32Array(labels.length * classes.length);
  labels.forEach((value, row) => { truth[row * classes.length + place.get(value)!] = 1; });
  return Tensor.from(x.gpu, truth, [labels.length, classes.length]);
}

/** The penalty as a matrix, all but the intercept's row, and −(½ X̃ᵀX̃ + penalty)⁻¹. */
function metric(gram: Float32Array, size: number, penalty: number, { gpu }: Tensor): { ridge: Tensor; step: Tensor } {
  const ridge = Matrix.zeros(size, size);
  for (let d = 0; d < size - 1; d++) ridge.set(d, d, penalty);
  const bound = Matrix.from1DArray(size, size, Array.from(gram)).mul(0.5).add(ridge);
  const upload = (matrix: Matrix) => Tensor.from(gpu, Float32Array.from(matrix.to1DArray()), [size, size]);
  return { ridge: upload(ridge), step: upload(inverse(bound).mul(-1)) };
}

/** gradient · change, the largest entry of the gradient, and of its negative; each [1]. */
function steepness(gradient: Tensor, change: Tensor): Tensor[] {
  const flat = gradient.reshape([1, -1]);
  return [sumRows(mul(gradient, change).reshape([1, -1])), maxRows(flat), maxRows(affine(flat, -1))];
}
