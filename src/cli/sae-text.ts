/** Tokens that a dictionary is judged on: text packed as its training packed it, or prompts as they are. */
import { basename, dirname } from 'node:path';
import type { SaeMetadata } from '../dictionary/index.ts';
import { FileError, UsageError } from '../errors.ts';
import type { PromptStream } from '../evaluation/index.ts';
import { openSource, type TextFile } from '../files/index.ts';
import type { Gpt2 } from '../model/index.ts';
import { packDefaults } from '../training/index.ts';
import { TextSource, type TextPart, type TextSourceFlags } from './text-source.ts';

export interface SaeTextFlags extends TextSourceFlags {
  tokens?: string; part?: TextPart; seed?: number; prompts?: number; tokensCount?: number;
}

/** Tokens of text that are read unless somebody says how many: those of the paper's held-out set (A.11). */
export const MOST_TOKENS = 81_920;

/** What is to be read, found before any work. */
export type SaeContent = { files: TextFile[] } | { prompts: number[][] };

/** How a dictionary's tokens are made; those that agree in it share their tokens. */
export interface Packing {
  /** Null for prompts as they are. */
  text: { flags: TextSourceFlags; part: TextPart; seed: number } | null;
  /** Tokens that are not scored. */
  exclude: number[];
  /** Tokens of the longest prompt. */
  context: number;
  /** Whether prompts begin with the beginning-of-sequence token, where that is known. */
  bos?: boolean;
}

/** How the tokens of a dictionary are made: as the flags say, and where they say nothing as its training did. Throws UsageError for too few tokens. */
export function packingFor({ config, tokenizer }: Pick<Gpt2, 'config' | 'tokenizer'>, flags: SaeTextFlags, metadata: Readonly<SaeMetadata>, content: SaeContent): Packing {
  const token = tokenizer?.bos ?? config.bos;
  const listed = metadata['exclude_special_tokens'];
  const exclude = Array.isArray(listed) && listed.every((id) => Number.isInteger(id)) ? (listed as number[]) : token === null ? [] : [token];
  if ('prompts' in content) return { text: null, exclude, context: content.prompts.reduce((most, prompt) => Math.max(most, prompt.length), 0) };
  const own = metadata['context_size'];
  const context = flags.context ?? Math.min(Number.isInteger(own) && (own as number) > 1 ? own as number : packDefaults.context, config.context);
  const bos = flags.bos && metadata.prepend_bos !== false;
  const separator = metadata['sequence_separator_token'];
  const heldOut = flags.heldOut ?? (typeof metadata['held_out'] === 'number' ? metadata['held_out'] : packDefaults.heldOut);
  return {
    exclude, context, bos,
    text: {
      part: flags.part ?? (heldOut > 0 && hasUnseenPart(flags, metadata) ? 'held-out' : 'all'),
      seed: flags.seed ?? (Number.isSafeInteger(metadata['held_out_seed']) ? metadata['held_out_seed'] as number : packDefaults.seed),
      flags: {
        ...flags, context, bos, heldOut, concat: flags.concat && metadata['disable_concat_sequences'] !== true, rows: flags.rows === true || metadata['token_lists'] === 'rows',
        ...(separator === null || Number.isInteger(separator) ? { separatorToken: separator as number | null } : {}),
      },
    },
  };
}

/** Whether the dictionary was trained on a part of just this text: the same files or folders, wherever they lie. */
function hasUnseenPart({ text = [] }: SaeTextFlags, { held_out: share, dataset_path: given }: Readonly<SaeMetadata>): boolean {
  const paths = typeof given === 'string' ? [given] : Array.isArray(given) ? given.map(String) : [];
  return typeof share === 'number' && share > 0 && paths.length === text.length && text.every((where, i) => basename(where) === basename(paths[i]!));
}

/** Prompts of one packing. */
export class SaeText {
  readonly source: TextSource | null;
  /** Prompts that the last reading gave. */
  prompts = 0;
  private readonly packing: Packing;
  private readonly content: SaeContent;
  private readonly most: number;

  /** Throws UsageError for a limit that is less than one prompt, and for a context that the model has no room for. */
  constructor(model: Gpt2, packing: Packing, content: SaeContent, { prompts = Infinity, tokensCount }: SaeTextFlags) {
    const { text, context } = packing;
    this.packing = packing;
    this.content = content;
    this.source = text && 'files' in content ? new TextSource(model, content.files, text.flags, text.seed) : null;
    if (tokensCount !== undefined && tokensCount < context) throw new UsageError(`--tokens-count ${tokensCount}: a prompt has ${context} tokens`);
    const most = tokensCount ?? (text && prompts === Infinity ? Math.max(MOST_TOKENS, context) : Infinity);
    this.most = Math.min(prompts, Math.floor(most / context));
  }

  /** To be read as often as need be. */
  get stream(): PromptStream {
    if ('prompts' in this.content) {
      const prompts = this.content.prompts.slice(0, this.most);
      this.prompts = prompts.length;
      return prompts;
    }
    return () => this.read();
  }

  /** At most so many prompts; infinite where only the text's end decides. */
  get limit(): number {
    return this.most;
  }

  private async* read(): AsyncGenerator<Uint32Array> {
    const { part } = this.packing.text!;
    const rows = this.source!.open(part);
    this.prompts = 0;
    while (this.prompts < this.most) {
      const row = await rows.read();
      if (!row) break;
      this.prompts += 1;
      yield row;
    }
    if (this.prompts > 0) return;
    const [what, advice] = part === 'all' ? ['the text', 'or a shorter --context'] : [`the part of the text that is ${part === 'train' ? 'trained on' : 'held out'}`, 'a shorter --context, or --part all'];
    throw new UsageError(`${what} does not fill one prompt of ${this.packing.context} tokens: give more, ${advice}`);
  }
}

/** A JSON list of prompts. Throws FileError for anything else. */
export async function readPrompts(path: string): Promise<SaeContent> {
  const json = await openSource(dirname(path)).json(basename(path));
  const fits = Array.isArray(json) && json.length > 0 && json.every((prompt) => Array.isArray(prompt) && prompt.length > 0 && prompt.every((id) => Number.isInteger(id)));
  if (!fits) throw new FileError(`${path}: a list of prompts is needed, each a list of token ids, such as [[1, 2, 3], [4, 5]]`);
  return { prompts: json as number[][] };
}
