/**
 * Grammars of indirect-object sentences: word lists and templates, from one `ioi.json`, from the five (or six) files in which the paper's lists
 * were released, or the project's own for GPT-2's vocabulary.
 */
import { LexiconError } from '../errors.ts';
import { fileName, type FileSource } from '../files/index.ts';
import gpt2 from './grammars/gpt2.json';
import { checkTemplate, fromBraces, slotsOf } from './template.ts';

export interface Grammar {
  /** For messages and records: the file or directory it came from. */
  name: string;
  names: string[];
  /** Name to M or F; empty where the lists say nothing. */
  genders: Record<string, string>;
  places: string[];
  objects: string[];
  prefixes: string[];
  /** Which prefix sentences begin with: always this entry, or each with equal chance. */
  prefix: number | 'uniform';
  /** With the slots [A] [B] [C] [PLACE] [OBJECT]. */
  templates: string[];
  /** Whether prompts begin with the tokenizer's beginning-of-sequence token. */
  prependBos: boolean;
}

/**
 * The released lists are used with this one prefix, "Then, ", so that all prompts have one length: 19 GPT-2 tokens with the beginning one. The
 * paper prints the second template with "Afterwards," before the third name, which would make it 21: the released file, without it, is right.
 */
const RELEASED_PREFIX = 2;

/** Reads `ioi.json`, or else `names.json`, `places.json`, `objects.json`, `templates.json` and, where there are, `prefixes.json` and `genders.json`. */
export async function loadGrammar(source: FileSource): Promise<Grammar> {
  if (await source.has('ioi.json')) return grammarFromJson(await source.json('ioi.json'), fileName(source, 'ioi.json'));
  if (!(await source.has('names.json'))) throw new LexiconError(`${source.name}: holds no word lists (neither ioi.json nor names.json)`);
  const list = async (name: string) => words(await source.json(`${name}.json`), fileName(source, `${name}.json`));
  const templatesName = fileName(source, 'templates.json');
  const templates = texts(await source.json('templates.json'), templatesName).map((t, i) => fromBraces(t, `${templatesName}: template ${i}`));
  const prefixes = (await source.has('prefixes.json')) ? texts(await source.json('prefixes.json'), fileName(source, 'prefixes.json')) : [''];
  const genders = (await source.has('genders.json')) ? gendersFrom(await source.json('genders.json'), fileName(source, 'genders.json')) : {};
  return checked({
    name: source.name,
    names: await list('names'),
    places: await list('places'),
    objects: await list('objects'),
    genders,
    prefixes,
    prefix: Math.min(RELEASED_PREFIX, prefixes.length - 1),
    templates,
    prependBos: true,
  });
}

/** The grammar of a model: the user's lists if given, else the model directory's own `ioi.json`, else the one for GPT-2's vocabulary. */
export async function grammarFor(model: FileSource, lexicon?: FileSource): Promise<Grammar> {
  if (lexicon) return loadGrammar(lexicon);
  return (await model.has('ioi.json')) ? loadGrammar(model) : gpt2Grammar();
}

/** The project's own grammar, of words that are single tokens of GPT-2's vocabulary. */
export function gpt2Grammar(): Grammar {
  return grammarFromJson(gpt2, 'gpt2');
}

/** Checks the content of an `ioi.json`; `name` stands in messages. Throws LexiconError. */
export function grammarFromJson(json: unknown, name: string): Grammar {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new LexiconError(`${name}: not an object of word lists`);
  const { names, genders, places, objects, prefixes, prefix, templates, prepend_bos: prependBos } = json as Record<string, unknown>;
  if (prependBos !== undefined && typeof prependBos !== 'boolean') throw new LexiconError(`${name}: prepend_bos must be true or false`);
  return checked({
    name,
    names: words(names, `${name}: names`),
    genders: genders === undefined ? {} : gendersFrom(genders, `${name}: genders`),
    places: places === undefined ? [] : words(places, `${name}: places`),
    objects: objects === undefined ? [] : words(objects, `${name}: objects`),
    prefixes: prefixes === undefined ? [''] : texts(prefixes, `${name}: prefixes`),
    prefix: prefix === undefined ? 'uniform' : (prefix as number | 'uniform'),
    templates: texts(templates, `${name}: templates`),
    prependBos: prependBos ?? true,
  });
}

function checked(grammar: Grammar): Grammar {
  const { name, names, places, objects, prefixes, prefix, templates, genders } = grammar;
  if (names.length < 4) throw new LexiconError(`${name}: ${names.length} names; at least 4 are needed to keep those of prompts and counterfactuals apart`);
  templates.forEach((template, i) => checkTemplate(template, `${name}: template ${i}`));
  for (const [slot, list, what] of [['PLACE', places, 'places'], ['OBJECT', objects, 'objects']] as const) {
    const user = templates.findIndex((template) => slotsOf(template).includes(slot));
    if (user >= 0 && list.length === 0) throw new LexiconError(`${name}: template ${user} uses [${slot}] but there are no ${what}`);
  }
  const odd = prefixes.findIndex((text) => /[[\]{}]/.test(text));
  if (odd >= 0) throw new LexiconError(`${name}: prefix ${odd} has a bracket; slots belong into templates`);
  if (prefix !== 'uniform' && !(Number.isInteger(prefix) && prefix >= 0 && prefix < prefixes.length)) {
    throw new LexiconError(`${name}: prefix must be "uniform" or the number of one of the ${prefixes.length} prefixes, not ${JSON.stringify(prefix)}`);
  }
  const stranger = Object.keys(genders).find((person) => !names.includes(person));
  if (stranger !== undefined) throw new LexiconError(`${name}: genders has "${stranger}", which is not among the names`);
  return grammar;
}

function texts(json: unknown, what: string): string[] {
  if (!Array.isArray(json) || json.length === 0 || !json.every((entry) => typeof entry === 'string')) {
    throw new LexiconError(`${what}: a list of strings is needed, and at least one`);
  }
  return json as string[];
}

/** Words: no spaces around them, none empty, none twice. */
function words(json: unknown, what: string): string[] {
  const list = texts(json, what);
  const seen = new Set<string>();
  for (const word of list) {
    if (word === '' || word !== word.trim()) throw new LexiconError(`${what}: ${JSON.stringify(word)} is empty or has spaces around it`);
    if (seen.has(word)) throw new LexiconError(`${what}: "${word}" is listed twice`);
    seen.add(word);
  }
  return list;
}

function gendersFrom(json: unknown, what: string): Record<string, string> {
  if (typeof json !== 'object' || json === null || Array.isArray(json) || !Object.values(json).every((g) => g === 'M' || g === 'F')) {
    throw new LexiconError(`${what}: an object of names with "M" or "F" is needed`);
  }
  return json as Record<string, string>;
}
