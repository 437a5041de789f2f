/** Text that commands read: which files, how they are cut into documents, and how documents are packed into rows of tokens. */
import { statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Command } from 'commander';
import { FileError, UsageError } from '../errors.ts';
import { BLANK_LINES, openHub, openSource, parseHubAddress, readDocuments, TEXT_FORMATS, type Cursor, type Document, type FileSource, type TextFile } from '../files/index.ts';
import type { Gpt2 } from '../model/index.ts';
import { packDefaults, shardOrder, TokenRows, type PackSettings, type PackState } from '../training/index.ts';
import { list, note, realNumber, wholeNumber } from './terminal.ts';

export interface TextSourceFlags {
  text?: string[]; context?: number; field?: string; separator?: string; bos: boolean; concat: boolean; rows?: boolean; heldOut?: number; shuffleShards?: boolean; skipBroken?: boolean;
  /** The token between documents; null for none. The beginning-of-sequence token unless given. */
  separatorToken?: number | null;
}

/** For commander: what says which text and how it is packed. `defaults` says in words what some of it is unless given. */
export function textSourceOptions(command: Command, defaults = { context: `${packDefaults.context}, at most the model's context`, heldOut: String(packDefaults.heldOut) }): Command {
  return command
    .option('--text <where>', 'text: files or folders of them, URLs, hub:datasets/owner/name/folder, separated by commas (.txt, .jsonl, .parquet, .json and .bin of token ids; .gz too); repeatable', (text, before: string[] = []) => [...before, ...list(text)])
    .option('--context <n>', `tokens of a row of text (default: ${defaults.context})`, wholeNumber(2))
    .option('--field <name>', 'field or column of the text or token ids (default: text, input_ids or tokens)')
    .option('--separator <text>', 'what stands between documents of a .txt file; \\n is a new line; blank-lines for lines without text (default: a file is one document)')
    .option('--no-bos', 'do not begin rows of text with the beginning-of-sequence token')
    .option('--no-concat', 'rows hold one document each, of which only the beginning is used')
    .option('--rows', 'lists of token ids are rows as they are, not documents')
    .option('--held-out <share>', `share of the documents that training never sees (default: ${defaults.heldOut})`, realNumber(0))
    .option('--shuffle-shards', 'read files in a seeded order, another one in every pass')
    .option('--skip-broken', 'go on behind files that are broken, and name them in the end');
}

/** Names of the flags above, but those that have a meaning without --text. */
export const TEXT_SOURCE_FLAGS = ['context', 'field', 'separator', 'rows', 'heldOut', 'shuffleShards', 'skipBroken'] as const;

/** The part of documents that is read. */
export type TextPart = 'train' | 'held-out' | 'all';

export class TextSource {
  readonly files: readonly TextFile[];
  readonly pack: PackSettings;
  /** Tokens that are neither trained on nor scored. */
  readonly special: readonly number[];
  /** Files that were skipped, and why. */
  readonly broken = new Map<string, string>();
  private readonly model: Gpt2;
  private readonly flags: TextSourceFlags;

  /** Throws UsageError for a context that the model has no room for. */
  constructor(model: Gpt2, files: readonly TextFile[], flags: TextSourceFlags, seed: number) {
    const context = flags.context ?? Math.min(packDefaults.context, model.config.context);
    if (context > model.config.context) throw new UsageError(`--context ${context}: the model has room for ${model.config.context} tokens`);
    const token = model.tokenizer?.bos ?? model.config.bos;
    this.model = model;
    this.files = files;
    this.flags = flags;
    this.pack = {
      context, bos: flags.bos ? token : null, separator: flags.separatorToken === undefined ? token : flags.separatorToken, concatenate: flags.concat, heldOut: flags.heldOut ?? packDefaults.heldOut, seed, ...(flags.rows ? { lists: 'rows' as const } : {}),
    };
    // Without it in front of rows it still stands between documents.
    this.special = token === null ? [] : [token];
  }

  /** Rows of a part from the beginning of a pass over the files, or from where another reader stood in it. */
  open(part: TextPart, state?: PackState, pass = 0): TokenRows {
    const { flags, files, model, pack, broken } = this;
    const onBroken = (file: string, reason: string): void => { broken.set(file, reason); };
    const options = {
      field: flags.field, separator: separatorOf(flags.separator), ...(flags.shuffleShards ? { order: shardOrder(files.length, pack.seed, pass) } : {}), ...(flags.skipBroken ? { onBroken } : {}),
    };
    const documents = (from: Cursor): AsyncIterable<Document> => readDocuments(files, options, from);
    const settings = part === 'all' ? { ...pack, heldOut: 0 } : pack;
    return new TokenRows(documents, settings, {
      part: part === 'held-out' ? part : 'train', vocabulary: model.config.vocabulary, ...(model.tokenizer ? { encode: (text) => model.tokenizer!.encode(text) } : {}), ...(state ? { state } : {}),
    });
  }

  /** What a dictionary's cfg.json says of the text, by SAELens' names where it has them. */
  metadata(): Record<string, unknown> {
    const { pack, flags, special } = this;
    return {
      context_size: pack.context, prepend_bos: pack.bos !== null, sequence_separator_token: pack.separator, disable_concat_sequences: !pack.concatenate, exclude_special_tokens: [...special],
      dataset_path: flags.text, ...(flags.rows ? { token_lists: 'rows' } : {}), held_out: pack.heldOut, held_out_seed: pack.seed,
    };
  }

  /** Says on stderr which files were skipped. */
  tell(): void {
    tellBroken(this.broken, this.files.length);
  }
}

/** Says on stderr which of so many files were skipped, and why. */
export function tellBroken(broken: ReadonlyMap<string, string>, files: number): void {
  if (broken.size > 0) note(`${broken.size} of ${files} files were skipped, in whole or from a place on:\n${[...broken.values()].map((reason) => `  ${reason}`).join('\n')}`);
}

/** Files that `--text` names. Throws UsageError for a place without text, FileError for one that is not there. */
export async function textFiles(where: readonly string[]): Promise<TextFile[]> {
  return (await Promise.all(where.map(filesAt))).flat();
}

async function filesAt(where: string): Promise<TextFile[]> {
  if (where.startsWith('hub:')) {
    const { folder, ...address } = parseHubAddress(where);
    const options = { ...address, onProgress: downloadNotes() };
    const source = openHub(address.repository, options);
    if (folder !== undefined && endsLikeText(folder)) return [{ source, path: folder }];
    return listed(folder === undefined ? source : openHub(address.repository, { ...options, folder }), where);
  }
  if (/^https?:/i.test(where)) {
    const slash = where.lastIndexOf('/');
    return [{ source: openSource(where.slice(0, slash)), path: where.slice(slash + 1) }];
  }
  const there = statSync(where, { throwIfNoEntry: false });
  // Told before a model is loaded.
  if (!there) throw new FileError(`--text ${where}: no such file or directory`);
  if (!there.isDirectory()) return [{ source: openSource(dirname(where)), path: basename(where) }];
  return listed(openSource(where), where);
}

/** A line for each large file when it begins to come in. */
function downloadNotes(): (path: string, done: number, total: number) => void {
  const told = new Set<string>();
  return (path, done, total) => {
    if (done === total || total < MEGABYTE || told.has(path)) return;
    told.add(path);
    note(`downloading ${path}, ${Math.ceil(total / MEGABYTE)} MB${done > 0 ? `, ${Math.floor(done / MEGABYTE)} of which are there` : ''}`);
  };
}

const MEGABYTE = 1e6;

/** The files of a folder that hold text, in the order of their names. */
async function listed(source: FileSource, where: string): Promise<TextFile[]> {
  const paths = (await source.list!()).filter((path) => endsLikeText(path) && !/(^|\/)\./.test(path));
  if (paths.length === 0) throw new UsageError(`--text ${where}: there is no file that ends in ${TEXT_FORMATS.map((name) => `.${name}`).join(', ')}`);
  return paths.map((path) => ({ source, path }));
}

function endsLikeText(path: string): boolean {
  return TEXT_FORMATS.some((format) => path.toLowerCase().endsWith(`.${format}`));
}

/** A separator as a person types it in a shell. */
export function separatorOf(text: string | undefined): string | undefined {
  if (text === 'blank-lines') return BLANK_LINES;
  return text?.replace(/\\([nrt\\])/g, (_, letter: string) => ({ n: '\n', r: '\r', t: '\t' })[letter] ?? letter);
}
