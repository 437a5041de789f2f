/**
 * The page's side of its workers. One worker is live: it holds the chosen model and answers panels as a person types. Long work goes into a worker
 * of its own with its own device (`startJob`), so that it never holds up the page and can be ended for good.
 */
import { proxy, releaseProxy, wrap, type Remote } from 'comlink';
import type { Engine } from './engine/engine.ts';
import type { DictionaryChoice, DictionaryFacts, ModelFacts, ModelForm, OnProgress, Origin } from './protocol.ts';
import { device, dictionaries, EMBEDDED, epoch, failure, loading, lossNote, model, modelForm, modelOrigin, phase } from './state.ts';

type Part = 'dictionaries' | 'explore' | 'edit' | 'evaluate' | 'train' | 'benchmark' | 'storage';
/** Comlink's own type does not know that parts of an object are reached the same way as the object. */
export type RemoteEngine = Omit<Remote<Engine>, Part> & { readonly [P in Part]: Remote<Engine[P]> };

/** A call of a device that was lost ends with this name, as does one whose worker is gone. */
const LOST = 'DeviceLostError';
/** So many losses within so many milliseconds, and the page waits to be asked before it opens the device again. */
const [PATIENCE, WHILE] = [3, 60_000];

interface Live { worker: Worker; engine: RemoteEngine & Pick<Remote<Engine>, typeof releaseProxy>; lost: Promise<never>; fail: (error: Error) => void }

let current: Live | null = null;
const losses: number[] = [];
/** Loading of models and dictionaries, one after the other. */
let turn: Promise<unknown> = Promise.resolve();
/** Dictionaries that go with the model to another device: those that are loaded, or are to be. */
let beside: readonly Beside[] = [];
/** How often a model was asked for, here or after a loss. */
let wishes = 0;

function startWorker(): Live {
  const worker = new Worker(new URL('worker.js', document.baseURI), { type: 'module' });
  const engine = wrap<Engine>(worker) as unknown as RemoteEngine & Remote<Engine>;
  let fail: (error: Error) => void = () => {};
  const lost = new Promise<never>((_, reject) => { fail = reject; });
  lost.catch(() => {});
  worker.addEventListener('error', (event) => fail(new Error(event.message || 'the worker could not be started; load the page again')));
  return { worker, engine, lost, fail: (error) => fail(error) };
}

function endWorker({ worker, engine }: Live): void {
  engine[releaseProxy]();
  worker.terminate();
}

/** The live engine. Its calls reject with DeviceLostError when the device goes; the page then starts another and panels ask again (see `epoch`). */
export function engine(): RemoteEngine {
  if (!current) throw new Error('there is no device yet');
  return current.engine;
}

let fileWorker: Live | null = null;

/** A worker without a device: for work on files that may take long, such as downloads. It lasts as long as the page, whatever becomes of the device. */
export function files(): RemoteEngine['storage'] {
  fileWorker ??= startWorker();
  return fileWorker.engine.storage;
}

/** Opens the device and loads the model that is chosen, with the dictionaries that were loaded beside it. What goes wrong is in `failure`. */
export async function start(): Promise<void> {
  failure.value = null;
  if (current) endWorker(current);
  const own = current = startWorker();
  // What waited for the worker before waits in vain.
  turn = Promise.resolve();
  phase.value = 'starting';
  try {
    device.value = await Promise.race([own.engine.open(proxy((why: string) => { void recover(own, why); })), own.lost]);
  } catch (error) {
    if (own !== current) return;
    phase.value = (error as Error).name === 'AdapterError' ? 'missing' : 'failed';
    failure.value = (error as Error).message;
    return;
  }
  if (own !== current) return;
  phase.value = 'open';
  const origin = modelOrigin.peek();
  await useModel(origin, { ...modelForm.peek(), ...(epoch.peek() === 0 ? {} : { beside }) }).catch(async (error: Error) => {
    if (own !== current || origin.kind === 'embedded') return;
    // Files may have been moved, and what was stored deleted, while the page was open.
    await useModel(EMBEDDED).catch(() => {});
    failure.value = `the model could not be loaded again: ${error.message}; the embedded one is there instead`;
  });
}

function lostError(why: string): Error {
  return Object.assign(new Error(`the GPU device was lost (${why})`), { name: LOST });
}

/** After a loss: says so, and starts again with the same model, dictionaries and inputs. A device that is lost again and again waits for the user. */
async function recover(own: Live, why: string): Promise<void> {
  if (own !== current) return;
  own.fail(lostError(why));
  wishes++;
  phase.value = 'lost';
  device.value = null;
  model.value = null;
  loading.value = null;
  failure.value = why;
  lossNote.value = why;
  losses.push(performance.now());
  if (losses.length >= PATIENCE && losses.at(-1)! - losses.at(-PATIENCE)! < WHILE) return;
  await start();
}

/** Weights in f32 and as they are unless said otherwise. */
export interface ModelOptions extends Partial<ModelForm> {
  /** Dictionaries to load beside it; those of the embedded model unless given. */
  beside?: readonly Beside[];
}

/**
 * Takes another model for all panels, then the dictionaries beside it. Rejects with what was wrong with the model, and with an AbortError if its loading is
 * cancelled (`engine().cancel('load')`); the model that was there before is then loaded again, with its dictionaries. Where there was none, `failure` says why
 * there is none now. A dictionary that cannot be had is left out, and `failure` says so.
 */
export async function useModel(origin: Origin, { beside: wanted, ...form }: ModelOptions = {}): Promise<ModelFacts> {
  const own = ++wishes;
  let before: ModelOptions & { origin: Origin } | null = null;
  let facts: ModelFacts;
  try {
    facts = await inTurn(() => {
      before = model.peek() && { origin: modelOrigin.peek(), ...modelForm.peek(), beside };
      return load(origin, form);
    });
  } catch (error) {
    if (before && own === wishes) {
      const { origin: last, ...rest } = before as ModelOptions & { origin: Origin };
      await useModel(last, rest).catch(() => {});
    }
    throw error;
  }
  const list = beside = wanted ?? await embeddedDictionaries(origin);
  for (const one of list) {
    // They do not belong to a model that was chosen since, and a device that was opened since gets all of them.
    await inTurn(async () => { if (own === wishes) await add(one); }).catch((error: Error) => { if (own === wishes && error.name !== LOST) failure.value = error.message; });
  }
  return facts;
}

async function load(origin: Origin, form: Partial<ModelForm>): Promise<ModelFacts> {
  const own = current!;
  model.value = null;
  dictionaries.value = [];
  failure.value = null;
  const report = (what: 'loading' | 'downloading'): OnProgress => proxy((done: number, total: number, note?: string) => { loading.value = { what, done, total, note: note ?? '' }; });
  loading.value = { what: 'loading', done: 0, total: 0, note: '' };
  try {
    const loaded = await Promise.race([own.engine.load(origin, form, report('loading'), report('downloading')), own.lost]);
    // Not before: a device that cannot bear this model is opened again with the one that was there.
    modelOrigin.value = origin;
    modelForm.value = form;
    model.value = loaded;
    epoch.value++;
    return loaded;
  } catch (error) {
    if (own === current && (error as Error).name !== LOST) failure.value = (error as Error).message;
    throw error;
  } finally {
    if (own === current) loading.value = null;
  }
}

export type Beside = Pick<DictionaryFacts, 'origin'> & Partial<Pick<DictionaryFacts, 'id' | 'choice'>>;

/** Dictionaries that the page brings for its own model; none for others. */
export async function embeddedDictionaries(origin: Origin): Promise<Beside[]> {
  if (origin.kind !== 'embedded') return [];
  const folder = `${origin.path}-saes`;
  const answer = await fetch(new URL(`${folder}/index.json`, document.baseURI)).catch(() => null);
  if (!answer?.ok) return [];
  const { dictionaries: names } = (await answer.json()) as { dictionaries: string[] };
  return names.map((name) => ({ id: name, origin: { kind: 'embedded', path: `${folder}/${name}` } }));
}

/** Has loading of models and dictionaries happen one after the other. */
function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const done = turn.then(work);
  turn = done.catch(() => {});
  return done;
}

async function add({ origin, id, choice }: Beside): Promise<DictionaryFacts> {
  const own = current!;
  const facts = await Promise.race([own.engine.dictionaries.add(origin, id, choice), own.lost]);
  dictionaries.value = [...dictionaries.value, facts];
  return facts;
}

/** Loads a dictionary beside the model, for all panels; `choice` says which of several, and where it is used if its files do not. Rejects with what does not fit. */
export function addDictionary(origin: Origin, choice?: DictionaryChoice): Promise<DictionaryFacts> {
  return inTurn(async () => {
    const facts = await add({ origin, choice });
    beside = [...beside, facts];
    return facts;
  });
}

/** Takes a dictionary away from all panels. */
export function removeDictionary(id: string): Promise<void> {
  return inTurn(async () => {
    beside = beside.filter((one) => one.id !== id);
    dictionaries.value = dictionaries.value.filter((one) => one.id !== id);
    await engine().dictionaries.remove(id);
  });
}

/** Long work in a worker of its own: the engine with the chosen model and dictionaries loaded. `end` frees everything at once, whatever it does. */
export interface Job { engine: RemoteEngine; lost: Promise<never>; end(): void }

/** Starts a worker for long work; `withModel: false` for work that brings its own. Rejects as loading does. `lost` rejects when its device goes. */
export async function startJob({ withModel = true, onProgress }: { withModel?: boolean; onProgress?: OnProgress } = {}): Promise<Job> {
  const own = startWorker();
  let fail: (error: Error) => void = () => {};
  const gone = new Promise<never>((_, reject) => { fail = reject; });
  gone.catch(() => {});
  const lost = Promise.race([own.lost, gone]);
  lost.catch(() => {});
  try {
    await Promise.race([own.engine.open(proxy((why: string) => fail(Object.assign(new Error(`the GPU device is lost: ${why}`), { name: LOST })))), lost]);
    if (withModel) {
      await Promise.race([own.engine.load(modelOrigin.peek(), modelForm.peek(), onProgress && proxy(onProgress)), lost]);
      for (const { origin, id, choice } of dictionaries.peek()) await Promise.race([own.engine.dictionaries.add(origin, id, choice), lost]);
    }
  } catch (error) {
    endWorker(own);
    throw error;
  }
  return { engine: own.engine, lost, end: () => endWorker(own) };
}
