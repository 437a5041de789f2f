/** Evaluations of tasks that are not the built-in one, on ioi-mini. */
import * as assert from 'uvu/assert';
import { readFileSync } from 'node:fs';
import { evaluate, type EvaluationOptions } from '../../src/evaluation/evaluate.ts';
import { parseResults, resultsText, type Results } from '../../src/evaluation/results.ts';
import { ioiEvaluation } from '../../src/evaluation/task.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { type EvaluationTask, grammarFromJson, IoiTask, taskFromFile } from '../../src/task/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';

const test = gpuSuite('evaluation of own tasks');

let model: Gpt2;
test.before(async () => { model = await Gpt2.load(await testGpu(), directorySource('models/ioi-mini')); });
test.after(() => model.dispose());

function example(name: string): Promise<EvaluationTask> {
  return taskFromFile(model.tokenizer!, JSON.parse(readFileSync(`examples/tasks/${name}.json`, 'utf8')), `${name}.json`);
}

function run(task: EvaluationTask, options: Partial<EvaluationOptions>): Promise<Results> {
  return evaluate(model, task, { selectionPrompts: 4, dictionaries: ['supervised'], crossSections: task.crossSections(model.config)?.sections ?? null, ...options });
}

test('indirect objects written as a task file score what the built-in task scores, within sampling error', async () => {
  const own = await example('ioi-small');
  const file = JSON.parse(readFileSync('examples/tasks/ioi-small.json', 'utf8')) as { slots: Record<string, { values: string[] }> };
  const [names, places, objects] = ['IO', 'place', 'object'].map((slot) => file.slots[slot]!.values);
  const builtIn = ioiEvaluation(IoiTask.create(model.tokenizer!, grammarFromJson({
    prepend_bos: false, names, places, objects, prefixes: ['Then, '], templates: ['[A] and [B] went to the [PLACE]. [C] gave a [OBJECT] to'],
  }, 'the same words')));
  const options = { prompts: 48, trainPrompts: 320 };
  const ours = await run(own, options);
  const theirs = await run(builtIn, { ...options, crossSections: own.crossSections(model.config)!.sections });
  assert.is(ours.task.accuracy, 1);
  assert.is(theirs.task.accuracy, 1);
  assert.ok(Math.abs(ours.task.logitDiff.mean - theirs.task.logitDiff.mean) < 1, `${ours.task.logitDiff.mean} ${theirs.task.logitDiff.mean}`);
  const [approximation, expected] = [ours.tests.approximation[0]!, theirs.tests.approximation[0]!];
  assert.ok(Math.abs(approximation.sufficiency! - expected.sufficiency!) < 0.08, `${approximation.sufficiency} ${expected.sufficiency}`);
  assert.ok(Math.abs(approximation.necessity! - expected.necessity!) < 0.08, `${approximation.necessity} ${expected.necessity}`);
  for (const attribute of ['S', 'IO', 'Pos']) {
    const [mine, other] = [ours, theirs].map(({ tests }) => tests.control.find((row) => row.attribute === attribute)!);
    assert.ok(Math.abs(mine!.accuracyNoEdit - other!.accuracyNoEdit) < 0.3, `${attribute} without edit ${mine!.accuracyNoEdit} ${other!.accuracyNoEdit}`);
    assert.ok(Math.abs(mine!.accuracy - other!.accuracy) < 0.12, `${attribute} ${mine!.accuracy} ${other!.accuracy}`);
  }
  assert.equal(ours.task.positions, ['io', 's1', 's1+1', 's2', 'end']);
  assert.is(ours.task.lexicon.source, 'ioi-small.json');
});

test('listed prompts run through all tests, and discovery finds sites at their own positions', async () => {
  const task = await example('listed');
  const results = parseResults(JSON.parse(resultsText(await run(task, { prompts: 12, trainPrompts: 12 }))));
  assert.is(results.task.prompts, 12);
  assert.is(results.task.accuracy, 1);
  assert.equal(results.task.attributes, [{ name: 'giver', values: 4 }, { name: 'receiver', values: 4 }]);
  assert.equal(results.tests.control.map(({ attribute }) => attribute), ['giver']);
  const found = await run(task, {
    prompts: 8, trainPrompts: 12, crossSections: null, discovery: { prompts: 6, threshold: 0.2, strong: 0.6, sections: 2, kinds: ['v'], positions: ['giver', 'end'] },
  });
  assert.ok(found.sites.every(({ position }) => position === 'giver' || position === 'end'));
  assert.ok(found.crossSections.length > 0 && found.crossSections.every(({ origin }) => origin === 'discovered'));
  assert.ok(found.tests.approximation.every(({ crossSection }) => found.crossSections.some(({ name }) => name === crossSection)));
});

test.run();
