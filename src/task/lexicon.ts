/**
 * A grammar's words as tokens of a loaded tokenizer. Every word that fills a slot must be one token there, with the space before it where the
 * templates put one, since an attribute's activation is read at one position.
 */
import { LexiconError } from '../errors.ts';
import type { Grammar } from './grammar.ts';
import { layOut, type Slot } from './template.ts';

/** What a task needs of a tokenizer. */
export interface TaskTokenizer {
  /** Ids of a text, without a beginning-of-sequence token. */
  encode(text: string): number[];
  /** The id of a text that is exactly one token, else null. */
  single(text: string): number | null;
  bos: number | null;
}

/** Beyond so many words the lists were simply made for another tokenizer. */
const MOST_NAMED = 100;

type WordList = 'names' | 'places' | 'objects';

export interface Lexicon {
  /** Token id of a word with or without a space before it. */
  id(word: string, lead: '' | ' '): number;
}

export function listOf(slot: Slot): WordList {
  return slot === 'PLACE' ? 'places' : slot === 'OBJECT' ? 'objects' : 'names';
}

/** Finds the tokens of all words wherever `prefixes` and the templates put them. Throws a LexiconError that names every word that is not one token. */
export function readLexicon(tokenizer: TaskTokenizer, grammar: Grammar, prefixes: readonly string[]): Lexicon {
  // The answer is a name after a space, whatever the templates are.
  const leads: Record<WordList, Set<'' | ' '>> = { names: new Set([' ']), places: new Set(), objects: new Set() };
  for (const prefix of prefixes) {
    for (const template of grammar.templates) {
      for (const piece of layOut(prefix, template)) if ('slot' in piece) leads[listOf(piece.slot)].add(piece.lead);
    }
  }
  const ids = new Map<string, number>();
  const faults: string[] = [];
  let count = 0;
  let room = MOST_NAMED;
  for (const list of ['names', 'places', 'objects'] as const) {
    for (const lead of leads[list]) {
      const bad = grammar[list].filter((word) => {
        const id = tokenizer.single(lead + word);
        if (id !== null) ids.set(lead + word, id);
        return id === null;
      });
      const named = bad.slice(0, room);
      if (named.length) faults.push(`${list} ${named.join(', ')}${lead ? '' : ' (without a space before, as templates use them)'}`);
      count += bad.length;
      room -= named.length;
    }
  }
  if (count) {
    const more = count > MOST_NAMED ? `; and ${count - MOST_NAMED} more` : '';
    throw new LexiconError(`${grammar.name}: ${count} ${count === 1 ? 'word is not a single token' : 'words are not single tokens'} of the model's tokenizer: ${faults.join('; ')}${more}`);
  }
  refuseTwins(grammar, ids);
  return {
    id(word, lead) {
      const id = ids.get(lead + word);
      if (id === undefined) throw new LexiconError(`${grammar.name}: "${lead}${word}" is not a word of the lists`);
      return id;
    },
  };
}

/** Two names that the tokenizer writes alike (one that ignores case, say) could not be told apart in the logits. */
function refuseTwins(grammar: Grammar, ids: Map<string, number>): void {
  const owner = new Map<number, string>();
  for (const name of grammar.names) {
    const id = ids.get(` ${name}`)!;
    const twin = owner.get(id);
    if (twin !== undefined) throw new LexiconError(`${grammar.name}: names ${twin} and ${name} are the same token ${id}`);
    owner.set(id, name);
  }
}
