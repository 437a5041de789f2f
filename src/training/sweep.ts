/**
 * Sweeps: every site with every variant and sparsity, trained in as few runs as memory allows, with all that they make put into a store.
 *
 * A sweep can be killed at any moment and started again on the same store: what it finds there tells it where to go on. Every piece is put
 * whole, pieces are functions of the plan alone, and what was put after the last checkpoint is put again with the same bytes; so a sweep that
 * was cut ends as one that was not. In the store lie
 *
 *   dictionaries/<name>/, snapshots/<epoch>/<name>/   dictionaries in SAELens' layout
 *   log/metrics.jsonl                                 a line for each dictionary and logged epoch
 *   manifest/manifest.json                            the plan, which runs are finished, and what was made
 *   checkpoint/checkpoint.safetensors                 the run in hand; empty once all are finished
 */
import { FileError, UsageError } from '../errors.ts';
import { saeFiles, type Sae } from '../dictionary/index.ts';
import type { Gpu } from '../gpu/index.ts';
import type { Tensor } from '../tensor/index.ts';
import { readCheckpoint } from './checkpoint.ts';
import { logLine, parseLogLine, type LogRecord } from './log.ts';
import type { VariantValues } from './presets.ts';
import { memoryFor, runBytes } from './plan.ts';
import { scheduleOf } from './schedule.ts';
import { checkJobs, checkSettings, trainDefaults, type SaeJob, type TrainSettings } from './settings.ts';
import { siteScale } from './measures.ts';
import { trainSaes } from './train.ts';
import { dictionaryFolder, variantPolicies, type TrainVariant } from './variants.ts';

/** Where a sweep keeps what it makes. Names are paths with `/`. */
export interface SweepStore {
  /** Whether a folder of that name was put. */
  has(name: string): Promise<boolean>;
  /** A file's bytes, or null if there is none. */
  get(path: string): Promise<Uint8Array | null>;
  /** Puts a folder of files: a new one appears whole or not at all, in an older one each file is replaced whole or not at all. */
  put(name: string, files: Readonly<Record<string, Uint8Array>>): Promise<void>;
  /** Adds text to the end of a file, which it creates. A write that is cut short may leave a part of it. */
  append(path: string, text: string): Promise<void>;
}

export interface SweepSite {
  /** Unique; part of the dictionaries' names and folders, e.g. `z@L0H3@end`. */
  name: string;
  /** [examples, width], in the model's units. */
  activations: Tensor;
  /** Written into the site's dictionaries. */
  metadata?: Readonly<Record<string, unknown>>;
  /** Of the initial weights of its dictionaries; the settings' seed if not given. */
  seed?: number;
}

export interface SweepPlan {
  sites: readonly SweepSite[];
  /** λ or K of each variant, and a learning rate of its own if it has one. */
  variants: readonly (VariantValues & { learningRate?: number })[];
  settings?: Partial<TrainSettings>;
  /** Epochs whose dictionaries are kept besides the last. */
  snapshotEpochs?: readonly number[];
  /** Most bytes that a run may take on the device; by default what the device's own limit leaves, or 2 GiB. */
  memoryBytes?: number;
}

export interface SweepWatching {
  /** Steps done of those of all runs. */
  onStep?: (done: number, total: number) => void;
  onLog?: (records: LogRecord[]) => void | Promise<void>;
  /** Steps between two checkpoints; 1000 if not given. */
  checkpointEvery?: number;
  /** Stops before the next step and leaves a checkpoint. */
  signal?: AbortSignal;
}

/** A dictionary in the store. */
export interface SweepEntry {
  name: string;
  site: string;
  variant: TrainVariant;
  /** λ or K. */
  sparsity: number;
  epoch: number;
  /** Whether it is one of the finished ones, not a snapshot. */
  finished: boolean;
  /** Its folder in the store. */
  path: string;
  /** Over all examples with the weights as they are. */
  figures: LogRecord;
}

/** What is trained; two sweeps of one store must agree in it. */
interface PlanRecord { settings: TrainSettings; snapshotEpochs: number[]; runs: string[][]; sites: { name: string; shape: number[]; scale: number; seed: number }[]; rates: Record<string, number> }

export interface SweepManifest {
  format: typeof FORMAT;
  plan: PlanRecord;
  runsFinished: number;
  entries: SweepEntry[];
}

export interface SweepResult { finished: boolean; manifest: SweepManifest }

const FORMAT = 'diffract SAE sweep 1';
const LOG = 'log/metrics.jsonl';
const MANIFEST = 'manifest/manifest.json';
const CHECKPOINT = 'checkpoint/checkpoint.safetensors';

interface SweepJob { job: SaeJob; site: string; sparsity: number; folder: string }

/**
 * Trains a sweep, or goes on with one. Returns what the store then holds; `finished` is false after a stop by the signal.
 *
 * Throws what `trainSaes` throws, UsageError if the store holds another sweep, FileError for a broken manifest, and whatever the store throws.
 */
export async function trainSweep(gpu: Gpu, plan: SweepPlan, store: SweepStore, watching: SweepWatching = {}): Promise<SweepResult> {
  const sweep = await Sweep.open(gpu, plan, store);
  return sweep.train(watching);
}

class Sweep {
  private readonly gpu: Gpu;
  private readonly store: SweepStore;
  private readonly settings: TrainSettings;
  private readonly snapshotEpochs: number[];
  private readonly runs: SweepJob[][];
  private readonly manifest: SweepManifest;
  /** Steps of one run. */
  private readonly steps: number;

  private constructor(gpu: Gpu, store: SweepStore, runs: SweepJob[][], plan: PlanRecord, steps: number) {
    this.gpu = gpu;
    this.store = store;
    this.runs = runs;
    this.settings = plan.settings;
    this.snapshotEpochs = plan.snapshotEpochs;
    this.steps = steps;
    this.manifest = { format: FORMAT, plan, runsFinished: 0, entries: [] };
  }

  static async open(gpu: Gpu, plan: SweepPlan, store: SweepStore): Promise<Sweep> {
    const settings = checkSettings(plan.settings ?? {});
    const jobs = sweepJobs(plan, settings);
    const examples = checkJobs(jobs.map(({ job }) => job), settings);
    const { maxRows, steps } = scheduleOf(settings, examples);
    const found = await readManifest(store);
    const runs = runsAsBefore(jobs, found) ?? splitRuns(jobs, settings, maxRows, plan.memoryBytes ?? memoryFor(gpu));
    const snapshotEpochs = [...new Set(plan.snapshotEpochs ?? [])].filter((epoch) => epoch < settings.epochs).sort((a, b) => a - b);
    const sites = await Promise.all(plan.sites.map(async ({ name, activations, seed = settings.seed }) => ({
      name, shape: [...activations.shape], scale: await siteScale(activations, name, settings.inputs), seed,
    })));
    const rates = Object.fromEntries(plan.variants.map(({ variant, learningRate }) => [variant, learningRate ?? settings.learningRate]));
    const record: PlanRecord = { settings, snapshotEpochs, runs: runs.map((run) => run.map(({ job }) => job.name)), sites, rates };
    const sweep = new Sweep(gpu, store, runs, record, steps);
    sweep.goOn(found);
    return sweep;
  }

  async train({ onStep, onLog, checkpointEvery = 1000, signal }: SweepWatching): Promise<SweepResult> {
    const { manifest, runs, steps } = this;
    await this.writeManifest();
    while (manifest.runsFinished < runs.length && !signal?.aborted) {
      const index = manifest.runsFinished;
      const run = runs[index]!;
      const jobs = run.map(({ job }) => job);
      const resume = await this.readRun(jobs);
      const result = await trainSaes(this.gpu, jobs, {
        ...this.settings, checkpointEvery, snapshotEpochs: this.snapshotEpochs,
        ...(resume ? { resume } : {}), ...(signal ? { signal } : {}),
        onStep: (done) => onStep?.(index * steps + done, runs.length * steps),
        onLog: async (records) => {
          await this.store.append(LOG, records.map(logLine).join(''));
          await onLog?.(records);
        },
        onCheckpoint: (bytes) => this.writeCheckpoint(bytes),
        onSnapshot: (epoch, saes, figures) => this.keep(run, saes, figures, epoch, false),
      });
      if (!result.finished) {
        await this.writeCheckpoint(result.checkpoint!);
        for (const sae of result.saes) sae.dispose();
        break;
      }
      manifest.runsFinished = index + 1;
      // The manifest comes after the dictionaries that it names, and before the next run's checkpoint, or none, takes the place of this one's.
      await this.keep(run, result.saes, result.final, this.settings.epochs, true);
    }
    const finished = manifest.runsFinished === runs.length;
    if (finished) await this.writeCheckpoint(new Uint8Array(0));
    return { finished, manifest };
  }

  /** Puts dictionaries into the store and then into the manifest. */
  private async keep(run: readonly SweepJob[], saes: readonly Sae[], figures: readonly LogRecord[], epoch: number, finished: boolean): Promise<void> {
    try {
      for (const [i, { job, site, sparsity, folder }] of run.entries()) {
        const path = finished ? `dictionaries/${folder}` : `snapshots/${epoch}/${folder}`;
        await this.store.put(path, await saeFiles(saes[i]!));
        this.enter({ name: job.name, site, variant: job.variant!, sparsity, epoch, finished, path, figures: figures[i]! });
      }
    } finally {
      for (const sae of saes) sae.dispose();
    }
    await this.writeManifest();
  }

  private enter(entry: SweepEntry): void {
    const { entries } = this.manifest;
    const old = entries.findIndex(({ path }) => path === entry.path);
    if (old >= 0) entries[old] = entry;
    else entries.push(entry);
  }

  /** The checkpoint of the run in hand if there is one, with the log cut back to it. */
  private async readRun(jobs: readonly SaeJob[]): Promise<Uint8Array | null> {
    const bytes = await this.store.get(CHECKPOINT);
    const checkpoint = bytes && bytes.length > 0 ? await readCheckpoint(bytes, CHECKPOINT) : null;
    // Until the first checkpoint of a run that of the run before stays.
    const mine = checkpoint !== null && checkpoint.jobs.length === jobs.length && checkpoint.jobs.every(({ name }, i) => name === jobs[i]!.name);
    await this.cutLog(jobs, mine ? checkpoint.step : 0);
    return mine ? bytes : null;
  }

  /** Takes out of the log what the run in hand will log again: its lines after `step`, and a last line that was cut short. */
  private async cutLog(jobs: readonly SaeJob[], step: number): Promise<void> {
    const bytes = await this.store.get(LOG);
    const text = bytes ? new TextDecoder().decode(bytes) : '';
    const again = new Set(jobs.map(({ name }) => name));
    const kept = text.split('\n').slice(0, -1).filter((line) => {
      const record = parseLogLine(line, LOG);
      return !again.has(record.name) || record.step <= step;
    });
    const rest = kept.map((line) => `${line}\n`).join('');
    if (bytes === null || rest !== text) await this.store.put('log', { 'metrics.jsonl': new TextEncoder().encode(rest) });
  }

  private async writeCheckpoint(bytes: Uint8Array): Promise<void> {
    await this.store.put('checkpoint', { 'checkpoint.safetensors': bytes });
  }

  private async writeManifest(): Promise<void> {
    await this.store.put('manifest', { 'manifest.json': new TextEncoder().encode(`${JSON.stringify(this.manifest, null, 1)}\n`) });
  }

  /** Takes over what an earlier call left. Throws UsageError if that was for another plan. */
  private goOn(found: SweepManifest | null): void {
    if (!found) return;
    const different = planDifferences(found.plan, this.manifest.plan);
    if (different.length) throw new UsageError(`the store holds another sweep: ${different.join('; ')}`);
    this.manifest.runsFinished = found.runsFinished;
    this.manifest.entries = found.entries;
  }
}

async function readManifest(store: SweepStore): Promise<SweepManifest | null> {
  const bytes = await store.get(MANIFEST);
  if (!bytes) return null;
  let found: SweepManifest;
  try {
    found = JSON.parse(new TextDecoder().decode(bytes)) as SweepManifest;
  } catch (cause) {
    throw new FileError(`${MANIFEST}: not JSON`, { cause });
  }
  if (found?.format !== FORMAT || !Array.isArray(found.entries) || !Array.isArray(found.plan?.runs)) throw new FileError(`${MANIFEST}: not the manifest of a sweep`);
  return found;
}

/** The runs of an earlier call if it was for the same dictionaries: memory may be another now, and dictionaries do not depend on what they are trained beside. */
function runsAsBefore(jobs: readonly SweepJob[], found: SweepManifest | null): SweepJob[][] | null {
  if (!found || found.plan.runs.flat().join('\n') !== jobs.map(({ job }) => job.name).join('\n')) return null;
  let next = 0;
  return found.plan.runs.map((run) => jobs.slice(next, (next += run.length)));
}

/** Names of what two plans differ in. */
function planDifferences(there: PlanRecord, here: PlanRecord): string[] {
  const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
  // A setting that there was not yet when the store was filled did what its default does.
  const settings = { ...trainDefaults, ...there.settings };
  const found = (Object.keys(here.settings) as (keyof TrainSettings)[]).filter((key) => !same(settings[key], here.settings[key]))
    .map((key) => `${key} (${String(settings[key])} there, ${String(here.settings[key])} here)`);
  if (!same(there.sites, here.sites)) found.push('sites or their data');
  if (!same(there.runs, here.runs)) found.push('dictionaries');
  if (!same(there.snapshotEpochs, here.snapshotEpochs)) found.push(`snapshots (${there.snapshotEpochs.join(',')} there, ${here.snapshotEpochs.join(',')} here)`);
  if (!same(there.rates, here.rates)) found.push('learning rates');
  return found;
}

/** Sites × variants × values; all of a site stand together, so that runs share its data. */
function sweepJobs({ sites, variants }: SweepPlan, settings: TrainSettings): SweepJob[] {
  return sites.flatMap(({ name: site, activations: data, metadata, seed = settings.seed }) => variants.flatMap(({ variant, values, learningRate }) => values.map((value): SweepJob => {
    const byK = variantPolicies[variant]?.sparsity === 'k';
    const job: SaeJob = {
      name: `${variant} ${site} ${byK ? 'k' : 'λ'}=${value}`, variant, data, seed, ...(byK ? { k: value } : { l1: value }),
      ...(learningRate === undefined ? {} : { learningRate }), ...(metadata ? { metadata } : {}),
    };
    return { job, site, sparsity: value, folder: dictionaryFolder(site, variant, value) };
  })));
}

/** Cuts jobs into runs, each of which takes no more than `bytes`; one job alone may. */
function splitRuns(jobs: readonly SweepJob[], settings: TrainSettings, maxRows: number, bytes: number): SweepJob[][] {
  const runs: SweepJob[][] = [];
  for (const next of jobs) {
    const run = runs.at(-1);
    if (run && runBytes([...run, next].map(({ job }) => job), settings, maxRows) <= bytes) run.push(next);
    else runs.push([next]);
  }
  return runs;
}
