/** `train`: sparse autoencoders on a model's activations over task prompts, one per site, variant and sparsity, all in one run. */
import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { FileError, UsageError } from '../errors.ts';
import { openSource, type FileSource } from '../files/index.ts';
import { assertWritable, writeDirectoryAtomic, writeFileAtomic } from '../files/node-write.ts';
import { saeFiles, type Sae } from '../dictionary/index.ts';
import type { Gpt2, WeightType } from '../model/index.ts';
import { checkSite, collectActivations, distinctSites, formatSite, grammarFor, IoiTask, parseSite, trainedOn, type SiteAddress } from '../task/index.ts';
import type { Tensor } from '../tensor/index.ts';
import {
  checkVariant, dictionaryFolder, logLine, readCheckpoint, RELEASED_TRAINING, releasedTraining, trainDefaults, trainSaes, trainVariants, variantDefaults, variantPolicies,
  type LogRecord, type SaeJob, type TrainResult, type TrainVariant,
} from '../training/index.ts';
import { tuningOption, weightsOption } from './device.ts';
import { loadModel, modelOption, openModelSource, revisionOption } from './model.ts';
import { list, note, printJson, progress, realNumber, wholeNumber } from './terminal.ts';

interface Options {
  model: string; revision?: string; sites: string[]; variants: string[]; l1: string[]; k: string[]; snapshots: string[]; asReleased: string[]; out: string;
  features: number; epochs: number; batch: number; lr?: number; seed: number; prompts: number; lexicon?: string; resume?: string; checkpointEvery: number; weights: WeightType; tuning?: string; json?: boolean;
}

const CHECKPOINT = 'checkpoint.safetensors';
const METRICS = 'metrics.jsonl';

export function register(program: Command): void {
  program.command('train')
    .description('train sparse autoencoders, one per site, variant and sparsity, all at once; saved in SAELens\' layout')
    .addOption(modelOption())
    .addOption(revisionOption())
    .requiredOption('--sites <list>', 'sites, e.g. z@L0H3@end,v@L0H3@s2', list)
    .requiredOption('--out <dir>', 'directory for dictionaries, metrics.jsonl and the checkpoint')
    .option('--variants <list>', `kinds of dictionaries, of ${trainVariants.join(', ')}`, list, ['vanilla'])
    .option('--l1 <list>', 'sparsity weights λ, for activations scaled to a mean length of √width; all variants but topk and batchtopk', list, ['0.5', '1', '2.5'])
    .option('--k <list>', 'numbers of active features; topk and batchtopk', list, ['2', '4', '8'])
    .option('--snapshots <list>', 'epochs after which the dictionaries are saved as they are then', list, [])
    .option('--as-released <list>', `do as the paper's released code does: ${Object.keys(RELEASED_TRAINING).join(', ')}`, list, [])
    .option('--features <n>', 'features of each dictionary', wholeNumber(1), trainDefaults.features)
    .option('--epochs <n>', 'passes over the activations', wholeNumber(1), trainDefaults.epochs)
    .option('--batch <n>', 'examples per step', wholeNumber(1), trainDefaults.batch)
    .option('--lr <rate>', 'learning rate; by default each variant has its own', realNumber(0))
    .option('--prompts <n>', 'prompts to take activations from', wholeNumber(2), 3000)
    .option('--seed <n>', 'seed of prompts, initial weights and the order of the data', wholeNumber(0), 0)
    .option('--lexicon <dir>', 'word lists for the prompts; by default the model\'s own ioi.json')
    .option('--checkpoint-every <steps>', 'steps between checkpoints', wholeNumber(1), 500)
    .option('--resume <dir>', 'go on from the checkpoint in this directory')
    .addOption(weightsOption())
    .addOption(tuningOption())
    .option('--json', 'print the final figures as JSON')
    .addHelpText('after', '\nExample:\n  diffract train --model models/ioi-mini --sites z@L0H3@end,z@L0H2@end --variants gated,topk --l1 0.5,1,2.5 --k 3,6 --out saes\n'
      + '\nCtrl-C stops before the next step and leaves a checkpoint; the same command with --resume goes on from it.')
    .action(train);
}

async function train(options: Options): Promise<void> {
  const sites = distinctSites(options.sites.map((text) => parseSite(text)));
  if (sites.length === 0) throw new UsageError('--sites names no site');
  const kinds = kindsOf(options);
  const released = releasedTraining(options.asReleased);
  const snapshotEpochs = options.snapshots.map((text) => wholeOf(text, '--snapshots', 1));
  await assertWritable(options.out);
  const resume = options.resume === undefined ? undefined : await readCheckpointFile(options.resume);

  const source = await openModelSource(options);
  const model = await loadModel(options, { source });
  const { gpu } = model;
  for (const site of sites) checkSite(site, model.config);
  const activations = await activationsOf(model, source, sites, options);
  // What follows needs the activations only.
  model.dispose();
  const jobs = sites.flatMap((site, i) => kinds.map((kind) => jobOf(model, site, kind, activations[i]!, options)));
  const folders = sites.flatMap((site) => kinds.map(({ variant, value }) => dictionaryFolder(formatSite(site), variant, value)));

  const metrics = join(options.out, METRICS);
  await startMetrics(metrics, resume);
  const checkpoint = join(options.out, CHECKPOINT);
  const stop = new AbortController();
  const onInterrupt = (): void => stop.abort();
  process.once('SIGINT', onInterrupt);
  const bar = progress('training SAEs');
  let latest = '';
  const started = performance.now();
  try {
    const result = await trainSaes(gpu, jobs, {
      features: options.features, epochs: options.epochs, batch: options.batch, seed: options.seed, ...released,
      logEvery: Math.max(1, Math.round(options.epochs / 100)), signal: stop.signal, checkpointEvery: options.checkpointEvery,
      ...(resume ? { resume } : {}),
      onLog: async (records) => {
        latest = summary(records);
        await appendFile(metrics, records.map(logLine).join('')).catch((cause: Error) => { throw new FileError(`cannot write ${metrics}: ${cause.message}`, { cause }); });
      },
      onStep: (done, total) => bar.update(done, total, latest),
      onCheckpoint: (bytes) => writeFileAtomic(checkpoint, bytes),
      snapshotEpochs,
      onSnapshot: (epoch, saes) => saveAll(saes, folders, join(options.out, 'snapshots', String(epoch))),
    });
    bar.stop();
    if (result.checkpoint) await writeFileAtomic(checkpoint, result.checkpoint);
    else await saveAll(result.saes, folders, options.out);
    report(result, options, checkpoint, (performance.now() - started) / 1000);
    if (result.checkpoint) for (const sae of result.saes) sae.dispose();
  } finally {
    bar.stop();
    process.off('SIGINT', onInterrupt);
    for (const tensor of activations) tensor.dispose();
  }
}

/** A variant and its λ or K. */
interface Kind { variant: TrainVariant; value: number }

function kindsOf(options: Options): Kind[] {
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

function wholeOf(text: string, flag: string, least: number, most = Infinity): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least || value > most) throw new UsageError(`${flag}: "${text}" is not a whole number ${most === Infinity ? `of at least ${least}` : `from ${least} to ${most}`}`);
  return value;
}

function jobOf(model: Gpt2, site: SiteAddress, { variant, value }: Kind, data: Tensor, options: Options): SaeJob {
  const byK = variantPolicies[variant].sparsity === 'k';
  const learningRate = options.lr ?? variantDefaults[variant].learningRate;
  return {
    name: `${variant} ${formatSite(site)} ${byK ? 'k' : 'λ'}=${value}`, variant, data, ...(byK ? { k: value } : { l1: value }), seed: options.seed, learningRate,
    metadata: { ...metadataOf(model, site, options), learning_rate: learningRate },
  };
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

async function activationsOf(model: Gpt2, source: FileSource, sites: readonly SiteAddress[], options: Options): Promise<Tensor[]> {
  if (!model.tokenizer) throw new UsageError(`${options.model} has no tokenizer.json, which making prompts needs`);
  const grammar = await grammarFor(source, options.lexicon === undefined ? undefined : openSource(options.lexicon));
  const prompts = IoiTask.create(model.tokenizer, grammar).sample({ count: options.prompts, seed: options.seed });
  const bar = progress('collecting activations');
  try {
    return await collectActivations(model, prompts, sites, { onProgress: (done) => bar.update(done, prompts.count) });
  } finally {
    bar.stop();
  }
}

function metadataOf(model: Gpt2, site: SiteAddress, options: Options): Record<string, unknown> {
  return {
    ...trainedOn(model, site), kind: site.kind, layer: site.layer, head: site.head,
    dataset_path: 'ioi', training_prompts: options.prompts, epochs: options.epochs, training_batch: options.batch,
  };
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

function report(result: TrainResult, options: Options, checkpoint: string, seconds: number): void {
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
