/**
 * At which sites a dictionary takes part that was trained on a hook at every position of text, rather than at one site of a task, and how what it
 * reads gets there: at every position of its own head, and through the model's linear maps (as SAGE does, arXiv 2410.07456)
 *
 *   all heads together      q, k, v, z of every head of the layer: some columns of the hook's. Exact
 *   residual before layer l  q, k, v of every head of layer l:  a = (x M) / σ + c  with the layer norm's weights in M and c. Linear for the σ of the
 *                            activation itself, which is what is used: σ of a reconstruction would differ
 *
 * Nothing else is linear in what it reads: z is a sum over positions that attention weighs, and the residual stream within or behind a block goes
 * through a layer norm and an MLP, or nowhere near a head of its own layer.
 */
import { ProjectedDictionary, Sae, type Dictionary } from '../dictionary/index.ts';
import { UnknownSiteError, UsageError } from '../errors.ts';
import type { Gpt2, Gpt2Config } from '../model/index.ts';
import { formatSite, hookOf, type SiteAddress } from '../task/index.ts';
import { Tensor } from '../tensor/index.ts';
import { readingWeights } from './composition.ts';

/** What a dictionary reads: a hook, or one head's part of it. */
export interface Reading {
  hook: string;
  head: number | null;
}

/** How what is read gets to a site: it is the site, the site is some of its columns, or the layer norm and the head's weights lie between. */
export type Path = 'own' | 'columns' | 'layer norm';

type Head = Pick<SiteAddress, 'kind' | 'layer' | 'head'>;

/** null where no linear map leads to the site. */
export function pathTo({ hook, head }: Reading, site: Head): Path | null {
  if (hook === hookOf(site)) return head === site.head ? 'own' : head === null ? 'columns' : null;
  return head === null && site.kind !== 'z' && layerBehind(hook) === site.layer ? 'layer norm' : null;
}

/** Whether features of what is read reach a site. */
export function reaches(reading: Reading, site: Head): boolean {
  return pathTo(reading, site) !== null;
}

/** The layer that reads a residual stream; null for other hooks. */
function layerBehind(hook: string): number | null {
  const match = /^blocks\.(\d+)\.hook_resid_(pre|post)$/.exec(hook);
  return match ? Number(match[1]) + (match[2] === 'post' ? 1 : 0) : null;
}

/** As messages say it. */
export function formatReading({ hook, head }: Reading): string {
  return head === null ? hook : `head ${head} of ${hook}`;
}

/** What tells dictionaries of a reading from those of a head alone: nothing, `all heads`, `residual`. */
export function readingKind({ hook, head }: Reading): string {
  return layerBehind(hook) !== null ? 'residual' : head === null ? 'all heads' : '';
}

/** Throws UsageError, saying why, for what reaches no site of any task; UnknownSiteError for a head that is not there. */
export function checkReading(reading: Reading, { layers, heads }: Gpt2Config, name: string): void {
  const { hook, head } = reading;
  if (head !== null && head >= heads) throw new UnknownSiteError(`${name}: reads ${formatReading(reading)}, but the model has heads 0 to ${heads - 1}`);
  if (/^blocks\.\d+\.attn\.hook_[qkvz]$/.test(hook)) return;
  const behind = layerBehind(hook);
  if (behind !== null && head === null && behind < layers) return;
  const why = behind === layers ? 'behind the last layer there is no head that reads it'
    : hook.endsWith('hook_resid_mid') ? "the heads of its layer do not read it, and between it and the next layer's lies an MLP, which is not linear"
      : 'no linear map of the model leads from there to a head';
  throw new UsageError(`${name}: reads ${formatReading(reading)}, which says nothing of any head's q, k, v or z: ${why}`);
}

/** Throws UsageError, saying why, where what is read does not reach a site. */
export function checkPath(reading: Reading, site: SiteAddress, name: string): void {
  if (reaches(reading, site)) return;
  const residual = layerBehind(reading.hook) !== null;
  const why = residual && site.kind === 'z' ? ': z is a sum over positions that attention weighs, which is not linear in the residual stream' : residual ? `: heads of layer ${site.layer} read another` : '';
  throw new UsageError(`${name}: reads ${formatReading(reading)}, from which no linear map leads to ${formatSite(site)}${why}`);
}

/** Throws UsageError where a dictionary reaches none of the sites. */
export function checkServes(reading: Reading, name: string, sites: readonly SiteAddress[]): void {
  if (sites.some((site) => reaches(reading, site))) return;
  throw new UsageError(`dictionary ${name} reads ${formatReading(reading)}, but no cross-section has a site that follows from it: they have ${sites.map(formatSite).join(', ')}; name one with --cross-section`);
}

/** What the results say of a path. */
export const PATH_NOTES: Readonly<Record<Path, string | null>> = {
  own: null,
  columns: "of a dictionary of all heads: its decoder's columns of the head",
  'layer norm': "of a dictionary of the residual stream, through the layer norm and the head's weights: linear, with the layer norm's scale that of the clean activation",
};

/** A dictionary at a site that what it reads reaches, as it is or through a linear map; the latter is the caller's to dispose. UsageError where it is no SAE. */
export async function dictionaryAt(model: Gpt2, dictionary: Dictionary, reading: Reading, site: SiteAddress): Promise<{ dictionary: Dictionary; path: Path }> {
  checkPath(reading, site, `dictionary ${dictionary.name}`);
  const path = pathTo(reading, site)!;
  if (path === 'own') return { dictionary, path };
  if (!(dictionary instanceof Sae)) throw new UsageError(`dictionary ${dictionary.name} is no SAE, and only those are read through a linear map`);
  const { gpu } = model;
  const map = path === 'columns' ? { matrix: columnsOf(model, site.head), constant: null } : await readingWeights(model, site);
  try {
    return { dictionary: new ProjectedDictionary(dictionary, reading.hook, { ...map, epsilon: path === 'columns' ? null : model.config.epsilon }), path };
  } finally {
    for (const tensor of [map.matrix, map.constant]) tensor?.dispose();
    await gpu.idle();
  }
}

/** 1 where a column of all heads together is one of the head: [heads · headWidth, headWidth]. */
function columnsOf({ gpu, config: { heads, headWidth } }: Gpt2, head: number): Tensor {
  const values = new Float32Array(heads * headWidth * headWidth);
  for (let i = 0; i < headWidth; i++) values[(head * headWidth + i) * headWidth + i] = 1;
  return Tensor.from(gpu, values, [heads * headWidth, headWidth]);
}
