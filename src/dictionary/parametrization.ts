/**
 * Parametrizations of supervised dictionaries (arXiv 2405.08366, section 3 and A.6 to A.9): which facts about a prompt have codes. A
 * parametrization is a list of terms, a term one or more columns of the prompts taken together; each combination of their values is a
 * feature. `independent` has one term each for IO, S and Pos; `coupled` one for (IO, Pos) and one for (S, Pos).
 */
import { ShapeError, UsageError } from '../errors.ts';
import type { Prompts } from '../task/index.ts';

/** A column of the prompts (an attribute or another property) and how many values it may have. */
export interface AttributeSpace {
  name: string;
  values: number;
}

export interface Parametrization {
  name: string;
  terms: readonly (readonly string[])[];
  /** Columns that change with attributes of other names, and which: an edit of IO changes `io_gender` too. */
  derived?: Readonly<Record<string, readonly string[]>>;
}

/** How the columns of indirect-object prompts follow from the three attributes that are edited. */
const IOI_DERIVED: Readonly<Record<string, readonly string[]>> = {
  name1: ['IO', 'S', 'Pos'], name2: ['IO', 'S', 'Pos'], name3: ['S'], io_gender: ['IO'], s_gender: ['S'],
};

const single = (...columns: string[]): string[][] => columns.map((column) => [column]);
const COUPLED = [['IO', 'Pos'], ['S', 'Pos']];
const TWO_NAMES = single('name1', 'name2');

const IOI_TERMS: Readonly<Record<string, readonly (readonly string[])[]>> = {
  'independent': single('IO', 'S', 'Pos'),
  'coupled': COUPLED,
  'names': single('name1', 'name2', 'name3'),
  'independent+gender': single('IO', 'S', 'Pos', 'io_gender', 's_gender'),
  'coupled+gender': [...COUPLED, ...single('io_gender', 's_gender')],
  'independent gender only': single('io_gender', 's_gender', 'Pos'),
  'coupled gender only': [['io_gender', 'Pos'], ['s_gender', 'Pos']],
  'independent+irrelevant': single('IO', 'S', 'Pos', 'object', 'place'),
  'coupled+irrelevant': [...COUPLED, ...single('object', 'place')],
  '(S,Pos)+IO': [['S', 'Pos'], ['IO']],
  '(IO,Pos)+S': [['IO', 'Pos'], ['S']],
  'ind': single('S', 'Pos'),
  'si': single('S', 'Pos'),
  'nm': single('IO'),
  'IO': single('IO'),
  'S': single('S'),
  'Pos': single('Pos'),
};

/** Names of the parametrizations of indirect-object prompts. */
export const IOI_PARAMETRIZATIONS: readonly string[] = Object.keys(IOI_TERMS);

/** Positions at which only the first two names have been read. */
const BEFORE_THIRD_NAME = ['io', 's1', 's1+1'];

/**
 * A parametrization of indirect-object prompts by name, for a site at the position given: `names` has the third name only where it has been
 * read. (The released code also puts `independent` in the place of `coupled` at io, s1 and s1+1; here `coupled` is coupled everywhere.)
 * Throws UsageError, listing the names there are.
 */
export function ioiParametrization(name: string, position?: string): Parametrization {
  const terms = Object.hasOwn(IOI_TERMS, name) ? IOI_TERMS[name]! : null;
  if (!terms) throw new UsageError(`unknown parametrization "${name}"; there are ${IOI_PARAMETRIZATIONS.join(', ')}`);
  const early = name === 'names' && position !== undefined && BEFORE_THIRD_NAME.includes(position);
  return { name, terms: early ? TWO_NAMES : terms, derived: IOI_DERIVED };
}

/** One term for each column: the main parametrization of any task. */
export function independent(columns: readonly { name: string }[]): Parametrization {
  return { name: 'independent', terms: columns.map(({ name }) => [name]) };
}

/** Every column of the prompts that codes may be made of: attributes and properties, attributes first. */
export function columnSpaces(prompts: Prompts): AttributeSpace[] {
  return Object.entries({ ...prompts.attributes, ...withoutKeys(prompts.properties, prompts.attributes) })
    .map(([name, { values }]) => ({ name, values: values.length }));
}

/** Each prompt's value of every such column, as dictionaries read them from Examples.attributes. */
export function columnIds(prompts: Prompts): Record<string, Uint32Array> {
  return Object.fromEntries(Object.entries({ ...prompts.properties, ...prompts.attributes }).map(([name, { ids }]) => [name, ids]));
}

function withoutKeys<T>(record: Record<string, T>, keys: object): Record<string, T> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => !Object.hasOwn(keys, key)));
}

/** A term with its place in the dictionary: feature `first + Σ ids in mixed radix` for each combination, the last column fastest. */
export interface Term {
  columns: readonly string[];
  sizes: readonly number[];
  first: number;
  values: number;
}

/** Binds terms to columns. Throws UsageError for a column that the prompts do not have, or a term without columns. */
export function bindTerms({ name, terms }: Parametrization, spaces: readonly AttributeSpace[]): Term[] {
  if (terms.length === 0) throw new UsageError(`parametrization ${name} has no terms`);
  let first = 0;
  return terms.map((columns) => {
    if (columns.length === 0) throw new UsageError(`parametrization ${name} has a term without columns`);
    const sizes = columns.map((column) => {
      const space = spaces.find((candidate) => candidate.name === column);
      if (!space) throw new UsageError(`parametrization ${name} needs ${column}, which the prompts do not have; they have ${spaces.map((s) => s.name).join(', ')}`);
      return space.values;
    });
    const values = sizes.reduce((product, size) => product * size, 1);
    const term = { columns, sizes, first, values };
    first += values;
    return term;
  });
}

/** Each of n examples' combination of values, from 0 to `term.values` − 1. Throws ShapeError for columns of another length or values out of range. */
export function termIds(term: Term, attributes: Readonly<Record<string, Uint32Array>>, n: number): Uint32Array {
  const ids = new Uint32Array(n);
  term.columns.forEach((column, at) => {
    const own = attributes[column];
    if (!own || own.length !== n) throw new ShapeError(`${n} examples come with ${own?.length ?? 'no'} values of attribute ${column}`);
    const size = term.sizes[at]!;
    for (let row = 0; row < n; row++) {
      if (own[row]! >= size) throw new ShapeError(`attribute ${column} has ${size} values, an example has number ${own[row]}`);
      ids[row] = ids[row]! * size + own[row]!;
    }
  });
  return ids;
}

/** Whether a column changes when the attributes named are edited. */
export function dependsOn({ derived }: Parametrization, column: string, attributes: readonly string[]): boolean {
  return attributes.includes(column) || (derived?.[column] ?? []).some((source) => attributes.includes(source));
}
