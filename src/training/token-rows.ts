/**
 * Documents -> rows of token ids of one length, as SAELens makes them (`concat_and_batch_sequences`): documents follow one another through the
 * rows; a row may begin with the beginning-of-sequence token, and a separator stands between two documents that share a row, but never right
 * behind a row's beginning. What is left of the last document, less than a row, is dropped. Which documents are held out for evaluation is told
 * by their place alone, so that training never sees them, in whatever order shards are read.
 */
import { TokenError, UsageError } from '../errors.ts';
import type { Cursor, Document } from '../files/index.ts';

export interface PackSettings {
  /** Tokens of a row. */
  context: number;
  /** Put before each row; null: nothing. */
  bos: number | null;
  /** Put between documents of a row; null: nothing. */
  separator: number | null;
  /** Whether rows may hold several documents. If not, a row is the beginning of a document that is long enough, and the rest of it is dropped. */
  concatenate: boolean;
  /** Share of the documents that is held out. */
  heldOut: number;
  /** Which documents these are. */
  seed: number;
}

/** Where packing stands: what makes the next rows the same again. */
export interface PackState {
  /** The document in progress, or the next one. */
  document: Cursor;
  /** Tokens of it that are used. */
  used: number;
  /** The row in progress. */
  row: number[];
  /** Rows that were given. */
  rows: number;
}

export const packDefaults: Readonly<Pick<PackSettings, 'context' | 'concatenate' | 'heldOut' | 'seed'>> = { context: 128, concatenate: true, heldOut: 0.01, seed: 0 };

/** Whether the document at a place is held out: a share of all, spread evenly by a mixing of its two numbers and the seed. */
export function isHeldOut({ shard, row }: Cursor, { heldOut, seed }: Pick<PackSettings, 'heldOut' | 'seed'>): boolean {
  let h = Math.imul(shard + 1, 0x9e3779b1) ^ Math.imul(row + 1, 0x85ebca6b) ^ Math.imul(seed + 1, 0xc2b2ae35);
  // The finaliser of MurmurHash3.
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32 < heldOut;
}

export interface TokenRowsOptions {
  /** The part that is read; `train` unless given. */
  part?: 'train' | 'held-out';
  /** Token ids of a text; needed where documents are texts. */
  encode?: (text: string) => readonly number[];
  /** Ids are smaller than this. */
  vocabulary?: number;
  /** Where an earlier reader stood. */
  state?: PackState;
}

/** Reads rows one by one. `documents` opens the documents from a place on. */
export class TokenRows {
  private readonly settings: PackSettings;
  private readonly options: TokenRowsOptions;
  private readonly iterator: AsyncIterator<Document>;
  private current: { tokens: ArrayLike<number>; at: Cursor } | null = null;
  private used = 0;
  private row: number[];
  private rows: number;
  private next: Cursor;

  /** Throws UsageError for settings that make no rows. */
  constructor(documents: (from: Cursor) => AsyncIterable<Document>, settings: PackSettings, options: TokenRowsOptions = {}) {
    const { context, bos, heldOut } = settings;
    if (!Number.isInteger(context) || context < (bos === null ? 1 : 2)) throw new UsageError(`rows of ${context} tokens have no room for text`);
    if (!(heldOut >= 0 && heldOut < 1)) throw new UsageError(`${heldOut} is no share of documents that can be held out`);
    this.settings = settings;
    this.options = options;
    const { document = { shard: 0, row: 0 }, used = 0, row = [], rows = 0 } = options.state ?? {};
    this.used = used;
    this.row = [...row];
    this.rows = rows;
    this.next = document;
    this.iterator = documents(document)[Symbol.asyncIterator]();
  }

  /** The next row, or null when the documents are at their end. Throws TokenError for an id that the model does not have. */
  async read(): Promise<Uint32Array | null> {
    const { context } = this.settings;
    for (;;) {
      if (!this.current && !(await this.open())) return null;
      const row = this.settings.concatenate ? this.fill() : this.begin();
      if (row) {
        this.rows += 1;
        if (row.length !== context) throw new RangeError(`a row of ${row.length} tokens in place of ${context}`);
        return Uint32Array.from(row);
      }
    }
  }

  /** What another reader of the same documents goes on from. */
  state(): PackState {
    return { document: { ...(this.current?.at ?? this.next) }, used: this.current ? this.used : 0, row: [...this.row], rows: this.rows };
  }

  /** Takes the next document of the part that is read. */
  private async open(): Promise<boolean> {
    const resumed = this.used;
    for (;;) {
      const { value, done } = await this.iterator.next();
      if (done) return false;
      const document = value as Document;
      this.next = { shard: document.at.shard, row: document.at.row + 1 };
      if (isHeldOut(document.at, this.settings) !== (this.options.part === 'held-out')) continue;
      this.current = { tokens: this.tokensOf(document), at: document.at };
      this.used = resumed;
      return true;
    }
  }

  private tokensOf({ content, name }: Document): ArrayLike<number> {
    const { encode, vocabulary = Infinity } = this.options;
    if (content.tokens === undefined) {
      if (!encode) throw new UsageError(`${name} is a text, and there is no tokenizer to read it with`);
      return encode(content.text);
    }
    const { tokens } = content;
    for (let i = 0; i < tokens.length; i++) {
      if (tokens[i]! >= vocabulary) throw new TokenError(`${name}: token ${i} is ${tokens[i]}, the model has ${vocabulary} tokens: it was made with another tokenizer`);
    }
    return tokens;
  }

  /** Moves tokens of the document into the row. Gives the row if that fills it, and lets go of a document that is used up. */
  private fill(): number[] | null {
    const { context, bos, separator } = this.settings;
    const { tokens } = this.current!;
    if (tokens.length === 0) return this.close();
    if (this.row.length === 0) {
      if (bos !== null) this.row.push(bos);
    } else if (this.used === 0 && separator !== null) {
      this.row.push(separator);
    }
    const taken = Math.min(context - this.row.length, tokens.length - this.used);
    for (let i = 0; i < taken; i++) this.row.push(tokens[this.used + i]!);
    this.used += taken;
    const full = this.row.length === context ? this.row : null;
    if (full) this.row = [];
    if (this.used === tokens.length) this.close();
    return full;
  }

  /** The beginning of the document, if it fills a row. */
  private begin(): number[] | null {
    const { context, bos } = this.settings;
    const { tokens } = this.current!;
    this.close();
    const own = bos === null ? [] : [bos];
    const needed = context - own.length;
    if (tokens.length < needed) return null;
    for (let i = 0; i < needed; i++) own.push(tokens[i]!);
    return own;
  }

  private close(): null {
    this.current = null;
    this.used = 0;
    return null;
  }
}

/** Which positions of rows count: 0 at special tokens, which training and evaluation leave out alike; [rows, context] as one list. */
export function countedPositions(rows: readonly ArrayLike<number>[], special: readonly number[]): Uint32Array {
  const left = new Set(special);
  return Uint32Array.from(rows.flatMap((row) => Array.from(row, (id) => (left.has(id) ? 0 : 1))));
}
