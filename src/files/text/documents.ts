/**
 * Text and token ids to train on, document by document, from one shard after the other:
 *
 *   .txt              documents between separators; without one the whole file, in parts that go on from each other
 *   .jsonl, .ndjson   a JSON object a line, the text or token ids in one of its fields
 *   .parquet          a row a document: text, or lists of token ids
 *   .json             a list of texts, objects or lists of token ids; or JSON lines, as many data sets name them
 *   .bin              uint16 token ids without end, as nanoGPT writes them, in parts of equal length
 *
 * All but parquet and .bin may be packed with gzip, with .gz behind the ending. Shards are read by parts, never whole where their format
 * allows it. A place among the documents is a few numbers, so that reading can stop and go on at the same one.
 */
import { FileError, UsageError } from '../../errors.ts';
import { fileName, Unreachable, type FileSource } from '../source.ts';
import { binDocuments } from './bin.ts';
import { jsonDocuments, jsonLines, plainText } from './lines.ts';
import { parquetRows } from './parquet.ts';

/** What a model is to read: text, or token ids that need no tokenizer. */
export type Content = { text: string; tokens?: undefined } | { tokens: ArrayLike<number>; text?: undefined };

/** A place within a shard: the next document is number `row`. */
export interface Place {
  row: number;
  /** Byte that this document begins at, in what a .gz file holds; where it is not given, the documents before are read over. */
  offset?: number;
}

/** A place in reading: the next document is number `row` of the shard that is read as number `shard`. */
export interface Cursor extends Place {
  shard: number;
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
  /** The place behind it. */
  next?: Cursor;
  /** Which document it is in whatever order shards are read: its shard's number in the list of files, and its number there. */
  index?: { shard: number; row: number };
  /** It goes on where the document before it in its shard ended: what stands between documents belongs not between these two. */
  continues?: boolean;
  /** As messages name it: file and row. */
  name: string;
}

export interface DocumentOptions {
  /** Field or column of the text or tokens; `text`, `input_ids` or `tokens` unless given, whichever there is. */
  field?: string;
  /** What stands between the documents of a text file; `BLANK_LINES` for lines without text, however many. Without it a file is one document. */
  separator?: string;
  /** Token ids of a part of a `.bin` file, which has no documents of its own; 1024 unless given. */
  rowTokens?: number;
  /** Numbers of files of the list in the order in which they are read; the list's own unless given. */
  order?: readonly number[];
  /** Go on behind a shard that is broken, and report it here, instead of ending with a FileError. What cannot be had for now is not broken. */
  onBroken?: (file: string, reason: string) => void;
}

/** A document as its shard's reader gives it. */
export interface Found {
  content: Content;
  continues?: boolean;
  /** Bytes of the shard that it and the next one begin at, where reading can begin at a byte. */
  start?: number;
  end?: number;
}

/** Reads documents of one shard from a place on. Throws FileError if the shard ends before it. */
export type ShardReader = (source: FileSource, path: string, from: Place, options: DocumentOptions) => AsyncIterable<Found>;

const READERS: Readonly<Record<string, ShardReader>> = {
  txt: plainText, text: plainText, jsonl: jsonLines, ndjson: jsonLines, parquet: parquetRows, json: jsonDocuments, bin: binDocuments,
  'txt.gz': plainText, 'text.gz': plainText, 'jsonl.gz': jsonLines, 'ndjson.gz': jsonLines, 'json.gz': jsonDocuments,
};

/** Endings of the files that can be read. */
export const TEXT_FORMATS: readonly string[] = Object.keys(READERS);

/**
 * The documents of these files from a place on. Throws UsageError for a file of an unknown format and an order that is none of these files,
 * FileError for a file that is missing, broken or without the field, naming it, and for one that ends before the place.
 */
export async function* readDocuments(files: readonly TextFile[], options: DocumentOptions = {}, from: Cursor = { shard: 0, row: 0 }): AsyncGenerator<Document> {
  const readers = files.map(readerOf);
  const order = orderOf(files.length, options.order);
  for (let shard = from.shard; shard < order.length; shard++) {
    const listed = order[shard]!;
    const { source, path } = files[listed]!;
    const file = fileName(source, path);
    let place: Place = shard === from.shard ? from : { row: 0 };
    try {
      for await (const { content, continues, start, end } of readers[listed]!(source, path, place, options)) {
        const { row } = place;
        place = placeAt(row + 1, end);
        yield {
          content, at: { shard, ...placeAt(row, start) }, next: { shard, ...place }, index: { shard: listed, row }, ...(continues ? { continues } : {}),
          name: `${file} document ${row}`,
        };
      }
    } catch (error) {
      if (!options.onBroken || !(error instanceof FileError) || error instanceof Unreachable) throw error;
      options.onBroken(file, error.message);
    }
  }
}

function placeAt(row: number, offset: number | undefined): Place {
  return offset === undefined ? { row } : { row, offset };
}

/** Each number of an order must be that of a file, and stand there once. */
function orderOf(count: number, order: readonly number[] = Array.from({ length: count }, (_, i) => i)): readonly number[] {
  if (new Set(order).size !== order.length || order.some((shard) => !Number.isInteger(shard) || shard < 0 || shard >= count)) {
    throw new UsageError(`an order of files has numbers from 0 to ${count - 1}, each once at most`);
  }
  return order;
}

function readerOf({ source, path }: TextFile): ShardReader {
  const ending = /\.([a-z0-9]+(?:\.gz)?)$/i.exec(path)?.[1]?.toLowerCase() ?? '';
  const reader = Object.hasOwn(READERS, ending) ? READERS[ending] : undefined;
  if (!reader) throw new UsageError(`${fileName(source, path)}: text is read from files that end in ${TEXT_FORMATS.map((name) => `.${name}`).join(', ')}`);
  return reader;
}

/** Refuses a place behind the end of a shard, which has so many documents: the shard is not the one that was read. */
export function checkPlace(file: string, documents: number, { row }: Place): void {
  if (row > documents) throw new FileError(`${file}: has ${documents} documents, and reading stood behind document ${row - 1}: it is not the file that was read`);
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
    const id = typeof value === 'number' || typeof value === 'bigint' ? Number(value) : NaN;
    if (!Number.isSafeInteger(id) || id < 0) throw new FileError(`${place}: token ${i} is ${String(value)}, not an id`);
    return id;
  });
}
