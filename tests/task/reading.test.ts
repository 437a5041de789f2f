/** Typed sentences read as prompts of the indirect-object task. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { LexiconError } from '../../src/errors.ts';
import { grammarFor, gpt2Grammar, IoiTask } from '../../src/task/index.ts';
import { gpt2Words, MINI, miniTokenizer } from './tokenizers.ts';

const test = suite('task/reading');
let mini: IoiTask;

test.before(async () => { mini = IoiTask.create(await miniTokenizer(), await grammarFor(MINI)); });

test('every sampled prompt is read as what it was made of', () => {
  for (const task of [mini, IoiTask.create(gpt2Words(), gpt2Grammar())]) {
    const prompts = task.sample({ count: 300, seed: 5 });
    for (let i = 0; i < prompts.count; i++) {
      const { prompts: read } = task.read(prompts.texts[i]!);
      assert.equal(read.tokens[0], prompts.tokens[i]);
      assert.is(read.texts[0], prompts.texts[i]);
      for (const [name, { values, ids }] of Object.entries(prompts.attributes)) assert.equal([read.attributes[name]!.values, read.attributes[name]!.ids[0]], [values, ids[i]], name);
      for (const [name, at] of Object.entries(prompts.positions)) assert.is(read.positions[name]![0], at[i], name);
      assert.equal([read.correct[0], read.incorrect[0]], [prompts.correct[i], prompts.incorrect[i]]);
    }
  }
});

test('its counterfactuals are those of the sampled prompt', () => {
  const prompts = mini.sample({ count: 20, seed: 9 });
  for (let i = 0; i < prompts.count; i++) {
    const { task, prompts: read } = mini.read(prompts.texts[i]!);
    for (const attributes of [['S'], ['IO'], ['Pos'], ['IO', 'S', 'Pos']] as const) {
      const expected = mini.counterfactual(prompts.select([i]), attributes, { seed: 4 });
      const own = task.counterfactual(read, attributes, { seed: 4 });
      assert.equal([own.tokens[0], own.texts[0]], [expected.tokens[0], expected.texts[0]]);
    }
  }
});

test('prompts are written again about the people that are asked for', () => {
  const prompts = mini.sample({ count: 40, seed: 12 });
  const free = mini.grammar.names.filter((name) => !prompts.texts.some((text) => text.includes(name)));
  const again = mini.rewrite(prompts, { s: free[0]!, io: free[1]!, swap: true });
  for (let i = 0; i < prompts.count; i++) {
    const { io, s, pattern } = prompts.details[i]!;
    const [old, other] = [mini.grammar.names[s]!, mini.grammar.names[io]!];
    assert.is(again.details[i]!.pattern, pattern === 'ABB' ? 'BAB' : 'ABB');
    // Swapping the first two names and renaming both, by hand.
    const [a, b] = pattern === 'ABB' ? [other, old] : [old, other];
    const swapped = prompts.texts[i]!.replace(a, '<1>').replace(b, '<2>').replace('<1>', b).replace('<2>', a);
    assert.is(again.texts[i], swapped.replaceAll(new RegExp(`\\b${old}\\b`, 'g'), free[0]!).replace(new RegExp(`\\b${other}\\b`), free[1]!));
  }
  assert.equal(mini.rewrite(prompts, {}).tokens, prompts.tokens);
  const { s } = prompts.details[0]!;
  assert.throws(() => mini.rewrite(prompts.slice(0, 1), { io: mini.grammar.names[s]! }), /would be IO and S at once/);
  assert.throws(() => mini.rewrite(prompts, { s: 'Zebulon' }), /Zebulon is none of the task's 125 names/);
});

test('other words of the same build are read too', () => {
  const { prompts } = mini.read('Mary and John were at the park when John handed a book to  ');
  assert.is(prompts.texts[0], 'Mary and John were at the park when John handed a book to');
  const { io, s, pattern } = prompts.details[0]!;
  assert.equal([mini.grammar.names[io], mini.grammar.names[s], pattern], ['Mary', 'John', 'ABB']);
  assert.is(prompts.positions.end![0], prompts.tokens[0]!.length - 1);
  assert.is(mini.read('John and Mary met at the park. John gave a book to').prompts.details[0]!.pattern, 'BAB');
});

test('what is not such a sentence is refused with what is missing', () => {
  const refused = (text: string): string => {
    try {
      mini.read(text);
    } catch (error) {
      assert.instance(error, LexiconError);
      assert.not.match((error as Error).message, /\n/);
      return (error as Error).message;
    }
    return 'not refused';
  };
  assert.match(refused('   '), /there is no sentence/);
  assert.match(refused('Then, they went to the park to'), /none of the task's 125 names/);
  assert.match(refused('Then, Mary and Zebulon went to the park. Zebulon gave a book to'), /Mary is the only name .*\(Zebulon: no name that the task has\)/);
  assert.match(refused('Mary and John went to the park to'), /neither Mary nor John is named again/);
  assert.match(refused('Mary, John and Anna met. John gave a book to'), /there are 3 names in it \(Mary, John, Anna\)/);
  assert.match(refused('Mary and Mary met John. Mary gave a book to'), /it names Mary, Mary, John, Mary/);
  assert.match(refused('Mary and John went to the park. John'), /must go on after John/);
  assert.match(refused('[A] and Mary and John met. John gave a book to'), /leave the brackets out/);
});

test.run();
