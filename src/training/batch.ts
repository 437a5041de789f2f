/**
 * Dictionaries of one variant and width that are trained together: their weights, moments and the buffers of a step, stacked along a first axis.
 * Every kernel computes each dictionary by itself in a fixed order, so a dictionary's bytes do not depend on what it is trained beside.
 */
import type { Gpu } from '../gpu/index.ts';
import {
  add, adam, adamPipelines, adamRows, clipFactors, finishedWeights, partShape, resizeRows, saeParts, SaeStep, Tensor, type SaePart, type SaeWeights,
} from '../tensor/index.ts';
import { BatchCounters } from './counters.ts';
import { initialMatrices, initialValue } from './initial.ts';
import type { LossSums } from './log.ts';
import { sparsityAt } from './schedule.ts';
import { variantOf, type SaeJob, type TrainSettings } from './settings.ts';
import { place, type SiteData } from './site-data.ts';
import { variantPolicies, type TrainVariant, type VariantPolicy } from './variants.ts';

type Parts = Partial<Record<SaePart, Tensor>>;

/** Activity of each job's features. */
export interface Activity {
  /** [features]: how often each was active in what was trained on or looked at last. */
  fired: Uint32Array[];
  /** [features]: 0 for those that are dead. */
  alive: Uint32Array[];
  /** Mean over features of the examples since they were last active; null where that is not counted. */
  since: number[] | null;
}

export interface EpochCounts extends Activity { sums: LossSums[] }

export class SaeBatch {
  readonly jobs: readonly SaeJob[];
  readonly variant: TrainVariant;
  readonly policy: VariantPolicy;
  readonly site: SiteData;
  /** Each job's pool of the site data. */
  readonly pools: readonly number[];
  /** c of each job's data. */
  readonly scales: readonly number[];
  readonly weights: SaeWeights;
  /** Adam's moments of what is trained. */
  readonly first: Parts;
  readonly second: Parts;
  /** The parts that have moments, in the order of checkpoints. */
  readonly trained: readonly SaePart[];
  readonly step: SaeStep;
  /** Sums over the examples of an epoch for the log, and those of the second reconstruction where a variant has one; [jobs, 4]. */
  readonly totals: Tensor;
  readonly auxiliaryTotals: Tensor;
  /** What was taken from each job's activations before they were scaled, [jobs, width]; null where inputs are not centred. */
  readonly inputMeans: Tensor | null;
  /** BatchTopK: the running threshold, [jobs]; −1 before the first step. */
  readonly running: Tensor;
  /** Whether dead features learn by an auxiliary loss. */
  readonly auxiliary: boolean;
  readonly counters: BatchCounters;
  /** λ or K of each job as the last step used it, or the first will. */
  private sparsityNow: readonly number[];
  private readonly gpu: Gpu;
  private readonly settings: TrainSettings;
  private readonly pool: Tensor;
  private readonly rate: Tensor;
  private readonly sparsity: Tensor;

  private constructor(gpu: Gpu, site: SiteData, jobs: readonly SaeJob[], settings: TrainSettings) {
    this.gpu = gpu;
    this.site = site;
    this.jobs = jobs;
    this.settings = settings;
    this.variant = variantOf(jobs[0]!);
    this.policy = variantPolicies[this.variant];
    this.pools = jobs.map((job) => site.poolOf(job.data));
    this.scales = this.pools.map((pool) => site.scales[pool]!);
    const { kernels, sparsity } = this.policy;
    const [D, sizes] = [jobs.length, { features: settings.features, width: site.width }];
    this.auxiliary = sparsity === 'k' && settings.auxiliaryCoefficient > 0;
    this.step = new SaeStep(gpu, { dictionaries: D, ...sizes, maxRows: site.maxRows }, stepOptions(this.variant, settings, this.auxiliary));
    const parts = saeParts(kernels);
    const stack = (names: readonly SaePart[]): Parts => Object.fromEntries(names.map((part) => [part, Tensor.zeros(gpu, [D, ...partShape(part, sizes)])]));
    this.trained = this.policy.decoder ? parts : parts.filter((part) => part !== 'decoder');
    this.weights = stack(parts) as SaeWeights;
    this.first = stack(this.trained);
    this.second = stack(this.trained);
    this.totals = Tensor.zeros(gpu, [D, 4]);
    this.auxiliaryTotals = Tensor.zeros(gpu, [D, 4]);
    this.running = Tensor.from(gpu, new Float32Array(D).fill(-1), [D]);
    this.inputMeans = site.centres.some((centre) => centre) ? Tensor.zeros(gpu, [D, site.realWidth]) : null;
    this.pools.forEach((pool, i) => this.inputMeans && place(gpu, site.centres[pool]!, this.inputMeans, i));
    this.pool = Tensor.from(gpu, Uint32Array.from(this.pools), [D]);
    this.rate = Tensor.from(gpu, jobs.map((job) => job.learningRate ?? settings.learningRate), [D]);
    this.counters = new BatchCounters(gpu, this.step, D, { policy: this.policy, settings, auxiliary: this.auxiliary });
    this.sparsityNow = this.sparsityAt(0);
    this.sparsity = Tensor.from(gpu, this.sparsityNow, [D]);
    for (const tensor of this.owned()) gpu.keep(tensor);
  }

  /** Initialises the weights of jobs of one variant. */
  static async create(gpu: Gpu, site: SiteData, jobs: readonly SaeJob[], settings: TrainSettings): Promise<SaeBatch> {
    const batch = new SaeBatch(gpu, site, jobs, settings);
    try {
      batch.initialise();
      await gpu.prepare([...batch.step.pipelines(), ...adamPipelines(gpu, jobs.length * settings.features, site.width, { project: settings.projectGradient, clip: settings.clipNorm > 0 })]);
    } catch (error) {
      batch.dispose();
      throw error;
    }
    return batch;
  }

  private initialise(): void {
    const { gpu, weights, settings, site } = this;
    this.jobs.forEach(({ seed }, i) => gpu.scope(() => {
      const matrices = initialMatrices(gpu, this.variant, settings, site.realWidth, { seed, draw: 0 });
      place(gpu, matrices.decoder, weights.decoder, i);
      place(gpu, matrices.encoder, weights.encoder, i);
    }));
    for (const part of saeParts(this.policy.kernels)) {
      const value = initialValue(part, settings);
      if (value !== 0) weights[part]!.write(new Float32Array(weights[part]!.size).fill(value));
    }
  }

  /** One optimiser step on the `rows` examples in the site's `x`; `count` counts steps from 1. With `collect`, adds to the totals. */
  train(rows: number, count: number, factor: number, collect: boolean): void {
    const { gpu, step, weights, pool, settings, rate, sparsity, site, counters } = this;
    this.follow(count);
    const epoch = { totals: this.totals, auxiliary: this.auxiliaryTotals };
    step.train(site.x, pool, weights, sparsity, rows, collect ? { mean: site.mean, ...counters.into(epoch) } : undefined);
    if (collect) counters.add(epoch, sparsity);
    counters.count(rows);
    const { beta1, beta2, epsilon, clipNorm } = settings;
    const now = { beta1, beta2, epsilon, step: count, factor };
    gpu.scope(() => {
      const clip = clipNorm > 0 ? clipFactors(this.trained.map((part) => step.gradients[part]!), clipNorm) : null;
      for (const part of this.trained) {
        const tensors = { parameter: weights[part]!, gradient: step.gradients[part]!, first: this.first[part]!, second: this.second[part]!, rate, clip };
        if (part === 'decoder' && this.unitRows()) adamRows(tensors, now, { project: settings.projectGradient, normalise: true });
        else adam(tensors, now);
      }
    });
    if (this.variant === 'batchtopk') step.updateThreshold(this.running, settings.thresholdRate);
  }

  /** Takes λ and K as step number `count` has them; told after a checkpoint was restored, and known to `train`. */
  follow(count: number): void {
    const next = this.sparsityAt(count);
    if (next.every((value, i) => value === this.sparsityNow[i])) return;
    this.sparsityNow = next;
    this.sparsity.write(next);
  }

  private sparsityAt(count: number): readonly number[] {
    return this.jobs.map((job) => sparsityAt(job, count, this.settings, this.site.realWidth));
  }

  /** What λ or K of a job is now. */
  jobNow(i: number): Pick<SaeJob, 'variant' | 'l1' | 'k'> {
    const { variant, policy } = this;
    return policy.sparsity === 'k' ? { variant, k: this.sparsityNow[i]! } : { variant, l1: this.sparsityNow[i]! };
  }

  /** Whether decoder rows are kept at unit length. */
  private unitRows(): boolean {
    return this.policy.sparsity !== 'k' || this.settings.topkDecoder === 'unit';
  }

  /** Forgets what was counted for the epoch. */
  startEpoch(): void {
    for (const tensor of [this.step.fired, this.totals, this.auxiliaryTotals]) this.gpu.clear(tensor, tensor.byteLength);
    this.counters.startEpoch();
  }

  /** Takes features that no example of the epoch activated as dead, for the auxiliary loss; unless that is counted step by step. */
  endEpoch(): void {
    if (this.auxiliary && !this.counters.since) this.step.markDead();
  }

  /** Sums for the log and activity so far in the epoch, per job. Before `endEpoch`. */
  async epochCounts(): Promise<EpochCounts> {
    const [sums, activity] = await Promise.all([this.sums(true), this.activity()]);
    return { sums, ...activity };
  }

  /** Sums for the log so far in the epoch, per job; `withDead` says how many features are dead too, which takes a longer read. */
  async sums(withDead: boolean): Promise<LossSums[]> {
    const { jobs, step, settings: { features: F }, counters: { weighted } } = this;
    const [totals, second, dead, weighed] = await Promise.all([this.totals.read(), this.auxiliaryTotals.read(), withDead && this.auxiliary ? step.dead.readU32() : null, weighted?.read()]);
    return jobs.map((_, i) => ({
      ...lossSums([...totals.subarray(i * 4, i * 4 + 4), ...second.subarray(i * 4, i * 4 + 4)], dead ? dead.subarray(i * F, (i + 1) * F).reduce((sum, is) => sum + is, 0) : 0),
      ...(weighed ? { weighted: { penalty: weighed[i * 2]!, auxiliary: weighed[i * 2 + 1]! } } : {}),
    }));
  }

  /** Which features are alive. Where `deadAfter` is set that is what was counted over the last examples, whatever else was looked at since. */
  private async activity(): Promise<Activity> {
    const { jobs, step, settings: { features: F, deadAfter }, counters: { since } } = this;
    const ofJobs = (values: Uint32Array): Uint32Array[] => jobs.map((_, i) => values.subarray(i * F, (i + 1) * F));
    const [counts, examples] = await Promise.all([step.fired.readU32(), since?.readU32()]);
    const [fired, ago] = [ofJobs(counts), examples && ofJobs(examples)];
    if (!ago) return { fired, alive: fired, since: null };
    return { fired, alive: ago.map((own) => own.map((count) => (count < deadAfter ? 1 : 0))), since: ago.map((own) => own.reduce((sum, count) => sum + count, 0) / F) };
  }

  /**
   * Goes through all examples and gives what each adds to each job's loss now: `values` has 8 numbers an example in the order of `lossSums`, for the
   * examples from `first` on. BatchTopK's codes are those of the running threshold.
   */
  async eachLosses(take: (job: number, first: number, values: Float32Array) => void, countFired = false): Promise<void> {
    const { jobs, site, step } = this;
    const how = this.variant === 'batchtopk' ? { threshold: this.running } : { sparsity: this.sparsity };
    for (let first = 0; first < site.examples; first += site.maxRows) {
      const rows = Math.min(site.maxRows, site.examples - first);
      const [main, second] = await this.gpu.scope(() => {
        site.gather({ first, rows });
        const losses = step.losses(site.x, this.pool, this.weights, site.mean, rows, countFired, how);
        return Promise.all([losses.read(), step.auxiliaryLosses(rows)?.read()]);
      });
      for (let i = 0; i < jobs.length; i++) {
        const values = new Float32Array(rows * 8);
        for (let r = 0; r < rows; r++) {
          const from = (i * rows + r) * 4;
          values.set(main.subarray(from, from + 4), r * 8);
          if (second) values.set(second.subarray(from, from + 4), r * 8 + 4);
        }
        take(i, first, values);
      }
    }
  }

  /** Sums of `eachLosses` and how often each feature is active over all examples. The counters of the epoch are lost. */
  async survey(): Promise<EpochCounts> {
    this.startEpoch();
    const sums = this.jobs.map(() => new Float64Array(8));
    await this.eachLosses((job, _, values) => values.forEach((value, at) => { sums[job]![at % 8]! += value; }), true);
    const activity = await this.activity();
    return { sums: sums.map((sum) => lossSums(sum, 0)), ...activity };
  }

  /** Weights of one job in activation units, without padding: the site's scale moves into biases and thresholds (see dictionary/sae.ts), its mean into the decoder's bias. */
  finished(job: number): SaeWeights {
    const { policy, weights, scales, site } = this;
    return this.gpu.scope(() => {
      const parts = saeParts(policy.kernels).map((part) => {
        // New tensors are made of it below.
        const own = weights[part]!.rows(job, 1);
        const whole = own.reshape(own.shape.slice(1));
        return [part, partShape(part, { features: 0, width: 1 }).at(-1) === 1 ? resizeRows(whole, site.realWidth) : whole] as const;
      });
      const threshold = this.slice(this.running, job).reshape([1]);
      const finished = finishedWeights(policy.kernels, Object.fromEntries(parts) as unknown as SaeWeights, scales[job]!, threshold);
      return this.inputMeans ? { ...finished, decoderBias: add(finished.decoderBias, this.slice(this.inputMeans, job)) } : finished;
    });
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
    this.counters.dispose();
  }

  private owned(): Tensor[] {
    const stacks = [this.weights, this.first, this.second].flatMap((stack) => Object.values(stack) as Tensor[]);
    return [...stacks, ...(this.inputMeans ? [this.inputMeans] : []), this.totals, this.auxiliaryTotals, this.running, this.pool, this.rate, this.sparsity];
  }
}

function stepOptions(variant: TrainVariant, settings: TrainSettings, auxiliary: boolean): ConstructorParameters<typeof SaeStep>[2] {
  const { kernels } = variantPolicies[variant];
  return {
    variant: kernels,
    path: kernels === 'vanilla' ? settings.path : 'auto',
    signed: (variant === 'gated' && settings.signedMagnitude) || (variant === 'topk' && settings.signedTopk),
    bandwidth: settings.bandwidth,
    ...(auxiliary ? { auxiliary: { k: settings.auxiliaryFeatures, coefficient: settings.auxiliaryCoefficient } } : {}),
  };
}

/** Names for the figures of both reconstructions in a row. */
export function lossSums([errors, codes, active, spread, secondErrors, secondCodes, secondActive]: ArrayLike<number> & Iterable<number>, dead: number): LossSums {
  return { errors: errors!, codes: codes!, active: active!, spread: spread!, secondErrors: secondErrors!, secondCodes: secondCodes!, secondActive: secondActive!, dead };
}
