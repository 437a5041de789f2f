/**
 * What the buffers of a training step take: the same list as the constructors of SaeStep and of what it consists of go through (a test holds them
 * against each other). Numbers per buffer, by what they are for.
 */
import { featureWindows, saePath, slicesOf, stepWindows, wideSlices, type SaePath, type StepSizes } from './sae-plan.ts';
import type { GpuLimits } from '../gpu/index.ts';
import { partShape, saeParts, type SaeVariant } from './sae-variant.ts';
import { elements } from './tensor.ts';

export interface StepMemoryOptions {
  variant: SaeVariant;
  path?: SaePath | 'auto';
  signed?: boolean;
  /** Whether there is a loss of dead features. */
  auxiliary?: boolean;
}

/** Numbers of four bytes in each buffer: gradients beside what steps work in. */
export interface StepMemory { gradients: number[]; codes: number[]; errors: number[]; counts: number[] }

/** Throws LimitError for sizes that a step cannot have. `software` says whether the device is a CPU driver. */
export function stepMemory(sizes: StepSizes, { variant, path = 'auto', signed = false, auxiliary = false }: StepMemoryOptions, limits: Pick<GpuLimits, 'bindingBytes'>, software: boolean): StepMemory {
  const { dictionaries: D, features: F, width: d, maxRows: n } = sizes;
  const W = Math.max(0, ...stepWindows(sizes, limits).map(({ count }) => count));
  const windows = featureWindows(sizes, limits);
  const wide = windows.length > 1;
  const widest = windows[0]!.count;
  const sparse = (path === 'auto' ? saePath(sizes, variant) : path) === 'sparse';
  const listed = sparse || auxiliary;
  const selects = variant === 'topk' || variant === 'batchtopk';
  const kept = windows.map(({ count }) => W * n * count);
  const scratch = W * n * widest;
  const rows = W * n * d;
  // Ranges, counts and ties of the search for the largest codes: by dictionary, or by example where windows cut rows.
  const search = (lines: number, own: number, byRow: boolean): number[] => [10 * Math.ceil(lines / 16) * 16 * 4, 9 * lines * 16, windows.length * lines * own, ...(byRow ? [lines] : [])];
  return {
    gradients: saeParts(variant).map((part) => D * elements(partShape(part, { features: F, width: d }))),
    codes: [
      ...kept, scratch, ...(listed ? [scratch, W * widest * (n + 1)] : [1, 1]), // codes, their gradient, lists by row and by feature
      ...(variant === 'gated' ? [...kept, scratch, W * F] : []), // gates, their gradient, its sums
      ...(variant === 'jumprelu' ? kept : []), // pre-activations
      ...(auxiliary ? kept : []), // codes of dead features
      ...(variant === 'topk' && signed ? [W * F] : []),
    ],
    errors: [
      rows, rows, wide && sparse ? rows : 1, software ? rows : 1, // inputs less the bias, the error, the same half done, one of them turned over
      ...(variant === 'gated' ? [rows] : []), ...(auxiliary ? [rows, rows] : []),
      W * d * (wide ? wideSlices(windows, n).at(-1)!.end : slicesOf(n, F).slices), // sums on the way to the decoder bias' gradient
      D * n * 4, variant === 'gated' || auxiliary ? D * n * 4 : 4, // losses of examples
    ],
    counts: [
      D * F, auxiliary ? D * F : 1, variant === 'batchtopk' ? D : 1, listed ? W * n : 1, 4, // fired, dead, thresholds, lengths of lists
      ...(variant === 'vanilla' ? [] : [D]), ...(auxiliary ? [D, D, W * F] : []),
      ...(variant === 'topk' && wide ? search(n, 1, true) : []), ...(variant === 'batchtopk' ? search(W, n, false) : []), ...(auxiliary && wide && selects ? search(n, 1, true) : []),
    ],
  };
}
