/** A typed sentence of the indirect-object kind, taken apart into a template and the names in it. */
import { LexiconError } from '../errors.ts';
import type { Grammar } from './grammar.ts';
import { slotsOf } from './template.ts';

export interface ReadSentence {
  /** The sentence with [A], [B] and [C] where its names stand. */
  template: string;
  /** Indices into the grammar's names: the first, the second, and the one who acts, who is one of them. */
  people: [a: number, b: number, c: number];
}

/**
 * Finds the three mentions of names: two different ones, then one of them again. What else the sentence says is its own. LexiconError, in one line,
 * for a sentence that is not so.
 */
export function readSentence(text: string, grammar: Grammar): ReadSentence {
  const sentence = text.trimEnd();
  const shown = `"${sentence.length > 60 ? `${sentence.slice(0, 59)}…` : sentence}"`;
  const refuse = (why: string): never => { throw new LexiconError(`${shown}: ${why}`); };
  if (sentence.trim() === '') throw new LexiconError('there is no sentence: write one such as "Then, Mary and John went to the park. John gave a book to"');
  if (slotsOf(sentence).length > 0) refuse('words in [brackets] stand for slots of templates; leave the brackets out');
  const index = new Map(grammar.names.map((name, i) => [name, i]));
  const words = [...sentence.matchAll(/[\p{L}\p{N}]+/gu)].map((match) => ({ word: match[0], at: match.index }));
  const people = words.filter(({ word }) => index.has(word));
  const named = people.map(({ word }) => word);
  const different = [...new Set(named)];
  const example = grammar.names.slice(0, 3).join(', ');
  if (different.length === 0) refuse(`none of the task's ${grammar.names.length} names is in it, such as ${example}${strangers(sentence, words, index)}`);
  if (different.length === 1) refuse(`${named[0]} is the only name of the task in it; two are needed, one of them twice${strangers(sentence, words, index)}`);
  if (different.length > 2) refuse(`there are ${different.length} names in it (${different.join(', ')}); two are needed, one of them twice`);
  if (named.length === 2) refuse(`neither ${named.join(' nor ')} is named again; one of them has to act before the sentence ends`);
  if (named.length > 3 || named[0] === named[1]) refuse(`it names ${named.join(', ')}; needed are two different people and then one of them again`);
  const last = people[2]!;
  if (last.at + last.word.length === sentence.length) refuse(`it must go on after ${last.word}, to the word before the next name, such as "gave a book to"`);
  let template = '';
  let end = 0;
  people.forEach(({ word, at }, i) => {
    template += `${sentence.slice(end, at)}[${'ABC'[i]}]`;
    end = at + word.length;
  });
  return { template: template + sentence.slice(end), people: [index.get(named[0]!)!, index.get(named[1]!)!, index.get(named[2]!)!] };
}

/** Words within sentences that begin like names and are none of the task's. */
function strangers(sentence: string, words: readonly { word: string; at: number }[], known: ReadonlyMap<string, number>): string {
  const found = words.filter(({ word, at }) => /^\p{Lu}\p{Ll}/u.test(word) && !known.has(word) && at > 0 && !/[.!?"“]\s*$/.test(sentence.slice(0, at))).map(({ word }) => word);
  return found.length > 0 ? ` (${[...new Set(found)].join(', ')}: no name that the task has)` : '';
}
