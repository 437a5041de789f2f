/** A result of the benchmark made by hand, for tests of what is done with one. */
import { BENCH_FORMAT, type BenchResult, type Row, type Versus } from '../../bench/results.ts';

export function row(changes: Partial<Row> = {}): Row {
  return {
    group: 'kernels', kernel: 'matmul', shape: '19×768×2304, q, k, v', ms: 10, spread: 0.05, least: 9.5, most: 10.5, samples: 5, share: 0.5, bound: 'compute', gflops: 6.72, gbps: 0.7,
    flops: 67_239_936, bytes: 7_311_360, hostMs: 0.02, firstUseMs: 30, error: 2e-7, tolerance: 1e-5, source: 'timestamp', figures: {}, peers: {}, against: {}, ...changes,
  };
}

export function versus(changes: Partial<Versus> = {}): Versus {
  return { ms: 20, spread: 0.1, ours: 11, oursSpread: 0.1, ratio: 20 / 11, transfers: null, error: 1e-6, firstUseMs: 500, ...changes };
}

export function result(rows: Row[], changes: Partial<BenchResult> = {}): BenchResult {
  return {
    format: BENCH_FORMAT, version: '0.1.0', date: '2026-01-02T03:04:05.678Z', where: { kind: 'node', name: 'Node', version: '20.0.0', platform: 'linux-x64' },
    adapter: { vendor: 'v', architecture: 'a', device: '', description: 'an adapter', isFallback: false, software: false },
    ceilings: { copyGBps: 5, gflops: 60, f16Gflops: null, subgroupGops: 1.5, dispatchesPerSecond: 40_000, source: 'timestamp' },
    settings: { samples: 5, full: false, names: [], budgetSeconds: 200, tuned: false }, peers: [], missingPeers: [], seconds: 12, interrupted: false, rows, ...changes,
  };
}
