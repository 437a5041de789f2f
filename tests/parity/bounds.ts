/** How far results may be apart. */
import type { Bounds } from './compare.ts';

/** One driver in both places. Measured: no number differs in any bit. */
export const SAME: Bounds = { tolerance: 1e-6, least: 1e-6 };
/**
 * Two drivers: sums in another order, exp and sqrt of other last bits. What is smaller than a thousandth is a share of logit differences that hardly is
 * any: logits of 16 are a millionth apart in float32.
 */
export const ACROSS: Bounds = { tolerance: 1e-3, least: 1e-3, drivers: true };
