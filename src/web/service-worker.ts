/**
 * Keeps the page and the embedded model for use without a network. The build writes the list of files, named by their contents together: a new
 * build is a new cache, and the old one goes. The benchmark's other engines are large and are kept once they were used.
 */
declare const PAGE_FILES: string[];
declare const PAGE_DIGEST: string;
/** What TypeScript's library for pages does not know of service workers. */
interface Scope {
  skipWaiting(): Promise<void>;
  clients: { claim(): Promise<void> };
  registration: { scope: string };
  addEventListener(type: 'install' | 'activate', listener: (event: { waitUntil(work: Promise<unknown>): void }) => void): void;
  addEventListener(type: 'fetch', listener: (event: { request: Request; respondWith(answer: Promise<Response>): void }) => void): void;
}

const scope = self as unknown as Scope;
const PREFIX = 'diffract ';
const NAME = PREFIX + PAGE_DIGEST;

scope.addEventListener('install', (event) => event.waitUntil((async () => {
  await (await caches.open(NAME)).addAll(PAGE_FILES.map((file) => new Request(file, { cache: 'reload' })));
  await scope.skipWaiting();
})()));

scope.addEventListener('activate', (event) => event.waitUntil((async () => {
  for (const name of await caches.keys()) if (name.startsWith(PREFIX) && name !== NAME) await caches.delete(name);
  await scope.clients.claim();
})()));

scope.addEventListener('fetch', (event) => {
  const { request } = event;
  // Models of a hub come from elsewhere and are kept elsewhere. A part of a file cannot come out of a cache as it lies there.
  if (request.method !== 'GET' || !request.url.startsWith(scope.registration.scope)) return;
  event.respondWith(answer(request));
});

async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(NAME);
  const kept = await cache.match(request, { ignoreSearch: true });
  if (kept) return request.headers.has('range') ? part(kept, request.headers.get('range')!) : kept;
  // The list is complete: what is not on it is not there, such as the files that only some models have.
  const fresh = await fetch(request).catch(() => new Response(null, { status: 404, statusText: 'not kept, and there is no network' }));
  if (fresh.status === 200) await cache.put(request, fresh.clone()).catch(() => {});
  return fresh;
}

/** The part of a file that a range asks for, as a server would answer. */
async function part(whole: Response, range: string): Promise<Response> {
  const bytes = await whole.arrayBuffer();
  const [, from, to] = /^bytes=(\d+)-(\d*)$/.exec(range) ?? [];
  if (from === undefined || Number(from) >= bytes.byteLength) return new Response(null, { status: 416, headers: { 'Content-Range': `bytes */${bytes.byteLength}` } });
  const end = Math.min(to ? Number(to) + 1 : bytes.byteLength, bytes.byteLength);
  return new Response(bytes.slice(Number(from), end), {
    status: 206, headers: { 'Content-Range': `bytes ${from}-${end - 1}/${bytes.byteLength}`, 'Content-Type': whole.headers.get('Content-Type') ?? 'application/octet-stream', 'Accept-Ranges': 'bytes' },
  });
}
