/** Metrics of an SAE from the command line. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { saeFiles, Sae, type SaeMetadata } from '../../src/dictionary/index.ts';
import { saeBenchSchema } from '../../src/evaluation/saebench.ts';
import { writeDirectoryAtomic } from '../../src/files/node-write.ts';
import { packageRoot } from '../../src/node-adapter.mjs';
import { Tensor } from '../../src/tensor/index.ts';
import { cli } from '../support/cli.ts';
import { testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';
import { safetensorsFile } from '../support/safetensors-file.ts';

const test = suite<{ folder: string }>('eval sae');
const mini = join(packageRoot(), 'models', 'ioi-mini');

test.before.each((context) => { context.folder = mkdtempSync(join(tmpdir(), 'diffract-sae-')); });
test.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

async function writeSae(path: string, metadata: SaeMetadata = { hook_name: 'blocks.0.attn.hook_z', hook_head_index: 3, prepend_bos: true }): Promise<void> {
  const gpu = await testGpu();
  const tensor = (shape: number[], seed: number) => Tensor.from(gpu, random(shape, seed), shape);
  const sae = new Sae('vanilla tried', { encoder: tensor([20, 32], 1), encoderBias: tensor([20], 2), decoder: tensor([20, 32], 3), decoderBias: tensor([32], 4) }, metadata);
  await writeDirectoryAtomic(path, await saeFiles(sae));
  sae.dispose();
}

test('text becomes prompts; what is printed is what is written, in SAEBench’s form', async ({ folder }) => {
  const [sae, text, out] = [join(folder, 'sae'), join(folder, 'book.txt'), join(folder, 'result.json')];
  await writeSae(sae);
  writeFileSync(text, 'Mary and John went to the park. John gave a book to Mary. Later, Alice and Adam met at the store. '.repeat(8));
  const { code, stdout, stderr } = await cli(['eval', 'sae', '--model', mini, '--sae', sae, '--text', text, '--context', '16', '--prompts', '5', '--out', out, '--json']);
  assert.is(code, 0, stderr);
  const result = saeBenchSchema.parse(JSON.parse(stdout));
  assert.equal(result, saeBenchSchema.parse(JSON.parse(readFileSync(out, 'utf8'))));
  assert.is(result.eval_config.prompts, 5);
  assert.is(result.eval_config.context_size, 16);
  assert.is(result.eval_result_metrics.token_stats.total_tokens_eval_reconstruction, 5 * 15);
  assert.is(result.eval_result_details.length, 20);
  assert.ok(result.eval_result_metrics.model_behavior_preservation.kl_div_with_sae! > 0);
  assert.equal([result.sae_cfg_dict.d_sae, result.sae_cfg_dict.hook_head_index, result.sae_lens_id], [20, 3, 'vanilla tried']);
  const prompts = join(folder, 'prompts.json');
  writeFileSync(prompts, JSON.stringify([[5, 6, 7, 8], [9, 10]]));
  const table = await cli(['eval', 'sae', '--model', mini, '--sae', sae, '--tokens', prompts]);
  assert.is(table.code, 0, table.stderr);
  assert.match(table.stdout, /reconstruction_quality\n {2}explained_variance +-?[\d.]+/);
  assert.match(table.stdout, /total_tokens_eval_reconstruction +6\n/);
});

test('dictionaries of other tools: the layout is found, the processing that one names is done, what may differ is said', async ({ folder }) => {
  const [features, width] = [24, 128];
  const values = (count: number, seed: number): number[] => [...random([count], seed)];
  const prompts = join(folder, 'prompts.json');
  writeFileSync(prompts, JSON.stringify([[5, 6, 7, 8], [9, 10]]));
  await writeDirectoryAtomic(join(folder, 'h.1'), {
    'cfg.json': JSON.stringify({ activation: 'topk', expansion_factor: 1, normalize_decoder: false, num_latents: features, k: 3, multi_topk: false, skip_connection: false, transcode: false, d_in: width }),
    'sae.safetensors': safetensorsFile([
      ['W_dec', [features, width], values(features * width, 1)], ['b_dec', [width], values(width, 2)], ['encoder.bias', [features], values(features, 3).map((v) => v + 9)], ['encoder.weight', [features, width], values(features * width, 4)],
    ]),
  });
  const { code, stdout, stderr } = await cli(['eval', 'sae', '--model', mini, '--sae', join(folder, 'h.1'), '--tokens', prompts, '--json']);
  assert.is(code, 0, stderr);
  const result = JSON.parse(stdout);
  assert.equal([result.sae_cfg_dict.architecture, result.sae_cfg_dict.layout, result.sae_cfg_dict.hook_name, result.eval_result_metrics.sparsity.l0], ['topk', 'sparsify', 'blocks.1.hook_resid_post', 3]);
  const gpu = await testGpu();
  const own = join(folder, 'centred');
  const sae = new Sae('centred', { encoder: Tensor.from(gpu, values(20 * width, 1), [20, width]), encoderBias: Tensor.from(gpu, values(20, 2), [20]), decoder: Tensor.from(gpu, values(20 * width, 3), [20, width]), decoderBias: Tensor.from(gpu, values(width, 4), [width]) }, {
    hook_name: 'blocks.1.hook_resid_post', context_size: 3, weight_processing: { centerWritingWeights: true },
  });
  await writeDirectoryAtomic(own, await saeFiles(sae));
  sae.dispose();
  const centred = await cli(['eval', 'sae', '--model', mini, '--sae', own, '--tokens', prompts]);
  assert.is(centred.code, 0, centred.stderr);
  assert.match(centred.stderr, /weights are processed as the SAE was trained with: centerWritingWeights/);
  assert.match(centred.stderr, /centred: it was trained in contexts of 3 tokens, and is used in 4/);
  const other = await cli(['eval', 'sae', '--model', mini, '--sae', own, '--tokens', prompts, '--processing', 'none']);
  assert.is(other.code, 2);
  assert.match(other.stderr, /it was made for weight processing centerWritingWeights true, not false/);
});

test('several in one go: the numbers of each alone, models processed as each asks for, a file each, in a directory of their own', async ({ folder }) => {
  const gpu = await testGpu();
  const saes = join(folder, 'saes');
  await writeSae(join(saes, 'b_head'));
  const width = 128;
  const tensor = (shape: number[], seed: number) => Tensor.from(gpu, random(shape, seed), shape);
  const centred = new Sae('centred', { encoder: tensor([20, width], 1), encoderBias: tensor([20], 2), decoder: tensor([20, width], 3), decoderBias: tensor([width], 4) }, { hook_name: 'blocks.1.hook_resid_post', weight_processing: { centerWritingWeights: true } });
  await writeDirectoryAtomic(join(saes, 'a_centred'), await saeFiles(centred));
  centred.dispose();
  const [text, out] = [join(folder, 'book.txt'), join(folder, 'results')];
  writeFileSync(text, 'Mary and John went to the park. John gave a book to Mary. '.repeat(12));
  const args = ['eval', 'sae', '--model', mini, '--text', text, '--context', '16', '--tokens-count', '90'];
  const all = await cli([...args, '--sae', saes, '--sae', join(saes, 'b_head'), '--out', out]);
  assert.is(all.code, 0, all.stderr);
  assert.match(all.stdout, /^dictionary +l0 +explained_variance +ce_loss_score +kl_div_score +loss_recovered +mse +dead +tokens\na_centred .* 75\nb_head .* 75\nb_head_2 .* 75\n$/);
  const names = ['a_centred', 'b_head', 'b_head_2'];
  assert.equal(readdirSync(out).sort(), names.map((name) => `${name}_eval_results.json`).sort());
  const [first, head, twice] = names.map((name) => saeBenchSchema.parse(JSON.parse(readFileSync(join(out, `${name}_eval_results.json`), 'utf8'))));
  assert.equal([head!.eval_result_metrics, head!.eval_result_details], [twice!.eval_result_metrics, twice!.eval_result_details]);
  assert.equal([first!.sae_lens_id, first!.sae_lens_release_id, head!.eval_config.prompts, head!.eval_config.dataset_part], ['centred', 'saes', 5, 'all']);
  const alone = await cli([...args, '--sae', join(saes, 'b_head'), '--json']);
  assert.equal(JSON.parse(alone.stdout).eval_result_metrics, head!.eval_result_metrics);
  assert.equal(JSON.parse(alone.stdout).eval_result_unstructured, head!.eval_result_unstructured);
  const refused = await cli([...args, '--sae', saes, '--out', saes]);
  assert.is(refused.code, 2);
  assert.match(refused.stderr, /^error: --out .*saes: holds a_centred; results of several SAEs replace a directory whole/);
});

test('what cannot be used is refused in one line', async ({ folder }) => {
  const [sae, prompts, out] = [join(folder, 'sae'), join(folder, 'prompts.json'), join(folder, 'result.json')];
  await writeSae(sae);
  writeFileSync(prompts, JSON.stringify([[5, 'x']]));
  const refuses = async (args: readonly string[], pattern: RegExp) => {
    const { code, stderr } = await cli(['eval', 'sae', '--model', mini, ...(args.includes('--sae') ? [] : ['--sae', sae]), '--out', out, ...args]);
    assert.is(code, 2, stderr);
    assert.match(stderr, pattern);
    assert.is(stderr.trim().split('\n').length, 1, stderr);
    assert.not(existsSync(out));
  };
  await refuses([], /either --text <where> or --tokens <file>/);
  await refuses(['--tokens', prompts], /prompts\.json: a list of prompts is needed/);
  writeFileSync(prompts, JSON.stringify([[5, 6]]));
  await refuses(['--tokens', prompts, '--hook', 'blocks.0.hook_resid_post'], /made for hook blocks\.0\.attn\.hook_z/);
  await refuses(['--text', join(folder, 'gone.txt')], /gone\.txt: no such file/);
  const nowhere = join(folder, 'bare');
  await writeSae(nowhere, {});
  const book = join(folder, 'book.txt');
  writeFileSync(book, 'Mary and John went to the park.');
  await refuses(['--sae', nowhere, '--text', book, '--hook', 'blocks.0.hook_resid_post'], /dictionary .*bare: takes activations of width 32, but its site blocks\.0\.hook_resid_post has width 128/);
});

test.run();
