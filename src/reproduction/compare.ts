/** Published numbers beside measured ones. A number that this model or these settings cannot give is left out with the reason. */
import * as z from 'zod';
import { mean, quantile } from '../evaluation/index.ts';
import { formatSite, isGpt2SmallShape, type ModelShape } from '../task/index.ts';
import { isFaultyRanking, PUBLISHED_COSINES, PUBLISHED_EDITS, PUBLISHED_GATED_TRAINING, PUBLISHED_NUMBERS, PUBLISHED_TRAJECTORY, type Source } from './published.ts';
import type { PublishedRow, StageResults } from './results.ts';
import type { Settings } from './settings.ts';

const NOT_RUN = 'its stage was not run';

/** What training logs of an SAE, as far as numbers of it are published. */
const trained = z.object({ l0: z.number(), mse: z.number(), dead_fraction: z.number() });

type Measured = { value: number | null | undefined; reason?: string } | { reason: string };

/** All rows in the order of the paper's tests, the toys last. */
export function comparePublished(results: StageResults, model: ModelShape & { name: string }, settings: Settings): PublishedRow[] {
  const small = isGpt2SmallShape(model);
  const elsewhere = `published for GPT-2 Small; this is ${model.name}`;
  const row = (what: string, value: number, tolerance: number | null, source: Source, measure: () => Measured): PublishedRow => {
    const found = small ? measure() : { reason: elsewhere };
    const measured = 'value' in found && typeof found.value === 'number' && Number.isFinite(found.value) ? found.value : null;
    return {
      what, published: value, tolerance, source, measured, within: measured === null || tolerance === null ? null : Math.abs(measured - value) <= tolerance,
      reason: found.reason ?? (measured === null ? 'this run has no such number' : null),
    };
  };
  /** A bound from below that holds for any model, because it speaks of a toy. */
  const toy = (what: string, bound: number, measured: number | null): PublishedRow => ({
    what: `${what}, at least`, published: bound, tolerance: null, source: 'paper', measured, within: measured === null ? null : measured >= bound, reason: measured === null ? NOT_RUN : null,
  });
  const n = PUBLISHED_NUMBERS;
  const { lambda: along, epochs, places } = PUBLISHED_TRAJECTORY;
  const single = (what: string, key: keyof typeof n, measure: () => Measured) => row(what, n[key].value, n[key].tolerance, n[key].source, measure);
  const weights = (variant: 'supervised' | 'vanilla', field: 'negative' | 'meanNegative'): Measured => {
    const rows = (results.tests?.weights ?? []).filter(({ dictionary }) => (variant === 'supervised' ? dictionary === 'supervised' : dictionary.startsWith('vanilla')));
    return { value: mean(rows.flatMap((own) => own[field] ?? [])) };
  };
  /** Medians over sites of what training said of gated SAEs: of one epoch, or of the last. */
  const gated = (what: string, lambda: number, epoch: number | null, at: (site: string) => boolean, published: { l0?: number; l2: number; dead: number }): PublishedRow[] => {
    const entries = (results.saes?.entries ?? []).filter((own) => own.variant === 'gated' && own.sparsity === lambda && at(own.site) && (epoch === null ? own.finished : own.epoch === epoch));
    const measure = (figure: 'l0' | 'mse' | 'dead_fraction') => (): Measured => ({
      value: median(entries.flatMap(({ figures }) => trained.parse(figures)[figure])), ...(results.saes ? reduced(settings) : { reason: NOT_RUN }),
    });
    return [
      ...(published.l0 === undefined ? [] : [row(`${what}: median L0 while training`, published.l0, 0.2 * published.l0, 'notebook', measure('l0'))]),
      row(`${what}: median squared error, inputs of mean norm 8`, published.l2, 0.25 * published.l2, 'notebook', measure('mse')),
      row(`${what}: median share of dead features`, published.dead, null, 'notebook', measure('dead_fraction')),
    ];
  };
  return [
    single('accuracy on indirect objects', 'accuracy', () => ({ value: results.tests?.task.accuracy })),
    single('mean logit difference', 'logitDiff', () => ({ value: results.tests?.task.logitDiff })),
    single('share of prompts with a positive logit difference', 'positive', () => ({ value: results.tests?.task.positive })),
    single('supervised weights that are negative, share', 'supervisedNegativeWeights', () => weights('supervised', 'negative')),
    single('mean of the negative supervised weights', 'supervisedMeanNegative', () => weights('supervised', 'meanNegative')),
    single('vanilla SAE weights that are negative, share', 'saeNegativeWeights', () => weights('vanilla', 'negative')),
    single('mean of the negative vanilla SAE weights', 'saeMeanNegative', () => weights('vanilla', 'meanNegative')),
    ...PUBLISHED_EDITS.flatMap((edit): PublishedRow[] => {
      const [way, pooled] = [edit.method === 'aware' ? ' by interpretations' : '', edit.pool === 'overall' ? ', best checkpoint' : ''];
      const what = `edit of ${edit.attribute} in ${edit.crossSection}, ${edit.variant}${way}, k = ${edit.k}${pooled}`;
      const found = (field: 'accuracy' | 'weightRemoved') => (): Measured => {
        const pool = edit.pool === 'overall' ? results.checkpoints : results.tests;
        if (!pool) return { reason: NOT_RUN };
        if (edit.variant !== 'supervised' && !settings.variants.some(({ variant }) => variant === edit.variant)) return { reason: `this run has no ${edit.variant} SAEs` };
        const against = reduced(settings).reason ?? (isFaultyRanking(edit) && !settings.released.includes('f1-eval-prompts') ? 'the published ranking never saw the new names; this one did' : undefined);
        const own = pool.control.find((candidate) => candidate.crossSection === edit.crossSection && candidate.attribute === edit.attribute && candidate.k === edit.k
          && candidate.dictionary === (edit.method === 'aware' ? `${edit.variant}, aware` : edit.variant));
        return { value: own?.[field], ...(against ? { reason: against } : {}) };
      };
      return [
        row(`${what}: accuracy`, edit.accuracy, edit.accuracyTolerance, edit.source, found('accuracy')),
        ...(edit.weight === null ? [] : [row(`${what}: weight removed`, edit.weight, edit.weightTolerance, edit.source, found('weightRemoved'))]),
      ];
    }),
    ...PUBLISHED_GATED_TRAINING.flatMap(({ lambda, l0, recovered }): PublishedRow[] => [
      row(`gated SAEs with λ = ${lambda}: median L0 over sites`, l0, 0.2 * l0, 'notebook', () => ({
        value: median((results.tests?.dictionaries ?? []).filter((own) => own.variant === 'gated' && own.lambda === lambda).map((own) => own.l0)), ...reduced(settings),
      })),
      row(`gated SAEs with λ = ${lambda}: median logit difference recovered`, recovered, 0.05, 'notebook', () => ({
        value: median((results.recovered?.rows ?? []).filter((own) => own.dictionary === `gated λ=${lambda}`).flatMap((own) => own.recovered ?? [])), ...reduced(settings),
      })),
    ]),
    ...PUBLISHED_GATED_TRAINING.flatMap(({ lambda, l2, dead }) => gated(`gated SAEs with λ = ${lambda}`, lambda, null, () => true, { l2, dead })),
    ...epochs.flatMap(({ epoch, l0, l2, dead }) => gated(`gated SAEs with λ = ${along} after epoch ${epoch}`, along, epoch, () => true, { l0, l2, dead })),
    ...places.flatMap(({ crossSection, kind, l0, l2, dead }) => {
      const sites = new Set(results.sections?.sections.find(({ name }) => name === crossSection)?.sites.filter((site) => site.kind === kind).map(formatSite));
      return gated(`gated SAEs with λ = ${along} of ${kind} in ${crossSection}`, along, null, (site) => sites.has(site), { l0, l2, dead });
    }),
    ...Object.entries(PUBLISHED_COSINES).map(([site, value]) => row(`mean largest cosine of top-k features with IO codes at ${site}`, value, 0.1, 'notebook', () => ({
      value: results.geometry?.rows.find((own) => own.site === site && own.dictionary === 'topk K=3' && own.attribute === 'IO')?.meanMaxProduct, ...reduced(settings),
    }))),
    single('rank correlation of L0 with the distance of IO edits, gated', 'proxyIo', () => proxy(results, 'IO')),
    single('rank correlation of L0 with the distance of Pos edits, gated', 'proxyPos', () => proxy(results, 'Pos')),
    single('IO names with a feature of F1 ≥ 0.5 at the query of 10.0', 'occlusionIo', () => ({ value: covered(results, 'IO'), ...reduced(settings) })),
    single('S names with such a feature, at most', 'occlusionS', () => ({ value: covered(results, 'S'), ...reduced(settings) })),
    single('features that Pos is split into at the query of 10.0, at least', 'overSplittingPos', () => ({ value: split(results), ...reduced(settings) })),
    ...([[0, 'greaterThan0'], [2, 'greaterThan2'], [4, 'greaterThan4']] as const).map(([k, key]) => single(`greater-than, vanilla SAEs, k = ${k}: accuracy`, key, () => {
      const rows = results['greater-than']?.control.filter(({ dictionary }) => dictionary === 'vanilla') ?? [];
      return { value: k === 0 ? rows[0]?.accuracyNoEdit : rows.find((own) => own.k === k)?.accuracy, ...reduced(settings) };
    })),
    toy('toy of over-splitting: λ up to which random features beat ideal ones', 7, randomBeatsIdeal(results)),
    toy('toy of over-splitting: worst cosine of two trained features with ±μ for λ from 1 to 3', 0.95, worstCosine(results)),
    toy('toy of occlusion: share of runs that cover long features at least as well as short ones', 0.9, results['occlusion-toy']?.highAtLeastLow ?? null),
  ];
}

/** The largest λ of the grid up to which every one has the random family ahead; -1 if the first has not. */
function randomBeatsIdeal(results: StageResults): number | null {
  const rows = results['over-splitting-toy']?.families.rows;
  if (!rows) return null;
  let last = -1;
  for (const { lambda, idealGain, randomGain } of rows) {
    if (randomGain <= idealGain) break;
    last = lambda;
  }
  return last;
}

function worstCosine(results: StageResults): number | null {
  const rows = results['over-splitting-toy']?.twoFeatures.filter(({ lambda }) => lambda >= 1 && lambda <= 3);
  return rows && rows.length > 0 ? Math.min(...rows.map(({ cosine }) => cosine ?? -1)) : null;
}

function reduced({ sizes }: Settings): { reason?: string } {
  return sizes === 'paper' ? {} : { reason: 'the sizes are reduced' };
}

function proxy(results: StageResults, attribute: string): Measured {
  return { value: median((results.checkpoints?.correlations ?? []).filter((row) => row.variant === 'gated' && row.attribute === attribute).flatMap(({ l0 }) => l0 ?? [])) };
}

function covered(results: StageResults, attribute: string): number | null {
  const counts = (results.occlusion?.sweep ?? []).flatMap((row) => row.coverage[attribute]?.count ?? []);
  return counts.length > 0 ? Math.max(...counts) : null;
}

function split(results: StageResults): number | null {
  const counts = (results['over-splitting']?.dictionaries ?? []).map(({ splits }) => splits.reduce((sum, { features }) => sum + features, 0));
  return counts.length > 0 ? Math.max(...counts) : null;
}

function median(values: readonly number[]): number | null {
  return quantile(values, 0.5);
}
