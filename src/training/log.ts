/** What a run reports while it runs: one record a dictionary, under the names that SAELens uses. */
import { NumberError } from '../errors.ts';

export interface LogRecord {
  name: string;
  /** Steps and epochs completed. */
  step: number;
  epoch: number;
  l1_coefficient: number;
  /** mse + l1_loss, averaged like everything here over the epoch's examples as they were trained on. */
  loss: number;
  /** Mean over examples of ‖x − x̂‖², summed over dimensions; x is scaled to a mean length of √width. */
  mse: number;
  /** λ times the mean over examples of Σ_f f. */
  l1_loss: number;
  /** Mean number of active features. */
  l0: number;
  /** Share of features that were active for no example of the epoch. */
  dead_fraction: number;
  /** 1 − Σ‖x − x̂‖² / Σ‖x − x̄‖². */
  explained_variance: number;
  learning_rate: number;
}

/** Sums over examples that the GPU hands back: squared errors, codes, active features, squared distances from the mean. */
export type LossSums = readonly [errors: number, codes: number, active: number, spread: number];

/** Figures of one dictionary from its sums. `explained_variance` of constant data is 1 if the error is zero, else −∞. */
export function figures(sums: LossSums, examples: number, l1: number): Pick<LogRecord, 'loss' | 'mse' | 'l1_loss' | 'l0' | 'explained_variance'> {
  const [errors, codes, active, spread] = sums;
  const mse = errors / examples;
  const l1_loss = (l1 * codes) / examples;
  return { loss: mse + l1_loss, mse, l1_loss, l0: active / examples, explained_variance: errors === 0 ? 1 : 1 - errors / spread };
}

/** Throws NumberError if the loss is no number; names the dictionary and the step by which it happened. */
export function checkLoss(record: Pick<LogRecord, 'name' | 'step' | 'loss' | 'learning_rate' | 'l1_coefficient'>): void {
  if (Number.isFinite(record.loss)) return;
  throw new NumberError(`training ${record.name}: the loss is ${record.loss} at step ${record.step} (learning rate ${record.learning_rate}, l1 ${record.l1_coefficient}); try a lower learning rate`);
}

/** One line of metrics.jsonl. */
export function logLine(record: LogRecord): string {
  return `${JSON.stringify(record)}\n`;
}
