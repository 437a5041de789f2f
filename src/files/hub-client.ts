/**
 * What is asked of a hub, through Hugging Face's own client: the commit of a revision, the files of a commit, and the bytes of a file from
 * any place on. Requests that fail for reasons that pass (no connection, a busy server, silence) are made again; progress starts the
 * patience anew.
 */
import { FileError } from '../errors.ts';
import { oneLine, Unreachable } from './source.ts';

export interface HubClientOptions {
  /** Address of the hub; Hugging Face's unless given. */
  endpoint?: string;
  /** Sent to the hub for private repositories. */
  token?: string;
  /** Stands in for the platform's fetch. */
  fetch?: typeof fetch;
  signal?: AbortSignal;
  /** How often a failing request is made again without a byte of progress, the first wait (doubled each time) and the silence that counts as a failure, in milliseconds. */
  patience?: { attempts?: number; wait?: number; silence?: number };
}

/** A file as the hub lists it. Its digest is the SHA-256 of a large file, or git's SHA-1 of a small one. */
export interface HubFile {
  size: number;
  digest: string;
}

export interface Taking {
  /** First byte that is needed. */
  start: number;
  take(bytes: Uint8Array): Promise<void>;
}

export interface HubClient {
  commit(revision: string): Promise<string>;
  list(commit: string): Promise<Record<string, HubFile>>;
  /** Hands over the bytes of a file in their order. False where the hub began again at byte 0 and so nothing more was taken. */
  download(commit: string, path: string, size: number, taking: Taking): Promise<boolean>;
}

/** What a repository's name says: `owner/name` of a model, `datasets/owner/name` of a data set. */
export function hubRepository(repository: string): { isDataset: boolean; id: string; kind: string } {
  const isDataset = repository.startsWith('datasets/');
  return { isDataset, id: isDataset ? repository.slice('datasets/'.length) : repository, kind: isDataset ? 'data set' : 'model' };
}

/** At first contact it is likelier that the name was meant for something else, or that there is no network. */
const FIRST_ATTEMPTS = 3;

const TEMPORARY = new Set([408, 425, 429, 500, 502, 503, 504]);

/** A repository's name; a data set's begins with `datasets/`. */
export function hubClient(repository: string, options: HubClientOptions): HubClient {
  const { isDataset, id, kind } = hubRepository(repository);
  const designation = { type: isDataset ? 'dataset' as const : 'model' as const, name: id };
  const { endpoint, token, signal, patience: { attempts = 5, wait = 500, silence = 30_000 } = {} } = options;
  const send = options.fetch ?? ((input: RequestInfo | URL, init?: RequestInit) => fetch(input, init));
  const shared = { ...(endpoint ? { hubUrl: endpoint.replace(/\/+$/, '') } : {}), ...(token ? { accessToken: token as `hf_${string}` } : {}) };
  const load = () => import('./hub-functions.ts');

  /** One attempt's fetch, which ends with the attempt. */
  const within = ({ signal: end }: AbortController): typeof fetch => (input, init) => send(input, { ...init, signal: end });

  /** Makes attempts until one succeeds, or `attempts` of them in a row came no further. */
  async function patiently<T>(
    what: () => string, attempt: (controller: AbortController, alive: () => void) => Promise<T>, { progress = () => 0, most = attempts }: { progress?: () => number; most?: number } = {},
  ): Promise<T> {
    for (let failures = 0; ; ) {
      const before = progress();
      const controller = new AbortController();
      const stop = (): void => controller.abort(signal!.reason);
      signal?.throwIfAborted();
      signal?.addEventListener('abort', stop, { once: true });
      let timer: ReturnType<typeof setTimeout> | undefined;
      const alive = (): void => {
        clearTimeout(timer);
        timer = setTimeout(() => controller.abort(new Error(`nothing came for ${silence / 1000} s`)), silence);
      };
      alive();
      try {
        return await attempt(controller, alive);
      } catch (cause) {
        signal?.throwIfAborted();
        // Faults of the disk, and answers that no repetition changes.
        if (cause instanceof FileError) throw cause;
        const status = statusOf(cause);
        if (status !== null && !TEMPORARY.has(status)) throw new FileError(refusal(repository, kind, status, cause), { cause });
        if (progress() > before) failures = 0;
        failures += 1;
        if (failures >= most) throw new Unreachable(`the hub cannot be reached for ${what()}: ${status === null ? reason(cause) : `HTTP ${status}`}`, { cause });
        await pause(wait * 2 ** (failures - 1), signal);
      } finally {
        clearTimeout(timer);
        signal?.removeEventListener('abort', stop);
        controller.abort();
      }
    }
  }

  return {
    async commit(revision) {
      const { datasetInfo, modelInfo } = await load();
      const found = await patiently(() => `revision ${revision} of ${repository}`, async (controller): Promise<{ sha: string }> => {
        const asked = { ...shared, name: id, revision, fetch: within(controller) };
        return isDataset ? datasetInfo({ ...asked, additionalFields: ['sha'] }) : modelInfo({ ...asked, additionalFields: ['sha'] });
      }, { most: Math.min(attempts, FIRST_ATTEMPTS) });
      if (!/^[0-9a-f]{40}$/.test(found.sha)) throw new FileError(`${repository}: the hub names ${oneLine(String(found.sha))} as the commit of ${revision}, which is none`);
      return found.sha;
    },
    async list(commit) {
      const { listFiles } = await load();
      return patiently(() => `the files of ${repository}`, async (controller, alive) => {
        const files: Record<string, HubFile> = {};
        for await (const { type, path, size, oid, lfs } of listFiles({ ...shared, repo: designation, revision: commit, recursive: true, fetch: within(controller) })) {
          alive();
          const digest = lfs?.oid.replace(/^sha256:/, '') ?? oid;
          if (type === 'file' && digest) files[path] = { size: lfs?.size ?? size, digest };
        }
        return files;
      });
    },
    async download(commit, path, size, { start, take }) {
      const { downloadFile } = await load();
      let at = start;
      return patiently(() => `${path} (${at} of ${size} bytes are kept)`, async (controller, alive) => {
        if (at >= size) return true;
        let whole = false;
        const fetchPart: typeof fetch = async (input, init) => {
          const response = await within(controller)(input, init);
          const from = Number(/^bytes=(\d+)-/.exec(new Headers(init?.headers).get('range') ?? '')?.[1] ?? 0);
          whole ||= from > 0 && response.status === 200;
          // The client hands on what is thrown here as a text only, hence the flag.
          if (whole) throw new Error('the whole file was sent where a part was asked for');
          return response;
        };
        // Plain HTTP, not the hub's own protocol of chunks: parts of a file are then parts of a request, and any mirror can serve them.
        const blob = await downloadFile({ ...shared, repo: designation, path, revision: commit, xet: false, fetch: fetchPart });
        if (!blob) throw new FileError(`${repository}/${path}: the hub lists it but does not have it`);
        if (blob.size !== size) throw new FileError(`${repository}/${path}: the hub lists ${size} bytes and serves ${blob.size}`);
        const reader = (at > 0 ? blob.slice(at) : blob).stream().getReader();
        for (;;) {
          const { done, value } = await reader.read().catch((cause: unknown) => {
            if (whole) return { done: true, value: undefined } as const;
            throw cause;
          });
          if (done) break;
          alive();
          if (at + value.length > size) throw new FileError(`${repository}/${path}: the hub sends more than the ${size} bytes that it lists`);
          await take(value);
          at += value.length;
        }
        if (!whole && at < size) throw new Error(`it ended at byte ${at} of ${size}`);
        return !whole;
      }, { progress: () => at });
    },
  };
}

/** The HTTP status that a fault of the client stands for, if it does. */
function statusOf(cause: unknown): number | null {
  const status = (cause as { statusCode?: unknown } | null)?.statusCode;
  return typeof status === 'number' ? status : null;
}

function refusal(repository: string, kind: string, status: number, cause: unknown): string {
  // The hub answers 401 for what is not there, so as not to tell what is private.
  if (status === 401 || status === 403) return `${repository}: the hub has no such public ${kind} (HTTP ${status}); a private or gated one needs HF_TOKEN`;
  if (status === 404) return `${repository}: the hub has no such ${kind}, revision or file (HTTP 404)`;
  return `${repository}: the hub refuses it: HTTP ${status}: ${oneLine((cause as Error).message)}`;
}

/** What lies behind "fetch failed". */
function reason(cause: unknown): string {
  const inner = (cause as { cause?: unknown } | null)?.cause;
  if (inner instanceof Error) return oneLine(inner.message || String((inner as { code?: unknown }).code ?? inner.name));
  return oneLine(cause instanceof Error ? cause.message : String(cause));
}

function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(done, milliseconds);
    function done(): void {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      if (signal?.aborted) reject(signal.reason as Error);
      else resolve();
    }
    signal?.addEventListener('abort', done, { once: true });
  });
}
