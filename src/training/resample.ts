/**
 * Dead features brought back to life (after Bricken et al. 2023; evaluation.md §7.3), for all dictionaries of a batch.
 *
 * A feature is dead if no example of the last epoch activated it, or none of the last `deadAfter`. For each, an example x is drawn with a probability proportional to the
 * square of its loss. The feature's decoder row becomes (x − b_dec) / ‖x − b_dec‖, its encoder column the same direction with a share of the
 * mean length of the alive features' encoder columns, everything else of it what it was at the start, and Adam's moments of exactly those
 * numbers 0. Simple re-initialisation (§7.4) draws both of its rows as at the start instead.
 */
import { gatherRows, scaleRows, scatterRows, sub, sumSquaresRows, Tensor, type SaePart } from '../tensor/index.ts';
import type { Gpu } from '../gpu/index.ts';
import { lossSums, type SaeBatch } from './batch.ts';
import { initialMatrices, initialValue } from './initial.ts';
import { lossTerms } from './log.ts';
import { sampleProportional } from './order.ts';
import type { TrainSettings } from './settings.ts';

/** Features that take after examples in one go. */
const AT_ONCE = 1024;

/** What resampling does to one dictionary. */
export interface ResamplePlan {
  dead: Uint32Array;
  /** The example that each dead feature takes after. */
  examples: Uint32Array;
  /** Length of the new encoder columns. */
  length: number;
}

/** `fired` [features] is 0 for what is dead, `losses` [examples] is the total loss of each example, `mean` the length of which new columns have a share. */
export function planResampling(fired: ArrayLike<number>, losses: ArrayLike<number>, mean: number, options: { scale: number; seed: number; epoch: number }): ResamplePlan {
  const dead = Uint32Array.from(Array.from(fired, (_, f) => f).filter((f) => fired[f] === 0));
  const weights = Float64Array.from(losses, (loss) => loss * loss);
  return { dead, examples: sampleProportional(weights, dead.length, options.seed, options.epoch), length: options.scale * mean };
}

/**
 * Mean length of the alive features' columns, from the columns' lengths; or, as released, of the dimensions' rows across alive features, from
 * the encoder [features, stride] itself. 1 if nothing is alive.
 */
export function aliveLength(fired: ArrayLike<number>, from: { lengths: ArrayLike<number> } | { encoder: ArrayLike<number>; stride: number; width: number }): number {
  const alive = Array.from(fired, (_, f) => f).filter((f) => fired[f]! > 0);
  if (alive.length === 0) return 1;
  const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  if ('lengths' in from) return mean(alive.map((f) => from.lengths[f]!));
  return mean(Array.from({ length: from.width }, (_, k) => Math.sqrt(alive.reduce((sum, f) => sum + from.encoder[f * from.stride + k]! ** 2, 0))));
}

/** Means of so many consecutive numbers, in place of each of them. */
export function blockMeans(values: Float64Array, block: number): Float64Array {
  if (block <= 1) return values;
  const out = new Float64Array(values.length);
  for (let start = 0; start < values.length; start += block) {
    const part = values.subarray(start, start + block);
    out.fill(part.reduce((sum, value) => sum + value, 0) / part.length, start, start + part.length);
  }
  return out;
}

/** Resamples the dead features of every dictionary of the batch; returns how many there were in each. */
export async function resample(gpu: Gpu, batch: SaeBatch, settings: TrainSettings, fired: readonly Uint32Array[], epoch: number): Promise<number[]> {
  if (!batch.policy.resamples) return batch.jobs.map(() => 0);
  const plans = settings.resampling === 'initial'
    ? batch.jobs.map(({ seed }, i) => planResampling(fired[i]!, [1], 1, { scale: 1, seed, epoch }))
    : await planByLoss(gpu, batch, settings, fired, epoch);
  const entries = plans.flatMap((plan, i) => Array.from(plan.dead, (feature, s) => ({ i, feature, example: plan.examples[s]!, length: plan.length })));
  // Drawn at once, because each draw is of all rows; taken from examples in parts, so that a wide dictionary's dead take little room.
  const most = settings.resampling === 'initial' ? Math.max(1, entries.length) : AT_ONCE;
  for (let start = 0; start < entries.length; start += most) {
    const part = entries.slice(start, start + most);
    gpu.scope(() => apply(gpu, batch, settings, part, settings.resampling === 'initial' ? drawnRows(gpu, batch, settings, part, epoch) : exampleRows(gpu, batch, part)));
  }
  return plans.map((plan) => plan.dead.length);
}

async function planByLoss(gpu: Gpu, batch: SaeBatch, settings: TrainSettings, fired: readonly Uint32Array[], epoch: number): Promise<ResamplePlan[]> {
  const { features: F, resampleNorm, resampleScale } = settings;
  const { site: { width, realWidth, examples }, weights } = batch;
  const columns = resampleNorm === 'features';
  const measured = columns ? gpu.scope(() => sumSquaresRows(weights.encoder.reshape([-1, width]))) : weights.encoder;
  const losses = batch.jobs.map(() => new Float64Array(examples));
  const losing = batch.eachLosses((job, first, values) => {
    for (let r = 0; r * 8 < values.length; r++) losses[job]![first + r] = lossTerms(lossSums(values.subarray(r * 8, r * 8 + 8), 0), 1, batch.jobNow(job), settings).loss;
  });
  const [numbers] = await Promise.all([measured.read(), losing]);
  if (columns) measured.dispose();
  return batch.jobs.map((job, i) => {
    const mean = columns
      ? aliveLength(fired[i]!, { lengths: numbers.subarray(i * F, (i + 1) * F).map(Math.sqrt) })
      : aliveLength(fired[i]!, { encoder: numbers.subarray(i * F * width, (i + 1) * F * width), stride: width, width: realWidth });
    const shared = blockMeans(losses[i]!, batch.variant === 'gated' ? settings.gatedLossBlock : 1);
    return planResampling(fired[i]!, shared, mean, { scale: resampleScale, seed: job.seed, epoch });
  });
}

/** A dead feature: dictionary i's, what it takes after, and its encoder column's length. */
interface Entry { i: number; feature: number; example: number; length: number }
interface NewRows { encoder: Tensor; decoder: Tensor }

function indices(gpu: Gpu, values: number[]): Tensor {
  return Tensor.from(gpu, Uint32Array.from(values), [values.length]);
}

function exampleRows(gpu: Gpu, batch: SaeBatch, entries: readonly Entry[]): NewRows {
  const { site, weights } = batch;
  const x = site.pick(entries.map(({ i, example }) => ({ pool: batch.pools[i]!, example })));
  const bias = gatherRows(weights.decoderBias, indices(gpu, entries.map(({ i }) => i)));
  const decoder = scaleRows(sub(x, bias));
  return { decoder, encoder: scaleRows(decoder, Tensor.from(gpu, entries.map(({ length }) => length), [entries.length])) };
}

/** New draws of a dictionary's seed, other ones after every epoch. */
function drawnRows(gpu: Gpu, batch: SaeBatch, settings: TrainSettings, entries: readonly Entry[], epoch: number): NewRows {
  const { site } = batch;
  const out = { encoder: Tensor.empty(gpu, [entries.length, site.width]), decoder: Tensor.empty(gpu, [entries.length, site.width]) };
  batch.jobs.forEach(({ seed }, job) => gpu.scope(() => {
    const own = entries.flatMap(({ i, feature }, at) => (i === job ? [{ feature, at }] : []));
    if (own.length === 0) return;
    const drawn = initialMatrices(gpu, batch.variant, settings, site.realWidth, { seed, draw: epoch });
    const [from, to] = [indices(gpu, own.map(({ feature }) => feature)), indices(gpu, own.map(({ at }) => at))];
    scatterRows(out.encoder, to, gatherRows(drawn.encoder, from));
    scatterRows(out.decoder, to, gatherRows(drawn.decoder, from));
  }));
  return out;
}

function apply(gpu: Gpu, batch: SaeBatch, settings: TrainSettings, entries: readonly Entry[], rows: NewRows): void {
  const { site: { width }, weights, first, second, counters: { since } } = batch;
  const M = entries.length;
  const target = indices(gpu, entries.map(({ i, feature }) => i * settings.features + feature));
  const zeros = { rows: Tensor.zeros(gpu, [M, width]), values: Tensor.zeros(gpu, [M, 1]) };
  const put = (stacked: Tensor, values: Tensor): void => scatterRows(stacked.reshape([-1, values.shape[1]!]), target, values);
  const matrix = (part: SaePart): part is 'encoder' | 'decoder' => part === 'encoder' || part === 'decoder';
  for (const part of batch.trained) {
    // The decoder's bias is no feature's.
    if (part === 'decoderBias') continue;
    put(weights[part]!, matrix(part) ? rows[part] : Tensor.from(gpu, new Float32Array(M).fill(initialValue(part, settings)), [M, 1]));
    for (const moments of [first, second]) put(moments[part]!, matrix(part) ? zeros.rows : zeros.values);
  }
  // They are not dead until they have had as long as others. Zero is the same bits in every type.
  if (since) put(since, zeros.values);
}
