/** `train`: sparse autoencoders on a model's activations over task prompts, one per site and λ, all in one batch. */
import { appendFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { FileError, UsageError } from '../errors.ts';
import { openSource } from '../files/index.ts';
import { assertWritable, writeDirectoryAtomic, writeFileAtomic } from '../files/node-write.ts';
import { saeFiles } from '../dictionary/index.ts';
import { Gpt2, type WeightType } from '../model/index.ts';
import { checkSite, collectActivations, formatSite, grammarFor, hookOf, IoiTask, parseSite, type SiteAddress } from '../task/index.ts';
import type { Tensor } from '../tensor/index.ts';
import { logLine, readCheckpoint, trainDefaults, trainSaes, type LogRecord, type SaeJob, type TrainResult } from '../training/index.ts';
import { openDevice, tuningOption, weightsOption } from './device.ts';
import { list, note, printJson, progress, realNumber, wholeNumber } from './terminal.ts';

interface Options {
  model: string; sites: string[]; l1: string[]; out: string; features: number; epochs: number; batch: number; lr: number; seed: number; prompts: number;
  lexicon?: string; resume?: string; checkpointEvery: number; weights: WeightType; tuning?: string; json?: boolean;
}

const CHECKPOINT = 'checkpoint.safetensors';
const METRICS = 'metrics.jsonl';

export function register(program: Command): void {
  program.command('train')
    .description('train sparse autoencoders, one per site and sparsity, all at once; saved in SAELens\' layout')
    .requiredOption('--model <where>', 'model directory or URL')
    .requiredOption('--sites <list>', 'sites, e.g. z@L0H3@end,v@L0H3@s2', list)
    .requiredOption('--out <dir>', 'directory for dictionaries, metrics.jsonl and the checkpoint')
    .option('--l1 <list>', 'sparsity weights λ, for activations scaled to a mean length of √width', list, ['0.5', '1', '2.5'])
    .option('--features <n>', 'features of each dictionary', wholeNumber(1), trainDefaults.features)
    .option('--epochs <n>', 'passes over the activations', wholeNumber(1), trainDefaults.epochs)
    .option('--batch <n>', 'examples per step', wholeNumber(1), trainDefaults.batch)
    .option('--lr <rate>', 'learning rate', realNumber(0), trainDefaults.learningRate)
    .option('--prompts <n>', 'prompts to take activations from', wholeNumber(2), 3000)
    .option('--seed <n>', 'seed of prompts, initial weights and the order of the data', wholeNumber(0), 0)
    .option('--lexicon <dir>', 'word lists for the prompts; by default the model\'s own ioi.json')
    .option('--checkpoint-every <steps>', 'steps between checkpoints', wholeNumber(1), 500)
    .option('--resume <dir>', 'go on from the checkpoint in this directory')
    .addOption(weightsOption())
    .addOption(tuningOption())
    .option('--json', 'print the final figures as JSON')
    .addHelpText('after', '\nExample:\n  diffract train --model models/ioi-mini --sites z@L0H3@end,z@L0H2@end --l1 0.5,1,2.5 --out saes\n'
      + '\nCtrl-C stops before the next step and leaves a checkpoint; the same command with --resume goes on from it.')
    .action(train);
}

async function train(options: Options): Promise<void> {
  const sites = [...new Map(options.sites.map((text) => parseSite(text)).map((site) => [formatSite(site), site])).values()];
  if (sites.length === 0) throw new UsageError('--sites names no site');
  const lambdas = [...new Set(options.l1.map(lambdaOf))];
  if (lambdas.length === 0) throw new UsageError('--l1 names no sparsity weight');
  await assertWritable(options.out);
  const resume = options.resume === undefined ? undefined : await readCheckpointFile(options.resume);

  const gpu = await openDevice(options.tuning);
  const loading = progress('loading model');
  const model = await Gpt2.load(gpu, openSource(options.model), { weights: options.weights, onProgress: (done: number, total: number) => loading.update(done, total) }).finally(() => loading.stop());
  for (const site of sites) checkSite(site, model.config);
  const activations = await activationsOf(model, sites, options);
  // What follows needs the activations only.
  model.dispose();
  const jobs = sites.flatMap((site, i) => lambdas.map((l1): SaeJob => ({
    name: `vanilla ${formatSite(site)} λ=${l1}`, data: activations[i]!, l1, seed: options.seed, metadata: metadataOf(model, site, options),
  })));

  const metrics = join(options.out, METRICS);
  await startMetrics(metrics, resume);
  const checkpoint = join(options.out, CHECKPOINT);
  const stop = new AbortController();
  const onInterrupt = (): void => stop.abort();
  process.once('SIGINT', onInterrupt);
  const bar = progress('training SAEs');
  let latest = '';
  let written = Promise.resolve();
  const started = performance.now();
  try {
    const result = await trainSaes(gpu, jobs, {
      features: options.features, epochs: options.epochs, batch: options.batch, learningRate: options.lr, seed: options.seed,
      logEvery: Math.max(1, Math.round(options.epochs / 100)), signal: stop.signal, checkpointEvery: options.checkpointEvery,
      ...(resume ? { resume } : {}),
      onLog: (records) => {
        latest = summary(records);
        written = written.then(() => appendFile(metrics, records.map(logLine).join('')));
        written.catch(() => {});
      },
      onStep: (done, total) => bar.update(done, total, latest),
      onCheckpoint: (bytes) => writeFileAtomic(checkpoint, bytes),
    });
    bar.stop();
    await written.catch((cause: Error) => { throw new FileError(`cannot write ${metrics}: ${cause.message}`, { cause }); });
    await save(result, options.out, sites, lambdas, checkpoint);
    report(result, options, checkpoint, (performance.now() - started) / 1000);
    for (const sae of result.saes) sae.dispose();
  } finally {
    bar.stop();
    process.off('SIGINT', onInterrupt);
    for (const tensor of activations) tensor.dispose();
  }
}

function lambdaOf(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) throw new UsageError(`--l1: "${text}" is not a number of at least 0`);
  return value;
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

async function activationsOf(model: Gpt2, sites: readonly SiteAddress[], options: Options): Promise<Tensor[]> {
  if (!model.tokenizer) throw new UsageError(`${options.model} has no tokenizer.json, which making prompts needs`);
  const grammar = await grammarFor(openSource(options.model), options.lexicon === undefined ? undefined : openSource(options.lexicon));
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
    model_name: model.name, model_hash: model.hash, hook_name: hookOf(site), hook_head_index: site.head, site: formatSite(site),
    kind: site.kind, layer: site.layer, head: site.head, position: site.position, weight_processing: model.processing, weights: model.weightType,
    dataset_path: 'ioi', training_prompts: options.prompts, learning_rate: options.lr, epochs: options.epochs, training_batch: options.batch,
  };
}

async function save(result: TrainResult, out: string, sites: readonly SiteAddress[], lambdas: readonly number[], checkpoint: string): Promise<void> {
  if (result.checkpoint) {
    await writeFileAtomic(checkpoint, result.checkpoint);
    return;
  }
  for (const [i, sae] of result.saes.entries()) {
    const site = formatSite(sites[Math.floor(i / lambdas.length)]!);
    await writeDirectoryAtomic(join(out, `${site}_l1_${lambdas[i % lambdas.length]}`), await saeFiles(sae));
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
