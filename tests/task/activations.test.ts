import * as assert from 'uvu/assert';
import { directorySource } from '../../src/files/node-directory.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { byLength, collectActivations, grammarFor, hookOf, IoiTask, parseSite, promptsPerRun } from '../../src/task/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { relativeError } from '../support/numbers.ts';

const test = gpuSuite('activations at sites');
const SITES = ['z@L1H3@end', 'v@L0H3@s2', 'q@L0H0@s1+1', 'k@L1H1@io'].map((text) => parseSite(text));

async function mini(): Promise<{ model: Gpt2; task: IoiTask }> {
  const source = directorySource('models/ioi-mini');
  const model = await Gpt2.load(await testGpu(), source);
  return { model, task: IoiTask.create(model.tokenizer!, await grammarFor(source)) };
}

test('rows are what single runs cache, in the order of the prompts, whatever the batch', async () => {
  const { model, task } = await mini();
  const prompts = task.sample({ count: 11, seed: 4 });
  assert.ok(new Set(prompts.tokens.map((tokens) => tokens.length)).size > 2);
  const done: number[] = [];
  const whole = await collectActivations(model, prompts, SITES, { onProgress: (n) => done.push(n) });
  const small = await collectActivations(model, prompts, SITES, { batch: 4, onProgress: (n) => done.push(n) });
  assert.equal(done, [11, 4, 8, 11]);
  const { headWidth, heads } = model.config;
  for (const [i, site] of SITES.entries()) {
    assert.equal(whole[i]!.shape, [11, headWidth]);
    const [a, b] = [await whole[i]!.read(), await small[i]!.read()];
    for (let prompt = 0; prompt < 11; prompt++) {
      const run = model.run([prompts.tokens[prompt]!], { cache: hookOf(site), logits: 'none' });
      const all = await run.get(hookOf(site)).read();
      run.dispose();
      const first = (prompts.positions[site.position]![prompt]! * heads + site.head) * headWidth;
      const expected = all.subarray(first, first + headWidth);
      for (const rows of [a, b]) assert.ok(relativeError(rows.subarray(prompt * headWidth, (prompt + 1) * headWidth), expected) < 1e-5);
    }
  }
  for (const tensor of [...whole, ...small]) tensor.dispose();
  model.dispose();
});

test('no sites and no prompts give nothing', async () => {
  const { model, task } = await mini();
  assert.equal(await collectActivations(model, task.sample({ count: 3, seed: 1 }), []), []);
  const [empty] = await collectActivations(model, task.sample({ count: 0, seed: 1 }), [SITES[0]!]);
  assert.equal(empty!.shape, [0, model.config.headWidth]);
  empty!.dispose();
  model.dispose();
});

test('a position that the task does not have is named, with those it has; a stop leaves no memory behind', async () => {
  const { model, task } = await mini();
  const prompts = task.sample({ count: 6, seed: 1 });
  let message = '';
  await collectActivations(model, prompts, [{ ...SITES[0]!, position: 's9' }]).catch((error: Error) => { message = error.message; });
  assert.match(message, /no position "s9"; it has io, s1, s1\+1, s2, end/);
  const controller = new AbortController();
  let stopped = false;
  await collectActivations(model, prompts, SITES, { batch: 2, signal: controller.signal, onProgress: () => controller.abort() }).catch(() => { stopped = true; });
  assert.ok(stopped);
  model.dispose();
});

test('prompts are taken from the shortest to the longest; batches shrink as prompts grow', async () => {
  const { model, task } = await mini();
  const prompts = task.sample({ count: 20, seed: 2 });
  const order = byLength(prompts);
  assert.equal([...order].sort((a, b) => a - b), [...Array(20).keys()]);
  for (let i = 1; i < 20; i++) {
    const [a, b] = [prompts.tokens[order[i - 1]!]!.length, prompts.tokens[order[i]!]!.length];
    assert.ok(a < b || (a === b && order[i - 1]! < order[i]!));
  }
  assert.ok(promptsPerRun(model, 10) >= promptsPerRun(model, 60) && promptsPerRun(model, 60) >= 1);
  model.dispose();
});

test.run();
