/** One device with one model and the dictionaries beside it: what all panels work on. Lives in a worker. */
import { AdapterError, UsageError } from '../../errors.ts';
import { ioiEvaluation, type EvaluationTask, type LoadedDictionary } from '../../evaluation/index.ts';
import { openGpu, type Gpu } from '../../gpu/index.ts';
import { Gpt2 } from '../../model/index.ts';
import { formatSite, grammarFor, IoiTask } from '../../task/index.ts';
import type { DeviceFacts, DictionaryFacts, MemoryFacts, ModelFacts, ModelForm, OnProgress, Origin, TaskFacts } from '../protocol.ts';
import { openOrigin } from './origins.ts';
import { TaskData } from './task-data.ts';

export interface OpenDictionary { facts: DictionaryFacts; loaded: LoadedDictionary }

export class Session {
  private opened: Gpu | null = null;
  private loadedModel: Gpt2 | null = null;
  /** The task as evaluations use it, and its prompts as people write them; null for a model that cannot do it. */
  task: EvaluationTask | null = null;
  ioi: IoiTask | null = null;
  readonly dictionaries = new Map<string, OpenDictionary>();
  private readonly leaving: (() => void)[] = [];
  /** Prompts of the task, their activations and supervised codes. */
  readonly data = new TaskData(this);
  private readonly jobs = new Map<string, AbortController>();
  private tail: Promise<unknown> = Promise.resolve();

  get gpu(): Gpu {
    if (!this.opened) throw new UsageError('the device is not open yet');
    return this.opened;
  }

  get model(): Gpt2 {
    if (!this.loadedModel) throw new UsageError('no model is loaded; choose one under Models');
    return this.loadedModel;
  }

  /** Opens the adapter; `onLost` is called once if the device is lost later. Throws AdapterError, with what to do, where there is none. */
  async open(onLost: (why: string) => void): Promise<DeviceFacts> {
    if (!navigator.gpu) throw new AdapterError('WebGPU is missing here.');
    const gpu = await openGpu().catch((error: Error) => {
      throw error instanceof AdapterError ? new AdapterError('WebGPU is here, but it found no adapter: the driver may be too old, or on the browser’s list of those it does not use.') : error;
    });
    this.opened = gpu;
    void gpu.device.lost.then(({ reason, message }) => onLost(message || String(reason)));
    const { info, features, limits } = gpu;
    return {
      name: info.description || [info.vendor, info.architecture, info.device].filter(Boolean).join(' ') || 'an adapter without a name',
      software: gpu.software, immediates: gpu.immediates, subgroupSize: gpu.subgroupSize, bindingBytes: limits.bindingBytes, bufferBytes: limits.bufferBytes,
      features: ['shader-f16', 'subgroups', 'timestamp-query'].filter((name) => features.has(name)),
    };
  }

  /** Drops the model that is there and loads another, with weights in f32 and as they are unless the form says otherwise. On an error there is none; what was wrong is said. */
  load(origin: Origin, { weights, processing }: Partial<ModelForm> = {}, onProgress?: OnProgress, onDownload?: OnProgress): Promise<ModelFacts> {
    return this.job('load', async (signal) => {
      this.drop();
      const source = openOrigin(origin, { signal, onDownload });
      const model = await Gpt2.load(this.gpu, source, { weights, processing, onProgress: (done, total, name) => { signal.throwIfAborted(); onProgress?.(done, total, name); } });
      this.loadedModel = model;
      let problem: string | null = model.tokenizer ? null : `${model.name} has no tokenizer.json, which prompts need`;
      if (model.tokenizer) {
        try {
          this.ioi = IoiTask.create(model.tokenizer, await grammarFor(source));
          this.task = ioiEvaluation(this.ioi);
        } catch (error) {
          // A foreign tokenizer may lack a hundred of the task's words; the first few say as much.
          problem = (error as Error).message.replace(/^(.{200}[^,;]*)[^]+$/, '$1, …');
        }
      }
      return {
        name: model.origin?.repository ?? model.name, origin, hash: model.hash, config: model.config, parameters: model.parameters, weights: model.weightType, processing: model.processing, bytes: model.weightBytes,
        task: this.taskFacts(), taskProblem: problem, hooks: model.hookNames(),
      };
    });
  }

  private taskFacts(): TaskFacts | null {
    const { task } = this;
    if (!task) return null;
    const known = task.crossSections(this.model.config);
    const { attributes } = task.training(2, 0);
    return {
      name: task.name, attributes: [...task.attributes], positions: [...task.positions],
      values: Object.fromEntries(Object.entries(attributes).map(([name, { values }]) => [name, [...values]])),
      sections: known?.sections.map(({ name, sites }) => ({ name, sites: sites.map(formatSite) })) ?? null,
    };
  }

  /** What panels keep on the device goes with the model: `free` is called when the model is dropped. */
  onDrop(free: () => void): void {
    this.leaving.push(free);
  }

  /** Frees the model and everything that was made with it. */
  drop(): void {
    for (const free of this.leaving) free();
    for (const { loaded } of this.dictionaries.values()) loaded.dictionary.dispose();
    this.dictionaries.clear();
    this.loadedModel?.dispose();
    this.loadedModel = null;
    this.task = null;
    this.ioi = null;
  }

  /** Bytes of the engine's buffers, after what is pooled was given back. */
  async memory(): Promise<MemoryFacts> {
    return this.exclusive(async () => {
      await this.gpu.trim();
      const { live, liveBuffers, pooled } = this.gpu.memory();
      return { live, liveBuffers, pooled };
    });
  }

  /** Does one piece of work on the device after the other: scopes of work that waits in between must not overlap. */
  exclusive<T>(work: () => Promise<T> | T): Promise<T> {
    const done = this.tail.then(work);
    this.tail = done.catch(() => {});
    return done;
  }

  /** Exclusive work that `cancel(name)` stops. A second job of a name takes the place of the first, which is stopped. */
  job<T>(name: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    this.jobs.get(name)?.abort();
    const controller = new AbortController();
    this.jobs.set(name, controller);
    return this.exclusive(() => {
      controller.signal.throwIfAborted();
      return work(controller.signal);
    }).finally(() => {
      if (this.jobs.get(name) === controller) this.jobs.delete(name);
    });
  }

  cancel(name: string): void {
    this.jobs.get(name)?.abort();
  }

  dictionary(id: string): OpenDictionary {
    const found = this.dictionaries.get(id);
    if (!found) throw new UsageError(`there is no dictionary ${id}; it may have been removed`);
    return found;
  }

  /** For trying what happens when a device is lost. */
  destroyDevice(): void {
    this.gpu.device.destroy();
  }
}
