/** From what a person writes to the files that it names. */
import { UsageError } from '../errors.ts';
import { hubSource, parseHubAddress, type HubOptions } from './hub.ts';
import { opfsHubCache } from './opfs-hub-cache.ts';
import type { FileSource } from './source.ts';
import { urlSource } from './url.ts';

let openPath: ((path: string) => FileSource) | null = null;
let hubDefaults: () => HubOptions = () => ({ cache: opfsHubCache() });

/** Teaches openSource to open paths of the machine it runs on, and where a hub's files are kept there; `src/node.ts` does so. */
export function installOpeners(path: (path: string) => FileSource, hub: () => HubOptions): void {
  openPath = path;
  hubDefaults = hub;
}

/**
 * The files of a hub's repository, kept where this platform keeps them: in Node the directory of the Python tools, in a browser the page's
 * private file system. Options stand in for what the platform has. UsageError for a name or revision that cannot be one.
 */
export function openHub(repository: string, options: Partial<HubOptions> = {}): FileSource {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  return hubSource(repository, { ...hubDefaults(), ...given });
}

/**
 * Opens what a user names: a FileSource as it is, an http(s) URL, `hub:owner/name` with `@revision` or `/folder` if need be, or (in Node) a
 * directory.
 */
export function openSource(where: string | FileSource): FileSource {
  if (typeof where !== 'string') return where;
  if (/^https?:\/\//i.test(where)) return urlSource(where);
  if (where.startsWith('hub:')) {
    const { repository, ...rest } = parseHubAddress(where);
    return openHub(repository, rest);
  }
  if (where.trim() === '') throw new UsageError('an empty path was given where a directory or URL is needed');
  if (!openPath) throw new UsageError(`${where}: paths can be opened only in Node (import 'diffract/node'); give an http(s) URL, hub:owner/name or a FileSource`);
  return openPath(where);
}
