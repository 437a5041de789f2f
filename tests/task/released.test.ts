/** The released word lists' form and layout, and the released way of drawing counterfactual names. Lists and templates here are our own. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { LexiconError } from '../../src/errors.ts';
import { ioiEvaluation } from '../../src/evaluation/task.ts';
import { grammarFor, IoiTask, loadGrammar } from '../../src/task/index.ts';
import { gpt2Stretches, jsonSource, MINI, miniTokenizer } from './tokenizers.ts';

const test = suite('task: as released');

const LISTS = {
  'names.json': ['Mary', 'John', 'Tom', 'James', 'Dan', 'Sarah', 'Mark', 'Anna'],
  'genders.json': { Mary: 'F', John: 'M', Tom: 'M', James: 'M', Dan: 'M', Sarah: 'F', Mark: 'M', Anna: 'F' },
  'objects.json': ['book', 'ring'],
  'places.json': ['park', 'lake'],
  'prefixes.json': ['', 'After that, ', 'Then, '],
  'templates.json': [
    '{name_A} and {name_B} shared a very long and quite tense talk. Then {name_C} waved to',
    '{name_A} and {name_B} spent the whole day at the {place}. {name_C} sent a {object} to',
    '{name_A} and {name_B} sat down at the {place}. {name_C} wanted to send a {object} to',
  ],
};

test('a directory of released lists gives 19 GPT-2 tokens with BOS, and the positions of its layout', async () => {
  const task = IoiTask.create(gpt2Stretches(), await loadGrammar(jsonSource(LISTS)));
  assert.ok(task.prependBos);
  assert.is(task.prefix, 2);
  const prompts = task.sample({ count: 90, seed: 0, patterns: ['ABB', 'BAB', 'ABC'] });
  const third = [16, 14, 12];
  const seen = new Set<number>();
  for (let i = 0; i < prompts.count; i++) {
    const { template, pattern } = prompts.details[i]!;
    seen.add(template);
    assert.is(prompts.tokens[i]!.length, 19);
    assert.is(prompts.tokens[i]![0], 50256);
    assert.ok(prompts.texts[i]!.startsWith('Then, '));
    const at = (position: string) => prompts.positions[position]![i];
    const [io, s1] = pattern === 'BAB' ? [5, 3] : [3, 5];
    assert.equal([at('io'), at('s1'), at('s1+1'), at('s2'), at('end')], [io, s1, s1 + 1, third[template], 18]);
  }
  assert.is(seen.size, 3);
  assert.equal(new Set(prompts.properties.io_gender!.ids), new Set([0, 1]));
});

test('a first template with one word more no longer aligns with the others, as the paper prints it', async () => {
  const longer = LISTS['templates.json'].map((text, i) => (i === 1 ? text.replace('. {name_C}', '. Then, {name_C}') : text));
  const task = IoiTask.create(gpt2Stretches(), await loadGrammar(jsonSource({ ...LISTS, 'templates.json': longer })));
  const prompts = task.sample({ count: 60, seed: 0 });
  for (let i = 0; i < prompts.count; i++) assert.is(prompts.tokens[i]!.length, prompts.details[i]!.template === 1 ? 21 : 19);
});

test('coupled targets: new IO and new S stand at one place of their lists, in joint and in single edits', async () => {
  const task = IoiTask.create(await miniTokenizer(), await grammarFor(MINI));
  const prompts = task.sample({ count: 400, seed: 2, names: task.splits.eval });
  const { counterfactualIo: [ioStart, ioEnd], counterfactualS: [sStart] } = task.splits;
  const both = task.counterfactual(prompts, ['IO', 'S'], { seed: 0, coupledTargets: true }).details;
  for (const { io, s } of both) assert.is(io - ioStart, s - sStart);
  assert.is(new Set(both.map(({ io }) => io)).size, ioEnd - ioStart);
  const single = ioiEvaluation(task, { coupledTargets: true });
  assert.equal((single.counterfactual(prompts, ['IO'], 0) as typeof prompts).details.map(({ io }) => io), both.map(({ io }) => io));
  const s = (single.counterfactual(prompts, ['S', 'Pos'], 0) as typeof prompts).details;
  assert.equal(s.map((detail) => detail.s), both.map((detail) => detail.s));
  assert.ok(s.every(({ third, s: own, pattern }, i) => third === own && pattern !== prompts.details[i]!.pattern));
  assert.is(single.record().coupledTargets, true);
  // right behaviour: places apart in nearly all prompts
  const apart = task.counterfactual(prompts, ['IO', 'S'], { seed: 0 }).details.filter(({ io, s: own }) => io - ioStart !== own - sStart).length;
  assert.ok(apart > 360, `${apart} of 400`);
});

test('coupled targets avoid the names of the prompt, and say when they cannot', async () => {
  const task = IoiTask.create(await miniTokenizer(), await grammarFor(MINI));
  const prompts = task.sample({ count: 200, seed: 8, names: [0, 4] });
  const options = { seed: 1, coupledTargets: true, ioNames: [0, 6], sNames: [6, 12] } as const;
  for (const [i, { io, s }] of task.counterfactual(prompts, ['IO', 'S'], options).details.entries()) {
    const old = prompts.details[i]!;
    assert.is(new Set([io, s, old.io, old.s]).size, 4);
    assert.is(io + 6, s);
  }
  assert.throws(() => task.counterfactual(prompts, ['IO', 'S'], { ...options, ioNames: [0, 2], sNames: [2, 4] }), (e: Error) => e instanceof LexiconError && /no place where both are new/.test(e.message));
});

test('the published cross-sections belong to models of GPT-2 Small’s shape only', async () => {
  const task = ioiEvaluation(IoiTask.create(await miniTokenizer(), await grammarFor(MINI)));
  const known = task.crossSections({ layers: 12, heads: 12, width: 768 })!;
  assert.is(known.origin, 'published');
  assert.equal(known.sections.map(({ sites }) => sites.length), [10, 10, 30, 4, 4, 7]);
  assert.is(task.crossSections({ layers: 4, heads: 4, width: 128 }), null);
});

test.run();
