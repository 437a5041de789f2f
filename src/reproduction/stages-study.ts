/** Stages that look closer at dictionaries: interpretations, directions, parametrizations, probes, mechanism, metrics. */
import * as z from 'zod';
import { columnIds, Sae, type SupervisedCodes } from '../dictionary/index.ts';
import {
  attentionMechanism, attentionSchema, compareCoupling, compareGeometry, compareReconstructions, compositionSchema, couplingRow, dictionaryMetricsSchema, evaluateMetrics, explainedRow,
  editName, featurePage, featurePages, featurePatchRow, geometryRow, headComposition, interpretabilityRow, interpretabilityRowFrom, interpretedApproximation, interpretedApproximationRow, patchFeatures,
  probeRow, probingRow, probingTest, type Catalogue, type CausalStudy, type EditedSection, type FeatureStudy,
} from '../evaluation/index.ts';
import { collectActivations, distinctSites, formatSite, hookOf, type SiteAddress } from '../task/index.ts';
import { labInputs, parametrizationsFor, type Lab, type SaesResult, type SectionsResult } from './lab.ts';
import type { Settings } from './settings.ts';
import type { Stage } from './stage.ts';

export const interpretabilitySchema = z.object({ rows: z.array(interpretabilityRow), prompts: z.int() });
export const causalSchema = z.object({ approximation: z.array(interpretedApproximationRow), patches: z.array(featurePatchRow), prompts: z.int() });
export const featuresSchema = z.object({ pages: z.array(featurePage), unions: z.int().describe('most values in a union that a feature may stand for') });
export const geometrySchema = z.object({ rows: z.array(geometryRow) });
export const parametrizationsSchema = z.object({ coupling: z.array(couplingRow), explained: z.array(explainedRow) });
export const probingSchema = z.object({ probes: z.array(probeRow), edits: z.array(probingRow) });
export const mechanismSchema = z.object({ attention: attentionSchema, composition: compositionSchema });
export const metricsStageSchema = z.object({ rows: z.array(z.object({ site: z.string(), dictionary: z.string(), metrics: dictionaryMetricsSchema })), tokens: z.int() });

interface Needed { sections: EditedSection[]; catalogue: Catalogue }

async function needed(lab: Lab, read: <R>(stage: string) => R | null, signal?: AbortSignal): Promise<Needed> {
  const { sections } = read<SectionsResult>('sections')!;
  return { sections, catalogue: await lab.catalogue(sections, read<SaesResult>('saes')!, signal) };
}

export function interpretabilityStage(settings: Settings): Stage<Lab> {
  return {
    name: 'interpretability', title: 'Interpretability', version: 2, needs: ['sections', 'saes'], inputs: labInputs(settings), schema: interpretabilitySchema,
    async run(lab, read, { signal, onProgress }) {
      const { sections, catalogue } = await needed(lab, read, signal);
      const found = await lab.interpretations(sections, catalogue, { signal, onProgress });
      const { count } = lab.interpreted();
      const rows = [...found].flatMap(([site, own]) => [...own].map(([dictionary, { counts, interpretations }]) => interpretabilityRowFrom({ site, dictionary }, counts, interpretations, count)));
      return { result: { rows, prompts: count } };
    },
  };
}

/** Features kept, taken away and taken from counterfactuals by their F1, for one SAE of each variant. */
export function causalStage(settings: Settings): Stage<Lab> {
  const { thresholds, closePrompts } = settings;
  return {
    name: 'causal', title: 'Are interpretations causal?', version: 1, needs: ['sections', 'saes'], inputs: { ...labInputs(settings), thresholds, closePrompts }, schema: causalSchema,
    async run(lab, read, { signal, onProgress }) {
      const { sections, catalogue } = await needed(lab, read, signal);
      const found = await lab.interpretations(sections, catalogue, { signal });
      const studies = sections.flatMap((section) => catalogue.variantsFor(section).map((variant): CausalStudy => ({
        crossSection: section.name, dictionary: variant,
        sites: section.sites.map((site) => {
          const { name, dictionary } = representatives(catalogue, site).find((entry) => entry.variant === variant)!;
          return { site, dictionary, bestF1: found.get(formatSite(site))!.get(name)!.bestF1, mean: catalogue.meanOf(site) };
        }),
      })));
      const { scored } = lab.samples(sections);
      const prompts = scored.prompts.slice(0, closePrompts);
      const approximation = await interpretedApproximation(lab.model, prompts, studies, { thresholds, signal, onProgress: (done, total) => onProgress(done, 2 * total) });
      const patches: z.infer<typeof featurePatchRow>[] = [];
      for (const [attribute, counterfactual] of scored.counterfactuals) {
        const own = studies.filter(({ crossSection }) => sections.find(({ name }) => name === crossSection)!.edits.some((edit) => editName(edit) === attribute));
        // Where the answer stays, there is nothing to predict.
        if (!attribute.split('+').includes('IO') && lab.task.name === 'ioi') continue;
        patches.push(...await patchFeatures(lab.model, { attribute, prompts, counterfactual: counterfactual.slice(0, closePrompts) }, own, {
          thresholds, signal, onProgress: (done, total) => onProgress(total + done, 2 * total),
        }));
      }
      return { result: { approximation, patches, prompts: prompts.count } };
    },
  };
}

/** Pages of the best interpreted features of one SAE a variant, at the sites of the last cross-sections' outputs or wherever there are some. */
export function featuresStage(settings: Settings): Stage<Lab> {
  const { features, examples, unions } = settings.featurePages;
  return {
    name: 'features', title: 'Pages of features', version: 2, needs: ['sections', 'saes'], inputs: { ...labInputs(settings), ...settings.featurePages }, schema: featuresSchema,
    async run(lab, read, { signal, onProgress }) {
      const { sections, catalogue } = await needed(lab, read, signal);
      const prompts = lab.interpreted();
      const sites = lab.sites(sections);
      const activations = await lab.activations('interpreted', prompts, sites, signal);
      const shown = settings.sizes === 'reduced' ? sites.filter(({ kind }) => kind === 'z').slice(0, 2) : sites;
      const entriesAt = (site: SiteAddress) => representatives(catalogue, site).filter(({ dictionary }) => dictionary instanceof Sae);
      const found = await lab.interpretEntries(sections, shown, entriesAt, { unionLimit: unions, signal, onProgress: (done, total) => onProgress(done, 2 * total) });
      const studies = shown.flatMap((site): FeatureStudy[] => entriesAt(site).map(({ name, dictionary }) => ({
        site, name, dictionary, examples: { activations: activations.get(formatSite(site))!, attributes: columnIds(prompts) }, interpretations: found.get(formatSite(site))!.get(name)!.interpretations,
      })));
      const pages = await featurePages(lab.model, prompts, studies, { pages: features, examples, signal, onProgress: (done, total) => onProgress(total + done, 2 * total) });
      return { result: { pages, unions } };
    },
  };
}

export function geometryStage(settings: Settings): Stage<Lab> {
  return {
    name: 'geometry', title: 'Directions of features', version: 1, needs: ['sections', 'saes'], inputs: labInputs(settings), schema: geometrySchema,
    async run(lab, read, { signal, onProgress }) {
      const { sections, catalogue } = await needed(lab, read, signal);
      const codes = await lab.supervised('mean', 'independent', sections, signal);
      const rows: z.infer<typeof geometryRow>[] = [];
      const sites = lab.sites(sections);
      for (const [i, site] of sites.entries()) {
        for (const { name, dictionary } of catalogue.at(site)) {
          if (dictionary instanceof Sae) rows.push(...await compareGeometry({ site: formatSite(site), dictionary: name }, dictionary.weights.decoder, codes.get(formatSite(site))!));
        }
        onProgress(i + 1, sites.length);
      }
      return { result: { rows } };
    },
  };
}

export function parametrizationsStage(settings: Settings): Stage<Lab> {
  const { codes } = settings;
  return {
    name: 'parametrizations', title: 'Parametrizations of supervised dictionaries', version: 1, needs: ['sections'], inputs: labInputs(settings), schema: parametrizationsSchema,
    async run(lab, read, { signal, onProgress }) {
      const { sections } = read<SectionsResult>('sections')!;
      const names = parametrizationsFor(lab.task, lab.settings);
      if (names.length < 2) return { leftOut: `the task ${lab.task.name} has one parametrization` };
      const made = new Map<string, Map<string, SupervisedCodes>>();
      for (const method of codes) for (const name of names) made.set(`${method} ${name}`, await lab.supervised(method, name, sections, signal));
      const { prompts } = lab.samples(sections).scored;
      const activations = await lab.activations('scored', prompts, lab.sites(sections), signal);
      const coupling: z.infer<typeof couplingRow>[] = [];
      const explained: z.infer<typeof explainedRow>[] = [];
      const sites = lab.sites(sections);
      for (const [i, address] of sites.entries()) {
        signal?.throwIfAborted();
        const site = formatSite(address);
        const own = (name: string) => made.get(name)?.get(site);
        if (own('mean independent') && own('mean coupled')) coupling.push(...await compareCoupling(site, own('mean independent')!, own('mean coupled')!, 'Pos'));
        explained.push(...await compareReconstructions(site, { activations: activations.get(site)!, attributes: columnIds(prompts) }, [...made.values()].map((codesOf) => codesOf.get(site)!)));
        onProgress(i + 1, sites.length);
      }
      return { result: { coupling, explained } };
    },
  };
}

/** Probes read edits of the supervised dictionary and of each variant's SAE of the middle sparsity. */
export function probingStage(settings: Settings): Stage<Lab> {
  const ks = [2, Math.max(...settings.ks)];
  return {
    name: 'probing', title: 'Probes read edited activations', version: 1, needs: ['sections', 'saes'], inputs: { ...labInputs(settings), ks }, schema: probingSchema,
    async run(lab, read, { signal, onProgress }) {
      const { sections, catalogue } = await needed(lab, read, signal);
      const { scored, edits } = lab.samples(sections);
      const training = lab.training();
      const sites = lab.sites(sections).slice(0, lab.settings.sizes === 'reduced' ? 4 : undefined);
      const [inputs, clean] = [await lab.trainingActivations(sections, signal), await lab.activations('scored', scored.prompts, lab.sites(sections), signal)];
      const targets = new Map<string, Awaited<ReturnType<typeof collectActivations>>>();
      for (const [name, prompts] of scored.counterfactuals) targets.set(name, await collectActivations(lab.model, prompts, sites, { signal }));
      try {
        const studied = sites.map((site, i) => ({
          site: formatSite(site), training: { activations: inputs.get(formatSite(site))!, attributes: columnIds(training) },
          clean: { activations: clean.get(formatSite(site))!, attributes: columnIds(scored.prompts) },
          counterfactuals: [...edits].map(([name, edit]) => ({ edit, target: { activations: targets.get(name)![i]!, attributes: columnIds(scored.counterfactuals.get(name)!) } })),
          dictionaries: representatives(catalogue, site),
        }));
        return { result: await probingTest(studied, { attributes: Object.keys(training.attributes), ks, signal, onProgress: (done, total) => onProgress(done, total) }) };
      } finally {
        for (const tensor of [...targets.values()].flat()) tensor.dispose();
      }
    },
  };
}

/** The supervised dictionary, and of each variant the SAE of the middle sparsity. */
function representatives(catalogue: Catalogue, site: SiteAddress): ReturnType<Catalogue['at']>[number][] {
  const byVariant = new Map<string, ReturnType<Catalogue['at']>[number][]>();
  for (const entry of catalogue.at(site)) byVariant.set(entry.variant, [...(byVariant.get(entry.variant) ?? []), entry]);
  return [...byVariant].filter(([variant]) => !variant.startsWith('supervised') || variant === 'supervised').map(([, entries]) => entries[entries.length >> 1]!);
}

export function mechanismStage(settings: Settings): Stage<Lab> {
  return {
    name: 'mechanism', title: 'Mechanism: scores and inputs of heads taken apart', version: 1, needs: ['sections'],
    inputs: { ...labInputs(settings), closePrompts: settings.closePrompts }, schema: mechanismSchema,
    async run(lab, read, { signal, onProgress }) {
      const { sections } = read<SectionsResult>('sections')!;
      const heads = attendingHeads(sections);
      if (heads.length === 0) return { leftOut: 'no cross-section has a head that reads at the last position' };
      const keys = ['io', 's1'].filter((position) => lab.task.positions.includes(position));
      if (keys.length === 0) return { leftOut: `the task ${lab.task.name} has no positions io and s1 that heads could attend to` };
      const prompts = lab.samples(sections).scored.prompts.slice(0, lab.settings.closePrompts);
      const sites = heads.flatMap(({ layer, head }): SiteAddress[] => [{ kind: 'q', layer, head, position: 'end' }, ...keys.map((position): SiteAddress => ({ kind: 'k', layer, head, position }))]);
      const before = [...new Set(heads.map(({ layer }) => layer))].flatMap((layer) => Array.from({ length: layer }, (_, l) => l));
      const earlier = before.flatMap((layer) => Array.from({ length: lab.model.config.heads }, (_, head): SiteAddress => ({ kind: 'z', layer, head, position: 'end' })));
      const all = distinctSites([...sites, ...earlier]);
      const codes = await lab.codesAt(all, signal);
      const at = (site: SiteAddress): SupervisedCodes[] => { const own = codes.get(formatSite(site)); return own ? [own] : []; };
      try {
        const attention = await attentionMechanism(lab.model, prompts, { heads, query: 'end', keys, dictionariesAt: at }, { signal, onProgress: (done, total) => onProgress(done, 2 * total) });
        const composition = await headComposition(lab.model, prompts, { heads: heads.map(({ layer, head }) => ({ kind: 'q' as const, layer, head, position: 'end' })), dictionariesAt: at }, {
          signal, onProgress: (done, total) => onProgress(total + done, 2 * total),
        });
        return { result: { attention, composition } };
      } finally {
        for (const own of codes.values()) own.dispose();
      }
    },
  };
}

/** The heads whose outputs or queries at the last position are in a cross-section; in GPT-2 Small those of the name movers that the paper takes apart. Later ones first, three at most. */
export function attendingHeads(sections: readonly EditedSection[]): { layer: number; head: number }[] {
  const sites = sections.flatMap((section) => section.sites).filter(({ kind, position }) => position === 'end' && (kind === 'q' || kind === 'z'));
  const distinct = [...new Map(sites.map(({ layer, head }) => [`${layer} ${head}`, { layer, head }])).values()];
  const named = [[10, 0], [9, 6], [9, 9]].flatMap(([layer, head]) => distinct.filter((own) => own.layer === layer && own.head === head));
  return named.length === 3 ? named : distinct.sort((a, b) => b.layer - a.layer || a.head - b.head).slice(0, 3);
}

export function metricsStage(settings: Settings): Stage<Lab> {
  return {
    name: 'metrics', title: 'Metrics of SAEs', version: 1, needs: ['sections', 'saes'], inputs: { ...labInputs(settings), metricPrompts: settings.metricPrompts }, schema: metricsStageSchema,
    async run(lab, read, { signal, onProgress }) {
      const { sections, catalogue } = await needed(lab, read, signal);
      const tokens = lab.samples(sections).selection.prompts.tokens.slice(0, lab.settings.metricPrompts);
      const rows: z.infer<typeof metricsStageSchema>['rows'] = [];
      const sites = lab.sites(sections).filter(({ kind }) => kind === 'z').slice(0, lab.settings.sizes === 'reduced' ? 2 : undefined);
      for (const [i, site] of sites.entries()) {
        for (const { name, dictionary } of representatives(catalogue, site)) {
          // A supervised dictionary reads labels, which other tokens do not have.
          if (!(dictionary instanceof Sae)) continue;
          rows.push({ site: formatSite(site), dictionary: name, metrics: await evaluateMetrics(lab.model, dictionary, { hook: hookOf(site), head: site.head, tokens, signal }) });
        }
        onProgress(i + 1, sites.length);
      }
      return rows.length > 0 ? { result: { rows, tokens: tokens.reduce((sum, { length }) => sum + length, 0) } } : { leftOut: 'no cross-section has an output of a head' };
    },
  };
}
