/**
 * What each stage of a reproduction will cost on an adapter, from sizes alone: nothing of the model is run. Where cross-sections have yet to be
 * found, a usual number of sites stands for them, and the plan says so.
 */
import type { Ceilings } from '../gpu/index.ts';
import { givenSections, type EditedSection, type EvaluationTask } from '../evaluation/index.ts';
import type { Gpt2 } from '../model/index.ts';
import { ratesOf, secondsOf, total, weightBytes, type Cost } from './cost.ts';
import type { Settings } from './settings.ts';
import { sizesOf, stageCosts } from './stage-costs.ts';
import { workshopEdits } from './stages-core.ts';

export interface StagePlan extends Cost { name: string; seconds: number }

export interface ReproductionPlan {
  stages: StagePlan[];
  /** All stages together; the peak counts the model's weights. */
  total: Cost & { seconds: number };
  notes: string[];
}

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
  const costs = stageCosts(sizesOf(model, task, settings, sections), known !== null || found !== null);
  const stages = Object.entries(costs).map(([name, cost]): StagePlan => ({ name, ...cost, seconds: secondsOf(cost, rates) }));
  const all = total(stages);
  return { stages, total: { ...all, peak: all.peak + weightBytes(config), seconds: stages.reduce((sum, { seconds }) => sum + seconds, 0) }, notes };
}

function usualSections({ layers, heads }: { layers: number; heads: number }): EditedSection[] {
  const site = (layer: number) => ({ kind: 'z' as const, layer, head: heads - 1, position: 'end' });
  return Array.from({ length: 5 }, (_, i) => ({ name: `${i}`, sites: [0, 1, 2].map((at) => site(Math.min(layers - 1, at))), edits: [['S']], origin: 'discovered' as const, effects: {} }));
}
