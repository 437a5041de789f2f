/** A server of files for pages on this machine. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize, resolve as absolute, sep } from 'node:path';
import { UsageError } from '../errors.ts';

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.mjs': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.map': 'application/json', '.svg': 'image/svg+xml', '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
};

export interface ServeOptions {
  /** A free one unless given. */
  port?: number;
  /** This machine alone unless given. */
  host?: string;
}

export interface FolderServer { url: string; close(): void }

/**
 * Serves a folder, parts of files too. The pages are isolated from other origins, so that their clocks are fine-grained.
 * UsageError where the port is taken or the address is not this machine's.
 */
export async function serveFolder(folder: string, { port = 0, host = '127.0.0.1' }: ServeOptions = {}): Promise<FolderServer> {
  const root = absolute(folder);
  const server: Server = createServer((request, response) => {
    void (async () => {
      const path = normalize(decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname)).replace(/[/\\]$/, `${sep}index.html`);
      const file = join(root, path);
      const info = await stat(file);
      if (!info.isFile() || !file.startsWith(root + sep)) throw new Error('no file');
      const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? [];
      const start = Number(from ?? 0);
      const end = to ? Math.min(Number(to), info.size - 1) : info.size - 1;
      if (from && start >= info.size) return void response.writeHead(416, { 'Content-Range': `bytes */${info.size}` }).end();
      response.writeHead(from ? 206 : 200, {
        'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream', 'Content-Length': end - start + 1, 'Accept-Ranges': 'bytes',
        ...(from ? { 'Content-Range': `bytes ${start}-${end}/${info.size}` } : {}),
        'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp', 'Cache-Control': 'no-store',
      });
      if (request.method === 'HEAD' || info.size === 0) response.end();
      else createReadStream(file, { start, end }).on('error', () => response.destroy()).pipe(response);
    })().catch(() => { if (!response.headersSent) response.writeHead(404); response.end(); });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(new UsageError(error.code === 'EADDRINUSE' ? `port ${port} of ${host} is taken; --port 0 takes a free one` : `${host}:${port} cannot be listened on: ${error.message}`)));
    server.listen(port, host, resolve);
  });
  const address = server.address() as AddressInfo;
  return { url: `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}/`, close: () => { server.close(); server.closeAllConnections(); } };
}
