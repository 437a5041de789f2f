/**
 * Stages: the parts of a reproduction, each saved when it is done and skipped when nothing that it depends on has changed.
 *
 * A stage's address is the SHA-256 of its name, its version, the settings it reads, what the whole run rests on (model, task, adapter,
 * program) and the addresses of the stages whose results it reads. Its result is stored under that address, whole or not at all, as JSON with
 * numbers of nine digits; what later stages see is always what was read back, so that a run that was killed and started again ends with the
 * same numbers as one that was not.
 */
import type { ZodType } from 'zod';
import { sha256 } from '../digest.ts';
import { rounded, type Watching } from '../evaluation/index.ts';
import type { SweepStore } from '../training/index.ts';

/** Where a reproduction keeps what it has: the store that sweeps of training use too. */
export type StageStore = Pick<SweepStore, 'get' | 'put'>;

/** A folder of a store as a store. */
export function storeWithin(store: SweepStore, folder: string): SweepStore {
  const inside = (name: string) => `${folder}/${name}`;
  return {
    has: (name) => store.has(inside(name)), get: (path) => store.get(inside(path)), put: (name, files) => store.put(inside(name), files),
    append: (path, text) => store.append(inside(path), text),
  };
}

/** What a stage has to say: its result, or why there is none for this model. */
export type Outcome<T> = { result: T } | { leftOut: string };

export interface Progress { (done: number, total: number, note?: string): void }

/** One part of a reproduction. `Lab` is what all stages work with; results of other stages are read through `read`. */
export interface Stage<Lab, T = unknown> {
  name: string;
  title: string;
  /** Raised when the same inputs would give other numbers. */
  version: number;
  /** Stages whose results this one reads; they run before it. */
  needs: readonly string[];
  /** The settings that the result depends on, as JSON. */
  inputs: unknown;
  schema: ZodType<T>;
  run(lab: Lab, read: <R>(stage: string) => R | null, watching: { signal?: AbortSignal; onProgress: Progress }): Promise<Outcome<T>>;
}

/** What became of a stage. */
export interface StageRecord {
  name: string;
  title: string;
  address: string;
  /** null where the stage was left out */
  result: unknown;
  leftOut: string | null;
  /** Seconds that it took when it was run, and whether that was in this process. */
  seconds: number;
  reused: boolean;
}

interface Saved { stage: string; address: string; inputs: unknown; seconds: number; result?: unknown; leftOut?: string }

/** The folder of stages' results, and the file of one. */
export const STAGES = 'stages';
export function stageFile(name: string, address: string): string {
  return `${name}-${address.slice(0, 16)}.json`;
}

/** Hexadecimal SHA-256 of a value's JSON. Keys count in the order in which they stand. */
export async function addressOf(value: unknown): Promise<string> {
  return sha256(JSON.stringify(value));
}

/** The addresses of all stages, by name. `basis` is what the whole run rests on. */
export async function addresses(stages: readonly Stage<never>[], basis: unknown): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const { name, version, inputs, needs } of stages) {
    const before = needs.map((need) => {
      const address = found.get(need);
      if (address === undefined) throw new RangeError(`stage ${name} needs ${need}, which does not come before it`);
      return address;
    });
    found.set(name, await addressOf({ name, version, basis, inputs, before }));
  }
  return found;
}

/** Runs the stages in their order, or takes what the store has of them. After an abort or a fault nothing of the stage in progress is stored. */
export async function runStages<Lab>(stages: readonly Stage<Lab>[], lab: Lab, basis: unknown, store: StageStore, watching: Watching = {}): Promise<StageRecord[]> {
  const place = await addresses(stages as readonly Stage<never>[], basis);
  const records: StageRecord[] = [];
  const read = <R>(name: string): R | null => {
    const record = records.find((candidate) => candidate.name === name);
    if (!record) throw new RangeError(`stage ${name} has not run`);
    return record.result as R | null;
  };
  for (const stage of stages) {
    watching.signal?.throwIfAborted();
    const address = place.get(stage.name)!;
    const file = stageFile(stage.name, address);
    const found = kept(stage, address, await store.get(`${STAGES}/${file}`));
    let state = found;
    if (!state) {
      const start = performance.now();
      const outcome = await stage.run(lab, read, {
        signal: watching.signal, onProgress: (done, total, note) => watching.onProgress?.(stage.title, done, total, note),
      });
      const seconds = (performance.now() - start) / 1000;
      // A stage that stopped early has no result.
      watching.signal?.throwIfAborted();
      const bytes = encode({ stage: stage.name, address, inputs: stage.inputs, seconds, ...outcome });
      state = decode(stage, bytes);
      await store.put(STAGES, { [file]: bytes });
    }
    records.push({
      name: stage.name, title: stage.title, address, result: state.result ?? null, leftOut: state.leftOut ?? null, seconds: state.seconds, reused: found !== null,
    });
  }
  return records;
}

function encode(value: Saved): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(value, (_key, field) => (typeof field === 'number' ? rounded(field) : field))}\n`);
}

/** What a file says. Throws if that is not a result of the stage. */
function decode<Lab>(stage: Stage<Lab>, bytes: Uint8Array): Saved {
  const state = JSON.parse(new TextDecoder().decode(bytes)) as Saved;
  return state.leftOut === undefined ? { ...state, result: stage.schema.parse(state.result) } : state;
}

/** What the store holds of a stage; null where that is nothing, or damaged, so that the stage runs again. */
function kept<Lab>(stage: Stage<Lab>, address: string, bytes: Uint8Array | null): Saved | null {
  if (!bytes) return null;
  try {
    const state = decode(stage, bytes);
    return state.address === address && typeof state.seconds === 'number' ? state : null;
  } catch {
    return null;
  }
}
