/**
 * Sparsity, error and logit difference recovered of single SAEs on prompts that are not scored: what SAEs are chosen by in arXiv 2405.08366
 * (choice.ts), and what is said to foretell how well they edit. The latter is told by rank correlations with the distance that edits leave, over
 * all λ or K and checkpoints of a variant at a site (evaluation.md §5.9).
 */
import * as z from 'zod';
import type { Gpt2 } from '../model/index.ts';
import { collectActivations, formatPlace, formatSite, type Prompts, type SiteAddress } from '../task/index.ts';
import { activeMask, sub, sumRows, sumSquaresRows } from '../tensor/index.ts';
import { examplesFrom, isSupervised, type Catalogue, type Entry } from './catalogue.ts';
import { distanceKey, TRADE_OFF, type TradeOff } from './choice.ts';
import { mean, quantile, spearman } from './formulas.ts';
import { measureRecovered } from './ld-recovered.ts';
import type { Measurements } from './tally.ts';

export const tradeOffSchema = z.object({
  site: z.string(),
  dictionary: z.string(),
  variant: z.string(),
  lambda: z.number().nullable(),
  epoch: z.int().nullable(),
  l0: z.number().describe('mean active features'),
  error: z.number().describe('mean squared length of what reconstructions miss'),
  recovered: z.number().nullable().describe('logit difference recovered when the site alone is reconstructed, best 1; null where mean ablation of the site does too little'),
  acceptable: z.boolean().describe(`fewer than ${TRADE_OFF.l0} active features, and recovered within ${TRADE_OFF.recovered} of 1 where it exists`),
  note: z.string().nullable().describe('why recovered is null'),
}).describe('one SAE at one site, on prompts that are not scored');
export type TradeOffRow = z.infer<typeof tradeOffSchema>;

export interface TradeOffOptions {
  /** Which entries to measure; every SAE unless given. */
  select?: (entry: Entry) => boolean;
  /** Prompts in one run. */
  batch?: number;
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** One row for every SAE of the catalogue at the sites: each patched alone on the prompts. */
export async function measureTradeOff(model: Gpt2, catalogue: Catalogue, sites: readonly SiteAddress[], prompts: Prompts, { select = () => true, ...options }: TradeOffOptions = {}): Promise<TradeOffRow[]> {
  const { gpu } = model;
  const entriesAt = (site: SiteAddress) => catalogue.at(site).filter((entry) => !isSupervised(entry) && select(entry));
  const studies = sites.map((site) => ({ site, mean: catalogue.meanOf(site), dictionaries: entriesAt(site) })).filter(({ dictionaries }) => dictionaries.length > 0);
  if (studies.length === 0) return [];
  const recovered = new Map((await measureRecovered(model, prompts, studies, options)).map((row) => [`${row.site} ${row.dictionary}`, row]));
  const places = catalogue.places(studies.map(({ site }) => site));
  const tensors = await collectActivations(model, prompts, places, { batch: options.batch, signal: options.signal });
  const activations = new Map(places.map((place, i) => [formatPlace(place), tensors[i]!]));
  const rows: TradeOffRow[] = [];
  try {
    for (const { site, dictionaries } of studies) {
      const examples = examplesFrom(activations, site, prompts);
      for (const { name, variant, lambda, epoch, dictionary } of dictionaries) {
        options.signal?.throwIfAborted();
        const { active, missed } = gpu.scope(() => {
          const codes = dictionary.encode(examples);
          return { active: sumRows(activeMask(codes, { signed: true })), missed: sumSquaresRows(sub(examples.activations, dictionary.decode(codes, examples))) };
        });
        const [l0, error] = [mean(await active.read()), mean(await missed.read())];
        for (const tensor of [active, missed]) tensor.dispose();
        const { recovered: value, note } = recovered.get(`${formatSite(site)} ${name}`)!;
        rows.push({
          site: formatSite(site), dictionary: name, variant, lambda, epoch: epoch ?? null, l0, error, recovered: value,
          acceptable: l0 < TRADE_OFF.l0 && (value === null || Math.abs(1 - value) <= TRADE_OFF.recovered), note,
        });
      }
    }
  } finally {
    for (const tensor of tensors) tensor.dispose();
  }
  return rows;
}

/** Mean distance that agnostic edits with k features leave, from what the choice of SAEs measured; undefined where the site has no such edit. */
export function editDistance(measured: Measurements, site: SiteAddress, edit: string, dictionary: string, k: number): number | undefined {
  const key = distanceKey(site, edit, dictionary, { way: 'agnostic', k });
  return measured.has(key) ? mean(Array.from(measured.get(key), Math.sqrt)) : undefined;
}

export const correlationSchema = z.object({
  site: z.string(),
  attribute: z.string(),
  variant: z.string(),
  dictionaries: z.int().nonnegative().describe('λ or K and checkpoints that are compared'),
  l0: z.number().nullable().describe('Spearman correlation of the distance that edits leave with L0; null where one of them is constant'),
  error: z.number().nullable().describe('the same with the mean squared error of reconstructions'),
  recovered: z.number().nullable().describe('the same with |1 - logit difference recovered|, of dictionaries that have one'),
});
export type CorrelationRow = z.infer<typeof correlationSchema>;

const spread = z.object({
  sites: z.int().nonnegative().describe('sites where the correlation exists'),
  median: z.number().nullable(), mean: z.number().nullable(), min: z.number().nullable(), max: z.number().nullable(),
  aboveHalf: z.number().nullable().describe('share of the sites where it is above 0.5'),
});
export const correlationSummarySchema = z.object({ attribute: z.string(), variant: z.string(), l0: spread, error: spread, recovered: spread });
export type CorrelationSummary = z.infer<typeof correlationSummarySchema>;

/** A row for each site, attribute and variant with more than two dictionaries. `distanceOf` gives the distance that a dictionary's edits leave. */
export function correlations(rows: readonly (TradeOff & { variant: string })[], attributes: readonly string[], distanceOf: (site: string, attribute: string, dictionary: string) => number | undefined): CorrelationRow[] {
  const groups = new Map<string, { site: string; attribute: string; variant: string; points: { distance: number; l0: number; error: number; lost: number | null }[] }>();
  for (const { site, dictionary, variant, l0, error, recovered } of rows) {
    for (const attribute of attributes) {
      const distance = distanceOf(site, attribute, dictionary);
      if (distance === undefined) continue;
      const key = JSON.stringify([site, attribute, variant]);
      const group = groups.get(key) ?? { site, attribute, variant, points: [] };
      groups.set(key, group);
      group.points.push({ distance, l0, error, lost: recovered === null ? null : Math.abs(1 - recovered) });
    }
  }
  return [...groups.values()].filter(({ points }) => points.length > 2).map(({ points, ...where }) => {
    const known = points.filter(({ lost }) => lost !== null);
    return {
      ...where, dictionaries: points.length,
      l0: spearman(points.map(({ distance }) => distance), points.map(({ l0 }) => l0)),
      error: spearman(points.map(({ distance }) => distance), points.map(({ error }) => error)),
      recovered: known.length > 2 ? spearman(known.map(({ distance }) => distance), known.map(({ lost }) => lost!)) : null,
    };
  });
}

/** How the correlations spread over sites, per attribute and variant. */
export function correlationSummaries(rows: readonly CorrelationRow[]): CorrelationSummary[] {
  const keys = new Map(rows.map(({ attribute, variant }) => [JSON.stringify([attribute, variant]), { attribute, variant }]));
  return [...keys.values()].map(({ attribute, variant }) => {
    const own = rows.filter((row) => row.attribute === attribute && row.variant === variant);
    const spreadOf = (of: (row: CorrelationRow) => number | null): z.infer<typeof spread> => {
      const values = own.map(of).filter((value) => value !== null);
      const some = values.length > 0;
      return {
        sites: values.length, median: quantile(values, 0.5), mean: some ? mean(values) : null, min: quantile(values, 0), max: quantile(values, 1),
        aboveHalf: some ? values.filter((value) => value > 0.5).length / values.length : null,
      };
    };
    return { attribute, variant, l0: spreadOf(({ l0 }) => l0), error: spreadOf(({ error }) => error), recovered: spreadOf(({ recovered }) => recovered) };
  });
}
