/** Users' own tasks: what a file may say, what its prompts are, and how faults are told. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { readFileSync } from 'node:fs';
import { FileError, LexiconError, UsageError } from '../../src/errors.ts';
import { grammarFromJson, IoiTask, taskFromFile, taskJsonSchema, type ListedTask, type TemplateTask } from '../../src/task/index.ts';
import { missingValues } from '../../src/evaluation/interpretability.ts';
import { sampleEdited, withEveryValue } from '../../src/evaluation/task.ts';
import type { Tokenizer } from '../../src/model/tokenizer.ts';
import { refusal } from '../support/refusal.ts';
import { miniTokenizer } from './tokenizers.ts';

const test = suite('task files');
let tokenizer: Tokenizer;
test.before(async () => { tokenizer = await miniTokenizer(); });

type Json = any;
const example = (name: string): Json => JSON.parse(readFileSync(`examples/tasks/${name}.json`, 'utf8'));
const make = (json: unknown) => taskFromFile(tokenizer, json, 'my.json');
const word = (prompts: { tokens: number[][]; positions: Record<string, Uint32Array> }, i: number, position: string) => tokenizer.token(prompts.tokens[i]![prompts.positions[position]![i]!]!).trim();

test('the indirect-object example makes the sentences, tokens, positions and answers that the built-in task makes', async () => {
  const file = example('ioi-small');
  const task = (await make(file)) as TemplateTask;
  assert.equal(task.positions, ['io', 's1', 's1+1', 's2', 'end']);
  const own = task.training(300, 5);
  const grammar = grammarFromJson({
    prepend_bos: false, names: file.slots.IO.values, places: file.slots.place.values, objects: file.slots.object.values, prefixes: ['Then, ', 'Later, '],
    templates: ['[A] and [B] went to the [PLACE]. [C] gave a [OBJECT] to', '[A] and [B] had a big fight at the [PLACE]. After that [C] said sorry to'],
  }, 'same words');
  const builtIn = IoiTask.create(tokenizer, grammar).sample({ count: 20000, seed: 1 });
  const places = new Map(builtIn.texts.map((text, i) => [text, i]));
  let compared = 0;
  for (let i = 0; i < own.count; i++) {
    const j = places.get(own.texts[i]!);
    if (j === undefined) continue;
    compared++;
    assert.equal(own.tokens[i], builtIn.tokens[j]);
    for (const position of task.positions) assert.is(own.positions[position]![i], builtIn.positions[position]![j]);
    for (const attribute of ['IO', 'S', 'Pos']) {
      const [mine, theirs] = [own.attributes[attribute]!, builtIn.attributes[attribute]!];
      assert.is(mine.values[mine.ids[i]!], theirs.values[theirs.ids[j]!]);
    }
    assert.equal([own.correct[i], own.incorrect[i]], [builtIn.correct[j], builtIn.incorrect[j]]);
  }
  assert.ok(compared > 80, `${compared} of the sentences came up in both`);
});

test('splits hold, counterfactuals change what they should and nothing else, draws are independent of each other', async () => {
  const file = example('ioi-small');
  const task = (await make(file)) as TemplateTask;
  const prompts = task.evaluation(200, 1);
  const value = (table: typeof prompts, attribute: string, i: number) => table.attributes[attribute]!.values[table.attributes[attribute]!.ids[i]!]!;
  for (const set of [['IO'], ['S'], ['Pos'], ['Pos', 'S'], ['S', 'IO', 'Pos'], []]) {
    const changed = task.counterfactual(prompts, set, 3);
    for (let i = 0; i < prompts.count; i++) {
      for (const attribute of ['IO', 'S', 'Pos']) assert.is(value(changed, attribute, i) !== value(prompts, attribute, i), set.includes(attribute));
      for (const property of ['place', 'object', 'template']) assert.is(changed.properties[property]!.ids[i], prompts.properties[property]!.ids[i]);
      assert.equal([word(changed, i, 'io'), word(changed, i, 's1'), word(changed, i, 's2'), word(changed, i, 'end')], [value(changed, 'IO', i), value(changed, 'S', i), value(changed, 'S', i), 'to']);
      assert.is(changed.positions.io![i]! < changed.positions.s1![i]!, value(changed, 'Pos', i) === 'ABB');
      assert.ok(file.slots.IO.evaluation.includes(value(prompts, 'IO', i)) && file.slots.S.evaluation.includes(value(prompts, 'S', i)));
      if (set.includes('IO')) assert.ok(file.slots.IO.counterfactual.includes(value(changed, 'IO', i)));
      assert.is(changed.correct[i], tokenizer.single(` ${value(changed, 'IO', i)}`));
    }
  }
  assert.equal(task.counterfactual(prompts, ['S'], 3).texts, task.counterfactual(prompts, ['S'], 3).texts);
  assert.equal([...task.counterfactual(prompts, ['IO', 'S'], 3).attributes.S!.ids], [...task.counterfactual(prompts, ['S'], 3).attributes.S!.ids]);
  assert.equal(task.training(50, 2).texts, task.training(50, 2).texts);
  assert.is.not(task.training(50, 2).texts.join(), task.training(50, 3).texts.join());
  assert.throws(() => task.counterfactual(prompts, ['place'], 0), (e: Error) => e instanceof UsageError && /"place"; there are IO, S, Pos/.test(e.message));
});

test('slots that are to differ do, also where few values are left; an evaluation finds every value', async () => {
  const file = example('ioi-small');
  for (const name of ['IO', 'S']) file.slots[name] = { values: ['Alice', 'Adam', 'Mary', 'John'] };
  const task = (await make(file)) as TemplateTask;
  const prompts = task.evaluation(300, 1);
  const changed = task.counterfactual(prompts, ['IO', 'S'], 0);
  for (let i = 0; i < prompts.count; i++) assert.is(new Set([prompts, changed].flatMap((table) => [table.attributes.IO!.ids[i], table.attributes.S!.ids[i]])).size, 4);
  assert.equal(missingValues(withEveryValue(task, task.training(5, 0), 1)), []);
  for (const name of ['IO', 'S']) file.slots[name] = { values: ['Alice', 'Adam', 'Mary'] };
  const tight = await make(file);
  assert.throws(() => tight.counterfactual(tight.evaluation(20, 1), ['IO', 'S'], 0), (e: Error) => e instanceof UsageError && /slots\.(IO|S): no value is left for counterfactual prompts/.test(e.message));
});

test('values of several tokens: the slot lies at its last one; numbers count from either end', async () => {
  const base = {
    name: 'x', prependBos: false, templates: [{ text: '[who] went to the park. [who] gave a book to' }], attributes: ['who'],
    slots: { who: { values: ['Mary', 'The old man'], multiToken: true } },
    positions: { second: { slot: 'who', mention: 2 }, after: { slot: 'who', offset: 1 }, first: { index: 0 }, last: { index: -2 } },
    answers: { correct: { slot: 'who', tokens: { Mary: ' John', 'The old man': ' Mary' } }, incorrect: { text: ' Alice' } },
  };
  const prompts = (await make(base)).training(20, 1);
  for (let i = 0; i < prompts.count; i++) {
    const long = prompts.texts[i]!.startsWith('The old man');
    assert.equal([word(prompts, i, 'second'), word(prompts, i, 'after'), word(prompts, i, 'last')], [long ? tokenizer.token(tokenizer.encode('The old man').at(-1)!).trim() : 'Mary', 'went', 'book']
      .map((text, k) => (k === 2 ? tokenizer.token(prompts.tokens[i]!.at(-2)!).trim() : text)));
    assert.is(prompts.positions.first![i], 0);
    assert.is(prompts.positions.after![i], long ? tokenizer.encode('The old man').length : 1);
    assert.is(prompts.correct[i], tokenizer.single(long ? ' Mary' : ' John'));
  }
  assert.match(await refusal(() => make({ ...base, slots: { who: { values: ['Mary', 'The old man'] } } }), LexiconError), /slot who: "The old man"/);
});

test('listed prompts: positions by word, counterfactuals by their attributes or by name', async () => {
  const file = example('listed');
  const task = (await make(file)) as ListedTask;
  assert.equal([task.attributes, task.positions], [['giver', 'receiver'], ['giver', 'receiver', 'end']]);
  const prompts = task.training(100, 1);
  assert.is(prompts.count, 12);
  const value = (table: typeof prompts, attribute: string, i: number) => table.attributes[attribute]!.values[table.attributes[attribute]!.ids[i]!]!;
  for (const [i, text] of prompts.texts.entries()) {
    assert.equal(prompts.tokens[i], tokenizer.encode(text));
    assert.equal([word(prompts, i, 'giver'), word(prompts, i, 'receiver'), word(prompts, i, 'end')], [value(prompts, 'giver', i), value(prompts, 'receiver', i), 'to']);
    assert.ok(prompts.positions.giver![i]! > 5);
  }
  const changed = task.counterfactual(prompts, ['giver'], 0);
  for (let i = 0; i < 12; i++) {
    assert.is(value(changed, 'receiver', i), value(prompts, 'receiver', i));
    assert.is.not(value(changed, 'giver', i), value(prompts, 'giver', i));
  }
  const edited = sampleEdited(task, 6, 1, 2, new Map([['giver', ['giver']], ['both', ['receiver', 'giver']]]));
  assert.is(edited.prompts.count, 6);
  file.prompts[0].id = 'a';
  file.prompts[5].id = 'b';
  file.prompts[0].counterfactuals = { 'receiver+giver': ['b'], giver: ['b'] };
  const named = (await make(file)) as ListedTask;
  const first = named.training(12, 0);
  const at = first.details.findIndex(({ index }) => index === 0);
  for (const set of [['giver', 'receiver'], ['giver']]) assert.is(named.counterfactual(first, set, 7).details[at]!.index, 5);
});

test('listed prompts are told apart by their use', async () => {
  const file = example('listed');
  file.prompts.forEach((prompt: Json, i: number) => { prompt.use = i < 6 ? 'training' : 'both'; });
  const task = (await make(file)) as ListedTask;
  assert.is(task.training(100, 0).count, 12);
  assert.equal([...task.evaluation(100, 0).details].map(({ index }) => index).sort((a, b) => a - b), [6, 7, 8, 9, 10, 11]);
});

const FAULTS: [string, 'ioi-small' | 'listed', (file: Json) => unknown, typeof FileError | typeof LexiconError, RegExp][] = [
  ['no object', 'listed', () => [], FileError, /my\.json: a JSON object is needed/],
  ['neither form', 'listed', (f) => { delete f.prompts; }, FileError, /either templates .* or prompts/],
  ['unknown key', 'ioi-small', (f) => { f.slots.IO.value = []; }, FileError, /my\.json: slots\.IO: there is no value here; there are values, evaluation, counterfactual, multiToken/],
  ['wrong type', 'ioi-small', (f) => { f.slots.S.values = 'Mary'; }, FileError, /my\.json: slots\.S\.values: .*expected array/],
  ['several faults at once', 'ioi-small', (f) => { f.name = ''; delete f.attributes; }, FileError, /name: .*; attributes: /],
  ['unknown slot in a sentence', 'ioi-small', (f) => { f.templates[1].texts.ABB += ' [who]'; }, FileError, /templates\[1\]: there is no slot "who"; there are IO, S, place, object/],
  ['unknown attribute', 'ioi-small', (f) => { f.attributes.push('Name'); }, FileError, /attributes\[3\]: there is no "Name"; there are IO, S, place, object, Pos/],
  ['text beside a wording', 'ioi-small', (f) => { f.templates[0] = { text: '[IO] to' }; }, FileError, /templates\[\d\]: needs texts/],
  ['a wording is missing', 'ioi-small', (f) => { delete f.templates[1].texts.ABB; f.templates[1].texts.CCC = 'x'; }, FileError, /templates\[1\]\.texts: has BAB, CCC, but templates\[0\] has ABB, BAB/],
  ['texts without a wording', 'ioi-small', (f) => { delete f.wording; f.attributes = ['IO']; }, FileError, /templates\[0\]: needs a text/],
  ['evaluation value that is none', 'ioi-small', (f) => { f.slots.S.evaluation = ['Zoe']; }, FileError, /slots\.S\.evaluation\[0\]: "Zoe" is not among/],
  ['twice', 'ioi-small', (f) => { f.slots.S.values.push('Aaron'); }, FileError, /slots\.S\.values: "Aaron" is listed twice/],
  ['mention that is not there', 'ioi-small', (f) => { f.positions.s2.mention = 3; }, FileError, /positions\.s2: templates\[0\] mentions \[S\] 2 times, not 3/],
  ['position outside', 'ioi-small', (f) => { f.positions.s2 = { index: 99 }; }, FileError, /positions\.s2: token 99 is not in a prompt of \d+ tokens/],
  ['position of nothing', 'ioi-small', (f) => { f.positions.s2 = {}; }, FileError, /positions\.s2: needs either a slot or an index/],
  ['answer without a token', 'ioi-small', (f) => { f.answers.correct = { slot: 'IO', tokens: { Aaron: ' Aaron' } }; }, FileError, /answers\.correct\.tokens: there is none for the value "Allen"/],
  ['answer of several tokens', 'ioi-small', (f) => { f.answers.incorrect = { text: ' Aaron Allen' }; }, LexiconError, /answers: " Aaron Allen" is not a single token/],
  ['word of several tokens', 'ioi-small', (f) => { f.slots.place.values.push('xylophonarium'); }, LexiconError, /slot place: " xylophonarium"/],
  ['distinct from nothing', 'ioi-small', (f) => { f.distinct = [['IO', 'T']]; }, FileError, /distinct\[0\]\[1\]: there is no slot "T"/],
  ['site at no position', 'ioi-small', (f) => { f.crossSections[0].sites = ['z@L0H3@there']; }, FileError, /crossSections\[0\]\.sites\[0\]: .*unknown position "there"; there are io, s1, s1\+1, s2, end/],
  ['edit of no attribute', 'ioi-small', (f) => { f.crossSections[0].edits = [['T']]; }, FileError, /crossSections\[0\]\.edits\[0\]\[0\]: there is no attribute "T"/],
  ['attributes that differ', 'listed', (f) => { delete f.prompts[3].attributes.giver; }, FileError, /prompts\[3\]\.attributes: lacks giver, unlike prompts\[0\]/],
  ['positions that differ', 'listed', (f) => { f.prompts[2].positions.x = { index: 1 }; }, FileError, /prompts\[2\]\.positions: has x, unlike/],
  ['word that is not there', 'listed', (f) => { f.prompts[1].positions.giver.mention = 4; }, FileError, /prompts\[1\]\.positions\.giver\.word: "Alice" stands in the prompt 2 times, not 4/],
  ['unknown id', 'listed', (f) => { f.prompts[1].counterfactuals = { giver: ['q'] }; }, FileError, /prompts\[1\]\.counterfactuals\.giver: no prompt has the id "q"/],
  ['no counterfactual', 'listed', (f) => { f.prompts[4].attributes.receiver = 'Nobody'; }, FileError, /prompts\[4\]: has no counterfactual in giver/],
  ['bad use', 'listed', (f) => { f.prompts[4].use = 'test'; }, FileError, /prompts\[4\]\.use: .*"both"\|"training"\|"evaluation"/],
];

for (const [what, name, spoil, type, pattern] of FAULTS) {
  test(`fault: ${what}`, async () => {
    const file = example(name);
    const json = spoil(file) ?? file;
    assert.match(await refusal(() => make(json), type), pattern);
  });
}

test('the JSON Schema describes every field', async () => {
  const schema = (await taskJsonSchema()) as Json;
  assert.is(schema.$id, 'diffract.task/1');
  const [templates, prompts] = schema.anyOf;
  assert.equal(templates.required.sort(), ['answers', 'attributes', 'name', 'slots', 'templates']);
  assert.equal(prompts.required.sort(), ['name', 'prompts']);
  assert.ok(templates.properties.slots.additionalProperties.properties.values.description.length > 10);
  assert.ok(prompts.properties.prompts.items.properties.counterfactuals.description.length > 10);
});

test.run();
