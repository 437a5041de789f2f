/**
 * Runs of a batch of prompts with some activations replaced. The clean run is made once and kept; every intervention resumes it at the first
 * patched site, with all sites of a cross-section patched together in one forward pass. Nothing leaves the GPU.
 */
import type { Gpt2, Run } from '../model/index.ts';
import { ANSWER_POSITION, captureOf, formatPlace, formatSite, hookOf, type ActivationPlace, positionsOf, type Prompts, type SiteAddress } from '../task/index.ts';
import { argmax, gatherElements, mul, sumRows, Tensor } from '../tensor/index.ts';

/** New values for one site: [prompts, headWidth]. */
export interface Patch {
  site: SiteAddress;
  values: Tensor;
}

/** What a run says at the last position of each prompt. */
export interface Outcome {
  /** logit(correct) - logit(incorrect): [prompts] */
  logitDiff: Tensor;
  /** most likely token, u32 [prompts] */
  prediction: Tensor;
}

export class PatchedPrompts {
  readonly prompts: Prompts;
  /** Clean activations at the places asked for, by their written address: [prompts, width]. */
  readonly activations: ReadonlyMap<string, Tensor>;
  readonly clean: Outcome;
  private readonly model: Gpt2;
  private readonly run: Run;
  private readonly answers: Tensor;
  private readonly signs: Tensor;
  private readonly ends: Uint32Array;

  /** Makes the clean run and keeps it, with the activations at `places`. */
  constructor(model: Gpt2, prompts: Prompts, places: readonly ActivationPlace[]) {
    this.model = model;
    this.prompts = prompts;
    const { gpu } = model;
    this.ends = positionsOf(prompts, ANSWER_POSITION);
    const pairs = new Uint32Array(2 * prompts.count);
    for (let i = 0; i < prompts.count; i++) pairs.set([prompts.correct[i]!, prompts.incorrect[i]!], 2 * i);
    this.answers = Tensor.from(gpu, pairs, [prompts.count, 2]);
    this.signs = Tensor.from(gpu, [1, -1], [2]);
    this.run = model.run(prompts.tokens, {
      keep: true,
      logits: this.ends,
      captures: places.map((place) => captureOf(prompts, place)),
    });
    this.activations = new Map(places.map((place, i) => [formatPlace(place), this.run.captured[i]!]));
    this.clean = this.outcome(this.run);
  }

  /** Clean activations at a site: [prompts, headWidth]. */
  at(site: SiteAddress): Tensor {
    const values = this.activations.get(formatSite(site));
    if (!values) throw new RangeError(`the clean run did not keep ${formatSite(site)}`);
    return values;
  }

  /** The outcome with all patches applied together. The caller disposes it (or calls inside a scope). */
  patched(patches: readonly Patch[]): Outcome {
    return this.model.gpu.scope(() => {
      const run = this.model.run(this.prompts.tokens, {
        resume: this.run,
        logits: this.ends,
        edits: patches.map(({ site, values }) => ({ hook: hookOf(site), head: site.head, positions: positionsOf(this.prompts, site.position), values })),
      });
      const outcome = this.outcome(run);
      run.dispose();
      return outcome;
    });
  }

  dispose(): void {
    this.run.dispose();
    for (const tensor of [this.answers, this.signs, this.clean.logitDiff, this.clean.prediction, ...this.activations.values()]) tensor.dispose();
  }

  private outcome(run: Run): Outcome {
    return this.model.gpu.scope(() => ({
      logitDiff: sumRows(mul(gatherElements(run.logits!, this.answers), this.signs)),
      prediction: argmax(run.logits!),
    }));
  }
}

/** Activations of other prompts at the same places, by written address: what counterfactual patches are made of. The caller disposes them. */
export function activationsOf(model: Gpt2, prompts: Prompts, places: readonly ActivationPlace[]): Map<string, Tensor> {
  const run = model.run(prompts.tokens, {
    logits: 'none',
    captures: places.map((place) => captureOf(prompts, place)),
  });
  const activations = new Map(places.map((place, i) => [formatPlace(place), run.captured[i]!]));
  for (const tensor of activations.values()) model.gpu.keep(tensor);
  run.dispose();
  return activations;
}

/**
 * Positions from the earliest semantic one to the answer: what a resumed run computes of a prompt at most. Runs of prompts with like spans
 * waste little, because every prompt of a run gets as many positions as the one that needs most.
 */
export function spansOf(prompts: Prompts): number[] {
  const ends = positionsOf(prompts, ANSWER_POSITION);
  const all = Object.values(prompts.positions);
  return Array.from(ends, (end, i) => end + 1 - all.reduce((first, positions) => Math.min(first, positions[i]!), end));
}

/** Indices of the prompts by growing span, in their own order within one. */
export function bySpan(prompts: Prompts): number[] {
  const spans = spansOf(prompts);
  return spans.map((_, i) => i).sort((a, b) => spans[a]! - spans[b]! || a - b);
}

/** Consecutive ranges of prompts, of at most `batch`, that end early where the span changes and the range already has `enough` prompts. */
export function chunksBySpan(prompts: Prompts, batch: number, enough: number): [start: number, end: number][] {
  const spans = spansOf(prompts);
  const chunks: [number, number][] = [];
  let start = 0;
  for (let i = 1; i <= prompts.count; i++) {
    const full = i - start >= batch;
    const turn = i < prompts.count && i - start >= enough && spans[i] !== spans[i - 1];
    if (i < prompts.count && !full && !turn) continue;
    chunks.push([start, i]);
    start = i;
  }
  return chunks;
}

/**
 * Batches of prompts for many interventions each: one ends where spans get longer once it has this many prompts. A software driver pays for every
 * position that a run computes; a GPU pays for every run.
 */
const ENOUGH = { software: 32, hardware: 256 };

export function scoringChunks({ gpu }: Pick<Gpt2, 'gpu'>, prompts: Prompts, batch: number): [start: number, end: number][] {
  return chunksBySpan(prompts, batch, gpu.software ? ENOUGH.software : ENOUGH.hardware);
}
