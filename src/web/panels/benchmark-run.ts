/** A benchmark as the page sees it: in a worker of its own, its rows as they come. */
import { proxy } from 'comlink';
import { signal } from '@preact/signals';
import { startJob, type Job } from '../client.ts';
import type { BenchmarkAsked, BenchmarkColumn, BenchmarkDone, BenchmarkEvent } from '../engine/benchmark.ts';

interface Underway { at: number; total: number; what: string }

export const underWay = signal<Underway | null>(null);
export const problem = signal<string | null>(null);
/** Rows so far, or of the last run. */
export const rows = signal<{ columns: BenchmarkColumn[]; lines: string[][] }>({ columns: [], lines: [] });
export const ceilings = signal<{ adapter: string; line: string } | null>(null);
/** The whole result once the run has ended. */
export const result = signal<BenchmarkDone | null>(null);

let job: Job | null = null;
let stopped = false;

/** The engine of the run that is under way. */
export function benchmarkEngine(): Job['engine'] | null {
  return job?.engine ?? null;
}

function follow(event: BenchmarkEvent): void {
  if (event.kind === 'ceilings') ceilings.value = { adapter: event.adapter, line: event.line };
  else if (event.kind === 'step') underWay.value = { at: event.at, total: event.total, what: event.what };
  else rows.value = { columns: event.columns, lines: [...rows.peek().lines, event.cells] };
}

/** Begins a run; what goes wrong is in `problem`, and the rows that came before stay. */
export async function begin(asked: BenchmarkAsked): Promise<void> {
  if (underWay.value) return;
  stopped = false;
  problem.value = null;
  result.value = null;
  ceilings.value = null;
  rows.value = { columns: [], lines: [] };
  underWay.value = { at: 0, total: 0, what: 'measuring what this adapter can do at most' };
  try {
    job = await startJob({ withModel: false });
    if (stopped) return;
    const done = await Promise.race([job.engine.benchmark.run(asked, document.baseURI, proxy(follow)), job.lost]);
    result.value = done;
    rows.value = { columns: done.columns, lines: done.lines };
  } catch (error) {
    const { name, message } = error as Error;
    if (name !== 'AbortError') problem.value = name === 'DeviceLostError' ? `${message}. The rows measured so far stand below.` : message;
  } finally {
    job?.end();
    job = null;
    underWay.value = null;
  }
}

/** Ends the run with what there is. */
export function stop(): void {
  stopped = true;
  void job?.engine.cancel('benchmark');
}
