/**
 * Prompts with attributes and semantic positions: all that an evaluation knows of a task. A task makes them; what runs, edits and
 * scores models works on this table alone.
 */

/** One value for each prompt: `values[ids[prompt]]`. */
export interface Column { values: string[]; ids: Uint32Array }

export interface Prompts {
  readonly count: number;
  /** Without the beginning-of-sequence token, which only `tokens` has. */
  readonly texts: string[];
  /** Token ids; lengths may differ between prompts. */
  readonly tokens: number[][];
  /** Per attribute the names of its values and each prompt's value: `values[ids[prompt]]`. */
  readonly attributes: Record<string, Column>;
  /** Further finite-valued facts about each prompt, which are not edited: what predicates of features and other parametrizations of supervised codes may speak of. */
  readonly properties: Record<string, Column>;
  /** Per semantic position the token index in each prompt. */
  readonly positions: Record<string, Uint32Array>;
  /** Token ids of the right answer and of the wrong one that it is compared with. */
  readonly correct: Uint32Array;
  readonly incorrect: Uint32Array;
  /** Prompts [start, end), as Array.slice counts. */
  slice(start?: number, end?: number): Prompts;
  /** The prompts of these indices, in their order. */
  select(indices: ArrayLike<number>): Prompts;
}

/** Prompts that also remember what each was made of. */
export interface DetailedPrompts<Detail> extends Prompts {
  readonly details: Detail[];
  slice(start?: number, end?: number): DetailedPrompts<Detail>;
  select(indices: ArrayLike<number>): DetailedPrompts<Detail>;
}

export type PromptColumns<Detail> = Omit<DetailedPrompts<Detail>, 'count' | 'slice' | 'select' | 'properties'> & Partial<Pick<Prompts, 'properties'>>;

/** A table of prompts from its columns, all of one length. */
export function promptTable<Detail>(columns: PromptColumns<Detail>): DetailedPrompts<Detail> {
  const count = columns.tokens.length;
  const select = (indices: ArrayLike<number>): DetailedPrompts<Detail> => {
    const pick = <T>(list: readonly T[]) => Array.from(indices, (index) => list[index]!);
    const pickIds = (list: Uint32Array) => Uint32Array.from(indices, (index) => list[index]!);
    for (let i = 0; i < indices.length; i++) {
      if (!(Number.isInteger(indices[i]) && indices[i]! >= 0 && indices[i]! < count)) throw new RangeError(`prompt ${indices[i]} of ${count}`);
    }
    return promptTable({
      texts: pick(columns.texts),
      tokens: pick(columns.tokens),
      details: pick(columns.details),
      attributes: mapValues(columns.attributes, ({ values, ids }) => ({ values, ids: pickIds(ids) })),
      properties: mapValues(columns.properties ?? {}, ({ values, ids }) => ({ values, ids: pickIds(ids) })),
      positions: mapValues(columns.positions, pickIds),
      correct: pickIds(columns.correct),
      incorrect: pickIds(columns.incorrect),
    });
  };
  const slice = (start?: number, end?: number) => select(Array.from({ length: count }, (_, index) => index).slice(start, end));
  return { ...columns, properties: columns.properties ?? {}, count, slice, select };
}

function mapValues<A, B>(record: Record<string, A>, map: (value: A) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
}
