/**
 * Random tensors from a counter-based generator, Philox-4x32-10 (Salmon and others 2011): element i of stream s under a seed is
 * always the same number, whatever the shape, the device or what was drawn before.
 */
import randomSource from '../../kernels/random.wgsl';
import { UsageError } from '../errors.ts';
import { defineKernel, type Gpu } from '../gpu/index.ts';
import { Tensor } from './tensor.ts';
import { rowWindows, windowOf } from './windows.ts';

const kernel = defineKernel('random', randomSource);

export interface RandomOptions {
  /** A whole number in [0, 2^53). */
  seed: number;
  /** Numbers the independent sequences of a seed; a whole number in [0, 2^53), 0 unless told. */
  stream?: number;
}

/** u32 words, uniform over all 2^32. Throws UsageError for a seed or stream that is no whole number in range. */
export function randomBits(gpu: Gpu, shape: readonly number[], options: RandomOptions): Tensor {
  return draw(Tensor.empty(gpu, shape, 'u32'), 0, options, 0, 0);
}

/** Uniform in [low, high), in steps of (high − low) / 2^24; [0, 1) unless told. */
export function randomUniform(gpu: Gpu, shape: readonly number[], { low = 0, high = 1, ...options }: RandomOptions & { low?: number; high?: number }): Tensor {
  return draw(Tensor.empty(gpu, shape), 1, options, low, high);
}

/** Normal with mean 0 and standard deviation 1 unless told, by Box and Muller; no farther than 5.8 deviations from the mean. */
export function randomNormal(gpu: Gpu, shape: readonly number[], { mean = 0, std = 1, ...options }: RandomOptions & { mean?: number; std?: number }): Tensor {
  return draw(Tensor.empty(gpu, shape), 2, options, mean, std);
}

function draw(out: Tensor, kind: number, { seed, stream = 0 }: RandomOptions, a: number, b: number): Tensor {
  const [seedLow, seedHigh] = words('seed', seed);
  const [streamLow, streamHigh] = words('stream', stream);
  for (const window of rowWindows(out.gpu, out.size, [4])) {
    out.gpu.dispatch({
      kernel, constants: { KIND: kind },
      params: { size: window.count, start: window.start, seedLow, seedHigh, streamLow, streamHigh, a, b },
      groups: Math.ceil(window.count / 256), bindings: [windowOf(out, window, 4)],
    });
  }
  return out;
}

function words(name: string, value: number): [low: number, high: number] {
  if (!Number.isSafeInteger(value) || value < 0) throw new UsageError(`${name} ${value} is not a whole number from 0 to 2^53 - 1`);
  return [value >>> 0, Math.floor(value / 2 ** 32)];
}
