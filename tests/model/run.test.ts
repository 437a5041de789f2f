import * as assert from 'uvu/assert';
import { ShapeError, TokenError, UnknownSiteError, UsageError } from '../../src/errors.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { Gpt2, type RunOptions, type TokenBatch } from '../../src/model/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { FIXTURE, IOI_MINI } from '../support/models.ts';
import { relativeError } from '../support/numbers.ts';
import { grammarFor, IoiTask } from '../../src/task/index.ts';

const test = gpuSuite('runs');
const load = async (directory = `${FIXTURE}/model`): Promise<Gpt2> => Gpt2.load(await testGpu(), directorySource(directory));
const PROMPTS = [[5, 17, 3], [9, 30]];

test('what does not fit the model is refused before anything is recorded', async () => {
  const model = await load();
  const { gpu } = model;
  const values = Tensor.zeros(gpu, [2, 48]);
  const ids = Tensor.zeros(gpu, [2, 41], 'u32');
  const kept = model.run(PROMPTS, { keep: true });
  const unkept = model.run(PROMPTS);
  const edit = (change: object): RunOptions => ({ edits: [{ hook: 'blocks.1.attn.hook_z', positions: 1, values, ...change }] });
  const cases: [TokenBatch, RunOptions, new (...args: never[]) => Error, RegExp][] = [
    [[], {}, TokenError, /no prompts/],
    [[[1], []], {}, TokenError, /prompt 1 is empty/],
    [[[1], [2, 97]], {}, TokenError, /prompt 1 has the token id 97 at position 1; the vocabulary has the ids 0 to 96/],
    [[[1, 2.5]], {}, TokenError, /token id 2\.5 at position 1/],
    [[Array.from({ length: 41 }, () => 0)], {}, TokenError, /prompt 0 has 41 tokens, the model's context holds 40/],
    [ids, {}, TokenError, /41 tokens/],
    [values, {}, ShapeError, /u32/],
    [PROMPTS, { cache: 'blocks.0.hook_resid_pots' }, UnknownSiteError, /blocks\.0\.hook_resid_post/],
    [PROMPTS, { captures: [{ hook: 'blocks.0.*', positions: [0, 0] }] }, UnknownSiteError, /no hook/],
    [PROMPTS, { captures: [{ hook: 'blocks.0.attn.hook_z', head: 4, positions: [0, 0] }] }, UnknownSiteError, /heads 0 to 3, not 4/],
    [PROMPTS, { captures: [{ hook: 'blocks.0.hook_mlp_out', head: 0, positions: [0, 0] }] }, UnknownSiteError, /has no heads/],
    [PROMPTS, { captures: [{ hook: 'blocks.0.attn.hook_z', positions: [0] }] }, ShapeError, /1 positions for 2 prompts/],
    [PROMPTS, { captures: [{ hook: 'blocks.0.attn.hook_z', positions: [2, 2] }] }, TokenError, /position 2 is not in prompt 1, which has 2 tokens/],
    [PROMPTS, { logits: [0, -1] }, TokenError, /position -1 is not in prompt 1/],
    [PROMPTS, edit({ hook: 'ln_final.hook_scale' }), UnknownSiteError, /can be read but not edited/],
    [PROMPTS, edit({ head: 1 }), ShapeError, /values must have the shape \[2, 12\], not f32 \[2, 48\]/],
    [PROMPTS, edit({ positions: undefined }), ShapeError, /\[2, 3, 48\]/],
    [PROMPTS, edit({ hook: 'blocks.1.attn.hook_pattern' }), ShapeError, /\[2, 4, 3\]/],
    [PROMPTS, { ...edit({}), keep: true }, UsageError, /without edits/],
    [PROMPTS, { ...edit({}), resume: unkept }, UsageError, /keep: true/],
    [[[5, 17, 3], [9, 31]], { ...edit({}), resume: kept }, UsageError, /other prompts/],
  ];
  const before = gpu.counters().dispatches;
  for (const [tokens, options, kind, message] of cases) {
    try {
      model.run(tokens, options).dispose();
      assert.unreachable(String(message));
    } catch (error) {
      assert.instance(error, kind, `${message}: ${String(error)}`);
      assert.match((error as Error).message, message);
    }
  }
  assert.is(gpu.counters().dispatches, before);
  try {
    kept.get('logits');
    assert.unreachable();
  } catch (error) {
    assert.instance(error, UnknownSiteError);
  }
  kept.dispose();
  unkept.dispose();
  values.dispose();
  ids.dispose();
  model.dispose();
});

test('ids on the GPU run like ids on the CPU, and equal prompts can be resumed by value', async () => {
  const model = await load();
  const prompts = [[5, 17, 3], [9, 30, 2]];
  const ids = Tensor.from(model.gpu, Uint32Array.from(prompts.flat()), [2, 3]);
  const a = model.run(prompts, { keep: true });
  const b = model.run(ids);
  assert.equal(await a.logits!.read(), await b.logits!.read());
  const again = model.run(prompts.map((p) => [...p]), { resume: a });
  assert.ok(relativeError(await again.logits!.read(), await a.logits!.read()) <= 1e-5);
  for (const run of [a, b, again]) run.dispose();
  ids.dispose();
  model.dispose();
});

test('what a run is asked for outlives it in a scope, and dispose gives it back', async () => {
  const model = await load();
  const run = model.gpu.scope(() => model.run(PROMPTS, { cache: 'hook_*embed', captures: [{ hook: 'logits', positions: [1, 1] }], keep: true }));
  assert.is((await run.get('hook_pos_embed').read()).length, 2 * 3 * 48);
  assert.equal(run.captured[0]!.shape, [2, 97]);
  assert.equal(run.logits!.shape, [2, 97]);
  const held = model.gpu.memory().liveBuffers;
  run.dispose();
  run.captured[0]!.dispose();
  assert.ok(model.gpu.memory().liveBuffers < held);
  model.dispose();
});

test('ioi-mini predicts the indirect object', async () => {
  const source = directorySource(IOI_MINI);
  const model = await load(IOI_MINI);
  const task = IoiTask.create(model.tokenizer!, await grammarFor(source));
  const prompts = task.sample({ count: 500, seed: 1 });
  const { vocabulary } = model.config;
  let right = 0;
  let difference = 0;
  for (let start = 0; start < 500; start += 250) {
    const part = prompts.slice(start, start + 250);
    const run = model.run(part.tokens, { logits: part.positions.end! });
    const logits = await run.logits!.read();
    run.dispose();
    for (let i = 0; i < 250; i++) {
      const own = logits.subarray(i * vocabulary, (i + 1) * vocabulary);
      const [io, s] = [part.correct[i]!, part.incorrect[i]!];
      right += own.every((value, id) => value < own[io]! || id === io) ? 1 : 0;
      difference += (own[io]! - own[s]!) / 500;
    }
  }
  assert.ok(right >= 495, `${right} of 500`);
  assert.ok(difference > 7 && difference < 9, `mean logit difference ${difference}`);
  model.dispose();
});

test.run();
