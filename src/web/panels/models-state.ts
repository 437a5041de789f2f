/** What is opened in the models panel and becomes of it. It stands outside the components, so that it goes on while another panel is looked at. */
import { effect, signal } from '@preact/signals';
import { proxy } from 'comlink';
import type { WeightProcessing } from '../../model/index.ts';
import { addDictionary, engine, files, useModel } from '../client.ts';
import type { DeviceFacts, DictionaryOutlook, FileFacts, ModelForm, ModelOutlook, OnProgress, Origin } from '../protocol.ts';
import { bytes } from '../parts/format.ts';
import { device, dictionaries, model, modelForm, modelOrigin, phase } from '../state.ts';

export interface Word { kind: 'error' | 'warning' | 'note'; text: string }
export type Stage = 'idle' | 'downloading' | 'loading' | 'done';
/** One thing that was found, the files that it is read from as far as they are here, and what became of it. */
interface Card { stage: Stage; files: FileFacts[]; word: Word | null }
export interface ModelCard extends Card { outlook: ModelOutlook }
export interface DictionaryCard extends Card {
  outlook: DictionaryOutlook;
  /** The weight processing that it was made for, where that is why it was refused. */
  wants: Partial<WeightProcessing> | null;
}

export interface Opened {
  name: string;
  /** Its files are being looked into. */
  looking: boolean;
  problem: string | null;
  /** All models that were found, of which one is looked at. */
  models: Origin[];
  model: ModelCard | null;
  dictionaries: DictionaryCard[];
}

export const opened = signal<Opened | null>(null);
/** Where a dictionary is used whose files do not say so. */
export const place = signal('');
/** Grows when what the browser keeps has changed. */
export const keptVersion = signal(0);

/** What is opened counts up; what was opened before is not written to any more. */
let turn = 0;

function update(own: number, change: (now: Opened) => Partial<Opened>): void {
  if (own === turn && opened.value) opened.value = { ...opened.value, ...change(opened.value) };
}

const updateModel = (own: number, change: Partial<ModelCard>): void => update(own, ({ model: card }) => ({ model: card && { ...card, ...change } }));
const updateDictionary = (own: number, at: number, change: Partial<DictionaryCard>): void => update(own, (now) => ({ dictionaries: now.dictionaries.map((one, i) => (i === at ? { ...one, ...change } : one)) }));

/** What an error means to a person; a cancelled download says what is kept of it. */
function wordOn(error: unknown, kept: readonly FileFacts[] = []): Word {
  const { name, message } = error as Error;
  if (name !== 'AbortError') return { kind: 'error', text: message };
  const missing = kept.reduce((sum, one) => sum + one.bytes - one.kept, 0);
  const there = kept.reduce((sum, one) => sum + one.kept, 0);
  return { kind: 'warning', text: missing > 0 ? `Cancelled. ${bytes(there)} are kept; a download goes on from there.` : 'Cancelled.' };
}

/** Stops whatever is under way with what is opened. */
export function stopLook(): void {
  void files().cancel('look');
}

export function stopModel(): void {
  const card = opened.peek()?.model;
  if (card?.stage === 'downloading') void files().cancel('model');
  if (card?.stage === 'loading') void engine().cancel('load');
}

export function stopDictionary(at: number): void {
  const card = opened.peek()?.dictionaries[at];
  if (card?.stage === 'downloading') void files().cancel(`dictionary ${at}`);
  if (card?.stage === 'loading') void engine().cancel('dictionary');
}

/** Looks into what a person named. A model waits to be loaded; dictionaries from this computer and this browser are added at once. */
export async function open(origin: Origin, name: string): Promise<void> {
  if (opened.peek()?.looking) stopLook();
  if (opened.peek()?.model?.stage === 'downloading') stopModel();
  opened.peek()?.dictionaries.forEach((card, at) => { if (card.stage === 'downloading') stopDictionary(at); });
  const own = ++turn;
  opened.value = { name, looking: true, problem: null, models: [], model: null, dictionaries: [] };
  try {
    const found = await files().look('look', origin);
    update(own, () => ({ models: found.models, dictionaries: found.dictionaries.map((outlook) => ({ outlook, stage: 'idle', files: outlook.files, word: null, wants: null })) }));
    if (found.models.length === 1) await lookAt(own, found.models[0]!);
    update(own, () => ({ looking: false }));
    if (origin.kind !== 'hub') await addAll(own);
  } catch (error) {
    update(own, () => ({ looking: false, problem: wordOn(error).text }));
  } finally {
    keptVersion.value++;
  }
}

/** Looks at one of several models. */
export async function choose(origin: Origin): Promise<void> {
  const own = turn;
  update(own, () => ({ looking: true, problem: null, model: null }));
  await lookAt(own, origin).catch((error) => update(own, () => ({ problem: wordOn(error).text })));
  update(own, () => ({ looking: false }));
}

async function lookAt(own: number, origin: Origin): Promise<void> {
  const { bindingBytes, bufferBytes } = await openDevice();
  const outlook = await files().outlook('look', origin, { bindingBytes, bufferBytes });
  update(own, () => ({ model: { outlook, stage: 'idle', files: outlook.files, word: null } }));
}

/** The device, once it is open: a page that was just loaded, or that lost its device, is opening one. */
function openDevice(): Promise<DeviceFacts> {
  return new Promise((resolve, reject) => {
    let done = (): void => {};
    done = effect(() => {
      if (device.value) resolve(device.value);
      else if (phase.value === 'missing' || phase.value === 'failed') reject(new Error('There is no GPU device that a model could be loaded on.'));
      else return;
      queueMicrotask(() => done());
    });
  });
}

async function addAll(own: number): Promise<void> {
  const count = opened.peek()?.dictionaries.length ?? 0;
  for (let at = 0; at < count && own === turn; at++) await addFound(at);
}

/** Brings what is missing of a hub's files, with progress; says what is there when it ends, however it ends. */
async function bring(job: string, origin: Origin, card: Card, told: (files: FileFacts[]) => void): Promise<void> {
  let now = card.files;
  if (origin.kind !== 'hub' || now.every(({ bytes: all, kept }) => kept >= all)) return;
  const onProgress: OnProgress = (done, _, path) => told(now = now.map((one) => (one.path === path ? { ...one, kept: done } : one)));
  await files().download(job, origin, now.map(({ path }) => path), proxy(onProgress));
}

/** Downloads what is missing of the model that is looked at, and loads it in this form. */
export async function loadModel(form: Partial<ModelForm>): Promise<void> {
  const own = turn;
  const card = opened.peek()?.model;
  if (!card || card.stage === 'downloading' || card.stage === 'loading') return;
  const { origin, name } = card.outlook;
  try {
    updateModel(own, { stage: 'downloading', word: null });
    await bring('model', origin, card, (now) => updateModel(own, { files: now }));
    updateModel(own, { stage: 'loading' });
    await useModel(origin, form);
    updateModel(own, { stage: 'done', word: { kind: 'note', text: `${name} is loaded.` } });
  } catch (error) {
    updateModel(own, { stage: 'idle', word: wordOn(error, opened.peek()?.model?.files) });
  } finally {
    keptVersion.value++;
  }
}

/** Adds one of the dictionaries that were found, after what is missing of it was downloaded. */
export async function addFound(at: number): Promise<void> {
  const own = turn;
  const { dictionaries: cards = [] } = opened.peek() ?? {};
  const card = cards[at];
  if (!card || card.stage === 'downloading' || card.stage === 'loading') return;
  const { origin, choice } = card.outlook;
  try {
    const where = place.peek().trim();
    if (where && cards.length > 1) throw new Error(`${where}: a site or hook can be given to one dictionary only, but there are ${cards.length}; leave the field empty, or open one of them`);
    updateDictionary(own, at, { stage: 'downloading', word: null });
    await bring(`dictionary ${at}`, origin, card, (now) => updateDictionary(own, at, { files: now }));
    updateDictionary(own, at, { stage: 'loading' });
    const facts = await addDictionary(origin, { ...choice, ...(where ? { place: where } : {}) });
    updateDictionary(own, at, { stage: 'done', word: { kind: 'note', text: `Added as ${facts.name}.` } });
  } catch (error) {
    updateDictionary(own, at, { stage: 'idle', word: wordOn(error, opened.peek()?.dictionaries[at]?.files) });
    if (/weight processing/.test((error as Error).message)) updateDictionary(own, at, { wants: await files().processingOf('look', origin, choice).catch(() => null) });
  } finally {
    keptVersion.value++;
  }
}

/** Loads the model again with the weight processing that a dictionary was made for, and adds it. Dictionaries made for other processing are left out. */
export async function loadFor(at: number): Promise<void> {
  const own = turn;
  const wants = opened.peek()?.dictionaries[at]?.wants;
  if (!wants) return;
  updateDictionary(own, at, { stage: 'loading', wants: null, word: null });
  try {
    const beside = dictionaries.peek().filter(({ about }) => Object.entries(about['weight_processing'] ?? {}).every(([kind, done]) => done === (wants[kind as keyof WeightProcessing] ?? false)));
    await useModel(modelOrigin.peek(), { ...modelForm.peek(), processing: Object.fromEntries(Object.entries(wants).filter(([, done]) => done)), beside });
    updateDictionary(own, at, { stage: 'idle' });
  } catch (error) {
    return updateDictionary(own, at, { stage: 'idle', word: wordOn(error) });
  }
  await addFound(at);
}

/** A copy into the browser's storage that is under way or could not be made; `what` is `model` or a dictionary's id. */
export const keeping = signal<{ what: string; done: number; total: number; word: Word | null } | null>(null);

/** Copies the model in use, or a dictionary, from files of this computer into the browser's storage, where the page finds it the next time. */
export async function keep(what: string): Promise<void> {
  const facts = what === 'model' ? model.peek() : dictionaries.peek().find(({ id }) => id === what);
  if (facts?.origin.kind !== 'files') return;
  keeping.value = { what, done: 0, total: 0, word: null };
  try {
    const onProgress: OnProgress = (done, total) => { if (keeping.peek()?.what === what) keeping.value = { what, done, total, word: null }; };
    const origin = await files().keep('keep', facts.origin, what === 'model' ? 'model' : 'dictionary', 'choice' in facts ? facts.choice : {}, proxy(onProgress));
    if (what === 'model' && model.peek()?.hash === (facts as { hash?: string }).hash) {
      modelOrigin.value = origin;
      model.value = { ...model.peek()!, origin };
    }
    dictionaries.value = dictionaries.value.map((one) => (one.id === what ? { ...one, origin } : one));
    keeping.value = { what, done: 0, total: 0, word: { kind: 'note', text: `${facts.name} is kept in this browser.` } };
  } catch (error) {
    keeping.value = { what, done: 0, total: 0, word: wordOn(error) };
  } finally {
    keptVersion.value++;
  }
}

export function stopKeep(): void {
  void files().cancel('keep');
}

/** Kinds of weight processing that are done, by name; in words where there are none. */
export function processingNames(processing: Partial<WeightProcessing>): string {
  return Object.entries(processing).filter(([, done]) => done).map(([kind]) => kind).join(', ') || 'weights as published';
}

/** Where something comes from, for people. */
export function whereFrom(origin: Origin): string {
  switch (origin.kind) {
    case 'embedded':
      return 'comes with this page';
    case 'files':
      return `from this computer: ${origin.name}`;
    case 'stored':
      return origin.path.startsWith('trained/') ? 'trained here, kept in this browser' : 'kept in this browser';
    case 'hub':
      return `from the hub: ${origin.address}`;
  }
}
