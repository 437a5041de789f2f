/**
 * The machine: one device, its memory and its one recorder.
 *
 * Operations record; nothing runs until a read, `flush` or `idle` submits. Errors of recorded work reject the read or wait that
 * follows it (GpuValidationError, GpuOutOfMemoryError, ShaderError); a lost device rejects everything at once (DeviceLostError).
 */
import { Faults } from './faults.ts';
import type { Kernel, Variant } from './kernel.ts';
import { BufferPool, type BufferSlice, type Memory, type Storage } from './pool.ts';
import { Recorder, type Dispatch } from './recorder.ts';
import { Scopes, type Disposable } from './scope.ts';
import { NO_TUNING, type Tuning } from './tuning.ts';

export interface AdapterFacts {
  vendor: string; architecture: string; device: string; description: string;
  /** The implementation itself calls this adapter a fallback. */
  isFallback: boolean;
  /** Least and greatest number of threads in a subgroup; 0 where it is not told. */
  subgroupMinSize: number; subgroupMaxSize: number;
}

export interface GpuLimits {
  /** Largest binding; larger tensors are bound in windows of rows. */
  bindingBytes: number;
  bufferBytes: number;
  workgroupInvocations: number;
  workgroupBytes: number;
  storageBuffers: number;
}

export interface GpuSettings {
  immediates: boolean;
  /** Use kernels with subgroup operations where the device has them. */
  subgroups: boolean;
  limits: GpuLimits;
  info: AdapterFacts;
  /** Most bytes that live and pooled buffers may take together. */
  memoryLimit: number;
}

const MAX_TIMED_PASSES = 256;
/** Most and least that one buffer takes of what is read back; more goes through several, of no more than a binding each. */
const READ_BYTES = { most: 256 * 2 ** 20, least: 64 * 2 ** 10 };

export class Gpu {
  readonly device: GPUDevice;
  readonly info: AdapterFacts;
  readonly features: ReadonlySet<string>;
  readonly limits: GpuLimits;
  /** True on a CPU driver (lavapipe, SwiftShader): kernels without barriers are the quick ones there. */
  readonly software: boolean;
  /** Probably a GPU that shares a CPU's memory: WebGPU does not tell, the vendor's name is all there is to go by. */
  readonly integrated: boolean;
  readonly immediates: boolean;
  /** Threads in a subgroup, where the device has subgroups and their size is known and fixed; else 0: kernels then do without. */
  readonly subgroupSize: number;
  /** Most bytes that live and pooled buffers may take together; Infinity where nobody set it. */
  readonly memoryLimit: number;
  /** Where planners find what was tuned for this device; set on opening, and by the tuner while it compares. */
  tuning: Tuning = NO_TUNING;
  private readonly pool: BufferPool;
  private readonly recorder: Recorder;
  private readonly faults: Faults;
  private readonly scopes = new Scopes();
  private readonly staging = new Map<number, GPUBuffer[]>();
  private coming: Promise<void> | null = null;

  constructor(device: GPUDevice, settings: GpuSettings) {
    this.device = device;
    this.info = settings.info;
    this.limits = settings.limits;
    this.immediates = settings.immediates;
    this.memoryLimit = settings.memoryLimit;
    this.features = new Set(device.features as unknown as Iterable<string>);
    const words = Object.values(settings.info).join(' ').toLowerCase();
    this.software = settings.info.isFallback || /llvmpipe|lavapipe|swiftshader|software/.test(words);
    this.integrated = !this.software && isIntegrated(settings.info);
    this.subgroupSize = settings.subgroups ? subgroupSize(this.features, settings.info) : 0;
    this.faults = new Faults(device);
    this.pool = new BufferPool(device, { bufferBytes: settings.limits.bufferBytes, memoryBytes: settings.memoryLimit, pooledBytes: 512 * 2 ** 20 });
    this.recorder = new Recorder(device, settings.immediates, settings.limits.bindingBytes, (outcome) => this.faults.add(outcome));
  }

  /** Records one dispatch into the open pass. */
  dispatch(work: Dispatch): void {
    this.faults.check();
    if (this.recorder.full) this.flush();
    this.faults.begin();
    this.recorder.dispatch(work);
  }

  /** Compiles pipelines in parallel. Rejects with ShaderError, naming kernel and line. */
  async prepare(specs: readonly ({ kernel: Kernel } & Variant)[]): Promise<void> {
    this.faults.check();
    await this.faults.settle(this.recorder.pipelines.prepare(specs));
  }

  /**
   * A buffer of at least `bytes`, its contents undefined. With `forUpload`, one that no recorded, unsubmitted work uses.
   * Throws LimitError for a buffer that the adapter cannot have, GpuOutOfMemoryError beyond the memory limit.
   */
  allocate(bytes: number, forUpload = false): Storage {
    this.faults.check();
    this.faults.begin();
    return this.pool.acquire(bytes, forUpload ? this.recorder.batch : -1);
  }

  /** Gives a buffer back for reuse. */
  release(storage: Storage): void {
    this.pool.release(storage);
  }

  /** Writes bytes in order with recorded work. `data` must not view a SharedArrayBuffer (copy it first). */
  upload(target: BufferSlice, data: ArrayBufferView, byteOffset = 0): void {
    this.faults.check();
    if (data.byteLength === 0) return;
    // The write happens before anything recorded but not submitted, so what uses this buffer has to go first.
    if (target.storage.lastBatch === this.recorder.batch) this.flush();
    this.faults.begin();
    this.device.queue.writeBuffer(target.storage.buffer, target.byteOffset + byteOffset, data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
  }

  copy(from: BufferSlice, to: BufferSlice, bytes: number): void {
    this.faults.check();
    this.faults.begin();
    this.recorder.copy(from, to, bytes);
  }

  /** Sets bytes to zero. */
  clear(target: BufferSlice, bytes: number): void {
    this.faults.check();
    this.faults.begin();
    this.recorder.clear(target, bytes);
  }

  /**
   * Reads bytes back after all work recorded so far. Reads asked for in one turn share a submit.
   * Rejects with the error of the work it depends on, or DeviceLostError.
   */
  async download(source: BufferSlice, bytes: number): Promise<ArrayBuffer> {
    if (bytes === 0) return new ArrayBuffer(0);
    const most = Math.max(READ_BYTES.least, 2 ** Math.floor(Math.log2(Math.min(READ_BYTES.most, this.limits.bindingBytes))));
    if (bytes <= most) return this.downloadPart(source, bytes);
    const whole = new Uint8Array(bytes);
    // All are recorded now, so that they show one state.
    await Promise.all(Array.from({ length: Math.ceil(bytes / most) }, async (_, i) => {
      const part = { storage: source.storage, byteOffset: source.byteOffset + i * most, byteLength: Math.min(most, bytes - i * most) };
      whole.set(new Uint8Array(await this.downloadPart(part, part.byteLength)), i * most);
    }));
    return whole.buffer;
  }

  private async downloadPart(source: BufferSlice, bytes: number): Promise<ArrayBuffer> {
    this.faults.check();
    this.faults.begin();
    const size = 2 ** Math.ceil(Math.log2(Math.max(bytes, 256)));
    const staging = this.staging.get(size)?.pop() ?? this.device.createBuffer({ label: 'read back', size, usage: 0x1 /* MAP_READ */ | 0x8 /* COPY_DST */ });
    this.recorder.copyToBuffer(source, staging, bytes);
    await this.flushSoon();
    try {
      await this.faults.settle(staging.mapAsync(1 /* READ */, 0, bytes));
    } catch (error) {
      staging.destroy();
      throw error;
    }
    const copy = staging.getMappedRange(0, bytes).slice(0);
    staging.unmap();
    this.keepStaging(size, staging);
    return copy;
  }

  /** Submits what is recorded, without waiting for it. */
  flush(): void {
    this.recorder.submit();
    const gone = this.pool.destroyDoomed();
    this.recorder.forget(gone);
    // Dawn gives the memory of destroyed buffers back at a later submit.
    if (gone.length) this.device.queue.submit([]);
    this.faults.end();
  }

  /** Submits and waits until the device has done it all. Rejects like a read. */
  async idle(): Promise<void> {
    this.flush();
    await this.faults.settle(this.device.queue.onSubmittedWorkDone().then(() => undefined));
  }

  memory(): Memory {
    return this.pool.memory();
  }

  /** How much has been recorded so far. */
  counters(): { dispatches: number; submits: number; pipelines: number } {
    return { dispatches: this.recorder.dispatches, submits: this.recorder.submits, pipelines: this.recorder.pipelines.count };
  }

  /** Really frees pooled buffers. */
  async trim(): Promise<void> {
    this.pool.drain();
    for (const list of this.staging.values()) for (const buffer of list) buffer.destroy();
    this.staging.clear();
    await this.idle();
    this.device.queue.submit([]);
  }

  /**
   * Runs `fn` and frees every tensor made inside, but those it returns (also inside arrays, plain objects, Maps and things with
   * `tensors()`). `fn` may be async; do not run two async scopes of one Gpu at the same time.
   */
  scope<T>(fn: () => T): T {
    return this.scopes.run(fn);
  }

  /** Lifts a tensor out of all open scopes: the caller disposes it. */
  keep<T extends Disposable>(item: T): T {
    this.scopes.remove(item);
    return item;
  }

  /** For tensors: register with, and leave, the innermost scope. */
  track(item: Disposable): void {
    this.scopes.add(item);
  }

  untrack(item: Disposable): void {
    this.scopes.remove(item);
  }

  /**
   * Milliseconds that the device needs for what `fn` records: by timestamps around its passes where the device has them,
   * else by the wall clock from submit to done.
   */
  async time(fn: () => void): Promise<{ ms: number; source: 'timestamp' | 'wall' }> {
    await this.idle();
    if (this.features.has('timestamp-query')) {
      const ms = await this.timeByTimestamps(fn);
      if (ms !== null) return { ms, source: 'timestamp' };
      await this.idle();
    }
    const start = performance.now();
    fn();
    await this.idle();
    return { ms: performance.now() - start, source: 'wall' };
  }

  /** Closes the device. Pending and later reads reject with DeviceLostError. */
  destroy(): void {
    this.device.destroy();
  }

  private async timeByTimestamps(fn: () => void): Promise<number | null> {
    const capacity = 2 * MAX_TIMED_PASSES;
    const querySet = this.device.createQuerySet({ type: 'timestamp', count: capacity });
    const resolved = this.device.createBuffer({ size: capacity * 8, usage: 0x200 /* QUERY_RESOLVE */ | 0x4 /* COPY_SRC */ });
    const readable = this.device.createBuffer({ size: capacity * 8, usage: 0x1 /* MAP_READ */ | 0x8 /* COPY_DST */ });
    try {
      this.faults.begin();
      this.recorder.startTiming(querySet, capacity);
      fn();
      const used = this.recorder.stopTiming(resolved);
      if (used > 0) this.recorder.encode((encoder) => encoder.copyBufferToBuffer(resolved, 0, readable, 0, used * 8));
      await this.idle();
      if (used <= 0) return null;
      await this.faults.settle(readable.mapAsync(1, 0, used * 8));
      const stamps = new BigUint64Array(readable.getMappedRange(0, used * 8));
      const ms = Number(stamps[used - 1]! - stamps[0]!) / 1e6;
      return ms > 0 ? ms : null;
    } finally {
      querySet.destroy();
      resolved.destroy();
      readable.destroy();
    }
  }

  /** One flush at the end of this turn, shared by all who ask in it. */
  private flushSoon(): Promise<void> {
    this.coming ??= Promise.resolve().then(() => {
      this.coming = null;
      this.flush();
    });
    return this.coming;
  }

  private keepStaging(size: number, buffer: GPUBuffer): void {
    const list = this.staging.get(size) ?? [];
    if (list.length < 4 && size <= 64 * 2 ** 20) list.push(buffer);
    else buffer.destroy();
    this.staging.set(size, list);
  }
}

/** The one size that all subgroups of a device have, or 0. */
export function subgroupSize(features: ReadonlySet<string>, { subgroupMinSize, subgroupMaxSize }: AdapterFacts): number {
  const fixed = features.has('subgroups') && subgroupMinSize === subgroupMaxSize;
  return fixed ? subgroupMinSize : 0;
}

/** These vendors make cards rarely or never, and Intel's have an architecture of their own. */
function isIntegrated({ vendor, architecture }: AdapterFacts): boolean {
  return /^(apple|arm|qualcomm|img-tec|samsung)$/i.test(vendor) || (/^intel$/i.test(vendor) && !/hpg/i.test(architecture));
}
