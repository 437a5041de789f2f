import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { missingValues } from '../../src/evaluation/interpretability.ts';
import { concatenate, ioiEvaluation, sampleEdited, seedsOf, withEveryValue, type EvaluationTask } from '../../src/evaluation/task.ts';
import { spansOf } from '../../src/evaluation/patching.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { loadTokenizer } from '../../src/model/index.ts';
import { grammarFor, IoiTask } from '../../src/task/index.ts';

const test = suite('samples of an evaluation');

async function miniTask(): Promise<{ task: IoiTask; evaluation: EvaluationTask }> {
  const source = directorySource('models/ioi-mini');
  const task = IoiTask.create((await loadTokenizer(source, null))!, await grammarFor(source));
  return { task, evaluation: ioiEvaluation(task) };
}

test('scored names, new IO names and new S names are apart; only the edited attribute changes', async () => {
  const { task, evaluation } = await miniTask();
  const { eval: [, half], counterfactualS: [threeQuarters] } = task.splits;
  const { prompts, counterfactuals } = sampleEdited(evaluation, 60, 3, 4, new Map([['S', ['S']], ['IO', ['IO']], ['Pos', ['Pos']], ['S+Pos', ['S', 'Pos']]]));
  const spans = spansOf(prompts);
  for (let i = 1; i < prompts.count; i++) assert.ok(spans[i]! >= spans[i - 1]!);
  const same = (name: string, attribute: string) => prompts.attributes[attribute]!.ids.map((id, i) => (id === counterfactuals.get(name)!.attributes[attribute]!.ids[i] ? 1 : 0));
  for (const name of ['S', 'IO', 'Pos', 'S+Pos']) {
    for (const attribute of ['S', 'IO', 'Pos']) {
      const expected = name.split('+').includes(attribute) ? 0 : 1;
      assert.ok(same(name, attribute).every((value) => value === expected), `${name} ${attribute}`);
    }
  }
  assert.ok(prompts.attributes.IO!.ids.every((id) => id < half) && prompts.attributes.S!.ids.every((id) => id < half));
  assert.ok(counterfactuals.get('IO')!.attributes.IO!.ids.every((id) => id >= half && id < threeQuarters));
  assert.ok(counterfactuals.get('S')!.attributes.S!.ids.every((id) => id >= threeQuarters));
});

test('prompts for interpretation hold every value, by as few more prompts as need be', async () => {
  const { evaluation } = await miniTask();
  const training = evaluation.training(150, 1);
  assert.ok(missingValues(training).length > 10);
  const all = withEveryValue(evaluation, training, 2);
  assert.equal(missingValues(all), []);
  assert.equal(all.tokens.slice(0, 150), training.tokens);
  assert.ok(all.count - 150 <= missingValues(training).length);
  const full = evaluation.training(4000, 1);
  assert.is(withEveryValue(evaluation, full, 2), full);
});

test('a task that never shows some value is refused', async () => {
  const { evaluation } = await miniTask();
  const training = evaluation.training(150, 1);
  const stuck: EvaluationTask = { ...evaluation, training: () => training };
  assert.throws(() => withEveryValue(stuck, training, 2), /occurs in none of the \d+ prompts/);
});

test('concatenated prompts are those of both, in order', async () => {
  const { evaluation } = await miniTask();
  const [a, b] = [evaluation.training(5, 1), evaluation.training(3, 2)];
  const both = concatenate(a, b);
  assert.is(both.count, 8);
  assert.equal(both.texts, [...a.texts, ...b.texts]);
  assert.equal([...both.positions.s2!], [...a.positions.s2!, ...b.positions.s2!]);
  assert.equal(both.select([6]).tokens, [b.tokens[1]!]);
});

test('samples of neighbouring evaluations share no seed', () => {
  const seeds = [0, 1, 2].flatMap((seed) => Object.values(seedsOf(seed)));
  assert.is(new Set(seeds).size, seeds.length);
});

test.run();
