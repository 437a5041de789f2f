/** What this device can do at most, measured: bytes copied and multiply-adds done a second. Kernels are reported as shares of these. */
import copyBlockSource from '../../kernels/bench-copy-block.wgsl';
import copySource from '../../kernels/bench-copy.wgsl';
import fmaSource from '../../kernels/bench-fma.wgsl';
import halfSource from '../../kernels/bench-fma16.wgsl';
import subgroupSource from '../../kernels/bench-subgroup.wgsl';
import type { Gpu } from './gpu.ts';
import { defineKernel, type Kernel } from './kernel.ts';
import type { BufferSlice, Storage } from './pool.ts';

export type Clock = 'timestamp' | 'wall';

export interface Ceilings {
  /** 10⁹ bytes a second, read and written bytes both counted. */
  copyGBps: number;
  /** 10⁹ floating-point operations a second; a multiply-add counts as two. */
  gflops: number;
  /** The same in float16; null where the device has no shader-f16. */
  f16Gflops: number | null;
  /** 10⁹ sums over a subgroup that lanes get a second; null where the device has no subgroups. */
  subgroupGops: number | null;
  /** The smallest dispatches that are recorded, submitted and done in a second. */
  dispatchesPerSecond: number;
  /** What timed the rates: the device's timestamps, or the wall clock. Dispatches always go by the wall clock. */
  source: Clock;
}

const copyKernel = defineKernel('bench-copy', copySource);
const copyBlockKernel = defineKernel('bench-copy-block', copyBlockSource);
const fmaKernel = defineKernel('bench-fma', fmaSource);
const halfKernel = defineKernel('bench-fma16', halfSource);
const subgroupKernel = defineKernel('bench-subgroup', subgroupSource);

const FMA_OPERATIONS = 128;
const SUBGROUP_OPERATIONS = 16;
const LONG_ENOUGH_MS = 15;
/** Ways to share a copy out; which is quickest differs from device to device. */
const COPIES = [[256, 1], [256, 4], [256, 8], [64, 2]] as const;
const BLOCK_WORKGROUPS = [64, 256] as const;
const DISPATCHES = 2000;

/** Measures all ceilings; takes a second or two. Frees what it allocates. */
export async function measureCeilings(gpu: Gpu): Promise<Ceilings> {
  const copy = await measureCopy(gpu);
  const fma = await measureFma(gpu);
  const half = gpu.features.has('shader-f16') ? await measureRate(gpu, halfKernel, FMA_OPERATIONS) : null;
  const subgroup = gpu.features.has('subgroups') ? await measureRate(gpu, subgroupKernel, SUBGROUP_OPERATIONS) : null;
  return {
    copyGBps: copy.gbps, gflops: fma.gflops, f16Gflops: half && half.giga, subgroupGops: subgroup && subgroup.giga,
    dispatchesPerSecond: await measureDispatches(gpu),
    source: copy.source === 'wall' || fma.source === 'wall' ? 'wall' : 'timestamp',
  };
}

/** The higher of each: a ceiling that was reached once can be reached. */
export function highestCeilings(a: Ceilings, b: Ceilings): Ceilings {
  const most = (x: number | null, y: number | null): number | null => (x === null || y === null ? null : Math.max(x, y));
  return {
    copyGBps: Math.max(a.copyGBps, b.copyGBps), gflops: Math.max(a.gflops, b.gflops), f16Gflops: most(a.f16Gflops, b.f16Gflops), subgroupGops: most(a.subgroupGops, b.subgroupGops),
    dispatchesPerSecond: Math.max(a.dispatchesPerSecond, b.dispatchesPerSecond), source: a.source === 'wall' ? 'wall' : b.source,
  };
}

/** Bandwidth of a copy between two buffers larger than a device's caches (smaller on a CPU driver, where it would take too long). */
export async function measureCopy(gpu: Gpu): Promise<{ gbps: number; source: Clock }> {
  const bytes = Math.min(gpu.limits.bindingBytes, (gpu.software ? 32 : 512) * 2 ** 20);
  const count = Math.floor(bytes / 64) * 4;
  const from = gpu.allocate(bytes);
  const to = gpu.allocate(bytes);
  const bindings = [whole(from, bytes), whole(to, bytes)];
  try {
    gpu.clear(bindings[0]!, bytes);
    const ways = [
      ...COPIES.map(([WORKGROUP, PER_THREAD]) => ({ kernel: copyKernel, constants: { WORKGROUP, PER_THREAD }, params: { count }, groups: Math.ceil(count / (WORKGROUP * PER_THREAD)) })),
      ...BLOCK_WORKGROUPS.map((WORKGROUP) => ({ kernel: copyBlockKernel, constants: { WORKGROUP }, params: { blocks: count / 4 }, groups: Math.ceil(count / 4 / WORKGROUP) })),
    ];
    let best = { gbps: 0, source: 'wall' as Clock };
    for (const way of ways) {
      const { msARound, source } = await quickest(gpu, 1, 4, (rounds) => {
        for (let i = 0; i < rounds; i++) gpu.dispatch({ ...way, bindings });
      });
      const gbps = 2 * count * 16 / (msARound * 1e6);
      if (gbps > best.gbps) best = { gbps, source };
    }
    return best;
  } finally {
    gpu.release(from);
    gpu.release(to);
  }
}

/** Rate of independent multiply-adds on registers. */
export async function measureFma(gpu: Gpu): Promise<{ gflops: number; source: Clock }> {
  const { giga, source } = await measureRate(gpu, fmaKernel, FMA_OPERATIONS);
  return { gflops: giga, source };
}

/** 10⁹ operations a second of a kernel that does `operations` a thread and round. */
async function measureRate(gpu: Gpu, kernel: Kernel, operations: number): Promise<{ giga: number; source: Clock }> {
  // Enough to fill a large GPU several times over.
  const threads = gpu.software ? 2 ** 12 : 2 ** 19;
  const out = gpu.allocate(threads * 4);
  try {
    const best = await quickest(gpu, 16, 8, (rounds) => gpu.dispatch({
      kernel, bindings: [whole(out, threads * 4)], params: { threads, rounds, scale: 0.5, shift: 1 }, groups: threads / 64,
    }));
    return { giga: operations * threads / (best.msARound * 1e6), source: best.source };
  } finally {
    gpu.release(out);
  }
}

/** Dispatches of one thread with next to nothing to do, recorded one by one and done in one submit. */
export async function measureDispatches(gpu: Gpu): Promise<number> {
  const out = gpu.allocate(256);
  try {
    let least = Infinity;
    for (let i = 0; i < 4; i++) {
      await gpu.idle();
      const start = performance.now();
      for (let n = 0; n < DISPATCHES; n++) gpu.dispatch({ kernel: fmaKernel, bindings: [whole(out, 256)], params: { threads: 1, rounds: 0, scale: 0, shift: 0 }, groups: 1 });
      await gpu.idle();
      least = Math.min(least, performance.now() - start);
    }
    return Math.round(DISPATCHES / (least / 1000));
  } finally {
    gpu.release(out);
  }
}

function whole(storage: Storage, byteLength: number): BufferSlice {
  return { storage, byteOffset: 0, byteLength };
}

/**
 * Doubles the rounds until a run takes long enough to be timed well, then takes the quickest of some tries: whatever else the machine does
 * can only slow one down.
 */
async function quickest(gpu: Gpu, first: number, tries: number, run: (rounds: number) => void): Promise<{ msARound: number; source: Clock }> {
  await gpu.time(() => run(1));
  let rounds = first;
  let timed = await gpu.time(() => run(rounds));
  while (timed.ms < LONG_ENOUGH_MS && rounds < 2 ** 24) {
    rounds *= timed.ms < LONG_ENOUGH_MS / 8 ? 4 : 2;
    timed = await gpu.time(() => run(rounds));
  }
  let { ms } = timed;
  for (let i = 1; i < tries; i++) ms = Math.min(ms, (await gpu.time(() => run(rounds))).ms);
  return { msARound: ms / rounds, source: timed.source };
}
