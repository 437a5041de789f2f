/**
 * Is this adapter to be trusted? Small kernels against float64 on the CPU, and the embedded model against logits that an
 * independent program computed (tests/support/selftest-reference.py). Drivers have been seen to compute wrongly without any error.
 * The checks (selftest-checks.ts) are loaded when they are asked for.
 */
import type { FileSource } from '../files/index.ts';
import type { Gpu } from '../gpu/index.ts';

export interface Check {
  name: string;
  passed: boolean;
  /** What was measured; ‖out − ref‖ / ‖ref‖ unless the name says otherwise. NaN if the check could not be run. */
  error: number;
  allowed: number;
  /** Why it failed or could not be run; empty if it passed. */
  problem: string;
}

/**
 * Runs every check and never throws for a failing one: a kernel that does not compile fails its own check.
 * `model` is a directory or URL of the embedded ioi-mini, in Hugging Face layout.
 */
export async function selfTest(gpu: Gpu, model: string | FileSource): Promise<Check[]> {
  return (await import('./selftest-checks.ts')).runChecks(gpu, model);
}
