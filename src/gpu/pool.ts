/**
 * Buffers and their reuse. A released buffer goes to a free list of its size class and serves the next request of that class; the
 * queue runs work in order, so it may be reused at once by recorded work. Uploads do not wait for recorded work that is not submitted
 * yet, so they ask for a buffer that the open batch has not used.
 */
import { GpuOutOfMemoryError, LimitError } from '../errors.ts';

/** One GPU buffer, shared by the tensors that view it. */
export interface Storage {
  readonly id: number;
  readonly buffer: GPUBuffer;
  /** Size of the buffer, at least what was asked for. */
  readonly bytes: number;
  /** The batch that last recorded work on it. */
  lastBatch: number;
}

/** A byte range of a buffer; a tensor is one. */
export interface BufferSlice {
  readonly storage: Storage;
  readonly byteOffset: number;
  readonly byteLength: number;
}

export interface Memory {
  /** Bytes and buffers that tensors hold. */
  live: number; liveBuffers: number;
  /** Bytes and buffers that wait for reuse. */
  pooled: number; pooledBuffers: number;
  /** The most that live and pooled together ever were. */
  peak: number;
}

// Copy target and source for reads and uploads; storage for kernels.
const USAGE = 0x80 /* STORAGE */ | 0x4 /* COPY_SRC */ | 0x8 /* COPY_DST */;

/** Size classes: powers of two to 4 KiB, then eighths of a power of two, so that at most an eighth is wasted. */
export function sizeClass(bytes: number): number {
  if (bytes <= 256) return 256;
  const power = 2 ** Math.ceil(Math.log2(bytes));
  if (power <= 4096) return power;
  const step = power / 16;
  return Math.ceil(bytes / step) * step;
}

export class BufferPool {
  private readonly free = new Map<number, Storage[]>();
  private doomed: Storage[] = [];
  private nextId = 1;
  private readonly counts: Memory = { live: 0, liveBuffers: 0, pooled: 0, pooledBuffers: 0, peak: 0 };

  private readonly device: GPUDevice;
  private readonly limits: { bufferBytes: number; memoryBytes: number; pooledBytes: number };

  constructor(device: GPUDevice, limits: { bufferBytes: number; memoryBytes: number; pooledBytes: number }) {
    this.device = device;
    this.limits = limits;
  }

  /**
   * A buffer of at least `bytes`. With `notInBatch`, one that this batch has not used.
   * Throws LimitError if no buffer can be that large, GpuOutOfMemoryError if the memory limit would be passed.
   */
  acquire(bytes: number, notInBatch = -1): Storage {
    if (bytes > this.limits.bufferBytes) throw new LimitError(`a buffer of ${bytes} bytes is needed, but this adapter allows ${this.limits.bufferBytes} bytes`);
    const size = Math.min(sizeClass(bytes), this.limits.bufferBytes);
    const list = this.free.get(size);
    const at = list ? list.findLastIndex((s) => s.lastBatch !== notInBatch) : -1;
    if (list && at >= 0) {
      const [storage] = list.splice(at, 1);
      this.count(size, 1, -1);
      return storage!;
    }
    if (this.counts.live + this.counts.pooled + size > this.limits.memoryBytes) this.drain();
    if (this.counts.live + size > this.limits.memoryBytes) {
      throw new GpuOutOfMemoryError(`${bytes} more bytes are needed; ${this.counts.live} of the allowed ${this.limits.memoryBytes} bytes are in use`);
    }
    const buffer = this.device.createBuffer({ size, usage: USAGE });
    this.count(size, 1, 0);
    return { id: this.nextId++, buffer, bytes: size, lastBatch: -1 };
  }

  release(storage: Storage): void {
    if (this.counts.pooled + storage.bytes > this.limits.pooledBytes) {
      this.count(storage.bytes, -1, 0);
      this.doomed.push(storage);
      return;
    }
    this.count(storage.bytes, -1, 1);
    const list = this.free.get(storage.bytes);
    if (list) list.push(storage);
    else this.free.set(storage.bytes, [storage]);
  }

  /** Marks all pooled buffers for destruction. */
  drain(): void {
    for (const list of this.free.values()) {
      for (const storage of list) {
        this.doomed.push(storage);
        this.counts.pooled -= storage.bytes;
        this.counts.pooledBuffers -= 1;
      }
    }
    this.free.clear();
  }

  /** Destroys what is marked; to be called when no recorded work that is not submitted uses it. Returns the ids destroyed. */
  destroyDoomed(): number[] {
    const ids = this.doomed.map((s) => s.id);
    for (const storage of this.doomed) storage.buffer.destroy();
    this.doomed = [];
    return ids;
  }

  memory(): Memory {
    return { ...this.counts };
  }

  private count(bytes: number, live: number, pooled: number): void {
    const c = this.counts;
    c.live += live * bytes;
    c.liveBuffers += live;
    c.pooled += pooled * bytes;
    c.pooledBuffers += pooled;
    c.peak = Math.max(c.peak, c.live + c.pooled);
  }
}
