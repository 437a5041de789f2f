/**
 * Files cut into documents byte by byte. UTF-8 has no character whose bytes hold another one's, so that a separator is found among the bytes
 * and each document knows where it begins, which is where reading goes on later.
 */
import { FileError } from '../../errors.ts';
import { fileName, oneLine, type FileSource } from '../source.ts';

/** Bytes read at a time. */
const PIECE = 1 << 20;

/** Bytes after which a text without separators is cut at the next line. */
export const PART = 1 << 16;

/** Characters that V8 puts into a string. */
const LONGEST = 2 ** 29 - 24;

/** Looks for an end at `from` or behind it: where the document ends and the next begins, or from where to look when there are more bytes. */
export type Cut = (bytes: Uint8Array, from: number) => { end: number; next: number } | { again: number };

/** A document's bytes. `bytes` is good until the next one is asked for; `start` and `next` are where it and the next one begin in the file. */
export interface Part {
  bytes: Uint8Array;
  start: number;
  next: number;
}

/** At each place where these bytes stand. */
export function cutAt(separator: Uint8Array): Cut {
  const [first, length] = [separator[0]!, separator.length];
  return (bytes, from) => {
    for (let i = bytes.indexOf(first, from); i >= 0; i = bytes.indexOf(first, i + 1)) {
      if (i + length > bytes.length) return { again: i };
      let same = 1;
      while (same < length && bytes[i + same] === separator[same]) same++;
      if (same === length) return { end: i, next: i + length };
    }
    return { again: bytes.length };
  };
}

const [TAB, LINE, RETURN, SPACE] = [9, 10, 13, 32];

/** At lines that are empty, or hold blanks and tabs only. */
export const cutAtBlankLine: Cut = (bytes, from) => {
  for (let i = bytes.indexOf(LINE, from); i >= 0; i = bytes.indexOf(LINE, i + 1)) {
    let j = i + 1;
    while (bytes[j] === SPACE || bytes[j] === TAB || bytes[j] === RETURN) j++;
    if (j >= bytes.length) return { again: i };
    if (bytes[j] === LINE) return { end: i, next: j + 1 };
  }
  return { again: bytes.length };
};

/**
 * Behind the first line end after PART bytes that stands alone between two visible characters. There GPT-2's pre-tokenizer ends a piece
 * whatever follows, so that the parts have the same tokens as the whole.
 */
export const cutIntoParts: Cut = (bytes, from) => {
  let i = bytes.indexOf(LINE, Math.max(from, PART));
  for (; i >= 0; i = bytes.indexOf(LINE, i + 1)) {
    // A character is four bytes at most.
    if (i + 5 > bytes.length) return { again: i };
    const [before, behind] = [bytes.subarray(i - 4, i), bytes.subarray(i + 1, i + 5)].map((four) => LENIENT.decode(four)) as [string, string];
    if (/\S$/u.test(before) && /^\S/u.test(behind)) return { end: i + 1, next: i + 1 };
  }
  return { again: Math.max(bytes.length, PART) };
};

/** The last part may be empty. Throws FileError for a file that is broken or ends before byte `from`. */
export async function* cutBytes(source: FileSource, path: string, cut: Cut, from = 0): AsyncGenerator<Part> {
  let buffer = new Uint8Array(0);
  // What is not yet given of the bytes read: from `begin` to `end`, the first of which is byte `at` of the file.
  let [begin, end, at, searched] = [0, 0, from, 0];
  for await (const piece of piecesOf(source, path, from)) {
    if (end + piece.length > buffer.length) {
      const kept = buffer.subarray(begin, end);
      // Twice what is needed, so that a long document is not copied again for every piece.
      if (kept.length + piece.length > buffer.length) buffer = new Uint8Array(2 * (kept.length + piece.length));
      buffer.set(kept);
      [begin, end] = [0, kept.length];
    }
    buffer.set(piece, end);
    end += piece.length;
    // The mark of UTF-8 that some programs put before all else.
    if (at === 0 && begin === 0 && MARK.every((byte, i) => piece[i] === byte)) begin = at = MARK.length;
    for (;;) {
      const bytes = buffer.subarray(begin, end);
      const found = cut(bytes, searched);
      if ('again' in found) {
        searched = found.again;
        break;
      }
      yield { bytes: bytes.subarray(0, found.end), start: at, next: at + found.next };
      begin += found.next;
      at += found.next;
      searched = 0;
    }
  }
  yield { bytes: buffer.subarray(begin, end), start: at, next: at + end - begin };
}

/** A file's bytes from byte `from` on, piece by piece; of a .gz file the bytes that it holds. */
async function* piecesOf(source: FileSource, path: string, from: number): AsyncGenerator<Uint8Array> {
  const packed = /\.gz$/i.test(path);
  let left = from;
  for await (const piece of packed ? unpacked(source, path) : storedPieces(source, path, from)) {
    const skipped = packed ? Math.min(left, piece.length) : 0;
    left -= skipped;
    if (skipped < piece.length) yield piece.subarray(skipped);
  }
  if (packed && left > 0) throw shorter(source, path, from - left, from);
}

async function* storedPieces(source: FileSource, path: string, from: number): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const size = await source.size(path);
  if (from > size) throw shorter(source, path, size, from);
  for (let at = from; at < size; at += PIECE) yield (await source.range(path, at, Math.min(size, at + PIECE))) as Uint8Array<ArrayBuffer>;
}

function shorter(source: FileSource, path: string, size: number, from: number): FileError {
  return new FileError(`${fileName(source, path)}: ends at byte ${size}, and reading stood at byte ${from}: it is not the file that was read`);
}

async function* unpacked(source: FileSource, path: string): AsyncGenerator<Uint8Array> {
  const pieces = storedPieces(source, path, 0);
  let failed: unknown = null;
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    async pull(controller) {
      try {
        const { value, done } = await pieces.next();
        if (done) controller.close();
        else controller.enqueue(value);
      } catch (error) {
        failed = error;
        controller.error(error);
      }
    },
  });
  const reader = stream.pipeThrough(new DecompressionStream('gzip')).getReader();
  try {
    for (let { value, done } = await reader.read(); !done; { value, done } = await reader.read()) yield value!;
  } catch (cause) {
    if (failed) throw failed;
    throw new FileError(`${fileName(source, path)}: not a gzip file that can be unpacked: ${oneLine((cause as Error).message)}`, { cause });
  } finally {
    await reader.cancel().catch(() => {});
  }
}

const MARK = [0xef, 0xbb, 0xbf];
const STRICT = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const LENIENT = new TextDecoder('utf-8', { ignoreBOM: true });

/** A document's bytes as text. Throws FileError, which names file and bytes, for what is not UTF-8 or more than a text can be. */
export function textOf({ bytes, start, next }: Part, file: string): string {
  if (bytes.length > LONGEST) throw new FileError(`${file}: bytes ${start} to ${start + bytes.length} are one document, longer than a text can be; a separator may be missing`);
  try {
    return STRICT.decode(bytes);
  } catch (cause) {
    throw new FileError(`${file}: not UTF-8 text between bytes ${start} and ${next}`, { cause });
  }
}
