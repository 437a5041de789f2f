/**
 * Tasks of sentences with slots: "The [noun] lasted from the year 17[YY] to the year 17". An attribute is a slot, or how the sentence is
 * worded; a counterfactual keeps the prompt and puts another value in.
 */
import { FileError, LexiconError, UsageError } from '../errors.ts';
import type { TaskTokenizer } from './lexicon.ts';
import { promptTable, type Column, type DetailedPrompts } from './prompts.ts';
import { seededRandom, type Random } from './random.ts';
import { ANSWER_POSITION, type EvaluationTask, type KnownSections, type ModelShape } from './task.ts';
import { readSections } from './task-sections.ts';
import type { TemplateTaskFile } from './task-file.ts';
import { layOut, slotsOf, type Piece } from './template.ts';

/** What one prompt is made of: numbers of a template, of a value of the wording (0 without one), and of each slot's value. */
export interface TemplatePrompt { template: number; wording: number; values: readonly number[] }
export type TemplatePrompts = DetailedPrompts<TemplatePrompt>;

interface Slot {
  name: string;
  values: readonly string[];
  /** Numbers of the values that may be drawn for each purpose. */
  choices: Record<'training' | 'evaluation' | 'counterfactual', readonly number[]>;
  multiToken: boolean;
  /** Numbers of the slots that have to have another value. */
  apart: readonly number[];
}

interface Built { text: string; tokens: number[]; positions: Record<string, number> }
type Position = TemplateTaskFile['positions'][string];
type Answer = TemplateTaskFile['answers']['correct'];

/** Words named in one message. */
const MOST_NAMED = 20;

export class TemplateTask implements EvaluationTask {
  readonly name: string;
  readonly attributes: readonly string[];
  readonly positions: readonly string[];
  protected readonly tokenizer: TaskTokenizer;
  /** Stands in messages and records. */
  private readonly source: string;
  private readonly file: TemplateTaskFile;
  private readonly slots: readonly Slot[];
  /** Values of the wording; [''] without one. */
  private readonly wordings: readonly string[];
  /** [template][wording] */
  private readonly layouts: readonly (readonly Piece<string>[])[][];
  private readonly sections: KnownSections | null;
  private readonly encoded = new Map<string, number[]>();
  private readonly answers = new Map<string, number>();
  private readonly mayRepeat: boolean;

  /**
   * Checks everything that prompts can go wrong by. Throws FileError for a file that contradicts itself, LexiconError for words and sentences
   * that do not fit the tokenizer. With `mayRepeat` a counterfactual draws from all its values, that of the prompt included.
   */
  constructor(tokenizer: TaskTokenizer, file: TemplateTaskFile, source: string, { mayRepeat = false }: { mayRepeat?: boolean } = {}) {
    this.tokenizer = tokenizer;
    this.file = file;
    this.source = source;
    this.mayRepeat = mayRepeat;
    this.name = file.name;
    this.attributes = file.attributes;
    this.positions = [...Object.keys(file.positions).filter((position) => position !== ANSWER_POSITION), ANSWER_POSITION];
    this.slots = readSlots(file, source);
    this.wordings = readWordings(file, source);
    this.layouts = file.templates.map(({ text, texts }) => this.wordings.map((wording) => layOut<string>('', texts ? texts[wording]! : text!)));
    this.checkNames();
    this.sections = readSections(file.crossSections, this.positions, this.attributes, source);
    if (file.prependBos && tokenizer.bos === null) throw new LexiconError(`${source}: prompts are to begin with a beginning-of-sequence token, and the model's tokenizer has none`);
    this.checkWords();
    this.checkSentences();
  }

  training(count: number, seed: number): TemplatePrompts {
    return this.sample(count, seed, 'training');
  }

  evaluation(count: number, seed: number): TemplatePrompts {
    return this.sample(count, seed, 'evaluation');
  }

  counterfactual(prompts: TemplatePrompts, attributes: readonly string[], seed: number): TemplatePrompts {
    for (const attribute of attributes) if (!this.attributes.includes(attribute)) throw new UsageError(`unknown attribute "${attribute}"; there are ${this.attributes.join(', ')}`);
    const randoms = new Map(this.attributes.map((attribute) => [attribute, seededRandom(seed, `new ${attribute}`)]));
    const reworded = this.file.wording !== undefined && attributes.includes(this.file.wording);
    return this.table(prompts.details.map((original) => {
      const values = [...original.values];
      let { wording } = original;
      if (reworded) wording = pickOther(randoms.get(this.file.wording!)!, this.wordings.length, wording);
      for (const [index, slot] of this.slots.entries()) {
        if (!attributes.includes(slot.name)) continue;
        const taken = new Set<string>(slot.apart.flatMap((other) => [this.valueOf(other, original.values), this.valueOf(other, values)]));
        if (!this.mayRepeat) taken.add(this.valueOf(index, original.values));
        values[index] = this.draw(randoms.get(slot.name)!, slot, 'counterfactual', taken);
      }
      return { ...original, wording, values };
    }));
  }

  crossSections(_model: ModelShape): KnownSections | null {
    return this.sections;
  }

  record(): Record<string, unknown> {
    const { templates, slots, prependBos, distinct } = this.file;
    return {
      source: this.source, templates: templates.length, prependBos, distinct,
      slots: Object.fromEntries(Object.entries(slots).map(([name, slot]) => [name, { values: slot.values.length, evaluation: slot.evaluation?.length ?? null, counterfactual: slot.counterfactual?.length ?? null }])),
    };
  }

  /** Seeded prompts: template and values uniform and, but for slots that are kept apart, independent; wordings as many of each as can be, in random order. */
  private sample(count: number, seed: number, purpose: 'training' | 'evaluation'): TemplatePrompts {
    if (!Number.isSafeInteger(count) || count < 0) throw new UsageError(`${count} prompts cannot be made`);
    const random = seededRandom(seed, `${this.name} prompts`);
    const wordings = random.shuffle(Array.from({ length: count }, (_, i) => i % this.wordings.length));
    return this.table(wordings.map((wording) => {
      const template = random.below(this.layouts.length);
      const values: number[] = [];
      for (const slot of this.slots) {
        const taken = new Set(slot.apart.filter((other) => other < values.length).map((other) => this.valueOf(other, values)));
        values.push(this.draw(random, slot, purpose, taken));
      }
      return { template, wording, values };
    }));
  }

  private valueOf(slot: number, values: readonly number[]): string {
    return this.slots[slot]!.values[values[slot]!]!;
  }

  private draw(random: Random, slot: Slot, purpose: keyof Slot['choices'], taken: ReadonlySet<string>): number {
    const choices = slot.choices[purpose];
    const free = taken.size > 0 ? choices.filter((value) => !taken.has(slot.values[value]!)) : choices;
    if (free.length === 0) throw new UsageError(`${this.source}: slots.${slot.name}: no value is left for ${purpose} prompts beside ${[...taken].join(', ')}`);
    return free[random.below(free.length)]!;
  }

  private table(details: TemplatePrompt[]): TemplatePrompts {
    const built = details.map((prompt) => this.build(prompt));
    const column = (values: readonly string[], id: (prompt: TemplatePrompt) => number): Column => ({ values: [...values], ids: Uint32Array.from(details, id) });
    const columns = new Map(this.slots.map((slot, index) => [slot.name, column(slot.values, ({ values }) => values[index]!)]));
    if (this.file.wording !== undefined) columns.set(this.file.wording, column(this.wordings, ({ wording }) => wording));
    const named = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, columns.get(name)!]));
    const properties = named([...columns.keys()].filter((name) => !this.attributes.includes(name)));
    const templates = this.file.templates.map(({ text, texts }) => text ?? Object.values(texts!)[0]!);
    return promptTable({
      details,
      texts: built.map(({ text }) => text),
      tokens: built.map(({ tokens }) => tokens),
      attributes: named(this.attributes),
      properties: templates.length > 1 && !columns.has('template') ? { ...properties, template: column(templates, ({ template }) => template) } : properties,
      positions: Object.fromEntries(this.positions.map((position) => [position, Uint32Array.from(built, ({ positions }) => positions[position]!)])),
      correct: Uint32Array.from(details, ({ values }) => this.answer(this.file.answers.correct, values)),
      incorrect: Uint32Array.from(details, ({ values }) => this.answer(this.file.answers.incorrect, values)),
    });
  }

  /** The sentence from its pieces, so that positions are counted and never searched for; the whole text must tokenise into the same ids. */
  private build({ template, wording, values }: TemplatePrompt): Built {
    const tokens = this.file.prependBos ? [this.tokenizer.bos!] : [];
    const start = tokens.length;
    const mentions = new Map<string, number[]>();
    let text = '';
    for (const piece of this.layouts[template]![wording]!) {
      const words = 'text' in piece ? piece.text : piece.lead + this.valueOf(this.slotIndex(piece.slot), values);
      tokens.push(...this.encode(words));
      text += words;
      if ('slot' in piece) mentions.set(piece.slot, [...(mentions.get(piece.slot) ?? []), tokens.length - 1]);
    }
    const whole = this.tokenizer.encode(text);
    if (whole.length !== tokens.length - start || whole.some((id, i) => id !== tokens[start + i])) {
      throw new LexiconError(`${this.source}: templates[${template}]: "${text}" does not tokenise into its slots' values and the text between them, but joins some with their neighbours`);
    }
    const positions: Record<string, number> = { [ANSWER_POSITION]: tokens.length - 1 };
    for (const [name, position] of Object.entries(this.file.positions)) {
      if (name !== ANSWER_POSITION) positions[name] = this.place(name, position, template, mentions, tokens.length);
    }
    return { text, tokens, positions };
  }

  private place(name: string, { slot, mention, offset, index }: Position, template: number, mentions: ReadonlyMap<string, readonly number[]>, length: number): number {
    const from = slot === undefined ? (index! < 0 ? length + index! : index!) : mentions.get(slot)?.[mention - 1];
    if (from === undefined) {
      throw new FileError(`${this.source}: positions.${name}: templates[${template}] mentions [${slot}] ${mentions.get(slot!)?.length ?? 0} times, not ${mention}`);
    }
    const at = from + offset;
    if (at < 0 || at >= length) throw new FileError(`${this.source}: positions.${name}: token ${at} is not in a prompt of ${length} tokens, which templates[${template}] makes`);
    return at;
  }

  private answer({ text, slot, tokens }: Answer, values: readonly number[]): number {
    const written = slot === undefined
      ? text!.replace(/\[([^\]]*)\]/g, (_, name: string) => this.valueOf(this.slotIndex(name), values))
      : tokens![this.valueOf(this.slotIndex(slot), values)]!;
    let id = this.answers.get(written);
    if (id === undefined) {
      const found = this.tokenizer.single(written);
      if (found === null) throw new LexiconError(`${this.source}: answers: ${JSON.stringify(written)} is not a single token of the model's tokenizer`);
      this.answers.set(written, (id = found));
    }
    return id;
  }

  private encode(text: string): number[] {
    let ids = this.encoded.get(text);
    if (!ids) this.encoded.set(text, (ids = this.tokenizer.encode(text)));
    return ids;
  }

  private slotIndex(name: string): number {
    return this.slots.findIndex((slot) => slot.name === name);
  }

  /** Slots, attributes, positions and answers that are named must exist. */
  private checkNames(): void {
    const { file, source } = this;
    const slots = this.slots.map(({ name }) => name);
    const known = (name: string, path: string, among: readonly string[] = slots): void => {
      if (!among.includes(name)) throw new FileError(`${source}: ${path}: there is no ${among === slots ? 'slot ' : ''}"${name}"; there are ${among.join(', ')}`);
    };
    file.templates.forEach(({ text, texts }, i) => Object.values(texts ?? { text: text! }).forEach((sentence) => {
      slotsOf(sentence).forEach((name) => known(name, `templates[${i}]`));
      if (/\s$/.test(sentence)) throw new FileError(`${source}: templates[${i}]: must end with a word, without a space after it`);
    }));
    file.attributes.forEach((name, i) => known(name, `attributes[${i}]`, file.wording === undefined ? slots : [...slots, file.wording]));
    for (const [name, { slot, index }] of Object.entries(file.positions)) {
      if ((slot === undefined) === (index === undefined)) throw new FileError(`${source}: positions.${name}: needs either a slot or an index`);
      if (slot !== undefined) known(slot, `positions.${name}.slot`);
    }
    for (const which of ['correct', 'incorrect'] as const) {
      const { text, slot, tokens } = file.answers[which];
      const path = `answers.${which}`;
      if ((text === undefined) === (slot === undefined)) throw new FileError(`${source}: ${path}: needs either a text, or a slot with tokens`);
      if (text !== undefined) slotsOf(text).forEach((name) => known(name, `${path}.text`));
      if (slot === undefined) continue;
      known(slot, `${path}.slot`);
      const missing = this.slots[this.slotIndex(slot)]!.values.find((value) => tokens?.[value] === undefined);
      if (missing !== undefined) throw new FileError(`${source}: ${path}.tokens: there is none for the value "${missing}" of slot ${slot}`);
    }
  }

  /** Values that have to be single tokens wherever sentences put them are, and so are the answers. */
  private checkWords(): void {
    const faults: string[] = [];
    for (const slot of this.slots) {
      if (slot.multiToken) continue;
      const leads = new Set(this.layouts.flat(2).flatMap((piece) => ('slot' in piece && piece.slot === slot.name ? [piece.lead] : [])));
      const bad = [...leads].flatMap((lead) => slot.values.filter((value) => this.tokenizer.single(lead + value) === null).map((value) => JSON.stringify(lead + value)));
      if (bad.length > 0) faults.push(`slot ${slot.name}: ${bad.slice(0, MOST_NAMED).join(', ')}${bad.length > MOST_NAMED ? ` and ${bad.length - MOST_NAMED} more` : ''}`);
    }
    if (faults.length > 0) throw new LexiconError(`${this.source}: not single tokens of the model's tokenizer: ${faults.join('; ')}`);
  }

  /** Builds every sentence with every value of every slot once, the other slots at their first value. */
  private checkSentences(): void {
    const first = this.slots.map(() => 0);
    const sentences = this.layouts.flatMap((own, template) => own.map((_, wording) => ({ template, wording })));
    for (const [index, { values }] of this.slots.entries()) {
      for (let value = 0; value < values.length; value++) {
        const chosen = first.with(index, value);
        for (const sentence of sentences) this.build({ ...sentence, values: chosen });
        for (const answer of Object.values(this.file.answers)) this.answer(answer, chosen);
      }
    }
  }
}

function readSlots(file: TemplateTaskFile, source: string): Slot[] {
  const names = Object.keys(file.slots);
  file.distinct.forEach((group, i) => group.forEach((name, j) => {
    if (!names.includes(name)) throw new FileError(`${source}: distinct[${i}][${j}]: there is no slot "${name}"; there are ${names.join(', ')}`);
  }));
  if (file.wording !== undefined && names.includes(file.wording)) throw new FileError(`${source}: wording: "${file.wording}" is a slot; the wording needs a name of its own`);
  return Object.entries(file.slots).map(([name, { values, evaluation, counterfactual, multiToken }], index): Slot => {
    const twice = values.find((value, i) => values.indexOf(value) < i);
    if (twice !== undefined) throw new FileError(`${source}: slots.${name}.values: "${twice}" is listed twice`);
    const numbers = (list: readonly string[] | undefined, key: string): readonly number[] => (list ?? values).map((value, i) => {
      const at = values.indexOf(value);
      if (at < 0) throw new FileError(`${source}: slots.${name}.${key}[${i}]: "${value}" is not among the slot's values`);
      return at;
    });
    const apart = names.flatMap((other, i) => (i !== index && file.distinct.some((group) => group.includes(name) && group.includes(other)) ? [i] : []));
    return { name, values, multiToken, apart, choices: { training: numbers(undefined, 'values'), evaluation: numbers(evaluation, 'evaluation'), counterfactual: numbers(counterfactual, 'counterfactual') } };
  });
}

/** The values of the wording, which every template has a text for; [''] without one. */
function readWordings(file: TemplateTaskFile, source: string): string[] {
  const values = Object.keys(file.templates[0]!.texts ?? {});
  file.templates.forEach(({ text, texts }, i) => {
    const path = `${source}: templates[${i}]`;
    if (file.wording === undefined) {
      if (texts || text === undefined) throw new FileError(`${path}: needs a text${texts ? '; texts are for tasks with a wording' : ''}`);
      return;
    }
    if (text !== undefined || !texts) throw new FileError(`${path}: needs texts, one for every value of ${file.wording}`);
    const own = Object.keys(texts);
    if (own.length < 2) throw new FileError(`${path}.texts: at least two values of ${file.wording} are needed`);
    if (own.length !== values.length || !values.every((value) => own.includes(value))) throw new FileError(`${path}.texts: has ${own.join(', ')}, but templates[0] has ${values.join(', ')}`);
  });
  return file.wording === undefined ? [''] : values;
}

/** A uniform number below `n` that is not `old`. */
function pickOther(random: Random, n: number, old: number): number {
  const other = random.below(n - 1);
  return other >= old ? other + 1 : other;
}
