/**
 * One training step's arithmetic for many SAEs of a kind at once: codes, reconstruction error, and the gradients of
 *
 *   loss[D] = mean_r ‖x_r − x̂_r‖² (summed over dims) + the kind's own terms            (evaluation.md §7.1; sae-variants/)
 *
 * The encoder is dense. After it, the dense path takes products over all features; the sparse one touches active features only, listed
 * per row for the decoder and the codes' gradients and per feature for the weights' gradients, always in ascending order, so that sums
 * have a fixed order. All buffers are made once. Those for codes serve one window of dictionaries after the other.
 *
 * A single dictionary whose matrices or codes are beyond one binding is cut into windows of features: all are encoded, the error is added up from
 * one to the next, then each gets its gradients. Codes of all windows are kept in between, lists are made again.
 */
import biasGradientSource from '../../kernels/sae-bias-gradient.wgsl';
import rowLossSource from '../../kernels/sae-row-loss.wgsl';
import sumRowsSource from '../../kernels/sae-sum-rows.wgsl';
import sumSlicesSource from '../../kernels/sae-sum-slices.wgsl';
import { ShapeError, UsageError } from '../errors.ts';
import { defineKernel, type Gpu } from '../gpu/index.ts';
import { rowGroups, rowLanes } from './row-lanes.ts';
import { checkAuxiliary, DeadFeatures, type AuxiliaryOptions } from './sae-auxiliary.ts';
import { ActiveLists } from './sae-lists.ts';
import { StepTools, view, type Codes, type Part } from './sae-part.ts';
import { featureWindows, saePath, slicesOf, stepWindows, wideSlices, type DictionaryWindow, type FeatureWindow, type SaePath, type StepSizes } from './sae-plan.ts';
import { groupsFor, recordShift, saeKernels } from './sae.ts';
import { partShape, saeParts, type SaeVariant, type SaeWeights } from './sae-variant.ts';
import { recordRunningThreshold } from './sae-variants/batchtopk.ts';
import { makeVariantStep, type Second, type VariantStep } from './sae-variants/index.ts';
import { Tensor } from './tensor.ts';

const kernels = {
  biasGradient: defineKernel('sae-bias-gradient', biasGradientSource),
  sumSlices: defineKernel('sae-sum-slices', sumSlicesSource),
  rowLoss: defineKernel('sae-row-loss', rowLossSource),
  sumRows: defineKernel('sae-sum-rows', sumRowsSource),
};

export interface StepOptions {
  /** `vanilla` if not given. */
  variant?: SaeVariant;
  /** `auto`, the default, goes by the kind and the sizes. */
  path?: SaePath | 'auto';
  /** Plans as for a CPU driver, or as for a real GPU, whatever this one is. For tests and benchmarks. */
  software?: boolean;
  /** As released with the paper: top-k without ReLU and encoder bias, gated magnitudes without ReLU. */
  signed?: boolean;
  /** JumpReLU: width ε of the window around θ in which a pre-activation moves it. 0.001 if not given. */
  bandwidth?: number;
  /** Top-k kinds: the loss of dead features (sae-auxiliary.ts); none if not given. */
  auxiliary?: AuxiliaryOptions | null;
}

/**
 * What the log adds up: `mean` [P, width] of all examples of each pool; `totals` [D, 4], added to; `auxiliary` [D, 4], the same figures of
 * the second reconstruction: x̂ from the gates in gated kinds, the residual from dead features in top-k kinds with that loss.
 */
export interface StepLog { mean: Tensor; totals: Tensor; auxiliary?: Tensor }

/** How `losses` makes codes of the kinds that need more than weights. */
export interface LossOptions {
  /** K of each dictionary, [D]; top-k needs it. */
  sparsity?: Tensor;
  /** BatchTopK: running thresholds [D], as the finished dictionary uses them. Without them the batch's own largest codes are kept. */
  threshold?: Tensor;
}

export class SaeStep {
  /** Gradients of the parts that the kind has, shaped as the weights. */
  readonly gradients: SaeWeights;
  /** How often each feature was active in what was trained on or counted since the last clear: u32 [dictionaries, features]. */
  readonly fired: Tensor;
  /** Features that the auxiliary loss counts as dead, those not 0: u32 [dictionaries, features], at first none; the caller's to write. One element without that loss. */
  readonly dead: Tensor;
  /** BatchTopK: smallest code that the last batch kept, [dictionaries]; −1 where it kept none. */
  readonly batchThreshold: Tensor;
  readonly variant: SaeVariant;
  readonly path: SaePath;
  readonly windows: readonly DictionaryWindow[];
  /** More than one where a single dictionary is cut. */
  readonly featureWindows: readonly FeatureWindow[];
  private readonly gpu: Gpu;
  private readonly sizes: StepSizes;
  private readonly tools: StepTools;
  private readonly own: VariantStep;
  private readonly lists: ActiveLists;
  private readonly auxiliary: DeadFeatures | null;
  private readonly codes: Codes;
  private readonly codeGradient: Codes;
  private readonly shift: Tensor;
  private readonly error: Tensor;
  /** The error so far, where windows of features add to it in turns and none may read and write at once. */
  private readonly halfway: Tensor;
  private readonly turned: Tensor;
  private readonly slices: Tensor;
  private readonly rowLosses: Tensor;
  /** The same of second reconstructions. */
  private readonly secondLosses: Tensor;

  /** Throws LimitError for sizes that the adapter cannot hold, UsageError for a path or an auxiliary loss that the kind does not have. */
  constructor(gpu: Gpu, sizes: StepSizes, options: StepOptions = {}) {
    const { dictionaries: D, features: F, width, maxRows: n } = sizes;
    const { variant = 'vanilla', path = 'auto', software = gpu.software, auxiliary } = options;
    this.gpu = gpu;
    this.sizes = sizes;
    this.variant = variant;
    this.path = path === 'auto' ? saePath(sizes, variant) : path;
    if (this.path === 'sparse' && saePath({ features: Infinity }, variant) === 'dense') throw new UsageError(`the sparse path does not serve ${variant} dictionaries, whose inactive features have gradients too`);
    if (auxiliary && variant !== 'topk' && variant !== 'batchtopk') throw new UsageError(`the loss of dead features is for topk and batchtopk dictionaries, not ${variant} ones`);
    if (auxiliary) checkAuxiliary(auxiliary);
    this.windows = stepWindows(sizes, gpu.limits);
    this.featureWindows = featureWindows(sizes, gpu.limits);
    const W = Math.max(0, ...this.windows.map(({ count }) => count));
    this.tools = new StepTools(gpu, sizes, { variant, path: this.path, software, window: W, features: this.featureWindows });
    const { tools } = this;
    this.gradients = Object.fromEntries(saeParts(variant).map((part) => [part, gpu.keep(Tensor.zeros(gpu, [D, ...partShape(part, sizes)]))])) as unknown as SaeWeights;
    this.fired = gpu.keep(Tensor.zeros(gpu, [D, F], 'u32'));
    this.dead = gpu.keep(Tensor.zeros(gpu, auxiliary ? [D, F] : [1], 'u32'));
    this.batchThreshold = tools.make(variant === 'batchtopk' ? [D] : [1]);
    this.codes = tools.makeCodes(true);
    this.codeGradient = tools.makeCodes(false);
    this.shift = tools.make([W, n, width]);
    this.error = tools.make([W, n, width]);
    this.halfway = tools.make(tools.wide && this.path === 'sparse' ? [W, n, width] : [1]);
    this.turned = tools.make(software ? [W, width, n] : [1]);
    this.slices = tools.make([W, tools.wide ? wideSlices(tools.features, n).at(-1)!.end : slicesOf(n, F).slices, width]);
    this.rowLosses = tools.make([D, n, 4]);
    this.secondLosses = tools.make(variant === 'gated' || auxiliary ? [D, n, 4] : [4]);
    this.lists = new ActiveLists(tools, this.path === 'sparse' || !!auxiliary);
    this.own = makeVariantStep(tools, options, this.batchThreshold);
    this.auxiliary = auxiliary ? new DeadFeatures(tools, this.lists, this.dead, auxiliary) : null;
  }

  /** The step's own pipelines, for compiling them in parallel; those of matrix products are not among them. */
  pipelines(): Parameters<Gpu['prepare']>[0] {
    const { software, widest, wide } = this.tools;
    const lanes = rowLanes(software, widest);
    return [
      { kernel: saeKernels.gather, constants: { GATHER: true } }, { kernel: saeKernels.shift }, { kernel: saeKernels.turn }, ...[true, ...(wide ? [false] : [])].map((ERRORS) => ({ kernel: kernels.biasGradient, constants: { ERRORS } })), { kernel: kernels.sumRows },
      ...[false, ...(wide ? [true] : [])].map((ADD) => ({ kernel: kernels.rowLoss, constants: { LANES: lanes, LISTED: this.path === 'sparse', ADD } })),
      ...this.own.pipelines(), ...(this.path === 'sparse' ? this.lists.pipelines() : []), ...(this.auxiliary?.pipelines() ?? []),
    ];
  }

  /**
   * Gradients of the loss at `rows` examples. x [P, rows, width]; pool u32 [D] says which of x's pools a dictionary reads; sparsity [D] holds
   * each dictionary's λ, or K in top-k kinds. With a log, the examples' losses are added to its totals, in the examples' order.
   */
  train(x: Tensor, pool: Tensor, weights: SaeWeights, sparsity: Tensor, rows: number, log?: StepLog): void {
    const logsSecond = log?.auxiliary !== undefined && (this.auxiliary !== null || this.own.second !== undefined);
    this.gpu.scope(() => {
      for (const window of this.windows) {
        const parts = this.parts(window, weights, rows);
        this.shiftInputs(parts[0]!, x, pool);
        for (const part of parts) this.own.encode(part, this.auxiliary?.takeCodes);
        this.own.select?.(parts, sparsity);
        this.auxiliary?.select(parts);
        const data = log && { x, pool, mean: log.mean };
        for (const part of parts) {
          this.reconstruct(part);
          if (data) this.recordLoss(part, data);
        }
        for (const part of parts) {
          const gates = this.own.second?.(part);
          if (data && gates && logsSecond) this.recordLoss(part, data, gates);
        }
        for (const part of parts) {
          if (this.path === 'dense') this.backDense(part, sparsity);
          else this.lists.back(part, this.own.penalty(sparsity));
        }
        // Last, because it takes over the buffers of lists and gradients.
        for (const part of parts) {
          const dead = this.auxiliary?.second(part);
          if (data && dead && logsSecond) this.recordLoss(part, data, dead);
        }
        for (const part of parts) this.auxiliary?.back(part);
        this.backBias(parts);
      }
    });
    if (log) this.addUp(this.rowLosses, rows, log.totals);
    if (log && logsSecond) this.addUp(this.secondLosses, rows, log.auxiliary!);
  }

  /**
   * For each example: squared error, sum of codes, number of active features, squared distance from `mean` [P, width]. With `count`, adds
   * to `fired`. A view of a buffer that the next call overwrites, the caller's to dispose: [D, rows, 4]. Throws ShapeError where a kind
   * needs `sparsity` and it is not there.
   */
  losses(x: Tensor, pool: Tensor, weights: SaeWeights, mean: Tensor, rows: number, count: boolean, { sparsity, threshold }: LossOptions = {}): Tensor {
    const needed = this.variant === 'topk' || (this.variant === 'batchtopk' && !threshold);
    if (needed && !sparsity) throw new ShapeError(`sae: losses of ${this.variant} dictionaries need the number of active features of each`);
    this.gpu.scope(() => {
      for (const window of this.windows) {
        const parts = this.parts(window, weights, rows);
        this.shiftInputs(parts[0]!, x, pool);
        const finished = threshold && this.own.encodeFinished ? threshold : null;
        for (const part of parts) {
          if (finished) this.own.encodeFinished!(part, finished);
          else this.own.encode(part);
        }
        if (!finished && this.own.select) this.own.select(parts, sparsity!);
        for (const part of parts) {
          this.reconstruct(part);
          this.recordLoss(part, { x, pool, mean });
          const gates = this.own.second?.(part);
          if (gates) this.recordLoss(part, { x, pool, mean }, gates);
          if (count) this.lists.recordActiveRows(part, part.codes, part.fired, false);
        }
      }
    });
    return view(this.rowLosses, 0, [this.sizes.dictionaries, rows, 4]);
  }

  /**
   * The same figures of gated dictionaries' reconstruction from the gates, for the examples of the last call of `losses`; null for other
   * kinds. A view as that one, [D, rows, 4].
   */
  auxiliaryLosses(rows: number): Tensor | null {
    return this.own.second ? view(this.secondLosses, 0, [this.sizes.dictionaries, rows, 4]) : null;
  }

  /** Marks as dead what `fired` has no count for. Without an auxiliary loss nothing. */
  markDead(): void {
    this.auxiliary?.mark(this.fired);
  }

  /**
   * BatchTopK: moves running thresholds [D] towards the smallest codes that the last batch kept, running += rate (batch − running); one below
   * zero, as all are at first, takes the batch's as it is.
   */
  updateThreshold(running: Tensor, rate = 0.01): void {
    recordRunningThreshold(this.gpu, this.batchThreshold, running, rate);
  }

  dispose(): void {
    for (const tensor of Object.values(this.gradients) as Tensor[]) tensor.dispose();
    for (const tensor of [this.fired, this.dead, this.batchThreshold, ...this.codes, ...this.codeGradient, this.shift, this.error, this.halfway, this.turned, this.slices, this.rowLosses, this.secondLosses]) tensor.dispose();
    this.own.dispose();
    this.lists.dispose();
    this.auxiliary?.dispose();
  }

  /** A window's dictionaries, by windows of features. Views alone, nothing allocated; freed with the scope. */
  private parts(window: DictionaryWindow, weights: SaeWeights, rows: number): Part[] {
    const { tools, sizes: { width } } = this;
    const { first, count } = window;
    return tools.features.map(({ start, count: features }, slot) => {
      const own = { ...window, slot, start, features, rows };
      const gradients = tools.cut(this.gradients, own);
      return {
        ...own, weights: tools.cut(weights, own), gradients, fired: view(this.fired, first, [count, features], start),
        sums: this.own.sums ? view(this.own.sums, 0, [count, features], start) : gradients.encoderBias,
        codes: tools.codesOf(this.codes, own), codeGradient: tools.codesOf(this.codeGradient, own),
        shift: view(this.shift, 0, [count, rows, width]), error: view(this.error, 0, [count, rows, width]),
        turned: tools.software ? view(this.turned, 0, [count, width, rows]) : this.turned,
      };
    });
  }

  private shiftInputs(part: Part, x: Tensor, pool: Tensor): void {
    const { dictionaries, rows, first } = this.tools.params(part);
    recordShift(this.gpu, { dictionaries, rows, first, width: this.sizes.width }, { x, pool, decoderBias: part.weights.decoderBias, out: part.shift });
  }

  /** The error x̂ − x, to which windows of features add one after the other, and on the sparse path the lists of each row. */
  private reconstruct(part: Part): void {
    const { codes, weights, shift, error, slot, count, rows } = part;
    if (this.path === 'dense') {
      this.tools.product(codes, weights.decoder, { residual: slot === 0 ? shift : error, out: error });
      return;
    }
    if (!this.tools.wide) return this.lists.decode(part, { codes, start: shift, out: error });
    const halfway = view(this.halfway, 0, [count, rows, this.sizes.width]);
    // The last window ends in `error`.
    const odd = (this.tools.features.length - 1 - slot) % 2 === 1;
    this.lists.decode(part, { codes, start: slot === 0 ? shift : odd ? error : halfway, out: odd ? halfway : error });
  }

  private backDense(part: Part, sparsity: Tensor): void {
    const { tools } = this;
    const { weights, gradients, codes, codeGradient, shift, error, rows } = part;
    tools.productAlong(part, error, weights.decoder, { scale: 2 / rows, out: codeGradient });
    const preGradient = this.own.back(part, sparsity);
    tools.product(codes, error, { transposeA: true, scale: 2 / rows, out: gradients.decoder });
    tools.product(preGradient, shift, { transposeA: true, scale: -1, out: gradients.encoder });
  }

  private backBias(parts: readonly Part[]): void {
    const { gpu, tools, slices } = this;
    const { gradients: { decoderBias }, rows } = parts[0]!;
    const cuts = tools.wide ? wideSlices(tools.features, rows) : [{ ...slicesOf(rows, parts[0]!.features), end: 0 }];
    const whole = !tools.wide && cuts[0]!.slices === 1;
    const { dictionaries, width4 } = tools.params(parts[0]!);
    for (const [slot, { error, sums, weights, ...part }] of parts.entries()) {
      const { slices: own, slice, end } = cuts[slot]!;
      const out = whole ? decoderBias : tools.wide ? view(slices, 0, [own, this.sizes.width], (end - own) * this.sizes.width) : slices;
      gpu.dispatch({
        kernel: kernels.biasGradient, constants: { ERRORS: slot === 0 }, params: { dictionaries, rows, width4, features: part.features, slices: own, slice },
        groups: groupsFor(dictionaries * own * width4), bindings: [error, sums, weights.encoder, out],
      });
    }
    if (whole) return;
    const all = tools.wide ? cuts.at(-1)!.end : cuts[0]!.slices;
    gpu.dispatch({ kernel: kernels.sumSlices, params: { dictionaries, slices: all, width4 }, groups: groupsFor(dictionaries * width4), bindings: [slices, decoderBias] });
  }

  private recordLoss(part: Part, { x, pool, mean }: { x: Tensor; pool: Tensor; mean: Tensor }, second?: Second): void {
    const params = this.tools.params(part);
    const lanes = rowLanes(this.tools.software, params.features);
    const { index, counts } = this.lists;
    this.gpu.dispatch({
      kernel: kernels.rowLoss, constants: { LANES: lanes, LISTED: this.path === 'sparse' && !second, ADD: part.slot > 0 }, params, groups: rowGroups(params.dictionaries * params.rows, lanes),
      bindings: [second?.error ?? part.error, second?.codes ?? part.codes, index, counts, x, pool, mean, second ? this.secondLosses : this.rowLosses],
    });
  }

  private addUp(losses: Tensor, rows: number, totals: Tensor): void {
    const { dictionaries } = this.sizes;
    this.gpu.dispatch({ kernel: kernels.sumRows, params: { dictionaries, rows }, bindings: [losses, totals], groups: groupsFor(dictionaries) });
  }
}
