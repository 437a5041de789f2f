/**
 * Indirect-object identification: "Then, Mary and John went to the park. John gave a book to" is continued with " Mary".
 * IO is the name mentioned once, S the one mentioned twice, Pos whether IO comes first (ABB) or second (BAB).
 */
import { LexiconError, UsageError } from '../errors.ts';
import type { Grammar } from './grammar.ts';
import { readLexicon, type Lexicon, type TaskTokenizer } from './lexicon.ts';
import { promptTable, type Column, type DetailedPrompts } from './prompts.ts';
import { seededRandom, type Random } from './random.ts';
import { readSentence } from './reading.ts';
import { sentenceBuilder, type IoiPrompt, type Pattern, type Sentence } from './sentences.ts';
import { IOI_POSITIONS } from './sites.ts';

export type Attribute = 'IO' | 'S' | 'Pos';
export type IoiPrompts = DetailedPrompts<IoiPrompt>;
/** Indices [start, end) into a list of the grammar. */
export type Range = readonly [start: number, end: number];

/** Lists, or parts of them, that prompts are made of; all of a list where nothing is said. */
export interface Parts {
  names?: Range;
  places?: Range;
  objects?: Range;
  templates?: Range;
}

export interface SampleOptions extends Parts {
  count: number;
  seed: number;
  /** As many of each as can be; the first ones get what is left over. */
  patterns?: readonly Pattern[];
}

export interface TaskOptions {
  /** Overrides the grammar's own choice. */
  prependBos?: boolean;
  prefix?: number | 'uniform';
}

export class IoiTask {
  readonly name = 'ioi';
  readonly attributes: readonly Attribute[] = ['IO', 'S', 'Pos'];
  readonly positions: readonly string[] = IOI_POSITIONS;
  /**
   * Names apart from each other in the proportions of the released code, 108:54:54 of 216: those of evaluated prompts, new IO names and
   * new S names of counterfactuals.
   */
  readonly splits: { eval: Range; counterfactualIo: Range; counterfactualS: Range };
  readonly prependBos: boolean;
  readonly prefix: number | 'uniform';
  private readonly build: (prompt: IoiPrompt) => Sentence;

  private constructor(readonly grammar: Grammar, private readonly lexicon: Lexicon, private readonly tokenizer: TaskTokenizer, prefix: number | 'uniform', prependBos: boolean) {
    const n = grammar.names.length;
    const [half, threeQuarters] = [Math.floor(n / 2), Math.floor((3 * n) / 4)];
    this.splits = { eval: [0, half], counterfactualIo: [half, threeQuarters], counterfactualS: [threeQuarters, n] };
    this.prefix = prefix;
    this.prependBos = prependBos;
    this.build = sentenceBuilder(tokenizer, grammar, lexicon, prependBos ? tokenizer.bos : null);
  }

  /** Throws LexiconError if words are not single tokens of the tokenizer, or if a beginning-of-sequence token is wanted that it does not have. */
  static create(tokenizer: TaskTokenizer, grammar: Grammar, options: TaskOptions = {}): IoiTask {
    const prefix = options.prefix ?? grammar.prefix;
    if (prefix !== 'uniform' && grammar.prefixes[prefix] === undefined) throw new UsageError(`prefix ${prefix}: ${grammar.name} has ${grammar.prefixes.length} prefixes, counted from 0`);
    const prependBos = options.prependBos ?? grammar.prependBos;
    if (prependBos && tokenizer.bos === null) throw new LexiconError(`${grammar.name}: prompts are to begin with a beginning-of-sequence token, and the model's tokenizer has none`);
    const lexicon = readLexicon(tokenizer, grammar, prefix === 'uniform' ? grammar.prefixes : [grammar.prefixes[prefix]!]);
    return new IoiTask(grammar, lexicon, tokenizer, prefix, prependBos);
  }

  /** What results record about the task: enough to make the same prompts again from the same lists. */
  record(): { grammar: string; names: number; places: number; objects: number; templates: number; prefix: string; prependBos: boolean } {
    const { name, names, places, objects, templates, prefixes } = this.grammar;
    const prefix = this.prefix === 'uniform' ? `uniform over ${prefixes.length}` : `always entry ${this.prefix}, ${JSON.stringify(prefixes[this.prefix])}`;
    return { grammar: name, names: names.length, places: places.length, objects: objects.length, templates: templates.length, prefix, prependBos: this.prependBos };
  }

  /**
   * Seeded prompts: template, two different names, place, object and prefix uniform and independent of each other and of the pattern;
   * half ABB and half BAB in random order unless `patterns` says otherwise. The same on every machine.
   */
  sample(options: SampleOptions): IoiPrompts {
    const { count, seed } = options;
    const patterns = options.patterns ?? ['ABB', 'BAB'];
    if (!Number.isSafeInteger(count) || count < 0) throw new UsageError(`${count} prompts cannot be made`);
    if (patterns.length === 0) throw new UsageError('no pattern was given to make prompts of');
    const { grammar } = this;
    const names = this.range('names', options.names, patterns.includes('ABC') ? 3 : 2);
    const places = this.range('places', options.places, 0);
    const objects = this.range('objects', options.objects, 0);
    const templates = this.range('templates', options.templates, 1);
    const random = seededRandom(seed, 'ioi prompts');
    const order = random.shuffle(Array.from({ length: count }, (_, i) => patterns[i % patterns.length]!));
    return this.table(order.map((pattern) => {
      const [io, s, other] = distinct(random, names);
      return {
        pattern,
        template: pick(random, templates),
        prefix: this.prefix === 'uniform' ? random.below(grammar.prefixes.length) : this.prefix,
        io,
        s,
        third: pattern === 'ABC' ? other : s,
        place: pick(random, places),
        object: pick(random, objects),
      };
    }));
  }

  /**
   * The same prompts about other people: a new IO, a new S, the first two names in each other's places. All else stays. UsageError for prompts that it
   * cannot be said of, LexiconError for a name that the task does not have, or that is in both roles then.
   */
  rewrite(prompts: IoiPrompts, { io, s, swap = false }: { io?: string; s?: string; swap?: boolean }): IoiPrompts {
    const { names } = this.grammar;
    const find = (name: string): number => {
      const index = names.indexOf(name);
      if (index < 0) throw new LexiconError(`${name} is none of the task's ${names.length} names, such as ${names.slice(0, 3).join(', ')}`);
      return index;
    };
    return this.table(prompts.details.map((original) => {
      if (original.pattern === 'ABC') throw new UsageError('prompts of three different names (ABC) have no S and hence no counterfactuals');
      const prompt = { ...original };
      if (swap) prompt.pattern = original.pattern === 'ABB' ? 'BAB' : 'ABB';
      if (s !== undefined) prompt.s = prompt.third = find(s);
      if (io !== undefined) prompt.io = find(io);
      if (prompt.io === prompt.s) throw new LexiconError(`${names[prompt.io]} would be IO and S at once; two different people are needed`);
      return prompt;
    }));
  }

  /**
   * A typed sentence as a prompt of this task: two different people, then one of them again, in whatever words. What is returned beside the prompt is the
   * task of this one sentence: names, tokens and answers are this task's, and its counterfactuals say the same of other people.
   * Throws LexiconError, in one line, for a sentence that is not so, or whose names are not tokens of their own where they stand.
   */
  read(text: string): { task: IoiTask; prompts: IoiPrompts } {
    const { template, people: [first, second, third] } = readSentence(text, this.grammar);
    const grammar: Grammar = { ...this.grammar, places: [], objects: [], prefixes: [''], prefix: 0, templates: [template] };
    const task = IoiTask.create(this.tokenizer, grammar, { prependBos: this.prependBos });
    const pattern = third === second ? 'ABB' : 'BAB';
    const [io, s] = pattern === 'ABB' ? [first, second] : [second, first];
    return { task, prompts: task.table([{ pattern, template: 0, prefix: 0, io, s, third, place: -1, object: -1 }]) };
  }

  /**
   * Counterfactuals of prompts in a set of attributes, applied in the order Pos, S, IO: the first two names change places; both mentions of S
   * become a new name; IO becomes a new name. New names are not in the prompt, are drawn independently for IO and S, and come from the
   * counterfactual splits unless ranges are given. All else stays.
   * With `coupledTargets`, the released behaviour, new IO and new S stand at the same place of their ranges, whichever of them is used: the
   * released code draws both from lists of one length with one seed, so that in joint edits a new IO goes along with one new S only.
   */
  counterfactual(
    prompts: IoiPrompts, attributes: readonly Attribute[], options: { seed: number; ioNames?: Range; sNames?: Range; coupledTargets?: boolean },
  ): IoiPrompts {
    for (const attribute of attributes) if (!this.attributes.includes(attribute)) throw new UsageError(`unknown attribute "${attribute}"; there are ${this.attributes.join(', ')}`);
    const ioNames = this.range('names', options.ioNames ?? this.splits.counterfactualIo, 1);
    const sNames = this.range('names', options.sNames ?? this.splits.counterfactualS, 1);
    const [ioRandom, sRandom, bothRandom] = ['new IO', 'new S', 'new names'].map((purpose) => seededRandom(options.seed, purpose)) as [Random, Random, Random];
    return this.table(prompts.details.map((original) => {
      if (original.pattern === 'ABC') throw new UsageError('prompts of three different names (ABC) have no S and hence no counterfactuals');
      const prompt = { ...original };
      if (attributes.includes('Pos')) prompt.pattern = original.pattern === 'ABB' ? 'BAB' : 'ABB';
      if (options.coupledTargets) {
        const both = this.coupledNames(bothRandom, ioNames, sNames, [original.io, original.s]);
        if (attributes.includes('S')) prompt.s = prompt.third = both.s;
        if (attributes.includes('IO')) prompt.io = both.io;
        return prompt;
      }
      if (attributes.includes('S')) prompt.s = prompt.third = this.newName(sRandom, sNames, [original.io, original.s]);
      if (attributes.includes('IO')) prompt.io = this.newName(ioRandom, ioNames, [original.io, original.s, prompt.s]);
      return prompt;
    }));
  }

  /**
   * The paper's other division: the first or second half of names, places and objects, and the first two thirds of the templates or the rest.
   * (The released numbers divide only names: `splits`.)
   */
  partition(part: 'train' | 'test'): Parts {
    const { names, places, objects, templates } = this.grammar;
    const cut = (length: number, at: number): Range => {
      // A list too short to divide serves both parts.
      if (length < 2) return [0, length];
      return part === 'train' ? [0, at] : [at, length];
    };
    const half = (list: readonly string[]) => cut(list.length, Math.floor(list.length / 2));
    const last = Math.max(1, Math.floor(templates.length / 3));
    return { names: half(names), places: half(places), objects: half(objects), templates: cut(templates.length, templates.length - last) };
  }

  private table(details: IoiPrompt[]): IoiPrompts {
    const sentences = details.map((prompt) => this.build(prompt));
    const { names } = this.grammar;
    const column = (value: (prompt: IoiPrompt) => number) => Uint32Array.from(details, value);
    const answer = (name: number) => this.lexicon.id(names[name]!, ' ');
    return promptTable({
      details,
      texts: sentences.map(({ text }) => text),
      tokens: sentences.map(({ tokens }) => tokens),
      attributes: {
        IO: { values: names, ids: column(({ io }) => io) },
        S: { values: names, ids: column(({ s }) => s) },
        Pos: { values: ['ABB', 'BAB'], ids: column(({ pattern }) => (pattern === 'BAB' ? 1 : 0)) },
      },
      properties: this.properties(details),
      positions: Object.fromEntries(IOI_POSITIONS.map((position) => [position, Uint32Array.from(sentences, ({ positions }) => positions[position])])),
      correct: column(({ io }) => answer(io)),
      incorrect: column(({ s }) => answer(s)),
    });
  }

  /** Who stands where, who is a man or a woman (`?` where the lists do not say), and what the sentence is otherwise made of. */
  private properties(details: readonly IoiPrompt[]): Record<string, Column> {
    const { names, genders, places, objects, templates } = this.grammar;
    const sexes = ['M', 'F', '?'];
    const gender = (name: number) => sexes.indexOf(genders[names[name]!] ?? '?');
    const column = (values: string[], id: (prompt: IoiPrompt) => number): Column => ({ values, ids: Uint32Array.from(details, id) });
    const ioFirst = ({ pattern }: IoiPrompt) => pattern !== 'BAB';
    return {
      name1: column(names, (prompt) => (ioFirst(prompt) ? prompt.io : prompt.s)),
      name2: column(names, (prompt) => (ioFirst(prompt) ? prompt.s : prompt.io)),
      name3: column(names, ({ third }) => third),
      io_gender: column(sexes, ({ io }) => gender(io)),
      s_gender: column(sexes, ({ s }) => gender(s)),
      template: column(templates, ({ template }) => template),
      // A grammar without such words has -1.
      place: column(places.length > 0 ? places : ['none'], ({ place }) => Math.max(place, 0)),
      object: column(objects.length > 0 ? objects : ['none'], ({ object }) => Math.max(object, 0)),
    };
  }

  private range(list: 'names' | 'places' | 'objects' | 'templates', range: Range | undefined, least: number): Range {
    const { length } = this.grammar[list];
    const [start, end] = range ?? [0, length];
    if (!(Number.isInteger(start) && Number.isInteger(end) && 0 <= start && start <= end && end <= length)) {
      throw new UsageError(`${list} [${start}, ${end}) is not a part of the ${length} ${list} of ${this.grammar.name}`);
    }
    if (end - start < least) throw new LexiconError(`${this.grammar.name}: ${end - start} ${list} to choose from, at least ${least} are needed`);
    return [start, end];
  }

  /** A uniform name of the range that is none of `taken`. */
  private newName(random: Random, [start, end]: Range, taken: readonly number[]): number {
    const inside = [...new Set(taken)].filter((name) => start <= name && name < end).sort((a, b) => a - b);
    const free = end - start - inside.length;
    if (free < 1) throw new LexiconError(`${this.grammar.name}: names [${start}, ${end}) hold none that is not already in the prompt`);
    let name = start + random.below(free);
    for (const other of inside) if (name >= other) name++;
    return name;
  }

  /** Names at one uniform place of both ranges, different from each other and none of `taken`. */
  private coupledNames(random: Random, [ioStart, ioEnd]: Range, [sStart, sEnd]: Range, taken: readonly number[]): { io: number; s: number } {
    const places = Array.from({ length: Math.min(ioEnd - ioStart, sEnd - sStart) }, (_, i) => i);
    const free = places.filter((place) => ioStart !== sStart && !taken.includes(ioStart + place) && !taken.includes(sStart + place));
    if (free.length === 0) throw new LexiconError(`${this.grammar.name}: names [${ioStart}, ${ioEnd}) and [${sStart}, ${sEnd}) have no place where both are new to the prompt`);
    const place = free[random.below(free.length)]!;
    return { io: ioStart + place, s: sStart + place };
  }
}

/** Uniform in the range; -1 if it is empty. */
function pick(random: Random, [start, end]: Range): number {
  return end > start ? start + random.below(end - start) : -1;
}

/** Three different indices of the range in random order; the third is without meaning in a range of two. */
function distinct(random: Random, [start, end]: Range): [number, number, number] {
  const n = end - start;
  const first = random.below(n);
  let second = random.below(n - 1);
  if (second >= first) second++;
  let third = random.below(Math.max(1, n - 2));
  for (const taken of [Math.min(first, second), Math.max(first, second)]) if (third >= taken) third++;
  return [start + first, start + second, start + third];
}
