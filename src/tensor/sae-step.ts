/**
 * One training step's arithmetic for many vanilla SAEs at once: codes, reconstruction error, and the gradients of
 *
 *   loss[D] = mean_r ‖x_r − x̂_r‖² (summed over dims) + λ[D] mean_r Σ_f codes[r, f]            (evaluation.md §7.1)
 *
 * The encoder is dense. After it, the dense path takes products over all features; the sparse one touches active features only, listed
 * per row for the decoder and the codes' gradients and per feature for the weights' gradients, always in ascending order, so that sums
 * have a fixed order. All buffers are made once. Those for codes serve one window of dictionaries after the other.
 */
import activeRowsSource from '../../kernels/sae-active-rows.wgsl';
import biasGradientSource from '../../kernels/sae-bias-gradient.wgsl';
import codeGradientSource from '../../kernels/sae-code-gradient.wgsl';
import maskSource from '../../kernels/sae-mask.wgsl';
import rowLossSource from '../../kernels/sae-row-loss.wgsl';
import sumRowsSource from '../../kernels/sae-sum-rows.wgsl';
import sumSlicesSource from '../../kernels/sae-sum-slices.wgsl';
import weightGradientSource from '../../kernels/sae-weight-gradient.wgsl';
import { defineKernel, type Gpu } from '../gpu/index.ts';
import { matmul, type MatmulOptions } from './matmul.ts';
import { rowGroups, rowLanes } from './row-lanes.ts';
import { saePath, stepWindows, type DictionaryWindow, type SaePath, type StepSizes } from './sae-plan.ts';
import { columnsOf, decodePipeline, groupsFor, recordCompact, recordDecode, recordShift, recordTurn, saeKernels, saeVariant, vec4s } from './sae.ts';
import type { SaeWeights } from './sae-variant.ts';
import { elements, Tensor } from './tensor.ts';

const kernels = {
  activeRows: defineKernel('sae-active-rows', activeRowsSource),
  codeGradient: defineKernel('sae-code-gradient', codeGradientSource),
  weightGradient: defineKernel('sae-weight-gradient', weightGradientSource),
  mask: defineKernel('sae-mask', maskSource),
  biasGradient: defineKernel('sae-bias-gradient', biasGradientSource),
  sumSlices: defineKernel('sae-sum-slices', sumSlicesSource),
  rowLoss: defineKernel('sae-row-loss', rowLossSource),
  sumRows: defineKernel('sae-sum-rows', sumRowsSource),
};

/** Threads of sae-code-gradient that share a row. */
const CODE_GRADIENT_LANES = 8;
/** Terms that one thread of sae-bias-gradient sums: all of them up to the first number, slices of the second beyond it. */
const ONE_SLICE = 1024;
const SLICE = 256;

export interface StepOptions {
  /** `auto`, the default, goes by the sizes. */
  path?: SaePath | 'auto';
  /** Plans as for a CPU driver, or as for a real GPU, whatever this one is. For tests and benchmarks. */
  software?: boolean;
}

/** What the log adds up: `mean` [P, width] of all examples of each pool; `totals` [D, 4], added to. */
export interface StepLog { mean: Tensor; totals: Tensor }

/** A window's part of everything, for `rows` examples. */
interface Part extends DictionaryWindow {
  rows: number;
  weights: SaeWeights;
  gradients: SaeWeights;
  fired: Tensor;
  /** [count, rows, features] */
  codes: Tensor;
  codeGradient: Tensor;
  /** [count, rows, width]: decoderBias − x, and x̂ − x. */
  shift: Tensor;
  error: Tensor;
  /** [count, width, rows]: one of the two turned over, where that is quicker. */
  turned: Tensor;
}

export class SaeStep {
  /** Gradients, shaped as the weights. */
  readonly gradients: SaeWeights;
  /** How often each feature was active in what was trained on or counted since the last clear: u32 [dictionaries, features]. */
  readonly fired: Tensor;
  readonly path: SaePath;
  readonly windows: readonly DictionaryWindow[];
  private readonly gpu: Gpu;
  private readonly sizes: StepSizes;
  private readonly software: boolean;
  /** Columns that one thread of the kernels over columns of codes takes: a software driver's whole cache lines, or a real GPU's many threads. */
  private readonly columns: number;
  private readonly codes: Tensor;
  private readonly codeGradient: Tensor;
  private readonly shift: Tensor;
  private readonly error: Tensor;
  private readonly turned: Tensor;
  /** Active features of each row: u32 [window, rows, features] and u32 [window, rows]. Tiny on the dense path. */
  private readonly index: Tensor;
  private readonly counts: Tensor;
  /** Rows in which each feature is active, after their number: u32 [window, features, rows + 1]. */
  private readonly list: Tensor;
  private readonly slices: Tensor;
  private readonly rowLosses: Tensor;
  private readonly spare: Tensor;

  /** Throws LimitError for sizes that the adapter cannot hold. */
  constructor(gpu: Gpu, sizes: StepSizes, { path = 'auto', software = gpu.software }: StepOptions = {}) {
    const { dictionaries: D, features: F, width, maxRows: n } = sizes;
    this.gpu = gpu;
    this.sizes = sizes;
    this.software = software;
    this.columns = software ? 4 : 1;
    this.path = path === 'auto' ? saePath(sizes) : path;
    this.windows = stepWindows(sizes, gpu.limits);
    const W = Math.max(0, ...this.windows.map(({ count }) => count));
    const sparse = this.path === 'sparse';
    const make = (shape: number[], dtype: 'f32' | 'u32' = 'f32'): Tensor => gpu.keep(Tensor.empty(gpu, shape, dtype));
    this.gradients = { encoder: make([D, F, width]), encoderBias: make([D, F]), decoder: make([D, F, width]), decoderBias: make([D, width]) };
    this.fired = gpu.keep(Tensor.zeros(gpu, [D, F], 'u32'));
    this.codes = make([W, n, F]);
    this.codeGradient = make([W, n, F]);
    this.shift = make([W, n, width]);
    this.error = make([W, n, width]);
    this.turned = make(software ? [W, width, n] : [1]);
    this.index = make(sparse ? [W, n, F] : [1], 'u32');
    this.counts = make(sparse ? [W, n] : [1], 'u32');
    this.list = make(sparse ? [W, F, n + 1] : [1], 'u32');
    this.slices = make([W, slicesOf(n, F).slices, width]);
    this.rowLosses = make([D, n, 4]);
    this.spare = make([4]);
  }

  /** The step's own pipelines, for compiling them in parallel; those of matrix products are not among them. */
  pipelines(): Parameters<Gpu['prepare']>[0] {
    const { software, sizes: { features, width } } = this;
    const columns = columnsOf(software, vec4s(width));
    const lanes = rowLanes(software, features);
    const ends: Parameters<Gpu['prepare']>[0] = [
      { kernel: saeKernels.gather, constants: { GATHER: true } }, { kernel: saeKernels.shift }, { kernel: saeKernels.turn }, { kernel: kernels.biasGradient }, { kernel: kernels.sumRows },
      { kernel: kernels.rowLoss, constants: { LANES: lanes, LISTED: this.path === 'sparse' } },
    ];
    if (this.path === 'dense') return [...ends, { kernel: kernels.mask, constants: { COLUMNS: this.columns } }];
    return [
      ...ends, { kernel: saeKernels.compact, constants: { LANES: lanes, INDEX: true, VALUE: false } }, { kernel: kernels.activeRows, constants: { LIST: true, COLUMNS: this.columns } },
      decodePipeline(software, vec4s(width), true), { kernel: kernels.codeGradient, constants: { LANES: CODE_GRADIENT_LANES } },
      { kernel: kernels.weightGradient, constants: { COLUMNS: columns } },
    ];
  }

  /**
   * Gradients of the loss at `rows` examples. x [P, rows, width]; pool u32 [D] says which of x's pools a dictionary reads; l1 [D] holds
   * each dictionary's λ. With a log, the examples' losses are added to its totals, in the examples' order.
   */
  train(x: Tensor, pool: Tensor, weights: SaeWeights, l1: Tensor, rows: number, log?: StepLog): void {
    this.gpu.scope(() => {
      for (const window of this.windows) {
        const part = this.part(window, weights, rows);
        this.forward(part, x, pool);
        if (log) this.recordLoss(part, x, pool, log.mean);
        if (this.path === 'dense') this.backwardDense(part, l1);
        else this.backwardSparse(part, l1);
        this.backwardBias(part);
      }
    });
    if (!log) return;
    const { dictionaries } = this.sizes;
    this.gpu.dispatch({ kernel: kernels.sumRows, params: { dictionaries, rows }, bindings: [this.rowLosses, log.totals], groups: groupsFor(dictionaries) });
  }

  /**
   * For each example: squared error, sum of codes, number of active features, squared distance from `mean` [P, width]. With `count`, adds
   * to `fired`. A view of a buffer that the next call overwrites, the caller's to dispose: [D, rows, 4].
   */
  losses(x: Tensor, pool: Tensor, weights: SaeWeights, mean: Tensor, rows: number, count: boolean): Tensor {
    this.gpu.scope(() => {
      for (const window of this.windows) {
        const part = this.part(window, weights, rows);
        this.forward(part, x, pool);
        this.recordLoss(part, x, pool, mean);
        if (count) this.recordActiveRows(part, false);
      }
    });
    return view(this.rowLosses, 0, [this.sizes.dictionaries, rows, 4]);
  }

  dispose(): void {
    for (const tensor of Object.values(this.gradients) as Tensor[]) tensor.dispose();
    for (const tensor of [this.fired, this.codes, this.codeGradient, this.shift, this.error, this.turned, this.index, this.counts, this.list, this.slices, this.rowLosses, this.spare]) tensor.dispose();
  }

  /** Views alone, nothing allocated; freed with the scope. */
  private part(window: DictionaryWindow, weights: SaeWeights, rows: number): Part {
    const { features, width } = this.sizes;
    const { first, count } = window;
    const cut = (of: SaeWeights): SaeWeights => ({
      encoder: view(of.encoder, first, [count, features, width]), encoderBias: view(of.encoderBias, first, [count, features]),
      decoder: view(of.decoder, first, [count, features, width]), decoderBias: view(of.decoderBias, first, [count, width]),
    });
    return {
      ...window, rows, weights: cut(weights), gradients: cut(this.gradients), fired: view(this.fired, first, [count, features]),
      codes: view(this.codes, 0, [count, rows, features]), codeGradient: view(this.codeGradient, 0, [count, rows, features]),
      shift: view(this.shift, 0, [count, rows, width]), error: view(this.error, 0, [count, rows, width]),
      turned: this.software ? view(this.turned, 0, [count, width, rows]) : this.turned,
    };
  }

  /** Sizes as the kernels name them. */
  private params({ count, rows, first }: Part): { dictionaries: number; rows: number; width4: number; features: number; first: number } {
    return { dictionaries: count, rows, width4: vec4s(this.sizes.width), features: this.sizes.features, first };
  }

  private product(a: Tensor, b: Tensor, options: MatmulOptions): void {
    const [m, k] = (options.transposeA ? [a.shape[2]!, a.shape[1]!] : [a.shape[1]!, a.shape[2]!]);
    const n = options.transposeB ? b.shape[1]! : b.shape[2]!;
    matmul(a, b, { ...options, software: this.software, variant: saeVariant(this.gpu, m, n, k, this.software) });
  }

  /** a·bᵀ with a [count, rows, width], b [count, features, width]. */
  private productAlong({ turned, count, rows }: Part, a: Tensor, b: Tensor, options: MatmulOptions): void {
    if (this.software) recordTurn(this.gpu, { dictionaries: count, rows, width: this.sizes.width }, a, turned);
    this.product(this.software ? turned : a, b, { ...options, transposeA: this.software, transposeB: true });
  }

  /** Codes and error, and on the sparse path the lists of each row. */
  private forward(part: Part, x: Tensor, pool: Tensor): void {
    const { gpu, software, index, counts } = this;
    const { weights, codes, shift, error } = part;
    const params = this.params(part);
    const { dictionaries, rows, features, first } = params;
    recordShift(gpu, { dictionaries, rows, width: this.sizes.width, first }, { x, pool, decoderBias: weights.decoderBias, out: shift });
    this.productAlong(part, shift, weights.encoder, { scale: -1, bias: weights.encoderBias, activation: 'relu', out: codes });
    if (this.path === 'dense') {
      this.product(codes, weights.decoder, { residual: shift, out: error });
      return;
    }
    recordCompact(gpu, { rows: dictionaries * rows, length: features }, codes, { index, counts, value: this.spare }, { index: true, value: false }, software);
    recordDecode(gpu, params, { index, counts, codes, decoder: weights.decoder, start: shift, out: error }, true, software);
  }

  private backwardDense(part: Part, l1: Tensor): void {
    const { weights, gradients, codes, codeGradient, shift, error, fired, rows } = part;
    this.productAlong(part, error, weights.decoder, { scale: 2 / rows, out: codeGradient });
    const { dictionaries, features, first } = this.params(part);
    this.gpu.dispatch({
      kernel: kernels.mask, constants: { COLUMNS: this.columns }, params: { dictionaries, rows, features, first },
      groups: groupsFor(dictionaries * columnThreads(features, this.columns)),
      bindings: [codes, l1, codeGradient, gradients.encoderBias, fired],
    });
    this.product(codes, error, { transposeA: true, scale: 2 / rows, out: gradients.decoder });
    this.product(codeGradient, shift, { transposeA: true, scale: -1, out: gradients.encoder });
  }

  private backwardSparse(part: Part, l1: Tensor): void {
    const { gpu, index, counts, list } = this;
    const { weights, gradients, codes, codeGradient, shift, error } = part;
    const params = this.params(part);
    const { dictionaries, rows, width4, features } = params;
    this.recordActiveRows(part, true);
    gpu.dispatch({
      kernel: kernels.codeGradient, constants: { LANES: CODE_GRADIENT_LANES }, params, groups: groupsFor(dictionaries * rows * CODE_GRADIENT_LANES),
      bindings: [index, counts, error, weights.decoder, l1, codeGradient],
    });
    const columns = columnsOf(this.software, width4);
    gpu.dispatch({
      kernel: kernels.weightGradient, constants: { COLUMNS: columns }, params, groups: groupsFor(dictionaries * features * Math.ceil(width4 / columns)),
      bindings: [list, codes, codeGradient, error, shift, gradients.decoder, gradients.encoder, gradients.encoderBias],
    });
  }

  private backwardBias(part: Part): void {
    const { weights, gradients, error } = part;
    const params = this.params(part);
    const { dictionaries, rows, width4, features } = params;
    const cut = slicesOf(rows, features);
    const whole = cut.slices === 1;
    this.gpu.dispatch({
      kernel: kernels.biasGradient, params: { ...params, ...cut }, groups: groupsFor(dictionaries * cut.slices * width4),
      bindings: [error, gradients.encoderBias, weights.encoder, whole ? gradients.decoderBias : this.slices],
    });
    if (whole) return;
    this.gpu.dispatch({
      kernel: kernels.sumSlices, params: { dictionaries, slices: cut.slices, width4 }, groups: groupsFor(dictionaries * width4), bindings: [this.slices, gradients.decoderBias],
    });
  }

  /** Counts in how many rows each feature is active, and with `list` says in which. */
  private recordActiveRows(part: Part, list: boolean): void {
    const { dictionaries, rows, features } = this.params(part);
    this.gpu.dispatch({
      kernel: kernels.activeRows, constants: { LIST: list, COLUMNS: this.columns }, params: { dictionaries, rows, features },
      groups: groupsFor(dictionaries * columnThreads(features, this.columns)),
      bindings: [part.codes, list ? this.list : this.spare, part.fired],
    });
  }

  private recordLoss(part: Part, x: Tensor, pool: Tensor, mean: Tensor): void {
    const params = this.params(part);
    const lanes = rowLanes(this.software, params.features);
    this.gpu.dispatch({
      kernel: kernels.rowLoss, constants: { LANES: lanes, LISTED: this.path === 'sparse' }, params, groups: rowGroups(params.dictionaries * params.rows, lanes),
      bindings: [part.error, part.codes, this.index, this.counts, x, pool, mean, this.rowLosses],
    });
  }
}

/** How the terms of the decoder bias' gradient are cut up. */
function slicesOf(rows: number, features: number): { slices: number; slice: number } {
  const terms = rows + features;
  const slice = terms <= ONE_SLICE ? ONE_SLICE : SLICE;
  return { slices: Math.ceil(terms / slice), slice };
}

/** Threads of sae-mask and sae-active-rows for one dictionary. */
function columnThreads(features: number, columns: number): number {
  return Math.ceil(features / (8 * columns)) * 8;
}

/** What a stacked tensor holds from dictionary `first` on, as a tensor of the given shape. Windows begin where a view can. */
function view(stacked: Tensor, first: number, shape: readonly number[]): Tensor {
  const flat = stacked.reshape([-1]);
  const used = flat.rows(first * elements(shape.slice(1)), elements(shape));
  const out = used.reshape(shape);
  flat.dispose();
  used.dispose();
  return out;
}
