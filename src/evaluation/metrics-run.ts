/** Metrics of a dictionary, measured on a model: any dictionary at any hook on any token stream (metrics.ts says what each number is). */
import { Sae, type Dictionary } from '../dictionary/index.ts';
import { UnknownSiteError, UsageError } from '../errors.ts';
import type { Gpt2, Run } from '../model/index.ts';
import {
  activeMask, add, affine, gatherElements, gatherRows, meanColumns, mul, relu, scatterRows, segments, segmentSum, softmax, sub, sumColumns, sumRows, sumSquaresRows, Tensor,
} from '../tensor/index.ts';
import { MetricTotals, type ColumnSums, type DictionaryMetrics, type TokenSums } from './metrics.ts';

/** Prompts as token ids, of any lengths: a list, or what begins to read them anew each time that it is called. */
export type PromptStream = readonly (readonly number[])[] | (() => AsyncIterable<ArrayLike<number>>);

/** A dictionary, and where it reads. */
export interface Placed {
  dictionary: Dictionary;
  /** A hook's name, such as `blocks.0.hook_resid_post`. */
  hook: string;
  /** One head's part of hook_q, hook_k, hook_v or hook_z; all heads side by side unless given. */
  head?: number;
}

export interface MeasureOptions {
  tokens: PromptStream;
  /** Prompts in one run; by default as many as a modest amount of memory holds. */
  batch?: number;
  /** Tokens that are neither scored nor replaced: by default the tokenizer's beginning-of-sequence token. */
  excludeTokens?: readonly number[];
  /** Whether to run the model with x̂ and with zeros in place, for the cross-entropies and divergences. True by default. */
  losses?: boolean;
  /** Where the ablated run has zeros: everywhere (default, as SAELens does), or at the scored tokens only. */
  ablate?: 'everywhere' | 'scored';
  /** Whether to run it with the mean of the scored activations in place of each of them too, for which a pass goes before. False by default. */
  meanAblation?: boolean;
  signal?: AbortSignal;
  /** Prompts done, of all; null where nobody knows yet how many they are. Those of the pass before count too. */
  onProgress?: (done: number, total: number | null) => void;
}

export type MetricsOptions = MeasureOptions & Omit<Placed, 'dictionary'>;

/** Bytes of logits in one run, on a software driver and on a GPU; and of codes at once. */
const LOGIT_BYTES = { software: 32 * 2 ** 20, hardware: 128 * 2 ** 20 };
const CODE_BYTES = 32 * 2 ** 20;
const MOST_PROMPTS = 64;

/** `evaluateDictionaries` of one. */
export async function evaluateMetrics(model: Gpt2, dictionary: Dictionary, { hook, head, ...options }: MetricsOptions): Promise<DictionaryMetrics> {
  const [metrics] = await evaluateDictionaries(model, [{ dictionary, hook, ...(head === undefined ? {} : { head }) }], options);
  return metrics!;
}

/**
 * Measures everything of each dictionary, in their order. They share the model's own passes, and those at one place the ablated ones. Of a stream
 * no more than one batch is held at a time. Throws UnknownSiteError for a hook that cannot be replaced, UsageError if no token is left to score,
 * ShapeError for a dictionary of another width.
 */
export async function evaluateDictionaries(model: Gpt2, dictionaries: readonly Placed[], options: MeasureOptions): Promise<DictionaryMetrics[]> {
  const { tokens, signal, onProgress, losses = true, meanAblation = false } = options;
  const excluded = new Set(options.excludeTokens ?? (model.tokenizer?.bos == null ? [] : [model.tokenizer.bos]));
  const places = new Map<string, { place: Place; measures: Measure[] }>();
  const measures = dictionaries.map(({ dictionary, ...address }) => {
    const place = placeOf(model, address);
    const key = `${place.hook} ${place.head ?? ''}`;
    const measure = new Measure(model, dictionary, place);
    const at = places.get(key);
    if (at) at.measures.push(measure);
    else places.set(key, { place, measures: [measure] });
    return measure;
  });
  const groups = [...places.values()].map(({ place, measures: own }) => new PlaceMeasure(model, place, own, options.ablate ?? 'everywhere'));
  const passes = losses && meanAblation ? 2 : 1;
  let [done, total] = [0, typeof tokens === 'function' ? null : passes * tokens.length];
  try {
    for (let pass = passes; pass > 0; pass--) {
      let scored = 0;
      for await (const prompts of batchesOf(model, tokens, options.batch)) {
        signal?.throwIfAborted();
        const batch = new ScoredBatch(prompts, excluded);
        scored += batch.rows.length;
        if (batch.rows.length > 0) await (pass === 2 ? addToMeans(model, groups, batch) : measureBatch(model, groups, batch, losses));
        done += prompts.length;
        onProgress?.(done, total);
      }
      if (scored === 0) throw new UsageError('there is no token to score: prompts hold nothing but excluded tokens');
      total = done * pass;
    }
    const results: DictionaryMetrics[] = [];
    for (const { dictionary, totals } of measures) results.push(totals.finish(losses, dictionary instanceof Sae ? await weightMetrics(dictionary) : null));
    return results;
  } finally {
    for (const measure of measures) measure.dispose();
  }
}

/** Prompts in groups that are run at once. */
async function* batchesOf(model: Gpt2, tokens: PromptStream, size: number | undefined): AsyncGenerator<number[][]> {
  if (size !== undefined && (!Number.isSafeInteger(size) || size < 1)) throw new UsageError(`${size} prompts cannot be run at once`);
  const budget = (model.gpu.software ? LOGIT_BYTES.software : LOGIT_BYTES.hardware) / (4 * model.config.vocabulary);
  let prompts: number[][] = [];
  let longest = 0;
  for await (const prompt of typeof tokens === 'function' ? tokens() : tokens) {
    const length = Math.max(longest, prompt.length);
    const isFull = size === undefined ? prompts.length === MOST_PROMPTS || (prompts.length + 1) * length > budget : prompts.length === size;
    if (isFull && prompts.length > 0) {
      yield prompts;
      [prompts, longest] = [[], 0];
    }
    prompts.push(Array.from(prompt));
    longest = Math.max(longest, prompt.length);
  }
  if (prompts.length > 0) yield prompts;
}

/** Prompts that are run at once, and which of their tokens count. */
class ScoredBatch {
  readonly prompts: readonly (readonly number[])[];
  /** Positions of the longest prompt. */
  readonly length: number;
  /** Numbers of the tokens that count among all, [prompts · length]. */
  readonly rows: readonly number[];
  /** How many they are in each prompt. */
  readonly perPrompt: readonly number[];

  constructor(prompts: readonly (readonly number[])[], excluded: ReadonlySet<number>) {
    this.prompts = prompts;
    this.length = prompts.reduce((most, prompt) => Math.max(most, prompt.length), 0);
    const counted = prompts.map((prompt, i) => prompt.flatMap((id, t) => (excluded.has(id) ? [] : [i * this.length + t])));
    this.rows = counted.flat();
    this.perPrompt = counted.map(({ length }) => length);
  }

  /** Of all prompts' positions. */
  get positions(): number {
    return this.prompts.length * this.length;
  }
}

/** Where a dictionary reads and writes: columns of a hook's rows. */
interface Place { hook: string; head?: number; offset: number; width: number }

function placeOf(model: Gpt2, { hook: name, head }: Pick<Placed, 'hook' | 'head'>): Place {
  const hook = model.hooks.editable(name);
  if (hook.kind === 'pattern') throw new UnknownSiteError(`${name} has a weight for every pair of positions; dictionaries read vectors`);
  const { heads, ...columns } = model.hooks.columns(hook, head);
  if (head === undefined) return { hook: name, ...columns };
  if (heads === null) throw new UnknownSiteError(`${name} has no heads`);
  if (!Number.isInteger(head) || head < 0 || head >= heads) throw new UnknownSiteError(`${name} has the heads 0 to ${heads - 1}, not ${head}`);
  return { hook: name, head, ...columns };
}

function hooksOf(groups: readonly PlaceMeasure[]): string[] {
  return [...new Set(groups.map(({ place }) => place.hook))];
}

/** Adds a batch to the means that take the place of activations. */
async function addToMeans(model: Gpt2, groups: readonly PlaceMeasure[], batch: ScoredBatch): Promise<void> {
  const means = await model.gpu.scope(async () => {
    const run = model.run(batch.prompts, { cache: hooksOf(groups), logits: 'none' });
    const index = Tensor.from(model.gpu, Uint32Array.from(batch.rows), [batch.rows.length]);
    const read = Promise.all(groups.map((group) => meanColumns(group.at(run, batch, index)).read()));
    run.dispose();
    return read;
  });
  groups.forEach((group, i) => group.addToMean(means[i]!, batch.rows.length));
}

async function measureBatch(model: Gpt2, groups: readonly PlaceMeasure[], batch: ScoredBatch, losses: boolean): Promise<void> {
  await model.gpu.scope(async () => {
    const clean = model.run(batch.prompts, { cache: hooksOf(groups), keep: losses, logits: losses ? 'all' : 'none' });
    const predictions = losses ? new Predictions(model, clean, batch) : null;
    const index = Tensor.from(model.gpu, Uint32Array.from(batch.rows), [batch.rows.length]);
    for (const group of groups) await model.gpu.scope(() => group.batch(clean, batch, index, predictions));
    clean.dispose();
  });
}

/** What the model predicts by itself, and what a replacement does to that. */
class Predictions {
  private readonly model: Gpt2;
  private readonly clean: Run;
  private readonly batch: ScoredBatch;
  private readonly logs: Tensor;
  private readonly probabilities: Tensor;
  /** Tokens that come next, and which scored tokens have one. */
  private readonly answers: Tensor;
  private readonly withNext: readonly number[];
  private loss: Float32Array | null = null;

  constructor(model: Gpt2, clean: Run, batch: ScoredBatch) {
    const { prompts, length, positions, rows } = batch;
    this.model = model;
    this.clean = clean;
    this.batch = batch;
    this.logs = softmax(this.flat(clean.logits!), { log: true });
    this.probabilities = softmax(this.flat(clean.logits!));
    this.answers = Tensor.from(model.gpu, Uint32Array.from({ length: positions }, (_, row) => prompts[Math.floor(row / length)]![(row % length) + 1] ?? 0), [positions]);
    this.withNext = rows.filter((row) => row % length < prompts[Math.floor(row / length)]!.length - 1);
  }

  /** Cross-entropies of the scored tokens that have a next one. */
  async original(): Promise<number[]> {
    const { logs, answers } = this;
    this.loss ??= await this.model.gpu.scope(() => gatherElements(logs, answers).read());
    return this.ofNext(this.loss);
  }

  /** The same with values [prompts · positions, width] in place, from a run that resumes the clean one there; and the divergences of all scored tokens. */
  async altered({ hook, head, width }: Place, values: Tensor): Promise<{ loss: number[]; divergence: number[] }> {
    const { model, clean, batch, logs, probabilities, answers } = this;
    const { prompts, length, rows } = batch;
    const read = await model.gpu.scope(async () => {
      const run = model.run(prompts, { resume: clean, logits: 'all', edits: [{ hook, ...(head === undefined ? {} : { head }), values: values.reshape([prompts.length, length, width]) }] });
      const altered = softmax(this.flat(run.logits!), { log: true });
      run.dispose();
      return readAll({ loss: gatherElements(altered, answers), divergence: sumRows(mul(probabilities, sub(logs, altered))) });
    });
    return { loss: this.ofNext(read.loss), divergence: rows.map((row) => read.divergence[row]!) };
  }

  private ofNext(values: Float32Array): number[] {
    return this.withNext.map((row) => -values[row]!);
  }

  private flat(logits: Tensor): Tensor {
    return logits.reshape([this.batch.positions, this.model.config.vocabulary]);
  }
}

/** A place, and the dictionaries that are measured at it. */
class PlaceMeasure {
  readonly place: Place;
  private readonly model: Gpt2;
  private readonly measures: readonly Measure[];
  private readonly ablate: 'everywhere' | 'scored';
  /** Sum of scored activations and how many they are; null where no mean takes their place. */
  private sum: { total: Float64Array; rows: number } | null = null;

  constructor(model: Gpt2, place: Place, measures: readonly Measure[], ablate: 'everywhere' | 'scored') {
    this.model = model;
    this.place = place;
    this.measures = measures;
    this.ablate = ablate;
  }

  /** Activations of a run at these tokens, [tokens, width]. */
  at(run: Run, { positions }: ScoredBatch, index: Tensor): Tensor {
    const { hook, offset, width } = this.place;
    return gatherRows(run.get(hook).reshape([positions, -1]), index, { offset, width });
  }

  addToMean(mean: Float32Array, rows: number): void {
    this.sum ??= { total: new Float64Array(this.place.width), rows: 0 };
    for (const [i, value] of mean.entries()) this.sum.total[i]! += value * rows;
    this.sum.rows += rows;
  }

  async batch(clean: Run, batch: ScoredBatch, index: Tensor, predictions: Predictions | null): Promise<void> {
    const { place, measures, sum, model: { gpu } } = this;
    const x = this.at(clean, batch, index);
    const all = Tensor.from(gpu, Uint32Array.from({ length: batch.positions }, (_, i) => i), [batch.positions]);
    /** Scored activations replaced, the others as they are. */
    const replaced = (values: Tensor): Tensor => {
      const rows = this.at(clean, batch, all);
      scatterRows(rows, index, values);
      return rows;
    };
    const constant = (value: Tensor): Tensor => add(Tensor.zeros(gpu, [batch.rows.length, place.width]), value);
    const ablated = predictions && await gpu.scope(() => predictions.altered(place, this.ablate === 'scored' ? replaced(Tensor.zeros(gpu, x.shape)) : Tensor.zeros(gpu, [batch.positions, place.width])));
    const mean = predictions && sum && await gpu.scope(() => predictions.altered(place, replaced(constant(Tensor.from(gpu, Float32Array.from(sum.total, (value) => value / sum.rows), [place.width])))));
    for (const measure of measures) {
      await gpu.scope(async () => {
        const reconstruction = await measure.add(x, batch.perPrompt);
        if (!predictions) return;
        const sae = await predictions.altered(place, replaced(reconstruction));
        measure.totals.addLosses({
          crossEntropy: { original: await predictions.original(), sae: sae.loss, ablation: ablated!.loss, ...(mean ? { mean: mean.loss } : {}) },
          divergence: { sae: sae.divergence, ablation: ablated!.divergence, ...(mean ? { mean: mean.divergence } : {}) },
        });
      });
    }
  }
}

/** One dictionary. */
class Measure {
  readonly dictionary: Dictionary;
  readonly totals: MetricTotals;
  private readonly model: Gpt2;
  private readonly place: Place;
  /** Means of x and e over the first batch, [width]: reference points of sums of squares. */
  private centre: { x: Tensor; error: Tensor } | null = null;

  constructor(model: Gpt2, dictionary: Dictionary, place: Place) {
    this.model = model;
    this.dictionary = dictionary;
    this.place = place;
    this.totals = new MetricTotals(place.width, dictionary.features);
  }

  dispose(): void {
    this.centre?.x.dispose();
    this.centre?.error.dispose();
  }

  /** Measures x̂ and codes of scored activations x [tokens, width]; gives x̂. */
  async add(x: Tensor, perPrompt: readonly number[]): Promise<Tensor> {
    const { reconstruction, sparsity } = await this.encode(x, perPrompt);
    const { sums, columns } = await this.reconstructionSums(x, reconstruction);
    this.totals.add({ ...sums, l0: sparsity.l0, l1: sparsity.l1 }, { ...columns, active: sparsity.active, activePrompts: sparsity.activePrompts });
    return reconstruction;
  }

  /** x̂ of all rows, and what codes say of sparsity; by groups of whole prompts, so that few codes exist at a time. */
  private async encode(x: Tensor, perPrompt: readonly number[]): Promise<{ reconstruction: Tensor; sparsity: { l0: Float32Array; l1: Float32Array; active: Float64Array; activePrompts: Float64Array } }> {
    const { dictionary, model: { gpu } } = this;
    const n = x.shape[0]!;
    const reconstruction = Tensor.empty(gpu, [n, this.place.width]);
    const sparsity = { l0: new Float32Array(n), l1: new Float32Array(n), active: new Float64Array(dictionary.features), activePrompts: new Float64Array(dictionary.features) };
    const most = Math.max(1, Math.floor(CODE_BYTES / (4 * dictionary.features)));
    let start = 0;
    for (let prompt = 0; prompt < perPrompt.length;) {
      const ids: number[] = [];
      const first = prompt;
      while (prompt < perPrompt.length && (prompt === first || ids.length + perPrompt[prompt]! <= most)) ids.push(...new Array<number>(perPrompt[prompt]!).fill(prompt++ - first));
      if (ids.length === 0) continue;
      const part = await gpu.scope(async () => {
        const codes = dictionary.encode({ activations: x.rows(start, ids.length), attributes: {} });
        gpu.copy(dictionary.decode(codes), { storage: reconstruction.storage, byteOffset: reconstruction.byteOffset + start * this.place.width * 4, byteLength: ids.length * this.place.width * 4 }, ids.length * this.place.width * 4);
        const negative = affine(codes, -1);
        const mask = add(activeMask(codes), activeMask(negative));
        const { order, starts } = segments(Uint32Array.from(ids), prompt - first);
        const byPrompt = segmentSum(mask, Tensor.from(gpu, order, [order.length]), Tensor.from(gpu, starts, [starts.length]));
        return readAll({ l0: sumRows(mask), l1: sumRows(add(relu(codes), relu(negative))), active: sumColumns(mask), activePrompts: sumColumns(activeMask(byPrompt)) });
      });
      sparsity.l0.set(part.l0, start);
      sparsity.l1.set(part.l1, start);
      for (const name of ['active', 'activePrompts'] as const) part[name].forEach((value, i) => { sparsity[name][i]! += value; });
      start += ids.length;
    }
    return { reconstruction, sparsity };
  }

  private async reconstructionSums(x: Tensor, reconstruction: Tensor): Promise<{ sums: Omit<TokenSums, 'l0' | 'l1'>; columns: Pick<ColumnSums, 'fromCentre' | 'errorFromCentre'> }> {
    const { gpu } = this.model;
    return gpu.scope(async () => {
      const error = sub(x, reconstruction);
      this.centre ??= { x: gpu.keep(meanColumns(x)), error: gpu.keep(meanColumns(error)) };
      const [moved, movedError] = [sub(x, this.centre.x), sub(error, this.centre.error)];
      const { fromCentre, errorFromCentre, ...sums } = await readAll({
        squaredIn: sumSquaresRows(x), squaredOut: sumSquaresRows(reconstruction), dot: sumRows(mul(x, reconstruction)), squaredError: sumSquaresRows(error),
        squaredFromCentre: sumSquaresRows(moved), squaredErrorFromCentre: sumSquaresRows(movedError), squaredFromBatchMean: sumSquaresRows(sub(x, meanColumns(x))),
        fromCentre: sumColumns(moved), errorFromCentre: sumColumns(movedError),
      });
      return { sums, columns: { fromCentre, errorFromCentre } };
    });
  }
}

/** What the encoder's weights say of each feature. For gated dictionaries the bias is the gate's. */
async function weightMetrics({ weights: { encoder, encoderBias, decoder } }: Sae): Promise<Pick<DictionaryMetrics['features'], 'encoder_bias' | 'encoder_norm' | 'encoder_decoder_cosine_sim'>> {
  return encoder.gpu.scope(async () => {
    const { dot, ins, outs } = await readAll({ dot: sumRows(mul(encoder, decoder)), ins: sumSquaresRows(encoder), outs: sumSquaresRows(decoder) });
    const bias = await encoderBias.read();
    return {
      encoder_bias: Array.from(bias),
      encoder_norm: Array.from(ins, Math.sqrt),
      encoder_decoder_cosine_sim: Array.from(dot, (value, i) => (ins[i]! > 0 && outs[i]! > 0 ? value / Math.sqrt(ins[i]! * outs[i]!) : null)),
    };
  });
}

/** Reads several tensors at once. */
async function readAll<K extends string>(tensors: Record<K, Tensor>): Promise<Record<K, Float32Array>> {
  const entries = Object.entries<Tensor>(tensors);
  const values = await Promise.all(entries.map(([, tensor]) => tensor.read()));
  return Object.fromEntries(entries.map(([name], i) => [name, values[i]!])) as Record<K, Float32Array>;
}
