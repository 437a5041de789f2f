/** Trained SAEs named on the command line: one directory in SAELens' layout, or a folder of them such as `train` writes. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { frequentFeatures, loadSae, readSaeConfig, splitAddress, withFeatures, type Sae, type SaeMetadata } from '../dictionary/index.ts';
import { FileError, UsageError } from '../errors.ts';
import { checkPath, checkReading, formatReading, readingKind, type FeatureFilter, type LoadedDictionary, type Reading } from '../evaluation/index.ts';
import { openSource } from '../files/index.ts';
import type { Gpt2, WeightProcessing } from '../model/index.ts';
import { processingNamed, readProcessing } from './model.ts';
import { note } from './terminal.ts';
import { checkSite, formatSite, hookOf, IOI_POSITIONS, parseSite, type SiteAddress } from '../task/index.ts';

export interface LoadChoice {
  /** Positions of the task's sites. */
  positions?: readonly string[];
  /** Of dictionaries trained on text, features that were active on a smaller share of its tokens are left out. */
  minFrequency?: number;
}

/** Fewer than one activation in a million tokens is ultra-low (arXiv 2405.08366, A.11). */
export const MIN_FREQUENCY = 1e-6;

/**
 * Loads everything that `--sae` names, each as PATH, SITE=PATH or HOOK[:HEAD]=PATH. Dictionaries that name no position were trained on text: each
 * serves every site that what it reads reaches. UsageError for a dictionary without a site or hook, or of another model, hook or position; ShapeError for one that
 * is not as wide as its site; FileError for broken files. On an error nothing stays loaded.
 */
export async function loadDictionaries(model: Gpt2, given: readonly string[], { positions = IOI_POSITIONS, minFrequency = MIN_FREQUENCY }: LoadChoice = {}): Promise<LoadedDictionary[]> {
  const loaded: LoadedDictionary[] = [];
  try {
    for (const text of given) {
      const { named, path } = split(text);
      const place = named === null ? null : named.startsWith('blocks.') ? readingOf(named) : parseSite(named, positions);
      const paths = await directoriesIn(path);
      if (place && paths.length !== 1) throw new UsageError(`--sae ${text}: ${path} holds ${paths.length} dictionaries; a site can be given to one only`);
      for (const one of paths) loaded.push(await loadOne(model, one, place, { positions, minFrequency }));
    }
    return withDistinctNames(loaded);
  } catch (error) {
    for (const { dictionary } of loaded) dictionary.dispose();
    throw error;
  }
}

/**
 * Weight processing that the dictionaries were trained with, as far as they say: every kind that one of them names. Of those that disagree some will
 * be refused by `loadDictionaries`. FileError for paths without a dictionary.
 */
export async function processingOfSaes(given: readonly string[]): Promise<Partial<WeightProcessing>> {
  const wanted = new Set<string>();
  for (const text of given) {
    const { named, path } = split(text);
    for (const one of await directoriesIn(path)) {
      const { directory, file } = splitAddress(one);
      const { metadata } = await readSaeConfig(openSource(directory), { ...(file === undefined ? {} : { file }), ...(named?.startsWith('blocks.') ? { hook: readingOf(named).hook } : {}) });
      for (const kind of processingNamed(metadata)) wanted.add(kind);
    }
  }
  if (wanted.size > 0) note(`the model's weights are processed as the SAEs were trained with: ${[...wanted].join(', ')}`);
  return readProcessing([...wanted]);
}

/** PATH, SITE=PATH or HOOK[:HEAD]=PATH. */
function split(text: string): { named: string | null; path: string } {
  const [, named = null, path = text] = /^([qkvz]@L\d+H\d+@[^=]+|blocks\.\d+\.[\w.]+(?::\d+)?)=(.+)$/.exec(text) ?? [];
  return { named, path };
}

/** The path itself if it is a dictionary (or a URL, a hub's folder or a file), else the dictionaries directly inside it, in the order of their names. */
export async function directoriesIn(path: string): Promise<string[]> {
  const { directory, file } = splitAddress(path);
  if (file !== undefined || /^(https?|hub):/.test(path) || await openSource(directory).has('cfg.json')) return [path];
  const inside = await readdir(path, { withFileTypes: true }).catch(() => []);
  const found: string[] = [];
  for (const name of inside.filter((entry) => entry.isDirectory()).map((entry) => entry.name).sort()) {
    if (await openSource(join(path, name)).has('cfg.json')) found.push(join(path, name));
  }
  if (found.length === 0) throw new FileError(`--sae ${path}: there is no dictionary: no cfg.json in it or in the folders in it`);
  return found;
}

async function loadOne(model: Gpt2, path: string, given: SiteAddress | Reading | null, { positions, minFrequency }: Required<LoadChoice>): Promise<LoadedDictionary> {
  const { directory, file } = splitAddress(path);
  const source = openSource(directory);
  const hook = given && 'hook' in given ? given : null;
  const choice = { ...(file === undefined ? {} : { file }), ...(hook ? { hook: hook.hook } : {}) };
  const { metadata } = await readSaeConfig(source, choice);
  const place = placeOf(model, metadata, given, path, positions);
  const { site, reads } = place;
  if (site) checkSite(site, model.config);
  const sae = await loadSae(model.gpu, source, {
    width: model.hooks.columns(model.hooks.get(reads.hook), reads.head ?? undefined).width, hookName: reads.hook, headIndex: reads.head, ...(site ? { position: site.position } : {}), modelHash: model.hash,
    weightProcessing: { ...model.processing },
  }, choice);
  for (const warning of sae.warnings) note(`${path}: ${warning}`);
  if (metadata.prepend_bos === false) note(`${path}: it was trained on rows without a beginning-of-sequence token; prompts that begin with one are unlike them`);
  const { dictionary, filter } = place.trainedOn === 'text' ? frequent(sae, minFrequency, path) : { dictionary: sae, filter: null };
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
function placeOf({ config }: Pick<Gpt2, 'config'>, metadata: Readonly<SaeMetadata>, given: SiteAddress | Reading | null, path: string, positions: readonly string[]): Place {
  const own = siteOf(metadata, positions);
  const site = given && !('hook' in given) ? given : own;
  if (own) return { site, reads: { hook: hookOf(site!), head: site!.head }, trainedOn: 'task' };
  const { hook_name: hook, hook_head_index: head } = metadata;
  if (given && 'hook' in given) {
    checkReading(given, config, `--sae ${path}`);
    return { site: null, reads: given, trainedOn: 'text' };
  }
  if (typeof hook !== 'string') {
    // Nothing is known of where it comes from.
    if (site) return { site, reads: { hook: hookOf(site), head: site.head } };
    throw new UsageError(`--sae ${path}: its cfg.json does not name a hook; give a site or a hook, as in --sae z@L0H3@end=${path} or --sae blocks.0.attn.hook_z:3=${path}`);
  }
  const reads = { hook, head: typeof head === 'number' ? head : null };
  if (!site) checkReading(reads, config, `--sae ${path}`);
  else checkPath(reads, site, `--sae ${formatSite(site)}=${path}`);
  return { site, reads, trainedOn: 'text' };
}

function siteOf(metadata: Readonly<SaeMetadata>, positions: readonly string[]): SiteAddress | null {
  if (typeof metadata['site'] === 'string') return parseSite(metadata['site'], positions);
  const hook = /^blocks\.(\d+)\.attn\.hook_([qkvz])$/.exec(String(metadata.hook_name ?? ''));
  if (!hook || typeof metadata.hook_head_index !== 'number' || typeof metadata['position'] !== 'string') return null;
  return parseSite(formatSite({ kind: hook[2] as SiteAddress['kind'], layer: Number(hook[1]), head: metadata.hook_head_index, position: metadata['position'] }), positions);
}

/** HOOK or HOOK:HEAD. */
function readingOf(text: string): Reading {
  const [hook = '', head] = text.split(':');
  return { hook, head: head === undefined ? null : Number(head) };
}

/** The dictionary without its features of low frequency, where frequencies are known. */
function frequent(sae: Sae, minFrequency: number, path: string): { dictionary: Sae; filter: FeatureFilter | null } {
  if (!sae.frequencies || minFrequency === 0) return { dictionary: sae, filter: null };
  const kept = frequentFeatures(sae.frequencies, minFrequency);
  const dropped = sae.features - kept.length;
  const filter = { kept, dropped, minFrequency };
  if (dropped === 0) return { dictionary: sae, filter };
  try {
    const counted = sae.metadata['sparsity_examples'];
    // Too few tokens tell nothing but whether there was any activity at all.
    const none = typeof counted === 'number' && counted * minFrequency < 1 ? `, none of the ${counted} that were counted` : '';
    note(`${path}: ${dropped} of ${sae.features} features are left out, which were active on fewer than one in ${Math.round(1 / minFrequency)} tokens in training${none}`);
    return { dictionary: withFeatures(sae, kept), filter };
  } finally {
    sae.dispose();
  }
}

/** Two dictionaries of one name at one site are told apart by a number. */
function withDistinctNames(loaded: LoadedDictionary[]): LoadedDictionary[] {
  const taken = new Map<string, number>();
  return loaded.map((one) => {
    const key = `${one.site ? formatSite(one.site) : formatReading(one.reads!)} ${one.name}`;
    const before = taken.get(key) ?? 0;
    taken.set(key, before + 1);
    return before === 0 ? one : { ...one, name: `${one.name} #${before + 1}` };
  });
}
