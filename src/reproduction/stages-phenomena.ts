/** Phenomena: occlusion and over-splitting on the model, their toy models, and the second task. */
import * as z from 'zod';
import { columnIds, type Examples } from '../dictionary/index.ts';
import {
  approximationRow, approximationRows, Catalogue, choose, controlRow, controlRows, editsOf, fitSupervised, givenSections, sampleEdited, scorePrompts, seedsOf, selectionDistances, trainVanilla,
  type EditedSection, type EditPlan, type Scoring,
} from '../evaluation/index.ts';
import {
  bestStarts, occlusion, occlusionSchema, occlusionToy, occlusionToyFull, occlusionToySchema, overSplitting, overSplittingSchema, overSplittingToy, overSplittingToySchema, trainedToy,
  trainedToySchema, twoFeatureDefaults, wideDefaults,
} from '../phenomena/index.ts';
import { applicable, batchFor, collectActivations, distinctSites, formatSite, GreaterThanTask, type Prompts, type SiteAddress } from '../task/index.ts';
import { variantDefaults } from '../training/index.ts';
import { labInputs, type Lab, type SectionsResult } from './lab.ts';
import { releasedSettings, type Settings } from './settings.ts';
import type { Stage } from './stage.ts';
import { attendingHeads } from './stages-study.ts';

export const overSplittingToysSchema = z.object({ families: overSplittingToySchema, twoFeatures: trainedToySchema, wide: trainedToySchema });
export const greaterThanSchema = z.object({ prompts: z.int(), approximation: z.array(approximationRow), control: z.array(controlRow) });

/** The site that the paper studies, the query of 10.0 at the last position, or else the first in whose cross-section most attributes matter. */
function studiedSite(sections: readonly EditedSection[]): SiteAddress | null {
  const paper = sections.flatMap(({ sites }) => sites).find((site) => formatSite(site) === 'q@L10H0@end');
  const attributes = ({ edits }: EditedSection): number => new Set(edits.flat()).size;
  return paper ?? [...sections].sort((a, b) => attributes(b) - attributes(a))[0]?.sites.at(-1) ?? null;
}

/** Where splitting is studied: the paper's query, or else the key at IO of the head that reads at the last position, which tells by Pos where to look. */
function splitSite(sections: readonly EditedSection[]): SiteAddress | null {
  const site = studiedSite(sections);
  const [head] = attendingHeads(sections);
  return !site || formatSite(site) === 'q@L10H0@end' || !head ? site : { kind: 'k', ...head, position: 'io' };
}

async function examplesOf(lab: Lab, prompts: Prompts, site: SiteAddress, signal?: AbortSignal): Promise<Examples> {
  const [activations] = await collectActivations(lab.model, prompts, [site], { signal });
  return { activations: activations!, attributes: columnIds(prompts) };
}

export function occlusionStage(settings: Settings): Stage<Lab> {
  const { examples, features, lambdas, epochs, alphas } = settings.occlusion;
  return {
    name: 'occlusion', title: 'Occlusion on the model', version: 2, needs: ['sections'], inputs: { ...labInputs(settings), occlusion: settings.occlusion }, schema: occlusionSchema,
    async run(lab, read, { signal, onProgress }) {
      const site = studiedSite(read<SectionsResult>('sections')!.sections);
      const attributes = lab.task.attributes;
      if (!site || attributes.length < 2) return { leftOut: 'occlusion takes a site and two attributes that it may carry' };
      const prompts = lab.task.training(examples, lab.seeds.training);
      const scored = lab.interpreted();
      const [training, held] = [await examplesOf(lab, prompts, site, signal), await examplesOf(lab, scored, site, signal)];
      try {
        const counted = attributes.filter((name) => prompts.attributes[name]!.values.length > 2).map((name) => ({ name, values: prompts.attributes[name]!.values.length }));
        if (counted.length < 2) return { leftOut: `the task ${lab.task.name} has fewer than two attributes of many values` };
        return { result: await occlusion({ site: formatSite(site), training, scored: held, attributes: counted }, { features, lambdas, epochs: [epochs], alphas, seed: settings.seed }, { signal, onProgress }) };
      } finally {
        for (const { activations } of [training, held]) activations.dispose();
      }
    },
  };
}

export function overSplittingStage(settings: Settings): Stage<Lab> {
  const { seeds, epochs, lambda } = settings.overSplitting;
  const features = settings.training.features ?? 256;
  return {
    name: 'over-splitting', title: 'Over-splitting on the model', version: 2, needs: ['sections'],
    inputs: { ...labInputs(settings), overSplitting: settings.overSplitting, features }, schema: overSplittingSchema,
    async run(lab, read, { signal, onProgress }) {
      const site = splitSite(read<SectionsResult>('sections')!.sections);
      const few = Object.entries(lab.training().attributes).find(([, { values }]) => values.length === 2);
      if (!site || !few) return { leftOut: `the task ${lab.task.name} has no attribute of two values that could be split` };
      const sets = [lab.seeds.training, lab.seeds.training + 7].map((seed) => lab.task.training(settings.trainPrompts, seed));
      const datasets = [];
      for (const prompts of sets) datasets.push(await examplesOf(lab, prompts, site, signal));
      const scored = await examplesOf(lab, lab.task.training(settings.trainPrompts, lab.seeds.interpretability), site, signal);
      try {
        const attributes = Object.entries(sets[0]!.attributes).map(([name, { values }]) => ({ name, values }));
        return {
          result: await overSplitting({ site: formatSite(site), datasets, scored, attribute: few[0], attributes }, {
            lambda, seeds: Array.from({ length: seeds }, (_, i) => settings.seed + i), features, epochs,
          }, { signal, onProgress }),
        };
      } finally {
        for (const { activations } of [...datasets, scored]) activations.dispose();
      }
    },
  };
}

export function overSplittingToyStage(settings: Settings): Stage<Lab> {
  const { idealSamples, seeds } = settings.toys;
  return {
    name: 'over-splitting-toy', title: 'Toy model of over-splitting', version: 1, needs: [], inputs: { idealSamples, seeds, seed: settings.seed }, schema: overSplittingToysSchema,
    async run({ model: { gpu } }, _read, { signal, onProgress }) {
      const part = (index: number) => ({ signal, onProgress: (done: number, total: number) => onProgress(index * total + done, 3 * total) });
      const { seed } = settings;
      return {
        result: {
          families: await overSplittingToy(gpu, { samples: idealSamples, seeds, seed }, part(0)),
          twoFeatures: bestStarts(await trainedToy(gpu, { features: twoFeatureDefaults.features, seed }, part(1))),
          wide: await trainedToy(gpu, { features: wideDefaults.features, seed }, part(2)),
        },
      };
    },
  };
}

export function occlusionToyStage(settings: Settings): Stage<Lab> {
  const full = settings.toys.occlusionFull;
  return {
    name: 'occlusion-toy', title: 'Toy model of occlusion', version: 1, needs: [], inputs: { full, seed: settings.seed }, schema: occlusionToySchema,
    async run({ model: { gpu } }, _read, { signal, onProgress }) {
      return { result: await occlusionToy(gpu, { ...(full ? occlusionToyFull : {}), seed: settings.seed }, { signal, onProgress }) };
    },
  };
}

export function greaterThanStage(settings: Settings): Stage<Lab> {
  const { train, prompts, lambdas, ks, epochs } = settings.greaterThan;
  return {
    name: 'greater-than', title: 'The greater-than task', version: 1, needs: [], inputs: { ...labInputs(settings), greaterThan: settings.greaterThan, training: settings.training }, schema: greaterThanSchema,
    async run(lab, _read, { signal, onProgress }) {
      const { model } = lab;
      const made = applicable(() => new GreaterThanTask(model.tokenizer!, { allYears: settings.released.includes('greater-than-years') }));
      if ('leftOut' in made) return made;
      const known = made.task.crossSections(model.config);
      if (!known) return { leftOut: 'its cross-section is published for GPT-2 Small only' };
      const { sections } = givenSections(known.sections, known.origin, made.task);
      const seeds = seedsOf(settings.seed);
      const training = made.task.training(train, seeds.training);
      const sites = distinctSites(sections.flatMap((section) => section.sites));
      const tensors = await collectActivations(model, training, sites, { signal });
      const catalogue = new Catalogue();
      try {
        const activations = new Map(sites.map((site, i) => [formatSite(site), tensors[i]!]));
        fitSupervised(catalogue, training, sites, activations, true);
        const { learningRate = variantDefaults.vanilla.learningRate, ...rest } = settings.training;
        const sae = { ...rest, ...releasedSettings(settings.released), learningRate, epochs, lambdas };
        await trainVanilla(model, catalogue, sites, activations, { dictionaries: ['vanilla'], loaded: [], sae, seed: settings.seed, signal });
        const edits = editsOf(sections);
        const scored = sampleEdited(made.task, prompts, seeds.evaluation, seeds.counterfactual, edits);
        const selection = sampleEdited(made.task, Math.min(prompts, settings.selectionPrompts), seeds.selection, seeds.counterfactual, edits);
        const plan: EditPlan = { ks, ways: ['agnostic'] };
        const scoring: Scoring = { model, catalogue, sections, edits, plan, batch: batchFor(model, scored.prompts), signal };
        const choice = choose(await selectionDistances(scoring, selection, () => {}), catalogue, sections, plan);
        const measured = await scorePrompts(scoring, scored, choice, onProgress);
        return { result: { prompts: scored.prompts.count, approximation: approximationRows(measured, catalogue, sections), control: controlRows(measured, choice, catalogue, sections, plan) } };
      } finally {
        catalogue.dispose();
        for (const tensor of tensors) tensor.dispose();
      }
    },
  };
}
