/** SAEs from elsewhere, placed in a model: which activations they read, at which sites of a task they serve, and without the features that were hardly ever active. */
import { frequentFeatures, loadSae, readSaeConfig, withFeatures, type Sae, type SaeChoice, type SaeMetadata } from '../dictionary/index.ts';
import { UsageError } from '../errors.ts';
import type { FileSource } from '../files/index.ts';
import type { Gpt2 } from '../model/index.ts';
import { checkSite, formatSite, hookOf, IOI_POSITIONS, parseSite, type SiteAddress } from '../task/index.ts';
import type { FeatureFilter } from './catalogue.ts';
import type { LoadedDictionary } from './dictionaries.ts';
import { checkPath, checkReading, formatReading, readingKind, type Reading } from './serving.ts';

/** Fewer than one activation in a million tokens is ultra-low (arXiv 2405.08366, A.11). */
export const MIN_FREQUENCY = 1e-6;

export interface PlaceOptions {
  /** What messages call it. */
  label: string;
  /** One file of several, for layouts that have them. */
  file?: string;
  /** The site or hook it is to be used at, where that is not what its own description says. */
  place?: SiteAddress | Reading | null;
  /** Positions of the task's sites; those of indirect objects unless given. */
  positions?: readonly string[];
  /** Of a dictionary trained on text, features that were active on a smaller share of its tokens are left out; MIN_FREQUENCY unless given. */
  minFrequency?: number;
  /** How a person gives a site or hook, for the message on a dictionary that names none. */
  hint?: string;
  /** Told what a person should know of it. */
  onNote?: (text: string) => void;
}

/**
 * Loads one dictionary and finds its place. One that names no position was trained on text: it serves every site that what it reads reaches.
 * UsageError for a dictionary without a site or hook, or of another model, hook or position; ShapeError for one that is not as wide as its site;
 * FileError for broken files.
 */
export async function loadPlaced(model: Gpt2, source: FileSource, options: PlaceOptions): Promise<LoadedDictionary & { dictionary: Sae; reads: Reading }> {
  const { label, file, place: given = null, positions = IOI_POSITIONS, minFrequency = MIN_FREQUENCY, onNote = () => {} } = options;
  const hook = given && 'hook' in given ? given : null;
  const choice: SaeChoice = { ...(file === undefined ? {} : { file }), ...(hook ? { hook: hook.hook } : {}) };
  const { metadata } = await readSaeConfig(source, choice);
  const place = placeOf(model, metadata, given, options, positions);
  const { site, reads } = place;
  if (site) checkSite(site, model.config);
  const sae = await loadSae(model.gpu, source, {
    width: model.hooks.columns(model.hooks.get(reads.hook), reads.head ?? undefined).width, hookName: reads.hook, headIndex: reads.head, ...(site ? { position: site.position } : {}), modelHash: model.hash,
    weightProcessing: { ...model.processing },
  }, choice);
  for (const warning of sae.warnings) onNote(`${label}: ${warning}`);
  if (metadata.prepend_bos === false) onNote(`${label}: it was trained on rows without a beginning-of-sequence token; prompts that begin with one are unlike them`);
  const { dictionary, filter } = place.trainedOn === 'text' ? frequent(sae, minFrequency, (text) => onNote(`${label}: ${text}`)) : { dictionary: sae, filter: null };
  const l1 = metadata.l1_coefficient;
  const scale = metadata.activation_scale;
  // A frozen decoder is told by the metadata alone.
  const kind = metadata['variant'] === 'frozen' ? 'frozen' : dictionary.variant;
  const sparsity = dictionary.k !== null ? ` K=${dictionary.k}` : typeof l1 === 'number' ? ` λ=${l1}` : '';
  // Those of a whole language compete for a site among themselves, as another variant.
  const suffix = place.trainedOn === 'text' ? ` (${['text', readingKind(reads)].filter(Boolean).join(', ')})` : '';
  return {
    ...place, variant: `${kind}${suffix}`, dictionary, name: `${kind}${sparsity}${suffix}`,
    lambda: typeof l1 === 'number' ? l1 : null, scale: typeof scale === 'number' ? scale : null, ...(filter ? { filter } : {}),
  };
}

type Place = Required<Pick<LoadedDictionary, 'site' | 'reads'>> & Pick<LoadedDictionary, 'trainedOn'>;

/**
 * Where a dictionary is to be used and what it reads: at one site, which is given or which its metadata name (our own `site`, or SAELens' hook and
 * head with a semantic position); or wherever the hook and head that they name reach, where they name no position.
 */
function placeOf({ config }: Pick<Gpt2, 'config'>, metadata: Readonly<SaeMetadata>, given: SiteAddress | Reading | null, { label, hint = 'z@L0H3@end or blocks.0.attn.hook_z:3' }: PlaceOptions, positions: readonly string[]): Place {
  const own = siteOf(metadata, positions);
  const site = given && !('hook' in given) ? given : own;
  if (own) return { site, reads: { hook: hookOf(site!), head: site!.head }, trainedOn: 'task' };
  const { hook_name: hook, hook_head_index: head } = metadata;
  if (given && 'hook' in given) {
    checkReading(given, config, label);
    return { site: null, reads: given, trainedOn: 'text' };
  }
  if (typeof hook !== 'string') {
    // Nothing is known of where it comes from.
    if (site) return { site, reads: { hook: hookOf(site), head: site.head } };
    throw new UsageError(`${label}: its cfg.json does not name a hook; give a site or a hook, as in ${hint}`);
  }
  const reads = { hook, head: typeof head === 'number' ? head : null };
  if (!site) checkReading(reads, config, label);
  else checkPath(reads, site, label);
  return { site, reads, trainedOn: 'text' };
}

function siteOf(metadata: Readonly<SaeMetadata>, positions: readonly string[]): SiteAddress | null {
  if (typeof metadata['site'] === 'string') return parseSite(metadata['site'], positions);
  const hook = /^blocks\.(\d+)\.attn\.hook_([qkvz])$/.exec(String(metadata.hook_name ?? ''));
  if (!hook || typeof metadata.hook_head_index !== 'number' || typeof metadata['position'] !== 'string') return null;
  return parseSite(formatSite({ kind: hook[2] as SiteAddress['kind'], layer: Number(hook[1]), head: metadata.hook_head_index, position: metadata['position'] }), positions);
}

/** Reads HOOK or HOOK:HEAD. */
export function parseReading(text: string): Reading {
  const [hook = '', head] = text.split(':');
  return { hook, head: head === undefined ? null : Number(head) };
}

/** The dictionary without its features of low frequency, where frequencies are known. */
function frequent(sae: Sae, minFrequency: number, onNote: (text: string) => void): { dictionary: Sae; filter: FeatureFilter | null } {
  if (!sae.frequencies || minFrequency === 0) return { dictionary: sae, filter: null };
  const kept = frequentFeatures(sae.frequencies, minFrequency);
  const dropped = sae.features - kept.length;
  const filter = { kept, dropped, minFrequency };
  if (dropped === 0) return { dictionary: sae, filter };
  try {
    const counted = sae.metadata['sparsity_examples'];
    // Too few tokens tell nothing but whether there was any activity at all.
    const none = typeof counted === 'number' && counted * minFrequency < 1 ? `, none of the ${counted} that were counted` : '';
    onNote(`${dropped} of ${sae.features} features are left out, which were active on fewer than one in ${Math.round(1 / minFrequency)} tokens in training${none}`);
    return { dictionary: withFeatures(sae, kept), filter };
  } finally {
    sae.dispose();
  }
}

/** Two dictionaries of one name at one site are told apart by a number. */
export function withDistinctNames<T extends LoadedDictionary>(loaded: readonly T[]): T[] {
  const taken = new Map<string, number>();
  return loaded.map((one) => {
    const key = `${one.site ? formatSite(one.site) : formatReading(one.reads!)} ${one.name}`;
    const before = taken.get(key) ?? 0;
    taken.set(key, before + 1);
    return before === 0 ? one : { ...one, name: `${one.name} #${before + 1}` };
  });
}
