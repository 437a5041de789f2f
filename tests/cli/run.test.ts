/** `diffract run` as a user runs it. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { openSafetensors } from '../../src/files/index.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { cli, cliScript } from '../support/cli.ts';
import { FIXTURE, IOI_MINI } from '../support/models.ts';

const test = suite<{ folder: string }>('run command');
test.before.each((context) => { context.folder = mkdtempSync(join(tmpdir(), 'diffract-run-')); });
test.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

const SENTENCE = 'Mary and Adam went to the store. Adam gave a drink to';

test('writes the activations asked for, as the independent program has them', async ({ folder }) => {
  const expected = await openSafetensors(directorySource(FIXTURE), 'expected.safetensors');
  const ids = [...(await expected.f32('tokens'))];
  const tokens = join(folder, 'tokens.json');
  writeFileSync(tokens, JSON.stringify([ids.slice(0, 13), ids.slice(13)]));
  const out = join(folder, 'new', 'acts.safetensors');
  const { code, stderr } = await cli(['run', '--model', `${FIXTURE}/model`, '--tokens', tokens, '--sites', 'blocks.*.hook_resid_post,blocks.1.attn.*,logits', '--out', out]);
  assert.is(code, 0, stderr);
  assert.equal(readdirSync(join(folder, 'new')), ['acts.safetensors']);
  const file = await openSafetensors(directorySource(join(folder, 'new')), 'acts.safetensors');
  const sites = [...[0, 1, 2].map((layer) => `blocks.${layer}.hook_resid_post`), ...['q', 'k', 'v', 'attn_scores', 'pattern', 'z', 'result'].map((name) => `blocks.1.attn.hook_${name}`), 'logits'];
  assert.equal([...file.names].sort(), sites.sort());
  for (const name of sites) {
    assert.equal([file.info(name).dtype, file.info(name).shape], ['F32', expected.info(name).shape]);
    const [values, right] = [await file.f32(name), await expected.f32(name)];
    const size = Math.sqrt(right.reduce((sum, v) => sum + (v < -1e29 ? 0 : v * v), 0) / right.length);
    assert.ok(values.every((v, i) => (right[i]! < -1e29 ? v < -1e29 : Math.abs(v - right[i]!) <= 1e-4 * size)), name);
  }
  assert.is(file.metadata.model, 'model');
  assert.match(file.metadata.model_hash!, /^[0-9a-f]{64}$/);
  assert.equal(JSON.parse(file.metadata.processing!), { foldLn: false, centerWritingWeights: false, centerUnembed: false, foldValueBiases: false, refactorFactoredAttnMatrices: false });
  assert.is(file.metadata.prepend_bos, 'false');
});

test('takes text, a prompt a line, pads with zeros and records what was done', async ({ folder }) => {
  const prompts = join(folder, 'prompts.txt');
  writeFileSync(prompts, `${SENTENCE}\n${SENTENCE} the\n`);
  const out = join(folder, 'acts.safetensors');
  const { code, stdout, stderr } = await cli(['run', '--model', IOI_MINI, '--prompts', prompts, '--prepend-bos', '--sites', 'blocks.0.attn.hook_pattern,blocks.3.hook_resid_post', '--out', out, '--processing', 'foldLn,centerUnembed', '--json']);
  assert.is(code, 0, stderr);
  const report = JSON.parse(stdout) as { model: string; processing: Record<string, boolean>; prependBos: boolean; activations: { tensors: Record<string, number[]> } };
  assert.equal([report.model, report.prependBos, report.processing.foldLn, report.processing.centerWritingWeights], ['ioi-mini', true, true, false]);
  assert.equal(report.activations.tensors, { 'blocks.0.attn.hook_pattern': [2, 4, 15, 15], 'blocks.3.hook_resid_post': [2, 15, 128] });
  const file = await openSafetensors(directorySource(folder), 'acts.safetensors');
  assert.equal(JSON.parse(file.metadata.prompt_lengths!), [14, 15]);
  assert.is((JSON.parse(file.metadata.tokens!) as number[][])[0]![0], 1025);
  const stream = await file.f32('blocks.3.hook_resid_post');
  assert.ok(stream.subarray(14 * 128, 15 * 128).every((v) => v === 0));
  assert.ok(stream.subarray(13 * 128, 14 * 128).some((v) => v !== 0));
});

test('a reader that is slow gets all of it', async ({ folder }) => {
  const tokens = join(folder, 'tokens.json');
  writeFileSync(tokens, JSON.stringify(Array.from({ length: 40 }, (_, i) => [i + 5])));
  // More than a pipe holds.
  const command = `"${process.execPath}" "${await cliScript()}" run --model "${IOI_MINI}" --tokens "${tokens}" --top 100 --json 2>"${folder}/log" | (sleep 3; cat)`;
  const { stdout } = await promisify(execFile)('sh', ['-c', command], { maxBuffer: 2 ** 26 });
  assert.ok(stdout.length > 2 ** 17, `${stdout.length}`);
  assert.is((JSON.parse(stdout) as { next: unknown[] }).next.length, 40);
});

test('generates, and prints the likeliest next tokens', async ({ folder }) => {
  const generated = await cli(['run', '--model', IOI_MINI, '--prompt', SENTENCE, '--append', '2']);
  assert.is(generated.code, 0, generated.stderr);
  assert.match(generated.stdout, new RegExp(`^${SENTENCE} Mary.*\n$`));
  const next = await cli(['run', '--model', IOI_MINI, '--prompt', SENTENCE, '--prompt', `${SENTENCE} Mary`, '--top', '2', '--json']);
  const report = JSON.parse(next.stdout) as { next: { id: number; token: string; probability: number; logit: number }[][] };
  assert.equal(report.next.map((list) => list.length), [2, 2]);
  assert.equal([report.next[0]![0]!.token, report.next[0]![1]!.token], [' Mary', ' Adam']);
  assert.ok(Math.abs(report.next[0]![0]!.logit - 16.053616) < 1e-3 && report.next[0]![0]!.probability > 0.99);
  const tokens = join(folder, 'tokens.json');
  writeFileSync(tokens, '[[1, 2, 3], [4, 5]]');
  const drawn = (seed: string): Promise<{ stdout: string }> => cli(['run', '--model', `${FIXTURE}/model`, '--tokens', tokens, '--append', '4', '--temperature', '1', '--seed', seed]);
  const [first, again] = [await drawn('1'), await drawn('1')];
  assert.match(first.stdout, /^1 2 3( \d+){4}\n4 5( \d+){4}\n$/);
  assert.is(again.stdout, first.stdout);
});

test('wrong arguments and files are refused in one line', async ({ folder }) => {
  const tokens = join(folder, 'tokens.json');
  const model = ['--model', `${FIXTURE}/model`];
  const cases: [string[], string, RegExp][] = [
    [[], '[[1]]', /exactly one way/],
    [['--tokens', tokens, '--prompt', 'x'], '[[1]]', /exactly one way/],
    [['--tokens', tokens, '--sites', 'logits'], '[[1]]', /--sites and --out go together/],
    [['--tokens', tokens], '{"a": 1}', /tokens\.json: an array of arrays/],
    [['--tokens', tokens], '[[1,', /tokens\.json: not valid JSON/],
    [['--tokens', join(folder, 'absent.json')], '', /cannot read .*absent\.json/],
    [['--prompt', 'x'], '', /no tokenizer\.json.*--tokens/],
    [['--tokens', tokens, '--processing', 'foldLN'], '[[1]]', /--processing foldLN: there are foldLn/],
    [['--tokens', tokens, '--sites', 'logits', '--out', join(tokens, 'acts.safetensors')], '[[1]]', /cannot write/],
  ];
  for (const [args, content, message] of cases) {
    writeFileSync(tokens, content);
    const { code, stdout, stderr } = await cli(['run', ...model, ...args]);
    assert.match(stderr, message);
    assert.match(stderr, /^error: [^\n]+\n$/);
    assert.equal([code, stdout], [2, '']);
  }
  assert.not(existsSync(join(folder, 'acts.safetensors')));
});

test.run();
