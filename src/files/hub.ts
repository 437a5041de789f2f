/** Names of a hub's repositories, and their files. What fetches and checks files (hub-files.ts) is loaded when the first one is asked for. */
import { UsageError } from '../errors.ts';
import type { HubCache } from './hub-cache.ts';
import type { HubClientOptions } from './hub-client.ts';
import { once } from './once.ts';
import type { FileSource } from './source.ts';

export interface HubOptions extends HubClientOptions {
  /** Where files are kept. */
  cache: HubCache;
  /** A branch, tag or commit; `main` unless given. */
  revision?: string;
  /** A folder of the repository that the source's paths start from. */
  folder?: string;
  /** Ask nobody: what is not in the cache is missing. */
  offline?: boolean;
  /** Bytes of a file that are there, and all of them, while it comes in. */
  onProgress?: (path: string, done: number, total: number) => void;
}

const REPOSITORY = /^(datasets\/)?[A-Za-z0-9][\w.-]*(\/[\w.-]+)?$/;

/** Whether a text can be the name of a hub's repository: `gpt2`, or `owner/name`; of a data set with `datasets/` before it. */
export function isHubName(text: string): boolean {
  return REPOSITORY.test(text) && !text.includes('..');
}

/**
 * What `hub:owner/name@revision/folder` names, or `hub:datasets/owner/name@revision/folder`; revision and folder may be left away, and a name
 * without an owner has no folder. A slash within a revision is written %2F. UsageError for what is no such address.
 */
export function parseHubAddress(text: string): { repository: string; revision?: string; folder?: string } {
  const match = /^hub:((?:datasets\/)?[^/@]+(?:\/[^/@]+)?)(?:@([^/]+))?(?:\/(.+?))?\/?$/.exec(text);
  if (!match || !isHubName(match[1]!)) throw new UsageError(`${text}: not a name on a hub; hub:owner/name, hub:owner/name@revision or hub:owner/name/folder is needed`);
  const [, repository, revision, folder] = match;
  return { repository: repository!, ...(revision ? { revision: revision.replace(/%2f/gi, '/') } : {}), ...(folder ? { folder } : {}) };
}

/** The repository's files. Nothing is asked of the hub before a file is. UsageError for a name or revision that cannot be one. */
export function hubSource(repository: string, options: HubOptions): FileSource {
  const { revision = 'main', folder = '' } = options;
  if (!isHubName(repository)) throw new UsageError(`${repository}: not a name on a hub; owner/name is needed`);
  if (!/^[\w.-]+(\/[\w.-]+)*$/.test(revision) || revision.includes('..')) throw new UsageError(`${revision}: not a revision; a branch, tag or commit is needed`);
  const files = once(async () => (await import('./hub-files.ts')).hubFiles(repository, options));
  return {
    name: folder ? `${repository}/${folder}` : repository,
    has: async (path) => (await files()).has(path),
    size: async (path) => (await files()).size(path),
    bytes: async (path) => (await files()).bytes(path),
    range: async (path, start, end) => (await files()).range(path, start, end),
    json: async (path) => (await files()).json(path),
    list: async () => (await files()).list(),
    origin: async () => (await files()).origin(),
  };
}
