/** Trained SAEs named on the command line: one directory in SAELens' layout, or a folder of them such as `train` writes. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { loadSae, readSaeConfig, splitAddress } from '../dictionary/index.ts';
import { FileError, UsageError } from '../errors.ts';
import type { LoadedDictionary } from '../evaluation/index.ts';
import { openSource } from '../files/index.ts';
import type { Gpt2 } from '../model/index.ts';
import { note } from './terminal.ts';
import { checkSite, formatSite, hookOf, IOI_POSITIONS, parseSite, type SiteAddress } from '../task/index.ts';

/**
 * Loads everything that `--sae` names, each as PATH or SITE=PATH. UsageError for a dictionary without a site, or of another model, hook or
 * position; ShapeError for one that is not as wide as its site; FileError for broken files. On an error nothing stays loaded.
 */
export async function loadDictionaries(model: Gpt2, given: readonly string[], positions: readonly string[] = IOI_POSITIONS): Promise<LoadedDictionary[]> {
  const loaded: LoadedDictionary[] = [];
  try {
    for (const text of given) {
      const split = /^([qkvz]@L\d+H\d+@[^=]+)=(.+)$/.exec(text);
      const path = split ? split[2]! : text;
      const paths = await directoriesIn(path);
      if (split && paths.length !== 1) throw new UsageError(`--sae ${text}: ${path} holds ${paths.length} dictionaries; a site can be given to one only`);
      for (const one of paths) loaded.push(await loadOne(model, one, split ? parseSite(split[1]!, positions) : null, positions));
    }
    return withDistinctNames(loaded);
  } catch (error) {
    for (const { dictionary } of loaded) dictionary.dispose();
    throw error;
  }
}

/** The path itself if it is a dictionary (or a URL, a hub's folder or a file), else the dictionaries directly inside it, in the order of their names. */
async function directoriesIn(path: string): Promise<string[]> {
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

async function loadOne(model: Gpt2, path: string, given: SiteAddress | null, positions: readonly string[]): Promise<LoadedDictionary> {
  const { directory, file } = splitAddress(path);
  const source = openSource(directory);
  const choice = file === undefined ? {} : { file };
  const { metadata } = await readSaeConfig(source, choice);
  const site = given ?? siteOf(metadata, path, positions);
  checkSite(site, model.config);
  const dictionary = await loadSae(model.gpu, source, {
    width: model.config.headWidth, hookName: hookOf(site), headIndex: site.head, position: site.position, modelHash: model.hash,
    weightProcessing: { ...model.processing },
  }, choice);
  for (const warning of dictionary.warnings) note(`${path}: ${warning}`);
  const l1 = metadata.l1_coefficient;
  const scale = metadata.activation_scale;
  // A frozen decoder is told by the metadata alone.
  const variant = metadata['variant'] === 'frozen' ? 'frozen' : dictionary.variant;
  const sparsity = dictionary.k !== null ? ` K=${dictionary.k}` : typeof l1 === 'number' ? ` λ=${l1}` : '';
  return {
    site, variant, dictionary, name: `${variant}${sparsity}`,
    lambda: typeof l1 === 'number' ? l1 : null, scale: typeof scale === 'number' ? scale : null,
  };
}

/** The site that a dictionary's metadata name: our own `site`, or SAELens' hook and head with the semantic position. */
function siteOf(metadata: Readonly<Record<string, unknown>>, path: string, positions: readonly string[]): SiteAddress {
  if (typeof metadata.site === 'string') return parseSite(metadata.site, positions);
  const hook = /^blocks\.(\d+)\.attn\.hook_([qkvz])$/.exec(String(metadata.hook_name ?? ''));
  if (hook && typeof metadata.hook_head_index === 'number' && typeof metadata.position === 'string') {
    return parseSite(formatSite({ kind: hook[2] as SiteAddress['kind'], layer: Number(hook[1]), head: metadata.hook_head_index, position: metadata.position }), positions);
  }
  throw new UsageError(`--sae ${path}: its cfg.json does not name a head's site and position; give them, as in --sae z@L0H3@end=${path}`);
}

/** Two dictionaries of one name at one site are told apart by a number. */
function withDistinctNames(loaded: LoadedDictionary[]): LoadedDictionary[] {
  const taken = new Map<string, number>();
  return loaded.map((one) => {
    const key = `${formatSite(one.site)} ${one.name}`;
    const before = taken.get(key) ?? 0;
    taken.set(key, before + 1);
    return before === 0 ? one : { ...one, name: `${one.name} #${before + 1}` };
  });
}
