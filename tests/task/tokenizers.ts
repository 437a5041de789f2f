/** Tokenizers for the tests of tasks: the embedded model's own, and GPT-2's as far as the default grammar needs it. */
import { readFileSync } from 'node:fs';
import { directorySource } from '../../src/files/node-directory.ts';
import { memorySource, type FileSource } from '../../src/files/index.ts';
import { loadTokenizer, type Tokenizer } from '../../src/model/tokenizer.ts';
import type { TaskTokenizer } from '../../src/task/index.ts';

export const MINI = directorySource('models/ioi-mini');

let mini: Promise<Tokenizer> | null = null;

export function miniTokenizer(): Promise<Tokenizer> {
  return (mini ??= loadTokenizer(MINI, null).then((tokenizer) => tokenizer!));
}

/**
 * GPT-2's token ids of every stretch of text that the default grammar holds, as its real tokenizer gives them (`fixtures/gpt2-words.json`).
 * Text is split as GPT-2 splits it before it merges; a stretch outside the table is an error.
 */
export function gpt2Words(): TaskTokenizer {
  const ids = JSON.parse(readFileSync('tests/fixtures/gpt2-words.json', 'utf8')) as Record<string, number>;
  const split = (text: string) => text.match(/'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu) ?? [];
  return {
    bos: 50256,
    encode: (text) => split(text).map((part) => {
      if (ids[part] === undefined) throw new Error(`"${part}" is not in the table`);
      return ids[part];
    }),
    single: (text) => (split(text).length === 1 ? ids[text] ?? null : null),
  };
}

/** A directory of JSON files in memory. */
export function jsonSource(files: Record<string, unknown>): FileSource {
  return memorySource(Object.fromEntries(Object.entries(files).map(([name, value]) => [name, new TextEncoder().encode(JSON.stringify(value))])), 'lists');
}

/**
 * GPT-2's token ids of the stretches of text in `fixtures/gpt2-stretches.json`, as its real tokenizer gives them: years, which are several
 * tokens, and what else the tests of tasks ask for.
 */
export function gpt2Stretches(): TaskTokenizer {
  const table = JSON.parse(readFileSync('tests/fixtures/gpt2-stretches.json', 'utf8')) as Record<string, number[]>;
  const split = (text: string) => text.match(/ ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+/gu) ?? [];
  const encode = (text: string) => split(text).flatMap((part) => {
    if (!table[part]) throw new Error(`"${part}" is not in the table`);
    return table[part];
  });
  return { bos: 50256, encode, single: (text) => (split(text).every((part) => table[part]) && encode(text).length === 1 ? encode(text)[0]! : null) };
}
