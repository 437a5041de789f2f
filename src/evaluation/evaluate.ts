/**
 * A whole evaluation: prompts, sites, dictionaries, the three tests, one typed record of results. Browser-neutral; whatever the command line
 * does, a page can do. The same options and seed on the same adapter give the same numbers byte for byte, but for `environment.times`.
 */
import type { FeatureEdit, Sae } from '../dictionary/index.ts';
import { UsageError } from '../errors.ts';
import type { Gpt2 } from '../model/index.ts';
import { type ActivationPlace, checkSite, collectActivations, type CrossSection, distinctSites, formatPlace, formatSite, type Prompts, batchFor, type SiteAddress } from '../task/index.ts';
import type { Tensor } from '../tensor/index.ts';
import { trainDefaults } from '../training/index.ts';
import { approximationRows } from './approximation.ts';
import { Catalogue, examplesFrom, placesOf, type EditedSection } from './catalogue.ts';
import { choose } from './choice.ts';
import { controlRows } from './control.ts';
import { BUILT_IN, checkLoaded, describe, disposeServed, fitSupervised, serveLoaded, trainVanilla, type Fitting, type LoadedDictionary, type SaePlan, type Served } from './dictionaries.ts';
import { agreement, DENOMINATOR_GUARD, deviation, mean, positiveShare } from './formulas.ts';
import { interpretabilityRow, TEXT_UNION_LIMIT, UNION_LIMIT } from './interpretability.ts';
import { Interpreter } from './interpreter.ts';
import { editsOf, FEATURE_EDITS, type EditPlan } from './methods.ts';
import { addRankings, editedAttributes } from './rankings.ts';
import { RESULTS_SCHEMA, type InterpretabilityRow, type Results, type SiteRow } from './results.ts';
import { scorePrompts, selectionDistances, type Scoring } from './scoring.ts';
import { reaches } from './serving.ts';
import { findSections, givenSections, type DiscoveryOptions } from './select-sections.ts';
import { sampleEdited, seedsOf, withEveryValue, type EvaluationTask } from './task.ts';

export interface EvaluationOptions {
  /** Prompts that are scored. */
  prompts: number;
  /** Prompts on which SAEs are chosen per site, apart from those that are scored. */
  selectionPrompts: number;
  /** Prompts that dictionaries are fitted on. */
  trainPrompts: number;
  seed: number;
  /** Which of BUILT_IN to make. */
  dictionaries: readonly string[];
  /** Dictionaries from elsewhere; they stay the caller's. */
  loaded: readonly LoadedDictionary[];
  /** Cross-sections to use; found by patching when null. */
  crossSections: readonly CrossSection[] | null;
  /** Where given cross-sections come from. */
  origin: 'published' | 'given';
  /** Numbers of features that SAE edits may change. */
  ks: readonly number[];
  /** Ways of choosing those features. */
  methods: readonly FeatureEdit[];
  /** Prompts in one patched run; by default as many as a modest amount of memory holds. */
  batch: number | null;
  discovery: DiscoveryOptions;
  sae: SaePlan;
  /** Written into the results: versions of this program and of what it runs on, and where loaded dictionaries came from. */
  versions: Record<string, string>;
  saePaths: readonly string[];
}

export interface Watching {
  signal?: AbortSignal;
  /** `done` of `total` steps of a phase, with a few words on its state. */
  onProgress?: (phase: string, done: number, total: number, note?: string) => void;
  /** The SAEs that the evaluation trained, before they are judged; they stay its own and are freed with it. */
  onTrained?: (trained: readonly TrainedSae[]) => void | Promise<void>;
}

/** An SAE that an evaluation trained, by its name in the results. */
export interface TrainedSae { site: SiteAddress; name: string; sae: Sae }

/** What an evaluation does unless told otherwise: sized for a small model on a software driver. */
export const evaluationDefaults: EvaluationOptions = {
  prompts: 300,
  selectionPrompts: 100,
  trainPrompts: 3000,
  seed: 0,
  dictionaries: BUILT_IN,
  loaded: [],
  crossSections: null,
  origin: 'given',
  ks: [2, 4, 8, 16],
  methods: ['agnostic'],
  batch: null,
  discovery: { prompts: 32, threshold: 0.2, strong: 0.6, sections: 5 },
  sae: { lambdas: [0.5, 2], features: trainDefaults.features, epochs: 40 },
  versions: {},
  saePaths: [],
};

/** Runs an evaluation. Throws UsageError for options that do not fit the model or each other, before any work is done. */
export async function evaluate(model: Gpt2, task: EvaluationTask, given: Partial<EvaluationOptions> = {}, watching: Watching = {}): Promise<Results> {
  const options: EvaluationOptions = { ...evaluationDefaults, ...given };
  checkOptions(model, options);
  const evaluation = new Evaluation(model, task, options, watching);
  try {
    return await evaluation.run();
  } finally {
    evaluation.dispose();
  }
}

function checkOptions(model: Gpt2, options: EvaluationOptions): void {
  for (const [name, least] of [['prompts', 1], ['selectionPrompts', 1], ['trainPrompts', 2], ['seed', 0]] as const) {
    if (!Number.isSafeInteger(options[name]) || options[name] < least) throw new UsageError(`${name} is ${options[name]}, not a whole number of at least ${least}`);
  }
  for (const name of options.dictionaries) {
    if (!(BUILT_IN as readonly string[]).includes(name)) throw new UsageError(`unknown dictionary "${name}"; there are ${BUILT_IN.join(', ')}`);
  }
  if (options.dictionaries.length + options.loaded.length === 0) throw new UsageError('there is no dictionary to evaluate');
  for (const k of options.ks) if (!Number.isInteger(k) || k < 1) throw new UsageError(`an edit cannot change ${k} features`);
  for (const method of options.methods) {
    if (!FEATURE_EDITS.includes(method)) throw new UsageError(`unknown method "${method}" of choosing features; there are ${FEATURE_EDITS.join(', ')}`);
  }
  const names = new Set<string>();
  for (const { name, sites } of options.crossSections ?? []) {
    if (names.has(name)) throw new UsageError(`two cross-sections are called "${name}"`);
    names.add(name);
    for (const site of sites) checkSite(site, model.config);
  }
  for (const { site } of options.loaded) if (site) checkSite(site, model.config);
  checkLoaded(model, options.loaded, options.dictionaries, options.sae.lambdas);
}

class Evaluation {
  private readonly model: Gpt2;
  private readonly task: EvaluationTask;
  private readonly options: EvaluationOptions;
  private readonly watching: Watching;
  private readonly catalogue = new Catalogue();
  private readonly held: Tensor[] = [];
  private served: Served[] = [];
  private readonly phases: { name: string; seconds: number }[] = [];

  constructor(model: Gpt2, task: EvaluationTask, options: EvaluationOptions, watching: Watching) {
    this.model = model;
    this.task = task;
    this.options = options;
    this.watching = watching;
  }

  async run(): Promise<Results> {
    const { model, task, options, catalogue } = this;
    const startedAt = new Date().toISOString();
    const start = performance.now();
    const seeds = seedsOf(options.seed);
    const training = task.training(options.trainPrompts, seeds.training);
    const interpreted = withEveryValue(task, training, seeds.interpretability);

    const { ranking, sections } = await this.phase('sites', (progress) => this.sections(progress));
    const sites = distinctSites(sections.flatMap((section) => section.sites));
    this.served = await serveLoaded(model, options.loaded, sites);
    const places = placesOf(sites, (site) => this.served.filter((one) => formatSite(one.site) === formatSite(site)).map(({ entry }) => entry.dictionary));
    const collect = (prompts: Prompts, name: string) => this.phase(name, (progress) => this.activations(prompts, places, progress));
    const interpretedActivations = await collect(interpreted, 'training activations');
    const trainingActivations = new Map([...interpretedActivations].map(([site, all]) => [site, all.rows(0, training.count)]));
    this.held.push(...trainingActivations.values());
    await this.phase('supervised codes', async () => {
      fitSupervised(catalogue, training, sites, trainingActivations, options.dictionaries.includes('supervised'));
      await model.gpu.idle();
    });
    if (options.dictionaries.includes('vanilla')) {
      await this.phase('SAE training', (progress) => trainVanilla(model, catalogue, sites, trainingActivations, this.fitting(progress)));
      await this.watching.onTrained?.(sites.flatMap((site) => catalogue.at(site).filter(({ source }) => source === 'trained').map(({ name, dictionary }) => ({ site, name, sae: dictionary as Sae }))));
    }
    for (const { site, entry } of this.served) catalogue.add(site, entry);
    if (options.methods.includes('aware')) {
      await this.phase('rankings', () => addRankings(model.gpu, catalogue, sites, { prompts: interpreted, activations: interpretedActivations }, { attributesAt: editedAttributes(sections), signal: this.watching.signal }));
    }

    const edits = editsOf(sections);
    const scored = sampleEdited(task, options.prompts, seeds.evaluation, seeds.counterfactual, edits);
    const selection = sampleEdited(task, options.selectionPrompts, seeds.selection, seeds.counterfactual, edits);
    const plan: EditPlan = { ks: options.ks, ways: options.methods };
    const batch = options.batch ?? batchFor(model, scored.prompts);
    const scoring: Scoring = { model, catalogue, sections, edits, plan, batch, signal: this.watching.signal };
    const choice = choose(
      await this.phase('choice of SAEs', (progress) => selectionDistances(scoring, selection, progress)), catalogue, sections, plan,
    );
    const measured = await this.phase('patched runs', (progress) => scorePrompts(scoring, scored, choice, progress));
    const scoredActivations = await collect(scored.prompts, 'scored activations');
    const described = await describe(catalogue, scored.prompts, sites, scoredActivations);
    const interpretability = await this.phase('interpretation', (progress) => this.interpret(interpreted, sites, interpretedActivations, progress));

    const clean = measured.get('clean LD');
    const predictions = measured.get('clean prediction');
    return {
      schema: RESULTS_SCHEMA,
      model: {
        name: model.name, hash: model.hash, origin: model.origin, layers: model.config.layers, heads: model.config.heads, width: model.config.width,
        headWidth: model.config.headWidth, vocabulary: model.config.vocabulary, processing: { ...model.processing }, weights: model.weightType,
      },
      task: {
        name: task.name, prompts: scored.prompts.count, selectionPrompts: selection.prompts.count, trainPrompts: training.count,
        interpretabilityPrompts: interpreted.count,
        attributes: Object.entries(training.attributes).map(([name, { values }]) => ({ name, values: values.length })),
        positions: Object.keys(training.positions), lexicon: task.record(), exampleText: scored.prompts.texts[0]!,
        accuracy: agreement(predictions, scored.prompts.correct),
        logitDiff: { mean: mean(clean), deviation: deviation(clean), positive: positiveShare(clean) },
      },
      sites: ranking,
      crossSections: sections.map(({ name, sites: own, edits: sets, origin, effects }) => ({ name, origin, sites: own.map(formatSite), edits: sets, effects })),
      dictionaries: described.dictionaries,
      tests: {
        approximation: approximationRows(measured, catalogue, sections),
        control: controlRows(measured, choice, catalogue, sections, plan),
        interpretability,
        weights: described.weights,
      },
      config: this.config(batch),
      environment: {
        adapter: { ...this.adapter(), software: model.gpu.software },
        tuned: model.gpu.tuning.used,
        versions: options.versions,
        seed: options.seed,
        times: { startedAt, totalSeconds: (performance.now() - start) / 1000, phases: this.phases, peakGpuBytes: model.gpu.memory().peak },
      },
    };
  }

  dispose(): void {
    for (const tensor of this.held) tensor.dispose();
    disposeServed(this.served);
    this.catalogue.dispose();
  }

  /** Runs one phase, timed, with progress under its name. */
  private async phase<T>(name: string, work: (progress: (done: number, total: number, note?: string) => void) => Promise<T>): Promise<T> {
    this.watching.signal?.throwIfAborted();
    const start = performance.now();
    const result = await work((done, total, note) => this.watching.onProgress?.(name, done, total, note));
    this.phases.push({ name, seconds: (performance.now() - start) / 1000 });
    return result;
  }

  private sections(progress: (done: number, total: number) => void): Promise<{ ranking: SiteRow[]; sections: EditedSection[] }> {
    const { model, task, options, watching } = this;
    if (options.crossSections) return Promise.resolve(givenSections(options.crossSections, options.origin, task));
    return findSections(model, task, { ...options.discovery, seed: options.seed, extra: options.loaded.map(({ site, reads }) => site ?? ((one: SiteAddress) => reaches(reads!, one))) }, { ...watching, onProgress: progress });
  }

  private async activations(prompts: Prompts, places: readonly ActivationPlace[], progress: (done: number, total: number) => void): Promise<Map<string, Tensor>> {
    const { signal } = this.watching;
    const tensors = await collectActivations(this.model, prompts, places, { onProgress: (done) => progress(done, prompts.count), signal });
    this.held.push(...tensors);
    return new Map(places.map((place, i) => [formatPlace(place), tensors[i]!]));
  }

  private fitting(progress: (done: number, total: number, note: string) => void): Fitting {
    const { dictionaries, loaded, sae, seed } = this.options;
    return { dictionaries, loaded, sae, seed, signal: this.watching.signal, onTraining: progress };
  }

  private async interpret(prompts: Prompts, sites: readonly SiteAddress[], activations: ReadonlyMap<string, Tensor>, progress: (done: number, total: number) => void): Promise<InterpretabilityRow[]> {
    const { gpu } = this.model;
    const rows: InterpretabilityRow[] = [];
    // One for each limit on unions, made when it is needed.
    const interpreters = new Map<number, Interpreter>();
    const limited = (unionLimit: number): Interpreter => interpreters.get(unionLimit) ?? interpreters.set(unionLimit, new Interpreter(gpu, prompts, { unionLimit })).get(unionLimit)!;
    try {
      for (const [index, site] of sites.entries()) {
        this.watching.signal?.throwIfAborted();
        for (const { name, dictionary, trainedOn, filter } of this.catalogue.at(site)) {
          const unionLimit = trainedOn === 'text' ? TEXT_UNION_LIMIT : UNION_LIMIT;
          const codes = dictionary.encode(examplesFrom(activations, site, prompts));
          const { counts, interpretations } = await limited(unionLimit).interpret(codes, site.position);
          codes.dispose();
          const row = interpretabilityRow({ site: formatSite(site), dictionary: name }, counts, interpretations, prompts.count);
          rows.push({
            ...row, best: row.best.map((one) => ({ ...one, feature: filter ? filter.kept[one.feature]! : one.feature })), ...(unionLimit === UNION_LIMIT ? {} : { unionLimit }),
          });
        }
        progress(index + 1, sites.length);
      }
    } finally {
      for (const interpreter of interpreters.values()) interpreter.dispose();
    }
    return rows;
  }

  private config(batch: number): Results['config'] {
    const { prompts, selectionPrompts, trainPrompts, seed, dictionaries, saePaths, ks, methods, crossSections, discovery, sae } = this.options;
    return {
      prompts, selectionPrompts, trainPrompts, seed, dictionaries: [...dictionaries], saePaths: [...saePaths], ks: [...ks], methods: [...methods], batch,
      discovery: crossSections ? null : {
        prompts: discovery.prompts, threshold: discovery.threshold,
        counterfactuals: 'one attribute at a time; the effect of a site is the largest over attributes',
      },
      sae: dictionaries.includes('vanilla') ? { ...trainDefaults, ...sae, seed } : null,
      denominatorGuard: DENOMINATOR_GUARD,
    };
  }

  private adapter(): { vendor: string; architecture: string; device: string; description: string } {
    const { vendor, architecture, device, description } = this.model.gpu.info;
    return { vendor, architecture, device, description };
  }
}
