/** The forward passes of Tests 1 and 2: batches of prompts through every intervention, and the distances that SAEs are chosen by. */
import type { Gpt2 } from '../model/index.ts';
import { formatSite, type SiteAddress } from '../task/index.ts';
import { CLEAN, measureApproximation } from './approximation.ts';
import { Reconstructions, type Catalogue, type EditedSection } from './catalogue.ts';
import { CLEAN_PREDICTION, editName, editPair, measureControl, measureDistances, type Choice, type EditPlan } from './control.ts';
import { activationsOf, chunksBySpan, PatchedPrompts } from './patching.ts';
import { Tally, type Measurements } from './tally.ts';
import type { EditedPrompts } from './task.ts';

export interface Scoring {
  model: Gpt2;
  catalogue: Catalogue;
  sections: readonly EditedSection[];
  edits: ReadonlyMap<string, readonly string[]>;
  plan: EditPlan;
  /** prompts in one patched run */
  batch: number;
  signal?: AbortSignal;
}

type Progress = (done: number, total: number) => void;

/**
 * A batch ends where spans get longer once it has this many prompts. A software driver pays for every position that a run computes; a GPU
 * pays for every run.
 */
const ENOUGH = { software: 32, hardware: 256 };

/** Runs every intervention of both tests on all prompts and reads the numbers back once. */
export async function scorePrompts(scoring: Scoring, { prompts, counterfactuals }: EditedPrompts, choice: Choice, progress: Progress): Promise<Measurements> {
  const { model, catalogue, sections, edits, plan } = scoring;
  const { gpu } = model;
  const tally = new Tally(gpu, prompts.count);
  const sites = sitesOf(sections);
  const chunks = chunksBySpan(prompts, scoring.batch, gpu.software ? ENOUGH.software : ENOUGH.hardware);
  const parts = chunks.length * (sections.length + edits.size);
  try {
    let done = 0;
    for (const [start, end] of chunks) {
      await gpu.scope(async () => {
        const clean = new PatchedPrompts(model, prompts.slice(start, end), sites);
        tally.put(CLEAN, start, clean.clean.logitDiff);
        tally.put(CLEAN_PREDICTION, start, clean.clean.prediction);
        const reconstructions = new Reconstructions(clean, catalogue);
        for (const section of sections) {
          measureApproximation(clean, reconstructions, catalogue, [section], tally, start);
          await turn();
        }
        for (const [name, edit] of edits) {
          const own = sections.filter((section) => section.edits.some((candidate) => editName(candidate) === name));
          const ownSites = sitesOf(own);
          const counterfactual = counterfactuals.get(name)!.slice(start, end);
          const targets = activationsOf(model, counterfactual, ownSites);
          const pairs = new Map(ownSites.map((site) => [formatSite(site), editPair(clean, counterfactual, targets, site)]));
          measureControl(clean, edit, pairs, choice, catalogue, own, plan, tally, start);
          for (const tensor of targets.values()) tensor.dispose();
          await turn();
        }
      });
    }
    return await tally.read();

    /** Drains the queue, so that no more is recorded ahead than one part of a batch, and listens. */
    async function turn(): Promise<void> {
      await gpu.idle();
      scoring.signal?.throwIfAborted();
      progress(++done, parts);
    }
  } finally {
    tally.dispose();
  }
}

/** Distances that the edits of every SAE leave to the counterfactual activations, on prompts kept for choosing. */
export async function selectionDistances(scoring: Scoring, { prompts, counterfactuals }: EditedPrompts, progress: Progress): Promise<Measurements> {
  const { model, catalogue, edits, plan } = scoring;
  const { gpu } = model;
  const sections = scoring.sections.filter((section) => catalogue.variantsFor(section).length > 0);
  const tally = new Tally(gpu, prompts.count);
  const chunks = sections.length > 0 ? chunksBySpan(prompts, scoring.batch, gpu.software ? ENOUGH.software : ENOUGH.hardware) : [];
  try {
    let done = 0;
    for (const [start, end] of chunks) {
      for (const [name, edit] of edits) {
        scoring.signal?.throwIfAborted();
        gpu.scope(() => {
          const sites = sitesOf(sections.filter((section) => section.edits.some((candidate) => editName(candidate) === name)));
          const clean = new PatchedPrompts(model, prompts.slice(start, end), sites);
          const counterfactual = counterfactuals.get(name)!.slice(start, end);
          const targets = activationsOf(model, counterfactual, sites);
          for (const site of sites) measureDistances(editPair(clean, counterfactual, targets, site), edit, catalogue.at(site), plan, tally, start);
          for (const tensor of targets.values()) tensor.dispose();
        });
        await gpu.idle();
        progress(++done, chunks.length * edits.size);
      }
    }
    return await tally.read();
  } finally {
    tally.dispose();
  }
}

function sitesOf(sections: readonly EditedSection[]): SiteAddress[] {
  return [...new Map(sections.flatMap(({ sites }) => sites).map((site) => [formatSite(site), site])).values()];
}
