/** The dictionaries of an evaluation: mean codes fitted, SAEs trained or taken as they are, one set per site; and what each is like. */
import { type Dictionary, SupervisedCodes } from '../dictionary/index.ts';
import { ShapeError, UsageError } from '../errors.ts';
import type { Gpt2 } from '../model/index.ts';
import { formatSite, hookOf, trainedOn, type Prompts, type SiteAddress } from '../task/index.ts';
import { activeMask, meanColumns, sub, sumRows, sumSquaresRows, type Tensor } from '../tensor/index.ts';
import { trainSaes, type LogRecord, type SaeJob, type TrainSettings } from '../training/index.ts';
import { attributeIds, Catalogue, examplesFrom, type Entry, type FeatureFilter } from './catalogue.ts';
import { checkPath, checkServes, dictionaryAt, formatReading, PATH_NOTES, reaches, type Reading } from './serving.ts';
import { mean, weightStatistics } from './formulas.ts';
import type { CurvePoint, DictionaryRow, WeightRow } from './results.ts';

/** Dictionaries that an evaluation can make itself. */
export const BUILT_IN = ['supervised', 'vanilla'] as const;
/** Prompts whose weights go into the statistics of weights. */
const WEIGHT_PROMPTS = 256;
const CURVE_POINTS = 100;
/** Weights of a reconstruction's features may add up to this much more or less than 1. */
const SUM_TOLERANCE = 0.05;

/** How SAEs are trained: one per site and λ, all in one batch. */
export interface SaePlan extends Partial<Omit<TrainSettings, 'seed'>> {
  lambdas: readonly number[];
}

/** A dictionary from elsewhere. */
export interface LoadedDictionary {
  /** The site it was made for, or is to serve alone; null for one that serves every site that what it reads reaches (serving.ts). */
  site: SiteAddress | null;
  /** What it reads, where that is not just the activations of its site; needed where there is no site. */
  reads?: Reading;
  /** name in the results, beginning with the variant */
  name: string;
  variant: string;
  lambda: number | null;
  scale: number | null;
  dictionary: Dictionary;
  /** Where its examples came from, as far as known: prompts of a task, or text. */
  trainedOn?: 'task' | 'text';
  /** Those of its features that were kept, and by which frequency: of a dictionary without the rest. */
  filter?: FeatureFilter;
}

export interface Fitting {
  dictionaries: readonly string[];
  loaded: readonly LoadedDictionary[];
  sae: SaePlan;
  seed: number;
  signal?: AbortSignal;
  onTraining?: ((done: number, total: number, note: string) => void);
}

/** Mean codes and mean activations of every site. `activations` are those of `training`, per site. */
export function fitSupervised(catalogue: Catalogue, training: Prompts, sites: readonly SiteAddress[], activations: ReadonlyMap<string, Tensor>, include: boolean): void {
  const attributes = Object.entries(training.attributes).map(([name, { values }]) => ({ name, values: values.length }));
  for (const site of sites) {
    const own = activations.get(formatSite(site))!;
    catalogue.setMean(site, own.gpu.scope(() => meanColumns(own).reshape([1, -1])));
    if (!include) continue;
    const dictionary = SupervisedCodes.fit({ activations: own, attributes: attributeIds(training) }, { spaces: attributes });
    catalogue.add(site, { name: 'supervised', variant: 'supervised', dictionary, source: 'fitted', lambda: null, scale: null, curve: [] });
  }
}

/** Trains one vanilla SAE per site and λ, all together, and adds them. Returns the settings as they were used. */
export async function trainVanilla(
  model: Gpt2, catalogue: Catalogue, sites: readonly SiteAddress[], activations: ReadonlyMap<string, Tensor>, fitting: Fitting,
): Promise<void> {
  const { lambdas, ...settings } = fitting.sae;
  if (lambdas.length === 0) throw new UsageError('SAEs are to be trained, but no sparsity weight is given');
  const jobs = sites.flatMap((site) => lambdas.map((l1): SaeJob => ({
    name: `vanilla ${formatSite(site)} λ=${l1}`, data: activations.get(formatSite(site))!, l1, seed: fitting.seed,
    metadata: trainedOn(model, site),
  })));
  const curves: CurvePoint[][] = jobs.map(() => []);
  const { saes, finished } = await trainSaes(model.gpu, jobs, {
    ...settings,
    seed: fitting.seed,
    onLog: (records) => records.forEach((record, job) => curves[job]!.push(curvePoint(record))),
    onStep: (done, total) => fitting.onTraining?.(done, total, trainingNote(curves)),
    signal: fitting.signal,
  });
  jobs.forEach((job, i) => {
    const scale = saes[i]!.metadata.activation_scale;
    catalogue.add(sites[Math.floor(i / lambdas.length)]!, {
      name: vanillaName(job.l1!), variant: 'vanilla', dictionary: saes[i]!, source: 'trained', lambda: job.l1!,
      scale: typeof scale === 'number' ? scale : null, curve: thinned(curves[i]!, CURVE_POINTS),
    });
  });
  if (!finished) fitting.signal?.throwIfAborted();
}

/** Throws ShapeError if a dictionary from elsewhere is not as wide as what it reads, UsageError if two at a site would have one name. */
export function checkLoaded(model: Gpt2, loaded: readonly LoadedDictionary[], made: readonly string[], lambdas: readonly number[]): void {
  const planned = made.flatMap((name) => (name === 'vanilla' ? lambdas.map(vanillaName) : [name]));
  const taken = new Set<string>();
  for (const { site, reads, name, dictionary } of loaded) {
    const where = site ? formatSite(site) : reads && formatReading(reads);
    if (where === undefined) throw new UsageError(`dictionary ${name} has neither a site nor a hook that it reads`);
    const { width } = reads ? model.hooks.columns(model.hooks.get(reads.hook), reads.head ?? undefined) : { width: model.config.headWidth };
    if (dictionary.dIn !== width) throw new ShapeError(`dictionary ${name} takes activations of width ${dictionary.dIn}, but ${where} of ${model.name} has width ${width}`);
    if (site && reads) checkPath(reads, site, `dictionary ${name}`);
    const key = `${where} ${name}`;
    if (taken.has(key) || planned.includes(name)) throw new UsageError(`two dictionaries at ${where} would be called ${name}`);
    taken.add(key);
  }
}

/** A dictionary from elsewhere at a site. */
export interface Served { site: SiteAddress; entry: Entry }

/**
 * Dictionaries from elsewhere at those of the sites that they serve, some of them read through a linear map of the model: these are the caller's to
 * dispose. UsageError for one that serves none of the sites, and where two at a site have one name.
 */
export async function serveLoaded(model: Gpt2, loaded: readonly LoadedDictionary[], sites: readonly SiteAddress[]): Promise<Served[]> {
  for (const { site, reads, name } of loaded) if (!site) checkServes(reads!, name, sites);
  const served: Served[] = [];
  try {
    for (const { site: only, reads: given, name, variant, lambda, scale, dictionary: own, trainedOn: on, filter } of loaded) {
      for (const site of only ? [only] : sites.filter((one) => reaches(given!, one))) {
        if (served.some(({ site: other, entry }) => formatSite(other) === formatSite(site) && entry.name === name)) throw new UsageError(`two dictionaries at ${formatSite(site)} would be called ${name}`);
        const reading = given ?? { hook: hookOf(site), head: site.head };
        const { dictionary, path } = await dictionaryAt(model, own, reading, site);
        served.push({
          site, entry: {
            name, variant, dictionary, source: 'loaded', lambda, scale, curve: [], ...(on ? { trainedOn: on } : {}), ...(filter ? { filter } : {}),
            ...(path === 'own' ? {} : { through: { hook: reading.hook, note: PATH_NOTES[path]! } }),
          },
        });
      }
    }
    return served;
  } catch (error) {
    disposeServed(served);
    throw error;
  }
}

/** Frees what `serveLoaded` made. */
export function disposeServed(served: readonly Served[]): void {
  for (const { entry: { dictionary, through } } of served) if (through) dictionary.dispose();
}

function vanillaName(l1: number): string {
  return `vanilla λ=${l1}`;
}

/** What each dictionary is like on prompts that it was not made from, and the statistics of its weights there. */
export async function describe(
  catalogue: Catalogue, prompts: Prompts, sites: readonly SiteAddress[], activations: ReadonlyMap<string, Tensor>,
): Promise<{ dictionaries: DictionaryRow[]; weights: WeightRow[] }> {
  const dictionaries: DictionaryRow[] = [];
  const weights: WeightRow[] = [];
  const few = prompts.slice(0, Math.min(WEIGHT_PROMPTS, prompts.count));
  for (const site of sites) {
    const examples = examplesFrom(activations, site, prompts);
    const own = examples.activations;
    const { gpu } = own;
    for (const { name, variant, dictionary, source, lambda, scale, curve, trainedOn: on, filter, through } of catalogue.at(site)) {
      const measured = gpu.scope(() => {
        const codes = dictionary.encode(examples);
        return {
          error: sumSquaresRows(sub(own, dictionary.decode(codes, examples))),
          spread: sumSquaresRows(sub(own, meanColumns(own))),
          active: sumRows(activeMask(codes, { signed: true })),
          contributions: dictionary.contributions(codes.rows(0, few.count)),
        };
      });
      const [error, spread, active, contributions] = await Promise.all([measured.error.read(), measured.spread.read(), measured.active.read(), measured.contributions.read()]);
      for (const tensor of Object.values(measured)) tensor.dispose();
      const total = mean(spread);
      dictionaries.push({
        name, variant, site: formatSite(site), source, features: dictionary.features, lambda, scale,
        explainedVariance: total > 0 ? 1 - mean(error) / total : null, l0: mean(active), curve,
        ...(on ? { trainedOn: on } : {}), ...(filter ? { dropped: filter.dropped, minFrequency: filter.minFrequency } : {}), ...(through ? { reads: through.hook, note: through.note } : {}),
      });
      weights.push({ site: formatSite(site), dictionary: name, ...statisticsOf(contributions, dictionary.features) });
    }
  }
  return { dictionaries, weights };
}

function statisticsOf(contributions: Float32Array, features: number): Omit<WeightRow, 'site' | 'dictionary'> {
  const active: number[] = [];
  const sums: number[] = [];
  for (let start = 0; start < contributions.length; start += features) {
    const row = contributions.subarray(start, start + features);
    if (row.some(Number.isNaN)) continue;
    sums.push(row.reduce((sum, weight) => sum + weight, 0));
    for (const weight of row) if (weight !== 0) active.push(weight);
  }
  return { weights: active.length, ...weightStatistics(active), meanSum: sums.length > 0 ? mean(sums) : null, sumsToOne: sums.length > 0 ? sums.every((sum) => Math.abs(sum - 1) <= SUM_TOLERANCE) : null };
}

function curvePoint({ step, loss, mse, l1_loss, l0, dead_fraction }: LogRecord): CurvePoint {
  return { step, loss, l2: mse, l1: l1_loss, l0, dead: dead_fraction };
}

function trainingNote(curves: readonly CurvePoint[][]): string {
  const last = curves.map((points) => points.at(-1)).filter((point) => point !== undefined);
  if (last.length === 0) return '';
  return `loss ${mean(last.map(({ loss }) => loss)).toFixed(3)}  L0 ${mean(last.map(({ l0 }) => l0)).toFixed(1)}  dead ${(100 * mean(last.map(({ dead }) => dead))).toFixed(0)}%`;
}

/** At most `most` of the points, evenly spread, the last one always among them. */
export function thinned<T>(points: readonly T[], most: number): T[] {
  if (points.length <= most) return [...points];
  return Array.from({ length: most }, (_, i) => points[Math.round(((i + 1) * points.length) / most) - 1]!);
}
