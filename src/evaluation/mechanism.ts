/**
 * Attention scores in terms of features (arXiv 2405.08366, A.7; evaluation.md §3.5). With the query and the key of a head taken apart by a
 * dictionary at each site (terms.ts), q = Σ_i v_i and k = Σ_j u_j, bias and error terms included, the score before the softmax is
 *
 *   q·k / √d_head = Σ_ij v_i·u_j / √d_head
 *
 * and closes exactly. Each pair (i, j) of query term and key term has one number per prompt; rows give its distribution. The difference of the
 * scores at two key positions, which decides where the head looks, is taken apart likewise, pair by pair.
 */
import * as z from 'zod';
import { columnIds, type Dictionary, type Examples } from '../dictionary/index.ts';
import { UsageError } from '../errors.ts';
import type { Gpt2 } from '../model/index.ts';
import { checkSite, collectActivations, type Prompts, type SiteAddress } from '../task/index.ts';
import { affine, matmul, mul, sumRows } from '../tensor/index.ts';
import { boxOf, groupsFor, splitActivations, type FeatureGroups, type Terms } from './terms.ts';

export const boxSchema = z.object({
  mean: z.number(), meanAbsolute: z.number().describe('mean over prompts of the absolute value'),
  least: z.number(), percentile5: z.number(), quartile1: z.number(), median: z.number(), quartile3: z.number(), percentile95: z.number(), most: z.number(),
});

const scorePairRow = z.object({
  head: z.string().describe('L{layer}H{head}'),
  queryPosition: z.string(),
  keyPosition: z.string().describe("the key's position, or 'a − b' for the difference of the scores at two"),
  queryDictionary: z.string(),
  keyDictionary: z.string(),
  query: z.string().describe("term of the query: 'bias', a group of features, or 'error'"),
  key: z.string().describe('term of the key'),
  contribution: boxSchema.describe('v·u / √d over prompts; sums over all pairs to the score'),
});

const scoreRow = z.object({
  head: z.string(), queryPosition: z.string(), keyPosition: z.string(), queryDictionary: z.string(), keyDictionary: z.string(),
  score: boxSchema.describe('q·k / √d over prompts'),
  explained: z.number().nullable().describe('1 - Σ (score - sum over pairs without error terms)² / Σ (score - mean)², over prompts; null for a constant score'),
  closure: z.number().describe('largest over prompts of |score - sum over all pairs|'),
  prompts: z.int(),
});

export const attentionSchema = z.object({ scores: z.array(scoreRow), pairs: z.array(scorePairRow) });
export type AttentionResult = z.infer<typeof attentionSchema>;
export type ScorePairRow = z.infer<typeof scorePairRow>;
export type ScoreRow = z.infer<typeof scoreRow>;

/** Activations of one site on all prompts, and the dictionary that takes them apart. */
export interface TakenApart {
  position: string;
  examples: Examples;
  dictionary: Dictionary;
  /** By default those of `groupsFor`, against the other side's activations. */
  groups?: FeatureGroups;
}

export interface AttentionOptions {
  /** Features of a dictionary without labels that get terms of their own. */
  singled: number;
}

export const attentionDefaults: AttentionOptions = { singled: 4 };

/** Takes the scores of one head apart, from its queries at one position and its keys at one or two. Throws ShapeError for shapes that differ. */
export async function decomposeScores(head: string, query: TakenApart, keys: readonly TakenApart[], given: Partial<AttentionOptions> = {}): Promise<AttentionResult> {
  const { singled } = { ...attentionDefaults, ...given };
  const result: AttentionResult = { scores: [], pairs: [] };
  const tables: PairTable[] = [];
  for (const key of keys) tables.push(await pairTable(query, key, singled));
  const [first, second] = tables;
  // A difference needs terms of the same meaning on both sides: labelled ones.
  if (first && second && sameNames(first, second)) tables.push(difference(first, second));
  const where = { head, queryPosition: query.position, queryDictionary: query.dictionary.name };
  for (const table of tables) {
    const place = { ...where, keyPosition: table.position, keyDictionary: table.dictionary };
    result.scores.push({ ...place, ...scoreFigures(table) });
    table.queryNames.forEach((queryTerm, i) => table.keyNames.forEach((keyTerm, j) => {
      result.pairs.push({ ...place, query: queryTerm, key: keyTerm, contribution: boxOf(table.column(i, j)) });
    }));
  }
  return result;
}

/** Contributions of every pair on every prompt. */
class PairTable {
  readonly position: string;
  readonly dictionary: string;
  readonly queryNames: readonly string[];
  readonly keyNames: readonly string[];
  /** [prompts] */
  readonly scores: ArrayLike<number>;
  /** [prompts, query terms, key terms] */
  readonly values: ArrayLike<number>;

  constructor(parts: Pick<PairTable, 'position' | 'dictionary' | 'queryNames' | 'keyNames' | 'scores' | 'values'>) {
    this.position = parts.position;
    this.dictionary = parts.dictionary;
    this.queryNames = parts.queryNames;
    this.keyNames = parts.keyNames;
    this.scores = parts.scores;
    this.values = parts.values;
  }

  get prompts(): number {
    return this.scores.length;
  }

  at(prompt: number, i: number, j: number): number {
    return this.values[(prompt * this.queryNames.length + i) * this.keyNames.length + j]!;
  }

  column(i: number, j: number): Float64Array {
    return Float64Array.from({ length: this.prompts }, (_, prompt) => this.at(prompt, i, j));
  }

  /** Sum over pairs, all of them or only those without an error term, which is the last of either side. */
  sum(prompt: number, withErrors: boolean): number {
    const less = withErrors ? 0 : 1;
    let sum = 0;
    for (let i = 0; i < this.queryNames.length - less; i++) for (let j = 0; j < this.keyNames.length - less; j++) sum += this.at(prompt, i, j);
    return sum;
  }
}

async function pairTable(query: TakenApart, key: TakenApart, singled: number): Promise<PairTable> {
  const { gpu } = query.examples.activations;
  const width = query.examples.activations.shape[1]!;
  const queryGroups = query.groups ?? await groupsFor(query.dictionary, query.examples, key.examples.activations, singled);
  const keyGroups = key.groups ?? await groupsFor(key.dictionary, key.examples, query.examples.activations, singled);
  return gpu.scope(async () => {
    const [v, u]: [Terms, Terms] = [splitActivations(query.dictionary, query.examples, queryGroups), splitActivations(key.dictionary, key.examples, keyGroups)];
    const scale = 1 / Math.sqrt(width);
    const pairs = matmul(v.values, u.values, { transposeB: true, scale });
    const scores = affine(sumRows(mul(query.examples.activations, key.examples.activations)), scale);
    const [values, whole] = await Promise.all([pairs.read(), scores.read()]);
    return new PairTable({ position: key.position, dictionary: key.dictionary.name, queryNames: v.names, keyNames: u.names, scores: whole, values });
  });
}

function scoreFigures(table: PairTable): Pick<ScoreRow, 'score' | 'explained' | 'closure' | 'prompts'> {
  const { scores, prompts } = table;
  const score = boxOf(scores);
  let [left, spread, closure] = [0, 0, 0];
  for (let prompt = 0; prompt < prompts; prompt++) {
    left += (scores[prompt]! - table.sum(prompt, false)) ** 2;
    spread += (scores[prompt]! - score.mean) ** 2;
    closure = Math.max(closure, Math.abs(scores[prompt]! - table.sum(prompt, true)));
  }
  return { score, explained: spread > 0 ? 1 - left / spread : null, closure, prompts };
}

function sameNames(a: PairTable, b: PairTable): boolean {
  return a.queryNames.join('|') === b.queryNames.join('|') && a.keyNames.join('|') === b.keyNames.join('|') && !a.keyNames.some((name) => name.startsWith('feature '));
}

/** What pairs add to the score at the first position less what they add at the second. */
function difference(a: PairTable, b: PairTable): PairTable {
  return new PairTable({
    ...a, position: `${a.position} − ${b.position}`, dictionary: a.dictionary === b.dictionary ? a.dictionary : `${a.dictionary} − ${b.dictionary}`, queryNames: a.queryNames, keyNames: a.keyNames,
    scores: Float64Array.from(a.scores, (value, i) => value - b.scores[i]!), values: Float64Array.from(a.values, (value, i) => value - b.values[i]!),
  });
}

export interface ScoreStudy extends Partial<AttentionOptions> {
  heads: readonly { layer: number; head: number }[];
  /** Position of the queries, and one or two positions of the keys. */
  query: string;
  keys: readonly string[];
  /** Dictionaries at a site; those at the head's sites that share a place in their lists are used together, as far as the shortest goes. */
  dictionariesAt: (site: SiteAddress) => readonly Dictionary[];
}

/** The same for several heads of a model, on prompts whose activations are collected here. Throws UnknownSiteError for heads or positions that are not there. */
export async function attentionMechanism(model: Gpt2, prompts: Prompts, study: ScoreStudy, watching: { signal?: AbortSignal; onProgress?: (done: number, total: number) => void } = {}): Promise<AttentionResult> {
  const { heads, query, keys, dictionariesAt } = study;
  if (keys.length < 1 || keys.length > 2) throw new UsageError(`attention scores are taken apart at one or two key positions, not ${keys.length}`);
  const sites = heads.map(({ layer, head }): SiteAddress[] => [{ kind: 'q', layer, head, position: query }, ...keys.map((position): SiteAddress => ({ kind: 'k', layer, head, position }))]);
  for (const site of sites.flat()) checkSite(site, model.config);
  const activations = await collectActivations(model, prompts, sites.flat(), { signal: watching.signal });
  const attributes = columnIds(prompts);
  const result: AttentionResult = { scores: [], pairs: [] };
  try {
    for (const [i, own] of sites.entries()) {
      const lists = own.map(dictionariesAt);
      const sets = Math.min(...lists.map((list) => list.length));
      for (let set = 0; set < sets; set++) {
        watching.signal?.throwIfAborted();
        const [apart, ...others] = own.map((site, s): TakenApart => ({
          position: site.position, examples: { activations: activations[i * own.length + s]!, attributes }, dictionary: lists[s]![set]!,
        }));
        const part = await decomposeScores(headName(own[0]!), apart!, others, study);
        result.scores.push(...part.scores);
        result.pairs.push(...part.pairs);
      }
      watching.onProgress?.(i + 1, heads.length);
    }
  } finally {
    for (const tensor of activations) tensor.dispose();
  }
  return result;
}

export function headName({ layer, head }: { layer: number; head: number }): string {
  return `L${layer}H${head}`;
}
