/** What this device can do at most, measured: bytes copied and multiply-adds done a second. Kernels are reported as shares of these. */
import copySource from '../../kernels/bench-copy.wgsl';
import fmaSource from '../../kernels/bench-fma.wgsl';
import type { Gpu } from './gpu.ts';
import { defineKernel } from './kernel.ts';
import type { BufferSlice } from './pool.ts';

export interface Ceilings {
  /** 10⁹ bytes a second, read and written bytes both counted. */
  copyGBps: number;
  /** 10⁹ floating-point operations a second; a multiply-add counts as two. */
  gflops: number;
  /** What timed them: the device's timestamps, or the wall clock. */
  source: 'timestamp' | 'wall';
}

const copyKernel = defineKernel('bench-copy', copySource);
const fmaKernel = defineKernel('bench-fma', fmaSource);
const OPERATIONS_A_ROUND = 24;
const LONG_ENOUGH_MS = 20;
const TRIES = 3;

/** Measures both ceilings; takes about half a second. Frees what it allocates. */
export async function measureCeilings(gpu: Gpu): Promise<Ceilings> {
  const copy = await measureCopy(gpu);
  const fma = await measureFma(gpu);
  return { copyGBps: copy.gbps, gflops: fma.gflops, source: copy.source === 'wall' || fma.source === 'wall' ? 'wall' : 'timestamp' };
}

/** Bandwidth of a copy between two buffers larger than a device's caches (smaller on a CPU driver, where it would take too long). */
export async function measureCopy(gpu: Gpu): Promise<{ gbps: number; source: 'timestamp' | 'wall' }> {
  const bytes = Math.min(gpu.limits.bindingBytes, (gpu.software ? 32 : 256) * 2 ** 20);
  const count = Math.floor(bytes / 16);
  const from = gpu.allocate(bytes);
  const to = gpu.allocate(bytes);
  const slice = (storage: typeof from): BufferSlice => ({ storage, byteOffset: 0, byteLength: bytes });
  try {
    gpu.clear(slice(from), bytes);
    const best = await quickest(gpu, 1, (rounds) => {
      for (let i = 0; i < rounds; i++) gpu.dispatch({ kernel: copyKernel, bindings: [slice(from), slice(to)], params: { count }, groups: Math.ceil(count / 1024) });
    });
    return { gbps: 2 * count * 16 / (best.msARound * 1e6), source: best.source };
  } finally {
    gpu.release(from);
    gpu.release(to);
  }
}

/** Rate of independent multiply-adds on registers. */
export async function measureFma(gpu: Gpu): Promise<{ gflops: number; source: 'timestamp' | 'wall' }> {
  // Enough to fill a large GPU several times over.
  const threads = gpu.software ? 2 ** 12 : 2 ** 19;
  const out = gpu.allocate(threads * 4);
  try {
    const best = await quickest(gpu, 64, (rounds) => {
      const bindings = [{ storage: out, byteOffset: 0, byteLength: threads * 4 }];
      gpu.dispatch({ kernel: fmaKernel, bindings, params: { threads, rounds, scale: 0.5, shift: 1 }, groups: threads / 64 });
    });
    return { gflops: OPERATIONS_A_ROUND * threads / (best.msARound * 1e6), source: best.source };
  } finally {
    gpu.release(out);
  }
}

/** Doubles the rounds until a run takes long enough to be timed well, then takes the quickest of a few. */
async function quickest(gpu: Gpu, first: number, run: (rounds: number) => void): Promise<{ msARound: number; source: 'timestamp' | 'wall' }> {
  await gpu.time(() => run(1));
  let rounds = first;
  let timed = await gpu.time(() => run(rounds));
  while (timed.ms < LONG_ENOUGH_MS && rounds < 2 ** 24) {
    rounds *= timed.ms < LONG_ENOUGH_MS / 8 ? 4 : 2;
    timed = await gpu.time(() => run(rounds));
  }
  let { ms } = timed;
  for (let i = 1; i < TRIES; i++) ms = Math.min(ms, (await gpu.time(() => run(rounds))).ms);
  return { msARound: ms / rounds, source: timed.source };
}
