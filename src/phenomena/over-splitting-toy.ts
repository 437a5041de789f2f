/**
 * The toy of feature over-splitting (arXiv 2405.08366, section 6.2 and A.15): samples x = ±μ + N(0, I) with a fair sign, two features by
 * construction, and yet 1,000 random features have a lower loss E‖x − x̂‖² + λ E‖f‖₁ than the best pair.
 *
 *   ideal family   decoders ±μ/‖μ‖, encoders ±kμ, encoder biases −γ, decoder bias 0, over a grid of γ and k
 *   random family  encoder rows β(±μ + N(0, I)), decoders the encoders brought to unit length, biases −2.35, decoder bias 0, over a grid of β
 *
 * Both are compared by their gain, the loss of the dictionary that is always silent minus the lowest loss of the family, on the same samples:
 * at λ near 7 gains are smaller than the sampling error of E‖x‖², which is common to all losses and cancels. A loss is linear in λ, so that the
 * sums of one pass serve every λ. The best member is picked on the samples that it is scored on, for both families alike.
 */
import * as z from 'zod';
import { UsageError } from '../errors.ts';
import type { Gpu } from '../gpu/index.ts';
import { deviation, mean } from '../evaluation/index.ts';
import { activeMask, affine, matmul, randomNormal, randomUniform, scaleRows, sumSquaresRows, Tensor } from '../tensor/index.ts';
import { idealSums, placeFamily, randomSums } from './toy-families.ts';
import type { Watch } from './watching.ts';

/** The mixture x = ±μ + N(0, I). */
export interface Mixture {
  /** d */
  width: number;
  /** ‖μ‖ */
  length: number;
}

export interface OverSplittingToyOptions extends Mixture {
  lambdas: readonly number[];
  /** Samples of each seed. */
  samples: number;
  /** Each draws its own direction of μ, samples and random features. */
  seeds: number;
  /** The first seed; the others follow. */
  seed: number;
  /** Random features. */
  features: number;
  /** Largest values and sizes of the grids, which all begin at 0 and are evenly spaced. */
  gamma: { most: number; steps: number };
  k: { most: number; steps: number };
  beta: { most: number; steps: number };
  /** γ of the random family. */
  randomBias: number;
}

/** As the paper has it. */
export const overSplittingToyDefaults: OverSplittingToyOptions = {
  width: 100, length: 2, lambdas: [0, 1, 2, 3, 4, 5, 6, 7], samples: 100_000, seeds: 3, seed: 0, features: 1000,
  gamma: { most: 5, steps: 100 }, k: { most: 2, steps: 20 }, beta: { most: 0.1, steps: 100 }, randomBias: 2.35,
};

/** Samples that are on the GPU at a time. Fixed, because draws depend on it. */
const CHUNK = 4096;

const spread = z.object({ lowest: z.number(), highest: z.number(), deviation: z.number().describe('population standard deviation over seeds') });

const rowSchema = z.object({
  lambda: z.number(),
  idealGain: z.number().describe('loss of the silent dictionary - loss of the best ideal one, same samples; mean over seeds'),
  randomGain: z.number().describe('the same for the best random one'),
  idealSpread: spread,
  randomSpread: spread,
  smallestDifference: z.number().describe('smallest over seeds of randomGain - idealGain'),
  idealK: z.number().describe('k of the best ideal dictionary, mean over seeds'),
  idealGamma: z.number(),
  idealFiring: z.number().describe('share of samples on which the best ideal dictionary is active'),
  randomBeta: z.number().describe('β of the best random dictionary, mean over seeds'),
  randomActive: z.number().describe('mean number of its active features'),
});

export const overSplittingToySchema = z.object({
  rows: z.array(rowSchema),
  silentLoss: z.number().describe('E‖x‖² on the samples, mean over seeds'),
  silentLossExpected: z.number().describe('d + ‖μ‖²'),
  samples: z.int().describe('of each seed'),
  seeds: z.array(z.int()).describe('gains are means over these; each draws its own μ, samples and random features'),
  features: z.int(),
  width: z.int(),
  length: z.number(),
});

export type OverSplittingToy = z.infer<typeof overSplittingToySchema>;
export type OverSplittingToyRow = z.infer<typeof rowSchema>;

/** Sums over all samples of one seed. */
interface SeedSums { ideal: Float64Array; random: Float64Array; silent: number }

/** Runs the toy. Throws UsageError for sizes that make no sense. */
export async function overSplittingToy(gpu: Gpu, given: Partial<OverSplittingToyOptions> = {}, watching: Watch = {}): Promise<OverSplittingToy> {
  const options = { ...overSplittingToyDefaults, ...given };
  checkOptions(options);
  const seeds = Array.from({ length: options.seeds }, (_, i) => options.seed + i);
  const chunks = Math.ceil(options.samples / CHUNK);
  const sums: SeedSums[] = [];
  for (const seed of seeds) {
    sums.push(await sumsOf(gpu, options, seed, (done) => {
      watching.signal?.throwIfAborted();
      watching.onProgress?.(sums.length * chunks + done, seeds.length * chunks);
    }));
  }
  return {
    rows: options.lambdas.map((lambda) => rowOf(lambda, options, sums)),
    silentLoss: mean(sums.map(({ silent }) => silent / options.samples)),
    silentLossExpected: options.width + options.length ** 2,
    samples: options.samples, seeds, features: options.features, width: options.width, length: options.length,
  };
}

function checkOptions(options: OverSplittingToyOptions): void {
  for (const name of ['samples', 'seeds', 'features', 'width'] as const) {
    if (!Number.isInteger(options[name]) || options[name] < 1) throw new UsageError(`over-splitting toy: ${name} is ${options[name]}, but must be a whole number of at least 1`);
  }
  for (const name of ['gamma', 'k', 'beta'] as const) {
    if (!(options[name].most >= 0) || !(options[name].steps >= 2)) throw new UsageError(`over-splitting toy: the grid of ${name} needs a largest value of at least 0 and 2 steps`);
  }
  if (!(options.randomBias > 0)) throw new UsageError(`over-splitting toy: randomBias is ${options.randomBias}, but must be above 0`);
  if (options.lambdas.some((lambda) => !(lambda >= 0) || !Number.isFinite(lambda))) throw new UsageError(`over-splitting toy: ${options.lambdas.join(', ')} are not sparsity weights`);
}

/** `steps` evenly spaced numbers from 0 to `most`. */
export function grid({ most, steps }: { most: number; steps: number }): number[] {
  return Array.from({ length: steps }, (_, i) => (most * i) / (steps - 1));
}

/** ±μ + N(0, I) with fair signs, [count, d]; `axis` [1, d] is μ/‖μ‖. Streams `stream` and `stream` + 1 of the seed are drawn from. */
export function drawMixture(axis: Tensor, mixture: Mixture, count: number, seed: number, stream: number): Tensor {
  const { gpu } = axis;
  return gpu.scope(() => {
    const noise = randomNormal(gpu, [count, mixture.width], { seed, stream });
    const signs = affine(activeMask(randomUniform(gpu, [count, 1], { seed, stream: stream + 1, low: -1, high: 1 })), 2 * mixture.length, -mixture.length);
    return matmul(signs, axis, { residual: noise });
  });
}

/** A random direction, [1, d]. */
export function drawAxis(gpu: Gpu, width: number, seed: number): Tensor {
  return gpu.scope(() => scaleRows(randomNormal(gpu, [1, width], { seed, stream: 0 })));
}

async function sumsOf(gpu: Gpu, options: OverSplittingToyOptions, seed: number, onChunk: (done: number) => void): Promise<SeedSums> {
  const { samples, length } = options;
  const [gammas, slopes, betas] = [grid(options.gamma), grid(options.k).map((k) => k * length), grid(options.beta)];
  const sums: SeedSums = { ideal: new Float64Array(gammas.length * slopes.length * 3), random: new Float64Array(betas.length * 3), silent: 0 };
  await gpu.scope(async () => {
    const axis = drawAxis(gpu, options.width, seed);
    const family = await placeFamily({ rows: drawMixture(axis, options, options.features, seed, 1), bias: options.randomBias, betas });
    const [placedGammas, placedSlopes] = [Tensor.from(gpu, gammas, [gammas.length]), Tensor.from(gpu, slopes, [slopes.length])];
    for (let start = 0, chunk = 0; start < samples; start += CHUNK, chunk++) {
      const made = gpu.scope(() => {
        const x = drawMixture(axis, options, Math.min(CHUNK, samples - start), seed, 3 + 2 * chunk);
        const along = matmul(x, axis, { transposeB: true });
        return { ideal: idealSums(along, placedGammas, placedSlopes), random: randomSums(x, family), squares: sumSquaresRows(x) };
      });
      const [ideal, random, squares] = await Promise.all([made.ideal.read(), made.random.read(), made.squares.read()]);
      for (const tensor of Object.values(made)) tensor.dispose();
      ideal.forEach((value, i) => { sums.ideal[i]! += value; });
      random.forEach((value, i) => { sums.random[i]! += value; });
      for (const square of squares) sums.silent += square;
      onChunk(chunk + 1);
    }
  });
  return sums;
}

/** The member with the largest gain: its number, its gain and the mean of what was counted. */
function best(sums: Float64Array, samples: number, lambda: number): { member: number; gain: number; firing: number } {
  let found = { member: 0, gain: -Infinity, firing: 0 };
  for (let member = 0; member * 3 < sums.length; member++) {
    const gain = (sums[member * 3]! - lambda * sums[member * 3 + 1]!) / samples;
    if (gain > found.gain) found = { member, gain, firing: sums[member * 3 + 2]! / samples };
  }
  return found;
}

function rowOf(lambda: number, options: OverSplittingToyOptions, sums: readonly SeedSums[]): OverSplittingToyRow {
  const [gammas, ks, betas] = [grid(options.gamma), grid(options.k), grid(options.beta)];
  const ideal = sums.map((own) => best(own.ideal, options.samples, lambda));
  const random = sums.map((own) => best(own.random, options.samples, lambda));
  const gains = (list: readonly { gain: number }[]) => list.map(({ gain }) => gain);
  const spreadOf = (values: number[]) => ({ lowest: Math.min(...values), highest: Math.max(...values), deviation: deviation(values) });
  return {
    lambda,
    idealGain: mean(gains(ideal)),
    randomGain: mean(gains(random)),
    idealSpread: spreadOf(gains(ideal)),
    randomSpread: spreadOf(gains(random)),
    smallestDifference: Math.min(...random.map(({ gain }, i) => gain - ideal[i]!.gain)),
    idealK: mean(ideal.map(({ member }) => ks[member % ks.length]!)),
    idealGamma: mean(ideal.map(({ member }) => gammas[Math.floor(member / ks.length)]!)),
    idealFiring: mean(ideal.map(({ firing }) => firing)),
    randomBeta: mean(random.map(({ member }) => betas[member]!)),
    randomActive: mean(random.map(({ firing }) => firing)),
  };
}
