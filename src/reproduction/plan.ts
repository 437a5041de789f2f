/**
 * What each stage of a reproduction will cost on an adapter, from sizes alone: nothing of the model is run. Where cross-sections have yet to be
 * found, a usual number of sites stands for them, and the plan says so.
 */
import type { Ceilings } from '../gpu/index.ts';
import { editName, givenSections, type EditedSection, type EvaluationTask } from '../evaluation/index.ts';
import type { Gpt2 } from '../model/index.ts';
import { promptsPerRun, type Prompts } from '../task/index.ts';
import { codesCost, greedyCost, NOTHING, ratesOf, runCost, secondsOf, times, total, trainingCost, weightBytes, type Cost, type ModelShape } from './cost.ts';
import { parametrizationsFor } from './lab.ts';
import type { Settings } from './settings.ts';
import { workshopEdits } from './stages-core.ts';

export interface StagePlan extends Cost { name: string; seconds: number }

export interface ReproductionPlan {
  stages: StagePlan[];
  /** All stages together; the peak counts the model's weights. */
  total: Cost & { seconds: number };
  notes: string[];
}

/** A patched run computes the positions from the first edited one on, in the layers from the first edited one on. */
interface Sized { section: EditedSection; run: Cost; selectionRun: Cost }

/** The plan for these settings. `ceilings` are those of the adapter that the model is on. */
export function planReproduction(model: Gpt2, task: EvaluationTask, settings: Settings, ceilings: Ceilings, found: readonly EditedSection[] | null = null): ReproductionPlan {
  const { config, gpu } = model;
  const known = task.crossSections(config);
  const notes: string[] = [];
  let sections = found ?? (known ? givenSections(known.sections, known.origin, task).sections : null);
  if (sections && !found && settings.edits === 'workshop' && known?.origin === 'published') sections = sections.map(workshopEdits);
  if (!sections) {
    sections = usualSections(config);
    notes.push('cross-sections have yet to be found; five of three sites stand for them');
  }
  const rates = ratesOf(ceilings, gpu.software);
  const costs = stageCosts(model, task, settings, sections, known !== null || found !== null);
  const stages = Object.entries(costs).map(([name, cost]): StagePlan => ({ name, ...cost, seconds: secondsOf(cost, rates) }));
  const all = total(stages);
  return { stages, total: { ...all, peak: all.peak + weightBytes(config), seconds: stages.reduce((sum, { seconds }) => sum + seconds, 0) }, notes };
}

function usualSections({ layers, heads }: { layers: number; heads: number }): EditedSection[] {
  const site = (layer: number) => ({ kind: 'z' as const, layer, head: heads - 1, position: 'end' });
  return Array.from({ length: 5 }, (_, i) => ({ name: `${i}`, sites: [0, 1, 2].map((at) => site(Math.min(layers - 1, at))), edits: [['S']], origin: 'discovered' as const, effects: {} }));
}

/** Mean number of positions from a semantic one to the end. */
function spanOf(prompts: Prompts, position: string): number {
  const [from, to] = [prompts.positions[position], prompts.positions['end']];
  if (!from || !to) return 1;
  return from.reduce((sum, at, i) => sum + Math.max(1, to[i]! - at + 1), 0) / Math.max(1, from.length);
}

function stageCosts(model: Gpt2, task: EvaluationTask, settings: Settings, sections: readonly EditedSection[], known: boolean): Record<string, Cost> {
  const shape: ModelShape = model.config;
  const width = model.config.headWidth;
  const features = settings.training.features ?? 256;
  const sample = task.evaluation(Math.min(256, settings.prompts), 0);
  const longest = sample.tokens.reduce((most, tokens) => Math.max(most, tokens.length), 0);
  const batch = promptsPerRun(model, longest);
  const sites = [...new Map(sections.flatMap((section) => section.sites).map((site) => [JSON.stringify(site), site])).values()];
  const deepest = sites.reduce((most, { layer }) => Math.max(most, layer + 1), 0);
  const edits = new Set(sections.flatMap((section) => section.edits.map(editName)));
  const { prompts, selectionPrompts, trainPrompts, ks } = settings;
  const supervised = settings.codes.length * parametrizationsFor(task, settings).length;
  const perSite = settings.variants.reduce((sum, { values }) => sum + values.length, 0);
  // The prompts behind the training ones that show every value.
  const values = Object.values(sample.attributes).reduce((sum, column) => sum + column.values.length, 0);
  const interpreted = trainPrompts + Math.max(0, values - trainPrompts / 4);
  const forward = (count: number, options: { toLayer?: number; logits?: number } = {}) => runCost(shape, { prompts: count, positions: longest, batch, ...options });
  const collect = (count: number) => forward(count, { toLayer: deepest, logits: 0 });
  const size = { rows: prompts, width, features };
  const sized = sections.map((section): Sized => {
    const fromLayer = section.sites.reduce((least, { layer }) => Math.min(least, layer), shape.layers);
    const positions = section.sites.reduce((most, { position }) => Math.max(most, spanOf(sample, position)), 1);
    const of = (count: number) => runCost(shape, { prompts: count, positions, fromLayer, batch });
    return { section, run: of(prompts), selectionRun: of(selectionPrompts) };
  });
  // Agnostic and towards reconstructions with every k, by interpretations with the even ones, by weights once.
  const methods = 2 * ks.length + ks.filter((k) => k % 2 === 0).length + 1;
  const tests = total([
    forward(prompts), times(edits.size, forward(selectionPrompts)), times(edits.size, collect(prompts + selectionPrompts)), collect(prompts), collect(interpreted),
    ...sized.map(({ section, run }) => total([
      times(1 + 2 * (supervised + perSite), run),
      times(section.edits.length * (1 + supervised + settings.variants.length * methods), run),
      times(section.sites.length * section.edits.length * (perSite * methods), greedyCost({ ...size, rows: selectionPrompts }, Math.max(...ks))),
      times(section.sites.length * section.edits.length * settings.variants.length * methods, greedyCost(size, Math.max(...ks))),
      times(section.sites.length * perSite, codesCost({ ...size, rows: interpreted }, 1)),
    ])),
  ]);
  const everySite = (cost: Cost) => times(sites.length * perSite, cost);
  const { occlusion, overSplitting, toys } = settings;
  return {
    sections: known ? NOTHING : times(4 * task.attributes.length * task.positions.length, runCost(shape, { prompts: 32 * shape.heads, positions: longest / 2, fromLayer: shape.layers / 2, batch })),
    saes: total([collect(interpreted), trainingCost({ rows: trainPrompts, width, features }, sites.length * perSite, sites.length, settings.training.batch ?? 128, settings.training.epochs ?? 60)]),
    tests,
    recovered: total([forward(selectionPrompts), ...sized.map(({ section, selectionRun }) => times(section.sites.length * (2 + perSite), selectionRun))]),
    interpretability: total([collect(interpreted), everySite(codesCost({ rows: interpreted, width, features }, 1))]),
    causal: times(settings.variants.length * settings.thresholds.length, total(sized.map(({ section, run }) => times((2 + 2 * section.edits.length) * Math.min(1, settings.closePrompts / prompts), run)))),
    geometry: everySite(codesCost({ rows: values, width, features }, 1)),
    parametrizations: times(sites.length * supervised, codesCost({ rows: prompts, width, features: values })),
    proxies: total([times(1 + edits.size, collect(selectionPrompts)), times(settings.snapshotEpochs.length, everySite(greedyCost({ rows: selectionPrompts, width, features }, 2)))]),
    probing: total([times(edits.size, collect(prompts)), times(sites.length * 120, codesCost({ rows: trainPrompts, width, features: values }))]),
    mechanism: total([collect(trainPrompts), times(4, collect(settings.closePrompts))]),
    metrics: times((settings.sizes === 'reduced' ? 2 : sites.length) * settings.variants.length * 3, forward(settings.metricPrompts, { logits: longest })),
    occlusion: total([collect(occlusion.examples + interpreted), trainingCost({ rows: occlusion.examples, width, features: Math.max(...occlusion.features) }, occlusion.features.length * occlusion.lambdas.length + occlusion.alphas.length, 1, 128, occlusion.epochs)]),
    'over-splitting': total([collect(3 * trainPrompts), trainingCost({ rows: trainPrompts, width, features }, overSplitting.seeds + 1, 2, 128, overSplitting.epochs)]),
    'over-splitting-toy': { operations: toys.seeds * toys.idealSamples * (2000 * 12 + 2 * 100 * 1000 + 100 * 60 * 100), bytes: toys.seeds * toys.idealSamples * 100 * 8, dispatches: 4000, peak: 2 ** 26 },
    'occlusion-toy': trainingCost({ rows: toys.occlusionFull ? 20_000 : 4096, width: 64, features: toys.occlusionFull ? 1200 : 192 }, toys.occlusionFull ? 108 : 12, 1, toys.occlusionFull ? 512 : 64, toys.occlusionFull ? 1000 : 20),
  };
}
