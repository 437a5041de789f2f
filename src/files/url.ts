/**
 * Files behind a URL. Reads parts by HTTP range requests; a server that ignores them sends the whole file, which is then kept
 * and cut here, so that such a server is asked once per file and not once per tensor.
 */
import { FileError } from '../errors.ts';
import { checkRange, fileName, oneLine, parseJson, Unreachable, type FileSource } from './source.ts';

export interface UrlSourceOptions {
  /** Stands in for the platform's fetch: for tests, or to add headers. */
  fetch?: typeof fetch;
}

/** Statuses that mean "there is no such file". Object stores answer 403 for what is missing when listing is not allowed. */
const ABSENT = new Set([403, 404, 410]);

/** A directory behind an http(s) URL. A query string on the base is kept on every file. */
export function urlSource(base: string, options: UrlSourceOptions = {}): FileSource {
  let root: URL;
  try {
    root = new URL(base);
  } catch (cause) {
    throw new FileError(`${base}: not a URL`, { cause });
  }
  if (!root.pathname.endsWith('/')) root.pathname += '/';
  const send = options.fetch ?? ((input: RequestInfo | URL, init?: RequestInit) => fetch(input, init));
  const sizes = new Map<string, number>();
  const whole = new Map<string, Uint8Array>();
  const name = base.replace(/\/+$/, '').replace(/\?.*$/, '');

  function address(path: string): URL {
    const url = new URL(path.split('/').map(encodeURIComponent).join('/'), root);
    url.search = root.search;
    return url;
  }

  async function request(path: string, init?: RequestInit): Promise<Response> {
    try {
      return await send(address(path), init);
    } catch (cause) {
      const reason = (cause as Error).cause instanceof Error ? ((cause as Error).cause as Error).message : (cause as Error).message;
      throw new Unreachable(`${name}/${path}: cannot be fetched: ${oneLine(reason)}`, { cause });
    }
  }

  function refuse(path: string, response: Response): never {
    const text = response.statusText ? ` ${response.statusText}` : '';
    const Kind = response.status >= 500 || response.status === 429 ? Unreachable : FileError;
    throw new Kind(`${name}/${path}: HTTP ${response.status}${text}${response.status === 404 ? ': no such file' : ''}`);
  }

  async function body(path: string, response: Response): Promise<Uint8Array> {
    try {
      return new Uint8Array(await response.arrayBuffer());
    } catch (cause) {
      throw new Unreachable(`${name}/${path}: the download broke off: ${oneLine((cause as Error).message)}`, { cause });
    }
  }

  /** Asks for one byte to learn the length; null when there is no such file. */
  async function probe(path: string): Promise<number | null> {
    const known = sizes.get(path);
    if (known !== undefined) return known;
    const response = await request(path, { headers: { Range: 'bytes=0-0' } });
    let size: number | null = null;
    if (response.status === 206 || response.status === 416) {
      // 416 is how an empty file answers; its header then reads `bytes */0`.
      size = lengthOf(response.headers.get('content-range'));
      await response.body?.cancel();
      if (size === null) size = await headLength(path);
      if (size === null) size = (await download(path)).length;
    } else if (response.ok) {
      const data = await body(path, response);
      whole.set(path, data);
      size = data.length;
    } else {
      await response.body?.cancel();
      if (ABSENT.has(response.status)) return null;
      refuse(path, response);
    }
    sizes.set(path, size);
    return size;
  }

  /** A cross-origin server may hide Content-Range from a page but never Content-Length. */
  async function headLength(path: string): Promise<number | null> {
    const response = await request(path, { method: 'HEAD' });
    const length = response.headers.get('content-length');
    return response.ok && length !== null && /^\d+$/.test(length) && !response.headers.get('content-encoding') ? Number(length) : null;
  }

  async function download(path: string): Promise<Uint8Array> {
    const kept = whole.get(path);
    if (kept) return kept;
    const response = await request(path);
    if (!response.ok) {
      await response.body?.cancel();
      refuse(path, response);
    }
    return body(path, response);
  }

  const source: FileSource = {
    name,
    async has(path) {
      return (await probe(path)) !== null;
    },
    async size(path) {
      const size = await probe(path);
      if (size === null) refuse(path, await request(path, { method: 'HEAD' }));
      return size;
    },
    async bytes(path) {
      const kept = whole.get(path);
      return kept ? kept.slice() : download(path);
    },
    async range(path, start, end) {
      const file = fileName(source, path);
      checkRange(file, start, end, Infinity);
      if (start === end) return new Uint8Array(0);
      const kept = whole.get(path);
      if (kept) {
        checkRange(file, start, end, kept.length);
        return kept.slice(start, end);
      }
      const response = await request(path, { headers: { Range: `bytes=${start}-${end - 1}` } });
      if (response.status === 416) {
        await response.body?.cancel();
        const size = lengthOf(response.headers.get('content-range'));
        throw new FileError(`${file}: truncated: bytes ${start} to ${end} are needed, the file ends at byte ${size ?? '?'}`);
      }
      if (!response.ok) {
        await response.body?.cancel();
        refuse(path, response);
      }
      const data = await body(path, response);
      if (response.status !== 206) {
        whole.set(path, data);
        sizes.set(path, data.length);
        checkRange(file, start, end, data.length);
        return data.slice(start, end);
      }
      const sent = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '');
      if (sent && Number(sent[1]) !== start) throw new FileError(`${file}: the server sent bytes from ${sent[1]} where ${start} was asked for`);
      checkRange(file, start, end, start + data.length);
      return data.length === end - start ? data : data.slice(0, end - start);
    },
    async json<T>(path: string) {
      return parseJson<T>(await source.bytes(path), fileName(source, path));
    },
  };
  return source;
}

/** The total in `bytes 0-0/1234`; null if it is hidden or unknown. */
function lengthOf(contentRange: string | null): number | null {
  const match = /\/(\d+)$/.exec(contentRange ?? '');
  return match ? Number(match[1]) : null;
}
