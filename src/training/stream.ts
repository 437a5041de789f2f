/** Examples that come in rounds, in place of a tensor that holds them all. */
import type { Tensor } from '../tensor/index.ts';

/** What a stream brings of one site: so many examples a round. Jobs name it as their data. */
export class StreamedExamples {
  /** [examples, width] */
  readonly shape: readonly [number, number];

  constructor(examples: number, width: number) {
    this.shape = [examples, width];
  }

  get size(): number {
    return this.shape[0] * this.shape[1];
  }
}

/** Takes examples of a round, [n, width] in the model's units, that are its numbers `at` to `at + n − 1`. The tensor stays the caller's. */
export type PutExamples = (site: StreamedExamples, rows: Tensor, at: number) => void;

/** Fresh examples for every round of training. */
export interface ActivationStream {
  /** Hands over all examples of a round, of every site. Rounds follow one another; the first may be asked for several times. */
  fill(round: number, put: PutExamples): Promise<void>;
  /** What `restore` takes to make a round again, the present or the next one: JSON. */
  state(round: number): unknown;
  /** Before the first `fill`. Throws UsageError for a state of another stream. */
  restore(state: unknown): void;
}
