/** Activations of prompts at chosen sites, gathered on the GPU without keeping whole hooks. */
import type { Capture, Gpt2 } from '../model/index.ts';
import { scatterRows, Tensor } from '../tensor/index.ts';
import type { Prompts } from './prompts.ts';
import { hookOf, type ActivationPlace } from './sites.ts';
import { UnknownSiteError } from '../errors.ts';

export interface CollectOptions {
  /** Prompts in one forward pass; by default as many as a modest amount of memory holds. */
  batch?: number;
  /** Called after each batch with the prompts done so far. */
  onProgress?: (done: number) => void;
  signal?: AbortSignal;
}

/** Bytes of activations that one forward pass may take on a software driver, which shares the machine's memory, and on a GPU. */
const RUN_BYTES = { software: 160 * 2 ** 20, hardware: 1024 * 2 ** 20 };
const MOST_PROMPTS = 1024;

/**
 * How many prompts of this length fit one forward pass that keeps what resuming needs: per layer and position the residual stream, queries,
 * keys and values (4 widths), once the MLP and its neighbours (about 16 widths), and two rows of logits.
 */
export function promptsPerRun(model: Gpt2, longest: number): number {
  const { layers, width, vocabulary } = model.config;
  const bytes = 4 * (longest * width * (4 * layers + 16) + 2 * vocabulary);
  const budget = model.gpu.software ? RUN_BYTES.software : RUN_BYTES.hardware;
  return Math.max(1, Math.min(MOST_PROMPTS, Math.floor(budget / bytes)));
}

/** The same for the longest of some prompts. */
export function batchFor(model: Gpt2, { tokens }: Pick<Prompts, 'tokens'>): number {
  return promptsPerRun(model, tokens.reduce((most, { length }) => Math.max(most, length), 0));
}

/** Indices of the prompts from the shortest to the longest, in their own order within a length, so that batches need little padding. */
export function byLength(prompts: Prompts): number[] {
  return prompts.tokens.map((_, index) => index).sort((a, b) => prompts.tokens[a]!.length - prompts.tokens[b]!.length || a - b);
}

/** Positions of a site in each prompt. Throws UnknownSiteError, naming the positions there are, for a position that the task does not have. */
export function positionsOf(prompts: Prompts, position: string): Uint32Array {
  const positions = prompts.positions[position];
  if (!positions) throw new UnknownSiteError(`the task has no position "${position}"; it has ${Object.keys(prompts.positions).join(', ')}`);
  return positions;
}

/** What a run is asked for to read a place of each of its prompts. */
export function captureOf(prompts: Prompts, place: ActivationPlace): Capture {
  const positions = positionsOf(prompts, place.position);
  return 'hook' in place ? { hook: place.hook, positions } : { hook: hookOf(place), head: place.head, positions };
}

/** Width of the activations at a place. */
export function widthAt({ hooks, config }: Gpt2, place: ActivationPlace): number {
  return 'hook' in place ? hooks.columns(hooks.get(place.hook)).width : config.headWidth;
}

/**
 * One tensor [prompts, width] per place, rows in the order of the prompts. Forward passes go no deeper than the last site needs, prompts of
 * like length run together, and only the named heads at the named positions are kept.
 */
export async function collectActivations(model: Gpt2, prompts: Prompts, sites: readonly ActivationPlace[], options: CollectOptions = {}): Promise<Tensor[]> {
  const { gpu } = model;
  const outputs = sites.map((site) => Tensor.empty(gpu, [prompts.count, widthAt(model, site)]));
  if (sites.length === 0 || prompts.count === 0) return outputs;
  const order = byLength(prompts);
  const batch = options.batch ?? batchFor(model, prompts);
  try {
    for (let start = 0; start < order.length; start += batch) {
      options.signal?.throwIfAborted();
      const chosen = order.slice(start, start + batch);
      gpu.scope(() => {
        const run = model.run(chosen.map((index) => prompts.tokens[index]!), {
          captures: sites.map((site) => {
            const { positions, ...capture } = captureOf(prompts, site);
            return { ...capture, positions: chosen.map((index) => positions[index]!) };
          }),
          logits: 'none',
        });
        const rows = Tensor.from(gpu, Uint32Array.from(chosen), [chosen.length]);
        run.captured.forEach((values, i) => scatterRows(outputs[i]!, rows, values));
        run.dispose();
      });
      await gpu.idle();
      options.onProgress?.(Math.min(order.length, start + batch));
    }
  } catch (error) {
    for (const output of outputs) output.dispose();
    throw error;
  }
  return outputs;
}
