/** Dictionaries from files. What knows the layouts (find.ts) is loaded with the first. */
import { openSource, type FileSource } from '../../files/index.ts';
import type { Gpu } from '../../gpu/index.ts';
import type { Sae } from '../sae.ts';
import type { ExpectedSite } from './check.ts';
import type { SaeChoice, SaeFileConfig } from './format.ts';

/**
 * Loads a dictionary in any of the layouts and checks that it belongs where it is to be used; what cannot be checked is in its `warnings`. A file
 * without a fixed name, and one of several dictionaries in a file, are chosen by `choice` (the hook by what is expected, unless said otherwise).
 * FileError for broken or unsupported files, ShapeError for a width that is not the site's, UsageError for another model, hook, head, position,
 * beginning-of-sequence policy or weight processing.
 */
export async function loadSae(gpu: Gpu, source: FileSource, expected: ExpectedSite = {}, choice: SaeChoice = {}): Promise<Sae> {
  return (await import('./find.ts')).loadSae(gpu, source, expected, choice);
}

/** What the dictionary's files say of it. FileError naming the field for everything that no kind here is. */
export async function readSaeConfig(source: FileSource, choice: SaeChoice = {}): Promise<SaeFileConfig> {
  return (await import('./find.ts')).readSaeConfig(source, choice);
}

/** `loadSae` of what a person names: a directory, URL or hub address of one, or of a file in it. */
export async function openSae(gpu: Gpu, where: string, expected: ExpectedSite = {}, choice: SaeChoice = {}): Promise<Sae> {
  const { directory, file } = splitAddress(where);
  return loadSae(gpu, openSource(directory), expected, { ...(file === undefined ? {} : { file }), ...choice });
}

/** The directory that a file named by a person lies in, and the file; what does not end like a file of a dictionary is a directory. */
export function splitAddress(where: string): { directory: string; file?: string } {
  const match = /^(?:(.*)[\\/])?([^\\/]+\.(?:pt|safetensors))$/.exec(where);
  return match ? { directory: match[1] === undefined ? '.' : match[1] || '/', file: match[2]! } : { directory: where };
}
