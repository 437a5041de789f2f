/** Word lists: both forms are read, and lists that cannot work are refused with the place and the word. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileError, LexiconError } from '../../src/errors.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { gpt2Grammar, grammarFor, grammarFromJson, IoiTask, loadGrammar } from '../../src/task/index.ts';
import { gpt2Words, jsonSource, MINI, miniTokenizer } from './tokenizers.ts';
import { refusal as refusalOf } from '../support/refusal.ts';

const test = suite('task/grammar');

/** A small lexicon in the form in which the paper's lists were released. */
const released = {
  names: ['Mary', 'John', 'Tom', 'Jack', 'Anna', 'Simon'],
  genders: { Mary: 'F', John: 'M' },
  objects: ['book', 'ring'],
  places: ['park', 'school', 'store'],
  prefixes: ['', 'Then ', 'Then, ', 'One day, '],
  templates: ['{name_A} and {name_B} had a long talk. {name_C} said to', '{name_A} and {name_B} met at the {place}. {name_C} gave a {object} to'],
};
const small = { names: ['Mary', 'John', 'Tom', 'Jack'], templates: ['[A] and [B] met. Then [C] said sorry to'] };

/** Word lists are what is wrong, unless a test says otherwise. */
const refusal = (work: () => unknown, type: typeof LexiconError | typeof FileError = LexiconError): Promise<string> => refusalOf(work, type);

test('the released form is read from a directory, with its third prefix', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'diffract-lists-'));
  try {
    for (const [name, value] of Object.entries(released)) writeFileSync(join(directory, `${name}.json`), JSON.stringify(value));
    const grammar = await loadGrammar(directorySource(directory));
    assert.equal(grammar.templates[1], '[A] and [B] met at the [PLACE]. [C] gave a [OBJECT] to');
    assert.is(grammar.prefix, 2);
    assert.is(grammar.prependBos, true);
    assert.equal(grammar.genders, released.genders);
    const prompts = IoiTask.create(await miniTokenizer(), grammar).sample({ count: 30, seed: 3 });
    for (const text of prompts.texts) assert.ok(text.startsWith('Then, '), text);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('the released form does without genders and prefixes, not without names or templates', async () => {
  const files = Object.fromEntries(Object.entries(released).map(([name, value]) => [`${name}.json`, value]));
  const { 'genders.json': _genders, 'prefixes.json': _prefixes, ...rest } = files;
  const grammar = await loadGrammar(jsonSource(rest));
  assert.equal([grammar.prefixes, grammar.prefix, grammar.genders], [[''], 0, {}]);
  const { 'names.json': _names, ...nameless } = files;
  assert.match(await refusal(() => loadGrammar(jsonSource(nameless))), /^lists: holds no word lists \(neither ioi\.json nor names\.json\)$/);
  const { 'templates.json': _templates, ...plain } = files;
  assert.match(await refusal(() => loadGrammar(jsonSource(plain)), FileError), /lists\/templates\.json: no such file/);
  assert.match(await refusal(() => loadGrammar(jsonSource({ ...files, 'templates.json': ['{name_A} {name_B} {name_D} to'] }))), /templates\.json: template 0: unknown slot \{name_D\}/);
});

test('a model’s own ioi.json is preferred to the default, and a user’s lists to both', async () => {
  assert.is((await grammarFor(MINI)).name, 'models/ioi-mini/ioi.json');
  assert.is((await grammarFor(jsonSource({}))).name, 'gpt2');
  assert.is((await grammarFor(MINI, jsonSource({ 'ioi.json': small }))).name, 'lists/ioi.json');
});

test('lists that cannot work are refused, each with its reason', async () => {
  const of = (change: object) => refusal(() => grammarFromJson({ ...small, ...change }, 'x'));
  assert.match(await refusal(() => grammarFromJson([], 'x')), /^x: not an object/);
  assert.match(await of({ names: 'Mary' }), /^x: names: a list of strings is needed/);
  assert.match(await of({ names: ['Mary', 'John', 'Tom'] }), /3 names; at least 4/);
  assert.match(await of({ names: ['Mary', 'John', 'Tom', 'Mary'] }), /"Mary" is listed twice/);
  assert.match(await of({ names: ['Mary', 'John', 'Tom', ' Jack'] }), /" Jack" is empty or has spaces/);
  assert.match(await of({ templates: [] }), /^x: templates: a list of strings is needed, and at least one/);
  assert.match(await of({ templates: ['[A] and [B] met [D]. [C] said to'] }), /template 0: unknown slot \[D\]/);
  assert.match(await of({ templates: ['[A] met. [C] said to'] }), /template 0: needs \[A\], \[B\] and \[C\] once each/);
  assert.match(await of({ templates: ['[B] and [A] met. [C] said to'] }), /in this order/);
  assert.match(await of({ templates: ['[A] and [B] met. [C] said to '] }), /must end with the word before the next name/);
  assert.match(await of({ templates: ['[A] and [B] met. Then came [C]'] }), /must end with the word before the next name/);
  assert.match(await of({ templates: ['[A] and [B] met at the [PLACE]. [C] said to'] }), /template 0 uses \[PLACE\] but there are no places/);
  assert.match(await of({ prefixes: ['[A] '] }), /prefix 0 has a bracket/);
  assert.match(await of({ prefix: 3 }), /prefix must be "uniform" or the number of one of the 1 prefixes, not 3/);
  assert.match(await of({ prepend_bos: 'no' }), /prepend_bos must be true or false/);
  assert.match(await of({ genders: { Zoe: 'F' } }), /genders has "Zoe"/);
  assert.match(await of({ genders: { Mary: 'female' } }), /"M" or "F"/);
});

test('words that are not single tokens are refused by name, all at once', async () => {
  const tokenizer = await miniTokenizer();
  const grammar = grammarFromJson({
    prepend_bos: false,
    names: ['Mary', 'Bartholomew', 'John', 'Tom', 'Wilhelmina', 'Jack'],
    places: ['park', 'planetarium'],
    objects: ['book', 'chandelier'],
    templates: ['[A] and [B] met at the [PLACE]. [C] gave a book to'],
  }, 'mine');
  const message = await refusal(() => IoiTask.create(tokenizer, grammar));
  assert.match(message, /^mine: \d words are not single tokens/);
  for (const word of ['Bartholomew', 'Wilhelmina', 'planetarium']) assert.ok(message.includes(word), `${word} is missing: ${message}`);
  for (const word of ['Mary', 'John', 'park', 'chandelier']) assert.not(message.includes(word), `${word} is used by no template or is one token: ${message}`);
});

test('a name that is one token only after a space may not begin a sentence', async () => {
  const ids: Record<string, number> = { ' Mary': 1, ' John': 2, ' Tom': 3, ' Jack': 4, Mary: 5, John: 6, Tom: 7 };
  const tokenizer = { bos: null, single: (text: string) => ids[text] ?? null, encode: () => [] };
  const options = { prependBos: false };
  assert.match(await refusal(() => IoiTask.create(tokenizer, grammarFromJson(small, 'x'), options)), /^x: 1 word is not a single token.*names Jack \(without a space before/);
  IoiTask.create(tokenizer, grammarFromJson({ ...small, prefixes: ['Then, '] }, 'x'), options);
});

test('names that share a token, and words joined to their neighbours, are refused', async () => {
  const blind = { bos: null, single: (text: string) => text.length, encode: (text: string) => [text.length] };
  assert.match(await refusal(() => IoiTask.create(blind, grammarFromJson({ ...small, prepend_bos: false }, 'x'))), /names Mary and John are the same token 5/);
  const joined = grammarFromJson({ prepend_bos: false, names: ['Jim', 'Tom', 'Mary', 'John'], templates: ['[A] and [B]my had a talk. [C] said sorry to'] }, 'x');
  const tokenizer = await miniTokenizer();
  assert.match(await refusal(() => IoiTask.create(tokenizer, joined).sample({ count: 30, seed: 1 })), /template 0 with prefix 0 joins a word to its neighbours: ".* Jimmy had a talk/);
});

test('a beginning-of-sequence token is needed where prompts are to begin with one', async () => {
  const tokenizer = { ...gpt2Words(), bos: null };
  assert.match(await refusal(() => IoiTask.create(tokenizer, gpt2Grammar())), /the model's tokenizer has none/);
  IoiTask.create(tokenizer, gpt2Grammar(), { prependBos: false });
});

test('every word of the default grammar is one token of GPT-2’s vocabulary', () => {
  const grammar = gpt2Grammar();
  const task = IoiTask.create(gpt2Words(), grammar);
  assert.is(new Set(grammar.names).size, 128);
  assert.equal(Object.keys(grammar.genders).sort(), [...grammar.names].sort());
  const prompts = task.sample({ count: 400, seed: 2 });
  for (const tokens of prompts.tokens) assert.is(tokens[0], 50256);
  assert.is(new Set(prompts.details.map(({ template, prefix }) => `${template} ${prefix}`)).size, 36, 'every template with every prefix');
});

test.run();
