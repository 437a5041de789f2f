/**
 * Activations of a model on text, in rounds: each round hands over the activations of the next tokens at every site, one pass of the model for
 * all sites, which training keeps in a buffer and goes through in a shuffled order. What a round holds depends on where reading stood at its
 * beginning and on nothing else, so that a run that goes on within a round makes the same activations again, bit for bit.
 *
 * The next rows of tokens are read while the device computes.
 */
import { ShapeError, UsageError } from '../errors.ts';
import type { Gpt2 } from '../model/index.ts';
import { gatherRows, Tensor } from '../tensor/index.ts';
import { StreamedExamples, type ActivationStream, type PutExamples } from './stream.ts';
import { countedPositions, TokenRows, type PackState } from './token-rows.ts';

/** A hook whose activations are learnt, or one head's part of it. */
export interface StreamSite {
  hook: string;
  head?: number;
}

export interface TextActivationsOptions {
  sites: readonly StreamSite[];
  /** Examples of a round: tokens that count. */
  examples: number;
  /** Opens the rows of tokens, from the beginning of a pass over the text (counted from 0) or where another reader stood in it. */
  open: (state: PackState | undefined, pass: number) => TokenRows;
  /** Tokens whose activations are left out. */
  special?: readonly number[];
  /** Rows in one pass of the model. */
  batch: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** `skip` examples of the next pass were in the round before. */
interface State { round: number; passes: number; rows: PackState; skip: number }

/** Where a site's numbers lie in a row of its hook: `width` columns from `offset` on. */
export interface StreamPlace { hook: string; offset: number; width: number }

/** Rows of tokens, and the number of the pass over the text that they end in, counted from 1. */
interface Taken { prompts: number[][]; pass: number }

/** Rows that were read ahead, with where reading stood before them. */
interface Ahead { from: Omit<State, 'round' | 'skip'>; rows: Promise<Taken>; skip: number }

export class TextActivations implements ActivationStream {
  /** What each site brings, [examples, width], in the order of the sites. */
  readonly data: readonly StreamedExamples[];
  /** Times that the text was begun for what was handed over. */
  passes = 1;
  /** Tokens that were read, and those of them whose activations count, in this process. */
  readonly tokens = { read: 0, counted: 0 };
  /** Seconds in which nothing was done but wait for rows of tokens, and those of passes of the model, in this process. */
  readonly seconds = { text: 0, model: 0 };
  private readonly model: Gpt2;
  private readonly options: TextActivationsOptions;
  private readonly places: readonly StreamPlace[];
  private rows: TokenRows;
  private ahead: Ahead | null = null;
  private begun: State | null = null;
  /** Examples of the next pass that are to be left out. */
  private skip = 0;
  /** Passes over the text that were begun. */
  private opened = 1;

  /** Throws UnknownSiteError for a hook that the model does not have, UsageError for a head of a hook without heads. */
  constructor(model: Gpt2, options: TextActivationsOptions) {
    this.model = model;
    this.options = options;
    this.places = options.sites.map((site) => streamPlace(model, site));
    this.rows = options.open(undefined, 0);
    this.data = this.places.map(({ width }) => new StreamedExamples(options.examples, width));
  }

  async fill(round: number, put: PutExamples): Promise<void> {
    const { examples, signal, onProgress } = this.options;
    // The round that is under way is made again.
    if (this.begun?.round === round) this.restore(this.begun);
    this.begun = this.now(round);
    let filled = 0;
    while (filled < examples) {
      signal?.throwIfAborted();
      this.ahead ??= this.read();
      const waited = performance.now();
      const { from, rows, skip } = this.ahead;
      const { prompts, pass } = await rows;
      this.passes = pass;
      const started = performance.now();
      const { taken, left } = this.pass(prompts, skip, filled, put);
      filled += taken;
      // What the round has no room for, the next one begins with.
      this.ahead = left > 0 ? { from, rows, skip: skip + taken } : this.read();
      await this.model.gpu.idle();
      this.seconds.text += (started - waited) / 1000;
      this.seconds.model += (performance.now() - started) / 1000;
      onProgress?.(Math.min(filled, examples), examples);
    }
  }

  state(round: number): unknown {
    return this.begun?.round === round ? this.begun : this.now(round);
  }

  private now(round: number): State {
    return { round, ...(this.ahead?.from ?? this.place()), skip: this.ahead?.skip ?? this.skip };
  }

  private place(): Omit<State, 'round' | 'skip'> {
    return { passes: this.opened, rows: this.rows.state() };
  }

  restore(state: unknown): void {
    const { rows, passes, skip } = (state ?? {}) as Partial<State>;
    if (typeof passes !== 'number' || typeof skip !== 'number' || !Array.isArray(rows?.row)) throw new UsageError('the checkpoint does not say where reading of the text stood');
    this.rows = this.options.open(rows, passes - 1);
    this.opened = passes;
    this.skip = skip;
    this.ahead = null;
  }

  /** Begins to read the rows of the next pass. What goes wrong is told when they are asked for. */
  private read(): Ahead {
    const from = this.place();
    const rows = this.take(this.rows, this.options.batch);
    rows.catch(() => {});
    const { skip } = this;
    this.skip = 0;
    return { from, rows, skip };
  }

  /** The next rows, from the beginning again where the text ends. Throws UsageError for text that does not fill one row. */
  private async take(from: TokenRows, count: number): Promise<Taken> {
    const prompts: number[][] = [];
    let pass = this.opened;
    for (let [reader, fresh] = [from, false]; prompts.length < count;) {
      const row = await reader.read();
      if (row) {
        prompts.push([...row]);
        fresh = false;
        continue;
      }
      if (fresh) throw new UsageError('the text does not fill one row of tokens: give more, or a shorter --context');
      const isCurrent = this.rows === reader;
      reader = this.options.open(undefined, pass++);
      // Unless reading was put elsewhere meanwhile.
      if (isCurrent) {
        this.rows = reader;
        this.opened = pass;
      }
      fresh = true;
    }
    return { prompts, pass };
  }

  /** Runs the model and hands over the activations of tokens that count, but the first `skip`, behind those that were. Gives how many there was room for, and for how many not. */
  private pass(prompts: readonly (readonly number[])[], skip: number, filled: number, put: PutExamples): { taken: number; left: number } {
    const { special = [], examples } = this.options;
    const { gpu } = this.model;
    const counts = countedPositions(prompts, special);
    const counted = [...counts.keys()].filter((row) => counts[row] === 1);
    if (skip === 0) this.tokens.read += prompts.length * prompts[0]!.length;
    const taken = counted.slice(skip, skip + examples - filled);
    this.tokens.counted += taken.length;
    const left = Math.max(0, counted.length - skip - taken.length);
    if (taken.length === 0) return { taken: 0, left };
    gpu.scope(() => {
      const run = this.model.run(prompts, { cache: [...new Set(this.places.map(({ hook }) => hook))], logits: 'none' });
      const index = Tensor.from(gpu, Uint32Array.from(taken), [taken.length]);
      this.places.forEach(({ hook, offset, width }, i) => {
        const activations = run.get(hook).reshape([prompts.length * prompts[0]!.length, -1]);
        put(this.data[i]!, gatherRows(activations, index, { offset, width }), filled);
      });
      run.dispose();
    });
    return { taken: taken.length, left };
  }
}

/** Throws UnknownSiteError for a hook that the model does not have, UsageError for one without an activation for each token and for a head of a hook without heads, ShapeError for a head that is not there. */
export function streamPlace({ hooks }: Pick<Gpt2, 'hooks'>, { hook, head }: StreamSite): StreamPlace {
  const shape = hooks.shape(hooks.get(hook), 1, 1);
  if (shape.length < 3 || shape[0] !== 1 || shape[1] !== 1) throw new UsageError(`${hook} has no activation for each token`);
  const { heads, ...columns } = hooks.columns(hooks.get(hook), head);
  if (head !== undefined) {
    if (heads === null) throw new UsageError(`${hook} has no heads`);
    if (!Number.isInteger(head) || head < 0 || head >= heads) throw new ShapeError(`${hook} has heads 0 to ${heads - 1}, not ${head}`);
  }
  return { hook, ...columns };
}
