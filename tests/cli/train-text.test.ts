/** `train --text` as a person uses it: killed and resumed to the same bytes, in SAELens' layout, measured on text, and bad input told in a line. */
import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { memorySource, openSafetensors } from '../../src/files/index.ts';
import { packageRoot } from '../../src/node-adapter.mjs';
import { cli, cliScript } from '../support/cli.ts';
import { random } from '../support/numbers.ts';

const mini = join(packageRoot(), 'models', 'ioi-mini');
const tokens = Array.from({ length: 40 }, (_, i) => Array.from(random(30 + i, i), (value) => 2 + Math.floor(Math.abs(value) * 600)));
const names = ['blocks.0.attn.hook_z.3_topk_k_4', 'blocks.1.hook_resid_post_topk_k_4'];

const test = suite<{ folder: string; args: string[] }>('train on text');
test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'diffract-text-'));
  mkdirSync(join(context.folder, 'text'));
  writeFileSync(join(context.folder, 'text', 'a.json'), JSON.stringify(tokens.slice(0, 25)));
  writeFileSync(join(context.folder, 'text', 'b.jsonl'), tokens.slice(25).map((ids) => `${JSON.stringify({ input_ids: ids })}\n`).join(''));
  context.args = [
    'train', '--model', mini, '--text', join(context.folder, 'text'), '--site', 'blocks.1.hook_resid_post,blocks.0.attn.hook_z:3', '--d-sae', '24', '--variants', 'topk', '--k', '4', '--tokens', '2048', '--round', '512',
    '--batch', '64', '--context', '16', '--checkpoint-every', '3',
  ];
});
test.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

const bytesOf = (out: string): Record<string, string> => Object.fromEntries(names.flatMap((name) => readdirSync(join(out, name)).map((file) => [`${name}/${file}`, readFileSync(join(out, name, file)).toString('base64')])));

test('killed and resumed it ends with the bytes of a run that was left alone; the directories are SAELens\'; eval sae takes them', async ({ folder, args }) => {
  const [whole, cut] = [join(folder, 'whole'), join(folder, 'cut')];
  const { code, stderr, stdout } = await cli([...args, '--out', whole, '--json']);
  assert.is(code, 0, stderr);
  assert.match(stderr, /the text was read \d+ times/);
  const report = JSON.parse(stdout);
  assert.equal([report.finished, report.step, report.dictionaries.length], [true, 32, 2]);
  const checkpoints = join(cut, 'checkpoints');
  const child = spawn(process.execPath, [await cliScript(), ...args, '--keep-checkpoints', '3', '--out', cut], { stdio: 'ignore' });
  const end = new Promise((resolve) => child.on('exit', resolve));
  while (child.exitCode === null && !(existsSync(checkpoints) && readdirSync(checkpoints).filter((name) => name.startsWith('step-')).length === 3)) await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill('SIGKILL');
  await end;
  // As a disk may leave them: the newest checkpoint cut short, the one before with a bit of a tensor turned, and a line of figures that was not written to its end.
  const [oldest, damaged, newest] = readdirSync(checkpoints).filter((name) => name.startsWith('step-')).sort().slice(-3) as [string, string, string];
  truncateSync(join(checkpoints, newest), 1000);
  const bytes = readFileSync(join(checkpoints, damaged));
  bytes[bytes.length - 99]! ^= 4;
  writeFileSync(join(checkpoints, damaged), bytes);
  appendFileSync(join(cut, 'metrics.jsonl'), '{"name":"topk blo');
  const resumed = await cli([...args, '--out', cut, '--resume', cut]);
  assert.is(resumed.code, 0, resumed.stderr);
  assert.match(resumed.stderr, new RegExp(`passed over .*${newest}: .*; .*${damaged}: damaged: .*: going on from .*${oldest}, after step ${Number(oldest.slice(5, 13))}\\n`));
  assert.equal(readdirSync(checkpoints).sort(), ['step-00000027.safetensors', 'step-00000030.safetensors']);
  assert.equal(bytesOf(cut), bytesOf(whole));
  assert.is(readFileSync(join(cut, 'metrics.jsonl'), 'utf8'), readFileSync(join(whole, 'metrics.jsonl'), 'utf8'));

  for (const [name, width] of [[names[0]!, 32], [names[1]!, 128]] as const) {
    const file = await openSafetensors(memorySource({ 'sae_weights.safetensors': new Uint8Array(readFileSync(join(whole, name, 'sae_weights.safetensors'))) }), 'sae_weights.safetensors');
    assert.equal(file.names.map((tensor) => `${tensor} ${file.info(tensor).shape.join('x')}`).sort(), [`W_dec 24x${width}`, `W_enc ${width}x24`, `b_dec ${width}`, 'b_enc 24']);
    const config = JSON.parse(readFileSync(join(whole, name, 'cfg.json'), 'utf8'));
    assert.equal([config.architecture, config.d_in, config.d_sae, config.k, config.metadata.context_size, config.metadata.prepend_bos], ['topk', width, 24, 4, 16, true]);
  }
  // On the text that they were trained on, those documents count that training never saw: of 31 and 55 tokens, with a separator between them, which is left out.
  const out = join(folder, 'measured');
  const measured = await cli(['eval', 'sae', '--model', mini, '--sae', whole, '--text', join(folder, 'text'), '--out', out]);
  assert.is(measured.code, 0, measured.stderr);
  assert.match(measured.stdout, /^dictionary +l0 +explained_variance/);
  assert.equal(readdirSync(out).sort(), names.map((name) => `${name}_eval_results.json`).sort());
  for (const name of names) {
    assert.match(measured.stdout, new RegExp(`^${name} +4\\.000 `, 'm'));
    const { eval_config: config, eval_result_metrics: metrics, eval_result_unstructured: more } = JSON.parse(readFileSync(join(out, `${name}_eval_results.json`), 'utf8'));
    assert.equal([config.prompts, config.context_size, config.excluded_tokens, metrics.token_stats.total_tokens_eval_reconstruction, metrics.sparsity.l0], [5, 16, [1025], 74, 4]);
    assert.ok(more.mean_ablation.ce_loss_with_mean_ablation > 0);
  }
});

test('activations are written once and learnt from without the model; they are of one model and were packed once', async ({ folder }) => {
  const [acts, out] = [join(folder, 'acts'), join(folder, 'out')];
  const site = 'blocks.0.attn.hook_z:3';
  const write = ['activations', '--model', mini, '--text', join(folder, 'text'), '--site', site, '--tokens', '600', '--shard', '256', '--context', '16', '--type', 'f16', '--out', acts];
  const written = await cli(write);
  assert.is(written.code, 0, written.stderr);
  assert.match(written.stderr, /600 tokens in 3 files/);
  assert.equal(readdirSync(acts).sort(), ['activations-00000.safetensors', 'activations-00001.safetensors', 'activations-00002.safetensors', 'manifest.json']);
  const train = ['train', '--activations', acts, '--site', site, '--d-sae', '16', '--variants', 'topk', '--k', '2', '--tokens', '1200', '--batch', '64', '--centre', '--buffer-type', 'f16', '--out', out];
  const trained = await cli([...train, '--json']);
  assert.is(trained.code, 0, trained.stderr);
  assert.equal(JSON.parse(trained.stdout).dictionaries.map(({ name, l0 }: { name: string; l0: number }) => [name, l0]), [['topk blocks.0.attn.hook_z.3 k=2', 2]]);
  const { metadata } = JSON.parse(readFileSync(join(out, 'blocks.0.attn.hook_z.3_topk_k_2', 'cfg.json'), 'utf8'));
  assert.equal([metadata.hook_name, metadata.hook_head_index, metadata.context_size, metadata.held_out], ['blocks.0.attn.hook_z', 3, 16, 0.01]);
  assert.is(typeof metadata.model_hash, 'string');
  for (const [args, message] of [
    [[...train, '--context', '16'], /--context goes with --text: activations that are there were packed/],
    [[...train, '--text', folder], /--text and --activations are two sources/],
  ] as const) {
    const { code, stderr } = await cli(args);
    assert.is(code, 2);
    assert.match(stderr, message);
  }
});

test('what cannot be: one line, exit code 2, nothing lost', async ({ folder, args }) => {
  const refused = async (change: Record<string, string | null>, pattern: RegExp): Promise<void> => {
    const own = [...args];
    for (const [flag, value] of Object.entries(change)) {
      const at = own.indexOf(flag);
      if (value === null) own.splice(at, 2);
      else if (at < 0) own.push(flag, value);
      else own[at + 1] = value;
    }
    const { code, stderr } = await cli([...own, '--out', join(folder, 'out')]);
    assert.is(code, 2, stderr);
    assert.match(stderr, pattern);
    assert.is(stderr.trim().split('\n').length, 1, stderr);
  };
  const file = (name: string, content: string): string => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  await refused({ '--site': null }, /--site is needed/);
  await refused({ '--sites': 'z@L0H3@end' }, /--sites is for the task, and goes not with --text/);
  await refused({ '--text': file('bad.json', '[[5, 99999]]') }, /bad\.json document 0: token 1 is 99999, the model has \d+ tokens: it was made with another tokenizer/);
  await refused({ '--text': join(folder, 'nowhere.txt') }, /nowhere\.txt: no such file/);
  await refused({ '--site': 'blocks.7.hook_resid_post' }, /blocks\.7\.hook_resid_post/);
  await refused({ '--context': '1000' }, /--context 1000: the model has room for 64 tokens/);
  await refused({ '--resume': join(folder, 'out') }, /--resume: there is no checkpoint in .*checkpoints/);
});

test.run();
