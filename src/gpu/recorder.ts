/**
 * Records work into one open compute pass and submits it when told to. Parameters travel as immediates where the implementation has
 * them, else through slots of one uniform buffer that is written just before the submit.
 */
import { LimitError, ShaderError, type DiffractError } from '../errors.ts';
import { MAX_PARAM_BYTES, packParams, type Kernel, type Variant } from './kernel.ts';
import { Pipelines, type Pipeline } from './pipelines.ts';
import type { BufferSlice } from './pool.ts';

export interface Dispatch extends Variant {
  kernel: Kernel;
  /** One for each `@group(0) @binding(i)`, in order. */
  bindings: readonly BufferSlice[];
  /** Values of the kernel's `struct Params`, by name. */
  params?: Readonly<Record<string, number>>;
  /** Workgroups; a single number is folded over two axes where it passes 65,535. A zero records nothing. */
  groups: number | readonly [number, number, number];
}

const MAX_GROUPS = 65535;
const SLOT_BYTES = 256;
const SLOTS = 2048;
const MAX_BIND_GROUPS = 4096;

interface PassTimer { querySet: GPUQuerySet; used: number; capacity: number }

export class Recorder {
  private encoder: GPUCommandEncoder | null = null;
  private pass: GPUComputePassEncoder | null = null;
  private current: Pipeline | null = null;
  private readonly bindGroups = new Map<string, GPUBindGroup>();
  private readonly words = new Uint32Array(SLOTS * SLOT_BYTES / 4);
  private readonly floats = new Float32Array(this.words.buffer);
  private slots = 0;
  private readonly uniform: GPUBuffer | null = null;
  private readonly uniformGroup: GPUBindGroup | null = null;
  private timer: PassTimer | null = null;
  readonly pipelines: Pipelines;
  /** Number of the batch that is being recorded. */
  batch = 1;
  /** Dispatches recorded since the device was opened. */
  dispatches = 0;
  submits = 0;

  private readonly device: GPUDevice;
  private readonly immediates: boolean;
  private readonly bindingBytes: number;

  constructor(device: GPUDevice, immediates: boolean, bindingBytes: number, onFault: (outcome: Promise<DiffractError | null>) => void) {
    this.device = device;
    this.immediates = immediates;
    this.bindingBytes = bindingBytes;
    this.pipelines = new Pipelines(device, immediates, onFault);
    if (this.pipelines.paramLayout) {
      this.uniform = device.createBuffer({ label: 'parameters', size: SLOTS * SLOT_BYTES, usage: 0x40 /* UNIFORM */ | 0x8 /* COPY_DST */ });
      this.uniformGroup = device.createBindGroup({
        layout: this.pipelines.paramLayout,
        entries: [{ binding: 0, resource: { buffer: this.uniform, size: MAX_PARAM_BYTES } }],
      });
    }
  }

  /** True when a further dispatch needs a submit first. */
  get full(): boolean {
    return this.slots >= SLOTS;
  }

  dispatch(work: Dispatch): void {
    const { kernel, bindings } = work;
    const groups = typeof work.groups === 'number' ? fold(work.groups) : work.groups;
    if (groups[0] === 0 || groups[1] === 0 || groups[2] === 0) return;
    if (groups[0] > MAX_GROUPS || groups[1] > MAX_GROUPS || groups[2] > MAX_GROUPS) throw new LimitError(`kernel ${kernel.name}: ${groups.join('×')} workgroups, at most ${MAX_GROUPS} an axis`);
    if (bindings.length !== kernel.access.length) throw new ShaderError(`kernel ${kernel.name} has ${kernel.access.length} bindings, ${bindings.length} are given`);
    const pipeline = this.pipelines.get(kernel, work);
    const pass = this.openPass();
    if (this.current !== pipeline) {
      pass.setPipeline(pipeline.pipeline);
      this.current = pipeline;
    }
    pass.setBindGroup(0, this.bindGroup(pipeline, bindings));
    if (kernel.params.length) this.setParams(pass, kernel, work.params ?? {});
    pass.dispatchWorkgroups(groups[0], groups[1], groups[2]);
    this.dispatches++;
  }

  copy(from: BufferSlice, to: BufferSlice, bytes: number): void {
    if (bytes === 0) return;
    this.copyToBuffer(from, to.storage.buffer, bytes, to.byteOffset);
    to.storage.lastBatch = this.batch;
  }

  /** Copies into a buffer outside the pool, such as one for reading back. */
  copyToBuffer(from: BufferSlice, target: GPUBuffer, bytes: number, offset = 0): void {
    this.endPass();
    this.open().copyBufferToBuffer(from.storage.buffer, from.byteOffset, target, offset, bytes);
    from.storage.lastBatch = this.batch;
  }

  clear(target: BufferSlice, bytes: number): void {
    if (bytes === 0) return;
    this.endPass();
    this.open().clearBuffer(target.storage.buffer, target.byteOffset, bytes);
    target.storage.lastBatch = this.batch;
  }

  /** Submits what is recorded. */
  submit(): void {
    this.endPass();
    if (!this.encoder) return;
    if (this.slots && this.uniform) this.device.queue.writeBuffer(this.uniform, 0, this.words, 0, this.slots * SLOT_BYTES / 4);
    const commands = this.encoder.finish();
    this.encoder = null;
    this.slots = 0;
    this.batch++;
    this.submits++;
    this.device.queue.submit([commands]);
  }

  /** From now on every pass writes its begin and end into the query set, until the set is full or `stopTiming` is called. */
  startTiming(querySet: GPUQuerySet, capacity: number): void {
    this.endPass();
    this.timer = { querySet, used: 0, capacity };
  }

  /** Ends timing and copies the timestamps into `target`; returns how many were written, or -1 if the set was too small. */
  stopTiming(target: GPUBuffer): number {
    this.endPass();
    const timer = this.timer;
    this.timer = null;
    if (!timer) return 0;
    const used = Math.min(timer.used, timer.capacity);
    if (used) this.open().resolveQuerySet(timer.querySet, 0, used, target, 0);
    return timer.used > timer.capacity ? -1 : used;
  }

  /** Runs `record` on the open encoder, outside any pass. */
  encode(record: (encoder: GPUCommandEncoder) => void): void {
    this.endPass();
    record(this.open());
  }

  /** Forgets bind groups of buffers that no longer exist. */
  forget(storageIds: readonly number[]): void {
    if (storageIds.length) this.bindGroups.clear();
  }

  private open(): GPUCommandEncoder {
    return (this.encoder ??= this.device.createCommandEncoder());
  }

  private openPass(): GPUComputePassEncoder {
    if (this.pass) return this.pass;
    const timer = this.timer;
    const timed = timer && timer.used + 2 <= timer.capacity;
    if (timer) timer.used += 2;
    this.pass = this.open().beginComputePass(timed ? {
      timestampWrites: { querySet: timer.querySet, beginningOfPassWriteIndex: timer.used - 2, endOfPassWriteIndex: timer.used - 1 },
    } : undefined);
    return this.pass;
  }

  private endPass(): void {
    this.pass?.end();
    this.pass = null;
    this.current = null;
  }

  private setParams(pass: GPUComputePassEncoder, kernel: Kernel, params: Readonly<Record<string, number>>): void {
    const count = kernel.params.length;
    if (this.immediates) {
      packParams(kernel, params, this.words, this.floats, 0);
      (pass as unknown as { setImmediates(offset: number, data: Uint32Array, from: number, count: number): void }).setImmediates(0, this.words, 0, count);
      return;
    }
    const slot = this.slots++;
    packParams(kernel, params, this.words, this.floats, slot * SLOT_BYTES / 4);
    pass.setBindGroup(1, this.uniformGroup!, [slot * SLOT_BYTES]);
  }

  private bindGroup(pipeline: Pipeline, bindings: readonly BufferSlice[]): GPUBindGroup {
    let key = `${pipeline.id}`;
    for (const b of bindings) {
      b.storage.lastBatch = this.batch;
      key += `,${b.storage.id}:${b.byteOffset}:${b.byteLength}`;
    }
    let group = this.bindGroups.get(key);
    if (!group) {
      if (this.bindGroups.size >= MAX_BIND_GROUPS) this.bindGroups.clear();
      group = this.device.createBindGroup({
        layout: pipeline.storageLayout,
        entries: bindings.map((slice, binding) => ({ binding, resource: this.bound(pipeline.kernel, slice, binding) })),
      });
      this.bindGroups.set(key, group);
    }
    return group;
  }

  /** The binding of a slice: whole vec4s, so that kernels may read the last elements four at a time. */
  private bound(kernel: Kernel, slice: BufferSlice, binding: number): GPUBufferBinding {
    const { storage, byteOffset, byteLength } = slice;
    if (byteLength > this.bindingBytes) throw new LimitError(`kernel ${kernel.name}: binding ${binding} has ${byteLength} bytes, at most ${this.bindingBytes} can be bound`);
    if (byteOffset % 256) throw new LimitError(`kernel ${kernel.name}: binding ${binding} starts at byte ${byteOffset}, which is no multiple of 256`);
    const size = Math.min(Math.max(16, Math.ceil(byteLength / 16) * 16), storage.bytes - byteOffset);
    return { buffer: storage.buffer, offset: byteOffset, size };
  }
}

/** Spreads `count` workgroups over two axes; a kernel undoes it with `group.y * groups.x + group.x` and checks its bounds. */
export function fold(count: number): [number, number, number] {
  if (count <= MAX_GROUPS) return [count, 1, 1];
  const y = Math.ceil(count / MAX_GROUPS);
  const x = Math.ceil(count / y);
  if (y > MAX_GROUPS) throw new LimitError(`${count} workgroups are more than two axes can hold`);
  return [x, y, 1];
}
