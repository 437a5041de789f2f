/**
 * Text and token ids to train on, document by document, from one shard after the other:
 *
 *   .txt              documents between separators, or the whole file
 *   .jsonl, .ndjson   a JSON object a line, the text in one of its fields
 *   .parquet          a row a document: text, or lists of token ids
 *   .json             a list of lists of token ids
 *   .bin              uint16 token ids without end, as nanoGPT writes them, in documents of equal length
 *
 * Shards are read by parts, never whole where their format allows it. A place among the documents is two numbers, so that reading can stop
 * and go on at the same one.
 */
import { FileError, UsageError } from '../../errors.ts';
import { fileName, type FileSource } from '../source.ts';
import { binDocuments } from './bin.ts';
import { jsonLines, plainText, tokenLists } from './lines.ts';
import { parquetRows } from './parquet.ts';

/** What a model is to read: text, or token ids that need no tokenizer. */
export type Content = { text: string; tokens?: undefined } | { tokens: ArrayLike<number>; text?: undefined };

/** A place: the next document is number `row` of shard number `shard`. */
export interface Cursor {
  shard: number;
  row: number;
}

/** A shard: a file of a source. */
export interface TextFile {
  source: FileSource;
  path: string;
}

export interface Document {
  content: Content;
  /** Its own place. */
  at: Cursor;
  /** As messages name it: file and row. */
  name: string;
}

export interface DocumentOptions {
  /** Field or column of the text or tokens; `text`, `input_ids` or `tokens` unless given, whichever there is. */
  field?: string;
  /** What stands between the documents of a text file; without it a file is one document. */
  separator?: string;
  /** Token ids of a document of a `.bin` file, which has no ends of its own; 1024 unless given. */
  rowTokens?: number;
  /** Go on behind a shard that is broken, and report it here, instead of ending with a FileError. */
  onBroken?: (file: string, reason: string) => void;
}

/** Reads documents of one shard from number `first` on. */
export type ShardReader = (source: FileSource, path: string, first: number, options: DocumentOptions) => AsyncIterable<Content>;

const READERS: Readonly<Record<string, ShardReader>> = {
  txt: plainText, text: plainText, jsonl: jsonLines, ndjson: jsonLines, parquet: parquetRows, json: tokenLists, bin: binDocuments,
};

/** Endings of the files that can be read. */
export const TEXT_FORMATS: readonly string[] = Object.keys(READERS);

/**
 * The documents of these files, in the order of the list, from a place on. Throws UsageError for a file of an unknown format, FileError for one
 * that is missing, broken or without the field, naming it.
 */
export async function* readDocuments(files: readonly TextFile[], options: DocumentOptions = {}, from: Cursor = { shard: 0, row: 0 }): AsyncGenerator<Document> {
  const readers = files.map(readerOf);
  for (let shard = from.shard; shard < files.length; shard++) {
    const { source, path } = files[shard]!;
    const file = fileName(source, path);
    let row = shard === from.shard ? from.row : 0;
    try {
      for await (const content of readers[shard]!(source, path, row, options)) {
        yield { content, at: { shard, row }, name: `${file} document ${row}` };
        row += 1;
      }
    } catch (error) {
      if (!options.onBroken || !(error instanceof FileError)) throw error;
      options.onBroken(file, error.message);
    }
  }
}

function readerOf({ source, path }: TextFile): ShardReader {
  const ending = /\.([a-z0-9]+)$/i.exec(path)?.[1]?.toLowerCase() ?? '';
  const reader = READERS[ending];
  if (!reader) throw new UsageError(`${fileName(source, path)}: text is read from files that end in ${TEXT_FORMATS.map((name) => `.${name}`).join(', ')}`);
  return reader;
}

/** The field that a person named, or the first usual one that is there. Throws FileError with the fields there are. */
export function fieldOf(names: readonly string[], wanted: string | undefined, file: string): string {
  const found = wanted === undefined ? USUAL_FIELDS.find((name) => names.includes(name)) : names.find((name) => name === wanted);
  if (found === undefined) throw new FileError(`${file}: has no field ${wanted ?? USUAL_FIELDS.join(', ')}; it has ${names.join(', ') || 'none'}`);
  return found;
}

const USUAL_FIELDS = ['text', 'input_ids', 'tokens'];

/** A value as text or token ids. Throws FileError, which names the place, for anything else. */
export function contentOf(value: unknown, place: string): Content {
  if (typeof value === 'string') return { text: value };
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return { tokens: numbersOf(value as unknown as ArrayLike<number | bigint>, place) };
  if (Array.isArray(value)) return { tokens: numbersOf(value as (number | bigint)[], place) };
  throw new FileError(`${place}: neither a text nor a list of token ids`);
}

function numbersOf(values: ArrayLike<number | bigint>, place: string): number[] {
  return Array.from(values, (value, i) => {
    const id = Number(value);
    if (!Number.isInteger(id) || id < 0) throw new FileError(`${place}: token ${i} is ${String(value)}, not an id`);
    return id;
  });
}
