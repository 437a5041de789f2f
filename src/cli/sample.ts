/** `diffract sample`: text that the model writes itself, as JSON lines: something to train on where its own training text is not to be had. */
import { dirname } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from '../errors.ts';
import { assertWritable, writeFileAtomic } from '../files/node-write.ts';
import type { WeightType } from '../model/index.ts';
import { tuningOption, weightsOption } from './device.ts';
import { stoppable } from './evaluation.ts';
import { loadModel, modelOption, revisionOption } from './model.ts';
import { list, note, progress, realNumber, wholeNumber } from './terminal.ts';

interface Options { model: string; revision?: string; documents: number; begin?: string[]; bos: boolean; length?: number; temperature: number; seed: number; batch: number; out: string; weights: WeightType; tuning?: string }

export function register(program: Command): void {
  program.command('sample')
    .description('Text that the model writes itself, a document a line.')
    .addOption(modelOption())
    .addOption(revisionOption())
    .requiredOption('--out <file>', 'JSON lines with a field "text", such as train --text reads')
    .option('--documents <n>', 'documents to write', wholeNumber(1), 1000)
    .option('--begin <texts>', 'beginnings of the documents, taken in turn (default: whatever the model begins with)', list)
    .option('--no-bos', 'do not begin with the beginning-of-sequence token, for models that were trained without one; needs --begin')
    .option('--length <n>', "most tokens of a document (default: what the model's context holds); one ends before at the beginning-of-sequence token", wholeNumber(1))
    .option('--temperature <t>', 'temperature of the draws', realNumber(0), 1)
    .option('--seed <n>', 'seed of the draws', wholeNumber(0), 0)
    .option('--batch <n>', 'documents that are written side by side', wholeNumber(1), 64)
    .addOption(weightsOption())
    .addOption(tuningOption())
    .addHelpText('after', '\nExample:\n  diffract sample --model models/ioi-mini --documents 4000 --begin Mary,John,Anna,Paul --no-bos --length 24 --out text.jsonl')
    .action((options: Options) => stoppable((signal) => sample(options, signal)));
}

async function sample(options: Options, signal: AbortSignal): Promise<void> {
  const { documents, temperature, seed, batch, out } = options;
  if (temperature === 0) throw new UsageError('--temperature 0 would write the same document again and again');
  await assertWritable(dirname(out));
  const model = await loadModel(options, { signal });
  const bar = progress('writing text');
  try {
    const { tokenizer, config } = model;
    if (!tokenizer) throw new UsageError(`${options.model} has no tokenizer.json, which text needs`);
    const bos = tokenizer.bos ?? config.bos;
    const front = options.bos && bos !== null ? [bos] : [];
    if (front.length === 0 && !options.begin) throw new UsageError('without a beginning-of-sequence token --begin must say what documents begin with');
    const most = config.context - front.length;
    const { length = most } = options;
    if (length > most) throw new UsageError(`--length ${length}: the model has room for ${most} tokens`);
    const beginnings = (options.begin ?? ['']).map((text) => tokenizer.encode(text));
    const longest = beginnings.find((ids) => ids.length >= length);
    if (longest) throw new UsageError(`--begin: "${tokenizer.decode(longest)}" fills a document of ${length} tokens`);
    const lines: string[] = [];
    let [done, tokens] = [0, 0];
    // Documents that begin alike long are written side by side.
    for (const size of new Set(beginnings.map((ids) => ids.length))) {
      const own = Array.from({ length: documents }, (_, i) => i).filter((i) => beginnings[i % beginnings.length]!.length === size);
      for (let at = 0; at < own.length; at += batch) {
        signal.throwIfAborted();
        const some = own.slice(at, at + batch);
        const prompts = some.map((i) => [...front, ...beginnings[i % beginnings.length]!]);
        const made = await model.sample(prompts, { count: length - size, temperature, seed: seed * documents + some[0]!, ...(bos === null ? {} : { stop: bos }) });
        made.forEach((ids, i) => {
          const document = [...prompts[i]!.slice(front.length), ...ids];
          lines[some[i]!] = `${JSON.stringify({ text: tokenizer.decode(document) })}\n`;
          tokens += document.length;
        });
        done += some.length;
        bar.update(done, documents);
      }
    }
    await writeFileAtomic(out, lines.join(''));
    bar.stop();
    note(`${documents} documents of ${tokens} tokens: ${out}`);
  } finally {
    bar.stop();
    model.dispose();
  }
}
