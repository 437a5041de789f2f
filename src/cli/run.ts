/** `diffract run`: activations of prompts to a safetensors file, likeliest next tokens, or generated text. */
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Command } from 'commander';
import { FileError, TokenError, UsageError } from '../errors.ts';
import { safetensorsParts, type TensorToWrite } from '../files/index.ts';
import { assertWritable, writeFileAtomic } from '../files/node-write.ts';
import { type Gpt2, NO_PROCESSING, type WeightType } from '../model/index.ts';
import { tuningOption, weightsOption } from './device.ts';
import { loadModel, modelOption, readProcessing, revisionOption } from './model.ts';
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
  processing?: string[];
  weights: WeightType;
  tuning?: string;
  json?: boolean;
}

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
    .option('--processing <names>', `weight processing, separated by commas: ${Object.keys(NO_PROCESSING).join(', ')}; or all`, list)
    .addOption(weightsOption())
    .addOption(tuningOption())
    .option('--json', 'print results as JSON')
    .addHelpText('after', `
Examples:
  diffract run --model models/ioi-mini --prompt 'Mary and Adam went to the store. Adam gave a drink to'
  diffract run --model DIR --tokens tokens.json --sites 'blocks.*.hook_resid_post,blocks.1.attn.*,logits' --out acts.safetensors
  diffract run --model DIR --prompts prompts.txt --append 20 --temperature 0.8 --seed 1`)
    .action((flags: RunFlags) => run(flags));
}

async function run(flags: RunFlags): Promise<void> {
  if (Boolean(flags.sites) !== Boolean(flags.out)) throw new UsageError('--sites and --out go together: what to write, and where');
  const given = [flags.tokens, flags.prompts, flags.prompt].filter((source) => source !== undefined).length;
  if (given !== 1) throw new UsageError('give the prompts in exactly one way: --tokens, --prompts or --prompt');
  const ids = flags.tokens === undefined ? null : await readTokens(flags.tokens);
  const texts = flags.prompts === undefined ? flags.prompt ?? null : await readPrompts(flags.prompts);
  if (ids && flags.prependBos) throw new UsageError('--prepend-bos is for texts; token ids are used as they are');
  const processing = readProcessing(flags.processing);
  if (flags.out) await assertWritable(dirname(flags.out));

  const model = await loadModel(flags, { processing });
  try {
    const tokens = ids ?? encode(model, texts!, flags.prependBos ?? false);
    const report: Record<string, unknown> = { model: model.name, hash: model.hash, origin: model.origin, processing: model.processing, weights: model.weightType, prependBos: flags.prependBos ?? false, prompts: tokens.length };
    if (flags.out) report.activations = await writeActivations(model, tokens, flags);
    if (flags.append !== undefined) report.generated = await generate(model, tokens, flags);
    if (!flags.out && flags.append === undefined) report.next = await likeliest(model, tokens, flags.top, flags.json ?? false);
    if (flags.json) printJson(report);
  } finally {
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
async function writeActivations(model: Gpt2, tokens: readonly (readonly number[])[], flags: RunFlags): Promise<{ file: string; tensors: Record<string, readonly number[]> }> {
  const batch = model.run(tokens, { cache: flags.sites!, logits: 'none' });
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

interface NextToken { id: number; token?: string; probability: number; logit: number }

/** The most probable next tokens of each prompt. */
async function likeliest(model: Gpt2, tokens: readonly (readonly number[])[], count: number, quiet: boolean): Promise<NextToken[][]> {
  const { vocabulary } = model.config;
  const batch = model.run(tokens);
  const logits = await batch.logits!.read();
  batch.dispose();
  return tokens.map((prompt, i) => {
    const own = logits.subarray(i * vocabulary, (i + 1) * vocabulary);
    const highest = own.reduce((a, b) => Math.max(a, b), -Infinity);
    const total = own.reduce((sum, value) => sum + Math.exp(value - highest), 0);
    const next = [...own.keys()].sort((a, b) => own[b]! - own[a]! || a - b).slice(0, count).map((id): NextToken => ({
      id, ...(model.tokenizer ? { token: model.tokenizer.token(id) } : {}), probability: Math.exp(own[id]! - highest) / total, logit: own[id]!,
    }));
    if (!quiet) {
      process.stdout.write(`${model.tokenizer ? model.tokenizer.decode(prompt) : prompt.join(' ')}\n`);
      for (const { id, token, probability, logit } of next) process.stdout.write(`  ${(100 * probability).toFixed(2).padStart(6)} %  ${logit.toFixed(3).padStart(9)}  ${token === undefined ? id : JSON.stringify(token)}\n`);
    }
    return next;
  });
}
