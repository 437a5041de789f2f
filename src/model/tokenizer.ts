/** Text and token ids, through the tokenizer that a model directory brings along. */
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { FileError, TokenError } from '../errors.ts';
import { fileName, type FileSource } from '../files/index.ts';

/** Tokens that GPT-2's family begins a text with, should the directory name none. */
const USUAL_BOS = '<|endoftext|>';

export class Tokenizer {
  /** Number of tokens, added ones included. */
  readonly size: number;
  /** The token that may begin a text; null if the tokenizer has none. `encode` never adds it by itself. */
  readonly bos: number | null;
  private readonly inner: HuggingFaceTokenizer;
  private readonly special: ReadonlySet<number>;

  /** From the parsed `tokenizer.json` and, where there is one, `tokenizer_config.json`; `bos` is the id that the model's configuration names. */
  constructor(json: object, settings: object = {}, bos: number | null = null) {
    this.inner = new HuggingFaceTokenizer(json, settings);
    this.size = this.inner.get_vocab(true).size;
    this.special = new Set(this.inner.get_added_tokens_decoder().keys());
    const known = bos !== null && this.inner.id_to_token(bos) !== undefined;
    this.bos = known ? bos : this.inner.token_to_id(USUAL_BOS) ?? null;
  }

  /** Token ids of a text. No token is added: prepend `bos` yourself where the model was trained with it. */
  encode(text: string): number[] {
    return [...this.inner.encode(text, { add_special_tokens: false }).ids];
  }

  /** The text of token ids, special tokens included. */
  decode(ids: readonly number[]): string {
    return ids.length ? this.inner.decode([...ids], { skip_special_tokens: false, clean_up_tokenization_spaces: false }) : '';
  }

  /** Whether the vocabulary has an id. A model may have more rows than its tokenizer has tokens: vocabularies are padded to round numbers. */
  has(id: number): boolean {
    return this.inner.id_to_token(id) !== undefined;
  }

  /** The text of one token. Throws TokenError for an id that the vocabulary does not have. */
  token(id: number): string {
    if (!this.has(id)) throw new TokenError(`token ${id} is not in the tokenizer's vocabulary of ${this.size}`);
    return this.decode([id]);
  }

  /** The id of a text that is exactly one ordinary token, else null. A word within a sentence begins with a space: `' Mary'`. */
  single(text: string): number | null {
    const ids = this.encode(text);
    return ids.length === 1 && !this.special.has(ids[0]!) && this.decode(ids) === text ? ids[0]! : null;
  }
}

/** The tokenizer of a model directory, or null if it has no `tokenizer.json`. Throws FileError for one that cannot be used. */
export async function loadTokenizer(source: FileSource, bos: number | null): Promise<Tokenizer | null> {
  const path = 'tokenizer.json';
  if (!(await source.has(path))) return null;
  const json = await source.json<object>(path);
  const settings = (await source.has('tokenizer_config.json')) ? await source.json<object>('tokenizer_config.json') : {};
  try {
    return new Tokenizer(json, settings, bos);
  } catch (cause) {
    throw new FileError(`${fileName(source, path)}: not a tokenizer that can be used: ${(cause as Error).message.split('\n')[0]}`, { cause });
  }
}
