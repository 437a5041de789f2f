/** What training counts on the device from step to step, beside the sums of a step itself. */
import sinceSource from '../../kernels/since-fired.wgsl';
import weighSource from '../../kernels/sae-weigh-totals.wgsl';
import { defineKernel } from '../gpu/index.ts';
import { groupsFor } from './sae.ts';
import type { SaeVariant } from './sae-variant.ts';
import type { Tensor } from './tensor.ts';

const kernels = { since: defineKernel('since-fired', sinceSource), weigh: defineKernel('sae-weigh-totals', weighSource) };

/** How often features were active, as it is and as it was at the last step, and how many examples ago they last were: u32, all of one shape. */
export interface SinceFired { fired: Tensor; seen: Tensor; since: Tensor }

/**
 * After a step of `rows` examples: a feature that was active in it was so 0 examples ago, others `rows` more than before. With `mark`, dead[i] becomes
 * whether it is `deadAfter` or more; without, `dead` is any tensor that the others are not.
 */
export function countSinceFired({ fired, seen, since }: SinceFired, rows: number, { deadAfter, dead, mark }: { deadAfter: number; dead: Tensor; mark: boolean }): void {
  const { gpu, size } = fired;
  gpu.dispatch({ kernel: kernels.since, constants: { MARK: mark }, params: { size, rows, deadAfter }, bindings: [fired, seen, since, dead], groups: groupsFor(size) });
}

/** What the λ of a kind is on, by the kernel's number for it: nothing, codes, active features, codes of the second reconstruction. */
const PENALISED: Readonly<Record<SaeVariant, number>> = { vanilla: 1, gated: 3, topk: 0, batchtopk: 0, jumprelu: 2 };

export interface StepTotals {
  /** A step's sums and those of its second reconstruction, [D, 4] (see StepLog). */
  sums: Tensor;
  secondSums: Tensor;
  /** λ of the step, [D]. */
  sparsity: Tensor;
  /** Added to: the same sums, [D, 4], and [D, 2]: λ times what it is on, and the auxiliary loss of top-k kinds. */
  totals: Tensor;
  second: Tensor;
  weighted: Tensor;
  /** What is dead, u32 [D, features], where there is an auxiliary loss. */
  dead: Tensor | null;
}

/** Adds a step's sums to totals, weighed as its loss weighs them; `auxiliary` as the step has it. */
export function addWeighed(variant: SaeVariant, { sums, secondSums, sparsity, totals, second, weighted, dead }: StepTotals, auxiliary: { k: number; coefficient: number }): void {
  const [dictionaries = 0] = totals.shape;
  totals.gpu.dispatch({
    kernel: kernels.weigh, constants: { PENALISED: PENALISED[variant], DEAD: dead !== null },
    params: { dictionaries, features: dead ? dead.size / dictionaries : 0, ...auxiliary },
    bindings: [sums, secondSums, sparsity, dead ?? sums, totals, second, weighted], groups: dictionaries,
  });
}
