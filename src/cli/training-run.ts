/** What training commands share: kinds of dictionaries, the run with its log, checkpoints and Ctrl-C, and the saved directories. */
import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { saeFiles, type Sae } from '../dictionary/index.ts';
import { FileError, UsageError } from '../errors.ts';
import { assertWritable, writeDirectoryAtomic, writeFileAtomic } from '../files/node-write.ts';
import type { Gpu } from '../gpu/index.ts';
import {
  checkVariant, logLine, readCheckpoint, RELEASED_TRAINING, trainSaes, trainVariants, variantPolicies, type LogRecord, type SaeJob, type TrainOptions, type TrainResult, type TrainVariant,
} from '../training/index.ts';
import { list, note, printJson, progress, realNumber, wholeNumber } from './terminal.ts';
import { scheduleOptions, type ScheduleFlags } from './training-schedule.ts';

const CHECKPOINT = 'checkpoint.safetensors';
const METRICS = 'metrics.jsonl';

/** Flags of every training command. */
export interface TrainingFlags extends ScheduleFlags {
  variants: string[]; l1: string[]; k: string[]; snapshots: string[]; asReleased: string[]; out: string; lr?: number; seed: number; resume?: string; checkpointEvery: number; json?: boolean;
}

/** For commander: what every training command takes. */
export function trainingOptions(command: Command): Command {
  return scheduleOptions(command
    .requiredOption('--out <dir>', 'directory for dictionaries, metrics.jsonl and the checkpoint')
    .option('--variants <list>', `kinds of dictionaries, of ${trainVariants.join(', ')}`, list, ['vanilla'])
    .option('--l1 <list>', 'sparsity weights λ, for activations scaled to a mean length of √width; all variants but topk and batchtopk', list, ['0.5', '1', '2.5'])
    .option('--k <list>', 'numbers of active features; topk and batchtopk', list, ['2', '4', '8'])
    .option('--snapshots <list>', 'epochs after which the dictionaries are saved as they are then', list, [])
    .option('--as-released <list>', `do as the paper's released code does: ${Object.keys(RELEASED_TRAINING).join(', ')}`, list, [])
    .option('--lr <rate>', 'learning rate; by default each variant has its own', realNumber(0))
    .option('--seed <n>', 'seed of the data, initial weights and the order of the data', wholeNumber(0), 0)
    .option('--checkpoint-every <steps>', 'steps between checkpoints', wholeNumber(1), 500)
    .option('--resume <dir>', 'go on from the checkpoint in this directory')
    .option('--json', 'print the final figures as JSON'));
}

/** A variant and its λ or K. */
export interface Kind { variant: TrainVariant; value: number }

export function kindsOf(options: Pick<TrainingFlags, 'variants' | 'k' | 'l1'> & { features: number }): Kind[] {
  const variants = [...new Set(options.variants.map((name) => checkVariant(name, '--variants')))];
  if (variants.length === 0) throw new UsageError('--variants names no variant');
  return variants.flatMap((variant) => {
    const byK = variantPolicies[variant].sparsity === 'k';
    const values = [...new Set(byK ? options.k.map((text) => wholeOf(text, '--k', 1, options.features)) : options.l1.map(lambdaOf))];
    if (values.length === 0) throw new UsageError(`${byK ? '--k names no number of features' : '--l1 names no sparsity weight'} for ${variant}`);
    return values.map((value) => ({ variant, value }));
  });
}

function lambdaOf(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) throw new UsageError(`--l1: "${text}" is not a number of at least 0`);
  return value;
}

export function wholeOf(text: string, flag: string, least: number, most = Infinity): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least || value > most) throw new UsageError(`${flag}: "${text}" is not a whole number ${most === Infinity ? `of at least ${least}` : `from ${least} to ${most}`}`);
  return value;
}

/** A dictionary to train at a place, named by kind and place. */
export function jobOf({ variant, value }: Kind, place: string, data: SaeJob['data'], seed: number, learningRate: number, metadata: Readonly<Record<string, unknown>>): SaeJob {
  const byK = variantPolicies[variant].sparsity === 'k';
  return {
    name: `${variant} ${place} ${byK ? 'k' : 'λ'}=${value}`, variant, data, ...(byK ? { k: value } : { l1: value }), seed, learningRate, metadata: { ...metadata, learning_rate: learningRate },
  };
}

/** Proves that the directory can be written and reads the checkpoint to go on from, before anything takes time. */
export async function openRun({ out, resume }: Pick<TrainingFlags, 'out' | 'resume'>): Promise<Uint8Array | undefined> {
  await assertWritable(out);
  return resume === undefined ? undefined : readCheckpointFile(resume);
}

/** Trains the jobs, logs, keeps checkpoints, saves the dictionaries in their folders and reports. Ctrl-C leaves a checkpoint and exit code 130. */
export async function runTraining(gpu: Gpu, jobs: readonly SaeJob[], folders: readonly string[], settings: TrainOptions, flags: TrainingFlags & { resumed?: Uint8Array }): Promise<void> {
  const { out, resumed: resume } = flags;
  const metrics = join(out, METRICS);
  await startMetrics(metrics, resume);
  const checkpoint = join(out, CHECKPOINT);
  const stop = new AbortController();
  const onInterrupt = (): void => stop.abort();
  process.once('SIGINT', onInterrupt);
  const bar = progress('training SAEs');
  let latest = '';
  const started = performance.now();
  try {
    const result = await trainSaes(gpu, jobs, {
      ...settings, signal: stop.signal, checkpointEvery: flags.checkpointEvery, ...(resume ? { resume } : {}),
      onLog: async (records) => {
        latest = summary(records);
        await appendFile(metrics, records.map(logLine).join('')).catch((cause: Error) => { throw new FileError(`cannot write ${metrics}: ${cause.message}`, { cause }); });
      },
      onStep: (done, total) => bar.update(done, total, latest),
      onCheckpoint: (bytes) => writeFileAtomic(checkpoint, bytes),
      onSnapshot: (epoch, saes) => saveAll(saes, folders, join(out, 'snapshots', String(epoch))),
    });
    bar.stop();
    if (result.checkpoint) await writeFileAtomic(checkpoint, result.checkpoint);
    else await saveAll(result.saes, folders, out);
    report(result, flags, checkpoint, (performance.now() - started) / 1000);
    if (result.checkpoint) for (const sae of result.saes) sae.dispose();
  } finally {
    bar.stop();
    process.off('SIGINT', onInterrupt);
  }
}

async function readCheckpointFile(directory: string): Promise<Uint8Array> {
  const path = join(directory, CHECKPOINT);
  try {
    return await readFile(path);
  } catch (cause) {
    throw new FileError(`--resume: cannot read ${path}: ${(cause as Error).message}`, { cause });
  }
}

/** A new run starts with an empty file; one that goes on from a checkpoint keeps what was logged up to it. */
async function startMetrics(path: string, resume: Uint8Array | undefined): Promise<void> {
  const last = resume ? (await readCheckpoint(resume)).step : 0;
  const old = last > 0 ? await readFile(path, 'utf8').catch(() => '') : '';
  const kept = old.split('\n').filter((line) => line !== '' && (JSON.parse(line) as LogRecord).step <= last);
  await writeFileAtomic(path, kept.map((line) => `${line}\n`).join(''));
}

/** Writes each dictionary into its folder and disposes it. */
async function saveAll(saes: readonly Sae[], folders: readonly string[], directory: string): Promise<void> {
  for (const [i, sae] of saes.entries()) {
    await writeDirectoryAtomic(join(directory, folders[i]!), await saeFiles(sae));
    sae.dispose();
  }
}

function summary(records: readonly LogRecord[]): string {
  const mean = (pick: (r: LogRecord) => number): number => records.reduce((sum, r) => sum + pick(r), 0) / records.length;
  return `loss ${mean((r) => r.loss).toFixed(3)}  L0 ${mean((r) => r.l0).toFixed(1)}  dead ${(100 * mean((r) => r.dead_fraction)).toFixed(0)}%`;
}

function report(result: TrainResult, options: Pick<TrainingFlags, 'json' | 'out'>, checkpoint: string, seconds: number): void {
  if (options.json) printJson({ finished: result.finished, step: result.step, steps: result.steps, out: options.out, dictionaries: result.final });
  else {
    const rows = result.final.map((r) => `${r.name.padEnd(32)} ${r.mse.toFixed(3).padStart(9)} ${r.l0.toFixed(2).padStart(8)} ${r.explained_variance.toFixed(4).padStart(10)} ${(100 * r.dead_fraction).toFixed(0).padStart(5)}%`);
    process.stdout.write(`${'dictionary'.padEnd(32)} ${'mse'.padStart(9)} ${'L0'.padStart(8)} ${'explained'.padStart(10)} ${'dead'.padStart(6)}\n${rows.join('\n')}\n`);
  }
  if (result.finished) {
    note(`${result.saes.length} dictionaries after ${result.steps} steps in ${seconds.toFixed(1)} s: ${options.out}`);
    return;
  }
  note(`stopped after step ${result.step} of ${result.steps}; go on with the same command and --resume ${options.out} (${checkpoint})`);
  process.exitCode = 130;
}
