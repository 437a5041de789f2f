/**
 * What a batch counts on the device for settings that change from step to step: how long ago each feature was active, and sums for the log of
 * losses whose weights move. Where neither is wanted nothing is kept and nothing runs.
 */
import type { Gpu } from '../gpu/index.ts';
import { addWeighed, countSinceFired, Tensor, type SaeStep } from '../tensor/index.ts';
import type { TrainSettings } from './settings.ts';
import type { VariantPolicy } from './variants.ts';

type CounterSettings = Pick<TrainSettings, 'features' | 'deadAfter' | 'l1WarmupSteps' | 'auxiliaryCoefficient' | 'auxiliaryFeatures'>;

/** Where the sums of an epoch are added up, [D, 4] each. */
export interface EpochTotals { totals: Tensor; auxiliary: Tensor }

export class BatchCounters {
  /** Examples since each feature was last active, u32 [D, features]; null where the settings do not ask for it. */
  readonly since: Tensor | null;
  /** What the loss made of the epoch's sums, [D, 2]; null where one weight serves all steps. See `addWeighed`. */
  readonly weighted: Tensor | null;
  private readonly seen: Tensor | null;
  /** Sums of one step. */
  private readonly own: EpochTotals | null;
  private readonly gpu: Gpu;
  private readonly step: SaeStep;
  private readonly settings: CounterSettings;
  private readonly auxiliary: boolean;

  constructor(gpu: Gpu, step: SaeStep, dictionaries: number, { policy, settings, auxiliary }: { policy: VariantPolicy; settings: CounterSettings; auxiliary: boolean }) {
    const counts = (): Tensor => gpu.keep(Tensor.zeros(gpu, [dictionaries, settings.features], 'u32'));
    const sums = (width: number): Tensor => gpu.keep(Tensor.zeros(gpu, [dictionaries, width]));
    // λ rises, or the number of dead features, by which the auxiliary loss is weighed, moves within an epoch.
    const weighs = (settings.l1WarmupSteps > 0 && policy.sparsity === 'l1') || (settings.deadAfter > 0 && auxiliary);
    this.gpu = gpu;
    this.step = step;
    this.settings = settings;
    this.auxiliary = auxiliary;
    this.since = settings.deadAfter > 0 ? counts() : null;
    this.seen = settings.deadAfter > 0 ? counts() : null;
    this.weighted = weighs ? sums(2) : null;
    this.own = weighs ? { totals: sums(4), auxiliary: sums(4) } : null;
  }

  /** Where a step is to add its sums: to the epoch's, or for itself, for `add`. */
  into(epoch: EpochTotals): EpochTotals {
    if (!this.own) return epoch;
    this.clear(this.own.totals, this.own.auxiliary);
    return this.own;
  }

  /** After a step whose sums were collected, with its λ [D]. */
  add(epoch: EpochTotals, sparsity: Tensor): void {
    const { own, weighted, step, settings: { auxiliaryFeatures: k, auxiliaryCoefficient: coefficient } } = this;
    if (!own || !weighted) return;
    addWeighed(step.variant, {
      sums: own.totals, secondSums: own.auxiliary, sparsity, totals: epoch.totals, second: epoch.auxiliary, weighted, dead: this.auxiliary ? step.dead : null,
    }, { k, coefficient });
  }

  /** After a step of so many examples, and after `add`, for which what was dead in the step counts. */
  count(rows: number): void {
    const { step, since, seen, auxiliary: mark, settings: { deadAfter } } = this;
    if (since && seen) countSinceFired({ fired: step.fired, seen, since }, rows, { deadAfter, dead: step.dead, mark });
  }

  /** Forgets what was counted for the epoch, together with `step.fired`. */
  startEpoch(): void {
    this.clear(...[this.seen, this.weighted].filter((tensor) => tensor !== null));
  }

  /** What checkpoints hold, by name. */
  state(): [suffix: string, tensor: Tensor][] {
    return Object.entries({ since_fired: this.since, fired_before: this.seen, weighted_totals: this.weighted }).flatMap(([suffix, tensor]) => (tensor ? [[suffix, tensor]] : []));
  }

  dispose(): void {
    for (const tensor of [this.since, this.seen, this.weighted, this.own?.totals, this.own?.auxiliary]) tensor?.dispose();
  }

  private clear(...tensors: Tensor[]): void {
    for (const tensor of tensors) this.gpu.clear(tensor, tensor.byteLength);
  }
}
