/** The whole of a reproduction: its stages in their order, and one record of what they found. */
import type { EvaluationTask, Watching } from '../evaluation/index.ts';
import { UsageError } from '../errors.ts';
import type { Gpt2 } from '../model/index.ts';
import type { SweepStore } from '../training/index.ts';
import { comparePublished } from './compare.ts';
import { Lab } from './lab.ts';
import { REPRODUCTION_SCHEMA, type Reproduction, type StageResults } from './results.ts';
import { RELEASED, type Settings } from './settings.ts';
import { runStages, type Stage } from './stage.ts';
import { checkpointsStage } from './stages-checkpoints.ts';
import { recoveredStage, saesStage, sectionsStage, testsStage } from './stages-core.ts';
import { greaterThanStage, occlusionStage, occlusionToyStage, overSplittingStage, overSplittingToyStage } from './stages-phenomena.ts';
import { syntheticStage } from './stages-synthetic.ts';
import { causalStage, featuresStage, geometryStage, interpretabilityStage, mechanismStage, metricsStage, parametrizationsStage, probingStage } from './stages-study.ts';

export interface ReproductionOptions {
  settings: Settings;
  /** Names of stages to run, with those that they need; all unless given. */
  only?: readonly string[];
  /** Versions of this program and of what it runs on. */
  versions: Record<string, string>;
}

/** What makes every stage, in the order in which they run. */
export const STAGE_MAKERS: readonly ((settings: Settings) => Stage<Lab>)[] = [
  sectionsStage, saesStage, testsStage, recoveredStage, interpretabilityStage, causalStage, featuresStage, geometryStage, parametrizationsStage, checkpointsStage, syntheticStage, probingStage, mechanismStage, metricsStage,
  occlusionStage, overSplittingStage, overSplittingToyStage, occlusionToyStage, greaterThanStage,
];

/** Every stage in the order in which they run. */
export function stagesOf(settings: Settings): Stage<Lab>[] {
  return STAGE_MAKERS.map((make) => make(settings));
}

/** The stages named and those that they need. Throws UsageError, with the names there are, for one that is none. */
export function chosenStages(stages: readonly Stage<Lab>[], only: readonly string[] | undefined): Stage<Lab>[] {
  if (!only) return [...stages];
  const wanted = new Set<string>();
  const add = (name: string): void => {
    const stage = stages.find((candidate) => candidate.name === name);
    if (!stage) throw new UsageError(`unknown stage "${name}"; there are ${stages.map((candidate) => candidate.name).join(', ')}`);
    wanted.add(name);
    stage.needs.forEach(add);
  };
  only.forEach(add);
  return stages.filter(({ name }) => wanted.has(name));
}

/** Runs what the store does not hold yet and gives the record of all. Stopped by the signal, it leaves finished stages and the sweep's checkpoint. */
export async function reproduce(model: Gpt2, task: EvaluationTask, store: SweepStore, { settings, only, versions }: ReproductionOptions, watching: Watching = {}): Promise<Reproduction> {
  const start = performance.now();
  const startedAt = new Date().toISOString();
  const stages = chosenStages(stagesOf(settings), only);
  const { vendor, architecture, device, description } = model.gpu.info;
  const adapter = { vendor, architecture, device, description, software: model.gpu.software };
  const { layers, heads, width, headWidth, vocabulary } = model.config;
  const basis = {
    program: versions['diffract'], model: model.hash, processing: model.processing, weights: model.weightType, task: [task.name, task.record()], adapter: description, tuned: model.gpu.tuning.used,
  };
  const lab = new Lab(model, task, settings, store);
  try {
    const records = await runStages(stages, lab, basis, store, watching);
    const found = Object.fromEntries(stagesOf(settings).map(({ name }) => [name, records.find((record) => record.name === name)?.result ?? null])) as unknown as StageResults;
    return {
      schema: REPRODUCTION_SCHEMA, preset: settings.preset, sizes: settings.sizes,
      released: settings.released.map((name) => ({ name, description: RELEASED[name]! })),
      model: { name: model.name, hash: model.hash, origin: model.origin, layers, heads, width, headWidth, vocabulary, processing: { ...model.processing }, weights: model.weightType },
      task: { name: task.name, attributes: [...task.attributes], record: task.record() },
      settings: { ...settings },
      stages: records.map(({ name, title, address, leftOut }) => ({ name, title, address, leftOut })),
      results: found, published: comparePublished(found, { ...model.config, name: model.name }, settings),
      environment: {
        adapter, tuned: model.gpu.tuning.used, versions,
        times: {
          startedAt, totalSeconds: (performance.now() - start) / 1000, peakGpuBytes: model.gpu.memory().peak,
          stages: records.map(({ name, seconds, reused }) => ({ name, seconds, reused })),
        },
      },
    };
  } finally {
    lab.dispose();
  }
}
