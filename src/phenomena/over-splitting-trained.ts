/**
 * SAEs trained on the over-splitting toy's samples ±μ + N(0, I) (arXiv 2405.08366, section 6.2 and A.15). With two features they find ±μ while
 * 1 ≤ λ ≤ 3; above that they often fall silent, below it both features are active nearly everywhere. With many features many stay active,
 * whatever λ is, though the data has two.
 */
import * as z from 'zod';
import type { Sae } from '../dictionary/index.ts';
import { UsageError } from '../errors.ts';
import type { Gpu } from '../gpu/index.ts';
import { mean } from '../evaluation/index.ts';
import { activeMask, matmul, sub, sumColumns, sumRows, sumSquaresRows, type Tensor } from '../tensor/index.ts';
import { trainSaes, type SaeJob, type TrainSettings } from '../training/index.ts';
import { drawAxis, drawMixture, type Mixture } from './over-splitting-toy.ts';
import type { Watch } from './watching.ts';

export interface TrainedToyOptions extends Mixture, Pick<TrainSettings, 'epochs' | 'batch' | 'learningRate' | 'resampleAt'> {
  /** λ for the samples as they are, not for scaled ones. */
  lambdas: readonly number[];
  features: number;
  /** Samples that are trained on, and as many fresh ones that figures are computed on. */
  samples: number;
  /** Dictionaries for each λ, which differ in their initial weights. */
  starts: number;
  seed: number;
}

/**
 * Two features; they are not resampled, so that one can fall silent for good. Two that begin on the same side of the axis stay there, whence
 * several starts.
 */
export const twoFeatureDefaults: TrainedToyOptions = {
  width: 100, length: 2, lambdas: [0.5, 1, 2, 3, 4, 6], features: 2, samples: 8192, starts: 4, seed: 0,
  epochs: 6, batch: 128, learningRate: 1e-2, resampleAt: [],
};

export const wideDefaults: TrainedToyOptions = {
  width: 100, length: 2, lambdas: [1, 3, 5], features: 256, samples: 8192, starts: 1, seed: 0,
  epochs: 5, batch: 128, learningRate: 3e-3, resampleAt: [],
};

const trainedToyRow = z.object({
  lambda: z.number().describe('for samples as they are'),
  start: z.int().describe('seed of the initial weights'),
  features: z.int(),
  cosine: z.number().nullable().describe('smaller of the two over +μ and −μ of the largest cosine with a decoder row of an active feature; null where none is active'),
  active: z.int().describe('features active on at least one fresh sample'),
  activeOften: z.int().describe('features active on at least 1 of 1,000 fresh samples'),
  firing: z.number().describe('share of fresh samples on which any feature is active'),
  shares: z.array(z.number()).describe('the two largest shares of samples on which one feature is active'),
  l0: z.number(),
  gain: z.number().describe('loss of the silent dictionary - loss, on fresh samples'),
});

export const trainedToySchema = z.array(trainedToyRow);
export type TrainedToyRow = z.infer<typeof trainedToyRow>;

/** Trains one dictionary for each λ and start, all together. Throws UsageError for options that make no sense. */
export async function trainedToy(gpu: Gpu, given: Partial<TrainedToyOptions> & Pick<TrainedToyOptions, 'features'>, watching: Watch = {}): Promise<TrainedToyRow[]> {
  const options = { ...(given.features === 2 ? twoFeatureDefaults : wideDefaults), ...given };
  const { lambdas, starts, samples, seed } = options;
  if (lambdas.length === 0 || !(starts >= 1) || !(samples >= 1)) throw new UsageError('trained over-splitting toy: needs at least one λ, one start and one sample');
  const axis = gpu.keep(drawAxis(gpu, options.width, seed));
  const [data, fresh] = [gpu.keep(drawMixture(axis, options, samples, seed, 1)), gpu.keep(drawMixture(axis, options, samples, seed, 3))];
  const saes: Sae[] = [];
  try {
    const scale = await meanLength(data) / Math.sqrt(options.width);
    const runs = lambdas.flatMap((lambda) => Array.from({ length: starts }, (_, i) => ({ lambda, start: seed + i })));
    const jobs = runs.map(({ lambda, start }): SaeJob => ({
      // The trainer divides samples by `scale`, and λ counts for what it sees.
      name: `vanilla λ=${lambda} start ${start}`, data, l1: lambda / scale, seed: start,
    }));
    const { epochs, batch, learningRate, resampleAt, features } = options;
    const result = await trainSaes(gpu, jobs, {
      features, epochs, batch, learningRate, resampleAt, seed, logEvery: epochs, onStep: watching.onProgress, signal: watching.signal,
    });
    saes.push(...result.saes);
    watching.signal?.throwIfAborted();
    const rows: TrainedToyRow[] = [];
    for (const [i, { lambda, start }] of runs.entries()) rows.push({ lambda, start, features, ...await figuresOf(saes[i]!, axis, fresh, lambda) });
    return rows;
  } finally {
    for (const owned of [axis, data, fresh, ...saes]) owned.dispose();
  }
}

/** For each λ the start with the largest gain. */
export function bestStarts(rows: readonly TrainedToyRow[]): TrainedToyRow[] {
  const best = new Map<number, TrainedToyRow>();
  for (const row of rows) if (!best.has(row.lambda) || row.gain > best.get(row.lambda)!.gain) best.set(row.lambda, row);
  return [...best.values()];
}

/** Mean ‖x‖ of the rows of x. */
async function meanLength(x: Tensor): Promise<number> {
  const squares = await x.gpu.scope(() => sumSquaresRows(x).read());
  return mean(squares.map(Math.sqrt));
}

async function figuresOf(sae: Sae, axis: Tensor, x: Tensor, lambda: number): Promise<Omit<TrainedToyRow, 'lambda' | 'start' | 'features'>> {
  const { gpu } = x;
  const [samples = 0] = x.shape;
  const [along, active, perSample, codes, errors, squares] = await gpu.scope(() => {
    const codes = sae.encode({ activations: x });
    const mask = activeMask(codes);
    return Promise.all([
      matmul(sae.weights.decoder, axis, { transposeB: true }), sumColumns(mask), sumRows(mask), sumRows(codes), sumSquaresRows(sub(x, sae.decode(codes))), sumSquaresRows(x),
    ].map((tensor) => tensor.read()));
  }) as [Float32Array, Float32Array, Float32Array, Float32Array, Float32Array, Float32Array];
  const alive = Array.from(active, (_, f) => f).filter((f) => active[f]! > 0);
  // Decoder rows and the axis have unit length.
  const cosines = alive.map((f) => along[f]!);
  return {
    cosine: alive.length > 0 ? Math.min(Math.max(...cosines), Math.max(...cosines.map((c) => -c))) : null,
    active: alive.length,
    activeOften: alive.filter((f) => active[f]! >= samples / 1000).length,
    firing: perSample.filter((n) => n > 0).length / samples,
    shares: Array.from(active, (n) => n / samples).sort((a, b) => b - a).slice(0, 2),
    l0: mean(perSample),
    gain: mean(squares) - mean(errors) - lambda * mean(codes),
  };
}
