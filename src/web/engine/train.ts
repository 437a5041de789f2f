/** Training one dictionary in the page: in a worker of its own, with checkpoints in the browser's storage. */
import { saeFiles } from '../../dictionary/index.ts';
import { DeviceLostError, DiffractError, FileError, UsageError } from '../../errors.ts';
import { checkReading } from '../../evaluation/index.ts';
import { collectActivations, IOI_POSITIONS } from '../../task/index.ts';
import type { Tensor } from '../../tensor/index.ts';
import {
  readCheckpoint, streamPlace, trainDefaults, trainSaes, trainVariants, variantDefaults, variantPolicies, type LogRecord, type SaeJob, type TextActivations, type TrainVariant,
} from '../../training/index.ts';
import type { OnProgress } from '../protocol.ts';
import { filesSource } from './origins.ts';
import type { Session } from './session.ts';
import { planRun, type Planned, type TrainPlan, type TrainSpec } from './train-spec.ts';
import {
  freeName, listRuns, lockRun, newRecord, readMetrics, readRecord, readRunText, readStoredCheckpoint, removeRun, textInMemory, trainedFiles, writeCheckpoint, writeRecord, writeRunText, writeTrained,
  type RunFacts, type RunRecord,
} from './train-store.ts';
import { openText, writeText } from './train-text.ts';

/** Milliseconds before the first checkpoint, and between two at least; writing them takes a twentieth of the time at most. */
const FIRST_CHECKPOINT = 200;
const CHECKPOINT_EVERY = 1000;
const CHECKPOINT_SHARE = 20;
/** Milliseconds between two words on progress. */
const PACE = 100;

/** What the form offers. */
export interface TrainChoices {
  variants: { name: TrainVariant; byK: boolean; value: number; learningRate: number }[];
  /** Hooks with an activation for each token. `usable`: other panels can use a dictionary of it. */
  hooks: { name: string; width: number; heads: number; usable: boolean }[];
  features: number;
  batch: number;
  epochs: number;
}

/** What a run goes on from where the browser's storage could not take it. */
export interface KeptRun { record: RunRecord; checkpoint: Uint8Array | null; metrics: LogRecord[] }

export type TrainRequest = { /** The file that `spec.text` names, where it is one. */ file?: File } & ({ spec: TrainSpec } | { resume: string; kept?: KeptRun });

export type TrainEvent =
  /** It has a name; what was logged before comes along. */
  | { kind: 'begun'; record: RunRecord; metrics: LogRecord[] }
  | { kind: 'preparing'; note: string; done: number; total: number }
  /** Seconds of training in all; `rate` in examples a second. */
  | { kind: 'step'; step: number; seconds: number; rate: number }
  | { kind: 'log'; record: LogRecord }
  | { kind: 'saved'; step: number }
  | { kind: 'unsaved'; why: string };

export interface TrainEnd {
  record: RunRecord;
  metrics: LogRecord[];
  /** Figures over all examples with the final weights, of a finished run. */
  final: LogRecord | null;
  /** The dictionary's files, where the browser's storage could not take them. */
  files: Record<string, Uint8Array> | null;
  /** What to go on from, where the browser's storage could not take it. */
  checkpoint: Uint8Array | null;
  /** Why it could not. */
  unsaved: string | null;
}

export class TrainEngine {
  constructor(private readonly session: Session) {}

  choices(): TrainChoices {
    const { model } = this.session;
    const hooks = [...model.hooks.all.values()].flatMap((hook) => {
      try {
        const { width } = streamPlace(model, { hook: hook.name });
        return [{ name: hook.name, width, heads: model.hooks.columns(hook).heads ?? 0, usable: this.isUsable(hook.name) }];
      } catch {
        return [];
      }
    });
    const variants = trainVariants.map((name) => ({ name, byK: variantPolicies[name].sparsity === 'k', value: variantDefaults[name].values[1]!, learningRate: variantDefaults[name].learningRate }));
    const { features, batch, epochs } = trainDefaults;
    return { variants, hooks: hooks.filter(({ name }) => name !== 'logits'), features, batch, epochs };
  }

  private isUsable(hook: string): boolean {
    try {
      checkReading({ hook, head: null }, this.session.model.config, hook);
      return true;
    } catch {
      return false;
    }
  }

  /** What a run would be and take; nothing is allocated. Rejects with what is wrong with it. */
  plan(spec: TrainSpec): TrainPlan {
    const { site: _site, stream: _stream, settings: _settings, job: _job, data: _data, ...plan } = this.planned(spec);
    return plan;
  }

  private planned(spec: TrainSpec): Planned {
    return planRun(this.session.model, spec, this.session.task?.positions ?? IOI_POSITIONS);
  }

  runs(): Promise<RunFacts[]> {
    return listRuns();
  }

  /** The figures of a run that is not under way. */
  metrics(name: string): Promise<LogRecord[]> {
    return readMetrics(name);
  }

  remove(name: string): Promise<void> {
    return lockRun(name, () => removeRun(name));
  }

  /** The files of a finished run's dictionary, in SAELens' layout. */
  files(name: string): Promise<Record<string, Uint8Array>> {
    return trainedFiles(name);
  }

  /**
   * Trains, or goes on where a run stopped. `cancel('train')` stops before the next step, and the run can go on later. What the browser's storage cannot take is
   * told, and training goes on; it is then in what this resolves with. Rejects with what is wrong with settings, files and numbers.
   */
  start(request: TrainRequest, onEvent: (event: TrainEvent) => void): Promise<TrainEnd> {
    return this.session.job('train', async (signal) => {
      const record = await this.recordOf(request);
      return lockRun(record.name, () => new Training(this.session, this.planned(record.spec), record, request, signal, onEvent).run());
    });
  }

  private async recordOf(request: TrainRequest): Promise<RunRecord> {
    const { model } = this.session;
    if ('spec' in request) {
      const { spec } = request;
      const { name, steps } = this.planned(spec);
      return newRecord({ name: await freeName(name), spec, model: { name: model.origin?.repository ?? model.name, hash: model.hash, weights: model.weightType, processing: model.processing }, step: 0, steps, seconds: 0, finished: false });
    }
    const { final: _final, ...record } = request.kept ? { ...request.kept.record, final: null } : await readRecord(request.resume);
    if (record.finished) throw new UsageError(`${record.name} is finished: nothing is left to do`);
    if (record.model.hash !== model.hash) throw new UsageError(`${record.name} is trained on ${record.model.name}, which has other weights than ${model.name}; choose that model first, under Models`);
    return record;
  }
}

/** One run from where it begins to where it ends. */
class Training {
  private metrics: LogRecord[] = [];
  /** When training began here, and the steps and seconds before that. */
  private began = 0;
  private first = 0;
  private before = 0;
  /** When the next checkpoint is due. */
  private due = 0;
  /** Why the browser's storage did not take what was written last. */
  private unsaved: string | null = null;

  constructor(
    private readonly session: Session, private readonly planned: Planned, private record: RunRecord, private readonly request: TrainRequest, private readonly signal: AbortSignal, private readonly tell: (event: TrainEvent) => void,
  ) {}

  async run(): Promise<TrainEnd> {
    const { record, request } = this;
    const kept = 'resume' in request ? request.kept : undefined;
    const resume = 'resume' in request ? (kept ? kept.checkpoint : await readStoredCheckpoint(record.name)) : null;
    // A page that was closed between two files may have written a checkpoint, but not yet how far it is.
    const step = resume ? (await readCheckpoint(resume)).step : 0;
    this.metrics = resume ? kept?.metrics ?? await readMetrics(record.name, step) : [];
    this.record = { ...record, step, seconds: resume ? record.seconds : 0 };
    this.before = this.record.seconds;
    this.tell({ kind: 'begun', record: this.record, metrics: this.metrics });
    await this.store(() => writeRecord(this.record));
    try {
      const { data, stream, free } = await this.examples();
      try {
        return await this.train({ ...this.planned.job, data: data.rows, metadata: { ...this.planned.job.metadata, ...data.about } }, stream, resume);
      } finally {
        free();
      }
    } catch (error) {
      // What was refused before its first checkpoint would be refused again.
      if (this.record.step === 0 && error instanceof DiffractError && !(error instanceof DeviceLostError)) await removeRun(record.name);
      throw error;
    }
  }

  /** What is trained on: activations of the task's prompts, or a stream of those on text. */
  private async examples(): Promise<{ data: { rows: SaeJob['data']; about: Record<string, unknown> }; stream: TextActivations | null; free(): void }> {
    const { session, signal, planned: { site, stream: place, examples }, record: { spec } } = this;
    const progress = this.progress();
    if (site) {
      if (!session.ioi) throw new UsageError(`${session.model.name} cannot do the task: it lacks a tokenizer or the task’s words; train on text`);
      const prompts = session.ioi.sample({ count: spec.prompts, seed: spec.seed });
      const [rows] = await collectActivations(session.model, prompts, [site], { signal, onProgress: (done) => progress(done, prompts.count, 'collecting activations') }) as [Tensor];
      return { data: { rows, about: {} }, stream: null, free: () => rows.dispose() };
    }
    const text = spec.text!;
    const { stream, metadata } = openText(session, place!, text, await this.text(), examples, spec.seed, signal, progress);
    return { data: { rows: stream.data[0]!, about: metadata }, stream, free: () => {} };
  }

  private async text(): Promise<Parameters<typeof openText>[3]> {
    const { session, signal, record: { name, spec }, request: { file } } = this;
    const text = spec.text!;
    const path = text.kind === 'file' ? text.name : 'text.jsonl';
    const stored = await readRunText(name, path);
    if (stored) return { source: stored, path };
    if (text.kind === 'file') {
      if (!file) throw new UsageError(`the text of ${name}, ${text.name}, is not kept in the browser; start a new run with it`);
      await this.store(() => writeRunText(name, path, file.stream(), signal));
      return { source: filesSource('text', [{ path, file }]), path };
    }
    const bytes = await writeText(session, text, spec.seed, signal, this.progress());
    await this.store(() => writeRunText(name, path, bytes, signal));
    return { source: textInMemory(path, bytes), path };
  }

  private async train(job: SaeJob, stream: TextActivations | null, resume: Uint8Array | null): Promise<TrainEnd> {
    const { session: { model: { gpu } }, planned: { settings }, signal } = this;
    this.first = this.record.step;
    this.began = performance.now();
    this.due = this.began + FIRST_CHECKPOINT;
    let told = 0;
    const { saes: [sae], final: [final], ...result } = await trainSaes(gpu, [job], {
      ...settings, signal, ...(stream ? { stream } : {}), ...(resume ? { resume } : {}),
      onLog: ([log]) => {
        this.metrics.push(log!);
        this.tell({ kind: 'log', record: log! });
      },
      onStep: (step) => {
        const now = performance.now();
        if (now - told < PACE && step < this.record.steps) return;
        told = now;
        this.tell({ kind: 'step', step, seconds: this.seconds(), rate: ((step - this.first) * this.planned.examples * this.planned.epochs) / this.record.steps / ((now - this.began) / 1000) });
      },
      checkpointDue: () => performance.now() >= this.due,
      onCheckpoint: async (bytes, step) => {
        const started = performance.now();
        await this.put(bytes, step);
        const ended = performance.now();
        this.due = ended + Math.max(CHECKPOINT_EVERY, CHECKPOINT_SHARE * (ended - started));
      },
    });
    try {
      if (!result.finished) {
        const saved = await this.put(result.checkpoint!, result.step);
        return { record: this.at(result.step), metrics: this.metrics, final: null, files: null, checkpoint: saved ? null : result.checkpoint, unsaved: this.unsaved };
      }
      const files = await saeFiles(sae!);
      this.record = { ...this.at(result.step), finished: true };
      const saved = await this.store(() => writeTrained(this.record, files, this.metrics, final!));
      return { record: this.record, metrics: this.metrics, final: final!, files: saved ? null : files, checkpoint: null, unsaved: this.unsaved };
    } finally {
      sae!.dispose();
    }
  }

  /** Puts a checkpoint by; false, which is told, where it could not be. */
  private async put(bytes: Uint8Array, step: number): Promise<boolean> {
    const record = this.at(step);
    const saved = await this.store(() => writeCheckpoint(record, bytes, this.metrics));
    if (saved) {
      this.record = record;
      this.tell({ kind: 'saved', step });
    }
    return saved;
  }

  private at(step: number): RunRecord {
    return { ...this.record, step, seconds: this.seconds() };
  }

  private seconds(): number {
    return this.before + (performance.now() - this.began) / 1000;
  }

  /** Writes to the browser's storage. What it cannot take is told and no reason to stop. */
  private async store(write: () => Promise<void>): Promise<boolean> {
    try {
      await write();
      this.unsaved = null;
      return true;
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      this.unsaved = error.message;
      this.tell({ kind: 'unsaved', why: error.message });
      return false;
    }
  }

  private progress(): OnProgress {
    let told = 0;
    return (done, total, note = '') => {
      const now = performance.now();
      if (now - told < PACE && done < total) return;
      told = now;
      this.tell({ kind: 'preparing', note, done, total });
    };
  }
}
