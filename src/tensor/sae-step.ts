/**
 * One training step's arithmetic for many vanilla SAEs at once: codes, reconstruction error, and the gradients of
 *
 *   loss[D] = mean_r ‖x_r − x̂_r‖² (summed over dims) + λ[D] mean_r Σ_f codes[r, f]            (evaluation.md §7.1)
 *
 * The encoder is dense. Everything after it touches active features only: they are listed per row for the decoder and per feature for
 * the gradients, always in ascending order, so that sums have a fixed order. All buffers are made once and reused.
 */
import biasGradientSource from '../../kernels/sae-bias-gradient.wgsl';
import codeGradientSource from '../../kernels/sae-code-gradient.wgsl';
import rowLossSource from '../../kernels/sae-row-loss.wgsl';
import sumRowsSource from '../../kernels/sae-sum-rows.wgsl';
import weightGradientSource from '../../kernels/sae-weight-gradient.wgsl';
import { defineKernel, type Gpu } from '../gpu/index.ts';
import { groupsFor, recordCompact, recordDecode, recordEncode, rowStrideOf, saeKernels, vec4s, type SaeWeights } from './sae.ts';
import { Tensor } from './tensor.ts';

const kernels = {
  codeGradient: defineKernel('sae-code-gradient', codeGradientSource),
  weightGradient: defineKernel('sae-weight-gradient', weightGradientSource),
  biasGradient: defineKernel('sae-bias-gradient', biasGradientSource),
  rowLoss: defineKernel('sae-row-loss', rowLossSource),
  sumRows: defineKernel('sae-sum-rows', sumRowsSource),
};

const ENCODER = { POOLED: true, SHIFT: true, BIAS: true };
const DECODER = { POOLED: false, SHIFT: false, BIAS: false };

/** Sizes of a batch of dictionaries. `width` is a multiple of 4: pad with zeros, which stay zeros. */
export interface StepSizes { dictionaries: number; features: number; width: number; maxRows: number }

/** Bytes of the largest buffer of a step, for choosing how many dictionaries share one. */
export function largestStepBuffer({ dictionaries, features, width, maxRows }: StepSizes): number {
  return 4 * dictionaries * Math.max(rowStrideOf(maxRows) * features, features * width, maxRows * width);
}

export class SaeStep {
  /** Gradients, shaped as the weights. */
  readonly gradients: SaeWeights;
  /** How often each feature was active since the last clear: u32 [dictionaries, features]. */
  readonly fired: Tensor;
  private readonly gpu: Gpu;
  private readonly sizes: StepSizes;
  private readonly codes: Tensor;
  private readonly transposed: Tensor;
  private readonly byRow: { index: Tensor; value: Tensor; counts: Tensor };
  private readonly byFeature: { index: Tensor; value: Tensor; counts: Tensor };
  private readonly codeGradient: Tensor;
  private readonly error: Tensor;
  private readonly rowLosses: Tensor;
  private readonly spare: Tensor;
  private readonly spare2: Tensor;

  constructor(gpu: Gpu, sizes: StepSizes) {
    this.gpu = gpu;
    this.sizes = sizes;
    const { dictionaries: D, features: F, width, maxRows: n } = sizes;
    const stride = rowStrideOf(n);
    const make = (shape: number[], dtype: 'f32' | 'u32' = 'f32'): Tensor => gpu.keep(Tensor.empty(gpu, shape, dtype));
    this.gradients = { encoder: make([D, F, width]), encoderBias: make([D, F]), decoder: make([D, F, width]), decoderBias: make([D, width]) };
    this.fired = gpu.keep(Tensor.zeros(gpu, [D, F], 'u32'));
    this.codes = make([D, n, F]);
    this.transposed = make([D, F, stride]);
    this.byRow = { index: make([D, n, F], 'u32'), value: make([D, n, F]), counts: make([D, n], 'u32') };
    this.byFeature = { index: make([D, F, stride], 'u32'), value: make([D, F, stride]), counts: make([D, F], 'u32') };
    this.codeGradient = make([D, F, stride]);
    this.error = make([D, n, width]);
    this.rowLosses = make([D, n, 4]);
    this.spare = make([4]);
    this.spare2 = make([4]);
  }

  /** All pipelines of a step, for compiling them in parallel. */
  static pipelines(): Parameters<Gpu['prepare']>[0] {
    return [
      { kernel: saeKernels.gather, constants: { GATHER: true } },
      { kernel: saeKernels.encode, constants: { TRANSPOSED: true, COUNT: false } },
      { kernel: saeKernels.encode, constants: { TRANSPOSED: false, COUNT: false } },
      { kernel: saeKernels.compact, constants: { TOTAL: false } },
      { kernel: saeKernels.compact, constants: { TOTAL: true } },
      { kernel: saeKernels.decode, constants: { RESIDUAL: true } },
      { kernel: kernels.codeGradient },
      { kernel: kernels.weightGradient, constants: ENCODER },
      { kernel: kernels.weightGradient, constants: DECODER },
      { kernel: kernels.biasGradient },
      { kernel: kernels.rowLoss },
      { kernel: kernels.sumRows },
    ];
  }

  /** Codes and error x̂ − x of `rows` examples. x [P, rows, width]; pool u32 [D] says which of x's pools a dictionary reads. */
  forward(x: Tensor, pool: Tensor, weights: SaeWeights, rows: number, training: boolean): void {
    const { gpu } = this;
    const { dictionaries, features, width } = this.sizes;
    const shape = { dictionaries, rows, width4: vec4s(width), features };
    recordEncode(gpu, shape, {
      x, pool, encoder: weights.encoder, encoderBias: weights.encoderBias, decoderBias: weights.decoderBias,
      codes: this.codes, transposed: training ? this.transposed : this.spare, counts: this.spare2,
    }, { transposed: training, count: false });
    recordCompact(gpu, { rows: dictionaries * rows, length: features, stride: features }, this.codes, this.byRow, undefined, this.spare);
    if (training) {
      recordCompact(gpu, { rows: dictionaries * features, length: rows, stride: rowStrideOf(rows) }, this.transposed, this.byFeature, this.fired);
    }
    recordDecode(gpu, shape, { ...this.byRow, decoder: weights.decoder, decoderBias: weights.decoderBias, x, pool, out: this.error }, true);
  }

  /** Gradients of the loss at the examples of the last `forward` with training on. l1 [D] holds each dictionary's λ. */
  backward(x: Tensor, pool: Tensor, weights: SaeWeights, l1: Tensor, rows: number): void {
    const { gpu, byFeature, gradients } = this;
    const { dictionaries, features, width } = this.sizes;
    const width4 = vec4s(width);
    const rowStride = rowStrideOf(rows);
    const params = { dictionaries, rows, width4, features, rowStride };
    gpu.dispatch({
      kernel: kernels.codeGradient, params, groups: groupsFor(dictionaries * features * 8),
      bindings: [byFeature.index, byFeature.counts, this.error, weights.decoder, l1, this.codeGradient],
    });
    const groups = groupsFor(dictionaries * features * width4);
    gpu.dispatch({
      kernel: kernels.weightGradient, constants: DECODER, params: { ...params, scale: 2 / rows }, groups,
      bindings: [byFeature.index, byFeature.counts, byFeature.value, this.error, pool, weights.decoderBias, gradients.decoder, this.spare],
    });
    gpu.dispatch({
      kernel: kernels.weightGradient, constants: ENCODER, params: { ...params, scale: 1 }, groups,
      bindings: [byFeature.index, byFeature.counts, this.codeGradient, x, pool, weights.decoderBias, gradients.encoder, gradients.encoderBias],
    });
    gpu.dispatch({
      kernel: kernels.biasGradient, params: { dictionaries, rows, width4, features }, groups: groupsFor(dictionaries * width4),
      bindings: [this.error, gradients.encoderBias, weights.encoder, gradients.decoderBias],
    });
  }

  /**
   * For each example of the last `forward`: squared error, sum of codes, number of active features, squared distance from `mean` [P, width].
   * A view of a buffer that the next call overwrites, the caller's to dispose: [D, rows, 4].
   */
  rowLoss(x: Tensor, pool: Tensor, mean: Tensor, rows: number): Tensor {
    const { dictionaries, features, width } = this.sizes;
    this.gpu.dispatch({
      kernel: kernels.rowLoss, params: { dictionaries, rows, width4: vec4s(width), features }, groups: groupsFor(dictionaries * rows),
      bindings: [this.error, this.byRow.value, this.byRow.counts, x, pool, mean, this.rowLosses],
    });
    const flat = this.rowLosses.reshape([-1]);
    const used = flat.rows(0, dictionaries * rows * 4);
    const view = used.reshape([dictionaries, rows, 4]);
    flat.dispose();
    used.dispose();
    return view;
  }

  /** Adds `rowLoss`, summed over the examples in their order, to `totals` [D, 4]. */
  addSums(x: Tensor, pool: Tensor, mean: Tensor, rows: number, totals: Tensor): void {
    const { dictionaries } = this.sizes;
    const losses = this.rowLoss(x, pool, mean, rows);
    this.gpu.dispatch({ kernel: kernels.sumRows, params: { dictionaries, rows }, bindings: [losses, totals], groups: groupsFor(dictionaries) });
    losses.dispose();
  }

  dispose(): void {
    const { gradients, byRow, byFeature } = this;
    for (const group of [gradients, byRow, byFeature]) for (const tensor of Object.values(group)) tensor.dispose();
    for (const tensor of [this.fired, this.codes, this.transposed, this.codeGradient, this.error, this.rowLosses, this.spare, this.spare2]) tensor.dispose();
  }
}
