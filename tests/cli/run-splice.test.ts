/** `diffract run --splice`: what its flags mean, what it prints, and one run as a user makes it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { sideBySide } from '../../src/cli/next-tokens.ts';
import { divergences, nextTokens } from '../../src/model/index.ts';
import { readFeatureFlag } from '../../src/cli/run-splice.ts';
import { UsageError } from '../../src/errors.ts';
import { encodeSafetensors } from '../../src/files/index.ts';
import type { Gpt2 } from '../../src/model/index.ts';
import { cli } from '../support/cli.ts';
import { IOI_MINI } from '../support/models.ts';
import { random } from '../support/numbers.ts';

const test = suite<{ folder: string }>('run --splice');
test.before.each((context) => { context.folder = mkdtempSync(join(tmpdir(), 'diffract-splice-')); });
test.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

test('features are set by index, value, position and place', () => {
  const read = (text: string): unknown[] => Object.values(readFeatureFlag(text)).slice(1);
  assert.equal(read('17=0'), [null, 17, 0, null]);
  assert.equal(read('3=-2.5e1@-1'), [null, 3, -25, -1]);
  assert.equal(read('blocks.2.hook_resid_post:17=5@12'), ['blocks.2.hook_resid_post', 17, 5, 12]);
  assert.equal(read('blocks.1.attn.hook_z:3:17=5'), ['blocks.1.attn.hook_z:3', 17, 5, null]);
  for (const text of ['17', '=3', '17=', '17=a', '17=1@x', '17=Infinity', '-1=2', '17= ']) assert.throws(() => readFeatureFlag(text), (e: Error) => e instanceof UsageError && e.message.includes(text) && !e.message.includes('\n'));
});

test('predictions before and after, and how far apart they are', () => {
  const model = { config: { vocabulary: 3 }, tokenizer: null } as unknown as Gpt2;
  const [before, after] = [Float32Array.of(0, Math.log(2), Math.log(5), 1, 1, 1), Float32Array.of(3, 3, 3 + Math.log(2), 7, 7, 7)];
  const [first] = nextTokens(model, before, 2);
  assert.equal(first!.map(({ id }) => id), [2, 1]);
  assert.ok(Math.abs(first![0]!.probability - 5 / 8) < 1e-6 && Math.abs(first![1]!.probability - 1 / 4) < 1e-6);
  const right = [1 / 8, 2 / 8, 5 / 8].reduce((sum, p, i) => sum + p * Math.log(p / [1 / 4, 1 / 4, 1 / 2][i]!), 0);
  const [far, none] = divergences(model, before, after);
  assert.ok(Math.abs(far! - right) < 1e-6 && none! < 1e-6 && none! >= 0);
  assert.equal(sideBySide(first!, nextTokens(model, after, 2)[0]!).split('\n'), [
    '  before                    after', '   62.50 %      1.609  2     50.00 %      3.693  2', '   25.00 %      0.693  1     25.00 %      3.000  0', '',
  ]);
});

test('a dictionary in a run: the error term keeps the predictions, a feature changes them, its codes are shown and written', async ({ folder }) => {
  const [features, width] = [24, 128];
  const tensor = (shape: number[], seed: number): { dtype: 'F32'; shape: number[]; data: Float32Array } => ({ dtype: 'F32', shape, data: random(shape, seed) });
  writeFileSync(join(folder, 'cfg.json'), JSON.stringify({ architecture: 'standard', d_in: width, d_sae: features, metadata: { hook_name: 'blocks.2.hook_resid_post' } }));
  writeFileSync(join(folder, 'sae_weights.safetensors'), encodeSafetensors({ W_enc: tensor([width, features], 1), W_dec: tensor([features, width], 2), b_enc: tensor([features], 3), b_dec: tensor([width], 4) }));
  const base = ['run', '--model', IOI_MINI, '--prompt', 'Mary and Adam went to the store. Adam gave a drink to', '--splice', folder, '--json'];
  interface Report { splice: { errorTerm: boolean }; next: { id: number; logit: number }[][]; after: { id: number; logit: number }[][]; kl: number[]; active: Record<string, { feature: number; value: number }[]>[] }
  const run = async (...more: string[]): Promise<Report> => {
    const { code, stdout, stderr } = await cli([...base, ...more]);
    assert.is(code, 0, stderr);
    return JSON.parse(stdout) as Report;
  };
  const kept = await run('--error-term');
  assert.ok(kept.splice.errorTerm && kept.kl[0]! < 1e-6);
  assert.ok(kept.next[0]!.every(({ id, logit }, i) => kept.after[0]![i]!.id === id && Math.abs(kept.after[0]![i]!.logit - logit) < 1e-3));
  const set = await run('--error-term', '--feature', '7=1000@-1', '--top', '2');
  assert.equal(set.active[0]!['blocks.2.hook_resid_post']![0], { feature: 7, value: 1000 });
  assert.equal(set.next[0]!.map(({ id }) => id), kept.next[0]!.slice(0, 2).map(({ id }) => id));
  assert.ok(set.kl[0]! > 0.1);
});

test('flags that do not go together are refused in one line', async ({ folder }) => {
  for (const [args, why] of [
    [['--error-term'], /^error: --error-term is for .* give --splice/], [['--splice', folder, '--append', '3'], /--append generates with the model as it is/], [['--splice', folder], /there is no dictionary/],
  ] as const) {
    const { code, stderr } = await cli(['run', '--model', IOI_MINI, '--prompt', 'a', ...args]);
    assert.is(code, 2);
    assert.match(stderr, why);
    assert.is(stderr.trim().split('\n').length, 1, stderr);
  }
});

test.run();
