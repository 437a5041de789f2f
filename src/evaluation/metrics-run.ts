/** Metrics of a dictionary, measured on a model: any dictionary at any hook on any token stream (metrics.ts says what each number is). */
import { Sae, type Dictionary } from '../dictionary/index.ts';
import { UnknownSiteError, UsageError } from '../errors.ts';
import type { Gpt2, Run } from '../model/index.ts';
import {
  activeMask, add, affine, gatherElements, gatherRows, meanColumns, mul, relu, scatterRows, segments, segmentSum, softmax, sub, sumColumns, sumRows, sumSquaresRows, Tensor,
} from '../tensor/index.ts';
import { MetricTotals, type ColumnSums, type DictionaryMetrics, type TokenLosses, type TokenSums } from './metrics.ts';

export interface MetricsOptions {
  /** Where the dictionary reads: a hook's name, such as `blocks.0.hook_resid_post`. */
  hook: string;
  /** One head's part of hook_q, hook_k, hook_v or hook_z; all heads side by side unless given. */
  head?: number;
  /** Prompts as token ids, of any lengths. */
  tokens: readonly (readonly number[])[];
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
  /** Prompts done, of all. */
  onProgress?: (done: number, total: number) => void;
}

/** Bytes of logits in one run, on a software driver and on a GPU; and of codes at once. */
const LOGIT_BYTES = { software: 32 * 2 ** 20, hardware: 128 * 2 ** 20 };
const CODE_BYTES = 32 * 2 ** 20;
const MOST_PROMPTS = 64;

/**
 * Measures everything. Throws UnknownSiteError for a hook that cannot be replaced, UsageError if no token is left to score, ShapeError for a
 * dictionary of another width.
 */
export async function evaluateMetrics(model: Gpt2, dictionary: Dictionary, options: MetricsOptions): Promise<DictionaryMetrics> {
  const { tokens, signal, onProgress, losses = true, meanAblation = false } = options;
  const place = placeOf(model, options);
  const excluded = new Set(options.excludeTokens ?? (model.tokenizer?.bos == null ? [] : [model.tokenizer.bos]));
  if (!tokens.some((prompt) => prompt.some((id) => !excluded.has(id)))) throw new UsageError('there is no token to score: prompts hold nothing but excluded tokens');
  const longest = tokens.reduce((most, prompt) => Math.max(most, prompt.length), 0);
  const budget = model.gpu.software ? LOGIT_BYTES.software : LOGIT_BYTES.hardware;
  const batch = options.batch ?? Math.max(1, Math.min(MOST_PROMPTS, Math.floor(budget / (4 * longest * model.config.vocabulary))));
  if (!Number.isSafeInteger(batch) || batch < 1) throw new UsageError(`${batch} prompts cannot be run at once`);
  const totals = new MetricTotals(place.width, dictionary.features);
  const measure = new Measure(model, dictionary, place, options.ablate ?? 'everywhere');
  try {
    const passes = losses && meanAblation ? 2 : 1;
    if (passes === 2) {
      for (let start = 0; start < tokens.length; start += batch) {
        signal?.throwIfAborted();
        const prompts = tokens.slice(start, start + batch);
        await measure.addToMean(prompts, prompts.map((prompt) => prompt.map((id) => !excluded.has(id))));
        onProgress?.(Math.min(tokens.length, start + batch), passes * tokens.length);
      }
    }
    for (let start = 0; start < tokens.length; start += batch) {
      signal?.throwIfAborted();
      const prompts = tokens.slice(start, start + batch);
      await measure.batch(prompts, prompts.map((prompt) => prompt.map((id) => !excluded.has(id))), totals, losses);
      onProgress?.((passes - 1) * tokens.length + Math.min(tokens.length, start + batch), passes * tokens.length);
    }
    return totals.finish(losses, dictionary instanceof Sae ? await weightMetrics(dictionary) : null);
  } finally {
    measure.dispose();
  }
}

/** Where a dictionary reads and writes: columns of a hook's rows. */
interface Place { hook: string; head?: number; offset: number; width: number }

function placeOf(model: Gpt2, { hook: name, head }: MetricsOptions): Place {
  const hook = model.hooks.editable(name);
  if (hook.kind === 'pattern') throw new UnknownSiteError(`${name} has a weight for every pair of positions; dictionaries read vectors`);
  const { heads, ...columns } = model.hooks.columns(hook, head);
  if (head === undefined) return { hook: name, ...columns };
  if (heads === null) throw new UnknownSiteError(`${name} has no heads`);
  if (!Number.isInteger(head) || head < 0 || head >= heads) throw new UnknownSiteError(`${name} has the heads 0 to ${heads - 1}, not ${head}`);
  return { hook: name, head, ...columns };
}

class Measure {
  private readonly model: Gpt2;
  private readonly dictionary: Dictionary;
  private readonly place: Place;
  private readonly ablate: 'everywhere' | 'scored';
  /** Means of x and e over the first batch, [width]: reference points of sums of squares. */
  private centre: { x: Tensor; error: Tensor } | null = null;

  /** Sum of scored activations and how many they are; null where no mean takes their place. */
  private sum: { total: Float64Array; rows: number } | null = null;

  constructor(model: Gpt2, dictionary: Dictionary, place: Place, ablate: 'everywhere' | 'scored') {
    this.model = model;
    this.dictionary = dictionary;
    this.place = place;
    this.ablate = ablate;
  }

  dispose(): void {
    this.centre?.x.dispose();
    this.centre?.error.dispose();
  }

  /** Adds a batch to the mean that takes the place of activations. */
  async addToMean(prompts: readonly (readonly number[])[], scored: readonly (readonly boolean[])[]): Promise<void> {
    const { model, place } = this;
    const { rows, length } = scoredRows(prompts, scored);
    if (rows.length === 0) return;
    this.sum ??= { total: new Float64Array(place.width), rows: 0 };
    const mean = await model.gpu.scope(async () => {
      const run = model.run(prompts, { cache: place.hook, logits: 'none' });
      const x = gatherRows(run.get(place.hook).reshape([prompts.length * length, -1]), Tensor.from(model.gpu, Uint32Array.from(rows), [rows.length]), { offset: place.offset, width: place.width });
      const read = meanColumns(x).read();
      run.dispose();
      return read;
    });
    for (const [i, value] of mean.entries()) this.sum.total[i]! += value * rows.length;
    this.sum.rows += rows.length;
  }

  /** Measures one batch; `scored` says for every token whether it counts. */
  async batch(prompts: readonly (readonly number[])[], scored: readonly (readonly boolean[])[], totals: MetricTotals, losses: boolean): Promise<void> {
    const { model, place } = this;
    const { rows, length } = scoredRows(prompts, scored);
    if (rows.length === 0) return;
    await model.gpu.scope(async () => {
      const clean = model.run(prompts, { cache: place.hook, keep: losses, logits: losses ? 'all' : 'none' });
      const index = Tensor.from(model.gpu, Uint32Array.from(rows), [rows.length]);
      const activations = clean.get(place.hook).reshape([prompts.length * length, -1]);
      const x = gatherRows(activations, index, { offset: place.offset, width: place.width });
      const perPrompt = scored.map((prompt) => prompt.filter(Boolean).length);
      const { reconstruction, sparsity } = await this.encode(x, perPrompt);
      const { sums, columns } = await this.reconstructionSums(x, reconstruction);
      totals.add({ ...sums, l0: sparsity.l0, l1: sparsity.l1 }, { ...columns, active: sparsity.active, activePrompts: sparsity.activePrompts });
      if (losses) totals.addLosses(await this.losses(clean, prompts, length, rows, index, activations, reconstruction));
      clean.dispose();
    });
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

  /** Cross-entropies and divergences of the scored rows, from runs that resume the clean one at the hook. */
  private async losses(
    clean: Run, prompts: readonly (readonly number[])[], length: number, rows: readonly number[], index: Tensor, activations: Tensor, reconstruction: Tensor,
  ): Promise<TokenLosses> {
    const { place, model } = this;
    const { gpu, config } = model;
    const flat = (logits: Tensor) => logits.reshape([prompts.length * length, config.vocabulary]);
    const next = Uint32Array.from({ length: prompts.length * length }, (_, row) => prompts[Math.floor(row / length)]![(row % length) + 1] ?? 0);
    const hasNext = (row: number) => row % length < prompts[Math.floor(row / length)]!.length - 1;
    return gpu.scope(async () => {
      const everything = Tensor.from(gpu, Uint32Array.from({ length: prompts.length * length }, (_, i) => i), [prompts.length * length]);
      const answers = Tensor.from(gpu, next, [next.length]);
      const original = softmax(flat(clean.logits!), { log: true });
      const probabilities = softmax(flat(clean.logits!));
      const altered = (values: Tensor) => gpu.scope(() => {
        const run = model.run(prompts, {
          resume: clean, logits: 'all', edits: [{ hook: place.hook, ...(place.head === undefined ? {} : { head: place.head }), values: values.reshape([prompts.length, length, place.width]) }],
        });
        const logs = softmax(flat(run.logits!), { log: true });
        run.dispose();
        return { loss: gatherElements(logs, answers), divergence: sumRows(mul(probabilities, sub(original, logs))) };
      });
      const spliced = gatherRows(activations, everything, { offset: place.offset, width: place.width });
      scatterRows(spliced, index, reconstruction);
      const zeros = Tensor.zeros(gpu, [prompts.length * length, place.width]);
      if (this.ablate === 'scored') scatterUnscored(zeros, activations, rows, place);
      const [sae, ablation, mean] = [altered(spliced), altered(zeros), this.sum && altered(this.means(activations, rows))];
      const wanted: Record<string, Tensor> = {
        original: gatherElements(original, answers), sae: sae.loss, ablation: ablation.loss, klSae: sae.divergence, klAblation: ablation.divergence, ...(mean ? { mean: mean.loss, klMean: mean.divergence } : {}),
      };
      const read = await readAll(wanted);
      const ofNext = (values: Float32Array) => rows.filter(hasNext).map((row) => -values[row]!);
      const ofRows = (values: Float32Array) => rows.map((row) => values[row]!);
      return {
        crossEntropy: { original: ofNext(read['original']!), sae: ofNext(read['sae']!), ablation: ofNext(read['ablation']!), ...(mean ? { mean: ofNext(read['mean']!) } : {}) },
        divergence: { sae: ofRows(read['klSae']!), ablation: ofRows(read['klAblation']!), ...(mean ? { mean: ofRows(read['klMean']!) } : {}) },
      };
    });
  }

  /** The mean in place of every scored activation; others as they are. */
  private means(activations: Tensor, rows: readonly number[]): Tensor {
    const { place, model: { gpu }, sum } = this;
    const { total, rows: count } = sum!;
    const mean = Tensor.from(gpu, Float32Array.from(total, (value) => value / count), [place.width]);
    const values = add(Tensor.zeros(gpu, [activations.shape[0]!, place.width]), mean);
    scatterUnscored(values, activations, rows, place);
    return values;
  }
}

/** Numbers of the rows [prompts · length] that count. */
function scoredRows(prompts: readonly (readonly number[])[], scored: readonly (readonly boolean[])[]): { rows: number[]; length: number } {
  const length = prompts.reduce((most, prompt) => Math.max(most, prompt.length), 0);
  return { length, rows: scored.flatMap((prompt, i) => prompt.flatMap((counts, t) => (counts ? [i * length + t] : []))) };
}

/** Puts the activations of rows that are not scored into `target` [all rows, width]. */
function scatterUnscored(target: Tensor, activations: Tensor, rows: readonly number[], { offset, width }: Place): void {
  const { gpu } = target;
  const scored = new Set(rows);
  const others = Uint32Array.from(Array.from({ length: target.shape[0]! }, (_, i) => i).filter((row) => !scored.has(row)));
  if (others.length === 0) return;
  gpu.scope(() => {
    const index = Tensor.from(gpu, others, [others.length]);
    scatterRows(target, index, gatherRows(activations, index, { offset, width }));
  });
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
