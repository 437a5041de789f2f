/** The cross-sections that a task file names. */
import { FileError, UnknownSiteError } from '../errors.ts';
import { parseSite } from './sites.ts';
import type { KnownSections } from './task.ts';
import type { TaskFile } from './task-file.ts';

/** Reads them for a task of these positions and attributes; null if there are none. Throws FileError that names the place. */
export function readSections(given: TaskFile['crossSections'], positions: readonly string[], attributes: readonly string[], source: string): KnownSections | null {
  if (!given) return null;
  const names = new Set<string>();
  const sections = given.map(({ name, sites, edits }, i) => {
    const path = `${source}: crossSections[${i}]`;
    if (names.has(name)) throw new FileError(`${path}.name: there are two called "${name}"`);
    names.add(name);
    edits?.forEach((edit, j) => edit.forEach((attribute, k) => {
      if (!attributes.includes(attribute)) throw new FileError(`${path}.edits[${j}][${k}]: there is no attribute "${attribute}"; there are ${attributes.join(', ')}`);
    }));
    const twice = sites.findIndex((site, j) => sites.indexOf(site) < j);
    if (twice >= 0) throw new FileError(`${path}.sites[${twice}]: ${sites[twice]} is listed twice`);
    return { name, sites: sites.map((site, j) => at(`${path}.sites[${j}]`, () => parseSite(site, positions))), ...(edits ? { edits } : {}) };
  });
  return { origin: 'given', sections };
}

function at<T>(path: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof UnknownSiteError) throw new FileError(`${path}: ${error.message}`);
    throw error;
  }
}
