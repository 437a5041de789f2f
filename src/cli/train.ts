/** `train`: sparse autoencoders, one per site, variant and sparsity, all in one run: on a task's prompts, or on text. */
import { Option, type Command } from 'commander';
import { UsageError } from '../errors.ts';
import { openSource, type FileSource } from '../files/index.ts';
import type { Gpt2, WeightType } from '../model/index.ts';
import { checkSite, collectActivations, distinctSites, formatSite, grammarFor, IoiTask, parseSite, trainedOn, type SiteAddress } from '../task/index.ts';
import type { Tensor } from '../tensor/index.ts';
import { dictionaryFolder, releasedTraining, trainDefaults, variantDefaults } from '../training/index.ts';
import { tuningOption, weightsOption } from './device.ts';
import { loadModel, modelOption, openModelSource, revisionOption } from './model.ts';
import { list, progress, wholeNumber } from './terminal.ts';
import { TEXT_SOURCE_FLAGS, textSourceOptions } from './text-source.ts';
import { textDefaults, trainOnActivations, trainOnText, type TextFlags } from './train-text.ts';
import { jobOf, kindsOf, openRun, runTraining, trainingOptions, wholeOf, type TrainingFlags } from './training-run.ts';
import { scheduleSettings } from './training-schedule.ts';

interface Flags extends TrainingFlags, TextFlags {
  model?: string; revision?: string; sites?: string[]; features?: number; dSae?: number; epochs?: number; batch?: number; prompts?: number; lexicon?: string; weights: WeightType; tuning?: string;
}

/** The flags of training on a task, with their defaults. */
type Options = Omit<Flags, TaskNeeds> & Required<Pick<Flags, TaskNeeds>>;
type TaskNeeds = 'model' | 'sites' | 'features' | 'epochs' | 'batch' | 'prompts';

const TASK_ONLY = ['sites', 'epochs', 'prompts', 'lexicon'] as const;
const TEXT_ONLY = ['site', 'tokens', 'round', 'bufferMib', 'bufferType', 'inputs', 'centre'] as const;

export function register(program: Command): void {
  trainingOptions(textSourceOptions(program.command('train')
    .description("Train sparse autoencoders, one per site, variant and sparsity, all at once; saved in SAELens' layout.")
    .addOption(modelOption({ mandatory: false }))
    .addOption(revisionOption())
    .option('--sites <list>', 'sites of the indirect-object task, e.g. z@L0H3@end,v@L0H3@s2', list)
    .option('--features <n>', `features of each dictionary (default: ${trainDefaults.features}; on text 8 times the width)`, wholeNumber(1))
    .option('--d-sae <n>', 'the same under the name that other tools have for it', wholeNumber(1))
    .option('--batch <n>', `examples per step (default: ${trainDefaults.batch}; on text ${textDefaults.batch})`, wholeNumber(1))
    .option('--epochs <n>', `passes over the task's activations (default: ${trainDefaults.epochs})`, wholeNumber(1))
    .option('--prompts <n>', 'prompts of the task to take activations from (default: 3000)', wholeNumber(2))
    .option('--lexicon <dir>', "word lists for the prompts; by default the model's own ioi.json")
    .option('--activations <where>', 'train on activations that were written by the command of that name, in place of --text')
    .option('--site <hooks>', 'with --text: hooks, e.g. blocks.2.hook_resid_post, or one head of one as blocks.0.attn.hook_z:3', list)
    .option('--tokens <n>', `with --text: tokens to train on (default: ${textDefaults.tokens})`, wholeNumber(1))
    .option('--round <n>', `with --text: tokens whose activations are kept and shuffled together, and after which figures are logged (default: ${textDefaults.round})`, wholeNumber(1))
    .option('--buffer-mib <n>', 'with --text, in place of --round: as many tokens as so much memory of the device holds', wholeNumber(1))
    .addOption(new Option('--buffer-type <type>', 'with --text: how these activations are kept; f16 takes half the memory').choices(['f32', 'f16']))
    .addOption(new Option('--inputs <how>', 'with --text: what activations are brought to before they are learnt from (default: root-width, a mean length of √width)').choices(['root-width', 'unit', 'mean-square', 'none', 'layer_norm', 'constant_norm_rescale']))
    .option('--centre', 'with --text: take the mean activation away first')))
    .addOption(weightsOption())
    .addOption(tuningOption())
    .addHelpText('after', `
Examples:
  diffract train --model models/ioi-mini --sites z@L0H3@end,z@L0H2@end --variants gated,topk --l1 0.5,1,2.5 --k 3,6 --out saes
  diffract train --model gpt2 --text shards/ --site blocks.8.hook_resid_pre --d-sae 24576 --variants topk --k 32 --tokens 100000000 --out res8

Ctrl-C, or SIGTERM, stops before the next step and leaves a checkpoint; the same command with --resume goes on from it, and ends with the same bytes.`)
    .action(train);
}

async function train(given: Flags): Promise<void> {
  if (given.features !== undefined && given.dSae !== undefined) throw new UsageError('--features and --d-sae are the same: give one');
  const flags = { ...given, features: given.features ?? given.dSae };
  const { model, text, activations } = flags;
  const flagOf = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  const namedOf = (names: readonly (keyof Flags)[]): keyof Flags | undefined => names.find((name) => flags[name] !== undefined);
  if (text && activations !== undefined) throw new UsageError('--text and --activations are two sources: give one');
  const stray = text || activations !== undefined ? namedOf(TASK_ONLY) : namedOf([...TEXT_ONLY, ...TEXT_SOURCE_FLAGS]);
  if (stray) throw new UsageError(`${flagOf(stray)} ${text || activations !== undefined ? 'is for the task, and goes not with' : 'goes with'} --text or --activations`);
  const packed = activations === undefined ? undefined : namedOf(TEXT_SOURCE_FLAGS);
  if (packed) throw new UsageError(`${flagOf(packed)} goes with --text: activations that are there were packed when they were written`);
  if (activations !== undefined) return trainOnActivations(flags);
  if (model === undefined) throw new UsageError("required option '--model <where>' not specified");
  if (text) return trainOnText({ ...flags, model });
  if (!flags.sites) throw new UsageError("give --sites of the task, or --text and --site");
  return trainOnTask({ ...flags, model, sites: flags.sites, features: flags.features ?? trainDefaults.features, epochs: flags.epochs ?? trainDefaults.epochs, batch: flags.batch ?? trainDefaults.batch, prompts: flags.prompts ?? 3000 });
}

async function trainOnTask(options: Options): Promise<void> {
  const sites = distinctSites(options.sites.map((text) => parseSite(text)));
  if (sites.length === 0) throw new UsageError('--sites names no site');
  const kinds = kindsOf(options);
  const released = releasedTraining(options.asReleased);
  const snapshotEpochs = options.snapshots.map((text) => wholeOf(text, '--snapshots', 1));
  const resumed = await openRun(options);

  const source = await openModelSource(options);
  const model = await loadModel(options, { source });
  const { gpu } = model;
  for (const site of sites) checkSite(site, model.config);
  const activations = await activationsOf(model, source, sites, options);
  // What follows needs the activations only.
  model.dispose();
  const jobs = sites.flatMap((site, i) => kinds.map((kind) => (
    jobOf(kind, formatSite(site), activations[i]!, options.seed, options.lr ?? variantDefaults[kind.variant].learningRate, metadataOf(model, site, options)))));
  const folders = sites.flatMap((site) => kinds.map(({ variant, value }) => dictionaryFolder(formatSite(site), variant, value)));

  try {
    await runTraining(gpu, jobs, folders, {
      features: options.features, epochs: options.epochs, batch: options.batch, seed: options.seed, ...released, ...scheduleSettings(options), logEvery: Math.max(1, Math.round(options.epochs / 100)), snapshotEpochs,
    }, { ...options, resumed });
  } finally {
    for (const tensor of activations) tensor.dispose();
  }
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
