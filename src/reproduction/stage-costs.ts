/** What each stage of a reproduction takes, from sizes alone: the runs of the model and the work of dictionaries that the stages (stages-*.ts) do. */
import { editName, type EditedSection, type EvaluationTask } from '../evaluation/index.ts';
import type { Gpt2 } from '../model/index.ts';
import { distinctSites, promptsPerRun, type Prompts, type SiteAddress } from '../task/index.ts';
import { codesCost, greedyCost, launches, NOTHING, runCost, times, total, trainingCost, type Cost, type ModelShape } from './cost.ts';
import { parametrizationsFor } from './lab.ts';
import type { Settings } from './settings.ts';
import { DISCOVERY } from './stages-core.ts';
import { attendingHeads } from './stages-study.ts';

/** What the costs of stages are made of. */
export interface Sizes {
  shape: ModelShape;
  settings: Settings;
  sections: readonly EditedSection[];
  sites: readonly SiteAddress[];
  /** Sets of attributes that are edited. */
  edits: number;
  /** SAEs at a site, of the last epoch; supervised dictionaries at a site. */
  saes: number;
  supervised: number;
  /** Prompts that features are interpreted on. */
  interpreted: number;
  /** Values of all attributes, and how many attributes and positions the task has. */
  values: number;
  attributes: number;
  positions: readonly string[];
  width: number;
  features: number;
  /** Mean tokens of a prompt. */
  length: number;
  /** Clean runs of so many prompts as far as the sites' activations, and to the logits. */
  collect(prompts: number, sites?: readonly SiteAddress[]): Cost;
  forward(prompts: number, logits?: number): Cost;
  /** One run of so many prompts with these sites patched. */
  patched(prompts: number, sites: readonly SiteAddress[], logits?: number): Cost;
}

/** Ways of swapping supervised codes that are tried: arithmetic and two ablations. */
const CODE_EDITS = 3;
/** Share of the sites that a counterfactual reaches at all: the others are not patched. */
const PROBED = 0.5;

/** On a software driver prompts that are patched often go in small batches of like lengths (evaluation/patching.ts). */
const PATCHED_BATCH = 32;

export function sizesOf(model: Gpt2, task: EvaluationTask, settings: Settings, sections: readonly EditedSection[]): Sizes {
  const shape: ModelShape = model.config;
  const sample = task.evaluation(Math.min(256, settings.prompts), 0);
  const lengths = sample.tokens.map(({ length }) => length);
  const mean = lengths.reduce((a, b) => a + b, 0) / lengths.length;
  const batch = promptsPerRun(model, Math.max(...lengths));
  const sites = distinctSites(sections.flatMap((section) => section.sites));
  const values = Object.values(sample.attributes).reduce((sum, column) => sum + column.values.length, 0);
  const last = (own: readonly SiteAddress[]) => own.reduce((most, { layer }) => Math.max(most, layer), 0);
  return {
    shape, settings, sections, sites, values, attributes: task.attributes.length, positions: task.positions,
    edits: new Set(sections.flatMap((section) => section.edits.map(editName))).size,
    saes: settings.variants.reduce((sum, { values: sparsities }) => sum + sparsities.length, 0),
    supervised: settings.codes.length * parametrizationsFor(task, settings).length,
    // The training prompts and those that show the values which they lack.
    interpreted: settings.trainPrompts + Math.max(0, values - settings.trainPrompts / 4),
    width: model.config.headWidth, features: settings.training.features ?? 256, length: mean,
    collect: (prompts, own = sites) => runCost(shape, { prompts, positions: mean, attentionOf: last(own), batch }),
    forward: (prompts, logits = 1) => runCost(shape, { prompts, positions: mean, logits, batch }),
    patched: (prompts, own, logits = 1) => runCost(shape, {
      prompts, logits, resumed: true, fromLayer: own.reduce((least, { layer }) => Math.min(least, layer), shape.layers - 1),
      positions: logits > 1 ? mean : own.reduce((most, { position }) => Math.max(most, spanOf(sample, position)), 1), batch: model.gpu.software ? Math.min(batch, PATCHED_BATCH) : batch,
    }),
  };
}

/** Mean number of positions from a semantic one to the end. */
function spanOf(prompts: Prompts, position: string): number {
  const [from, to] = [prompts.positions[position], prompts.positions['end']];
  if (!from || !to) return 1;
  return from.reduce((sum, at, i) => sum + Math.max(1, to[i]! - at + 1), 0) / Math.max(1, from.length);
}

export function stageCosts(sizes: Sizes, known: boolean): Record<string, Cost> {
  const { shape, settings, sections, sites, edits, saes, supervised, interpreted, values, width, features, length, collect, forward, patched } = sizes;
  const { selectionPrompts, trainPrompts, closePrompts } = settings;
  const variants = settings.variants.length;
  const reduced = settings.sizes === 'reduced';
  const outputs = sites.filter(({ kind }) => kind === 'z').slice(0, reduced ? 2 : undefined);
  const everySae = (cost: Cost) => times(sites.length * saes, cost);
  const close = Math.min(closePrompts, settings.prompts);
  const metered = Math.min(settings.metricPrompts, selectionPrompts);
  const answers = sections.map((section) => ({ section, edits: section.edits.filter((edit) => edit.includes('IO')).length }));
  // Thresholds that divide the features alike share their runs; half of them do not.
  const divisions = variants * Math.ceil(settings.thresholds.length / 2) + 1;
  const heads = Math.min(3, attendingHeads(sections).length);
  const { occlusion, overSplitting, toys, greaterThan } = settings;
  const wide = Math.max(...occlusion.features);
  return {
    sections: known ? NOTHING : discovery(sizes),
    saes: total([collect(interpreted), trainingCost({ rows: trainPrompts, width, features }, sites.length * saes, { sites: sites.length, batches: variants, batch: settings.training.batch ?? 128, epochs: settings.training.epochs ?? 60 })]),
    tests: total([everySae(codesCost({ rows: interpreted, width, features }, 1)), testsCost(sizes)]),
    recovered: total([forward(selectionPrompts), ...sites.map((site) => times(2 + saes, patched(selectionPrompts, [site])))]),
    interpretability: everySae(total([launches(20), codesCost({ rows: interpreted, width, features }, 1), codesCost({ rows: interpreted, width: features, features: values }, 1)])),
    causal: total([
      times(2, forward(close)), ...sections.map(({ sites: own }) => times(1 + 2 * divisions, patched(close, own))),
      ...answers.map(({ section, edits: count }) => times(count * (1 + 2 * divisions), patched(close, section.sites))),
    ]),
    features: total(outputs.map((site) => times(variants, collect(settings.featurePages.features * settings.featurePages.examples, [site])))),
    geometry: everySae(total([launches(15), codesCost({ rows: values, width, features }, 1)])),
    parametrizations: times(sites.length * supervised, codesCost({ rows: settings.prompts, width, features: values })),
    checkpoints: checkpointsCost(sizes),
    synthetic: syntheticCost(sizes),
    probing: total([times(edits, collect(settings.prompts)), times((reduced ? 4 : sites.length) * 120, codesCost({ rows: trainPrompts, width, features: values }))]),
    mechanism: heads === 0 ? NOTHING : total([collect(trainPrompts), times(2, collect(close))]),
    metrics: total(outputs.map((site) => times(variants, total([forward(metered, length), times(2, patched(metered, [site], length))])))),
    occlusion: total([collect(occlusion.examples + interpreted), trainingCost({ rows: occlusion.examples, width, features: wide }, occlusion.features.length * occlusion.lambdas.length + occlusion.alphas.length, { batches: occlusion.features.length + 1, batch: 128, epochs: occlusion.epochs })]),
    'over-splitting': total([collect(3 * trainPrompts), trainingCost({ rows: trainPrompts, width, features }, overSplitting.seeds + 1, { sites: 2, batches: 2, batch: 128, epochs: overSplitting.epochs })]),
    'over-splitting-toy': { operations: toys.seeds * toys.idealSamples * 1.5 * (2000 * 12 + 2 * 100 * 1000 + 100 * 60 * 100), bytes: toys.seeds * toys.idealSamples * 100 * 8, dispatches: 4000, peak: 2 ** 26 },
    'occlusion-toy': trainingCost({ rows: toys.occlusionFull ? 20_000 : 4096, width: 64, features: toys.occlusionFull ? 1200 : 192 }, toys.occlusionFull ? 108 : 12, { batches: 2, batch: toys.occlusionFull ? 512 : 64, epochs: toys.occlusionFull ? 1000 : 20 }),
    'greater-than': shape.vocabulary < 50257 ? NOTHING : total([
      collect(greaterThan.train), times(2, forward(greaterThan.prompts)), trainingCost({ rows: greaterThan.train, width, features }, 20 * greaterThan.lambdas.length, { sites: 20, batch: 128, epochs: greaterThan.epochs }),
      times(20 * greaterThan.lambdas.length, patched(greaterThan.prompts, [{ kind: 'z', layer: shape.layers / 2, head: 0, position: 'end' }])),
    ]),
  };
}

/** Patching of every head's queries, keys, values and outputs at every position, for every attribute. */
function discovery({ shape, positions, attributes, forward, patched }: Sizes): Cost {
  const layers = Array.from({ length: shape.layers }, (_, layer) => layer);
  return total([
    times(1 + attributes, forward(DISCOVERY.prompts)),
    ...layers.flatMap((layer) => positions.map((position) => times(4 * shape.heads * attributes * PROBED, patched(DISCOVERY.prompts, [{ kind: 'z', layer, head: 0, position }])))),
  ]);
}

/** Choice among the dictionaries of all epochs, each patched alone as well, and control by the best. */
function checkpointsCost({ settings, sections, sites, edits, saes, interpreted, width, features, collect, forward, patched }: Sizes): Cost {
  const { prompts, selectionPrompts } = settings;
  const ks = settings.sizes === 'reduced' ? 1 : settings.ks.length;
  const all = saes * settings.snapshotEpochs.length;
  return total([
    times(2 * sites.length * all, codesCost({ rows: interpreted, width, features }, 1)), forward(prompts), forward(selectionPrompts), times(edits, collect(prompts + selectionPrompts)),
    ...sites.map((site) => times(1 + all, patched(selectionPrompts, [site]))),
    ...sections.flatMap((section) => section.edits.map(() => total([
      times(section.sites.length * all * 2 * ks, greedyCost({ rows: selectionPrompts, width, features }, Math.max(...settings.ks))), times(2 + settings.variants.length * 2 * ks, patched(prompts, section.sites)),
    ]))),
  ]);
}

/** The three tests of three dictionaries a site; over-fitted ones have a feature for nearly every prompt. */
function syntheticCost({ settings, sections, edits, interpreted, width, collect, forward, patched }: Sizes): Cost {
  const close = Math.min(settings.closePrompts, settings.prompts);
  const features = Math.min(2000, interpreted) + close * (1 + edits);
  const own = settings.sizes === 'reduced' ? sections.slice(0, 2) : sections;
  return total([
    forward(close), times(2 * edits, collect(close)),
    ...own.map((section) => total([
      times(1 + 2 * 4 + section.edits.length * (2 + 3 * settings.ks.length), patched(close, section.sites)),
      times(section.sites.length, total([codesCost({ rows: Math.min(2000, interpreted), width, features }, 2), times(2 * section.edits.length * settings.ks.length, greedyCost({ rows: close, width, features }, Math.max(...settings.ks)))])),
    ])),
  ]);
}

/** Approximation and control on the scored prompts, and the choice of SAEs on others. */
function testsCost({ settings, sections, edits, saes, supervised, width, features, collect, forward, patched }: Sizes): Cost {
  const { prompts, selectionPrompts, ks } = settings;
  const most = Math.max(...ks);
  // Agnostic and towards reconstructions with every k, by interpretations with the even ones, by weights once.
  const methods = 2 * ks.length + ks.filter((k) => k % 2 === 0).length + 1;
  return total([
    forward(prompts), collect(prompts), times(edits, collect(prompts + selectionPrompts)), collect(selectionPrompts),
    ...sections.map((section) => total([
      times(1 + 2 * (supervised + saes), patched(prompts, section.sites)),
      times(section.edits.length * (1 + CODE_EDITS * supervised + settings.variants.length * methods), patched(prompts, section.sites)),
      times(section.sites.length * section.edits.length * saes * methods, greedyCost({ rows: selectionPrompts, width, features }, most)),
      times(section.sites.length * section.edits.length * settings.variants.length * methods, greedyCost({ rows: prompts, width, features }, most)),
    ])),
  ]);
}
