/** A dense, row-major array on the GPU: shape, element type, and a range of a buffer. */
import { ShapeError } from '../errors.ts';
import type { BufferSlice, Gpu, Storage } from '../gpu/index.ts';

export type DType = 'f32' | 'u32';
export type TensorData = Float32Array | Uint32Array | readonly number[];

// Node 20 and some browsers lack the symbol that `using` needs.
(Symbol as { dispose?: symbol }).dispose ??= Symbol.for('Symbol.dispose');

/** Tensors that share a storage; it goes back to the pool with the last. */
interface Shared { storage: Storage; users: number }

const ALIGNMENT = 256;

export class Tensor implements BufferSlice {
  readonly gpu: Gpu;
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Number of elements. */
  readonly size: number;
  readonly byteOffset: number;
  private shared: Shared | null;

  private constructor(gpu: Gpu, shape: readonly number[], dtype: DType, shared: Shared, byteOffset: number) {
    this.gpu = gpu;
    this.shape = shape;
    this.dtype = dtype;
    this.size = elements(shape);
    this.byteOffset = byteOffset;
    this.shared = shared;
    shared.users++;
    gpu.track(this);
  }

  /** Uploads data in row-major order. Throws ShapeError if its length is not the shape's. */
  static from(gpu: Gpu, data: TensorData, shape: readonly number[], dtype?: DType): Tensor {
    const type = dtype ?? (data instanceof Uint32Array ? 'u32' : 'f32');
    if (data.length !== elements(shape)) throw new ShapeError(`${data.length} numbers do not fill shape [${shape.join(', ')}]`);
    const tensor = Tensor.make(gpu, shape, type, true);
    tensor.write(data);
    return tensor;
  }

  /** Uninitialised elements; for outputs that a kernel fills. */
  static empty(gpu: Gpu, shape: readonly number[], dtype: DType = 'f32'): Tensor {
    return Tensor.make(gpu, shape, dtype, false);
  }

  static zeros(gpu: Gpu, shape: readonly number[], dtype: DType = 'f32'): Tensor {
    const tensor = Tensor.make(gpu, shape, dtype, false);
    gpu.clear(tensor, tensor.byteLength);
    return tensor;
  }

  private static make(gpu: Gpu, shape: readonly number[], dtype: DType, forUpload: boolean): Tensor {
    for (const n of shape) if (!Number.isInteger(n) || n < 0) throw new ShapeError(`[${shape.join(', ')}] is not a shape`);
    const storage = gpu.allocate(Math.max(4, elements(shape) * 4), forUpload);
    return new Tensor(gpu, [...shape], dtype, { storage, users: 0 }, 0);
  }

  get storage(): Storage {
    if (!this.shared) throw new ShapeError(`a tensor of shape [${this.shape.join(', ')}] is used after dispose()`);
    return this.shared.storage;
  }

  get byteLength(): number {
    return this.size * 4;
  }

  get disposed(): boolean {
    return this.shared === null;
  }

  /** The elements, once all work recorded so far is done. */
  async read(): Promise<Float32Array> {
    return new Float32Array(await this.gpu.download(this, this.byteLength));
  }

  /** The elements of a u32 tensor. */
  async readU32(): Promise<Uint32Array> {
    return new Uint32Array(await this.gpu.download(this, this.byteLength));
  }

  /** Overwrites elements from `elementOffset` on, in order with recorded work. */
  write(data: TensorData, elementOffset = 0): void {
    if (elementOffset + data.length > this.size) throw new ShapeError(`${data.length} numbers at ${elementOffset} do not fit shape [${this.shape.join(', ')}]`);
    const fits = this.dtype === 'f32' ? data instanceof Float32Array : data instanceof Uint32Array;
    const typed = fits ? (data as Float32Array | Uint32Array) : this.dtype === 'f32' ? Float32Array.from(data) : Uint32Array.from(data);
    const shared = typeof SharedArrayBuffer !== 'undefined' && typed.buffer instanceof SharedArrayBuffer;
    this.gpu.upload(this, shared ? typed.slice() : typed, elementOffset * 4);
  }

  /** The same elements under another shape; one axis may be -1. A handle of its own. */
  reshape(shape: readonly number[]): Tensor {
    const known = shape.reduce((p, n) => (n === -1 ? p : p * n), 1);
    const filled = shape.map((n) => (n === -1 ? this.size / (known || 1) : n));
    if (elements(filled) !== this.size || filled.some((n) => !Number.isInteger(n))) {
      throw new ShapeError(`reshape: [${this.shape.join(', ')}] has ${this.size} elements, [${shape.join(', ')}] has not`);
    }
    return new Tensor(this.gpu, filled, this.dtype, this.sharedOrThrow(), this.byteOffset);
  }

  /**
   * Rows [start, start + count) of the first axis. A view where its offset can be bound (a multiple of 256 bytes), else a copy: read
   * from it, but write only through views that you know to be aligned.
   */
  rows(start: number, count: number): Tensor {
    const [first = 0, ...rest] = this.shape;
    if (start < 0 || count < 0 || start + count > first) throw new ShapeError(`rows ${start} to ${start + count} are not in [${this.shape.join(', ')}]`);
    const offset = this.byteOffset + start * elements(rest) * 4;
    const shape = [count, ...rest];
    if (offset % ALIGNMENT === 0) return new Tensor(this.gpu, shape, this.dtype, this.sharedOrThrow(), offset);
    const copy = Tensor.empty(this.gpu, shape, this.dtype);
    this.gpu.copy({ storage: this.storage, byteOffset: offset, byteLength: copy.byteLength }, copy, copy.byteLength);
    return copy;
  }

  /** A copy with a buffer of its own. */
  clone(): Tensor {
    const copy = Tensor.empty(this.gpu, this.shape, this.dtype);
    this.gpu.copy(this, copy, this.byteLength);
    return copy;
  }

  /** Gives the memory back once no other view holds it. Safe to call twice. */
  dispose(): void {
    const shared = this.shared;
    if (!shared) return;
    this.shared = null;
    this.gpu.untrack(this);
    if (--shared.users === 0) this.gpu.release(shared.storage);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  private sharedOrThrow(): Shared {
    void this.storage;
    return this.shared!;
  }
}

/** Number of elements of a shape. */
export function elements(shape: readonly number[]): number {
  return shape.reduce((product, n) => product * n, 1);
}

/** Rows and width of a tensor seen as a matrix: the last axis is the width, the others are flattened. */
export function asMatrix(tensor: Tensor): { rows: number; width: number } {
  const width = tensor.shape.at(-1) ?? 1;
  return { rows: elements(tensor.shape.slice(0, -1)), width };
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((n, i) => n === b[i]);
}

/** `[2, 3]` as people write it in messages. */
export function showShape(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`;
}
