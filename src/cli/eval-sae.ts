/** `diffract eval sae`: metrics of dictionaries on text, by SAELens' names, and as result files in SAEBench's form. */
import { mkdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { InvalidArgumentError, type Command } from 'commander';
import { loadSae, readSaeConfig, splitAddress, type SaeMetadata } from '../dictionary/index.ts';
import { FileError, UsageError } from '../errors.ts';
import { evaluateMetrics, saebenchResult, type SaeBenchResult } from '../evaluation/index.ts';
import { openSource, type TextFile } from '../files/index.ts';
import { writeFileAtomic } from '../files/node-write.ts';
import { NO_PROCESSING, type Gpt2, type WeightProcessing, type WeightType } from '../model/index.ts';
import { packDefaults } from '../training/index.ts';
import { tuningOption, weightsOption } from './device.ts';
import { stoppable } from './evaluation.ts';
import { loadModel, modelOption, readProcessing, revisionOption } from './model.ts';
import { directoriesIn } from './sae-directories.ts';
import { collect, list, note, printJson, progress, wholeNumber } from './terminal.ts';
import { textFiles, TextSource, textSourceOptions, type TextPart, type TextSourceFlags } from './text-source.ts';

declare const DIFFRACT_VERSION: string;

interface Options extends TextSourceFlags {
  model: string; revision?: string; sae: string[]; tokens?: string; part?: TextPart; hook?: string; head?: number; prompts?: number; batch?: number;
  processing?: string[]; out?: string; weights: WeightType; tuning?: string; json?: boolean;
}

/** Tokens that are measured unless told otherwise: those of the paper's held-out set (A.11). */
const TOKENS = 81_920;

const EXAMPLES = `
Text is packed into rows of tokens as training packed it, where the dictionary says how; tokens that training left out are neither scored nor
replaced. On the very text that a dictionary was trained on only the documents count that training never saw (--part says otherwise).

Examples:
  diffract eval sae --model gpt2 --sae hub:jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre --text book.txt --prompts 64
  diffract eval sae --model models/ioi-mini --sae saes --text text.jsonl --out results`;

export function registerSae(command: Command): void {
  textSourceOptions(command.command('sae')
    .description('Metrics of SAEs on any text: reconstruction, sparsity, what splicing them in does to the predictions.')
    .addOption(modelOption())
    .addOption(revisionOption())
    .requiredOption('--sae <where>', 'an SAE: a directory, file or URL of it, or hub:owner/name/path, as SAELens, dictionary_learning, sparsify, OpenAI and others save them; or a folder of them such as train writes; repeatable', collect))
    .option('--part <which>', 'documents that are measured on: held-out, train or all (default: held-out on the text that an SAE was trained on, else all)', partOf)
    .option('--tokens <file>', 'instead of text: a JSON list of prompts, each a list of token ids')
    .option('--hook <name>', 'where the SAE reads, such as blocks.0.hook_resid_post (default: what its cfg.json says)')
    .option('--head <n>', "one head's part of hook_q, hook_k, hook_v or hook_z (default: what its cfg.json says)", wholeNumber(0))
    .option('--prompts <n>', `at most so many prompts (default: of text, those of ${TOKENS} tokens)`, wholeNumber(1))
    .option('--batch <n>', 'prompts in one run (default: what fits a modest amount of memory)', wholeNumber(1))
    .option('--out <path>', "write all metrics, those of every feature included, in SAEBench's form: of one SAE a file, of several a folder with a file of each")
    .option('--processing <names>', `weight processing of the model, of ${Object.keys(NO_PROCESSING).join(', ')}, or none (default: what the SAEs were trained with, where they say so)`, list)
    .addOption(weightsOption())
    .addOption(tuningOption())
    .option('--json', 'print what --out writes instead of the table')
    .addHelpText('after', EXAMPLES)
    .action((options: Options) => stoppable((signal) => run(options, signal), 'what was measured before is written'));
}

/** For commander. */
function partOf(text: string): TextPart {
  if (text !== 'held-out' && text !== 'train' && text !== 'all') throw new InvalidArgumentError('held-out, train or all is needed.');
  return text;
}

/** A dictionary that is to be measured, as its files describe it. */
interface Described { path: string; config: Awaited<ReturnType<typeof readSaeConfig>> }

async function run(options: Options, signal: AbortSignal): Promise<void> {
  const { text, tokens: listed } = options;
  if ((text === undefined) === (listed === undefined)) throw new UsageError('give either --text <where> or --tokens <file>');
  const paths = (await Promise.all(options.sae.map(directoriesIn))).flat();
  const saes: Described[] = [];
  for (const path of paths) saes.push({ path, config: await readSaeConfig(openSource(splitAddress(path).directory), choiceOf(path, options)) });
  const processing = processingFor(options, saes);
  const content = text === undefined ? await readPrompts(listed!) : { files: await textFiles(text) };
  const model = await loadModel(options, { signal, processing });
  const results: SaeBenchResult[] = [];
  try {
    for (const sae of saes) {
      const result = await measure(model, sae, content, options, signal, saes.length > 1 ? `measuring ${basename(sae.path)}` : 'measuring');
      results.push(result);
      if (options.out !== undefined) await write(result, sae.path, saes.length > 1 ? join(options.out, `${basename(sae.path)}_eval_results.json`) : options.out);
    }
  } finally {
    model.dispose();
  }
  if (options.json) printJson(results.length === 1 ? results[0] : results);
  else process.stdout.write(results.length === 1 ? table(results[0]!) : comparison(results));
}

async function write(result: SaeBenchResult, path: string, out: string): Promise<void> {
  try {
    await mkdir(dirname(out), { recursive: true });
  } catch (cause) {
    throw new FileError(`--out: cannot make the folder for ${basename(path)}: ${(cause as Error).message}`, { cause });
  }
  await writeFileAtomic(out, `${JSON.stringify(result, null, 1)}\n`);
}

function choiceOf(path: string, { hook }: Options): { file?: string; hook?: string } {
  const { file } = splitAddress(path);
  return { ...(file === undefined ? {} : { file }), ...(hook === undefined ? {} : { hook }) };
}

async function measure(model: Gpt2, { path, config: { metadata, dIn, features, layout } }: Described, content: Content, options: Options, signal: AbortSignal, title: string): Promise<SaeBenchResult> {
  const place = placeOf(options, metadata, path);
  const { prompts, bos, excludeTokens } = await promptsOf(model, content, options, metadata);
  const context = prompts.reduce((most, prompt) => Math.max(most, prompt.length), 0);
  const sae = await loadSae(model.gpu, openSource(splitAddress(path).directory), {
    width: model.hooks.columns(model.hooks.get(place.hook), place.head).width, hookName: place.hook, headIndex: place.head, modelHash: model.hash, contextSize: context, weightProcessing: { ...model.processing },
    ...(bos === null ? {} : { prependBos: bos }),
  }, choiceOf(path, options));
  const bar = progress(title);
  try {
    for (const warning of sae.warnings) note(`${sae.name}: ${warning}`);
    const metrics = await evaluateMetrics(model, sae, {
      hook: place.hook, ...(place.head === undefined ? {} : { head: place.head }), tokens: prompts, batch: options.batch, excludeTokens, meanAblation: true, signal, onProgress: (done, total) => bar.update(done, total),
    });
    return saebenchResult({
      metrics, id: sae.name, release: basename(path), version: DIFFRACT_VERSION,
      cfg: { architecture: sae.variant, layout, d_in: dIn, d_sae: features, ...metadata },
      config: {
        model_name: model.name, llm_dtype: model.weightType === 'f16' ? 'float16 weights, float32 arithmetic' : 'float32', batch_size_prompts: options.batch ?? null,
        dataset: options.text?.map((where) => basename(where)).join(',') ?? basename(options.tokens!), context_size: context, prompts: prompts.length,
        exclude_special_tokens_from_reconstruction: excludeTokens.length > 0, excluded_tokens: [...excludeTokens],
      },
    });
  } finally {
    bar.stop();
    sae.dispose();
  }
}

/** The processing asked for, or the one that the dictionaries' own descriptions name. Throws UsageError where these do not agree. */
function processingFor({ processing }: Options, saes: readonly Described[]): Partial<WeightProcessing> {
  if (processing) return readProcessing(processing.filter((name) => name !== 'none'));
  const wanted = saes.map(({ config: { metadata } }) => Object.keys(NO_PROCESSING).filter((kind) => (metadata.weight_processing as Record<string, unknown> | undefined)?.[kind] === true));
  const other = wanted.findIndex((names) => names.join() !== wanted[0]!.join());
  if (other > 0) {
    const described = (i: number): string => `${basename(saes[i]!.path)} was trained with ${wanted[i]!.join(', ') || 'unprocessed weights'}`;
    throw new UsageError(`${described(0)}, ${described(other)}: measure them one by one, or say which --processing to use`);
  }
  if (wanted[0]!.length > 0) note(`the model's weights are processed as the SAE was trained with: ${wanted[0]!.join(', ')}`);
  return readProcessing(wanted[0]!);
}

interface Place { hook: string; head?: number }

/** Where the dictionary reads: as given, or as its own cfg.json says. */
function placeOf({ hook, head }: Options, metadata: Readonly<SaeMetadata>, path: string): Place {
  const name = hook ?? metadata.hook_name;
  if (typeof name !== 'string') throw new UsageError(`--sae ${path}: its cfg.json does not name a hook; give it with --hook`);
  const own = hook === undefined || hook === metadata.hook_name ? metadata.hook_head_index : undefined;
  const at = head ?? (typeof own === 'number' ? own : undefined);
  return { hook: name, ...(at === undefined ? {} : { head: at }) };
}

type Content = { files: TextFile[] } | { prompts: number[][] };

/** Rows of tokens to measure on, whether they begin with the beginning-of-sequence token (null: unknown), and what is left out of them. */
interface Measured { prompts: number[][]; bos: boolean | null; excludeTokens: readonly number[] }

/** As training packed them, where the dictionary says how. Throws UsageError for text that does not fill a row. */
async function promptsOf(model: Gpt2, content: Content, options: Options, metadata: Readonly<SaeMetadata>): Promise<Measured> {
  const excluded = metadata['exclude_special_tokens'];
  const own = Array.isArray(excluded) && excluded.every((id) => Number.isInteger(id)) ? (excluded as number[]) : null;
  if ('prompts' in content) return { prompts: content.prompts.slice(0, options.prompts), bos: null, excludeTokens: own ?? (model.tokenizer?.bos == null ? [] : [model.tokenizer.bos]) };
  const number = (name: string): number | undefined => (typeof metadata[name] === 'number' ? (metadata[name] as number) : undefined);
  const context = options.context ?? Math.min(number('context_size') ?? packDefaults.context, model.config.context);
  const source = new TextSource(model, content.files, {
    ...options, context, bos: options.bos && metadata.prepend_bos !== false, concat: options.concat && metadata['disable_concat_sequences'] !== true, heldOut: options.heldOut ?? number('held_out'),
  }, number('held_out_seed') ?? 0);
  const sameText = JSON.stringify(metadata['dataset_path']) === JSON.stringify(options.text) && (number('held_out') ?? 0) > 0;
  const part = options.part ?? (sameText ? 'held-out' : 'all');
  const rows = source.open(part);
  const prompts: number[][] = [];
  for (const most = options.prompts ?? Math.ceil(TOKENS / context); prompts.length < most;) {
    const row = await rows.read();
    if (!row) break;
    prompts.push([...row]);
  }
  source.tell();
  if (prompts.length === 0) throw new UsageError(`--text ${options.text!.join(',')}: ${part === 'all' ? 'it' : `its ${part} part`} does not fill one row of ${context} tokens: give more, or a shorter --context`);
  return { prompts, bos: source.pack.bos !== null, excludeTokens: own ?? source.special };
}

async function readPrompts(path: string): Promise<Content> {
  const json = await openSource(dirname(path)).json(basename(path));
  const fits = Array.isArray(json) && json.length > 0 && json.every((prompt) => Array.isArray(prompt) && prompt.length > 0 && prompt.every((id) => Number.isInteger(id)));
  if (!fits) throw new FileError(`${path}: a list of prompts is needed, each a list of token ids, such as [[1, 2, 3], [4, 5]]`);
  return { prompts: json as number[][] };
}

/** One line per metric, by group. */
function table({ eval_result_metrics: groups, eval_result_unstructured: { dictionary_learning: more, mean_ablation: mean, notes } }: SaeBenchResult): string {
  const lines = Object.entries({ ...groups, dictionary_learning: more, ...(mean ? { mean_ablation: mean } : {}) }).flatMap(([group, metrics]) => [
    group, ...Object.entries(metrics).map(([name, value]) => `  ${name.padEnd(38)} ${value === null ? '-' : Number.isInteger(value) ? value : value.toPrecision(5)}`),
  ]);
  return `${[...lines, ...notes.map((note) => `- ${note}`)].join('\n')}\n`;
}

/** One line per dictionary. */
function comparison(results: readonly SaeBenchResult[]): string {
  const rows = results.map(({ sae_lens_release_id: name, eval_result_metrics: groups, eval_result_unstructured: { dictionary_learning: more, mean_ablation: mean } }) => [
    name, groups.sparsity.l0, groups.reconstruction_quality.explained_variance, groups.reconstruction_quality.mse, groups.model_performance_preservation.ce_loss_score, mean?.ce_loss_score ?? null,
    groups.model_behavior_preservation.kl_div_score, more.frac_alive,
  ] as const);
  const width = Math.max(10, ...rows.map(([name]) => name.length));
  const cell = (value: number | null): string => (value === null ? '-' : value.toPrecision(4)).padStart(18);
  const head = ['l0', 'explained_variance', 'mse', 'ce_loss_score', 'against the mean', 'kl_div_score', 'frac_alive'];
  return `${'dictionary'.padEnd(width)}${head.map((name) => name.padStart(19)).join('')}\n${rows.map(([name, ...values]) => `${name.padEnd(width)} ${values.map(cell).join(' ')}`).join('\n')}\n`;
}
