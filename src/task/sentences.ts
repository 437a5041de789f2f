/**
 * From the choices that make up one prompt to its tokens and semantic positions. The sentence is put together from pieces whose tokens are
 * known, so that positions are counted and never searched for; then the whole text is tokenised and must give the same ids.
 */
import { LexiconError } from '../errors.ts';
import type { Grammar } from './grammar.ts';
import type { Lexicon, TaskTokenizer } from './lexicon.ts';
import { layOut, type Piece, type Slot } from './template.ts';

/** ABB: IO first. BAB: S first. ABC: three different names, nobody repeated. */
export type Pattern = 'ABB' | 'BAB' | 'ABC';

/** What one prompt is made of: indices into the grammar's lists; place and object are -1 if the grammar has none. */
export interface IoiPrompt {
  pattern: Pattern;
  template: number;
  prefix: number;
  /** ABB and BAB: the name mentioned once. ABC: the first name. */
  io: number;
  /** ABB and BAB: the name mentioned twice. ABC: the second name. */
  s: number;
  /** The acting person: S, or in ABC the third name. */
  third: number;
  place: number;
  object: number;
}

export interface Sentence {
  text: string;
  tokens: number[];
  /** Token indices, the beginning-of-sequence token counted. */
  positions: Record<'io' | 's1' | 's1+1' | 's2' | 'end', number>;
}

/** Returns the function that builds prompts; `bos` is put in front unless it is null. */
export function sentenceBuilder(tokenizer: TaskTokenizer, grammar: Grammar, lexicon: Lexicon, bos: number | null): (prompt: IoiPrompt) => Sentence {
  const layouts = new Map<string, Piece[]>();
  const fixed = new Map<string, number[]>();

  function layout(prompt: IoiPrompt): Piece[] {
    const key = `${prompt.prefix} ${prompt.template}`;
    let pieces = layouts.get(key);
    if (!pieces) layouts.set(key, (pieces = layOut(grammar.prefixes[prompt.prefix]!, grammar.templates[prompt.template]!)));
    return pieces;
  }

  function idsOf(text: string): number[] {
    let ids = fixed.get(text);
    if (!ids) fixed.set(text, (ids = tokenizer.encode(text)));
    return ids;
  }

  return (prompt) => {
    const { names } = grammar;
    const ioFirst = prompt.pattern !== 'BAB';
    const filling: Record<Slot, string | undefined> = {
      A: names[ioFirst ? prompt.io : prompt.s],
      B: names[ioFirst ? prompt.s : prompt.io],
      C: names[prompt.third],
      PLACE: grammar.places[prompt.place],
      OBJECT: grammar.objects[prompt.object],
    };
    const tokens = bos === null ? [] : [bos];
    const words = tokens.length;
    const at: Partial<Record<Slot, number>> = {};
    let text = '';
    for (const piece of layout(prompt)) {
      if ('text' in piece) {
        tokens.push(...idsOf(piece.text));
        text += piece.text;
      } else {
        const word = filling[piece.slot]!;
        at[piece.slot] = tokens.length;
        tokens.push(lexicon.id(word, piece.lead));
        text += piece.lead + word;
      }
    }
    const whole = tokenizer.encode(text);
    if (whole.length !== tokens.length - words || whole.some((id, i) => id !== tokens[words + i])) {
      throw new LexiconError(`${grammar.name}: template ${prompt.template} with prefix ${prompt.prefix} joins a word to its neighbours: "${text}" does not tokenise into its words and the text between them`);
    }
    const [io, s1] = ioFirst ? [at.A!, at.B!] : [at.B!, at.A!];
    return { text, tokens, positions: { io, s1, 's1+1': s1 + 1, s2: at.C!, end: tokens.length - 1 } };
  };
}
