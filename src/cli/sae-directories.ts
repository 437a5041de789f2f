/** Trained SAEs named on the command line: one directory in SAELens' layout, or a folder of them such as `train` writes. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { readSaeConfig, splitAddress } from '../dictionary/index.ts';
import { FileError, UsageError } from '../errors.ts';
import { loadPlaced, MIN_FREQUENCY, parseReading, withDistinctNames, type LoadedDictionary } from '../evaluation/index.ts';
import { openSource } from '../files/index.ts';
import type { Gpt2, WeightProcessing } from '../model/index.ts';
import { processingNamed, readProcessing } from './model.ts';
import { note } from './terminal.ts';
import { IOI_POSITIONS, parseSite } from '../task/index.ts';

export interface LoadChoice {
  /** Positions of the task's sites. */
  positions?: readonly string[];
  /** Of dictionaries trained on text, features that were active on a smaller share of its tokens are left out. */
  minFrequency?: number;
}

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
      const place = named === null ? null : named.startsWith('blocks.') ? parseReading(named) : parseSite(named, positions);
      const paths = await directoriesIn(path);
      if (place && paths.length !== 1) throw new UsageError(`--sae ${text}: ${path} holds ${paths.length} dictionaries; a site can be given to one only`);
      for (const one of paths) {
        const { directory, file } = splitAddress(one);
        loaded.push(await loadPlaced(model, openSource(directory), { label: `--sae ${one}`, file, place, positions, minFrequency, onNote: note, hint: `--sae z@L0H3@end=${one} or --sae blocks.0.attn.hook_z:3=${one}` }));
      }
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
      const { metadata } = await readSaeConfig(openSource(directory), { ...(file === undefined ? {} : { file }), ...(named?.startsWith('blocks.') ? { hook: parseReading(named).hook } : {}) });
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
