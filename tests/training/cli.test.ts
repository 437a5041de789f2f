import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/node-adapter.mjs';
import { cli, cliScript } from '../support/cli.ts';

const test = suite<{ folder: string }>('train command');
test.before.each((context) => { context.folder = mkdtempSync(join(tmpdir(), 'diffract-train-')); });
test.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

const mini = join(packageRoot(), 'models', 'ioi-mini');
const small = ['--sites', 'z@L0H3@end,v@L0H3@s2', '--l1', '0.5,2', '--features', '24', '--prompts', '64', '--batch', '16', '--checkpoint-tokens', '640'];

/** Every file that a dictionary is made of, as bytes. */
function dictionaries(out: string): Record<string, string> {
  return Object.fromEntries(readdirSync(out).filter((name) => name.includes('@')).flatMap((name) =>
    readdirSync(join(out, name)).map((file) => [`${name}/${file}`, readFileSync(join(out, name, file)).toString('base64')])));
}

test('trains, and goes on after Ctrl-C to the same bytes', async ({ folder }) => {
  const [whole, cut] = [join(folder, 'whole'), join(folder, 'cut')];
  const args = ['train', '--model', mini, ...small, '--epochs', '40'];
  const { code, stdout, stderr } = await cli([...args, '--out', whole, '--json']);
  assert.is(code, 0, stderr);
  const report = JSON.parse(stdout);
  assert.equal([report.finished, report.step, report.dictionaries.length], [true, 160, 4]);
  const expected = dictionaries(whole);
  assert.equal(Object.keys(expected).sort(), ['v@L0H3@s2_l1_0.5', 'v@L0H3@s2_l1_2', 'z@L0H3@end_l1_0.5', 'z@L0H3@end_l1_2'].flatMap((d) => [`${d}/cfg.json`, `${d}/sae_weights.safetensors`]));
  const metrics = readFileSync(join(whole, 'metrics.jsonl'), 'utf8');
  const records = metrics.trim().split('\n').map((line) => JSON.parse(line));
  assert.is(records.length, 4 * 40);
  for (const key of ['losses/overall_loss', 'losses/mse_loss', 'losses/l1_loss', 'metrics/l0', 'metrics/explained_variance', 'sparsity/dead_features', 'details/current_learning_rate']) assert.type(records[7][key], 'number');
  assert.equal(records.slice(-4).map((record) => [record.step, record['details/n_training_samples']]), Array.from({ length: 4 }, () => [160, 2560]));

  const child = spawn(process.execPath, [await cliScript(), ...args, '--out', cut], { stdio: ['ignore', 'ignore', 'pipe'] });
  let errors = '';
  child.stderr.on('data', (chunk) => { errors += chunk; });
  // Interrupted once something is logged, so in the middle of training.
  const watch = setInterval(() => {
    if (existsSync(join(cut, 'metrics.jsonl')) && readFileSync(join(cut, 'metrics.jsonl'), 'utf8') !== '') {
      clearInterval(watch);
      child.kill('SIGINT');
    }
  }, 5);
  const stopped = await new Promise((resolve) => child.on('exit', resolve));
  clearInterval(watch);
  if (stopped !== 0) {
    assert.is(stopped, 130, errors);
    assert.match(errors, /stopped after step \d+ of 160.*--resume/);
    assert.ok(readdirSync(join(cut, 'checkpoints')).length >= 1);
    assert.equal(dictionaries(cut), {});
    const resumed = await cli([...args, '--out', cut, '--resume', cut]);
    assert.is(resumed.code, 0, resumed.stderr);
  }
  assert.equal(dictionaries(cut), expected);
  assert.is(readFileSync(join(cut, 'metrics.jsonl'), 'utf8'), metrics);
  assert.equal(readdirSync(cut).filter((name) => name.endsWith('.tmp')), []);
});

test('trains variants side by side and keeps snapshots', async ({ folder }) => {
  const out = join(folder, 'saes');
  const args = ['train', '--model', mini, '--sites', 'z@L0H3@end', '--variants', 'vanilla,gated,topk,frozen', '--l1', '0.5', '--k', '3', '--snapshots', '1,3'];
  const { code, stdout, stderr } = await cli([...args, '--features', '16', '--prompts', '60', '--epochs', '4', '--as-released', 'lr-decay,topk-decoder', '--out', out, '--json',
    '--lr-decay', 'cosine', '--lr-decay-from', '0', '--lr-warmup', '2', '--l1-warmup', '3', '--k-warmup', '3', '--clip-norm', '1', '--dead-after', '90', '--resample-at', 'none', '--resample-every-steps', '2']);
  assert.is(code, 0, stderr);
  const report = JSON.parse(stdout);
  assert.equal(report.dictionaries.map((r: { variant: string; k: number | null; l1_coefficient: number }) => [r.variant, r.k, r.l1_coefficient]), [['vanilla', null, 0.5], ['gated', null, 0.5], ['topk', 3, 0], ['frozen', null, 0.5]]);
  const folders = ['z@L0H3@end_frozen_l1_0.5', 'z@L0H3@end_gated_l1_0.5', 'z@L0H3@end_l1_0.5', 'z@L0H3@end_topk_k_3'];
  assert.equal(readdirSync(out).sort(), ['metrics.jsonl', 'run.json', 'snapshots', ...folders]);
  for (const epoch of ['1', '3']) assert.equal(readdirSync(join(out, 'snapshots', epoch)).sort(), folders);
  // λ and K are told as they were at the end of each epoch, of one step each: 0, a third, two thirds and the whole of the way.
  const lines = readFileSync(join(out, 'metrics.jsonl'), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
  assert.equal(lines.filter(({ variant }) => variant === 'gated').map((line) => line['details/l1_coefficient'].toFixed(3)), ['0.000', '0.167', '0.333', '0.500']);
  assert.equal(lines.filter(({ variant }) => variant === 'topk').map(({ k }) => k), [16, 11, 7, 3]);
  assert.equal(JSON.parse(readFileSync(join(out, folders[3]!, 'cfg.json'), 'utf8')).k, 3);
});

test('bad input is refused in one line', async ({ folder }) => {
  const refuses = async (args: string[], message: RegExp): Promise<void> => {
    const { code, stdout, stderr } = await cli(['train', ...args]);
    assert.is(code, 2, stderr);
    assert.match(stderr, message);
    assert.match(stderr, /^error: [^\n]+\n$/);
    assert.is(stdout, '');
  };
  const out = join(folder, 'out');
  await refuses(['--model', mini, '--sites', 'z@L9H3@end', '--out', out], /layers 0 to 3/);
  await refuses(['--model', mini, '--sites', 'w@L0H3@end', '--out', out], /unknown kind "w"/);
  await refuses(['--model', mini, '--sites', 'z@L0H3@end', '--l1', 'x', '--out', out], /--l1: "x"/);
  await refuses(['--model', mini, '--sites', 'z@L0H3@end', '--out', out, '--variants', 'gated,top'], /--variants: "top" is no variant; there are vanilla, gated, topk/);
  await refuses(['--model', mini, '--sites', 'z@L0H3@end', '--out', out, '--variants', 'topk', '--k', '0'], /--k: "0" is not a whole number from 1 to 256/);
  await refuses(['--model', mini, '--sites', 'z@L0H3@end', '--out', out, '--snapshots', 'x'], /--snapshots: "x"/);
  await refuses(['--model', mini, '--sites', 'z@L0H3@end', '--out', out, '--as-released', 'decay'], /"decay" is no behaviour.*lr-decay/);
  await refuses(['--model', mini, '--sites', 'z@L0H3@end', '--out', out, '--resample-at', '0.5,2'], /--resample-at: "2" is not a share between 0 and 1/);
  await refuses(['--model', mini, ...small, '--out', out, '--checkpoint-every', '9'], /--checkpoint-every and --checkpoint-tokens both say/);
  await refuses(['--model', mini, '--sites', 'z@L0H3@end', '--out', out, '--k-warmup-from', '3'], /--k-warmup-from goes with --k-warmup/);
  await refuses(['--model', mini, '--sites', 'z@L0H3@end', '--out', out, '--resume', folder], /--resume: there is no checkpoint in .*checkpoints/);
  mkdirSync(join(folder, 'checkpoints'));
  writeFileSync(join(folder, 'checkpoints', 'step-00000040.safetensors'), 'not a checkpoint');
  await refuses(['--model', mini, ...small, '--out', out, '--resume', folder], /no checkpoint in .* is whole: .*step-00000040\.safetensors: /);
  writeFileSync(join(folder, 'file'), '');
  await refuses(['--model', mini, '--sites', 'z@L0H3@end', '--out', join(folder, 'file')], /cannot write/);
  mkdirSync(out, { recursive: true });
  assert.equal(readdirSync(out), []);
});

test.run();
