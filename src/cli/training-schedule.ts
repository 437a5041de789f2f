/** Flags of training commands that say how a run goes: learning rate, sparsity, clipping, and what is done about dead features. */
import { Option, type Command } from 'commander';
import { UsageError } from '../errors.ts';
import { trainDefaults, type TrainSettings } from '../training/index.ts';
import { list, realNumber, wholeNumber } from './terminal.ts';

export interface ScheduleFlags {
  lrWarmup?: number; lrDecay?: 'linear' | 'cosine'; lrDecayFrom?: number; lrDecayTo?: number; l1Warmup?: number; kWarmup?: number; kWarmupFrom?: number; clipNorm?: number;
  deadAfter?: number; resampleAt?: string[]; resampleAtSteps?: string[]; resampleEverySteps?: number; auxCoefficient?: number; auxK?: number;
}

/** For commander. */
export function scheduleOptions(command: Command): Command {
  const { decayFrom, decayTo, resampleAt, auxiliaryCoefficient, auxiliaryFeatures } = trainDefaults;
  return command
    .option('--lr-warmup <steps>', 'steps over which the learning rate rises from nothing at the start', wholeNumber(0))
    .addOption(new Option('--lr-decay <how>', 'how the learning rate falls (default: linear)').choices(['linear', 'cosine']))
    .option('--lr-decay-from <share>', `share of the run after which it falls (default: ${decayFrom}; 1: never)`, realNumber(0))
    .option('--lr-decay-to <share>', `share of the learning rate that it ends at (default: ${decayTo})`, realNumber(0))
    .option('--l1-warmup <steps>', 'steps over which λ rises from 0', wholeNumber(0))
    .option('--k-warmup <steps>', 'topk and batchtopk: steps over which K falls to its own', wholeNumber(0))
    .option('--k-warmup-from <n>', 'topk and batchtopk: the K that it falls from (default: the width of the activations)', wholeNumber(1))
    .option('--clip-norm <length>', "largest length of a dictionary's gradient (default: any)", realNumber(0))
    .option('--dead-after <n>', 'examples or tokens without activity after which a feature is dead (default: those of the last epoch or round)', wholeNumber(1))
    .option('--resample-at <shares>', `shares of the run after which dead features are resampled, or none (default: ${resampleAt.join(',')})`, list)
    .option('--resample-at-steps <list>', 'the same in steps; each at the end of its epoch or round', list)
    .option('--resample-every-steps <n>', 'steps between two resamplings, each at the end of its epoch or round', wholeNumber(1))
    .option('--aux-coefficient <c>', `topk and batchtopk: weight of the loss by which dead features learn (default: ${auxiliaryCoefficient}; 0: none)`, realNumber(0))
    .option('--aux-k <n>', `topk and batchtopk: most dead features of an example in that loss (default: ${auxiliaryFeatures})`, wholeNumber(1));
}

/** The settings that the flags ask for, and no others. Throws UsageError naming a flag. */
export function scheduleSettings(flags: ScheduleFlags): Partial<TrainSettings> {
  const numbers = (flag: string, texts: string[] | undefined, least: string, fits: (value: number) => boolean): number[] | undefined => texts?.map((text) => {
    const value = text === '' ? NaN : Number(text);
    if (!fits(value)) throw new UsageError(`${flag}: "${text}" is not ${least}`);
    return value;
  });
  if (flags.kWarmupFrom !== undefined && !flags.kWarmup) throw new UsageError('--k-warmup-from goes with --k-warmup');
  const shares = flags.resampleAt?.join() === 'none' ? [] : flags.resampleAt;
  const given: { [key in keyof TrainSettings]?: TrainSettings[key] | undefined } = {
    learningRateWarmupSteps: flags.lrWarmup, decay: flags.lrDecay, decayFrom: flags.lrDecayFrom, decayTo: flags.lrDecayTo,
    l1WarmupSteps: flags.l1Warmup, kWarmupSteps: flags.kWarmup, kWarmupFrom: flags.kWarmupFrom, clipNorm: flags.clipNorm, deadAfter: flags.deadAfter,
    resampleAt: numbers('--resample-at', shares, 'a share between 0 and 1, or none', (value) => value > 0 && value < 1),
    resampleAtSteps: numbers('--resample-at-steps', flags.resampleAtSteps, 'a whole number of at least 1', (value) => Number.isInteger(value) && value >= 1),
    resampleEverySteps: flags.resampleEverySteps, auxiliaryCoefficient: flags.auxCoefficient, auxiliaryFeatures: flags.auxK,
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as Partial<TrainSettings>;
}
