/**
 * Documents -> rows of token ids of one length, as SAELens makes them (`concat_and_batch_sequences`): documents follow one another through the
 * rows; a row may begin with the beginning-of-sequence token, and a separator stands between two documents that share a row, but never right
 * behind a row's beginning. Neither is put before a token that is the same. What is left of the last document, less than a row, is dropped.
 *
 * Lists of token ids are documents like texts, or, when asked, rows that were made before: each is cut into rows of its own, the first of which
 * is its beginning as it is. Rows behind it, and a list that begins without it, get the beginning-of-sequence token if there is one; what is
 * left of a list is dropped, and one too short for a row is refused.
 *
 * Which documents are held out for evaluation is told by their place in the list of files alone, so that training never sees them, in whatever
 * order shards are read.
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
  /** What a list of token ids is: a document unless given, or rows that are used as they are. */
  lists?: 'documents' | 'rows';
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

/**
 * Whether the document at a place of the list of files is held out: a share of all, spread evenly by a mixing of its two numbers and the seed.
 * The first document of all never is, and the next one, of its file or the next file, always, so that two are enough for both parts.
 */
export function isHeldOut({ shard, row }: Pick<Cursor, 'shard' | 'row'>, { heldOut, seed }: Pick<PackSettings, 'heldOut' | 'seed'>): boolean {
  if (heldOut === 0 || shard + row === 0) return false;
  if (shard + row === 1) return true;
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
  private current: { tokens: ArrayLike<number>; at: Cursor; joined: boolean; isList: boolean; name: string } | null = null;
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
      const row = this.current!.isList && this.settings.lists === 'rows' ? this.cut() : this.settings.concatenate ? this.fill() : this.begin();
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
      const { at, index = at, name } = document;
      this.next = document.next ?? { shard: at.shard, row: at.row + 1 };
      if (!this.reads(index)) continue;
      // What lies between two parts of one text may be held out.
      const joined = document.continues === true && this.reads({ shard: index.shard, row: index.row - 1 });
      this.current = { tokens: this.tokensOf(document), at, joined, isList: document.content.tokens !== undefined, name };
      this.used = resumed;
      return true;
    }
  }

  /** Whether the document at a place of the list of files is of the part that is read. */
  private reads(index: Pick<Cursor, 'shard' | 'row'>): boolean {
    return isHeldOut(index, this.settings) === (this.options.part === 'held-out');
  }

  private tokensOf({ content, name }: Document): ArrayLike<number> {
    const { encode, vocabulary = Infinity } = this.options;
    if (content.tokens === undefined && !encode) throw new UsageError(`${name} is a text, and there is no tokenizer to read it with`);
    const tokens = content.tokens ?? encode!(content.text!);
    const reason = content.tokens === undefined ? 'the tokenizer is of another model' : 'it was made with another tokenizer';
    for (let i = 0; i < tokens.length; i++) {
      if (tokens[i]! >= vocabulary) throw new TokenError(`${name}: token ${i} is ${tokens[i]}, the model has ${vocabulary} tokens: ${reason}`);
    }
    return tokens;
  }

  /** Moves tokens of the document into the row. Gives the row if that fills it, and lets go of a document that is used up. */
  private fill(): number[] | null {
    const { context, separator } = this.settings;
    const { tokens, joined } = this.current!;
    if (tokens.length === 0) return this.close();
    if (this.row.length === 0) this.row = this.beginning(tokens[this.used]!);
    else if (this.used === 0 && !joined && separator !== null && tokens[0] !== separator) this.row.push(separator);
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
    const { tokens } = this.current!;
    this.close();
    return this.rowAt(tokens, 0);
  }

  /** The next row of a list of token ids, if there is enough left of it. */
  private cut(): number[] | null {
    const { tokens, name } = this.current!;
    const row = this.rowAt(tokens, this.used);
    if (!row && this.used === 0) throw new TokenError(`${name}: ${tokens.length} token ids do not fill a row of ${this.settings.context}; as documents, not rows, they would share one`);
    // What the beginning put before is none of the list's.
    if (row) this.used += this.settings.context - this.beginning(tokens[this.used]!).length;
    return row ?? this.close();
  }

  /** What a row begins with whose next token is this one. */
  private beginning(next: number): number[] {
    const { bos } = this.settings;
    return bos === null || next === bos ? [] : [bos];
  }

  /** A row that begins at a token, or null where there are not enough. */
  private rowAt(tokens: ArrayLike<number>, from: number): number[] | null {
    const row = this.beginning(tokens[from]!);
    const needed = this.settings.context - row.length;
    if (tokens.length - from < needed) return null;
    for (let i = 0; i < needed; i++) row.push(tokens[from + i]!);
    return row;
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
