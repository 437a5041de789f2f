/**
 * Dead features brought back to life (after Bricken et al. 2023; evaluation.md §7.3), for all dictionaries of a batch.
 *
 * A feature is dead if no example of the last epoch activated it. For each, an example x is drawn with a probability proportional to the
 * square of its loss. The feature's decoder row becomes (x − b_dec) / ‖x − b_dec‖, its encoder column the same direction with a share of the
 * mean length of the alive features' encoder columns, its encoder bias 0, and Adam's moments of exactly those numbers 0.
 */
import { gatherRows, scaleRows, scatterRows, sub, sumSquaresRows, Tensor } from '../tensor/index.ts';
import type { Gpu } from '../gpu/index.ts';
import { sampleProportional } from './order.ts';
import type { SaeBatch } from './batch.ts';
import type { TrainSettings } from './settings.ts';

/** What resampling does to one dictionary. */
export interface ResamplePlan {
  dead: Uint32Array;
  /** The example that each dead feature takes after. */
  examples: Uint32Array;
  /** Length of the new encoder columns. */
  length: number;
}

/** `fired` [features] counts activity, `losses` [examples] is the total loss of each example, `lengths` [features] the encoder columns' norms. */
export function planResampling(fired: ArrayLike<number>, losses: ArrayLike<number>, lengths: ArrayLike<number>, options: { scale: number; seed: number; epoch: number }): ResamplePlan {
  const dead = Uint32Array.from(Array.from(fired, (_, f) => f).filter((f) => fired[f] === 0));
  const alive = Array.from(fired, (_, f) => f).filter((f) => fired[f]! > 0);
  const mean = alive.length ? alive.reduce((sum, f) => sum + lengths[f]!, 0) / alive.length : 1;
  const weights = Float64Array.from(losses, (loss) => loss * loss);
  return { dead, examples: sampleProportional(weights, dead.length, options.seed, options.epoch), length: options.scale * mean };
}

/** Resamples the dead features of every dictionary of the batch; returns how many there were in each. */
export async function resample(gpu: Gpu, batch: SaeBatch, settings: TrainSettings, fired: readonly Uint32Array[], epoch: number): Promise<number[]> {
  const F = settings.features;
  const squares = gpu.scope(() => sumSquaresRows(batch.weights.encoder.reshape([-1, batch.width])));
  const [losses, lengths] = await Promise.all([batch.exampleLosses(), squares.read()]);
  squares.dispose();
  const plans = batch.jobs.map((job, i) => {
    const total = Float64Array.from({ length: batch.examples }, (_, r) => losses[i]![r * 4]! + job.l1 * losses[i]![r * 4 + 1]!);
    return planResampling(fired[i]!, total, lengths.subarray(i * F, (i + 1) * F).map(Math.sqrt), { scale: settings.resampleScale, seed: job.seed, epoch });
  });
  gpu.scope(() => apply(gpu, batch, plans, F));
  return plans.map((plan) => plan.dead.length);
}

function apply(gpu: Gpu, batch: SaeBatch, plans: readonly ResamplePlan[], features: number): void {
  const entries = plans.flatMap((plan, i) => Array.from(plan.dead, (feature, s) => ({ i, feature, example: plan.examples[s]!, length: plan.length })));
  const M = entries.length;
  if (M === 0) return;
  const { width, weights, first, second } = batch;
  const indices = (values: number[]): Tensor => Tensor.from(gpu, Uint32Array.from(values), [M]);
  const target = indices(entries.map(({ i, feature }) => i * features + feature));
  const x = gatherRows(batch.data.reshape([-1, width]), indices(entries.map(({ i, example }) => batch.pools[i]! * batch.examples + example)));
  const bias = gatherRows(weights.decoderBias, indices(entries.map(({ i }) => i)));
  const direction = scaleRows(sub(x, bias));
  const column = scaleRows(direction, Tensor.from(gpu, entries.map(({ length }) => length), [M]));
  const zeroRows = Tensor.zeros(gpu, [M, width]);
  const zeros = Tensor.zeros(gpu, [M, 1]);
  const put = (stacked: Tensor, values: Tensor): void => scatterRows(stacked.reshape([-1, values.shape[1]!]), target, values);
  put(weights.decoder, direction);
  put(weights.encoder, column);
  put(weights.encoderBias, zeros);
  for (const moments of [first, second]) {
    put(moments.decoder, zeroRows);
    put(moments.encoder, zeroRows);
    put(moments.encoderBias, zeros);
  }
}
