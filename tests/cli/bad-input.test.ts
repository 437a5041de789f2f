/** Bad input, as a user gives it: one clear line on stderr, exit code 2, and nothing left half written. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeSafetensors } from '../../src/files/index.ts';
import { packageRoot } from '../../src/node-adapter.mjs';
import { cli } from '../support/cli.ts';

const test = suite<{ folder: string }>('bad input');
const random = join(packageRoot(), 'tests', 'fixtures', 'gpt2-random', 'model');
const mini = join(packageRoot(), 'models', 'ioi-mini');

test.before.each((context) => { context.folder = mkdtempSync(join(tmpdir(), 'diffract-bad-')); });
test.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

/** Expects exit code 2 and exactly one line on stderr, an error that matches, and nothing on stdout. */
async function refuses(args: readonly string[], message: RegExp): Promise<void> {
  const { code, stdout, stderr } = await cli(args);
  assert.match(stderr, message, `${args.join(' ')}: ${message} is not in: ${stderr}`);
  assert.match(stderr, /^error: [^\n]+\n$/, `more than one line: ${stderr}`);
  assert.is(code, 2, stderr);
  assert.is(stdout, '');
}

interface Header { [name: string]: { dtype: string; shape: number[]; data_offsets: [number, number] } }

/** A copy of a model that a test may spoil. */
function copyModel(from: string, folder: string): string {
  const to = join(folder, 'model');
  cpSync(from, to, { recursive: true });
  return to;
}

function readWeights(model: string): { bytes: Buffer; header: Header; dataStart: number } {
  const bytes = readFileSync(join(model, 'model.safetensors'));
  const length = Number(bytes.readBigUInt64LE(0));
  return { bytes, header: JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Header, dataStart: 8 + length };
}

/** `run` on ids, writing activations; asserts that the file and its temporary names are absent afterwards. */
async function runRefuses(folder: string, model: string, message: RegExp, options: { tokens?: number[][]; sites?: string } = {}): Promise<void> {
  const tokens = join(folder, 'tokens.json');
  writeFileSync(tokens, JSON.stringify(options.tokens ?? [[1, 2, 3]]));
  const out = join(folder, 'out');
  mkdirSync(out);
  await refuses(['run', '--model', model, '--tokens', tokens, '--sites', options.sites ?? 'blocks.*.hook_resid_post', '--out', join(out, 'acts.safetensors')], message);
  assert.equal(readdirSync(out), []);
}

/** A short `eval ioi` on ioi-mini, writing to `out`; asserts that nothing was written there. */
async function evalRefuses(folder: string, extra: readonly string[], message: RegExp): Promise<void> {
  const out = join(folder, 'out');
  await refuses(['eval', 'ioi', '--model', mini, '--out', out, '--prompts', '20', '--train-prompts', '64', ...extra], message);
  assert.equal(existsSync(out) ? readdirSync(out) : [], []);
}

test('weights are missing', async ({ folder }) => {
  const model = copyModel(random, folder);
  rmSync(join(model, 'model.safetensors'));
  await runRefuses(folder, model, /model\.safetensors/);
});

test('weights are truncated: names the tensor and the byte', async ({ folder }) => {
  const model = copyModel(random, folder);
  const { bytes, header, dataStart } = readWeights(model);
  const [name, entry] = Object.entries(header).filter(([key]) => key !== '__metadata__').sort(([, a], [, b]) => b.data_offsets[1] - a.data_offsets[1])[0]!;
  assert.is(dataStart + entry.data_offsets[1], bytes.length);
  truncateSync(join(model, 'model.safetensors'), bytes.length - 10);
  await runRefuses(folder, model, new RegExp(`tensor ${name.replaceAll('.', '\\.')}\\b.*\\b${bytes.length - 10}\\b`));
});

test('the configuration is not GPT-2\'s', async ({ folder }) => {
  const model = copyModel(random, folder);
  const path = join(model, 'config.json');
  const config = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  writeFileSync(path, JSON.stringify({ ...config, model_type: 'llama' }));
  await runRefuses(folder, model, /config\.json: model_type is "llama"; .*gpt2/);
});

for (const [name, value] of [['NaN', NaN], ['Infinity', Infinity]] as const) {
  test(`a weight is ${name}: names the tensor and the place`, async ({ folder }) => {
    const model = copyModel(random, folder);
    const { bytes, header, dataStart } = readWeights(model);
    const key = Object.keys(header).find((k) => k.endsWith('h.0.mlp.c_fc.weight'))!;
    const { dtype, shape, data_offsets } = header[key]!;
    assert.is(dtype, 'F32');
    bytes.writeFloatLE(value, dataStart + data_offsets[0] + 4 * (shape[1]! + 2));
    writeFileSync(join(model, 'model.safetensors'), bytes);
    await runRefuses(folder, model, new RegExp(`tensor ${key.replaceAll('.', '\\.')} has ${name} at \\[1, 2\\]`));
  });
}

test('a hook name does not exist: names the nearest that do', async ({ folder }) => {
  await runRefuses(folder, random, /blocks\.0\.hook_resid_pots.*blocks\.0\.hook_resid_post/, { sites: 'blocks.0.hook_resid_pots' });
});

test('a token id is out of range', async ({ folder }) => {
  const { vocab_size } = JSON.parse(readFileSync(join(random, 'config.json'), 'utf8')) as { vocab_size: number };
  await runRefuses(folder, random, new RegExp(`\\b${vocab_size}\\b`), { tokens: [[1, 2, vocab_size]] });
});

test('a prompt is longer than the context', async ({ folder }) => {
  const { n_positions } = JSON.parse(readFileSync(join(random, 'config.json'), 'utf8')) as { n_positions: number };
  await runRefuses(folder, random, new RegExp(`\\b${n_positions + 1}\\b.*\\b${n_positions}\\b`), { tokens: [Array.from({ length: n_positions + 1 }, () => 1)] });
});

test('the lexicon has a word of several tokens: names it', async ({ folder }) => {
  const grammar = JSON.parse(readFileSync(join(mini, 'ioi.json'), 'utf8')) as { names: string[] };
  const lexicon = join(folder, 'lexicon');
  mkdirSync(lexicon);
  writeFileSync(join(lexicon, 'ioi.json'), JSON.stringify({ ...grammar, names: [...grammar.names, 'Zebulon'] }));
  await evalRefuses(folder, ['--lexicon', lexicon], /Zebulon/);
});

test('a dictionary is not as wide as its site: names both widths', async ({ folder }) => {
  const sae = join(folder, 'sae');
  mkdirSync(sae);
  const [width, features] = [24, 8];
  const config = {
    architecture: 'standard', d_in: width, d_sae: features, dtype: 'float32', apply_b_dec_to_input: true, normalize_activations: 'none', device: 'cpu',
    metadata: { model_name: 'ioi-mini', hook_name: 'blocks.0.attn.hook_z', hook_head_index: 3, prepend_bos: false, position: 'end', site: 'z@L0H3@end' },
  };
  writeFileSync(join(sae, 'cfg.json'), JSON.stringify(config));
  const tensor = (shape: number[]): { dtype: 'F32'; shape: number[]; data: Float32Array } => ({ dtype: 'F32', shape, data: new Float32Array(shape.reduce((p, n) => p * n, 1)).fill(0.1) });
  writeFileSync(join(sae, 'sae_weights.safetensors'), encodeSafetensors({
    W_enc: tensor([width, features]), W_dec: tensor([features, width]), b_enc: tensor([features]), b_dec: tensor([width]),
  }));
  await evalRefuses(folder, ['--cross-section', 'out=z@L0H3@end', '--sae', sae], /\b24\b.*\b32\b|\b32\b.*\b24\b/);
});

test('an output directory cannot be written: found before the work starts', async ({ folder }) => {
  const file = join(folder, 'file');
  writeFileSync(file, 'in the way');
  const out = join(file, 'out');
  const tokens = join(folder, 'tokens.json');
  writeFileSync(tokens, '[[1, 2, 3]]');
  // Were the work started first, the missing model would be the error.
  const gone = join(folder, 'no-model');
  await refuses(['run', '--model', gone, '--tokens', tokens, '--sites', 'logits', '--out', join(out, 'acts.safetensors')], /cannot write .*file\/out/);
  await refuses(['eval', 'ioi', '--model', gone, '--out', out, '--prompts', '20'], /cannot write .*file\/out/);
  await refuses(['demo', '--out', out], /cannot write .*file\/out/);
  assert.is(readFileSync(file, 'utf8'), 'in the way');
});

test('a model is too large for the adapter: names the bytes needed and allowed', async ({ folder }) => {
  const model = join(folder, 'model');
  mkdirSync(model);
  const [layers, width, heads, context, vocabulary] = [1, 8, 2, 16, 2 ** 34];
  writeFileSync(join(model, 'config.json'), JSON.stringify({ model_type: 'gpt2', n_layer: layers, n_embd: width, n_head: heads, n_positions: context, vocab_size: vocabulary }));
  const shapes: Record<string, number[]> = {
    'wte.weight': [vocabulary, width], 'wpe.weight': [context, width], 'ln_f.weight': [width], 'ln_f.bias': [width],
    'h.0.ln_1.weight': [width], 'h.0.ln_1.bias': [width], 'h.0.ln_2.weight': [width], 'h.0.ln_2.bias': [width],
    'h.0.attn.c_attn.weight': [width, 3 * width], 'h.0.attn.c_attn.bias': [3 * width], 'h.0.attn.c_proj.weight': [width, width], 'h.0.attn.c_proj.bias': [width],
    'h.0.mlp.c_fc.weight': [width, 4 * width], 'h.0.mlp.c_fc.bias': [4 * width], 'h.0.mlp.c_proj.weight': [4 * width, width], 'h.0.mlp.c_proj.bias': [width],
  };
  let end = 0;
  const header = JSON.stringify(Object.fromEntries(Object.entries(shapes).map(([name, shape]) => {
    const start = end;
    end += 4 * shape.reduce((p, n) => p * n, 1);
    return [name, { dtype: 'F32', shape, data_offsets: [start, end] }];
  })));
  const head = Buffer.alloc(8);
  head.writeBigUInt64LE(BigInt(header.length));
  const path = join(model, 'model.safetensors');
  writeFileSync(path, Buffer.concat([head, Buffer.from(header)]));
  // All zeros, and none of them on the disk.
  truncateSync(path, 8 + header.length + end);
  await runRefuses(folder, model, new RegExp(`needs? .*\\b${4 * vocabulary * width}\\b bytes.*allow`));
});

test('flags are missing, unknown or out of range', async ({ folder }) => {
  await usage(['run', '--tokens', join(folder, 'tokens.json')], /--model/);
  await usage(['eval', 'ioi', '--model', mini, '--out', join(folder, 'out'), '--prompts', 'many'], /--prompts/);
  await usage(['doctor', '--fast'], /unknown option '--fast'/);
  await usage(['diagnose'], /unknown command 'diagnose'/);
  assert.equal(readdirSync(folder), []);
});

/** Commander's own errors point to --help in a second line. */
async function usage(args: readonly string[], message: RegExp): Promise<void> {
  const { code, stdout, stderr } = await cli(args);
  assert.match(stderr.split('\n')[0]!, message, `${args.join(' ')}: ${message} is not in: ${stderr}`);
  assert.match(stderr, /^error: [^\n]+\n(\n?\(see --help\)\n)?$/, `more than one line: ${stderr}`);
  assert.is(code, 2);
  assert.is(stdout, '');
}

test.run();
