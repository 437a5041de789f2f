/**
 * Feature occlusion on a model (arXiv 2405.08366, section 6.1 and A.14): at a site that carries two attributes with codes of unlike length, SAEs
 * have features for nearly every value of the longer one and for few of the shorter one's.
 *
 *   sweep  SAEs over λ, sizes and epochs: for how many values of each attribute some feature has F1 of at least 0.5
 *   α      the same with the longer attribute's supervised codes taken away in part, a − α u_{i=v}: its values lose their features, the
 *          other's gain some
 *
 * All dictionaries of one size, of the sweep and of all α, are trained as one batch, and looked at after each number of epochs.
 */
import * as z from 'zod';
import { SupervisedCodes, type Examples, type Sae } from '../dictionary/index.ts';
import { UsageError } from '../errors.ts';
import { mean } from '../evaluation/index.ts';
import { addScaled, gatherRows, sumSquaresRows, Tensor } from '../tensor/index.ts';
import { trainSaes, type LogRecord, type SaeJob, type TrainSettings } from '../training/index.ts';
import { bestF1, coverage, LabelledExamples, type Labels } from './coverage.ts';
import type { Watch } from './watching.ts';

/** Activations of one site on prompts that dictionaries are trained on, and on others that F1 is computed on. */
export interface OcclusionData {
  site: string;
  training: Examples;
  scored: Examples;
  /** Numbers of values of the attributes whose features are counted. */
  attributes: readonly { name: string; values: number }[];
}

export interface OcclusionOptions extends Partial<Omit<TrainSettings, 'features' | 'epochs' | 'seed'>> {
  /** Sizes of dictionaries. */
  features: readonly number[];
  /** λ, in the trainer's units. */
  lambdas: readonly number[];
  /** Epochs after which coverage is counted; training ends with the last. */
  epochs: readonly number[];
  /** The attribute whose codes are taken away; unless given, the one whose codes are longest on average. */
  occluding?: string;
  /** Shares of its codes that are taken away; 0 is the sweep itself. */
  alphas: readonly number[];
  /** λ and size of the dictionaries that are trained for α; the middle λ and the first size unless given. */
  alphaLambda?: number;
  alphaFeatures?: number;
  threshold: number;
  seed: number;
}

/** Sizes for a small model on a software driver. The paper: up to 8,192 features, λ over two orders of magnitude, 6,000 epochs, α with 1,024 features and λ = 0.2 at mean norm 1. */
export const occlusionDefaults: OcclusionOptions = {
  features: [256], lambdas: [0.5, 1, 2], epochs: [10, 30], alphas: [0, 0.25, 0.5, 0.75, 1], threshold: 0.5, seed: 0, batch: 128,
};

const coverageSchema = z.record(z.string(), z.object({
  count: z.int().describe('values for which some feature has F1 of at least the threshold'),
  share: z.number().describe('the same as a share of the values that occur'),
  meanBest: z.number().nullable().describe('mean over values of the best F1; null where no feature is active'),
}));

const sweepRow = z.object({
  features: z.int(), lambda: z.number(), epoch: z.int(), coverage: coverageSchema, l0: z.number(), explainedVariance: z.number(),
});

const alphaRow = z.object({
  alpha: z.number().describe('share of the occluding attribute taken away'), features: z.int(), lambda: z.number(), epoch: z.int(), coverage: coverageSchema,
});

export const occlusionSchema = z.object({
  site: z.string(),
  attributes: z.array(z.object({
    name: z.string(), values: z.int(), occurring: z.int().describe('values that some scored prompt has'),
    norm: z.object({ mean: z.number(), least: z.number(), most: z.number() }).describe('lengths of the supervised codes of the values that training prompts have'),
  })),
  occluding: z.string(),
  threshold: z.number(),
  sweep: z.array(sweepRow),
  alpha: z.array(alphaRow),
  trained: z.int().describe('prompts trained on'),
  scored: z.int().describe('prompts that F1 is computed on'),
});

export type Occlusion = z.infer<typeof occlusionSchema>;
type Coverage = z.infer<typeof coverageSchema>;

/** One dictionary to train: on the activations as they are, or with a share α of the occluding codes taken away. */
interface Planned { features: number; lambda: number; alpha: number; inSweep: boolean; inAlpha: boolean }

/**
 * Runs the study. `codes` are mean codes of the site with a term of its own for each attribute counted, fitted on the training prompts unless given.
 * Throws UsageError for an attribute that is not there or options that make no sense.
 */
export async function occlusion(data: OcclusionData, given: Partial<OcclusionOptions> = {}, watching: Watch = {}): Promise<Occlusion> {
  const options = { ...occlusionDefaults, ...given };
  const names = data.attributes.map(({ name }) => name);
  if (options.occluding !== undefined && !names.includes(options.occluding)) throw new UsageError(`occlusion: there is no attribute ${options.occluding}; there are ${names.join(', ')}`);
  for (const [name, list] of Object.entries({ attribute: names, size: options.features, λ: options.lambdas, 'number of epochs': options.epochs })) if (list.length === 0) throw new UsageError(`occlusion: needs at least one ${name}`);
  const { gpu } = data.training.activations;
  const codes = SupervisedCodes.fit(data.training, { spaces: data.attributes });
  const labels = data.attributes.map(({ name, values }): Labels => ({ ids: data.scored.attributes[name]!, values }));
  const plan = planned(options);
  const alphas = [...new Set(plan.map(({ alpha }) => alpha))];
  const pools = new Map<number, { training: Tensor; labelled: LabelledExamples; scored: Tensor }>();
  try {
    const attributes = await norms(codes, data);
    const occluding = options.occluding ?? attributes.reduce((longest, own) => (own.norm.mean > longest.norm.mean ? own : longest)).name;
    for (const alpha of alphas) {
      const [training, scored] = [data.training, data.scored].map((examples) => gpu.keep(without(codes, examples, occluding, alpha))) as [Tensor, Tensor];
      pools.set(alpha, { training, scored, labelled: new LabelledExamples(gpu, { activations: scored, attributes: data.scored.attributes }, labels) });
    }
    const rows: TrainedRow[] = [];
    const sizes = [...new Set(plan.map(({ features }) => features))];
    for (const [i, features] of sizes.entries()) {
      const report = { ...watching, onProgress: (done: number, total: number) => watching.onProgress?.(i * total + done, sizes.length * total) };
      rows.push(...await trainSize(data, options, plan.filter((one) => one.features === features), features, pools, report));
    }
    return {
      site: data.site, occluding, threshold: options.threshold, attributes,
      sweep: rows.filter(({ planned: { inSweep } }) => inSweep).map(({ planned: { features, lambda }, epoch, coverage, l0, explainedVariance }) => ({ features, lambda, epoch, coverage, l0, explainedVariance })),
      alpha: rows.filter(({ planned: { inAlpha } }) => inAlpha).map(({ planned: { alpha, features, lambda }, epoch, coverage }) => ({ alpha, features, lambda, epoch, coverage })),
      trained: data.training.activations.shape[0]!, scored: data.scored.activations.shape[0]!,
    };
  } finally {
    codes.dispose();
    for (const { training, scored, labelled } of pools.values()) {
      training.dispose();
      scored.dispose();
      labelled.dispose();
    }
  }
}

interface TrainedRow { planned: Planned; epoch: number; coverage: Coverage; l0: number; explainedVariance: number }

/** Every dictionary of the sweep, and those of α; one that is both is trained once. */
function planned({ features, lambdas, alphas, alphaLambda, alphaFeatures }: OcclusionOptions): Planned[] {
  const own = { features: alphaFeatures ?? features[0]!, lambda: alphaLambda ?? lambdas[Math.floor((lambdas.length - 1) / 2)]! };
  const sweep = features.flatMap((size) => lambdas.map((lambda): Planned => ({
    features: size, lambda, alpha: 0, inSweep: true, inAlpha: alphas.includes(0) && size === own.features && lambda === own.lambda,
  })));
  const done = sweep.some(({ inAlpha }) => inAlpha);
  return [...sweep, ...alphas.filter((alpha) => !(done && alpha === 0)).map((alpha): Planned => ({ ...own, alpha, inSweep: false, inAlpha: true }))];
}

/** a − α u of the attribute's value, for each example. */
function without(codes: SupervisedCodes, { activations, attributes }: Examples, attribute: string, alpha: number): Tensor {
  const { gpu } = activations;
  if (alpha === 0) return activations.clone();
  const { first } = codes.terms.find(({ columns }) => columns.length === 1 && columns[0] === attribute)!;
  return gpu.scope(() => {
    const own = gatherRows(codes.vectors, Tensor.from(gpu, attributes[attribute]!.map((id) => first + id), [activations.shape[0]!]));
    return addScaled(activations, own, -alpha);
  });
}

async function trainSize(
  data: OcclusionData, options: OcclusionOptions, plan: readonly Planned[], features: number, pools: ReadonlyMap<number, { training: Tensor; labelled: LabelledExamples }>, watching: Watch,
): Promise<TrainedRow[]> {
  const { gpu } = data.training.activations;
  const { features: _sizes, lambdas: _lambdas, epochs, occluding: _o, alphas: _a, alphaLambda: _al, alphaFeatures: _af, threshold, seed, ...training } = options;
  const jobs = plan.map(({ lambda, alpha }): SaeJob => ({ name: `vanilla λ=${lambda} α=${alpha}`, data: pools.get(alpha)!.training, l1: lambda, seed }));
  const last = Math.max(...epochs);
  const rows: TrainedRow[] = [];
  const look = async (epoch: number, saes: readonly Sae[], figures: readonly LogRecord[]): Promise<void> => {
    for (const [i, sae] of saes.entries()) {
      const coverage = await coverageOf(sae, data, pools.get(plan[i]!.alpha)!.labelled, threshold);
      rows.push({ planned: plan[i]!, epoch, coverage, l0: figures[i]!.l0, explainedVariance: figures[i]!.explained_variance });
      sae.dispose();
    }
  };
  const { saes } = await trainSaes(gpu, jobs, {
    ...training, features, epochs: last, seed, logEvery: last, signal: watching.signal, onStep: watching.onProgress, snapshotEpochs: epochs, onSnapshot: look,
  });
  for (const sae of saes) sae.dispose();
  watching.signal?.throwIfAborted();
  return rows;
}

async function coverageOf(sae: Sae, { attributes }: OcclusionData, labelled: LabelledExamples, threshold: number): Promise<Coverage> {
  const counts = await labelled.count(sae);
  return Object.fromEntries(attributes.map(({ name }, i): [string, Coverage[string]] => {
    const own = counts[i]!;
    const best = [...bestF1(own)].filter((_, value) => own.holds[value]! > 0);
    const count = coverage(own, threshold);
    return [name, { count, share: count / best.length, meanBest: best.every((f1) => f1 > -Infinity) ? mean(best) : null }];
  }));
}

/** Lengths of the codes of values that training prompts have. */
async function norms(codes: SupervisedCodes, { training, scored, attributes }: OcclusionData): Promise<Occlusion['attributes']> {
  const squares = await codes.vectors.gpu.scope(() => sumSquaresRows(codes.vectors).read());
  return attributes.map(({ name, values }) => {
    const { first } = codes.terms.find(({ columns }) => columns.length === 1 && columns[0] === name)!;
    const lengths = [...new Set(training.attributes[name]!)].map((id) => Math.sqrt(squares[first + id]!));
    return {
      name, values, occurring: new Set(scored.attributes[name]!).size, norm: { mean: mean(lengths), least: Math.min(...lengths), most: Math.max(...lengths) },
    };
  });
}
