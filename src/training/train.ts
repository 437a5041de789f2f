/** Training many sparse autoencoders at once: the loop around batches of dictionaries. */
import { UsageError } from '../errors.ts';
import type { Gpu } from '../gpu/index.ts';
import { Sae } from '../dictionary/index.ts';
import { Tensor } from '../tensor/index.ts';
import { SaeBatch, type EpochCounts } from './batch.ts';
import { readCheckpoint, restoreCheckpoint, saveCheckpoint, type Checkpoint, type Placed } from './checkpoint.ts';
import { checkLoss, figures, lossTerms, type LogRecord } from './log.ts';
import { epochOrder } from './order.ts';
import { groupJobs } from './plan.ts';
import { resample } from './resample.ts';
import { batchOf, learningRateFactor, samplesAfter, scheduleOf, type Schedule } from './schedule.ts';
import { checkJobs, checkSettings, isOwnScale, type SaeJob, type TrainSettings } from './settings.ts';
import type { Measures } from './measures.ts';
import { fillSites, measureSites, SiteData } from './site-data.ts';
import { StreamedExamples, type ActivationStream } from './stream.ts';

export interface TrainOptions extends Partial<TrainSettings> {
  /** Called at the end of an epoch with a record for each dictionary, in the jobs' order; the run waits for it. */
  onLog?: (records: LogRecord[]) => void | Promise<void>;
  /** Called every few steps. */
  onStep?: (done: number, total: number) => void;
  /** Steps between two checkpoints; none if not given. */
  checkpointEvery?: number;
  /** Asked after each step whether it is time for a checkpoint, besides those: for checkpoints by the clock. */
  checkpointDue?: (step: number) => boolean;
  /** Stores a checkpoint's bytes; the run waits for it. Should write whole or not at all. */
  onCheckpoint?: (bytes: Uint8Array, step: number) => void | Promise<void>;
  /** Epochs at whose end `onSnapshot` is called, before dead features are resampled. Those beyond the run are passed over. */
  snapshotEpochs?: readonly number[];
  /**
   * Takes the dictionaries as they are then, in the jobs' order and its own to dispose, and their figures over all examples; the run waits for
   * it. A run that goes on from a checkpoint repeats the snapshots of later epochs only.
   */
  onSnapshot?: (epoch: number, saes: Sae[], figures: LogRecord[]) => void | Promise<void>;
  /** Brings the examples that jobs name as their data, fresh ones for every epoch, which is then a round; checkpoints hold its state. */
  stream?: ActivationStream;
  /** A checkpoint's bytes to go on from. */
  resume?: Uint8Array;
  /** Stops the run before its next step. */
  signal?: AbortSignal;
}

export interface TrainResult {
  /** Trained dictionaries in the jobs' order; the caller's to dispose. After a stop: as they were then. */
  saes: Sae[];
  /** Figures over all examples with the final weights. */
  final: LogRecord[];
  steps: number;
  /** Steps done, less than `steps` after a stop. */
  step: number;
  finished: boolean;
  /** Set after a stop: what to go on from. */
  checkpoint: Uint8Array | null;
}

type LoopOptions = Pick<TrainOptions, 'onLog' | 'onStep' | 'checkpointEvery' | 'checkpointDue' | 'onCheckpoint' | 'snapshotEpochs' | 'onSnapshot' | 'signal'>;

/** Steps recorded ahead of the device: enough to keep it busy, few enough to stop soon. */
const AHEAD = 4;
/** Steps between two looks at whether losses are still numbers, a multiple of the above. They are read while later steps run. */
const CHECK_EVERY = 16;

/**
 * Trains all jobs side by side. The same jobs, settings and adapter give the same bytes, whichever jobs share a run.
 *
 * Throws UsageError for settings out of range or a checkpoint of another run, ShapeError for data that does not fit, LimitError for a
 * dictionary that the adapter cannot hold, NumberError for a loss that is no number, within about twenty steps, or for a checkpoint that would hold
 * what is none (both named with dictionary and step).
 */
export async function trainSaes(gpu: Gpu, jobs: readonly SaeJob[], options: TrainOptions = {}): Promise<TrainResult> {
  const { onLog, onStep, checkpointEvery, checkpointDue, onCheckpoint, snapshotEpochs, onSnapshot, stream, resume, signal, ...given } = options;
  const settings = checkSettings(given);
  const examples = checkJobs(jobs, settings);
  const schedule = scheduleOf(settings, examples);
  const run = new Run(gpu, jobs, settings, schedule, examples, stream);
  try {
    await run.open(resume);
    await run.loop({ onLog, onStep, checkpointEvery, checkpointDue, onCheckpoint, snapshotEpochs, onSnapshot, signal });
    const finished = run.step >= schedule.steps;
    // Before the final figures, which use the epoch's counters.
    const checkpoint = finished ? null : await run.checkpoint();
    const final = await run.survey();
    return { saes: run.saes(), final, steps: schedule.steps, step: run.step, finished, checkpoint };
  } finally {
    run.dispose();
  }
}

class Run {
  /** Steps done. */
  step = 0;
  /** The last step known to have had finite losses. */
  private good = 0;
  private placed: Placed[] = [];
  /** Share of the examples of the last survey on which each feature was active, by job. */
  private readonly frequencies: Float32Array[] = [];
  private readonly sites: SiteData[] = [];
  private order: Tensor | null = null;
  private readonly gpu: Gpu;
  private readonly jobs: readonly SaeJob[];
  private readonly settings: TrainSettings;
  private readonly schedule: Schedule;
  private readonly examples: number;
  private readonly stream: ActivationStream | undefined;

  constructor(gpu: Gpu, jobs: readonly SaeJob[], settings: TrainSettings, schedule: Schedule, examples: number, stream?: ActivationStream) {
    this.gpu = gpu;
    this.jobs = jobs;
    this.settings = settings;
    this.schedule = schedule;
    this.examples = examples;
    this.stream = stream;
  }

  async open(resume?: Uint8Array): Promise<void> {
    const checkpoint = resume && await readCheckpoint(resume);
    const { gpu, jobs, settings, schedule: { maxRows, perEpoch }, stream } = this;
    const streamed = jobs.find(({ data }) => data instanceof StreamedExamples);
    if (streamed && !stream) throw new UsageError(`training ${streamed.name}: its data come from a stream, and the run has none`);
    const groups = groupJobs(gpu.limits, jobs, settings.features, maxRows);
    for (const group of groups) {
      const own = group.jobs.map((i) => jobs[i]!);
      // What a stream's activations are scaled by was measured on the first round.
      const known = stream && checkpoint ? [...new Map(group.jobs.map((i) => [jobs[i]!.data, measuresIn(checkpoint, i)])).values()] : undefined;
      this.sites.push(await SiteData.create(gpu, own, { maxRows, inputs: settings.inputs, centre: settings.centre, storage: settings.storage, ...(known ? { known } : {}) }));
    }
    if (checkpoint) stream?.restore(checkpoint.stream);
    else if (stream) await measureSites(stream, this.sites, settings);
    for (const [g, { batches }] of groups.entries()) {
      for (const members of batches) this.placed.push({ batch: await SaeBatch.create(gpu, this.sites[g]!, members.map((i) => jobs[i]!), settings), members });
    }
    this.order = this.gpu.keep(Tensor.zeros(this.gpu, [this.examples], 'u32'));
    if (checkpoint) {
      restoreCheckpoint(checkpoint, this.placed, this.settings);
      this.step = checkpoint.step;
      this.good = checkpoint.step;
    }
    // The round that is under way, or about to begin where one has ended.
    if (stream) await fillSites(stream, Math.floor(this.step / perEpoch), this.sites);
  }

  async loop(options: LoopOptions): Promise<void> {
    const { schedule, settings, gpu } = this;
    const { perEpoch, steps } = schedule;
    let behind: Promise<void> = Promise.resolve();
    for (let first = true; this.step < steps && !options.signal?.aborted; first = false) {
      const epoch = Math.floor(this.step / perEpoch);
      const within = this.step % perEpoch;
      if (first || within === 0) this.order!.write(epochOrder(this.examples, settings.seed, epoch));
      if (within === 0 && !first) await this.nextRound(epoch);
      if (within === 0) for (const { batch } of this.placed) batch.startEpoch();
      const logs = (epoch + 1) % settings.logEvery === 0 || epoch + 1 === settings.epochs;
      const factor = learningRateFactor(this.step, schedule, settings);
      const span = batchOf(this.examples, perEpoch, within);
      for (const site of this.sites) site.gather(span, this.order!);
      for (const { batch } of this.placed) batch.train(span.rows, this.step + 1, factor, logs || (this.step + 1) % CHECK_EVERY === 0);
      this.step++;
      if (this.step % AHEAD === 0) {
        await behind;
        behind = this.step % CHECK_EVERY === 0 ? this.checkLosses(factor) : gpu.idle();
        behind.catch(() => {});
        options.onStep?.(this.step, steps);
        // Lets timers and signals be heard.
        await new Promise((resolve) => setTimeout(resolve, 0));
      }
      if (within === perEpoch - 1) await this.endEpoch(epoch + 1, factor, logs, options);
      const due = (options.checkpointEvery && this.step % options.checkpointEvery === 0) || options.checkpointDue?.(this.step);
      if (due && options.onCheckpoint && this.step < steps) {
        await options.onCheckpoint(await this.checkpoint(), this.step);
      }
    }
    await behind;
    await gpu.idle();
    options.onStep?.(this.step, steps);
  }

  /** Fresh examples, where there is a stream. The first round was filled on opening. */
  private async nextRound(round: number): Promise<void> {
    if (!this.stream) return;
    // Steps that are under way read the old ones.
    await this.gpu.idle();
    await fillSites(this.stream, round, this.sites);
  }

  private async endEpoch(epoch: number, factor: number, logs: boolean, { onLog, snapshotEpochs, onSnapshot }: LoopOptions): Promise<void> {
    const resamples = this.schedule.resampleAfter.includes(epoch);
    const snapshot = onSnapshot && snapshotEpochs?.includes(epoch);
    const records: LogRecord[] = [];
    const alive: Uint32Array[][] = [];
    for (const { batch, members } of this.placed) {
      const counts = logs || resamples ? await batch.epochCounts() : null;
      batch.endEpoch();
      alive.push(counts?.alive ?? []);
      if (logs) members.forEach((job, i) => { records[job] = this.record(batch, i, counts!, factor, epoch); });
    }
    if (logs) this.good = this.step;
    if (logs) await onLog?.(records);
    // Before resampling, and after the epoch's counters were read, which it uses.
    if (snapshot) {
      const figures = await this.survey();
      await onSnapshot(epoch, this.saes(), figures);
    }
    if (!resamples) return;
    for (const [i, { batch }] of this.placed.entries()) await resample(this.gpu, batch, this.settings, alive[i]!, epoch);
  }

  /** Looks at what is added up so far in the epoch. */
  private async checkLosses(factor: number): Promise<void> {
    const { step, examples, settings } = this;
    await Promise.all(this.placed.map(async ({ batch }) => {
      const now = batch.jobs.map(({ name, learningRate }, i) => ({ name, step, learning_rate: (learningRate ?? settings.learningRate) * factor, job: batch.jobNow(i) }));
      for (const [i, sums] of (await batch.sums(false)).entries()) checkLoss({ ...now[i]!, ...lossTerms(sums, examples, now[i]!.job, settings) }, sums, this.good);
    }));
    this.good = step;
  }

  private record(batch: SaeBatch, i: number, { sums, alive, since }: EpochCounts, factor: number, epoch: number): LogRecord {
    const { examples, settings, schedule: { perEpoch } } = this;
    const { name, learningRate } = batch.jobs[i]!;
    const job = batch.jobNow(i);
    const dead = alive[i]!.reduce((count, is) => count + (is === 0 ? 1 : 0), 0);
    const record: LogRecord = {
      name, variant: batch.variant, step: this.step, epoch, training_samples: samplesAfter(this.step, examples, perEpoch), l1_coefficient: job.l1 ?? 0, k: job.k ?? null,
      ...figures(sums[i]!, examples, job, settings), dead_fraction: dead / settings.features, dead_features: dead,
      mean_passes_since_fired: since && (since[i]! * perEpoch) / examples, learning_rate: (learningRate ?? settings.learningRate) * factor,
    };
    checkLoss(record, sums[i]!, this.good);
    return record;
  }

  checkpoint(): Promise<Uint8Array> {
    return saveCheckpoint(this.placed, this.step, this.settings, this.stream?.state(Math.floor(this.step / this.schedule.perEpoch)));
  }

  /** Figures over all examples with the weights as they are; notes how often features are active. */
  async survey(): Promise<LogRecord[]> {
    const records: LogRecord[] = [];
    for (const { batch, members } of this.placed) {
      const counts = await batch.survey();
      members.forEach((job, i) => {
        records[job] = this.record(batch, i, counts, 0, Math.floor(this.step / this.schedule.perEpoch));
        this.frequencies[job] = Float32Array.from(counts.fired[i]!, (count) => count / this.examples);
      });
    }
    return records;
  }

  saes(): Sae[] {
    const out: Sae[] = [];
    for (const { batch, members } of this.placed) {
      members.forEach((job, i) => {
        out[job] = this.sae(batch, i, job);
      });
    }
    return out;
  }

  private sae(batch: SaeBatch, i: number, job: number): Sae {
    const { name, l1, seed, metadata } = batch.jobs[i]!;
    const { variant } = batch;
    // What is saved in the midst of a warm-up keeps as many as were trained with.
    const { k } = batch.jobNow(i);
    const signed = (variant === 'gated' && this.settings.signedMagnitude) || (variant === 'topk' && this.settings.signedTopk);
    const sparsity = { ...(l1 === undefined ? {} : { l1_coefficient: l1 }), ...(k === undefined ? {} : { k }) };
    // Of a task's prompts they say nothing of how rare a feature is.
    const frequencies = this.stream ? this.frequencies[job] ?? null : null;
    const counted = frequencies ? { sparsity_examples: this.examples } : {};
    return new Sae(name, batch.finished(i), { ...metadata, variant, ...sparsity, seed, activation_scale: batch.scales[i]!, training_steps: this.step, ...counted }, {
      variant, ...(k === undefined ? {} : { k }), ...(signed ? { signed } : {}), ...(isOwnScale(this.settings.inputs) ? { normalization: this.settings.inputs } : {}),
      frequencies,
    });
  }

  dispose(): void {
    for (const { batch } of this.placed) batch.dispose();
    for (const site of this.sites) site.dispose();
    this.order?.dispose();
  }
}

/** What a checkpoint says of the activations of a job. */
function measuresIn({ jobs, tensors }: Checkpoint, job: number): Measures {
  return { scale: jobs[job]?.scale ?? 1, mean: tensors.get(`${job}.input_mean`) ?? null };
}
