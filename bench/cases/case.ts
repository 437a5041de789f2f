/** What a case of the benchmark is: work on a device, with what it must cost and what must come out. */
import type { Ceilings, Gpu } from '../../src/gpu/index.ts';
import type { Tensor } from '../../src/tensor/index.ts';
import { relative, sample } from '../numbers.ts';
import type { PeerWork } from '../peers/peer.ts';
import type { Group } from '../results.ts';

/** A kernel, or a path through several, at one shape. */
export interface Case {
  group: Group;
  kernel: string;
  shape: string;
  variant?: string;
  /** Floating-point operations that one run needs, and bytes that must move between memory and registers at least once. */
  flops: number;
  bytes: number;
  /** Largest relative error of a right result; TOLERANCE if not given. */
  tolerance?: number;
  /** Only with --full, or when asked for by name: the default run is kept short on software drivers. */
  long?: boolean;
  note?: string;
  /** `sets` input sets are to be taken in turn, so that no run finds its inputs in a cache; a case may make fewer. */
  prepare(gpu: Gpu, sets: number): Prepared | Promise<Prepared>;
  /** The same work for another engine; the case's `error` judges what it gives. */
  peerWork?(gpu: Gpu): PeerWork | Promise<PeerWork>;
}

export interface Prepared {
  /** Records the work once, on input set `turn` modulo their number, and frees what it makes; a promise only where there is a `time` of its own. */
  run(turn: number): void | Promise<void>;
  /** The result of one more run on the first input set; laid out as `PeerWork` says where there is one. */
  read(): Promise<Float32Array>;
  /** Relative error of such a result against a float64 reference. */
  error(result: Float32Array): number | Promise<number>;
  /** For work that cannot just be recorded: milliseconds of one run by the wall clock, in place of timing `run`. */
  time?(): Promise<number>;
  /** Other ways of this engine to the same result, by name. */
  against?: Readonly<Record<string, () => void>>;
  /** Further numbers, taken after the timing; `ms` is the median, `ceilings` what the device can do. */
  figures?(ms: number, ceilings: Pick<Ceilings, 'gflops' | 'copyGBps'>): Record<string, number> | Promise<Record<string, number>>;
  dispose(): void;
}

export const TOLERANCE = 1e-5;
const READ_BYTES = 64 * 2 ** 20;

/** Input sets on the device, and an output for each that stays until its turn comes again: nothing is found in a cache by chance. */
export function inTurns<T extends Readonly<Record<string, Tensor>>>(sets: number, make: () => T, op: (set: T) => Tensor): Pick<Prepared, 'run' | 'read' | 'dispose'> {
  const all = Array.from({ length: sets }, make);
  const outs: (Tensor | undefined)[] = [];
  return {
    run(turn) {
      const at = turn % sets;
      const out = op(all[at]!);
      outs[at]?.dispose();
      outs[at] = out;
    },
    async read() {
      const out = op(all[0]!);
      return readAll(out).finally(() => out.dispose());
    },
    dispose() {
      for (const set of all) for (const tensor of Object.values(set)) tensor.dispose();
      for (const out of outs) out?.dispose();
    },
  };
}

/** All elements of a tensor, read in pieces where one would be too large to map at once. */
async function readAll(tensor: Tensor): Promise<Float32Array> {
  if (tensor.dtype === 'u32') return Float32Array.from(await tensor.readU32());
  if (tensor.byteLength <= READ_BYTES || tensor.shape.length === 0) return tensor.read();
  const whole = new Float32Array(tensor.size);
  const rows = tensor.shape[0]!;
  const wide = tensor.size / rows;
  const piece = Math.max(1, Math.floor(READ_BYTES / (wide * 4)));
  for (let start = 0; start < rows; start += piece) {
    const part = tensor.rows(start, Math.min(piece, rows - start));
    whole.set(await part.read(), start * wide);
    part.dispose();
  }
  return whole;
}

/** The error at about `count` of `size` outputs, from one reference value per index; references are computed once. */
export function sampled(size: number, count: number, reference: (at: number) => number): (result: Float32Array) => number {
  let expected: (readonly [at: number, value: number])[] | null = null;
  return (result) => {
    if (result.length !== size) return Infinity;
    expected ??= sample(size, count).map((at) => [at, reference(at)] as const);
    return relative(expected.map(([at, value]) => [result[at], value] as const));
  };
}

/** A value made when first asked for, and again after `forget`: inputs of cases that are not being measured take no memory. */
export function lazy<T>(make: () => T): { get(): T; forget(): void } {
  let value: { made: T } | null = null;
  return {
    get: () => (value ??= { made: make() }).made,
    forget: () => { value = null; },
  };
}
