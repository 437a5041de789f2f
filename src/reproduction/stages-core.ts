/** The stages that everything else rests on: the model on the task, cross-sections, SAEs, and the tests of approximation and control. */
import * as z from 'zod';
import {
  approximationRow, approximationRows, choose, chooseByTradeOff, controlRow, controlRows, dictionaryRow, describe, findSections, givenSections, mean, agreement, measureRecovered, measureTradeOff, positiveShare,
  recoveredRowSchema, scorePrompts, sectionSchema, selectionDistances, siteRow, weightRow, type EditPlan, type EditedSection, type Scoring,
} from '../evaluation/index.ts';
import { batchFor, formatSite, trainedOn } from '../task/index.ts';
import { trainSweep, variantDefaults } from '../training/index.ts';
import { labInputs, type Lab, type SaesResult, type SectionsResult } from './lab.ts';
import { addressOf, storeWithin, type Stage } from './stage.ts';
import { releasedSettings, type Settings } from './settings.ts';

const count = z.int().nonnegative();

const site = z.object({ kind: z.enum(['q', 'k', 'v', 'z']), layer: count, head: count, position: z.string() });
export const sectionsSchema = z.object({ ranking: z.array(siteRow), sections: z.array(sectionSchema.extend({ sites: z.array(site).min(1) })) });

export const saesSchema = z.object({
  folder: z.string().describe('where the dictionaries lie beside the results'),
  entries: z.array(z.object({
    name: z.string(), site: z.string(), variant: z.enum(['vanilla', 'gated', 'topk', 'batchtopk', 'jumprelu', 'frozen']), sparsity: z.number().describe('λ or K'), epoch: count,
    finished: z.boolean().describe('of the last epoch'), path: z.string(), figures: z.unknown(),
  })),
});

const POOL = 'which SAEs a site could use: those of the last epoch, or of every checkpoint (overall)';
/** Rows of control that say which SAEs their sites could choose from. */
export const lastRow = controlRow.extend({ pool: z.literal('last').default('last').describe(POOL) });
export const overallRow = controlRow.extend({ pool: z.literal('overall').default('overall').describe(POOL) });

export const testsSchema = z.object({
  task: z.object({ prompts: count, accuracy: z.number(), logitDiff: z.number(), positive: z.number(), example: z.string() }),
  approximation: z.array(approximationRow),
  control: z.array(lastRow),
  dictionaries: z.array(dictionaryRow),
  weights: z.array(weightRow),
});
export type TestsResult = z.infer<typeof testsSchema>;

export const recoveredSchema = z.object({ rows: z.array(recoveredRowSchema) });

/** Prompts that sites are patched on where cross-sections have to be found. */
export const DISCOVERY = { prompts: 32, threshold: 0.2, strong: 0.6, sections: 5 };

export function sectionsStage(settings: Settings): Stage<Lab> {
  return {
    name: 'sections', title: 'Cross-sections', version: 1, needs: [], inputs: { seed: settings.seed, edits: settings.edits, discovery: DISCOVERY }, schema: sectionsSchema,
    async run({ model, task, settings: { seed, edits } }, _read, { signal, onProgress }) {
      const known = task.crossSections(model.config);
      if (!known) return { result: await findSections(model, task, { ...DISCOVERY, seed, extra: [] }, { signal, onProgress }) };
      const { ranking, sections } = givenSections(known.sections, known.origin, task);
      return { result: { ranking, sections: edits === 'workshop' && known.origin === 'published' ? sections.map(workshopEdits) : sections } };
    },
  };
}

/** The workshop edits one attribute in each cross-section: IO in the name movers' outputs, Pos elsewhere. */
export function workshopEdits(section: EditedSection): EditedSection {
  const [attribute] = section.name === '(B)NM out' ? ['IO'] : ['Pos'];
  return { ...section, edits: section.edits.some((edit) => edit.length === 1 && edit[0] === attribute) ? [[attribute!]] : section.edits };
}

export function saesStage(settings: Settings): Stage<Lab> {
  const { variants, snapshotEpochs, training, trainPrompts, seed, released } = settings;
  const inputs = { variants, snapshotEpochs, training: { ...training, ...releasedSettings(released) }, trainPrompts, seed };
  return {
    name: 'saes', title: 'Sparse autoencoders', version: 1, needs: ['sections'], inputs, schema: saesSchema,
    async run(lab, read, { signal, onProgress }) {
      const { sections } = read<SectionsResult>('sections')!;
      const activations = await lab.trainingActivations(sections, signal);
      const plan = {
        sites: lab.sites(sections).map((site) => ({
          name: formatSite(site), activations: activations.get(formatSite(site))!,
          metadata: trainedOn(lab.model, site),
        })),
        // Published rates go for every kind; without one each kind has its own.
        variants: variants.map((own) => ({ ...own, ...(training.learningRate === undefined ? { learningRate: variantDefaults[own.variant].learningRate } : {}) })),
        settings: { ...inputs.training, seed }, snapshotEpochs: snapshotEpochs.slice(0, -1),
      };
      // A sweep that was cut goes on where it was; the plan's address keeps sweeps of other settings apart.
      const folder = `saes/${(await addressOf([inputs, lab.model.hash, plan.sites.map(({ name }) => name)])).slice(0, 16)}`;
      const { manifest } = await trainSweep(lab.model.gpu, plan, storeWithin(lab.store, folder), {
        signal, onStep: (done, total) => onProgress(done, total), checkpointEvery: 500,
      });
      return { result: { folder, entries: manifest.entries } };
    },
  };
}

export function testsStage(settings: Settings): Stage<Lab> {
  const { ks, released } = settings;
  return {
    name: 'tests', title: 'Approximation and control', version: 2, needs: ['sections', 'saes'], inputs: { ...labInputs(settings), ks, selection: settings.selection }, schema: testsSchema,
    async run(lab, read, { signal, onProgress }) {
      const { sections } = read<SectionsResult>('sections')!;
      const catalogue = await lab.catalogue(sections, read<SaesResult>('saes')!, signal);
      const { scored, selection, edits } = lab.samples(sections);
      const plan: EditPlan = {
        ks, ways: ['agnostic', 'aware', 'threshold', 'reconstruction'], coupledPosEdit: released.includes('coupled-pos-edit'),
        codeEdits: ['arithmetic', 'zero-ablate', released.includes('mean-ablate-broadcast') ? 'mean-ablate-broadcast' : 'mean-ablate'],
      };
      const scoring: Scoring = { model: lab.model, catalogue, sections, edits, plan, batch: batchFor(lab.model, scored.prompts), signal };
      const choosing = (done: number, total: number) => onProgress(done, 4 * total, 'choosing SAEs');
      // As the arXiv version does, by few features and a kept logit difference, or as the workshop's, by the distance of edits.
      const tradeOffs = settings.selection === 'tradeoff' ? await measureTradeOff(lab.model, catalogue, lab.sites(sections), selection.prompts, { signal, onProgress: choosing }) : null;
      const choice = tradeOffs ? chooseByTradeOff(tradeOffs, catalogue, sections, plan) : choose(await selectionDistances(scoring, selection, choosing), catalogue, sections, plan);
      const measured = await scorePrompts(scoring, scored, choice, (done, total) => onProgress(total + 3 * done, 4 * total, 'patched runs'));
      const own = await lab.activations('scored', scored.prompts, lab.sites(sections), signal);
      const described = await describe(catalogue, scored.prompts, lab.sites(sections), own);
      const clean = measured.get('clean LD');
      return {
        result: {
          task: {
            prompts: scored.prompts.count, accuracy: agreement(measured.get('clean prediction'), scored.prompts.correct), logitDiff: mean(clean), positive: positiveShare(clean),
            example: scored.prompts.texts[0]!,
          },
          approximation: approximationRows(measured, catalogue, sections), control: controlRows(measured, choice, catalogue, sections, plan), ...described,
        },
      };
    },
  };
}

export function recoveredStage(settings: Settings): Stage<Lab> {
  const { released } = settings;
  return {
    name: 'recovered', title: 'Logit difference recovered at single sites', version: 1, needs: ['sections', 'saes', 'tests'], inputs: labInputs(settings), schema: recoveredSchema,
    async run(lab, read, { signal, onProgress }) {
      const { sections } = read<SectionsResult>('sections')!;
      const catalogue = await lab.catalogue(sections, read<SaesResult>('saes')!, signal);
      const { selection } = lab.samples(sections);
      const studies = lab.sites(sections).map((site) => ({
        site, mean: catalogue.meanOf(site), dictionaries: catalogue.at(site).filter(({ variant }) => !variant.startsWith('supervised') || variant === 'supervised'),
      }));
      return { result: { rows: await measureRecovered(lab.model, selection.prompts, studies, { old: released.includes('ld-recovered-old'), signal, onProgress }) } };
    },
  };
}
