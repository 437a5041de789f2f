/** The benchmark itself, in Node as in a browser: ceilings first, then every case that was chosen, one row each. */
import { highestCeilings, measureCeilings, type Ceilings, type Gpu } from '../src/gpu/index.ts';
import type { Case } from './cases/case.ts';
import { releaseModels } from './cases/models.ts';
import { emptyRow, measure, rates } from './measure.ts';
import type { Peer } from './peers/peer.ts';
import { BENCH_FORMAT, type BenchResult, type Row, type Where } from './results.ts';

export interface BenchOptions {
  cases: readonly Case[];
  where: Where;
  version: string;
  samples: number;
  full: boolean;
  /** The words that chose the cases. */
  names: readonly string[];
  peers?: readonly Peer[];
  missingPeers?: readonly { name: string; why: string }[];
  /** Ends the run with what there is. */
  signal?: AbortSignal;
  onCeilings?(ceilings: Ceilings, adapter: BenchResult['adapter']): void;
  /** Before each part of a case. */
  onStep?(at: number, total: number, what: string): void;
  onRow?(row: Row): void;
}

/** A run that leaves out long cases is kept below four minutes on a software driver; cases that come later than this are left out. */
const BUDGET_SECONDS = 200;
const ROW_BUDGET_MS = 2000;
const FULL_ROW_BUDGET_MS = 10_000;

/** Measures the ceilings before and after the rows, of which the higher count. Never throws for a single case. Throws DeviceLostError only if the ceilings cannot be measured. */
export async function runBench(gpu: Gpu, options: BenchOptions): Promise<BenchResult> {
  const { cases, full, samples, names, peers = [], missingPeers = [], signal } = options;
  const started = performance.now();
  const seconds = (): number => (performance.now() - started) / 1000;
  const adapter = { ...gpu.info, software: gpu.software };
  const ceilings = await measureCeilings(gpu);
  options.onCeilings?.(ceilings, adapter);
  // Comparisons and what is asked for by name take the time they need.
  const budgetSeconds = full || peers.length > 0 || names.length > 0 ? null : BUDGET_SECONDS;
  const result: BenchResult = {
    format: BENCH_FORMAT, version: options.version, date: new Date().toISOString(), where: options.where, adapter, ceilings,
    settings: { samples, full, names: [...names], budgetSeconds, tuned: gpu.tuning.used },
    peers: peers.map(({ name, version }) => ({ name, version })), missingPeers: [...missingPeers], seconds: 0, interrupted: false, rows: [],
  };
  const aborted = new Promise<null>((resolve) => signal?.addEventListener('abort', () => resolve(null), { once: true }));
  try {
    for (const [at, item] of cases.entries()) {
      if (budgetSeconds !== null && seconds() > budgetSeconds) {
        result.rows.push({ ...emptyRow(item, ceilings), skipped: `the run's ${budgetSeconds} seconds were used up; --full, or its name, measures it` });
        continue;
      }
      const onStep = (step: string): void => options.onStep?.(at, cases.length, `${item.kernel} ${item.shape}: ${step}`);
      const measured = measure(gpu, item, ceilings, { samples, budgetMs: full ? FULL_ROW_BUDGET_MS : ROW_BUDGET_MS, peers, onStep });
      const row = signal?.aborted ? null : await Promise.race([measured, aborted]);
      if (!row) {
        result.interrupted = true;
        break;
      }
      result.rows.push(row);
      options.onRow?.(row);
    }
  } finally {
    // After an interruption work is still under way on the device; the process ends with it.
    if (!result.interrupted) releaseModels();
  }
  if (!result.interrupted) {
    // Whatever else the machine did at the beginning may be over.
    result.ceilings = highestCeilings(ceilings, await measureCeilings(gpu));
    for (const row of result.rows) Object.assign(row, rates(row, result.ceilings));
  }
  result.seconds = seconds();
  return result;
}
