/** `diffract activations`: a model's activations on text, written once for many runs of training, in files that other tools read too. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { FileError, UsageError } from '../errors.ts';
import { assertWritable, writeFileAtomic } from '../files/node-write.ts';
import type { WeightType } from '../model/index.ts';
import { modelMetadata, promptsPerRun } from '../task/index.ts';
import { TextActivations, writeActivations, type CacheFolder, type CachePlan } from '../training/index.ts';
import { tuningOption, weightsOption } from './device.ts';
import { stoppable } from './evaluation.ts';
import { loadModel, modelOption, revisionOption } from './model.ts';
import { list, note, progress, wholeNumber } from './terminal.ts';
import { textFiles, TextSource, textSourceOptions, type TextSourceFlags } from './text-source.ts';
import { sitesOf } from './train-text.ts';

interface Options extends TextSourceFlags { model: string; revision?: string; site: string[]; tokens: number; shard: number; type: 'f32' | 'f16'; seed: number; out: string; weights: WeightType; tuning?: string }

export function register(program: Command): void {
  textSourceOptions(program.command('activations')
    .description("Write a model's activations on text, for many runs of training: safetensors in shards, and a manifest that says what they are.")
    .addOption(modelOption())
    .addOption(revisionOption())
    .requiredOption('--site <hooks>', 'hooks, e.g. blocks.2.hook_resid_post, or one head of one as blocks.0.attn.hook_z:3', list)
    .requiredOption('--out <dir>', 'the folder; one that was begun is gone on with'))
    .option('--tokens <n>', 'tokens whose activations are written', wholeNumber(1), 1_000_000)
    .option('--shard <n>', 'tokens of a file', wholeNumber(1), 65_536)
    .addOption(new Option('--type <type>', 'f16 takes half the room').choices(['f32', 'f16']).default('f32'))
    .option('--seed <n>', 'of the documents that are held out and of the order of shuffled files', wholeNumber(0), 0)
    .addOption(weightsOption())
    .addOption(tuningOption())
    .addHelpText('after', `
Examples:
  diffract activations --model gpt2 --text shards/ --site blocks.8.hook_resid_pre --tokens 20000000 --type f16 --out acts8
  diffract train --activations acts8 --site blocks.8.hook_resid_pre --variants topk --k 16,32,64 --d-sae 24576 --tokens 100000000 --out res8`)
    .action((options: Options) => stoppable((signal) => run(options, signal), 'what was written is whole; the same command goes on'));
}

async function run(options: Options, signal: AbortSignal): Promise<void> {
  const { tokens, out, type } = options;
  if (!options.text) throw new UsageError('--text is needed: what the model is to read');
  const sites = sitesOf(options.site);
  const files = await textFiles(options.text);
  await assertWritable(out);
  const model = await loadModel(options, { signal });
  const bar = progress('writing activations');
  try {
    const text = new TextSource(model, files, options, options.seed);
    const stream = new TextActivations(model, {
      sites, examples: Math.min(options.shard, tokens), special: text.special, batch: promptsPerRun(model, text.pack.context), open: (state, pass) => text.open('train', state, pass), signal,
    });
    const plan: CachePlan = { model: modelMetadata(model) as CachePlan['model'], sites, text: text.metadata(), tokens, dtype: type === 'f16' ? 'F16' : 'F32' };
    const { shards } = await writeActivations(stream, plan, folderAt(out), { signal, onShard: (done, total) => bar.update(done, total) });
    bar.stop();
    note(`${tokens} tokens in ${shards.length} files: ${out}`);
    if (stream.passes > 1) note(`the text was read ${stream.passes} times`);
    text.tell();
  } finally {
    bar.stop();
    model.dispose();
  }
}

function folderAt(out: string): CacheFolder {
  return {
    async read(name) {
      try {
        return new Uint8Array(await readFile(join(out, name)));
      } catch (cause) {
        if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return null;
        throw new FileError(`${join(out, name)}: cannot be read: ${(cause as Error).message}`, { cause });
      }
    },
    write: (name, bytes) => writeFileAtomic(join(out, name), bytes),
  };
}
