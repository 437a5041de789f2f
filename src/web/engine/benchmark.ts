/** The benchmark panel's side in the worker: the benchmark of the command line on this worker's own device. */
import type { Session } from './session.ts';

declare const DIFFRACT_VERSION: string;

export interface BenchmarkAsked {
  /** Groups of cases, or words that cases are called by; all where there are none. */
  names: string[];
  full: boolean;
  samples: number;
  peers: boolean;
}

/** What happens on the way. */
export type BenchmarkEvent =
  | { kind: 'ceilings'; adapter: string; line: string }
  | { kind: 'step'; at: number; total: number; what: string }
  /** A row's cells, under the columns of a run without other engines. */
  | { kind: 'row'; columns: BenchmarkColumn[]; cells: string[] };

export interface BenchmarkColumn { head: string; left?: boolean }

export interface BenchmarkDone {
  columns: BenchmarkColumn[];
  lines: string[][];
  /** Further numbers, comparisons, and what has no time and why. */
  notes: string[];
  ceilings: string;
  seconds: number;
  interrupted: boolean;
  wrong: number;
  /** bench.json and the page with charts, as the command line writes them. */
  json: string;
  page: string;
}

export class BenchmarkEngine {
  constructor(private readonly session: Session) {}

  /** Measures. Cancelling the job `benchmark` ends it with what there is. Rejects with UsageError for a word that stands for nothing. `page` is the page's address. */
  run(asked: BenchmarkAsked, page: string, onEvent: (event: BenchmarkEvent) => void): Promise<BenchmarkDone> {
    const { session } = this;
    return session.job('benchmark', async (signal) => {
      // All of the benchmark comes when it is asked for.
      const [{ benchInPage }, table, { adapterName, benchText }, { benchPage }] = await Promise.all([import('../../../bench/in-page.ts'), import('../../../bench/table.ts'), import('../../../bench/results.ts'), import('../../../bench/html.ts')]);
      const result = await benchInPage({
        ...asked, gpu: session.gpu, signal, version: DIFFRACT_VERSION, agent: navigator,
        model: new URL('models/ioi-mini', page).href, peersAt: new URL('peers/peers.js', page).href,
        onCeilings: (ceilings, adapter) => onEvent({ kind: 'ceilings', adapter: adapterName(adapter), line: table.ceilingsLine(ceilings) }),
        onStep: (at, total, what) => onEvent({ kind: 'step', at, total, what }),
        onRow: (row) => {
          const { columns, lines } = table.tableCells({ rows: [row], peers: [] } as unknown as Parameters<typeof table.tableCells>[0]);
          onEvent({ kind: 'row', columns: columns.map(({ head, left }) => ({ head, left })), cells: lines[0]! });
        },
      });
      const { columns, lines } = table.tableCells(result);
      return {
        columns: columns.map(({ head, left }) => ({ head, left })), lines,
        notes: [...table.figureLines(result.rows), ...table.againstLines(result.rows), ...table.peerSummary(result), ...table.noteLines(result)],
        ceilings: table.ceilingsLine(result.ceilings), seconds: result.seconds, interrupted: result.interrupted, wrong: result.rows.filter((row) => row.wrong).length,
        json: benchText(result), page: await benchPage(result),
      };
    });
  }
}
