/**
 * The sparse path of a training step: what follows the encoder, for active features alone. Listed per row for the decoder and the codes'
 * gradients, and per feature for the weights' gradients, always in ascending order.
 */
import activeRowsSource from '../../kernels/sae-active-rows.wgsl';
import codeGradientSource from '../../kernels/sae-code-gradient.wgsl';
import weightGradientSource from '../../kernels/sae-weight-gradient.wgsl';
import { defineKernel } from '../gpu/index.ts';
import { rowLanes } from './row-lanes.ts';
import type { Part, StepTools } from './sae-part.ts';
import { columnsOf, decodePipeline, groupsFor, recordCompact, recordDecode, saeKernels, vec4s } from './sae.ts';
import type { Pipelines } from './sae-variants/variant.ts';
import type { Tensor } from './tensor.ts';

const kernels = {
  activeRows: defineKernel('sae-active-rows', activeRowsSource),
  codeGradient: defineKernel('sae-code-gradient', codeGradientSource),
  weightGradient: defineKernel('sae-weight-gradient', weightGradientSource),
};

/** Threads of sae-code-gradient that share a row. */
const CODE_GRADIENT_LANES = 8;

/** Codes whose gradients are wanted, and the error that they are to lessen. */
interface Active { codes: Tensor; error: Tensor; fired: Tensor; penalty: Tensor }

export class ActiveLists {
  /** Active features of each row: u32 [window, rows, features] and u32 [window, rows]. Tiny where they are not used. */
  readonly index: Tensor;
  readonly counts: Tensor;
  /** Rows in which each feature is active, after their number: u32 [window, features, rows + 1]. */
  private readonly list: Tensor;
  private readonly spare: Tensor;
  private readonly tools: StepTools;

  constructor(tools: StepTools, used: boolean) {
    const { window: W, widest: F, sizes: { maxRows: n } } = tools;
    this.tools = tools;
    this.index = tools.make(used ? [W, n, F] : [1], 'u32');
    this.counts = tools.make(used ? [W, n] : [1], 'u32');
    this.list = tools.make(used ? [W, F, n + 1] : [1], 'u32');
    this.spare = tools.make([4]);
  }

  /** Lists codes by row and adds what they decode to, without a bias, to `start`. */
  decode(part: Part, { codes, start, out }: { codes: Tensor; start: Tensor; out: Tensor }): void {
    const { tools: { gpu, software }, index, counts } = this;
    this.listRows(part, codes);
    recordDecode(gpu, this.tools.params(part), { index, counts, codes, decoder: part.weights.decoder, start, out }, true, software);
  }

  private listRows(part: Part, codes: Tensor): void {
    const { tools: { gpu, software }, index, counts } = this;
    const { dictionaries, rows, features } = this.tools.params(part);
    recordCompact(gpu, { rows: dictionaries * rows, length: features }, codes, { index, counts, value: this.spare }, { index: true, value: false }, software);
  }

  /** Gradients of both matrices and part.sums, by part.codes as `decode` listed them last; listed again where other windows of features came after. */
  back(part: Part, penalty: Tensor): void {
    this.backOf(part, { codes: part.codes, error: part.error, fired: part.fired, penalty }, false);
  }

  /** The same by other codes and another error, written or added to what is there. */
  backOf(part: Part, { codes, error, fired, penalty }: Active, accumulate: boolean): void {
    const { tools: { gpu, software }, index, counts, list } = this;
    const { weights, gradients, codeGradient, shift, sums } = part;
    const params = this.tools.params(part);
    const { dictionaries, rows, width4, features } = params;
    if (this.tools.wide) this.listRows(part, codes);
    this.recordActiveRows(part, codes, fired, true);
    gpu.dispatch({
      kernel: kernels.codeGradient, constants: { LANES: CODE_GRADIENT_LANES }, params, groups: groupsFor(dictionaries * rows * CODE_GRADIENT_LANES),
      bindings: [index, counts, error, weights.decoder, penalty, codeGradient],
    });
    const columns = columnsOf(software, width4);
    gpu.dispatch({
      kernel: kernels.weightGradient, constants: { COLUMNS: columns, ACCUMULATE: accumulate }, params, groups: groupsFor(dictionaries * features * Math.ceil(width4 / columns)),
      bindings: [list, codes, codeGradient, error, shift, gradients.decoder, gradients.encoder, sums],
    });
  }

  /** Counts in how many rows each feature is active, and with `list` says in which. */
  recordActiveRows(part: Part, codes: Tensor, fired: Tensor, list: boolean): void {
    const { dictionaries, rows, features } = this.tools.params(part);
    this.tools.gpu.dispatch({
      kernel: kernels.activeRows, constants: { LIST: list, COLUMNS: this.tools.columns }, params: { dictionaries, rows, features },
      groups: groupsFor(this.tools.columnThreads(part)), bindings: [codes, list ? this.list : this.spare, fired],
    });
  }

  pipelines(accumulate = false): Pipelines {
    const { software, columns, widest, sizes: { width } } = this.tools;
    return [
      { kernel: saeKernels.compact, constants: { LANES: rowLanes(software, widest), INDEX: true, VALUE: false } },
      { kernel: kernels.activeRows, constants: { LIST: true, COLUMNS: columns } }, decodePipeline(software, vec4s(width), true),
      { kernel: kernels.codeGradient, constants: { LANES: CODE_GRADIENT_LANES } },
      { kernel: kernels.weightGradient, constants: { COLUMNS: columnsOf(software, vec4s(width)), ACCUMULATE: accumulate } },
    ];
  }

  dispose(): void {
    for (const tensor of [this.index, this.counts, this.list, this.spare]) tensor.dispose();
  }
}
