/** What the whole page knows: the device, the model, the dictionaries beside it; and the address, which holds each panel's inputs. */
import { computed, effect, signal, type ReadonlySignal, type Signal } from '@preact/signals';
import type { DeviceFacts, DictionaryFacts, ModelFacts, ModelForm, Origin } from './protocol.ts';

export const PANELS = ['explore', 'edit', 'evaluate', 'train', 'benchmark', 'models'] as const;
export type PanelName = (typeof PANELS)[number];

/** `missing`: no WebGPU or no adapter. `lost`: the device went and another is being opened. */
export const phase = signal<'starting' | 'open' | 'missing' | 'failed' | 'lost'>('starting');
/** Why the device or the model could not be had, or what became of the device; for people. */
export const failure = signal<string | null>(null);
/** Why the device was lost the last time, until the user has read it. */
export const lossNote = signal<string | null>(null);
export const device = signal<DeviceFacts | null>(null);
/** The model that comes with the page. */
export const EMBEDDED: Origin = { kind: 'embedded', path: 'models/ioi-mini' };
/** What is loaded, or to be loaded: where from, and in which form. */
export const modelOrigin = signal<Origin>(EMBEDDED);
export const modelForm = signal<Partial<ModelForm>>({});
/** Null until it is loaded. */
export const model = signal<ModelFacts | null>(null);
export const dictionaries = signal<DictionaryFacts[]>([]);
export const loading = signal<{ what: 'loading' | 'downloading'; done: number; total: number; note: string } | null>(null);
/** Grows each time a model is ready on a device: what panels show of it before is no longer there and has to be asked for again. */
export const epoch = signal(0);

/** The inputs of a panel as the address holds them. */
export type Params = Readonly<Record<string, string>>;

const params = Object.fromEntries(PANELS.map((name) => [name, signal<Params>({})])) as Record<PanelName, Signal<Params>>;
export const panel = signal<PanelName>('explore');

function readAddress(): void {
  const [name = '', query = ''] = location.hash.replace(/^#/, '').split('?');
  if (!(PANELS as readonly string[]).includes(name)) return;
  panel.value = name as PanelName;
  if (query) params[name as PanelName].value = Object.fromEntries(new URLSearchParams(query));
}

/** The address of a panel with these inputs: a link that shows the same again. */
export function linkTo(name: PanelName, inputs: Params = params[name].value): string {
  const query = new URLSearchParams(inputs).toString();
  return `#${name}${query ? `?${query}` : ''}`;
}

/** A panel's inputs; the address follows them while the panel is shown. */
export function paramsOf(name: PanelName): ReadonlySignal<Params> {
  return params[name];
}

/** Changes some of a panel's inputs; undefined takes one out. */
export function setParams(name: PanelName, changes: Readonly<Record<string, string | undefined>>): void {
  const next = Object.fromEntries(Object.entries({ ...params[name].peek(), ...changes }).filter((entry): entry is [string, string] => entry[1] !== undefined));
  params[name].value = next;
}

/** Follows the address from now on, and has it follow the page. */
export function followAddress(): void {
  readAddress();
  addEventListener('hashchange', readAddress);
  const address = computed(() => linkTo(panel.value));
  effect(() => {
    if (location.hash !== address.value && (location.hash || address.value !== '#explore')) history.replaceState(null, '', address.value);
  });
}
