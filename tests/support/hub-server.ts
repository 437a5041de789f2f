/**
 * A local HTTP server that answers as the hub does what its client asks: the commit of a revision, the files of a commit with their digests,
 * and files by commit, in parts. It can break off, refuse, fall silent, ignore ranges and spoil what it sends.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What goes wrong with the next requests for a file's bytes. Each request takes the first that is left. */
export type Trouble =
  | { kind: 'cut'; after: number }
  | { kind: 'silent'; after: number }
  | { kind: 'status'; status: number }
  | { kind: 'spoil' }
  | { kind: 'whole' }
  | { kind: 'slow'; piece: number; wait: number };

export interface HubServer {
  readonly url: string;
  /** `METHOD path range` of each request. */
  readonly requests: string[];
  readonly commits: Record<string, string>;
  readonly troubles: Trouble[];
  /** Large files come in pieces with waits between them, in milliseconds. */
  slow: { piece: number; wait: number } | null;
  /** Faults of the commit and listing, before they are answered rightly. */
  readonly apiStatus: number[];
  /** Ends all connections and refuses new ones until `up` is called, at the same address. */
  down(): Promise<void>;
  up(): Promise<void>;
  close(): Promise<void>;
}

export const COMMIT = '0123456789abcdef0123456789abcdef01234567';
export const OLD_COMMIT = 'fedcba9876543210fedcba9876543210fedcba98';

/** Files larger than this are listed with a SHA-256, as the hub does for what it keeps outside git. */
const LARGE = 4096;

/** `repository` of a data set begins with `datasets/`. */
export async function hubServer(repository: string, files: Readonly<Record<string, Uint8Array>>, { token }: { token?: string } = {}): Promise<HubServer> {
  const requests: string[] = [];
  const troubles: Trouble[] = [];
  const apiStatus: number[] = [];
  let hub: HubServer;
  const commits: Record<string, string> = { main: COMMIT, old: OLD_COMMIT };

  function answer(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(request.url!.replace(/\?.*$/, ''));
    requests.push(`${request.method} ${path} ${request.headers.range ?? ''}`.trim());
    // A page on another origin may read it only if the server says so, as the hub does.
    response.setHeader('access-control-allow-origin', '*');
    response.setHeader('access-control-expose-headers', '*, etag, content-range, x-error-code, x-linked-size, x-linked-etag');
    response.setHeader('access-control-allow-headers', '*, authorization, range');
    if (request.method === 'OPTIONS') return void response.writeHead(204).end();
    if (token && request.headers.authorization !== `Bearer ${token}`) return void json(response, 401, { error: 'Invalid username or password.' });
    const [kind, id] = repository.startsWith('datasets/') ? ['datasets', repository.slice('datasets/'.length)] : ['models', repository];
    const info = new RegExp(`^/api/${kind}/${id}/revision/(.+)$`).exec(path);
    const tree = new RegExp(`^/api/${kind}/${id}/tree/([^/]+)$`).exec(path);
    const file = new RegExp(`^/${repository}/resolve/([^/]+)/(.+)$`).exec(path);
    if (info || tree) {
      const status = apiStatus.shift();
      if (status) return void json(response, status, { error: 'busy' });
      const commit = commits[(info ?? tree)![1]!] ?? (info ?? tree)![1]!;
      if (!Object.values(commits).includes(commit)) return void json(response, 404, { error: 'Revision not found' });
      if (info) return void json(response, 200, { _id: 'x', id: repository, sha: commit, private: false, gated: false, downloads: 1, likes: 1, lastModified: '2024-01-01T00:00:00.000Z' });
      return void json(response, 200, [{ type: 'directory', path: 'folder', size: 0, oid: '0'.repeat(40) }, ...Object.entries(files).map(([name, data]) => ({
        type: 'file', path: name, size: data.length, oid: gitDigest(data),
        ...(data.length > LARGE ? { lfs: { oid: createHash('sha256').update(data).digest('hex'), size: data.length, pointerSize: 130 } } : {}),
      }))]);
    }
    if (!file) return void json(response, 401, { error: 'Repository not found' });
    const data = files[file[2]!];
    if (!data) return void response.writeHead(404, { 'x-error-code': 'EntryNotFound' }).end();
    sendPart(request, response, data);
  }

  function sendPart(request: IncomingMessage, response: ServerResponse, data: Uint8Array): void {
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
    const isProbe = request.headers.range === 'bytes=0-0';
    const trouble: Trouble | undefined = isProbe ? undefined : troubles.shift() ?? (hub.slow && data.length > 100 * LARGE ? { kind: 'slow', ...hub.slow } : undefined);
    const head = { etag: `"${createHash('sha256').update(data).digest('hex')}"`, 'accept-ranges': 'bytes' };
    if (trouble?.kind === 'status') return void response.writeHead(trouble.status).end('trouble');
    const part = range && trouble?.kind !== 'whole';
    const [start, end] = part ? [Number(range[1]), Math.min(Number(range[2]) + 1, data.length)] : [0, data.length];
    const body = Buffer.from(data.slice(start, end));
    if (trouble?.kind === 'spoil' && body.length > 0) body[body.length >> 1]! ^= 1;
    response.writeHead(part ? 206 : 200, { ...head, 'content-length': body.length, ...(part ? { 'content-range': `bytes ${start}-${end - 1}/${data.length}` } : {}) });
    if (trouble?.kind === 'cut') return void response.write(body.subarray(0, trouble.after), () => setTimeout(() => response.destroy(), 20));
    if (trouble?.kind === 'silent') return void response.write(body.subarray(0, trouble.after));
    if (trouble?.kind === 'slow') return void drip(response, body, trouble.piece, trouble.wait);
    response.end(body);
  }

  const server = createServer(answer);
  const up = (port: number): Promise<void> => new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  const down = (): Promise<void> => new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
  await up(0);
  const { port } = server.address() as AddressInfo;
  hub = { url: `http://127.0.0.1:${port}`, requests, commits, troubles, slow: null, apiStatus, down, up: () => up(port), close: async () => (server.listening ? down() : undefined) };
  return hub;
}

/** What git names a file's content by. */
export function gitDigest(data: Uint8Array): string {
  return createHash('sha1').update(`blob ${data.length}\0`).update(data).digest('hex');
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

async function drip(response: ServerResponse, body: Buffer, piece: number, wait: number): Promise<void> {
  for (let at = 0; at < body.length && !response.destroyed; at += piece) {
    response.write(body.subarray(at, at + piece));
    await new Promise((resolve) => setTimeout(resolve, wait));
  }
  response.end();
}
