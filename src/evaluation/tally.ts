/** One number per prompt for each of many measurements, kept on the GPU until they are all read at once. */
import { ShapeError } from '../errors.ts';
import type { Gpu } from '../gpu/index.ts';
import { Tensor, type DType } from '../tensor/index.ts';

const BLOCK_ROWS = 64;
type Measured = Exclude<DType, 'f16'>;

export class Tally {
  private readonly gpu: Gpu;
  /** Prompts, that is columns. */
  readonly count: number;
  private readonly blocks: Record<Measured, Tensor[]> = { f32: [], u32: [] };
  private readonly places = new Map<string, { dtype: Measured; row: number }>();
  private readonly rows: Record<Measured, number> = { f32: 0, u32: 0 };

  constructor(gpu: Gpu, count: number) {
    this.gpu = gpu;
    this.count = count;
  }

  /** Copies `values` [n] of prompts start … start + n - 1 into the measurement called `name`. */
  put(name: string, start: number, values: Tensor): void {
    if (start + values.size > this.count) throw new ShapeError(`${values.size} numbers from prompt ${start} on do not fit a tally of ${this.count}`);
    if (values.dtype === 'f16') throw new ShapeError('a tally keeps f32 and u32 numbers, not f16');
    const { dtype, row } = this.place(name, values.dtype);
    const block = this.blocks[dtype][Math.floor(row / BLOCK_ROWS)]!;
    const offset = ((row % BLOCK_ROWS) * this.count + start) * 4;
    this.gpu.copy(values, { storage: block.storage, byteOffset: block.byteOffset + offset, byteLength: values.byteLength }, values.byteLength);
  }

  /** Everything measured so far, by name. Frees the memory. */
  async read(): Promise<Measurements> {
    const [floats, integers] = await Promise.all([
      Promise.all(this.blocks.f32.map((block) => block.read())),
      Promise.all(this.blocks.u32.map((block) => block.readU32())),
    ]);
    const numbers = new Map<string, Float32Array | Uint32Array>();
    for (const [name, { dtype, row }] of this.places) {
      const block = (dtype === 'f32' ? floats : integers)[Math.floor(row / BLOCK_ROWS)]!;
      const first = (row % BLOCK_ROWS) * this.count;
      numbers.set(name, block.subarray(first, first + this.count));
    }
    this.dispose();
    return new Measurements(numbers);
  }

  dispose(): void {
    for (const block of [...this.blocks.f32, ...this.blocks.u32]) block.dispose();
  }

  private place(name: string, dtype: Measured): { dtype: Measured; row: number } {
    const known = this.places.get(name);
    if (known) return known;
    const row = this.rows[dtype]++;
    if (row % BLOCK_ROWS === 0) this.blocks[dtype].push(this.gpu.keep(Tensor.zeros(this.gpu, [BLOCK_ROWS, this.count], dtype)));
    const place = { dtype, row };
    this.places.set(name, place);
    return place;
  }
}

/** What a tally held, on the CPU. */
export class Measurements {
  private readonly numbers: ReadonlyMap<string, Float32Array | Uint32Array>;

  constructor(numbers: ReadonlyMap<string, Float32Array | Uint32Array>) {
    this.numbers = numbers;
  }

  has(name: string): boolean {
    return this.numbers.has(name);
  }

  get(name: string): Float32Array | Uint32Array {
    const numbers = this.numbers.get(name);
    if (!numbers) throw new RangeError(`nothing was measured under "${name}"`);
    return numbers;
  }

  /** These and others, which win where both have a name. */
  with(others: Measurements): Measurements {
    return new Measurements(new Map([...this.numbers, ...others.numbers]));
  }
}
