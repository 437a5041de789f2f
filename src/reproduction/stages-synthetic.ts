/** Dictionaries whose answers are known beforehand (arXiv 2405.08366, A.10), through all three tests on the model: what the tests say of them beside what they should. */
import * as z from 'zod';
import { columnIds } from '../dictionary/index.ts';
import {
  approximationRow, approximationRows, Catalogue, choose, controlRow, controlRows, fitSupervised, Interpreter, mean, scorePrompts, selectionDistances, syntheticDictionaries, type EditedPrompts,
  type EditedSection, type EditPlan, type Scoring,
} from '../evaluation/index.ts';
import { batchFor, distinctSites, formatSite, type Prompts, type SiteAddress } from '../task/index.ts';
import { labInputs, type Lab, type SectionsResult } from './lab.ts';
import type { Settings } from './settings.ts';
import type { Stage } from './stage.ts';

const featuresRow = z.object({
  site: z.string(), dictionary: z.string(), features: z.int(),
  f1: z.number().describe('mean over features that are ever active of the F1 of their best property'),
  precision: z.number().describe('the same of its precision'), recall: z.number().describe('the same of its recall'),
  unions: z.number().describe('share of those features whose best property is a union of values'),
});
const answerRow = z.object({
  dictionary: z.string(), test: z.enum(['approximation', 'control', 'interpretability']), what: z.string(), known: z.string().describe('what must come out'), measured: z.number().nullable(),
  holds: z.boolean().nullable().describe('null where nothing was measured'),
});
export const syntheticSchema = z.object({
  prompts: z.int(), approximation: z.array(approximationRow), control: z.array(controlRow), features: z.array(featuresRow), answers: z.array(answerRow),
});
type Result = z.infer<typeof syntheticSchema>;

/** Prompts that features are matched with properties on: over-fitted dictionaries have a feature for nearly each. */
const MOST_PROMPTS = 2000;
/** Cross-sections at reduced sizes. */
const FEW_SECTIONS = 2;
const GROUPED = 'synthetic group+value';
const OVERLAPPING = 'synthetic overlapping';
const OVERFITTED = 'synthetic over-fitted';

export function syntheticStage(settings: Settings): Stage<Lab> {
  const { closePrompts, ks } = settings;
  return {
    name: 'synthetic', title: 'Dictionaries with known answers', version: 1, needs: ['sections'], inputs: { ...labInputs(settings), closePrompts, ks }, schema: syntheticSchema,
    async run(lab, read, { signal, onProgress }) {
      const all = read<SectionsResult>('sections')!.sections;
      // Values that fall into groups are names: where only others are edited, all kinds of dictionaries edit alike.
      const named = all.filter(({ edits }) => edits.some((edit) => edit.some((name) => lab.training().attributes[name]!.values.length > 2)));
      const sections = settings.sizes === 'reduced' ? named.slice(0, FEW_SECTIONS) : named;
      if (sections.length === 0) return { leftOut: 'no cross-section edits an attribute of more than two values' };
      const { scored: whole, edits } = lab.samples(all);
      const scored: EditedPrompts = { prompts: whole.prompts.slice(0, closePrompts), counterfactuals: new Map([...whole.counterfactuals].map(([name, own]) => [name, own.slice(0, closePrompts)])) };
      const sites = distinctSites(sections.flatMap((section) => section.sites));
      const matched = lab.interpreted().slice(0, MOST_PROMPTS);
      const catalogue = await catalogueOf(lab, all, sites, [matched, scored.prompts, ...scored.counterfactuals.values()], signal);
      try {
        const plan: EditPlan = { ks, ways: ['agnostic'] };
        const scoring: Scoring = { model: lab.model, catalogue, sections, edits, plan, batch: batchFor(lab.model, scored.prompts), signal };
        // There is one dictionary of each kind at a site, so that choosing by what is scored favours none.
        const choice = choose(await selectionDistances(scoring, scored, (done, total) => onProgress(done, 3 * total)), catalogue, sections, plan);
        const measured = await scorePrompts(scoring, scored, choice, (done, total) => onProgress(total + done, 3 * total));
        const approximation = approximationRows(measured, catalogue, sections);
        const control = controlRows(measured, choice, catalogue, sections, plan);
        const features = await matchFeatures(lab, all, sites, matched, catalogue, signal);
        return { result: { prompts: scored.prompts.count, approximation, control, features, answers: answersOf(approximation, control, features) } };
      } finally {
        catalogue.dispose();
      }
    },
  };
}

/** Independent mean codes and what is made of them; combinations are those of `prompts`. The caller's to dispose. */
async function catalogueOf(lab: Lab, sections: readonly EditedSection[], sites: readonly SiteAddress[], prompts: readonly Prompts[], signal?: AbortSignal): Promise<Catalogue> {
  const catalogue = new Catalogue();
  try {
    fitSupervised(catalogue, lab.training(), sites, await lab.trainingActivations(sections, signal), true);
    const codes = await lab.supervised('mean', 'independent', sections, signal);
    const properties = lab.training().properties;
    const groups = Object.fromEntries([['IO', 'io_gender'], ['S', 's_gender']].filter(([column, group]) => column! in lab.training().attributes && group! in properties));
    for (const site of sites) {
      signal?.throwIfAborted();
      for (const dictionary of await syntheticDictionaries(codes.get(formatSite(site))!, prompts, groups, lab.settings.seed)) {
        catalogue.add(site, { name: dictionary.name, variant: dictionary.name, dictionary, source: 'fitted', lambda: null, scale: null, curve: [] });
      }
    }
    return catalogue;
  } catch (error) {
    catalogue.dispose();
    throw error;
  }
}

/** How well features of every synthetic dictionary match their best property. */
async function matchFeatures(lab: Lab, sections: readonly EditedSection[], sites: readonly SiteAddress[], prompts: Prompts, catalogue: Catalogue, signal?: AbortSignal): Promise<Result['features']> {
  const activations = await lab.activations('interpreted', lab.interpreted(), lab.sites(sections), signal);
  const attributes = columnIds(prompts);
  const interpreter = new Interpreter(lab.model.gpu, prompts);
  const rows: Result['features'] = [];
  try {
    for (const site of sites) {
      for (const { name, dictionary } of catalogue.at(site)) {
        if (name === 'supervised') continue;
        signal?.throwIfAborted();
        const codes = lab.model.gpu.scope(() => dictionary.encode({ activations: activations.get(formatSite(site))!.rows(0, prompts.count), attributes }));
        const { interpretations } = await interpreter.interpret(codes, site.position);
        codes.dispose();
        const of = (field: 'f1' | 'precision' | 'recall') => mean(interpretations.map((own) => own[field]));
        rows.push({ site: formatSite(site), dictionary: name, features: dictionary.features,
          f1: of('f1'), precision: of('precision'), recall: of('recall'),
          unions: mean(interpretations.map(({ kind }) => (kind.startsWith('union') ? 1 : 0))) });
      }
    }
  } finally {
    interpreter.dispose();
  }
  return rows;
}

/** What must come out of the tests, by construction, beside what came out. */
function answersOf(approximation: Result['approximation'], control: Result['control'], features: Result['features']): Result['answers'] {
  const kinds = [...new Set(features.map(({ dictionary }) => dictionary))];
  type Answer = Result['answers'][number];
  const answer = (dictionary: string, test: Answer['test'], what: string, known: string, values: readonly (number | null | undefined)[], holds: (value: number) => boolean): Answer => {
    const there = values.filter((value) => typeof value === 'number');
    const measured = there.length > 0 ? mean(there) : null;
    return { dictionary, test, what, known, measured, holds: measured === null ? null : holds(measured) };
  };
  const edits = (dictionary: string, k: (ks: readonly number[]) => number) => {
    const own = control.filter((row) => row.dictionary === dictionary);
    return own.filter((row) => row.k === k(own.map((other) => other.k)));
  };
  const reference = (row: Result['control'][number]) => control.find((other) => other.dictionary === 'supervised' && other.crossSection === row.crossSection && other.attribute === row.attribute);
  const least = (ks: readonly number[]): number => Math.min(...ks);
  const most = (ks: readonly number[]): number => Math.max(...ks);
  const of = (dictionary: string, field: 'precision' | 'recall' | 'unions') => features.filter((row) => row.dictionary === dictionary).map((row) => row[field]);
  return kinds.flatMap((dictionary) => {
    const differences = approximation.filter((row) => row.dictionary === dictionary).map((row) => {
      const supervised = approximation.find((other) => other.dictionary === 'supervised' && other.crossSection === row.crossSection);
      return row.sufficiency === null || supervised?.sufficiency == null ? null : Math.abs(row.sufficiency - supervised.sufficiency);
    });
    const same = answer(dictionary, 'approximation', 'difference of its sufficiency from that of the supervised dictionary', '0: it divides the same reconstruction among other features',
      differences, (value) => value < 0.01);
    const behind = edits(dictionary, most).map((row) => { const own = reference(row); return own ? own.accuracy - row.accuracy : null; });
    if (dictionary === GROUPED) {
      return [same, answer(dictionary, 'control', 'accuracy behind the supervised edit, with the most features', 'about 0: at most one feature more for each name', behind, (value) => value < 0.1)];
    }
    if (dictionary === OVERLAPPING) {
      return [
        same, answer(dictionary, 'control', 'accuracy behind the supervised edit, with the most features', 'small: several features a name', behind, (value) => value < 0.25),
        answer(dictionary, 'interpretability', 'share of features that are best told by a union of values',
          'most: a feature is active for several names, but some random sets hold one', of(dictionary, 'unions'), (value) => value > 0.5),
      ];
    }
    if (dictionary !== OVERFITTED) return [same];
    return [
      same, answer(dictionary, 'control', 'weight removed, with the fewest features', '1: an edit has to replace the whole reconstruction',
      edits(dictionary, least).map((row) => row.weightRemoved), (value) => value > 0.9),
      answer(dictionary, 'interpretability', 'mean precision of a feature for its best property', '1', of(dictionary, 'precision'), (value) => value > 0.99),
      answer(dictionary, 'interpretability', 'mean recall of a feature for its best property', 'small', of(dictionary, 'recall'), (value) => value < 0.5),
    ];
  });
}
