/**
 * Tasks of prompts that are listed one by one. A counterfactual of a prompt in some attributes is another prompt of the list: one of those that
 * it names, or any that differs from it in exactly these attributes.
 */
import { FileError, LexiconError, UsageError } from '../errors.ts';
import type { TaskTokenizer } from './lexicon.ts';
import { promptTable, type DetailedPrompts } from './prompts.ts';
import { seededRandom } from './random.ts';
import { ANSWER_POSITION, type EvaluationTask, type KnownSections, type ModelShape } from './task.ts';
import { readSections } from './task-sections.ts';
import type { ListedTaskFile } from './task-file.ts';

/** The number of a prompt in the file's list. */
export interface ListedPrompt { index: number }
export type ListedPrompts = DetailedPrompts<ListedPrompt>;

type Prompt = ListedTaskFile['prompts'][number];

export class ListedTask implements EvaluationTask {
  readonly name: string;
  readonly attributes: readonly string[];
  readonly positions: readonly string[];
  private readonly source: string;
  private readonly file: ListedTaskFile;
  /** Every prompt of the list in its order. */
  private readonly all: ListedPrompts;
  private readonly sections: KnownSections | null;
  private readonly found = new Map<string, readonly number[]>();

  /**
   * Checks the whole list. Throws FileError for one that contradicts itself, or has a scored prompt without a counterfactual in some attribute;
   * LexiconError for an answer that is not one token.
   */
  constructor(tokenizer: TaskTokenizer, file: ListedTaskFile, source: string) {
    this.source = source;
    this.file = file;
    this.name = file.name;
    this.attributes = Object.keys(file.prompts[0]!.attributes);
    this.positions = [...Object.keys(file.prompts[0]!.positions).filter((name) => name !== ANSWER_POSITION), ANSWER_POSITION];
    if (file.prependBos && tokenizer.bos === null) throw new LexiconError(`${source}: prompts are to begin with a beginning-of-sequence token, and the model's tokenizer has none`);
    this.checkList();
    this.all = this.table(tokenizer);
    this.sections = readSections(file.crossSections, this.positions, this.attributes, source);
    for (const [index, { use }] of file.prompts.entries()) {
      if (use !== 'training') for (const attribute of this.attributes) this.candidates(index, [attribute]);
    }
  }

  /** Prompts for fitting in random order, none twice: `count`, or as many as the list has. */
  training(count: number, seed: number): ListedPrompts {
    return this.sample(count, seed, 'training');
  }

  /** Prompts for scoring in random order, none twice: `count`, or as many as the list has. */
  evaluation(count: number, seed: number): ListedPrompts {
    return this.sample(count, seed, 'evaluation');
  }

  counterfactual(prompts: ListedPrompts, attributes: readonly string[], seed: number): ListedPrompts {
    for (const attribute of attributes) if (!this.attributes.includes(attribute)) throw new UsageError(`unknown attribute "${attribute}"; there are ${this.attributes.join(', ')}`);
    const random = seededRandom(seed, `new ${this.key(attributes)}`);
    return this.all.select(prompts.details.map(({ index }) => {
      const candidates = this.candidates(index, attributes);
      return candidates[random.below(candidates.length)]!;
    }));
  }

  crossSections(_model: ModelShape): KnownSections | null {
    return this.sections;
  }

  record(): Record<string, unknown> {
    const { prompts, prependBos } = this.file;
    return { source: this.source, prompts: prompts.length, scored: prompts.filter(({ use }) => use !== 'training').length, prependBos };
  }

  private sample(count: number, seed: number, purpose: 'training' | 'evaluation'): ListedPrompts {
    if (!Number.isSafeInteger(count) || count < 0) throw new UsageError(`${count} prompts cannot be made`);
    const own = this.file.prompts.flatMap(({ use }, index) => (use === 'both' || use === purpose ? [index] : []));
    if (own.length === 0) throw new FileError(`${this.source}: prompts: none is for ${purpose}`);
    return this.all.select(seededRandom(seed, `${this.name} ${purpose} prompts`).shuffle(own).slice(0, count));
  }

  /** The attributes of a set in the task's own order. */
  private key(attributes: readonly string[]): string {
    return this.attributes.filter((name) => attributes.includes(name)).join('+');
  }

  /** Prompts that an edit of these attributes may lead to. */
  private candidates(index: number, attributes: readonly string[]): readonly number[] {
    const { prompts } = this.file;
    const key = this.key(attributes);
    let found = this.found.get(`${index} ${key}`);
    if (found) return found;
    const own = prompts[index]!;
    const named = Object.entries(own.counterfactuals ?? {}).find(([name]) => this.key(name.split('+')) === key)?.[1];
    found = named
      ? named.map((id) => prompts.findIndex((prompt) => prompt.id === id))
      : prompts.flatMap((prompt, i) => (this.attributes.every((name) => (prompt.attributes[name] !== own.attributes[name]) === attributes.includes(name)) ? [i] : []));
    if (found.length === 0) {
      throw new FileError(`${this.source}: prompts[${index}]: has no counterfactual in ${key || 'nothing'}: no prompt of the list differs in just this, and its counterfactuals name none`);
    }
    this.found.set(`${index} ${key}`, found);
    return found;
  }

  /** Ids, attributes and positions must agree between prompts. */
  private checkList(): void {
    const { prompts } = this.file;
    const ids = prompts.flatMap(({ id }) => id ?? []);
    const twice = ids.find((id, i) => ids.indexOf(id) < i);
    if (twice !== undefined) throw new FileError(`${this.source}: prompts: two have the id "${twice}"`);
    if (this.attributes.length === 0) throw new FileError(`${this.source}: prompts[0].attributes: at least one is needed`);
    for (const [i, prompt] of prompts.entries()) {
      const path = `${this.source}: prompts[${i}]`;
      this.checkKeys(`${path}.attributes`, Object.keys(prompt.attributes), this.attributes);
      this.checkKeys(`${path}.positions`, [...Object.keys(prompt.positions).filter((name) => name !== ANSWER_POSITION), ANSWER_POSITION], this.positions);
      for (const [name, others] of Object.entries(prompt.counterfactuals ?? {})) {
        const odd = name.split('+').find((attribute) => !this.attributes.includes(attribute));
        if (odd !== undefined) throw new FileError(`${path}.counterfactuals: there is no attribute "${odd}"; there are ${this.attributes.join(', ')}`);
        const stranger = others.find((id) => !ids.includes(id));
        if (stranger !== undefined) throw new FileError(`${path}.counterfactuals.${name}: no prompt has the id "${stranger}"`);
      }
    }
  }

  private checkKeys(path: string, found: readonly string[], wanted: readonly string[]): void {
    const missing = wanted.filter((name) => !found.includes(name));
    const more = found.filter((name) => !wanted.includes(name));
    if (missing.length + more.length === 0) return;
    throw new FileError(`${path}: ${[missing.length > 0 ? `lacks ${missing.join(', ')}` : '', more.length > 0 ? `has ${more.join(', ')}` : ''].filter(Boolean).join(' and ')}, unlike prompts[0]`);
  }

  private table(tokenizer: TaskTokenizer): ListedPrompts {
    const { prompts, prependBos } = this.file;
    const bos = prependBos ? [tokenizer.bos!] : [];
    const tokens = prompts.map(({ text }) => [...bos, ...tokenizer.encode(text)]);
    const answer = (which: 'correct' | 'incorrect') => Uint32Array.from(prompts, (prompt, i) => {
      const id = tokenizer.single(prompt[which]);
      if (id === null) throw new LexiconError(`${this.source}: prompts[${i}].${which}: ${JSON.stringify(prompt[which])} is not a single token of the model's tokenizer`);
      return id;
    });
    return promptTable({
      details: prompts.map((_, index) => ({ index })),
      texts: prompts.map(({ text }) => text),
      tokens,
      attributes: Object.fromEntries(this.attributes.map((name) => {
        const values = [...new Set(prompts.map(({ attributes }) => attributes[name]!))];
        return [name, { values, ids: Uint32Array.from(prompts, ({ attributes }) => values.indexOf(attributes[name]!)) }];
      })),
      positions: Object.fromEntries(this.positions.map((name) => [name, Uint32Array.from(prompts, (prompt, i) => (
        name === ANSWER_POSITION ? tokens[i]!.length - 1 : this.place(tokenizer, prompt, name, tokens[i]!, bos.length, i)
      ))])),
      correct: answer('correct'),
      incorrect: answer('incorrect'),
    });
  }

  private place(tokenizer: TaskTokenizer, { text, positions }: Prompt, name: string, tokens: readonly number[], bos: number, i: number): number {
    const { index, word, mention } = positions[name]!;
    const path = `${this.source}: prompts[${i}].positions.${name}`;
    if ((index === undefined) === (word === undefined)) throw new FileError(`${path}: needs either an index or a word`);
    if (index !== undefined) {
      const at = index < 0 ? tokens.length + index : index;
      if (at < 0 || at >= tokens.length) throw new FileError(`${path}.index: token ${index} is not in the prompt, which has ${tokens.length}`);
      return at;
    }
    let start = -1;
    for (let seen = 0; seen < mention; seen++) {
      start = text.indexOf(word!, start + 1);
      if (start < 0) throw new FileError(`${path}.word: ${JSON.stringify(word)} stands in the prompt ${seen} times, not ${mention}`);
    }
    const before = tokenizer.encode(text.slice(0, start + word!.length));
    if (before.some((id, at) => id !== tokens[bos + at])) throw new FileError(`${path}.word: ${JSON.stringify(word)} does not end where a token does`);
    return bos + before.length - 1;
  }
}
