/** `diffract eval sae`: metrics of dictionaries on text, by SAELens' names, and as result files in SAEBench's form. */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { loadSae, readSaeConfig, splitAddress, type Sae, type SaeChoice, type SaeFileConfig, type SaeMetadata } from '../dictionary/index.ts';
import { UsageError } from '../errors.ts';
import { evaluateDictionaries, saebenchResult, type SaeBenchResult } from '../evaluation/index.ts';
import { openSource, type FileSource } from '../files/index.ts';
import { assertWritable, writeDirectoryAtomic, writeFileAtomic } from '../files/node-write.ts';
import { NO_PROCESSING, type Gpt2, type WeightProcessing, type WeightType } from '../model/index.ts';
import { tuningOption, weightsOption } from './device.ts';
import { stoppable } from './evaluation.ts';
import { loadModel, modelOption, openModelSource, processingNamed, readProcessing, revisionOption } from './model.ts';
import { directoriesIn } from './sae-directories.ts';
import { metricsTable, summaryTable } from './sae-metrics-table.ts';
import { MOST_TOKENS, packingFor, readPrompts, SaeText, type Packing, type SaeContent, type SaeTextFlags } from './sae-text.ts';
import { collect, list, note, printJson, progress, wholeNumber } from './terminal.ts';
import { tellBroken, textFiles, textSourceOptions } from './text-source.ts';

declare const DIFFRACT_VERSION: string;

interface Options extends SaeTextFlags {
  model: string; revision?: string; sae: string[]; hook?: string; head?: number; batch?: number; processing?: string[]; out?: string; weights: WeightType; tuning?: string; json?: boolean;
}

const EXAMPLES = `
Text is packed into prompts as the SAE's training packed it, where its cfg.json says how, and only documents that training held out are read if it
was trained on the same text (--part says otherwise). Special tokens are neither scored nor replaced. SAEs that agree in how text is packed share
the model's passes. A line for each SAE has: l0; explained_variance; ce_loss_score and kl_div_score, how much of the model's predictions stays
(1: all, 0: no more than with zeros in place of the activations); loss_recovered, the same of the loss, with the activations' mean in place of
zeros; mse; dead, the share of features that were never active.

Examples:
  diffract eval sae --model gpt2 --sae hub:jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre --text book.txt --prompts 64
  diffract eval sae --model models/ioi-mini --sae saes --text corpus/ --tokens-count 80000 --out results
  diffract eval sae --model models/ioi-mini --sae saes/z_L0H3_end --tokens prompts.json --out result.json`;

const SAE_HELP = 'an SAE: a directory, file or URL of it, or hub:owner/name/path; as SAELens, dictionary_learning, sparsify, OpenAI and others save them; '
  + 'or a folder of several such as train writes; repeatable';

export function registerSae(command: Command): void {
  textSourceOptions(command.command('sae'), { context: "that of the training, else 128; at most the model's context", heldOut: 'that of the training' })
    .description('Metrics of SAEs on any text: reconstruction, sparsity, what splicing them in does to the predictions.')
    .addOption(modelOption())
    .addOption(revisionOption())
    .requiredOption('--sae <where>', SAE_HELP, collect)
    .option('--tokens <file>', 'instead of text: a JSON list of prompts, each a list of token ids')
    .addOption(new Option('--part <which>', 'which documents of the text are read (default: held-out if the SAE was trained on the same text, else all)').choices(['train', 'held-out', 'all']))
    .option('--seed <n>', 'which documents are held out (default: as in training)', wholeNumber(0))
    .option('--hook <name>', 'where the SAE reads, such as blocks.0.hook_resid_post (default: what its cfg.json says)')
    .option('--head <n>', "one head's part of hook_q, hook_k, hook_v or hook_z (default: what its cfg.json says)", wholeNumber(0))
    .option('--prompts <n>', 'at most so many prompts', wholeNumber(1))
    .option('--tokens-count <n>', `at most so many tokens of prompts (default: ${MOST_TOKENS} of text, unless --prompts is given)`, wholeNumber(1))
    .option('--batch <n>', 'prompts in one run (default: what fits a modest amount of memory)', wholeNumber(1))
    .option('--out <where>', "write all metrics, those of every feature included, in SAEBench's form: a file, or for several SAEs a directory with a file each")
    .option('--processing <names>', `weight processing of the model, of ${Object.keys(NO_PROCESSING).join(', ')}, or none (default: what the SAE was trained with, where it says so)`, list)
    .addOption(weightsOption())
    .addOption(tuningOption())
    .option('--json', 'print what --out writes instead of the table: one result, or a list of several')
    .addHelpText('after', EXAMPLES)
    .action((options: Options) => stoppable((signal) => run(options, signal)));
}

/** A dictionary that was named, before it is loaded. */
interface Named {
  /** Unlike that of all others. */
  name: string;
  release: string;
  path: string;
  source: FileSource;
  choice: SaeChoice;
  config: SaeFileConfig;
}

/** Bytes of weights of dictionaries that are measured at once. */
const WEIGHT_BYTES = 2 ** 30;

async function run(options: Options, signal: AbortSignal): Promise<void> {
  if ((options.text === undefined) === (options.tokens === undefined)) throw new UsageError('give either --text <where> or --tokens <file>');
  const all = await namedBy(options);
  const write = options.out === undefined ? null : await writerFor(options.out, all);
  const content: SaeContent = options.text === undefined ? await readPrompts(options.tokens!) : { files: await textFiles(options.text) };
  const results = new Map<Named, SaeBenchResult>();
  const broken = new Map<string, string>();
  const source = await openModelSource(options, signal);
  for (const alike of groupsOf(all, (one) => JSON.stringify(processingFor(options, one.config.metadata)))) {
    const processing = processingFor(options, alike[0]!.config.metadata);
    if (!options.processing && Object.keys(processing).length > 0) note(`the model's weights are processed as the SAE was trained with: ${Object.keys(processing).join(', ')}`);
    const model = await loadModel(options, { source, signal, processing });
    try {
      for (const same of groupsOf(alike, (one) => JSON.stringify(packingFor(model, options, one.config.metadata, content)))) {
        const packing = packingFor(model, options, same[0]!.config.metadata, content);
        for (const some of portions(same)) await measure(model, some, { options, content, packing, signal, results, broken, told: some[0] !== same[0] });
      }
    } finally {
      model.dispose();
    }
  }
  tellBroken(broken, 'files' in content ? content.files.length : 0);
  const ordered = all.map((one) => results.get(one)!);
  await write?.(ordered);
  if (options.json) printJson(ordered.length === 1 ? ordered[0] : ordered);
  else process.stdout.write(ordered.length === 1 ? metricsTable(ordered[0]!) : summaryTable(all.map(({ name }, i) => ({ name, result: ordered[i]! }))));
}

interface Work { options: Options; content: SaeContent; packing: Packing; signal: AbortSignal; results: Map<Named, SaeBenchResult>; broken: Map<string, string>; told: boolean }

/** Measures dictionaries that share their tokens. */
async function measure(model: Gpt2, some: readonly Named[], { options, content, packing, signal, results, broken, told }: Work): Promise<void> {
  const text = new SaeText(model, packing, content, options);
  const places = some.map(({ path, config }) => placeOf(options, path, config.metadata));
  const saes: Sae[] = [];
  const bar = progress('measuring');
  try {
    for (const [i, { source, choice }] of some.entries()) {
      const { hook, head } = places[i]!;
      const sae = await loadSae(model.gpu, source, {
        width: model.hooks.columns(model.hooks.get(hook), head).width, hookName: hook, headIndex: head, modelHash: model.hash, contextSize: packing.context, weightProcessing: { ...model.processing },
        ...(packing.bos === undefined ? {} : { prependBos: packing.bos }),
      }, choice);
      saes.push(sae);
      for (const warning of sae.warnings) note(`${sae.name}: ${warning}`);
    }
    if (packing.text?.part === 'held-out' && !options.part && !told) {
      note(`of the text only the ${Number((packing.text.flags.heldOut! * 100).toPrecision(3))}% are read that training held out; --part all reads everything`);
    }
    const metrics = await evaluateDictionaries(model, saes.map((dictionary, i) => ({ dictionary, ...places[i]! })), {
      tokens: text.stream, batch: options.batch, excludeTokens: packing.exclude, meanAblation: true, signal,
      // How much there is of a stream the pass before the measuring one finds out.
      onProgress: (done, total) => bar.update(done, total ?? 2 * (Number.isFinite(text.limit) ? text.limit : done)),
    });
    bar.stop();
    for (const [i, one] of some.entries()) {
      const [sae, { layout, dIn, features, metadata }] = [saes[i]!, one.config];
      results.set(one, saebenchResult({
        metrics: metrics[i]!, id: sae.name, release: one.release, version: DIFFRACT_VERSION,
        cfg: { architecture: sae.variant, layout, d_in: dIn, d_sae: features, ...metadata },
        config: {
          model_name: model.name, llm_dtype: model.weightType === 'f16' ? 'float16 weights, float32 arithmetic' : 'float32', batch_size_prompts: options.batch ?? null,
          dataset: datasetOf(options), ...(packing.text ? { dataset_part: packing.text.part } : {}), context_size: packing.context, prompts: text.prompts,
          exclude_special_tokens_from_reconstruction: packing.exclude.length > 0, excluded_tokens: packing.exclude,
        },
      }));
    }
  } finally {
    bar.stop();
    for (const sae of saes) sae.dispose();
    for (const [file, reason] of text.source?.broken ?? []) broken.set(file, reason);
  }
}

/** What `--sae` names, in its order, with what the files say of it. Names are those of directories, told apart by numbers. */
async function namedBy({ sae, hook }: Options): Promise<Named[]> {
  const found: Named[] = [];
  const taken = new Map<string, number>();
  for (const where of sae) {
    // What is no folder of SAELens' layout may be one of another; if not, reading it says so.
    for (const path of (await directoriesIn(where).catch(() => [where])).sort(byName)) {
      const { directory, file } = splitAddress(path);
      const source = openSource(directory);
      const choice = { ...(file === undefined ? {} : { file }), ...(hook === undefined ? {} : { hook }) };
      const plain = basename(path).replace(/\.(pt|safetensors)$/, '');
      const before = taken.get(plain) ?? 0;
      taken.set(plain, before + 1);
      found.push({ name: before === 0 ? plain : `${plain}_${before + 1}`, release: basename(where), path, source, choice, config: await readSaeConfig(source, choice) });
    }
  }
  return found;
}

/** k_4 before k_16. */
const byName = new Intl.Collator('en', { numeric: true }).compare;

const RESULT = '_eval_results.json';

/**
 * What writes the results: of one dictionary a file of the name, unless that is a directory; of several a directory of such files, whole or not at
 * all. Throws UsageError for a directory that holds anything else, which would be lost, and FileError for a place where nothing can be written.
 */
async function writerFor(out: string, all: readonly Named[]): Promise<(results: readonly SaeBenchResult[]) => Promise<void>> {
  const asText = (result: SaeBenchResult): string => `${JSON.stringify(result, null, 1)}\n`;
  const there = await stat(out).catch(() => null);
  if (all.length === 1) {
    const path = there?.isDirectory() ? join(out, `${all[0]!.name}${RESULT}`) : out;
    await assertWritable(dirname(resolve(path)));
    return ([result]) => writeFileAtomic(path, asText(result!));
  }
  if (there && !there.isDirectory()) throw new UsageError(`--out ${out}: is a file; results of ${all.length} SAEs need a directory`);
  const other = there ? (await readdir(out)).find((name) => !name.endsWith(RESULT)) : undefined;
  if (other !== undefined) throw new UsageError(`--out ${out}: holds ${other}; results of several SAEs replace a directory whole: give a new or empty one`);
  await assertWritable(dirname(resolve(out)));
  return (results) => writeDirectoryAtomic(out, Object.fromEntries(results.map((result, i) => [`${all[i]!.name}${RESULT}`, asText(result)])));
}

/** Members with the same key together, in their order. */
function groupsOf<T>(all: readonly T[], keyOf: (one: T) => string): T[][] {
  const groups = new Map<string, T[]>();
  for (const one of all) {
    const key = keyOf(one);
    groups.set(key, [...groups.get(key) ?? [], one]);
  }
  return [...groups.values()];
}

/** Portions whose weights are not too many at once. */
function portions(all: readonly Named[]): Named[][] {
  const found: Named[][] = [];
  let bytes = Infinity;
  for (const one of all) {
    const own = 8 * one.config.dIn * one.config.features;
    if (bytes + own > WEIGHT_BYTES) {
      found.push([]);
      bytes = 0;
    }
    found.at(-1)!.push(one);
    bytes += own;
  }
  return found;
}

/** The processing asked for, or the one that the dictionary's own description names. */
function processingFor({ processing }: Options, metadata: Readonly<SaeMetadata>): Partial<WeightProcessing> {
  if (processing) return readProcessing(processing.filter((name) => name !== 'none'));
  return readProcessing(processingNamed(metadata));
}

interface Place { hook: string; head?: number }

/** Where the dictionary reads: as given, or as its own cfg.json says. */
function placeOf({ hook, head }: Options, path: string, metadata: Readonly<SaeMetadata>): Place {
  const name = hook ?? metadata.hook_name;
  if (typeof name !== 'string') throw new UsageError(`--sae ${path}: its cfg.json does not name a hook; give it with --hook`);
  const own = hook === undefined || hook === metadata.hook_name ? metadata.hook_head_index : undefined;
  const at = head ?? (typeof own === 'number' ? own : undefined);
  return { hook: name, ...(at === undefined ? {} : { head: at }) };
}

/** Names of the files or folders; of what is not on this machine all of it. */
function datasetOf({ text, tokens }: Options): string {
  return (text ?? [tokens!]).map((where) => (/^(hub:|https?:)/i.test(where) ? where : basename(where))).join(', ');
}
