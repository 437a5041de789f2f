/** Evaluations as the page sees them: the one that is under way, in a worker of its own, the one that is shown, and those that the browser keeps. */
import { proxy } from 'comlink';
import { signal } from '@preact/signals';
import { browserOf } from '../../../bench/browser-name.ts';
import { engine, startJob, type Job } from '../client.ts';
import type { EvaluateAsked, EvaluationFacts, EvaluationFiles } from '../engine/evaluate.ts';
import { saveAs } from '../parts/basic.tsx';
import { zip } from '../parts/zip.ts';

export interface UnderWay { phase: string; done: number; total: number; note: string; startedAt: number; phaseStartedAt: number }

/** Null while nothing runs. */
export const underWay = signal<UnderWay | null>(null);
/** Why the last run did not end well. */
export const problem = signal<string | null>(null);
/** What is shown below. `trained` null: it lies in the browser's storage. */
export const shown = signal<(EvaluationFiles & { trained: Record<string, Uint8Array> | null; unsaved: string | null }) | null>(null);
/** Null until the browser's storage was read. */
export const kept = signal<EvaluationFacts[] | null>(null);

let job: Job | null = null;
let cancelled = false;

/** The engine of the run that is under way. */
export function evaluatingEngine(): Job['engine'] | null {
  return job?.engine ?? null;
}

export async function refreshKept(): Promise<void> {
  kept.value = await engine().evaluate.list();
}

/** Begins an evaluation; what goes wrong is in `problem`. */
export async function begin(asked: EvaluateAsked): Promise<void> {
  if (underWay.value) return;
  cancelled = false;
  problem.value = null;
  const now = performance.now();
  underWay.value = { phase: 'opening a device', done: 0, total: 0, note: '', startedAt: now, phaseStartedAt: now };
  const follow = (phase: string, done: number, total: number, note = ''): void => {
    const before = underWay.value;
    if (!before) return;
    underWay.value = { ...before, phase, done, total, note, phaseStartedAt: before.phase === phase ? before.phaseStartedAt : performance.now() };
  };
  try {
    job = await startJob({ onProgress: (done, total, note) => follow('loading the model', done, total, note) });
    if (cancelled) return;
    const { name, version } = browserOf(navigator.userAgent, navigator.platform);
    const done = await Promise.race([job.engine.evaluate.run(asked, `${name} ${version}`, proxy(follow)), job.lost]);
    shown.value = done;
  } catch (error) {
    const { name, message } = error as Error;
    if (name !== 'AbortError') problem.value = name === 'DeviceLostError' ? `${message}. What was computed went with it; your settings are as they were: run it again.` : message;
  } finally {
    job?.end();
    job = null;
    underWay.value = null;
  }
  await refreshKept().catch(() => {});
}

/** Stops the run; the page is as it was before. */
export function cancel(): void {
  cancelled = true;
  void job?.engine.cancel('evaluate');
}

export async function reopen(name: string): Promise<void> {
  problem.value = null;
  try {
    shown.value = { ...await engine().evaluate.read(name), trained: null, unsaved: null };
  } catch (error) {
    problem.value = (error as Error).message;
    await refreshKept().catch(() => {});
  }
}

export async function remove(name: string): Promise<void> {
  try {
    await engine().evaluate.remove(name);
  } catch (error) {
    problem.value = (error as Error).message;
  }
  await refreshKept().catch(() => {});
}

/** The trained SAEs as one archive of folders in SAELens' layout. */
export async function saveTrained(): Promise<void> {
  const { name, trained } = shown.value!;
  try {
    saveAs(`${name} dictionaries.zip`, zip(trained ?? await engine().evaluate.trained(name)), 'application/zip');
  } catch (error) {
    problem.value = (error as Error).message;
  }
}
