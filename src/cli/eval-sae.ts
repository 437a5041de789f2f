/** `diffract eval sae`: metrics of one dictionary on text, by SAELens' names, and as a result file in SAEBench's form. */
import { basename, dirname } from 'node:path';
import type { Command } from 'commander';
import { loadSae, readSaeConfig, splitAddress, type Sae, type SaeMetadata } from '../dictionary/index.ts';
import { FileError, UsageError } from '../errors.ts';
import { evaluateMetrics, packTokens, saebenchResult, type SaeBenchResult } from '../evaluation/index.ts';
import { openSource } from '../files/index.ts';
import { writeFileAtomic } from '../files/node-write.ts';
import { NO_PROCESSING, type Gpt2, type WeightProcessing, type WeightType } from '../model/index.ts';
import { tuningOption, weightsOption } from './device.ts';
import { stoppable } from './evaluation.ts';
import { loadModel, modelOption, readProcessing, revisionOption } from './model.ts';
import { list, note, printJson, progress, wholeNumber } from './terminal.ts';

declare const DIFFRACT_VERSION: string;

interface Options {
  model: string; revision?: string; sae: string; text?: string; tokens?: string; hook?: string; head?: number; context: number; prompts?: number; batch?: number; bos: boolean;
  processing?: string[]; out?: string; weights: WeightType; tuning?: string; json?: boolean;
}

const EXAMPLES = `
Text is cut into prompts of --context tokens, each behind the beginning-of-sequence token where the dictionary says so; that token is neither
scored nor replaced.

Examples:
  diffract eval sae --model gpt2 --sae hub:jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre --text book.txt --prompts 64
  diffract eval sae --model models/ioi-mini --sae saes/z_L0H3_end --tokens prompts.json --out result.json`;

export function registerSae(command: Command): void {
  command.command('sae')
    .description('Metrics of one SAE on any text: reconstruction, sparsity, what splicing it in does to the predictions.')
    .addOption(modelOption())
    .addOption(revisionOption())
    .requiredOption('--sae <where>', 'an SAE: a directory, file or URL of it, or hub:owner/name/path; as SAELens, dictionary_learning, sparsify, OpenAI and others save them')
    .option('--text <file>', 'a text file')
    .option('--tokens <file>', 'instead of text: a JSON list of prompts, each a list of token ids')
    .option('--hook <name>', 'where the SAE reads, such as blocks.0.hook_resid_post (default: what its cfg.json says)')
    .option('--head <n>', "one head's part of hook_q, hook_k, hook_v or hook_z (default: what its cfg.json says)", wholeNumber(0))
    .option('--context <n>', "tokens of a prompt (default: at most the model's context)", wholeNumber(2), 128)
    .option('--prompts <n>', 'at most so many prompts', wholeNumber(1))
    .option('--batch <n>', 'prompts in one run (default: what fits a modest amount of memory)', wholeNumber(1))
    .option('--no-bos', 'do not put the beginning-of-sequence token in front of prompts of text')
    .option('--out <file>', "write all metrics, those of every feature included, in SAEBench's form")
    .option('--processing <names>', `weight processing of the model, of ${Object.keys(NO_PROCESSING).join(', ')}, or none (default: what the SAE was trained with, where it says so)`, list)
    .addOption(weightsOption())
    .addOption(tuningOption())
    .option('--json', 'print what --out writes instead of the table')
    .addHelpText('after', EXAMPLES)
    .action((options: Options) => stoppable((signal) => run(options, signal)));
}

async function run(options: Options, signal: AbortSignal): Promise<void> {
  const { text, tokens: listed } = options;
  if ((text === undefined) === (listed === undefined)) throw new UsageError('give either --text <file> or --tokens <file>');
  const { directory, file } = splitAddress(options.sae);
  const source = openSource(directory);
  const choice = { ...(file === undefined ? {} : { file }), ...(options.hook === undefined ? {} : { hook: options.hook }) };
  const { metadata, dIn, features, layout } = await readSaeConfig(source, choice);
  const processing = processingFor(options, metadata);
  const content = text === undefined ? await readPrompts(listed!) : await readText(text);
  const model = await loadModel(options, { signal, processing });
  let sae: Sae | null = null;
  const bar = progress('measuring');
  try {
    const place = placeOf(options, metadata);
    const prompts = promptsOf(model, content, options, metadata).slice(0, options.prompts);
    const context = prompts.reduce((most, prompt) => Math.max(most, prompt.length), 0);
    sae = await loadSae(model.gpu, source, {
      width: model.hooks.columns(model.hooks.get(place.hook), place.head).width, hookName: place.hook, headIndex: place.head, modelHash: model.hash, contextSize: context, weightProcessing: { ...model.processing },
      ...('text' in content ? { prependBos: options.bos && metadata.prepend_bos !== false } : {}),
    }, choice);
    for (const warning of sae.warnings) note(`${sae.name}: ${warning}`);
    const excludeTokens = model.tokenizer?.bos == null ? [] : [model.tokenizer.bos];
    const metrics = await evaluateMetrics(model, sae, {
      hook: place.hook, ...(place.head === undefined ? {} : { head: place.head }), tokens: prompts, batch: options.batch, excludeTokens, signal, onProgress: (done, total) => bar.update(done, total),
    });
    bar.stop();
    const result = saebenchResult({
      metrics, id: sae.name, release: basename(options.sae), version: DIFFRACT_VERSION,
      cfg: { architecture: sae.variant, layout, d_in: dIn, d_sae: features, ...metadata },
      config: {
        model_name: model.name, llm_dtype: model.weightType === 'f16' ? 'float16 weights, float32 arithmetic' : 'float32', batch_size_prompts: options.batch ?? null,
        dataset: basename((text ?? listed)!), context_size: context, prompts: prompts.length,
        exclude_special_tokens_from_reconstruction: excludeTokens.length > 0, excluded_tokens: excludeTokens,
      },
    });
    if (options.out !== undefined) await writeFileAtomic(options.out, `${JSON.stringify(result, null, 1)}\n`);
    if (options.json) printJson(result);
    else process.stdout.write(table(result));
  } finally {
    bar.stop();
    sae?.dispose();
    model.dispose();
  }
}

/** The processing asked for, or the one that the dictionary's own description names. */
function processingFor({ processing }: Options, { weight_processing: own }: Readonly<SaeMetadata>): Partial<WeightProcessing> {
  if (processing) return readProcessing(processing.filter((name) => name !== 'none'));
  const wanted = Object.keys(NO_PROCESSING).filter((kind) => (own as Record<string, unknown> | undefined)?.[kind] === true);
  if (wanted.length > 0) note(`the model's weights are processed as the SAE was trained with: ${wanted.join(', ')}`);
  return readProcessing(wanted);
}

interface Place { hook: string; head?: number }

/** Where the dictionary reads: as given, or as its own cfg.json says. */
function placeOf({ hook, head, sae }: Options, metadata: Readonly<SaeMetadata>): Place {
  const name = hook ?? metadata.hook_name;
  if (typeof name !== 'string') throw new UsageError(`--sae ${sae}: its cfg.json does not name a hook; give it with --hook`);
  const own = hook === undefined || hook === metadata.hook_name ? metadata.hook_head_index : undefined;
  const at = head ?? (typeof own === 'number' ? own : undefined);
  return { hook: name, ...(at === undefined ? {} : { head: at }) };
}

type Content = { text: string } | { prompts: number[][] };

function promptsOf(model: Gpt2, content: Content, { context, bos: wanted, text }: Options, metadata: Readonly<SaeMetadata>): number[][] {
  if ('prompts' in content) return content.prompts;
  if (!model.tokenizer) throw new UsageError('the model has no tokenizer.json, which text needs; give --tokens');
  const bos = wanted && metadata.prepend_bos !== false ? model.tokenizer.bos : null;
  const prompts = packTokens(model.tokenizer.encode(content.text), Math.min(context, model.config.context), bos);
  if (prompts.length === 0) throw new FileError(`${text}: holds no text`);
  return prompts;
}

async function readText(path: string): Promise<Content> {
  return { text: new TextDecoder().decode(await openSource(dirname(path)).bytes(basename(path))) };
}

async function readPrompts(path: string): Promise<Content> {
  const json = await openSource(dirname(path)).json(basename(path));
  const fits = Array.isArray(json) && json.length > 0 && json.every((prompt) => Array.isArray(prompt) && prompt.length > 0 && prompt.every((id) => Number.isInteger(id)));
  if (!fits) throw new FileError(`${path}: a list of prompts is needed, each a list of token ids, such as [[1, 2, 3], [4, 5]]`);
  return { prompts: json as number[][] };
}

/** One line per metric, by group. */
function table({ eval_result_metrics: groups, eval_result_unstructured: { dictionary_learning: more, notes } }: SaeBenchResult): string {
  const lines = Object.entries({ ...groups, dictionary_learning: more }).flatMap(([group, metrics]) => [
    group, ...Object.entries(metrics).map(([name, value]) => `  ${name.padEnd(38)} ${value === null ? '-' : Number.isInteger(value) ? value : value.toPrecision(5)}`),
  ]);
  return `${[...lines, ...notes.map((note) => `- ${note}`)].join('\n')}\n`;
}
