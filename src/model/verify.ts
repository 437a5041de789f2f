/**
 * Does a model give the numbers that are known of it? Each known value is measured by itself; one that the model cannot give is not applicable,
 * never passed. What measures (verify-values.ts) is loaded when it is asked for.
 */
import type { Gpt2 } from './gpt2.ts';
import type { KnownValue } from './known-values.ts';

export interface Verified {
  what: string;
  source: string;
  expected: string;
  /** Empty where the check is not applicable. */
  measured: string;
  /** Largest difference allowed; null for what must be equal. */
  tolerance: number | null;
  status: 'ok' | 'failed' | 'not applicable';
  /** Why it is not applicable; else empty. */
  reason: string;
}

/** Measures every value with a model whose weights are unprocessed. Never throws for a value that differs. */
export async function verifyModel(model: Gpt2, values: readonly KnownValue[], onProgress?: (done: number, total: number) => void): Promise<Verified[]> {
  return (await import('./verify-values.ts')).measureValues(model, values, onProgress);
}
