/** The forward passes of Tests 1 and 2: batches of prompts through every intervention, and the distances that SAEs are chosen by. */
import type { Gpt2 } from '../model/index.ts';
import { distinctSites, formatPlace, formatSite, type ActivationPlace, type Prompts, type SiteAddress, widthAt } from '../task/index.ts';
import { Tensor } from '../tensor/index.ts';
import { CLEAN, eachDictionary, measureApproximation, type Approximated } from './approximation.ts';
import { examplesFrom, Reconstructions, type Catalogue, type EditedSection } from './catalogue.ts';
import { measureDistances, type Choice } from './choice.ts';
import { CLEAN_PREDICTION, editPair, measureControl } from './control.ts';
import { hasEdit, type EditPlan } from './methods.ts';
import { activationsOf, scoringChunks, PatchedPrompts } from './patching.ts';
import { Tally, type Measurements } from './tally.ts';
import type { EditedPrompts } from './task.ts';

export interface Scoring {
  model: Gpt2;
  catalogue: Catalogue;
  sections: readonly EditedSection[];
  edits: ReadonlyMap<string, readonly string[]>;
  plan: EditPlan;
  /** What Test 1 reconstructs with; every dictionary unless given. */
  approximated?: readonly Approximated[];
  /** prompts in one patched run */
  batch: number;
  /** most bytes of codes at once where edits are measured without running the model; 16 MiB unless given */
  codeBytes?: number;
  signal?: AbortSignal;
}

type Progress = (done: number, total: number) => void;

/** Runs every intervention of both tests on all prompts and reads the numbers back once. */
export async function scorePrompts(scoring: Scoring, { prompts, counterfactuals }: EditedPrompts, choice: Choice, progress: Progress): Promise<Measurements> {
  const { model, catalogue, sections, edits, plan, approximated = eachDictionary(catalogue, sections) } = scoring;
  const { gpu } = model;
  const tally = new Tally(gpu, prompts.count);
  const sites = sitesOf(sections);
  const chunks = scoringChunks(model, prompts, scoring.batch);
  const parts = chunks.length * (sections.length + edits.size);
  try {
    let done = 0;
    for (const [start, end] of chunks) {
      await gpu.scope(async () => {
        const clean = new PatchedPrompts(model, prompts.slice(start, end), catalogue.places(sites));
        tally.put(CLEAN, start, clean.clean.logitDiff);
        tally.put(CLEAN_PREDICTION, start, clean.clean.prediction);
        const reconstructions = new Reconstructions(clean, catalogue);
        for (const section of sections) {
          measureApproximation(clean, reconstructions, catalogue, section, approximated, tally, start);
          await turn();
        }
        for (const [name, edit] of edits) {
          const own = sections.filter((section) => hasEdit(section, name));
          const ownSites = sitesOf(own);
          const counterfactual = counterfactuals.get(name)!.slice(start, end);
          const targets = activationsOf(model, counterfactual, catalogue.places(ownSites));
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

const CODE_BYTES = 16 * 2 ** 20;

/** Distances that the edits of every SAE leave to the counterfactual activations, on prompts kept for choosing. */
export async function selectionDistances(scoring: Scoring, { prompts, counterfactuals }: EditedPrompts, progress: Progress): Promise<Measurements> {
  const { model, catalogue, edits, plan, codeBytes = CODE_BYTES } = scoring;
  const { gpu } = model;
  const sections = scoring.sections.filter((section) => catalogue.variantsFor(section).length > 0);
  const tally = new Tally(gpu, prompts.count);
  const steps = sections.length > 0 ? edits.size + [...edits.keys()].reduce((sum, name) => sum + editedSites(sections, name).length, 0) : 0;
  let done = 0;
  const turn = async (): Promise<void> => {
    await gpu.idle();
    scoring.signal?.throwIfAborted();
    progress(++done, steps);
  };
  try {
    await gpu.scope(async () => {
      if (sections.length === 0) return;
      // The model runs once on every prompt; dictionaries are tried on all activations together.
      const all = sitesOf(sections.filter(({ edits: own }) => own.length > 0));
      const sources = await allActivations(scoring, prompts, all);
      for (const [name, edit] of edits) {
        await gpu.scope(async () => {
          const counterfactual = counterfactuals.get(name)!;
          const sites = editedSites(sections, name);
          const targets = await allActivations(scoring, counterfactual, sites);
          await turn();
          for (const site of sites) {
            const entries = catalogue.at(site);
            const features = entries.reduce((most, { dictionary }) => Math.max(most, dictionary.features), 1);
            const rows = Math.max(1, Math.floor(codeBytes / (4 * features)));
            for (let start = 0; start < prompts.count; start += rows) {
              const end = Math.min(prompts.count, start + rows);
              const part = (of: ReadonlyMap<string, Tensor>, from: Prompts) => examplesFrom(rowsOf(of, catalogue.places([site]), start, end), site, from.slice(start, end));
              measureDistances({ site, source: part(sources, prompts), target: part(targets, counterfactual) }, edit, entries, plan, tally, start);
            }
            await turn();
          }
        });
      }
    });
    return await tally.read();
  } finally {
    tally.dispose();
  }
}

/** Activations of all prompts at sites and at what dictionaries there read, by address, run in the batches that scored prompts run in. */
async function allActivations({ model, catalogue, batch, signal }: Scoring, prompts: Prompts, sites: readonly SiteAddress[]): Promise<Map<string, Tensor>> {
  const { gpu } = model;
  const places = catalogue.places(sites);
  const all = new Map(places.map((place) => [formatPlace(place), Tensor.empty(gpu, [prompts.count, widthAt(model, place)])]));
  for (const [start, end] of scoringChunks(model, prompts, batch)) {
    signal?.throwIfAborted();
    const part = activationsOf(model, prompts.slice(start, end), places);
    for (const [place, values] of part) {
      const { storage, byteOffset } = all.get(place)!;
      gpu.copy(values, { storage, byteOffset: byteOffset + start * values.shape[1]! * 4, byteLength: values.byteLength }, values.byteLength);
      values.dispose();
    }
    await gpu.idle();
  }
  return all;
}

/** Some rows of the activations at places. */
function rowsOf(all: ReadonlyMap<string, Tensor>, places: readonly ActivationPlace[], start: number, end: number): Map<string, Tensor> {
  return new Map(places.map((place) => [formatPlace(place), all.get(formatPlace(place))!.rows(start, end - start)]));
}

/** Sites of the cross-sections that make an edit. */
function editedSites(sections: readonly EditedSection[], name: string): SiteAddress[] {
  return sitesOf(sections.filter((section) => hasEdit(section, name)));
}

function sitesOf(sections: readonly EditedSection[]): SiteAddress[] {
  return distinctSites(sections.flatMap(({ sites }) => sites));
}
