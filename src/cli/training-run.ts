/** What training commands share: kinds of dictionaries, the run with its log, checkpoints and Ctrl-C, and the saved directories. */
import { appendFile, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { saeFiles, type Sae } from '../dictionary/index.ts';
import { DeviceLostError, DiffractError, FileError, GpuOutOfMemoryError, LimitError, NumberError, UsageError } from '../errors.ts';
import { describeFault } from '../files/node-directory.ts';
import { assertWritable, writeDirectoryAtomic, writeFileAtomic } from '../files/node-write.ts';
import type { Gpu } from '../gpu/index.ts';
import {
  checkSettings, checkVariant, logLine, parseLogLine, RELEASED_TRAINING, runMemory, trainSaes, trainVariants, variantPolicies, type SaeJob, type TrainOptions, type TrainResult, type TrainVariant,
} from '../training/index.ts';
import { list, note, realNumber, wholeNumber } from './terminal.ts';
import { CheckpointFolder, CHECKPOINTS, newestCheckpoint, type FoundCheckpoint } from './training-checkpoints.ts';
import { checkSameRun, readRecord, RECORD, recordText, runRecord, type RunRecord } from './training-record.ts';
import { scheduleOptions, type ScheduleFlags } from './training-schedule.ts';
import { tableView, type TrainingView } from './training-view.ts';

/** Steps between checkpoints. */
const CHECKPOINT_STEPS = 500;
const METRICS = 'metrics.jsonl';

/** Flags of every training command. */
export interface TrainingFlags extends ScheduleFlags {
  variants: string[]; l1: string[]; k: string[]; snapshots: string[]; asReleased: string[]; out: string; lr?: number; seed: number; resume?: string; json?: boolean;
  checkpointEvery?: number; checkpointTokens?: number; keepCheckpoints: number;
}

/** For commander: what every training command takes. */
export function trainingOptions(command: Command): Command {
  return scheduleOptions(command
    .requiredOption('--out <dir>', 'directory for dictionaries, metrics.jsonl and checkpoints')
    .option('--variants <list>', `kinds of dictionaries, of ${trainVariants.join(', ')}`, list, ['vanilla'])
    .option('--l1 <list>', 'sparsity weights λ, for activations scaled to a mean length of √width; all variants but topk and batchtopk', list, ['0.5', '1', '2.5'])
    .option('--k <list>', 'numbers of active features; topk and batchtopk', list, ['2', '4', '8'])
    .option('--snapshots <list>', 'epochs after which the dictionaries are saved as they are then', list, [])
    .option('--as-released <list>', `do as the paper's released code does: ${Object.keys(RELEASED_TRAINING).join(', ')}`, list, [])
    .option('--lr <rate>', 'learning rate; by default each variant has its own', realNumber(0))
    .option('--seed <n>', 'seed of the data, initial weights and the order of the data', wholeNumber(0), 0)
    .option('--checkpoint-every <steps>', `steps between checkpoints (default: ${CHECKPOINT_STEPS})`, wholeNumber(1))
    .option('--checkpoint-tokens <n>', 'the same in tokens, or whatever the examples are', wholeNumber(1))
    .option('--keep-checkpoints <n>', 'how many of the newest checkpoints to keep', wholeNumber(1), 2)
    .option('--resume <dir>', 'go on from the newest whole checkpoint in this directory')
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

/** What a run begins with: where another was stopped, or that it was finished. */
export interface Opened { from: FoundCheckpoint | null; finished: RunRecord | null }

/** Proves that the directory can be written and reads the checkpoint to go on from, before anything takes time. */
export async function openRun({ out, resume, checkpointEvery, checkpointTokens }: Pick<TrainingFlags, 'out' | 'resume' | 'checkpointEvery' | 'checkpointTokens'>): Promise<Opened> {
  if (checkpointEvery !== undefined && checkpointTokens !== undefined) throw new UsageError('--checkpoint-every and --checkpoint-tokens both say when checkpoints are written: give one');
  await assertWritable(out);
  const finished = resume === undefined ? null : await readRecord(resume);
  return { finished, from: resume === undefined || finished ? null : await newestCheckpoint(resume, note) };
}

/** What a run writes with and shows itself by. */
export interface RunMeans {
  write: typeof writeFileAtomic;
  append(path: string, text: string): Promise<void>;
  writeDirectory: typeof writeDirectoryAtomic;
  view: TrainingView;
  say(line: string): void;
  print(text: string): void;
}

/** Signals that stop a run, and the exit codes that tell of it. */
const STOPS = { SIGINT: 130, SIGTERM: 143 } as const;

/**
 * Trains the jobs, logs, keeps checkpoints, saves the dictionaries in their folders and reports. Ctrl-C and SIGTERM leave a checkpoint and exit code 130 or 143. Errors of
 * files, numbers and the device name the checkpoint to go on from.
 */
export async function runTraining(gpu: Gpu, jobs: readonly SaeJob[], folders: readonly string[], settings: TrainOptions, flags: TrainingFlags & { resumed: Opened }, given: Partial<RunMeans> = {}): Promise<void> {
  const { out, resumed: { from, finished } } = flags;
  const means: RunMeans = { write: writeFileAtomic, append: appendLines, writeDirectory: writeDirectoryAtomic, view: given.view ?? tableView(settings.stream ? 'tokens' : 'prompts'), say: note, print: (text) => { process.stdout.write(text); }, ...given };
  const { stream: _stream, ...plain } = settings;
  if (finished) {
    checkSameRun(finished, runRecord(plain, jobs, folders, finished.steps, []), flags.resume!);
    printFigures({ finished: true, step: finished.steps, steps: finished.steps, final: finished.final }, { ...flags, out: flags.resume! }, means);
    means.say(`the run in ${flags.resume} is finished after ${finished.steps} steps: nothing is left to do`);
    return;
  }
  const memory = memoryNeeded(gpu, jobs, plain);
  const { view } = means;
  const metrics = join(out, METRICS);
  const checkpoints = new CheckpointFolder(out, flags.keepCheckpoints, from, means.write);
  const stop = new AbortController();
  const onSignal = (signal: keyof typeof STOPS): void => stop.abort(signal);
  for (const signal of Object.keys(STOPS)) process.once(signal, onSignal);
  const started = performance.now();
  let told = false;
  try {
    await startMetrics(metrics, from?.step ?? 0, means);
    // It told of a run that was here before.
    await rm(join(out, RECORD), { force: true });
    const result = await trainSaes(gpu, jobs, {
      ...settings, signal: stop.signal, checkpointEvery: stepsBetween(flags, settings), ...(from ? { resume: from.bytes } : {}),
      onLog: async (records) => {
        view.log(records);
        await means.append(metrics, records.map(logLine).join('')).catch((cause: NodeJS.ErrnoException) => { throw new FileError(`cannot write ${metrics}: ${describeFault(cause)}`, { cause }); });
      },
      onStep: (done, total) => {
        // Not before the data have proved good: what is wrong with them is told alone.
        if (!told) means.say(memory);
        told = true;
        view.step(done, total);
      },
      onCheckpoint: (bytes, step) => checkpoints.put(bytes, step),
      onSnapshot: (epoch, saes) => saveAll(saes, folders, join(out, 'snapshots', String(epoch)), means),
    });
    view.stop();
    if (result.checkpoint) {
      for (const sae of result.saes) sae.dispose();
      await checkpoints.put(result.checkpoint, result.step);
    } else {
      await saveAll(result.saes, folders, out, means);
      await means.write(join(out, RECORD), recordText(runRecord(plain, jobs, folders, result.steps, result.final)));
    }
    printFigures(result, flags, means);
    if (result.finished) means.say(`${result.saes.length} dictionaries after ${result.steps} steps in ${((performance.now() - started) / 1000).toFixed(1)} s: ${out}`);
    else {
      means.say(`stopped after step ${result.step} of ${result.steps}; go on with the same command and --resume ${out} (${checkpoints.last!.path})`);
      process.exitCode = STOPS[stop.signal.reason as keyof typeof STOPS];
    }
  } catch (cause) {
    throw withCheckpoint(cause, checkpoints, flags);
  } finally {
    view.stop();
    for (const signal of Object.keys(STOPS)) process.off(signal, onSignal);
  }
}

/** What the run will take on the device, in words. Throws LimitError, before anything is allocated, for more than the device is allowed. */
function memoryNeeded(gpu: Gpu, jobs: readonly SaeJob[], settings: TrainOptions): string {
  const { terms, total } = runMemory(jobs, checkSettings(settings), { ...gpu.limits, software: gpu.software });
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toLocaleString('en', { maximumFractionDigits: bytes < 1e7 ? 1 : 0 })} MB`;
  const named = terms.filter(({ bytes }) => bytes >= total / 50).sort((a, b) => b.bytes - a.bytes).map(({ name, bytes }) => `${name} ${megabytes(bytes)}`).join(', ');
  const told = `training takes ${megabytes(total)} on the device, beside the model: ${named}`;
  const left = gpu.memoryLimit - gpu.memory().live;
  if (total > left) throw new LimitError(`${told}; only ${megabytes(Math.max(0, left))} are allowed: use fewer features or dictionaries, a smaller batch, or fewer examples of a round`);
  return told;
}

/** Steps between checkpoints; tokens are brought to the nearest number of whole steps. */
function stepsBetween({ checkpointEvery, checkpointTokens }: Pick<TrainingFlags, 'checkpointEvery' | 'checkpointTokens'>, { batch }: TrainOptions): number {
  return checkpointTokens === undefined ? checkpointEvery ?? CHECKPOINT_STEPS : Math.max(1, Math.round(checkpointTokens / (batch ?? 1)));
}

/** The error with the last checkpoint that is whole in its line, where that helps. */
function withCheckpoint(error: unknown, { last }: CheckpointFolder, { out, resume }: Pick<TrainingFlags, 'out' | 'resume'>): unknown {
  const kind = [FileError, NumberError, DeviceLostError, GpuOutOfMemoryError].find((one) => error instanceof one);
  if (!kind) return error;
  const { message } = error as DiffractError;
  const where = last && last.path.startsWith(join(out, CHECKPOINTS)) ? out : resume;
  const more = last ? `the last checkpoint is whole and of step ${last.step}: ${last.path}${kind === NumberError ? '' : `; go on from it with --resume ${where}`}` : 'there is no checkpoint yet';
  return new kind(`${message}; ${more}`, { cause: error });
}

async function appendLines(path: string, text: string): Promise<void> {
  // On the disk before a checkpoint that counts on them.
  await appendFile(path, text, { flush: true });
}

/**
 * A new run starts with an empty file; one that goes on after `step` keeps what was logged up to it. A last line that was cut short, and what stands behind
 * one that is broken, go: a run that was killed, or whose disk was full, leaves such.
 */
async function startMetrics(path: string, step: number, { write, say }: Pick<RunMeans, 'write' | 'say'>): Promise<void> {
  const old = step > 0 ? await readFile(path, 'utf8').catch(() => '') : '';
  const lines = old.split('\n').slice(0, -1);
  const records = lines.map((line) => { try { return parseLogLine(line, path); } catch { return null; } });
  const broken = records.indexOf(null);
  if (broken >= 0) say(`${path}: line ${broken + 1} is broken; it and what follows are left out`);
  await write(path, lines.filter((_, i) => (broken < 0 || i < broken) && records[i]!.step <= step).map((line) => `${line}\n`).join(''));
}

/** Writes each dictionary into its folder and disposes it. */
async function saveAll(saes: readonly Sae[], folders: readonly string[], directory: string, { writeDirectory }: Pick<RunMeans, 'writeDirectory'>): Promise<void> {
  try {
    for (const [i, sae] of saes.entries()) await writeDirectory(join(directory, folders[i]!), await saeFiles(sae));
  } finally {
    for (const sae of saes) sae.dispose();
  }
}

function printFigures({ finished, step, steps, final }: Pick<TrainResult, 'finished' | 'step' | 'steps' | 'final'>, { json, out }: Pick<TrainingFlags, 'json' | 'out'>, { print }: Pick<RunMeans, 'print'>): void {
  if (json) return print(`${JSON.stringify({ finished, step, steps, out, dictionaries: final }, null, 1)}\n`);
  const rows = final.map((r) => `${r.name.padEnd(32)} ${r.mse.toFixed(3).padStart(9)} ${r.l0.toFixed(2).padStart(8)} ${r.explained_variance.toFixed(4).padStart(10)} ${(100 * r.dead_fraction).toFixed(0).padStart(5)}%`);
  print(`${'dictionary'.padEnd(32)} ${'mse'.padStart(9)} ${'L0'.padStart(8)} ${'explained'.padStart(10)} ${'dead'.padStart(6)}\n${rows.join('\n')}\n`);
}
