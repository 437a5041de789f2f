/** Text files, JSON lines, and lists of token ids. */
import { FileError } from '../../errors.ts';
import { fileName, oneLine, type FileSource } from '../source.ts';
import { contentOf, fieldOf, type Content, type DocumentOptions } from './documents.ts';

/** Bytes read at a time. */
const PIECE = 1 << 20;

/** The text of a file between separators, read in pieces; what a piece cuts through is put together again. Throws FileError for what is not UTF-8. */
async function* between(source: FileSource, path: string, separator: string): AsyncGenerator<string> {
  const size = await source.size(path);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let rest = '';
  for (let at = 0; at < size; at += PIECE) {
    const end = Math.min(size, at + PIECE);
    try {
      rest += decoder.decode(await source.range(path, at, end), { stream: end < size });
    } catch (cause) {
      if (cause instanceof FileError) throw cause;
      throw new FileError(`${fileName(source, path)}: not UTF-8 text between bytes ${at} and ${end}`, { cause });
    }
    const parts = rest.split(separator);
    rest = parts.pop()!;
    yield* parts;
  }
  yield rest;
}

/** Documents that are not empty. */
export async function* plainText(source: FileSource, path: string, first: number, { separator }: DocumentOptions): AsyncGenerator<Content> {
  let row = 0;
  if (separator === undefined || separator === '') {
    const whole: string[] = [];
    for await (const part of between(source, path, '\n')) whole.push(part);
    const text = whole.join('\n');
    if (first === 0 && text.trim() !== '') yield { text };
    return;
  }
  for await (const text of between(source, path, separator)) {
    if (text.trim() === '') continue;
    if (row++ >= first) yield { text };
  }
}

export async function* jsonLines(source: FileSource, path: string, first: number, { field }: DocumentOptions): AsyncGenerator<Content> {
  const file = fileName(source, path);
  let [line, row] = [0, 0];
  for await (const text of between(source, path, '\n')) {
    line += 1;
    if (text.trim() === '') continue;
    if (row++ < first) continue;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw new FileError(`${file}: line ${line} is no JSON: ${oneLine((cause as Error).message)}`, { cause });
    }
    if (typeof value !== 'object' || value === null) throw new FileError(`${file}: line ${line} is no JSON object`);
    const record = value as Record<string, unknown>;
    yield contentOf(record[fieldOf(Object.keys(record), field, `${file}: line ${line}`)], `${file}: line ${line}`);
  }
}

/** A JSON list of lists of token ids. */
export async function* tokenLists(source: FileSource, path: string, first: number): AsyncGenerator<Content> {
  const file = fileName(source, path);
  const lists = await source.json(path);
  if (!Array.isArray(lists)) throw new FileError(`${file}: a list of lists of token ids is needed`);
  for (let row = first; row < lists.length; row++) {
    const content = contentOf(lists[row], `${file}: entry ${row}`);
    if (content.tokens === undefined) throw new FileError(`${file}: entry ${row}: a list of token ids is needed`);
    yield content;
  }
}
