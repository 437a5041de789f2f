/**
 * Dictionaries of one width that are trained together: their data, weights, moments and the buffers of a step, stacked along a first axis.
 * Every kernel computes each dictionary by itself in a fixed order, so a dictionary's bytes do not depend on what it is trained beside.
 */
import { LimitError, NumberError } from '../errors.ts';
import type { Gpu } from '../gpu/index.ts';
import {
  adam, adamPipelines, adamRows, affine, dictionariesPerStep, gatherExamples, meanColumns, padRows, randomUniform, resizeRows, SaeStep, scaleRows, stepBytes, sumSquaresRows, Tensor, vec4s,
  type SaeWeights,
} from '../tensor/index.ts';
import type { LossSums } from './log.ts';
import type { SaeJob, TrainSettings } from './settings.ts';

/** The four weight tensors, in the order in which checkpoints list them. */
export const PARTS = ['encoder', 'encoderBias', 'decoder', 'decoderBias'] as const;

/** One scalar per site (evaluation.md §7.1): mean ‖a‖ / √width. Inputs divided by it have a mean length of √width. */
export async function siteScale(data: Tensor, name: string): Promise<number> {
  const squares = sumSquaresRows(data);
  const lengths = await squares.read();
  squares.dispose();
  let sum = 0;
  for (const square of lengths) sum += Math.sqrt(square);
  const scale = sum / lengths.length / Math.sqrt(data.shape[1]!);
  if (!Number.isFinite(scale)) throw new NumberError(`training ${name}: the activations hold NaN or infinity`);
  if (scale === 0) throw new NumberError(`training ${name}: all activations are zero`);
  return Math.fround(scale);
}

/** Puts jobs of the same width together, as many as the adapter can bind at once. Returns positions in `jobs`. Throws LimitError, before anything is allocated, if one alone is too large. */
export function groupJobs(gpu: Pick<Gpu, 'limits'>, jobs: readonly SaeJob[], features: number, maxRows: number): number[][] {
  const groups: number[][] = [];
  const byWidth = new Map<number, number[]>();
  jobs.forEach((job, i) => byWidth.set(job.data.shape[1]!, [...(byWidth.get(job.data.shape[1]!) ?? []), i]));
  for (const [width, members] of byWidth) {
    const padded = vec4s(width) * 4;
    const examples = jobs[members[0]!]!.data.shape[0]!;
    // Counted as if no two jobs shared their data.
    const sizes = { features, width: padded, maxRows };
    const pool = 4 * examples * padded;
    const most = Math.min(dictionariesPerStep(sizes, gpu.limits), Math.floor(gpu.limits.bindingBytes / pool));
    if (most === 0) throw new LimitError(`training ${jobs[members[0]!]!.name}: needs ${Math.max(...Object.values(stepBytes(sizes)), pool)} bytes in one binding, but this adapter allows ${gpu.limits.bindingBytes}; use fewer features, a smaller batch or fewer examples`);
    for (let start = 0; start < members.length; start += most) groups.push(members.slice(start, start + most));
  }
  return groups;
}

export class SaeBatch {
  readonly jobs: readonly SaeJob[];
  /** c of each job's data. */
  readonly scales: readonly number[];
  readonly weights: SaeWeights;
  readonly first: SaeWeights;
  readonly second: SaeWeights;
  /** Normalised examples of each pool, [pools, examples, width]. */
  readonly data: Tensor;
  /** Each job's pool, on the CPU and the GPU. */
  readonly pools: readonly number[];
  readonly step: SaeStep;
  /** Sums over the examples of an epoch for the log, [jobs, 4]. */
  readonly totals: Tensor;
  readonly examples: number;
  /** Width as kernels see it, a multiple of 4; numbers beyond the real width are zeros and stay zeros. */
  readonly width: number;
  private readonly gpu: Gpu;
  private readonly settings: TrainSettings;
  private readonly pool: Tensor;
  private readonly mean: Tensor;
  private readonly rate: Tensor;
  private readonly l1: Tensor;
  private readonly x: Tensor;
  private readonly ones: Tensor;
  private readonly identity: Tensor;
  private readonly maxRows: number;

  private constructor(gpu: Gpu, jobs: readonly SaeJob[], settings: TrainSettings, maxRows: number, sites: { data: Tensor; mean: Tensor; pools: number[]; scales: number[] }) {
    this.gpu = gpu;
    this.jobs = jobs;
    this.settings = settings;
    this.maxRows = maxRows;
    this.data = sites.data;
    this.mean = sites.mean;
    this.pools = sites.pools;
    this.scales = sites.scales;
    const [pools = 0, examples = 0, width = 0] = this.data.shape;
    const [D, F] = [jobs.length, settings.features];
    this.examples = examples;
    this.width = width;
    this.step = new SaeStep(gpu, { dictionaries: D, features: F, width, maxRows }, { path: settings.path });
    const stack = (): SaeWeights => ({
      encoder: Tensor.zeros(gpu, [D, F, width]), encoderBias: Tensor.zeros(gpu, [D, F]), decoder: Tensor.zeros(gpu, [D, F, width]), decoderBias: Tensor.zeros(gpu, [D, width]),
    });
    this.weights = stack();
    this.first = stack();
    this.second = stack();
    this.totals = Tensor.zeros(gpu, [D, 4]);
    this.pool = Tensor.from(gpu, Uint32Array.from(this.pools), [D]);
    this.rate = Tensor.from(gpu, jobs.map((job) => job.learningRate ?? settings.learningRate), [D]);
    this.l1 = Tensor.from(gpu, jobs.map((job) => job.l1), [D]);
    this.x = Tensor.empty(gpu, [pools, maxRows, width]);
    this.ones = Tensor.from(gpu, new Float32Array(pools).fill(1), [pools]);
    this.identity = Tensor.from(gpu, Uint32Array.from({ length: examples }, (_, i) => i), [examples]);
    for (const tensor of this.owned()) gpu.keep(tensor);
  }

  /** Normalises the data and initialises the weights. Throws NumberError for activations that are not finite or all zero. */
  static async create(gpu: Gpu, jobs: readonly SaeJob[], settings: TrainSettings, maxRows: number): Promise<SaeBatch> {
    const distinct = [...new Set(jobs.map((job) => job.data))];
    const scaleOf = await Promise.all(distinct.map((data) => siteScale(data, jobs.find((job) => job.data === data)!.name)));
    const pools = jobs.map((job) => distinct.indexOf(job.data));
    const [examples, width] = distinct[0]!.shape as [number, number];
    const padded = vec4s(width) * 4;
    const sites = gpu.scope(() => {
      const data = Tensor.empty(gpu, [distinct.length, examples, padded]);
      const mean = Tensor.empty(gpu, [distinct.length, padded]);
      distinct.forEach((raw, i) => {
        const part = gatherExamples(raw.reshape([1, examples, width]), Tensor.from(gpu, [1 / scaleOf[i]!], [1]), null);
        place(gpu, part, data, i);
        place(gpu, meanColumns(part.reshape([examples, padded])), mean, i);
      });
      return { data, mean, pools, scales: pools.map((pool) => scaleOf[pool]!) };
    });
    gpu.keep(sites.data);
    gpu.keep(sites.mean);
    const batch = new SaeBatch(gpu, jobs, settings, maxRows, sites);
    try {
      batch.initialise(width);
      await gpu.prepare([...batch.step.pipelines(), ...adamPipelines(gpu, jobs.length * settings.features, vec4s(width) * 4, settings.projectGradient)]);
    } catch (error) {
      batch.dispose();
      throw error;
    }
    return batch;
  }

  /** Decoder rows from a uniform distribution (Kaiming's, whose bound the normalisation cancels) brought to unit length; the encoder is its transpose; biases 0. */
  private initialise(width: number): void {
    const { gpu, weights, settings } = this;
    this.jobs.forEach((job, i) => gpu.scope(() => {
      const rows = padRows(scaleRows(randomUniform(gpu, [settings.features, width], { seed: job.seed, low: -1, high: 1 })));
      place(gpu, rows, weights.decoder, i);
      place(gpu, rows, weights.encoder, i);
    }));
  }

  /** One optimiser step on examples order[first .. first + rows); `count` counts steps from 1. With `collect`, adds to `totals`. */
  train(order: Tensor, span: { first: number; rows: number }, count: number, factor: number, collect: boolean): void {
    const { step, weights, pool, settings, rate } = this;
    gatherExamples(this.data, this.ones, { index: order, ...span }, this.x);
    step.train(this.x, pool, weights, this.l1, span.rows, collect ? { mean: this.mean, totals: this.totals } : undefined);
    const { beta1, beta2, epsilon } = settings;
    for (const part of PARTS) {
      const tensors = { parameter: weights[part], gradient: step.gradients[part], first: this.first[part], second: this.second[part], rate };
      const now = { beta1, beta2, epsilon, step: count, factor };
      if (part === 'decoder') adamRows(tensors, now, { project: settings.projectGradient, normalise: true });
      else adam(tensors, now);
    }
  }

  /** Forgets what was counted for the epoch. */
  startEpoch(): void {
    this.gpu.clear(this.step.fired, this.step.fired.byteLength);
    this.gpu.clear(this.totals, this.totals.byteLength);
  }

  /** Sums for the log and counts of activity so far in the epoch, per job. */
  async epochCounts(): Promise<{ sums: LossSums[]; fired: Uint32Array[] }> {
    const F = this.settings.features;
    const [totals, fired] = await Promise.all([this.totals.read(), this.step.fired.readU32()]);
    return {
      sums: this.jobs.map((_, i) => [...totals.subarray(i * 4, i * 4 + 4)] as unknown as LossSums),
      fired: this.jobs.map((_, i) => fired.subarray(i * F, (i + 1) * F)),
    };
  }

  /** What every example adds to each job's loss now: squared error, sum of codes, active features, squared distance from the mean; [examples, 4] per job. */
  async exampleLosses(countFired = false): Promise<Float32Array[]> {
    const { examples, maxRows, jobs } = this;
    const out = jobs.map(() => new Float32Array(examples * 4));
    for (let first = 0; first < examples; first += maxRows) {
      const rows = Math.min(maxRows, examples - first);
      const values = await this.gpu.scope(() => {
        gatherExamples(this.data, this.ones, { index: this.identity, first, rows }, this.x);
        return this.step.losses(this.x, this.pool, this.weights, this.mean, rows, countFired).read();
      });
      out.forEach((losses, i) => losses.set(values.subarray(i * rows * 4, (i + 1) * rows * 4), first * 4));
    }
    return out;
  }

  /** Sums of `exampleLosses` and how often each feature is active over all examples. The counters of the epoch are lost. */
  async survey(): Promise<{ sums: LossSums[]; fired: Uint32Array[] }> {
    this.startEpoch();
    const losses = await this.exampleLosses(true);
    const { fired } = await this.epochCounts();
    const sums = losses.map((values) => {
      const sum: [number, number, number, number] = [0, 0, 0, 0];
      values.forEach((value, at) => { sum[at % 4]! += value; });
      return sum;
    });
    return { sums, fired };
  }

  /** Weights of one job in activation units, without padding: the site's scale moves into the biases (see dictionary/sae.ts). */
  finished(job: number): SaeWeights {
    const { weights, scales } = this;
    const width = this.jobs[job]!.data.shape[1]!;
    return this.gpu.scope(() => ({
      encoder: resizeRows(this.slice(weights.encoder, job), width),
      encoderBias: affine(this.slice(weights.encoderBias, job), scales[job]!),
      decoder: resizeRows(this.slice(weights.decoder, job), width),
      decoderBias: affine(resizeRows(this.slice(weights.decoderBias, job), width), scales[job]!),
    }));
  }

  /** One job's part of a stacked tensor, in a new tensor without the leading axis. */
  slice(stacked: Tensor, job: number): Tensor {
    const out = Tensor.empty(this.gpu, stacked.shape.slice(1), stacked.dtype);
    this.gpu.copy({ storage: stacked.storage, byteOffset: stacked.byteOffset + job * out.byteLength, byteLength: out.byteLength }, out, out.byteLength);
    return out;
  }

  /** Overwrites elements of a state tensor with 32-bit patterns, whatever its type. */
  writeBits(tensor: Tensor, bits: Uint32Array, elementOffset: number): void {
    this.gpu.upload(tensor, bits, elementOffset * 4);
  }

  dispose(): void {
    for (const tensor of this.owned()) tensor.dispose();
    this.step.dispose();
  }

  private owned(): Tensor[] {
    const stacks = [this.weights, this.first, this.second].flatMap((stack) => Object.values(stack) as Tensor[]);
    return [...stacks, this.data, this.mean, this.totals, this.pool, this.rate, this.l1, this.x, this.ones, this.identity];
  }
}

/** Copies a tensor to where part `i` of a stacked one lies. */
function place(gpu: Gpu, part: Tensor, stacked: Tensor, i: number): void {
  gpu.copy(part, { storage: stacked.storage, byteOffset: stacked.byteOffset + i * part.byteLength, byteLength: part.byteLength }, part.byteLength);
}
