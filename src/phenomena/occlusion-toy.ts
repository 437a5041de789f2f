/**
 * The toy of feature occlusion (arXiv 2405.08366, section 6.1 and A.14): activations a = u_i + v_j in R^64 of two independent attributes with 216
 * values each, alike but for the lengths of their features. SAEs find the features of the longer attribute and few of the shorter one's.
 *
 * u and v are drawn from a standard normal distribution and rescaled to mean lengths in a given ratio. The paper takes the lengths of the
 * supervised IO and S features of one head of GPT-2 without printing them; give measured ones as `lengths`. Only their ratio matters, because
 * training scales its inputs.
 */
import * as z from 'zod';
import type { Sae } from '../dictionary/index.ts';
import { UsageError } from '../errors.ts';
import type { Gpu } from '../gpu/index.ts';
import { mean } from '../evaluation/index.ts';
import { seededRandom } from '../task/index.ts';
import { add, affine, gatherRows, randomNormal, sumSquaresRows, Tensor } from '../tensor/index.ts';
import { trainSaes, type LogRecord, type SaeJob } from '../training/index.ts';
import { coverage, LabelledExamples, type Labels } from './coverage.ts';
import type { Watch } from './watching.ts';

/** Every dictionary size, λ, batch size and rate of a grid is combined with every other. */
export interface OcclusionGrid {
  features: readonly number[];
  /** λ for activations that training has scaled to a mean length of √width. */
  lambdas: readonly number[];
  batches: readonly number[];
  learningRates: readonly number[];
  epochs: number;
}

export interface OcclusionToyOptions extends OcclusionGrid {
  width: number;
  /** Values of each attribute. */
  values: number;
  /** Mean lengths of the features of the two attributes. */
  lengths: { high: number; low: number };
  /** Pairs (i, j) that are trained on, drawn uniformly. */
  examples: number;
  /** Fresh pairs that F1 is computed on. */
  scored: number;
  threshold: number;
  seed: number;
}

/** As the paper has it: 216 values and a grid of 108 dictionaries at 1,000 epochs, work for a GPU. */
export const occlusionToyFull: Partial<OcclusionToyOptions> = {
  values: 216, examples: 20000, features: [512, 1024, 2048], lambdas: [0.0125, 0.025, 0.4, 0.5, 1, 2], batches: [256, 1024],
  learningRates: [0.001, 0.003, 0.0003], epochs: 1000,
};

/** Fewer values, and with them smaller dictionaries, so that a software driver trains them to the end in half a minute. The effect is the same. */
export const occlusionToyDefaults: OcclusionToyOptions = {
  width: 64, values: 60, lengths: { high: 1.35, low: 1 }, examples: 4096, scored: 4096, threshold: 0.9, seed: 0,
  features: [128, 256], lambdas: [0.5, 1, 2], batches: [64], learningRates: [0.01, 0.005], epochs: 20,
};

const occlusionToyRow = z.object({
  features: z.int(), lambda: z.number().describe('for activations scaled to a mean length of √width'), batch: z.int(), learningRate: z.number(), epochs: z.int(),
  high: z.number().describe('share of the longer features for which an SAE feature has F1 of at least the threshold'),
  low: z.number().describe('the same for the shorter ones'),
  l0: z.number(), explainedVariance: z.number(), dead: z.number(),
});

export const occlusionToySchema = z.object({
  rows: z.array(occlusionToyRow),
  highAtLeastLow: z.number().describe('share of rows with high >= low'),
  lengths: z.object({ high: z.number(), low: z.number() }).describe('mean lengths of the features'),
  threshold: z.number(), values: z.int(), width: z.int(), examples: z.int(), scored: z.int(), seed: z.int(),
});

export type OcclusionToy = z.infer<typeof occlusionToySchema>;
export type OcclusionToyRow = z.infer<typeof occlusionToyRow>;

/** Trains every dictionary of the grid, as few batches together as possible. Throws UsageError for sizes that make no sense. */
export async function occlusionToy(gpu: Gpu, given: Partial<OcclusionToyOptions> = {}, watching: Watch = {}): Promise<OcclusionToy> {
  const options = { ...occlusionToyDefaults, ...given };
  checkOptions(options);
  const { values, width, lengths, examples, scored, threshold, seed } = options;
  const truth = await drawTruth(gpu, options);
  const held: { dispose(): void }[] = [truth.high, truth.low];
  const rows: OcclusionToyRow[] = [];
  try {
    const training = drawPairs(truth, examples, seed, 'training');
    const fresh = drawPairs(truth, scored, seed, 'scored');
    const labelled = new LabelledExamples(gpu, { activations: fresh.activations, attributes: {} }, fresh.labels);
    held.push(training.activations, fresh.activations, labelled);
    const runs = options.features.flatMap((features) => options.batches.map((batch) => ({ features, batch })));
    for (const [i, run] of runs.entries()) {
      rows.push(...await trainRun(gpu, options, run, training.activations, labelled, { ...watching, onProgress: (done, total) => watching.onProgress?.(i * total + done, runs.length * total) }));
    }
  } finally {
    for (const owned of held) owned.dispose();
  }
  return {
    rows, highAtLeastLow: mean(rows.map(({ high, low }) => (high >= low ? 1 : 0))), lengths, threshold, values, width, examples, scored, seed,
  };
}

function checkOptions(options: OcclusionToyOptions): void {
  for (const name of ['width', 'values', 'examples', 'scored'] as const) {
    if (!Number.isInteger(options[name]) || options[name] < 1) throw new UsageError(`occlusion toy: ${name} is ${options[name]}, but must be a whole number of at least 1`);
  }
  const { high, low } = options.lengths;
  if (!(low > 0) || !(high >= low)) throw new UsageError(`occlusion toy: the mean lengths are ${high} and ${low}, but must be above 0, the first not below the second`);
  for (const name of ['features', 'lambdas', 'batches', 'learningRates'] as const) if (options[name].length === 0) throw new UsageError(`occlusion toy: there are no ${name}`);
}

/** Features of both attributes, [values, width] each, with mean lengths as told. The caller disposes them. */
async function drawTruth(gpu: Gpu, { values, width, lengths, seed }: OcclusionToyOptions): Promise<{ high: Tensor; low: Tensor }> {
  const draw = async (stream: number, length: number): Promise<Tensor> => {
    const raw = randomNormal(gpu, [values, width], { seed, stream });
    const norms = await gpu.scope(() => sumSquaresRows(raw).read());
    const scaled = affine(raw, length / mean(norms.map(Math.sqrt)));
    raw.dispose();
    return gpu.keep(scaled);
  };
  return { high: await draw(0, lengths.high), low: await draw(1, lengths.low) };
}

/** u_i + v_j for `count` independent uniform pairs; the labels are i, then j. */
function drawPairs({ high, low }: { high: Tensor; low: Tensor }, count: number, seed: number, purpose: string): { activations: Tensor; labels: Labels[] } {
  const { gpu } = high;
  const values = high.shape[0]!;
  const random = seededRandom(seed, `occlusion toy ${purpose}`);
  const ids = [0, 1].map(() => Uint32Array.from({ length: count }, () => random.below(values)));
  const activations = gpu.scope(() => {
    const rows = ids.map((list, i) => gatherRows([high, low][i]!, Tensor.from(gpu, list, [count])));
    return add(rows[0]!, rows[1]!);
  });
  return { activations: gpu.keep(activations), labels: ids.map((list) => ({ ids: list, values })) };
}

async function trainRun(
  gpu: Gpu, options: OcclusionToyOptions, { features, batch }: { features: number; batch: number }, data: Tensor, labelled: LabelledExamples, watching: Watch,
): Promise<OcclusionToyRow[]> {
  const { epochs, seed, threshold, values } = options;
  const members = options.lambdas.flatMap((lambda) => options.learningRates.map((learningRate) => ({ lambda, learningRate })));
  const jobs = members.map(({ lambda, learningRate }): SaeJob => ({ name: `vanilla λ=${lambda} rate ${learningRate}`, data, l1: lambda, learningRate, seed }));
  const { saes, final } = await trainSaes(gpu, jobs, { features, batch, epochs, seed, logEvery: epochs, signal: watching.signal, onStep: watching.onProgress });
  try {
    watching.signal?.throwIfAborted();
    const rows: OcclusionToyRow[] = [];
    for (const [i, member] of members.entries()) rows.push({ features, batch, epochs, ...member, ...await coverageOf(saes[i]!, final[i]!, labelled, threshold, values) });
    return rows;
  } finally {
    for (const sae of saes) sae.dispose();
  }
}

async function coverageOf(sae: Sae, final: LogRecord, labelled: LabelledExamples, threshold: number, values: number): Promise<Pick<OcclusionToyRow, 'high' | 'low' | 'l0' | 'explainedVariance' | 'dead'>> {
  const [high, low] = await labelled.count(sae);
  return {
    high: coverage(high!, threshold) / values, low: coverage(low!, threshold) / values, l0: final.l0, explainedVariance: final.explained_variance, dead: final.dead_fraction,
  };
}
