import * as assert from 'uvu/assert';
import { ShapeError, TokenError, UsageError } from '../../src/errors.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { Gpt2 } from '../../src/model/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { FIXTURE, IOI_MINI } from '../support/models.ts';
import { refusal } from '../support/refusal.ts';

const test = gpuSuite('generation');
const load = async (directory = `${FIXTURE}/model`): Promise<Gpt2> => Gpt2.load(await testGpu(), directorySource(directory));

/** The likeliest next token by whole runs without any cache. */
async function greedyByWholeRuns(model: Gpt2, prompt: number[], count: number): Promise<number[]> {
  const tokens = [...prompt];
  for (let i = 0; i < count; i++) {
    const run = model.run([tokens]);
    const logits = await run.logits!.read();
    run.dispose();
    tokens.push(logits.indexOf(Math.max(...logits)));
  }
  return tokens.slice(prompt.length);
}

test('with a cache of keys and values come the same tokens as from whole runs', async () => {
  for (const model of [await load(), await load(IOI_MINI)]) {
    for (const prompt of [[3], [7, 1, 4, 1, 5]]) {
      const seen: number[] = [];
      const generated = await model.generate(prompt, { count: 12, onToken: (id) => void seen.push(id) });
      assert.equal(generated, await greedyByWholeRuns(model, prompt, 12));
      assert.equal(seen, generated);
    }
    model.dispose();
  }
});

test('prompts that are gone on with side by side get what each gets alone; a stop ends one of them', async () => {
  const model = await load(IOI_MINI);
  const prompts = [[7, 1, 4], [3, 3, 9], [250, 17, 80], [5, 600, 2]];
  for (const temperature of [0, 1]) {
    const alone = await Promise.all(prompts.map((prompt, i) => model.generate(prompt, { count: 9, temperature, seed: 11 + i })));
    const together = await model.sample(prompts, { count: 9, temperature, seed: 11 });
    assert.equal(together, alone);
    const stop = alone[1]![4]!;
    assert.equal(await model.sample(prompts, { count: 9, temperature, seed: 11, stop }), alone.map((ids) => (ids.includes(stop) ? ids.slice(0, ids.indexOf(stop)) : ids)));
  }
  assert.match(await refusal(() => model.sample([[1, 2], [3]], { count: 1 }), ShapeError), /must have one length/);
  assert.equal((await model.sample([[1], [2]], { count: 500 })).map(({ length }) => length), [64, 64]);
  model.dispose();
});

test('generation fills the context and stops there', async () => {
  const model = await load();
  const prompt = Array.from({ length: 36 }, (_, i) => i);
  assert.is((await model.generate(prompt, { count: 100 })).length, 5, 'one token follows each of the positions 35 to 39');
  assert.is((await model.generate([...prompt, 1, 2, 3, 4], { count: 100 })).length, 1);
  assert.equal(await model.generate(prompt, { count: 0 }), []);
  assert.is((await model.generate(prompt, { count: 4, onToken: () => false })).length, 1, 'the caller may stop it');
  model.dispose();
});

test('draws depend on the seed alone and follow the model\'s distribution', async () => {
  const model = await load(IOI_MINI);
  const prompt = model.tokenizer!.encode('Mary and Adam went to the store. Adam gave a');
  const draw = (seed: number, temperature: number): Promise<number[]> => model.generate(prompt, { count: 6, temperature, seed });
  assert.equal(await draw(3, 1), await draw(3, 1));
  assert.not.equal(await draw(3, 5), await draw(4, 5));
  assert.equal(await draw(5, 1e-4), await draw(0, 0), 'a low temperature is greedy');

  const run = model.run([prompt]);
  const logits = await run.logits!.read();
  run.dispose();
  const [likeliest, second] = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]!) as [number, number];
  const temperature = 1.5;
  const total = logits.reduce((sum, value) => sum + Math.exp((value - logits[likeliest]!) / temperature), 0);
  const counts = new Map<number, number>();
  const draws = 100;
  for (let seed = 0; seed < draws; seed++) {
    const [id] = await model.generate(prompt, { count: 1, temperature, seed });
    counts.set(id!, (counts.get(id!) ?? 0) + 1);
  }
  for (const id of [likeliest, second]) {
    const p = Math.exp((logits[id]! - logits[likeliest]!) / temperature) / total;
    const share = (counts.get(id) ?? 0) / draws;
    assert.ok(Math.abs(share - p) < 4 * Math.sqrt((p * (1 - p)) / draws) + 1e-9, `token ${id}: ${share} of the draws, probability ${p}`);
  }
  model.dispose();
});

test('prompts that do not fit are refused', async () => {
  const model = await load();
  const cases: [number[], object, new (...args: never[]) => Error, RegExp][] = [
    [[], { count: 1 }, TokenError, /empty/],
    [Array.from({ length: 41 }, () => 1), { count: 1 }, TokenError, /41 tokens.*context holds 40/],
    [[1, 97], { count: 1 }, TokenError, /id 97 at position 1.*0 to 96/],
    [[1], { count: -1 }, UsageError, /-1/],
    [[1], { count: 1, temperature: -1 }, UsageError, /temperature.*-1/],
    [[1], { count: 1, seed: 0.5 }, UsageError, /seed.*0\.5/],
    [[1], { count: 1, temperature: NaN }, UsageError, /temperature/],
  ];
  for (const [prompt, options, kind, message] of cases) {
    const error = await model.generate(prompt, options as { count: number }).then(() => null, (e: Error) => e);
    assert.instance(error, kind, String(error));
    assert.match(error!.message, message);
  }
  model.dispose();
});

test.run();
