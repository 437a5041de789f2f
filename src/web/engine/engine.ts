/** What the page can ask of a worker: one object, with a part for each panel. Calls come through Comlink. */
import type { DeviceFacts, MemoryFacts, ModelFacts, ModelForm, OnProgress, Origin } from '../protocol.ts';
import { BenchmarkEngine } from './benchmark.ts';
import { DictionaryEngine } from './dictionaries.ts';
import { EditEngine } from './edit.ts';
import { EvaluateEngine } from './evaluate.ts';
import { ExploreEngine } from './explore.ts';
import { Session } from './session.ts';
import { StorageEngine } from './storage.ts';
import { TrainEngine } from './train.ts';

export class Engine {
  private readonly session = new Session();
  readonly dictionaries = new DictionaryEngine(this.session);
  readonly explore = new ExploreEngine(this.session);
  readonly edit = new EditEngine(this.session);
  readonly evaluate = new EvaluateEngine(this.session);
  readonly train = new TrainEngine(this.session);
  readonly benchmark = new BenchmarkEngine(this.session);
  readonly storage = new StorageEngine();

  /** Opens the adapter; `onLost` is called once if the device is lost later. Rejects with AdapterError, which says what to do. */
  open(onLost: (why: string) => void): Promise<DeviceFacts> {
    return this.session.open(onLost);
  }

  /** Takes this model in place of the one that is loaded; dictionaries of that one go with it. */
  load(origin: Origin, form?: Partial<ModelForm>, onProgress?: OnProgress, onDownload?: OnProgress): Promise<ModelFacts> {
    return this.session.load(origin, form, onProgress, onDownload);
  }

  /** Frees the model, its dictionaries, and all that panels made with them. */
  drop(): Promise<void> {
    return this.session.exclusive(() => this.session.drop());
  }

  /** Stops the job of this name (`load`, `explore`, `evaluate`, …); what waits for it rejects with an AbortError. */
  cancel(job: string): void {
    this.session.cancel(job);
  }

  memory(): Promise<MemoryFacts> {
    return this.session.memory();
  }

  /** Destroys the device, to try what happens when one is lost. */
  destroyDevice(): void {
    this.session.destroyDevice();
  }
}
