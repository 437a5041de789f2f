/**
 * Activations of a model on text, in rounds: each round fills a buffer on the GPU with the activations of the next tokens at every site, one
 * pass of the model for all sites, which training then goes through in a shuffled order. What a round holds depends on where reading stood at
 * its beginning and on nothing else, so that a run that goes on within a round makes the same activations again, bit for bit.
 */
import { ShapeError, UsageError } from '../errors.ts';
import type { Gpt2 } from '../model/index.ts';
import { gatherRows, Tensor } from '../tensor/index.ts';
import { countedPositions, TokenRows, type PackState } from './token-rows.ts';

/** A hook whose activations are learnt, or one head's part of it. */
export interface StreamSite {
  hook: string;
  head?: number;
}

/** Fresh examples for every round of training. */
export interface ActivationStream {
  /** Overwrites the data with the examples of a round; rounds follow one another. */
  fill(round: number): Promise<void>;
  /** What `restore` takes to make a round again, the present or the next one: JSON. */
  state(round: number): unknown;
  /** Before the first `fill`. Throws UsageError for a state of another stream. */
  restore(state: unknown): void;
}

export interface TextActivationsOptions {
  sites: readonly StreamSite[];
  /** Examples of a round: tokens that count. */
  examples: number;
  /** Opens the rows of tokens, from their beginning or where another reader stood. */
  open: (state?: PackState) => TokenRows;
  /** Tokens whose activations are left out. */
  special?: readonly number[];
  /** Rows in one pass of the model. */
  batch: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

interface State { round: number; passes: number; rows: PackState }

interface Place { hook: string; offset: number; width: number }

export class TextActivations implements ActivationStream {
  /** Activations of each site, [examples, width], in the order of the sites; filled by `fill`. */
  readonly data: readonly Tensor[];
  /** Times that the text was read from its beginning. */
  passes = 1;
  /** Tokens that were read, and those of them whose activations count, in this process. */
  readonly tokens = { read: 0, counted: 0 };
  private readonly model: Gpt2;
  private readonly options: TextActivationsOptions;
  private readonly places: readonly Place[];
  private rows: TokenRows;
  private begun: State | null = null;

  /** Throws UnknownSiteError for a hook that the model does not have, UsageError for a head of a hook without heads. */
  constructor(model: Gpt2, options: TextActivationsOptions) {
    this.model = model;
    this.options = options;
    this.places = options.sites.map((site) => placeOf(model, site));
    this.rows = options.open();
    this.data = this.places.map(({ width }) => model.gpu.keep(Tensor.zeros(model.gpu, [options.examples, width])));
  }

  async fill(round: number): Promise<void> {
    const { examples, batch, signal, onProgress } = this.options;
    this.begun = this.now(round);
    let filled = 0;
    while (filled < examples) {
      signal?.throwIfAborted();
      const prompts = await this.take(batch);
      filled += this.pass(prompts, filled);
      await this.model.gpu.idle();
      onProgress?.(Math.min(filled, examples), examples);
    }
  }

  state(round: number): unknown {
    return this.begun?.round === round ? this.begun : this.now(round);
  }

  private now(round: number): State {
    return { round, passes: this.passes, rows: this.rows.state() };
  }

  restore(state: unknown): void {
    const { rows, passes } = (state ?? {}) as Partial<State>;
    if (typeof passes !== 'number' || !Array.isArray(rows?.row)) throw new UsageError('the checkpoint does not say where reading of the text stood');
    this.rows = this.options.open(rows);
    this.passes = passes;
  }

  /** The next rows, from the beginning again where the text ends. Throws UsageError for text that does not fill one row. */
  private async take(count: number): Promise<number[][]> {
    const rows: number[][] = [];
    for (let fresh = false; rows.length < count;) {
      const row = await this.rows.read();
      if (row) {
        rows.push([...row]);
        fresh = false;
        continue;
      }
      if (fresh) throw new UsageError('the text does not fill one row of tokens: give more, or a shorter --context');
      this.rows = this.options.open();
      this.passes += 1;
      fresh = true;
    }
    return rows;
  }

  /** Runs the model and puts the activations of tokens that count behind those that are there. Gives how many fitted. */
  private pass(prompts: readonly (readonly number[])[], filled: number): number {
    const { special = [], examples } = this.options;
    const { gpu } = this.model;
    const counts = countedPositions(prompts, special);
    const counted = [...counts.keys()].filter((row) => counts[row] === 1);
    this.tokens.read += prompts.length * prompts[0]!.length;
    const taken = counted.slice(0, examples - filled);
    this.tokens.counted += taken.length;
    if (taken.length === 0) return 0;
    gpu.scope(() => {
      const run = this.model.run(prompts, { cache: [...new Set(this.places.map(({ hook }) => hook))], logits: 'none' });
      const index = Tensor.from(gpu, Uint32Array.from(taken), [taken.length]);
      this.places.forEach(({ hook, offset, width }, i) => {
        const activations = run.get(hook).reshape([prompts.length * prompts[0]!.length, -1]);
        const part = gatherRows(activations, index, { offset, width });
        const { storage, byteOffset } = this.data[i]!;
        gpu.copy(part, { storage, byteOffset: byteOffset + filled * width * 4, byteLength: part.byteLength }, part.byteLength);
      });
      run.dispose();
    });
    return taken.length;
  }

  dispose(): void {
    for (const tensor of this.data) tensor.dispose();
  }
}

/** Where a site's numbers lie in a row of its hook. */
function placeOf({ hooks }: Gpt2, { hook, head }: StreamSite): Place {
  const shape = hooks.shape(hooks.get(hook), 1, 1);
  if (shape.length < 3 || shape[0] !== 1 || shape[1] !== 1) throw new UsageError(`${hook} has no activation for each token`);
  const { heads, ...columns } = hooks.columns(hooks.get(hook), head);
  if (head !== undefined) {
    if (heads === null) throw new UsageError(`${hook} has no heads`);
    if (!Number.isInteger(head) || head < 0 || head >= heads) throw new ShapeError(`${hook} has heads 0 to ${heads - 1}, not ${head}`);
  }
  return { hook, ...columns };
}
