/** Text files, JSON lines, and lists in JSON. */
import { FileError } from '../../errors.ts';
import { fileName, oneLine, parseJson, type FileSource } from '../source.ts';
import { cutAt, cutAtBlankLine, cutBytes, cutIntoParts, textOf, type Cut, type Part } from './cuts.ts';
import { checkPlace, contentOf, fieldOf, type Content, type DocumentOptions, type Found, type Place } from './documents.ts';

/** The separator that stands for lines without text, however many. */
export const BLANK_LINES = '\n\n';

const LINES = cutAt(Uint8Array.of(10));

/** Documents that are not empty. */
export async function* plainText(source: FileSource, path: string, from: Place, { separator = '' }: DocumentOptions): AsyncGenerator<Found> {
  const file = fileName(source, path);
  const whole = separator === '';
  const cut: Cut = whole ? cutIntoParts : separator === BLANK_LINES ? cutAtBlankLine : cutAt(new TextEncoder().encode(separator));
  let row = from.offset === undefined ? 0 : from.row;
  for await (const part of cutBytes(source, path, cut, from.offset)) {
    let text = textOf(part, file);
    if (text.trim() === '') continue;
    // An odd blank line is left before the text.
    if (separator === BLANK_LINES) text = text.replace(/^\s*\n/, '');
    if (row >= from.row) yield { content: { text }, start: part.start, end: part.next, ...(whole && row > 0 ? { continues: true } : {}) };
    row += 1;
  }
  checkPlace(file, row, from);
}

export async function* jsonLines(source: FileSource, path: string, from: Place, { field }: DocumentOptions): AsyncGenerator<Found> {
  const file = fileName(source, path);
  let [line, row] = [0, from.offset === undefined ? 0 : from.row];
  for await (const part of cutBytes(source, path, LINES, from.offset)) {
    line += 1;
    if (isBlank(part.bytes)) continue;
    if (row++ < from.row) continue;
    // Lines before the place were not counted.
    const place = from.offset === undefined ? `${file}: line ${line}` : `${file}: line at byte ${part.start}`;
    let value: unknown;
    const text = textOf(part, file);
    try {
      value = JSON.parse(text);
    } catch (cause) {
      throw new FileError(`${place} is no JSON: ${oneLine((cause as Error).message)}`, { cause });
    }
    if (!isRecord(value)) throw new FileError(`${place} is no JSON object`);
    yield { content: inRecord(value, field, place), start: part.start, end: part.next };
  }
  checkPlace(file, row, from);
}

/** A list of texts, of lists of token ids or of objects with a field of either; or JSON lines, if it begins as an object. */
export async function* jsonDocuments(source: FileSource, path: string, from: Place, options: DocumentOptions): AsyncGenerator<Found> {
  const file = fileName(source, path);
  // Only JSON lines have places in bytes.
  if (from.offset !== undefined || (await firstCharacter(source, path)) === '{') return yield* jsonLines(source, path, from, options);
  const parts: Uint8Array[] = [];
  for await (const { bytes } of cutBytes(source, path, (all) => ({ again: all.length }))) parts.push(bytes);
  const lists = parseJson(parts[0]!, file);
  if (!Array.isArray(lists)) throw new FileError(`${file}: a list of texts or of lists of token ids is needed`);
  checkPlace(file, lists.length, from);
  for (let row = from.row; row < lists.length; row++) {
    const [entry, place]: [unknown, string] = [lists[row], `${file}: entry ${row}`];
    yield { content: isRecord(entry) ? inRecord(entry, options.field, place) : contentOf(entry, place) };
  }
}

/** The first byte that is no blank, as a character; empty in a file without any. */
async function firstCharacter(source: FileSource, path: string): Promise<string> {
  const first = cutBytes(source, path, (bytes, from) => {
    const at = bytes.findIndex((byte, i) => i >= from && !isSpace(byte));
    return at < 0 ? { again: bytes.length } : { end: at + 1, next: at + 1 };
  });
  const { value } = await first.next();
  await first.return(undefined);
  return String.fromCharCode((value as Part).bytes.at(-1) ?? 32).trim();
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function inRecord(record: Record<string, unknown>, field: string | undefined, place: string): Content {
  return contentOf(record[fieldOf(Object.keys(record), field, place)], place);
}

function isBlank(bytes: Uint8Array): boolean {
  return bytes.every(isSpace);
}

function isSpace(byte: number): boolean {
  return byte === 32 || (byte >= 9 && byte <= 13);
}
