/** `diffract run`: activations of prompts to a safetensors file, likeliest next tokens, or generated text. */
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Command } from 'commander';
import { FileError, TokenError, UsageError } from '../errors.ts';
import { safetensorsParts, type TensorToWrite } from '../files/index.ts';
import { assertWritable, writeFileAtomic } from '../files/node-write.ts';
import { divergences, type Gpt2, type NextToken, nextTokens, NO_PROCESSING, type WeightType } from '../model/index.ts';
import { tuningOption, weightsOption } from './device.ts';
import { loadModel, modelOption, readProcessing, revisionOption } from './model.ts';
import { showPrompt, showToken, sideBySide } from './next-tokens.ts';
import { codesOf, openSpliced, placeOf, processingOf, readFeatureFlag, readSpliceFlags, spliceOptions, type Spliced } from './run-splice.ts';
import { collect, list, note, printJson, realNumber, wholeNumber } from './terminal.ts';

interface RunFlags {
  model: string;
  revision?: string;
  tokens?: string;
  prompts?: string;
  prompt?: string[];
  prependBos?: boolean;
  sites?: string[];
  out?: string;
  append?: number;
  temperature: number;
  seed: number;
  top: number;
  splice?: string[];
  errorTerm?: boolean;
  feature?: string[];
  processing?: string[];
  weights: WeightType;
  tuning?: string;
  json?: boolean;
}

type Prompts = readonly (readonly number[])[];
type SpliceOptions = ReturnType<typeof spliceOptions>;

export function register(program: Command): void {
  program
    .command('run')
    .description('Run a model on prompts: write activations by hook name, generate text, or print the likeliest next tokens.')
    .addOption(modelOption())
    .addOption(revisionOption())
    .option('--tokens <file>', 'JSON file with an array of arrays of token ids')
    .option('--prompts <file>', 'text file with a prompt a line')
    .option('--prompt <text>', 'a prompt; may be given several times', collect)
    .option('--prepend-bos', 'begin each text with the tokenizer\'s beginning-of-sequence token')
    .option('--sites <names>', 'hook names and globs to write, separated by commas; * is any run of characters', list)
    .option('--out <file>', 'safetensors file for the activations: float32, named by site, [batch, position, …]')
    .option('--append <n>', 'generate so many tokens after each prompt', wholeNumber(1))
    .option('--temperature <t>', 'temperature of the generation; 0 takes the likeliest token', realNumber(0), 0)
    .option('--seed <n>', 'seed of the generation', wholeNumber(0), 0)
    .option('--top <n>', 'how many likely next tokens to print where neither --out nor --append is given', wholeNumber(1), 5)
    .option('--splice <where>', 'an SAE (directory, file, URL or hub address) that takes the place of the activation at its hook; HOOK=WHERE or HOOK:HEAD=WHERE where it does not say which; repeatable', collect)
    .option('--error-term', 'add what the SAEs\' reconstructions miss, so that nothing changes but by --feature')
    .option('--feature <setting>', 'set a feature of the spliced SAE: INDEX=VALUE at every position, INDEX=VALUE@POSITION at one (from 0; -1 is the last); behind HOOK: or HOOK:HEAD: where there are several SAEs; repeatable', collect)
    .option('--processing <names>', `weight processing, separated by commas: ${Object.keys(NO_PROCESSING).join(', ')}; or all (default: none, or what the spliced SAEs were trained with)`, list)
    .addOption(weightsOption())
    .addOption(tuningOption())
    .option('--json', 'print results as JSON')
    .addHelpText('after', `
Examples:
  diffract run --model models/ioi-mini --prompt 'Mary and Adam went to the store. Adam gave a drink to'
  diffract run --model DIR --tokens tokens.json --sites 'blocks.*.hook_resid_post,blocks.1.attn.*,logits' --out acts.safetensors
  diffract run --model DIR --prompts prompts.txt --append 20 --temperature 0.8 --seed 1
  diffract run --model gpt2 --splice hub:jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre --prepend-bos --prompt 'When Mary and John went'
  diffract run --model DIR --splice SAE_DIR --error-term --feature 17=0 --feature 40=6@-1 --prompt TEXT
  diffract run --model DIR --splice SAE_DIR --tokens tokens.json --sites '*.hook_sae_acts_post' --out codes.safetensors

With --splice the likeliest tokens before and after stand side by side, over the strongest features at each prompt's last token. The SAE's own
sites have SAELens' names behind its hook's (of one head's SAE behind HOOK.HEAD): hook_sae_input, hook_sae_acts_pre, hook_sae_acts_post,
hook_sae_recons, hook_sae_error and hook_sae_output.`)
    .action((flags: RunFlags) => run(flags));
}

async function run(flags: RunFlags): Promise<void> {
  if (Boolean(flags.sites) !== Boolean(flags.out)) throw new UsageError('--sites and --out go together: what to write, and where');
  const given = [flags.tokens, flags.prompts, flags.prompt].filter((source) => source !== undefined).length;
  if (given !== 1) throw new UsageError('give the prompts in exactly one way: --tokens, --prompts or --prompt');
  const ids = flags.tokens === undefined ? null : await readTokens(flags.tokens);
  const texts = flags.prompts === undefined ? flags.prompt ?? null : await readPrompts(flags.prompts);
  if (ids && flags.prependBos) throw new UsageError('--prepend-bos is for texts; token ids are used as they are');
  const { splice: named, feature: set = [] } = flags;
  if (!named && (flags.errorTerm || set.length > 0)) throw new UsageError(`--${flags.errorTerm ? 'error-term' : 'feature'} is for a dictionary that is spliced in: give --splice`);
  if (named && flags.append !== undefined) throw new UsageError('--append generates with the model as it is; --splice is for predictions and activations');
  const features = set.map(readFeatureFlag);
  const dictionaries = await readSpliceFlags(named ?? []);
  const processing = flags.processing ? readProcessing(flags.processing) : processingOf(dictionaries);
  if (flags.out) await assertWritable(dirname(flags.out));

  const model = await loadModel(flags, { processing });
  let spliced: Spliced[] = [];
  try {
    const tokens = ids ?? encode(model, texts!, flags.prependBos ?? false);
    spliced = await openSpliced(model, dictionaries, tokens);
    const report: Record<string, unknown> = { model: model.name, hash: model.hash, origin: model.origin, processing: model.processing, weights: model.weightType, prependBos: flags.prependBos ?? false, prompts: tokens.length };
    if (named) {
      report.splice = {
        errorTerm: flags.errorTerm ?? false, features: features.map(({ text }) => text),
        dictionaries: spliced.map(({ sae, ...place }) => ({ name: sae.name, variant: sae.variant, features: sae.features, ...place })),
      };
    }
    const splice = spliceOptions(model, spliced, flags.errorTerm ?? false, features, tokens);
    try {
      if (flags.out) report.activations = await writeActivations(model, tokens, flags, splice);
      if (flags.append !== undefined) report.generated = await generate(model, tokens, flags);
      if (!flags.out && flags.append === undefined) {
        Object.assign(report, named ? await beforeAndAfter(model, tokens, spliced, splice, flags) : { next: await likeliest(model, tokens, flags) });
      }
    } finally {
      for (const { values } of splice.edits) values.dispose();
    }
    if (flags.json) printJson(report);
  } finally {
    for (const { sae } of spliced) sae.dispose();
    model.dispose();
  }
}

/** Ids per prompt from a JSON file. */
async function readTokens(path: string): Promise<number[][]> {
  let json: unknown;
  try {
    json = JSON.parse(await read(path));
  } catch (cause) {
    if (cause instanceof FileError) throw cause;
    throw new FileError(`${path}: not valid JSON: ${(cause as Error).message}`, { cause });
  }
  if (!Array.isArray(json) || json.length === 0 || !json.every((prompt) => Array.isArray(prompt) && prompt.every((id) => typeof id === 'number'))) {
    throw new FileError(`${path}: an array of arrays of token ids is needed, such as [[464, 3290], [464, 3797]]`);
  }
  return json as number[][];
}

/** Prompts from a text file: each line is one, spaces included; a last empty line is none. */
async function readPrompts(path: string): Promise<string[]> {
  const lines = (await read(path)).split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  if (lines.length === 0) throw new FileError(`${path}: has no prompts`);
  return lines;
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new FileError(`cannot read ${path}: ${(cause as NodeJS.ErrnoException).code ?? (cause as Error).message}`, { cause });
  }
}

function encode(model: Gpt2, texts: readonly string[], prependBos: boolean): number[][] {
  const { tokenizer } = model;
  if (!tokenizer) throw new UsageError(`${model.name} has no tokenizer.json: give token ids with --tokens`);
  if (prependBos && tokenizer.bos === null) throw new UsageError(`${model.name}'s tokenizer has no beginning-of-sequence token`);
  return texts.map((text, i) => {
    const ids = tokenizer.encode(text);
    if (prependBos) ids.unshift(tokenizer.bos!);
    if (ids.length === 0) throw new TokenError(`prompt ${i} is empty`);
    return ids;
  });
}

/** Writes the chosen activations; returns their shapes. Rows past a shorter prompt's end are zeros. */
async function writeActivations(model: Gpt2, tokens: Prompts, flags: RunFlags, splice: SpliceOptions): Promise<{ file: string; tensors: Record<string, readonly number[]> }> {
  const batch = model.run(tokens, { ...splice, cache: flags.sites!, logits: 'none' });
  const tensors: Record<string, TensorToWrite> = {};
  const lengths = tokens.map((prompt) => prompt.length);
  for (const [name, tensor] of batch.cache) {
    const data = await tensor.read();
    clearPadding(data, tensor.shape, lengths, /attn_scores|pattern/.test(name));
    tensors[name] = { dtype: 'F32', shape: tensor.shape, data };
  }
  batch.dispose();
  const metadata = {
    format: 'pt', model: model.name, model_hash: model.hash, processing: JSON.stringify(model.processing), weights: model.weightType, prepend_bos: String(flags.prependBos ?? false),
    prompt_lengths: JSON.stringify(lengths), tokens: JSON.stringify(tokens),
    ...(flags.splice ? { splice: JSON.stringify(flags.splice), error_term: String(flags.errorTerm ?? false), features: JSON.stringify(flags.feature ?? []) } : {}),
  };
  await writeFileAtomic(flags.out!, safetensorsParts(tensors, metadata));
  const shapes = Object.fromEntries(Object.entries(tensors).map(([name, { shape }]) => [name, shape]));
  if (!flags.json) for (const [name, shape] of Object.entries(shapes)) process.stdout.write(`${name}  [${shape.join(', ')}]\n`);
  return { file: flags.out!, tensors: shapes };
}

/** Zeros where there is no token, so that a file never holds numbers that mean nothing. */
function clearPadding(data: Float32Array, shape: readonly number[], lengths: readonly number[], byHead: boolean): void {
  const axis = byHead ? 2 : 1;
  const positions = shape[axis]!;
  const row = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const repeats = shape.slice(1, axis).reduce((a, b) => a * b, 1);
  for (const [prompt, length] of lengths.entries()) {
    for (let r = 0; r < repeats; r++) {
      const start = (prompt * repeats + r) * positions * row;
      data.fill(0, start + length * row, start + positions * row);
    }
  }
}

interface Generated { prompt: readonly number[]; tokens: number[]; text?: string }

async function generate(model: Gpt2, tokens: readonly (readonly number[])[], flags: RunFlags): Promise<Generated[]> {
  const all: Generated[] = [];
  for (const [i, prompt] of tokens.entries()) {
    const generated = await model.generate(prompt, { count: flags.append!, temperature: flags.temperature, seed: flags.seed + i });
    const text = model.tokenizer?.decode([...prompt, ...generated]);
    if (!flags.json) process.stdout.write(`${text ?? [...prompt, ...generated].join(' ')}\n`);
    if (generated.length < flags.append!) note(`prompt ${i}: stopped after ${generated.length} tokens, because the model's context of ${model.config.context} is full`);
    all.push({ prompt, tokens: generated, ...(text === undefined ? {} : { text }) });
  }
  return all;
}

/** Logits after each prompt's last token, [prompts, vocabulary]. */
async function lastLogits(model: Gpt2, tokens: Prompts): Promise<Float32Array> {
  const batch = model.run(tokens);
  return batch.logits!.read().finally(() => batch.dispose());
}

/** The most probable next tokens of each prompt. */
async function likeliest(model: Gpt2, tokens: Prompts, { top, json }: RunFlags): Promise<NextToken[][]> {
  const next = nextTokens(model, await lastLogits(model, tokens), top);
  if (!json) for (const [i, prompt] of tokens.entries()) process.stdout.write(`${showPrompt(model, prompt)}\n${next[i]!.map((token) => `  ${showToken(token)}\n`).join('')}`);
  return next;
}

interface ActiveFeature { feature: number; value: number }

/** The most probable next tokens of the model as it is and with dictionaries in it, how far apart both are, and the strongest features at each prompt's last token. */
async function beforeAndAfter(model: Gpt2, tokens: Prompts, spliced: readonly Spliced[], splice: SpliceOptions, { top, json }: RunFlags): Promise<Record<string, unknown>> {
  const before = await lastLogits(model, tokens);
  const positions = tokens.map((prompt) => prompt.length - 1);
  const batch = model.run(tokens, { ...splice, captures: spliced.map((own) => ({ hook: codesOf(own), positions })) });
  const [after, ...codes] = await Promise.all([batch.logits!, ...batch.captured].map((tensor) => tensor.read())).finally(() => {
    for (const tensor of batch.captured) tensor.dispose();
    batch.dispose();
  }) as [Float32Array, ...Float32Array[]];
  const active = tokens.map((_, i) => Object.fromEntries(spliced.map((own, s) => [placeOf(own), strongest(codes[s]!.subarray(i * own.sae.features, (i + 1) * own.sae.features), top)])));
  const [next, then, kl] = [nextTokens(model, before, top), nextTokens(model, after, top), divergences(model, before, after)];
  if (!json) {
    for (const [i, prompt] of tokens.entries()) {
      process.stdout.write(`${showPrompt(model, prompt)}\n${sideBySide(next[i]!, then[i]!)}  KL(before ‖ after) ${kl[i]!.toPrecision(3)} nats\n`);
      for (const [place, features] of Object.entries(active[i]!)) process.stdout.write(`  ${place}: ${features.map(({ feature, value }) => `feature ${feature} at ${value.toPrecision(4)}`).join(', ') || 'no feature is active'}\n`);
    }
  }
  return { next, after: then, kl, active };
}

/** The codes farthest from zero. */
function strongest(codes: Float32Array, count: number): ActiveFeature[] {
  return [...codes.entries()].filter(([, value]) => value !== 0).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]) || a[0] - b[0]).slice(0, count).map(([feature, value]) => ({ feature, value }));
}
