/**
 * The largest codes of many together: of a batch's examples, or of the windows of features in which an example's codes lie. The search narrows a
 * range of numbers by counts over everything that it looks at, one round a dispatch and window (see kernels/sae-batch-top-k.wgsl); then what is
 * below goes, and of those that equal the last one kept as many as there is no room for, the first ones staying.
 */
import applySource from '../../kernels/sae-batch-top-k-apply.wgsl';
import searchSource from '../../kernels/sae-batch-top-k.wgsl';
import tiesSource from '../../kernels/sae-batch-top-k-ties.wgsl';
import { defineKernel, type BufferSlice } from '../gpu/index.ts';
import type { StepTools } from './sae-part.ts';
import { groupsFor } from './sae.ts';
import type { Pipelines } from './sae-variants/variant.ts';
import type { Tensor } from './tensor.ts';

const kernels = { search: defineKernel('sae-batch-top-k', searchSource), ties: defineKernel('sae-batch-top-k-ties', tiesSource), apply: defineKernel('sae-batch-top-k-apply', applySource) };

/** Rounds of counting after which every range is one number: one by powers of two, eight that divide a range by 16. */
const ROUNDS = 9;

/** A window's codes: [dictionaries, rows, features]. */
export interface Window { codes: BufferSlice; features: number }

export class LargestCodes {
  private readonly tools: StepTools;
  private readonly options: { signed: boolean; oneK: boolean };
  /** u32 [ROUNDS + 1, lines, 4], lines rounded up so that each begins where a binding may. */
  private readonly ranges: Tensor;
  /** u32 [ROUNDS, lines, 16] */
  private readonly counts: Tensor;
  /** u32 [windows, lines, rows] */
  private readonly equal: Tensor;
  private readonly spare: Tensor | null;

  private constructor(tools: StepTools, sizes: { lines: number; rows: number }, options: { signed: boolean; oneK: boolean }) {
    this.tools = tools;
    this.options = options;
    this.ranges = tools.make([ROUNDS + 1, aligned(sizes.lines), 4], 'u32');
    this.counts = tools.make([ROUNDS, sizes.lines, 16], 'u32');
    this.equal = tools.make([tools.features.length, sizes.lines, sizes.rows], 'u32');
    this.spare = options.oneK ? tools.make([sizes.lines]) : null;
  }

  /** The K·n largest of each dictionary's batch of n examples. */
  static ofBatches(tools: StepTools): LargestCodes {
    return new LargestCodes(tools, { lines: tools.window, rows: tools.sizes.maxRows }, { signed: false, oneK: false });
  }

  /** The K largest of each example of a single dictionary. */
  static ofRows(tools: StepTools, signed: boolean): LargestCodes {
    return new LargestCodes(tools, { lines: tools.sizes.maxRows, rows: 1 }, { signed, oneK: true });
  }

  /**
   * Records zeros in place of all but the largest, in all windows. k [all dictionaries]: K; those in hand begin at `first`. `smallest` [all
   * dictionaries] takes the smallest one kept above zero, −1 where there is none.
   */
  record(windows: readonly Window[], { dictionaries, rows, first }: { dictionaries: number; rows: number; first: number }, k: BufferSlice, smallest?: BufferSlice): void {
    const { tools: { gpu }, options: { oneK }, ranges, counts, equal } = this;
    const size = oneK ? { dictionaries: rows, rows: 1, first } : { dictionaries, rows, first };
    const stride = aligned(size.dictionaries);
    const pipeline = this.searchPipeline();
    const perGroup = 64 * pipeline.constants.PER_THREAD;
    gpu.clear(counts, counts.byteLength);
    for (let round = 0; round <= ROUNDS; round++) {
      for (const { codes, features } of windows) {
        gpu.dispatch({
          ...pipeline, params: { ...size, features, round, stride }, bindings: [codes, k, ranges, counts], groups: size.dictionaries * Math.ceil((size.rows * features) / perGroup),
        });
      }
    }
    const settled = { storage: ranges.storage, byteOffset: ranges.byteOffset + ROUNDS * stride * 16, byteLength: size.dictionaries * 16 };
    for (const { kernel, constants } of this.lastPipelines()) {
      for (const [slot, { codes, features }] of windows.entries()) {
        const own: Record<string, number> = kernel === kernels.apply ? { slot, slots: windows.length } : { slot };
        gpu.dispatch({ kernel, constants, params: { ...size, features, ...own }, bindings: [codes, k, settled, equal, smallest ?? this.spare!], groups: groupsFor(size.dictionaries * size.rows) });
      }
    }
  }

  pipelines(): Pipelines {
    return [this.searchPipeline(), ...this.lastPipelines()];
  }

  dispose(): void {
    for (const tensor of [this.ranges, this.counts, this.equal, this.spare]) tensor?.dispose();
  }

  /** Few threads with long loops on software drivers, since each reads all counts. */
  private searchPipeline(): { kernel: typeof kernels.search; constants: { PER_THREAD: number; SIGNED: boolean; ONE_K: boolean } } {
    return { kernel: kernels.search, constants: { PER_THREAD: this.tools.software ? 256 : 32, ...this.flags() } };
  }

  private lastPipelines(): { kernel: typeof kernels.apply; constants: { SIGNED: boolean; ONE_K: boolean } }[] {
    return [kernels.ties, kernels.apply].map((kernel) => ({ kernel, constants: this.flags() }));
  }

  private flags(): { SIGNED: boolean; ONE_K: boolean } {
    return { SIGNED: this.options.signed, ONE_K: this.options.oneK };
  }
}

/** Lines rounded up to what fills whole 256 bytes with ranges. */
function aligned(lines: number): number {
  return Math.ceil(lines / 16) * 16;
}
