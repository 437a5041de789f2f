/**
 * The loss that revives dead features of top-k kinds (Gao et al. 2024, arXiv 2406.04093, appendix A.2): they are to reconstruct what the
 * others left over,
 *
 *   + c min(dead / k, 1) mean_r ‖e − ê‖²,   e = x − x̂ taken as a constant,   ê = a W_dec,
 *
 * where a holds the ReLU of the k largest pre-activations among the dead features of an example. Squared errors are summed over dims and not
 * divided by the variance, and the weight falls with the number of the dead below k, both as SAELens has it. With δ = ê − e:
 * ∂/∂W_dec += 2/n aᵀδ and ∂/∂a = 2/n δ W_decᵀ where a is not zero, which goes on to the encoder as other codes' gradients do.
 *
 * Always by lists of active features: with none that is dead there is next to nothing to do.
 */
import codesSource from '../../kernels/sae-dead-codes.wgsl';
import errorSource from '../../kernels/sae-dead-error.wgsl';
import markSource from '../../kernels/sae-mark-dead.wgsl';
import { UsageError } from '../errors.ts';
import { defineKernel } from '../gpu/index.ts';
import type { ActiveLists } from './sae-lists.ts';
import { view, type Codes, type Part, type StepTools } from './sae-part.ts';
import { LargestCodes } from './sae-select.ts';
import { groupsFor } from './sae.ts';
import type { Pipelines, Second, TakeCodes } from './sae-variants/index.ts';
import { columnGroups } from './sae-variants/threshold.ts';
import { recordTopK, topKPipeline } from './sae-variants/topk.ts';
import { Tensor } from './tensor.ts';

const kernels = { codes: defineKernel('sae-dead-codes', codesSource), error: defineKernel('sae-dead-error', errorSource), mark: defineKernel('sae-mark-dead', markSource) };
/** Workgroups of sae-dead-error for a dictionary. */
const ERROR_BLOCKS = 4;

export interface AuxiliaryOptions {
  /** Most dead features of an example that take part; half the width is usual. */
  k: number;
  /** Weight of the loss, c. */
  coefficient: number;
}

/** Throws UsageError for options out of range. */
export function checkAuxiliary({ k, coefficient }: AuxiliaryOptions): void {
  if (!Number.isInteger(k) || k < 1) throw new UsageError(`the loss of dead features: k is ${k}, but must be a whole number of at least 1`);
  if (!(coefficient >= 0) || !Number.isFinite(coefficient)) throw new UsageError(`the loss of dead features: its coefficient is ${coefficient}, but must be a number of at least 0`);
}

export class DeadFeatures {
  private readonly tools: StepTools;
  private readonly lists: ActiveLists;
  private readonly dead: Tensor;
  private readonly options: AuxiliaryOptions;
  private readonly k: Tensor;
  private readonly zeros: Tensor;
  /** a, [window, rows, features]; ê − e and the same weighted, [window, rows, width]. */
  private readonly codes: Codes;
  private readonly error: Tensor;
  private readonly weighted: Tensor;
  /** Selects where windows of features cut rows. */
  private readonly across: LargestCodes | null;
  /** Counts of activity that nobody wants. */
  private readonly spare: Tensor;

  /** `dead` u32 [all dictionaries, features] stays the caller's. */
  constructor(tools: StepTools, lists: ActiveLists, dead: Tensor, options: AuxiliaryOptions) {
    const { gpu, window: W, sizes: { dictionaries: D, maxRows: n, width, features } } = tools;
    this.tools = tools;
    this.lists = lists;
    this.dead = dead;
    this.options = options;
    this.k = gpu.keep(Tensor.from(gpu, new Float32Array(D).fill(options.k), [D]));
    this.zeros = gpu.keep(Tensor.zeros(gpu, [D]));
    this.codes = tools.makeCodes(true);
    this.across = tools.wide ? LargestCodes.ofRows(tools, false) : null;
    this.error = tools.make([W, n, width]);
    this.weighted = tools.make([W, n, width]);
    this.spare = gpu.keep(Tensor.zeros(gpu, [W, features], 'u32'));
  }

  /** Records a from pre-activations that stand in part.codes. */
  readonly takeCodes: TakeCodes = (part: Part): void => {
    const { tools } = this;
    const { dictionaries, rows, features, first } = tools.params(part);
    const size = { dictionaries, rows, features, first };
    // Windows of features are of the first dictionary.
    const dead = tools.wide ? view(this.dead, 0, [1, features], part.start) : this.dead;
    tools.gpu.dispatch({ kernel: kernels.codes, params: size, bindings: [part.codes, dead, tools.codesOf(this.codes, part)], groups: columnGroups(size) });
  };

  /** Records the selection of the k largest, once `takeCodes` has seen all windows of features. */
  select(parts: readonly Part[]): void {
    const { tools, across, k } = this;
    const size = tools.params(parts[0]!);
    const windows = parts.map((part) => ({ codes: tools.codesOf(this.codes, part), features: part.features }));
    if (across) across.record(windows, size, k);
    else recordTopK(tools.gpu, size, { values: windows[0]!.codes, k }, false, tools.software);
  }

  /** Records ê − e, to which windows of features add one after the other. The lists are then of dead features. */
  second(part: Part): Second {
    const { codes, error, weighted } = this.part(part);
    // The last window ends in `error`.
    const odd = (this.tools.features.length - 1 - part.slot) % 2 === 1;
    // part.error is x̂ − x, so −e.
    this.lists.decode(part, { codes, start: part.slot === 0 ? part.error : odd ? error : weighted, out: odd ? weighted : error });
    return { codes, error };
  }

  /** Adds to the gradients of both matrices and to part.sums, once the loss of all features has written them; after `second`. */
  back(part: Part): void {
    const { tools: { gpu, sizes: { features } } } = this;
    const params = this.tools.params(part);
    const { codes, error, weighted } = this.part(part);
    const { k, coefficient } = this.options;
    if (part.slot === 0) gpu.dispatch({ kernel: kernels.error, params: { ...params, features, k, coefficient }, bindings: [error, this.dead, weighted], groups: params.dictionaries * ERROR_BLOCKS });
    this.lists.backOf(part, { codes, error: weighted, fired: this.spare, penalty: this.zeros }, true);
  }

  /** Marks as dead what has not fired: u32 [all dictionaries, features]. */
  mark(fired: Tensor): void {
    const { size } = this.dead;
    this.tools.gpu.dispatch({ kernel: kernels.mark, params: { size }, bindings: [fired, this.dead], groups: groupsFor(size) });
  }

  pipelines(): Pipelines {
    return [{ kernel: kernels.codes }, { kernel: kernels.error }, { kernel: kernels.mark }, ...(this.across?.pipelines() ?? [topKPipeline(false, this.tools.software)]), ...this.lists.pipelines(true)];
  }

  dispose(): void {
    for (const tensor of [this.k, this.zeros, ...this.codes, this.error, this.weighted, this.spare]) tensor.dispose();
    this.across?.dispose();
  }

  private part(part: Part): { codes: Tensor; error: Tensor; weighted: Tensor } {
    const shape = [part.count, part.rows, this.tools.sizes.width];
    return { codes: this.tools.codesOf(this.codes, part), error: view(this.error, 0, shape), weighted: view(this.weighted, 0, shape) };
  }
}
