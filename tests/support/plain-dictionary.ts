/** One small dictionary in float64 for tests of files, and what it does to activations by the plain formulas. */
import * as assert from 'uvu/assert';
import type { Sae } from '../../src/dictionary/index.ts';
import type { Gpu } from '../../src/gpu/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { random, relativeError } from './numbers.ts';

export const [width, features] = [6, 14];

const rounded = (shape: number[], seed: number): number[] => [...random(shape, seed)];

/** W_enc [features][width], W_dec [features][width]: row-major, one row a feature. */
export const numbers = {
  encoder: rounded([features, width], 1), encoderBias: rounded([features], 2), decoder: rounded([features, width], 3), decoderBias: rounded([width], 4),
  threshold: rounded([features], 5).map(Math.abs), magnitudeBias: rounded([features], 6), magnitudeScale: rounded([features], 7),
};

/** The same matrix with rows and columns changed over. */
export function across(matrix: readonly number[], rows: number): number[] {
  const columns = matrix.length / rows;
  return Array.from({ length: matrix.length }, (_, i) => matrix[(i % rows) * columns + Math.floor(i / rows)]!);
}

export const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).reduce((sum, v, i) => sum + v * b[i]!, 0);
const row = (matrix: readonly number[], f: number): number[] => matrix.slice(f * width, (f + 1) * width);

/** What a pre-activation is made of: x, with the decoder's bias taken off if `shifted`. */
export function preActivations(x: readonly number[], { shifted = true, bias = numbers.encoderBias, encoder = numbers.encoder }: { shifted?: boolean; bias?: readonly number[]; encoder?: readonly number[] } = {}): number[] {
  const input = shifted ? x.map((v, k) => v - numbers.decoderBias[k]!) : x;
  return bias.map((b, f) => dot(input, row(encoder, f)) + b);
}

export const relu = (v: number): number => Math.max(0, v);

/** The k largest positive numbers; the others 0. */
export function largest(values: readonly number[], k: number): number[] {
  const kept = new Set(values.map((_, i) => i).sort((a, b) => values[b]! - values[a]!).slice(0, k));
  return values.map((v, i) => (kept.has(i) ? relu(v) : 0));
}

export function decoded(codes: readonly number[], decoder: readonly number[] = numbers.decoder): number[] {
  return numbers.decoderBias.map((b, k) => b + codes.reduce((sum, c, f) => sum + c * decoder[f * width + k]!, 0));
}

/** Rows at unit length. */
export function unit(matrix: readonly number[]): number[] {
  return Array.from({ length: features }, (_, f) => row(matrix, f)).flatMap((r) => r.map((v) => v / Math.hypot(...r)));
}

/** Unbiased deviation + 1e-5 and mean of a row. */
export function layerNormOf(x: readonly number[]): { mean: number; scale: number } {
  const mean = x.reduce((sum, v) => sum + v, 0) / x.length;
  return { mean, scale: Math.sqrt(x.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (x.length - 1)) + 1e-5 };
}

export const samples: number[][] = Array.from({ length: 11 }, (_, r) => [...random(width, 50 + r)].map((v) => 2 * v + 0.3));

/** Compares a loaded dictionary's codes and reconstructions with expected ones at all samples, and disposes it. */
export async function checkSae(gpu: Gpu, sae: Sae, encode: (x: readonly number[]) => number[], decode: (codes: number[], x: readonly number[]) => number[] = (codes) => decoded(codes)): Promise<void> {
  await gpu.scope(async () => {
    const codes = sae.encode({ activations: Tensor.from(gpu, samples.flat(), [samples.length, sae.dIn]) });
    const expected = samples.map(encode);
    assert.ok(expected.flat().some((v) => v !== 0) && expected.flat().some((v) => v === 0), 'some features are active, some are not');
    const found = await codes.read();
    assert.ok(relativeError(found, expected.flat()) <= 1e-5, `codes differ: ${relativeError(found, expected.flat())}`);
    const back = await sae.decode(codes).read();
    assert.ok(relativeError(back, expected.flatMap((own, r) => decode(own, samples[r]!))) <= 1e-5, 'reconstructions differ');
  });
  sae.dispose();
}

export const jsonFile = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
