/** A GPT-2 model on the GPU: loading, running with hooks, generating. */
import { UsageError } from '../errors.ts';
import { openSafetensors, openSource, type FileOrigin, type FileSource } from '../files/index.ts';
import type { Gpu } from '../gpu/index.ts';
import { Tensor } from '../tensor/index.ts';
import type { Gpt2Config } from './config.ts';
import { forward, type ForwardRequest } from './forward.ts';
import { generate, sample, type GenerateOptions, type ContinueOptions } from './generate.ts';
import { configOf } from './outline.ts';
import { NO_PROCESSING, type WeightProcessing } from './processing.ts';
import { checkResume, readBatch, readCaptures, readEdits, readLogits, Run, type Batch, type RunOptions, type TokenBatch } from './run.ts';
import { Hooks } from './sites.ts';
import { readSplices, splicedHooks } from './splice.ts';
import { loadTokenizer, type Tokenizer } from './tokenizer.ts';
import { checkWeights, loadWeights, weightTypes, type LoadedWeights, type LoadProgress, type ModelWeights, type WeightType } from './weights.ts';
import { prepareKernels } from './prepare.ts';

export interface LoadOptions {
  /** What is done to the weights; nothing by default. */
  processing?: Partial<WeightProcessing>;
  /**
   * How weight matrices and token tables are stored: f32, or f16 in half the memory, each weight rounded to the nearest of 11 binary digits.
   * Arithmetic is in f32 either way.
   */
  weights?: WeightType;
  onProgress?: LoadProgress;
}

export class Gpt2 {
  readonly gpu: Gpu;
  readonly config: Gpt2Config;
  /** From `tokenizer.json`; null for a model that has none, which runs from token ids. */
  readonly tokenizer: Tokenizer | null;
  /** What was done to the weights on loading. */
  readonly processing: WeightProcessing;
  /** The last part of the path or URL that the model was loaded from. */
  readonly name: string;
  /** Where on a hub its files came from; null for one from a directory or URL. */
  readonly origin: FileOrigin | null;
  /** SHA-256 of the weights as they were read; see hash.ts. */
  readonly hash: string;
  readonly hooks: Hooks;
  readonly weights: ModelWeights;
  /** How its matrices and token tables are stored. */
  readonly weightType: WeightType;
  private readonly tensors: readonly Tensor[];

  private constructor(gpu: Gpu, parts: { config: Gpt2Config; tokenizer: Tokenizer | null; processing: WeightProcessing; type: WeightType; name: string; origin: FileOrigin | null; loaded: LoadedWeights }) {
    this.gpu = gpu;
    this.config = parts.config;
    this.tokenizer = parts.tokenizer;
    this.processing = parts.processing;
    this.weightType = parts.type;
    this.name = parts.name;
    this.origin = parts.origin;
    this.hash = parts.loaded.hash;
    this.weights = parts.loaded.weights;
    this.tensors = parts.loaded.tensors;
    this.hooks = new Hooks(parts.config);
  }

  /**
   * Loads a Hugging Face directory of GPT-2 architecture: `config.json`, `model.safetensors` (or its shards), and `tokenizer.json` if it is
   * there. Weights stream to the GPU while the kernels compile.
   * Throws ConfigError for what is not GPT-2, FileError for a broken file, NumberError for NaN or infinity in a weight (or more than f16 can
   * hold, if it is to be stored so), LimitError, before anything is allocated, for a model that does not fit the adapter.
   */
  static async load(gpu: Gpu, where: string | FileSource, options: LoadOptions = {}): Promise<Gpt2> {
    const source = openSource(where);
    const config = await configOf(source);
    const tokenizer = await loadTokenizer(source, config.bos);
    const processing = readProcessing(options.processing);
    const type = options.weights ?? 'f32';
    if (!weightTypes.includes(type)) throw new UsageError(`weights cannot be stored as ${type}; there are ${weightTypes.join(', ')}`);
    const file = await openSafetensors(source);
    const entries = checkWeights(gpu, file, config, { processing, type });
    const compiling = prepareKernels(gpu, config, processing.foldLn, type);
    // Wait for both whatever happens: a process that ends while a driver compiles may crash, and a failure must not go unhandled.
    const [weights, compiled] = await Promise.allSettled([loadWeights(gpu, file, entries, config, { processing, type }, options.onProgress), compiling]);
    if (weights.status === 'rejected') throw weights.reason;
    const loaded = weights.value;
    if (compiled.status === 'rejected') {
      for (const tensor of loaded.tensors) tensor.dispose();
      throw compiled.reason;
    }
    const name = source.name.replace(/[/\\]+$/, '').split(/[/\\]/).at(-1) || source.name;
    return new Gpt2(gpu, { config, tokenizer, processing, type, name, origin: (await source.origin?.()) ?? null, loaded });
  }

  /** Numbers in its weights as they lie on the device; a tied embedding counts once. */
  get parameters(): number {
    return this.tensors.reduce((sum, { size }) => sum + size, 0);
  }

  /** Bytes of its weights on the device. */
  get weightBytes(): number {
    return this.tensors.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** Names of all hooks, in the order of the forward pass. */
  hookNames(): string[] {
    return [...this.hooks.all.keys()];
  }

  /**
   * Records a forward pass over a batch of prompts, which are padded to equal lengths on the right (exact for all real positions, because
   * attention is causal), and returns at once. It goes no further than the deepest thing asked for. A resumed run starts at the first layer
   * and the first position that an edit, a capture, a cached hook or the logits need.
   * Throws TokenError, UnknownSiteError or ShapeError for what does not fit the model, UsageError for options that do not go together.
   */
  run(tokens: TokenBatch, options: RunOptions = {}): Run {
    const { gpu, config, weights } = this;
    const batch = readBatch(tokens, config);
    const splices = readSplices(options.splice ?? [], batch, this.hooks, config);
    const hooks = splices.length > 0 ? splicedHooks(config, splices) : this.hooks;
    const edits = readEdits(options.edits ?? [], batch, hooks, config);
    if (options.keep && (edits.length || splices.length || options.resume)) throw new UsageError('only a run without edits and spliced dictionaries can be kept: keep the clean run, and resume it with all of them');
    const asked = {
      cache: hooks.matchAll(options.cache ?? []),
      captures: readCaptures(options.captures ?? [], batch, hooks, config),
      edits,
      splices,
      logits: readLogits(options.logits, batch),
      keep: options.keep ?? false,
      resume: options.resume ? checkResume(options.resume, tokens, batch) : null,
    };
    const length = neededLength(batch, asked);
    const result = gpu.scope(() => {
      const ids = tokens instanceof Tensor ? tokens : Tensor.from(gpu, firstColumns(batch.padded!, batch.length, length), [batch.count, length]);
      return forward({ gpu, config, weights, hooks }, { ...asked, tokens: ids });
    });
    return new Run(tokens, batch.count, batch.length, result);
  }

  /**
   * Tokens that follow a prompt: greedily, or drawn at a temperature with a seed. Ends early where the context is full.
   * Throws TokenError for a prompt that is empty or beyond the context, or has an id out of range.
   */
  generate(tokens: readonly number[], options: GenerateOptions): Promise<number[]> {
    return generate(this, tokens, options);
  }

  /** The same for several prompts of one length at once. Throws ShapeError for unlike lengths. */
  sample(prompts: readonly (readonly number[])[], options: ContinueOptions): Promise<number[][]> {
    return sample(this, prompts, options);
  }

  /** Frees the weights. Runs that were made stay as they are. */
  dispose(): void {
    for (const tensor of this.tensors) tensor.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Positions that a run from the beginning has to compute: attention is causal, so nothing after the last one asked for matters. */
function neededLength({ length, padded }: Batch, { cache, captures, edits, logits, keep, resume }: Omit<ForwardRequest, 'tokens'>): number {
  const stored = [...captures, ...edits].some(({ hook }) => hook.kind === 'pattern' || hook.kind === 'attn_scores');
  if (!padded || keep || resume || cache.length || logits === 'all' || stored || edits.some((edit) => !edit.positions)) return length;
  const asked = captures.map((capture) => capture.positions);
  if (typeof logits !== 'string') asked.push(logits);
  return asked.reduce((most, positions) => positions.reduce((a, b) => Math.max(a, b + 1), most), 1);
}

/** The first columns of a matrix of rows of `width`. */
function firstColumns(matrix: Uint32Array, width: number, count: number): Uint32Array {
  if (count === width) return matrix;
  return Uint32Array.from({ length: (matrix.length / width) * count }, (_, i) => matrix[Math.floor(i / count) * width + (i % count)]!);
}

function readProcessing(wanted: Partial<WeightProcessing> = {}): WeightProcessing {
  for (const name of Object.keys(wanted)) {
    if (!Object.hasOwn(NO_PROCESSING, name)) throw new UsageError(`there is no weight processing ${name}; there are ${Object.keys(NO_PROCESSING).join(', ')}`);
  }
  const processing = { ...NO_PROCESSING, ...wanted };
  if (processing.refactorFactoredAttnMatrices) processing.foldValueBiases = true;
  return processing;
}
