/**
 * Properties of prompts that features may stand for (arXiv 2405.08366, A.12; evaluation.md §6.2).
 *
 * Indirect objects have a library of their own, which depends on where a site is:
 *   io, s1 (keys and values of name movers)   the token there is a name; that and 1st, and 2nd; it is the 1st, the 2nd; it is a woman's name
 *   elsewhere (s1+1, s2, end)                  Pos; S, S∧first, S∧second; IO likewise; S a man, a woman; a name anywhere, 1st, 2nd
 * Other tasks follow a general rule, at every position: every value of every attribute and property, and pairs of a many-valued and a two-valued
 * one. Names, and all that has more than two values, are joined in unions too.
 *
 * Prompts are counted in groups by pairs of values (S and Pos, IO and Pos); every predicate is a list of groups, so that counts of all predicates
 * are sums of counts of few groups. Kinds of few predicates come first: where a union says the same, they win.
 */
import type { Column, Prompts } from '../task/index.ts';

/** One group of prompts per id: `ids[p]` is the group that prompt p falls into, `groups` how many there are. */
export interface Grouping {
  ids: Uint32Array;
  groups: number;
}

/** A kind of property: predicates that differ in a value alone. */
export interface PropertyKind {
  kind: string;
  labels: string[];
  /** The groups that each predicate holds on, which have no prompt in common; numbers count through all groupings, one behind the other. */
  members: Uint32Array[];
  /**
   * Whether unions of predicates are properties too: `exclusive` where no two hold at once, so that counts of a union are sums of counts. Of
   * others the predicates that hold are listed prompt by prompt: they may overlap.
   */
  unions: 'none' | 'exclusive' | Overlap;
}

/** Which predicates of a kind hold on each prompt: `holds[c][p]` is the c-th of prompt p, or NO_PREDICATE; never the same twice. */
export interface Overlap {
  holds: Uint32Array[];
}

export const NO_PREDICATE = 0xffffffff;

/** Groupings of the prompts and the properties that are read from them. The first grouping has every prompt in a group. */
export interface Properties {
  groupings: Grouping[];
  kinds: PropertyKind[];
}

/** The two libraries of indirect objects. */
const TOKEN_POSITIONS: readonly string[] = ['io', 's1'];

/** Which properties are asked for at a position: positions of one family share them. */
export function familyOf(prompts: Prompts, position: string): string {
  return isIoi(prompts) && TOKEN_POSITIONS.includes(position) ? position : 'sentence';
}

/** The properties that features at a position are matched with. */
export function propertiesOf(prompts: Prompts, position = 'end'): Properties {
  const builder = new Builder();
  if (!isIoi(prompts)) general(builder, { ...prompts.attributes, ...prompts.properties, ...prompts.attributes });
  else if (familyOf(prompts, position) === 'sentence') sentenceLibrary(builder, prompts);
  else tokenLibrary(builder, prompts, position as 'io' | 's1');
  return { groupings: builder.groupings, kinds: builder.kinds };
}

/** Number of prompts in each group. */
export function groupSizes({ ids, groups }: Grouping): Float64Array {
  const sizes = new Float64Array(groups);
  for (const id of ids) sizes[id]!++;
  return sizes;
}

/** Whether prompts have what the library of indirect objects speaks of. */
function isIoi({ attributes, properties }: Prompts): boolean {
  return ['IO', 'S', 'Pos'].every((name) => Object.hasOwn(attributes, name)) && ['name1', 'name2', 'name3', 's_gender'].every((name) => Object.hasOwn(properties ?? {}, name))
    && attributes.Pos!.values.join() === 'ABB,BAB' && attributes.IO!.values.length === attributes.S!.values.length;
}

/** Gathers groupings and kinds. */
class Builder {
  readonly groupings: Grouping[] = [];
  readonly kinds: PropertyKind[] = [];
  private groups = 0;

  /** A grouping by one column: the group of each value. */
  column({ values, ids }: Column): (value: number) => number {
    const first = this.groups;
    this.groupings.push({ ids, groups: values.length });
    this.groups += values.length;
    return (value) => first + value;
  }

  /** A grouping by pairs of values of two columns: the group of each. */
  pairs(a: Column, b: Column): (a: number, b: number) => number {
    const width = b.values.length;
    const group = this.column({ values: new Array<string>(a.values.length * width), ids: a.ids.map((id, prompt) => id * width + b.ids[prompt]!) });
    return (i, j) => group(i * width + j);
  }

  kind(kind: string, labels: readonly string[], groupsOf: (predicate: number) => readonly number[], unions: PropertyKind['unions'] = 'none'): void {
    this.kinds.push({ kind, labels: [...labels], members: labels.map((_, predicate) => Uint32Array.from(groupsOf(predicate))), unions });
  }
}

function sentenceLibrary(builder: Builder, prompts: Prompts): void {
  const { IO, S, Pos } = prompts.attributes as Record<'IO' | 'S' | 'Pos', Column>;
  const [s, io] = [builder.pairs(S, Pos), builder.pairs(IO, Pos)];
  const names = S.values;
  const every = range(names.length);
  builder.kind('Pos', Pos.values.map((value) => `Pos=${value}`), (side) => every.map((name) => s(name, side)));
  const ofGender = namesByGender(prompts, ['S', 's_gender'], ['IO', 'io_gender']);
  builder.kind('S gender', ['S male', 'S female'], (gender) => ofGender[gender]!.flatMap((name) => [s(name, 0), s(name, 1)]));
  // With ABB (0) IO comes first, with BAB (1) S does.
  for (const [role, group, first] of [['S', s, 1], ['IO', io, 0]] as const) {
    const labels = names.map((name) => `${role}=${name}`);
    builder.kind(role, labels, (name) => [group(name, 0), group(name, 1)], 'exclusive');
    builder.kind(`${role}∧first`, labels.map((label) => `${label}∧first`), (name) => [group(name, first)], 'exclusive');
    builder.kind(`${role}∧second`, labels.map((label) => `${label}∧second`), (name) => [group(name, 1 - first)], 'exclusive');
  }
  const third = thirdNames(prompts);
  const other = third ? builder.column({ values: [...names, 'none'], ids: third.map((id) => (id === NO_PREDICATE ? names.length : id)) }) : null;
  builder.kind(
    'name anywhere', names.map((name) => `${name} anywhere`), (name) => [s(name, 0), s(name, 1), io(name, 0), io(name, 1), ...(other ? [other(name)] : [])],
    { holds: [S.ids, IO.ids, ...(third ? [third] : [])] },
  );
  builder.kind('name 1st', names.map((name) => `${name} 1st`), (name) => [io(name, 0), s(name, 1)], 'exclusive');
  builder.kind('name 2nd', names.map((name) => `${name} 2nd`), (name) => [s(name, 0), io(name, 1)], 'exclusive');
}

function tokenLibrary(builder: Builder, prompts: Prompts, position: 'io' | 's1'): void {
  const { Pos } = prompts.attributes as Record<'Pos', Column>;
  const [token, role, first] = position === 'io' ? [prompts.attributes.IO!, 'io_gender', 0] as const : [prompts.attributes.S!, 's_gender', 1] as const;
  const group = builder.pairs(token, Pos);
  const every = range(token.values.length);
  builder.kind('token place', ['token 1st', 'token 2nd'], (place) => every.map((name) => group(name, place === 0 ? first : 1 - first)));
  const female = namesByGender(prompts, [position === 'io' ? 'IO' : 'S', role])[1]!;
  builder.kind('token gender', ['token female'], () => female.flatMap((name) => [group(name, 0), group(name, 1)]));
  const labels = token.values.map((name) => `token=${name}`);
  builder.kind('token', labels, (name) => [group(name, 0), group(name, 1)], 'exclusive');
  builder.kind('token∧1st', labels.map((label) => `${label}∧1st`), (name) => [group(name, first)], 'exclusive');
  builder.kind('token∧2nd', labels.map((label) => `${label}∧2nd`), (name) => [group(name, 1 - first)], 'exclusive');
}

/** Men's and women's names, as the columns of genders beside columns of names say. */
function namesByGender(prompts: Prompts, ...sources: readonly (readonly [names: string, genders: string])[]): number[][] {
  const found = [new Set<number>(), new Set<number>()];
  for (const [names, genders] of sources) {
    const { values, ids } = prompts.properties[genders]!;
    const sexes = [values.indexOf('M'), values.indexOf('F')];
    prompts.attributes[names]!.ids.forEach((name, prompt) => {
      const sex = sexes.indexOf(ids[prompt]!);
      if (sex >= 0) found[sex]!.add(name);
    });
  }
  return found.map((names) => [...names].sort((a, b) => a - b));
}

/** Third names where they are none of the first two (prompts of three people), or null if there are no such prompts. */
function thirdNames(prompts: Prompts): Uint32Array | null {
  const { name1, name2, name3 } = prompts.properties as Record<'name1' | 'name2' | 'name3', Column>;
  const third = name3.ids.map((id, prompt) => (id === name1.ids[prompt] || id === name2.ids[prompt] ? NO_PREDICATE : id));
  return third.some((id) => id !== NO_PREDICATE) ? third : null;
}

/** Every value of every column, and pairs of a many-valued and a two-valued one. Columns of one value say nothing. */
function general(builder: Builder, all: Readonly<Record<string, Column>>): void {
  const columns = Object.entries(all).filter(([, { values }]) => values.length > 1).map(([name, column]) => ({ name, column, many: column.values.length > 2 }));
  for (const { name, column, many } of columns) {
    const group = builder.column(column);
    builder.kind(name, column.values.map((value) => `${name}=${value}`), (value) => [group(value)], many ? 'exclusive' : 'none');
  }
  for (const { name, column, many } of columns) {
    if (!many) continue;
    for (const two of columns) {
      if (two.many) continue;
      const group = builder.pairs(column, two.column);
      two.column.values.forEach((side, j) => {
        builder.kind(`${name}∧${two.name}`, column.values.map((value) => `${name}=${value}∧${two.name}=${side}`), (value) => [group(value, j)], 'exclusive');
      });
    }
  }
}

function range(length: number): number[] {
  return Array.from({ length }, (_, i) => i);
}
