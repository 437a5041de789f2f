/**
 * Sentence templates: text with the slots [A] and [B] (two people introduced, in this order), [C] (who acts), [PLACE] and [OBJECT].
 * A template ends where the model is to name the next person.
 */
import { LexiconError } from '../errors.ts';

const SLOTS = ['A', 'B', 'C', 'PLACE', 'OBJECT'] as const;
export type Slot = (typeof SLOTS)[number];

/** A stretch of fixed text, or a slot whose word takes the space before it along, as byte-pair tokens do. */
export type Piece<S extends string = Slot> = { text: string } | { slot: S; lead: '' | ' ' };

/** Checks a template; `what` names it in the LexiconError. */
export function checkTemplate(template: string, what: string): void {
  const found = slotsOf(template);
  for (const slot of found) if (!SLOTS.includes(slot as Slot)) throw new LexiconError(`${what}: unknown slot [${slot}]; there are ${SLOTS.map((s) => `[${s}]`).join(' ')}`);
  const people = found.filter((slot) => slot === 'A' || slot === 'B' || slot === 'C').join('');
  if (people !== 'ABC') throw new LexiconError(`${what}: needs [A], [B] and [C] once each and in this order`);
  if (/\s$/.test(template) || template.endsWith(']')) throw new LexiconError(`${what}: must end with the word before the next name, without a space after it`);
}

/** The slots of a template in their order. */
export function slotsOf(template: string): string[] {
  return [...template.matchAll(/\[([^\]]*)\]/g)].map((match) => match[1]!);
}

/** The released form `{name_A} … {place}` as `[A] … [PLACE]`. */
export function fromBraces(template: string, what: string): string {
  return template.replace(/\{([^}]*)\}/g, (whole, name: string) => {
    const slot = /^name_([ABC])$/.exec(name)?.[1] ?? { place: 'PLACE', object: 'OBJECT' }[name];
    if (!slot) throw new LexiconError(`${what}: unknown slot ${whole}; there are {name_A} {name_B} {name_C} {place} {object}`);
    return `[${slot}]`;
  });
}

/** A prefix and a checked template as pieces, whose texts put together are the sentence. */
export function layOut<S extends string = Slot>(prefix: string, template: string): Piece<S>[] {
  const pieces: Piece<S>[] = [];
  // Odd entries are the captured slots.
  (prefix + template).split(/\[([^\]]*)\]/).forEach((part, index, parts) => {
    if (index % 2 === 1) return void pieces.push({ slot: part as S, lead: parts[index - 1]!.endsWith(' ') ? ' ' : '' });
    const beforeSlot = index + 1 < parts.length && part.endsWith(' ');
    const text = beforeSlot ? part.slice(0, -1) : part;
    if (text) pieces.push({ text });
  });
  return pieces;
}
