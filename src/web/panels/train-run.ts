/** Training runs as the page sees them: the one that is under way here, in a worker of its own, and those that the browser keeps. */
import { proxy } from 'comlink';
import { effect, signal } from '@preact/signals';
import type { LogRecord } from '../../training/index.ts';
import { addDictionary, engine, startJob, type Job, type RemoteEngine } from '../client.ts';
import type { KeptRun, TrainEnd, TrainEvent, TrainRequest } from '../engine/train.ts';
import type { TrainSpec } from '../engine/train-spec.ts';
import type { RunFacts, RunRecord } from '../engine/train-store.ts';
import { saveAs } from '../parts/basic.tsx';
import { zip } from '../parts/zip.ts';
import type { DictionaryFacts, Origin } from '../protocol.ts';
import { dictionaries, modelForm, modelOrigin } from '../state.ts';

/** The run that was begun here last. */
export interface CurrentRun {
  state: 'preparing' | 'training' | 'stopping' | 'stopped' | 'finished' | 'failed';
  /** Null until it has a name. */
  record: RunRecord | null;
  metrics: LogRecord[];
  preparing: { note: string; done: number; total: number };
  step: number;
  seconds: number;
  /** Examples a second. */
  rate: number;
  /** The step of the last checkpoint that is safe, and why one could not be put by. */
  saved: number | null;
  unsaved: string | null;
  problem: string | null;
  end: TrainEnd | null;
  file?: File;
}

export const current = signal<CurrentRun | null>(null);
/** Null until the browser's storage was read. */
export const runs = signal<RunFacts[] | null>(null);

/** Milliseconds that the list of runs is waited for. */
const PATIENCE = 1000;

let job: Job | null = null;

/** The engine of the run that is under way. */
export function trainingEngine(): RemoteEngine | null {
  return job?.engine ?? null;
}

export function isUnderWay(): boolean {
  return current.value !== null && ['preparing', 'training', 'stopping'].includes(current.value.state);
}

function change(values: Partial<CurrentRun>): void {
  current.value = { ...current.value!, ...values };
}

/** Reads again what the browser keeps. */
export async function refreshRuns(): Promise<void> {
  runs.value = await engine().train.runs();
}

/** Begins a run; what goes wrong is in `current`. */
export function beginRun(spec: TrainSpec, file?: File): Promise<void> {
  return follow({ spec, ...(file ? { file } : {}) }, null);
}

/** Goes on with a run of the browser's storage, or with the one that was stopped here where the storage could not take it. */
export function resumeRun(record: RunRecord): Promise<void> {
  const last = current.value?.record?.name === record.name ? current.value : null;
  const kept: KeptRun | undefined = last?.end?.checkpoint ? { record: last.end.record, checkpoint: last.end.checkpoint, metrics: last.end.metrics } : undefined;
  return follow({ resume: record.name, ...(kept ? { kept } : {}), ...(last?.file ? { file: last.file } : {}) }, record);
}

/** Stops the run before its next step; it can go on later. */
export function stopRun(): void {
  if (!isUnderWay()) return;
  change({ state: 'stopping' });
  void job?.engine.cancel('train');
}

async function follow(request: TrainRequest, record: RunRecord | null): Promise<void> {
  if (isUnderWay()) return;
  current.value = {
    state: 'preparing', record, metrics: [], preparing: { note: 'opening a device', done: 0, total: 0 }, step: record?.step ?? 0, seconds: record?.seconds ?? 0, rate: 0, saved: null, unsaved: null, problem: null, end: null,
    ...(request.file ? { file: request.file } : {}),
  };
  let outcome: Partial<CurrentRun>;
  try {
    job = await startJob({ withModel: false });
    await Promise.race([job.engine.load(modelOrigin.peek(), record?.model ?? modelForm.peek()), job.lost]);
    if (isStopping()) throw Object.assign(new Error('stopped'), { name: 'AbortError' });
    const end = await Promise.race([job.engine.train.start(request, proxy(heed)), job.lost]);
    outcome = { state: end.final ? 'finished' : 'stopped', end, record: end.record, metrics: end.metrics, step: end.record.step, seconds: end.record.seconds, unsaved: end.unsaved };
  } catch (error) {
    const { name, message } = error as Error;
    outcome = name === 'AbortError' ? { state: 'stopped' } : { state: 'failed', problem: message };
  }
  job?.end();
  job = null;
  // The page's own worker may be gone with the same device, and then it does not answer; the list is read again when there is another.
  const isListed = await Promise.race([refreshRuns().then(() => true, () => false), new Promise<false>((resolve) => setTimeout(() => resolve(false), PATIENCE))]);
  // One that could not begin leaves nothing to go on with.
  const own = current.value?.record;
  if (outcome.state === 'failed' && own && isListed && !runs.value?.some(({ name }) => name === own.name)) outcome.record = null;
  change(outcome);
}

/** Asks before a page is closed that alone holds what was trained. */
effect(() => {
  const { end } = current.value ?? {};
  if (!end?.files && !end?.checkpoint) return;
  const ask = (event: BeforeUnloadEvent): void => event.preventDefault();
  addEventListener('beforeunload', ask);
  return () => removeEventListener('beforeunload', ask);
});

function isStopping(): boolean {
  return current.value?.state === 'stopping';
}

function heed(event: TrainEvent): void {
  const now = current.value;
  // What comes by another way than the end may come after it.
  if (!now || !isUnderWay()) return;
  switch (event.kind) {
    case 'begun':
      return change({ record: event.record, metrics: event.metrics, step: event.record.step, seconds: event.record.seconds, saved: event.record.step || null });
    case 'preparing':
      return change({ preparing: event });
    case 'step':
      return change({ ...(now.state === 'preparing' ? { state: 'training' } : {}), step: event.step, seconds: event.seconds, rate: event.rate });
    case 'log':
      return change({ metrics: [...now.metrics, event.record] });
    case 'saved':
      return change({ saved: event.step, unsaved: null });
    case 'unsaved':
      return change({ unsaved: event.why });
  }
}

/** Deletes a run with its dictionary. */
export async function deleteRun(name: string): Promise<void> {
  await engine().train.remove(name);
  await refreshRuns();
  if (current.value?.record?.name === name) current.value = null;
}

/** Files of a finished run that the browser's storage could not take. */
function keptFiles(name: string): Record<string, Uint8Array> | null {
  const end = current.value?.end;
  return end?.record.name === name ? end.files : null;
}

function originOf(name: string): Origin {
  const files = keptFiles(name);
  return files ? { kind: 'files', name, files: Object.entries(files).map(([path, bytes]) => ({ path, file: new File([bytes as BlobPart], path) })) } : { kind: 'stored', path: `trained/${name}` };
}

/** The dictionary of a run where it is loaded beside the model. */
export function loadedOf(name: string): DictionaryFacts | undefined {
  return dictionaries.value.find(({ origin }) => (origin.kind === 'stored' && origin.path === `trained/${name}`) || (origin.kind === 'files' && origin.name === name));
}

/** Loads the dictionary of a finished run beside the model, for all panels. */
export function useRun(name: string): Promise<DictionaryFacts> {
  return addDictionary(originOf(name));
}

/** Saves the dictionary of a finished run in SAELens' layout: a folder of its name in an archive. */
export async function downloadRun(name: string): Promise<void> {
  const files = keptFiles(name) ?? await engine().train.files(name);
  saveAs(`${name}.zip`, zip(Object.fromEntries(Object.entries(files).map(([path, bytes]) => [`${name}/${path}`, bytes]))), 'application/zip');
}
