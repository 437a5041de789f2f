/** A dense, row-major array on the GPU: shape, element type, and a range of a buffer. */
import { ShapeError } from '../errors.ts';
import type { BufferSlice, Gpu, Storage } from '../gpu/index.ts';
import { fromHalves, toHalves } from './half.ts';

/** `f16` is a way of storing: few operations take it (matmul as b, gatherRows and embed as the table), and all compute in f32. */
export type DType = 'f32' | 'u32' | 'f16';
export type TensorData = Float32Array | Uint32Array | readonly number[];

// Node 20 and some browsers lack the symbol that `using` needs.
(Symbol as { dispose?: symbol }).dispose ??= Symbol.for('Symbol.dispose');

/** Tensors that share a storage; it goes back to the pool with the last. */
interface Shared { storage: Storage; users: number }

const ALIGNMENT = 256;
const ELEMENT_BYTES: Readonly<Record<DType, number>> = { f32: 4, u32: 4, f16: 2 };

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

  /**
   * Uploads data in row-major order; as f16, each number is rounded to the nearest, ties to even. Throws ShapeError if its length is not
   * the shape's, NumberError for a number beyond the range of f16.
   */
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
    gpu.clear(tensor, copied(tensor.byteLength));
    return tensor;
  }

  private static make(gpu: Gpu, shape: readonly number[], dtype: DType, forUpload: boolean): Tensor {
    for (const n of shape) if (!Number.isInteger(n) || n < 0) throw new ShapeError(`[${shape.join(', ')}] is not a shape`);
    const storage = gpu.allocate(Math.max(4, copied(elements(shape) * ELEMENT_BYTES[dtype])), forUpload);
    return new Tensor(gpu, [...shape], dtype, { storage, users: 0 }, 0);
  }

  get storage(): Storage {
    if (!this.shared) throw new ShapeError(`a tensor of shape [${this.shape.join(', ')}] is used after dispose()`);
    return this.shared.storage;
  }

  get byteLength(): number {
    return this.size * this.elementBytes;
  }

  get elementBytes(): number {
    return ELEMENT_BYTES[this.dtype];
  }

  get disposed(): boolean {
    return this.shared === null;
  }

  /** The elements, once all work recorded so far is done. */
  async read(): Promise<Float32Array> {
    const bytes = await this.gpu.download(this, copied(this.byteLength));
    return this.dtype === 'f16' ? fromHalves(new Uint16Array(bytes, 0, this.size)) : new Float32Array(bytes);
  }

  /** The elements of a u32 tensor. */
  async readU32(): Promise<Uint32Array> {
    return new Uint32Array(await this.gpu.download(this, this.byteLength));
  }

  /**
   * Overwrites elements from `elementOffset` on, in order with recorded work. In an f16 tensor the offset must be even, and the number of
   * elements too unless they reach the end. Throws ShapeError, and NumberError for a number beyond the range of f16.
   */
  write(data: TensorData, elementOffset = 0): void {
    if (this.dtype === 'f16') return this.writeHalves(toHalves(data), elementOffset);
    this.checkRange(data.length, elementOffset);
    const fits = this.dtype === 'f32' ? data instanceof Float32Array : data instanceof Uint32Array;
    const typed = fits ? (data as Float32Array | Uint32Array) : this.dtype === 'f32' ? Float32Array.from(data) : Uint32Array.from(data);
    const shared = typeof SharedArrayBuffer !== 'undefined' && typed.buffer instanceof SharedArrayBuffer;
    this.gpu.upload(this, shared ? typed.slice() : typed, elementOffset * 4);
  }

  /** The same for an f16 tensor, from bit patterns of halves. */
  writeHalves(bits: Uint16Array, elementOffset = 0): void {
    this.checkRange(bits.length, elementOffset);
    const whole = bits.length % 2 === 0;
    if (this.dtype !== 'f16' || elementOffset % 2 || (!whole && elementOffset + bits.length !== this.size)) {
      throw new ShapeError(`${bits.length} halves cannot be written at ${elementOffset} into ${this.dtype} [${this.shape.join(', ')}]`);
    }
    // Writes are of whole words; a buffer has room for them.
    const padded = whole ? bits : Uint16Array.from({ length: bits.length + 1 }, (_, i) => bits[i] ?? 0);
    this.gpu.upload(this, padded, elementOffset * 2);
  }

  private checkRange(count: number, elementOffset: number): void {
    if (elementOffset + count > this.size) throw new ShapeError(`${count} numbers at ${elementOffset} do not fit shape [${this.shape.join(', ')}]`);
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
   * from it, but write only through views that you know to be aligned. Throws ShapeError for rows that are not there, or that begin at an
   * odd element of an f16 tensor.
   */
  rows(start: number, count: number): Tensor {
    const [first = 0, ...rest] = this.shape;
    if (start < 0 || count < 0 || start + count > first) throw new ShapeError(`rows ${start} to ${start + count} are not in [${this.shape.join(', ')}]`);
    const offset = this.byteOffset + start * elements(rest) * this.elementBytes;
    const shape = [count, ...rest];
    if (offset % ALIGNMENT === 0) return new Tensor(this.gpu, shape, this.dtype, this.sharedOrThrow(), offset);
    if (offset % 4) throw new ShapeError(`row ${start} of f16 [${this.shape.join(', ')}] begins at an odd element, from where nothing can be copied`);
    const copy = Tensor.empty(this.gpu, shape, this.dtype);
    this.gpu.copy({ storage: this.storage, byteOffset: offset, byteLength: copy.byteLength }, copy, copied(copy.byteLength));
    return copy;
  }

  /** A copy with a buffer of its own. */
  clone(): Tensor {
    const copy = Tensor.empty(this.gpu, this.shape, this.dtype);
    this.gpu.copy(this, copy, copied(this.byteLength));
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

/** Bytes as copies count them, in words of four. */
function copied(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
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
