/** `train --text`: sparse autoencoders on a model's activations on text, at any hooks. */
import { UsageError } from '../errors.ts';
import type { Gpt2, WeightType } from '../model/index.ts';
import { modelMetadata, promptsPerRun } from '../task/index.ts';
import { dictionaryFolder, releasedTraining, TextActivations, type InputScale, type StreamSite, type TrainSettings } from '../training/index.ts';
import { loadModel } from './model.ts';
import { note, progress, type Progress } from './terminal.ts';
import { textFiles, TextSource, type TextSourceFlags } from './text-source.ts';
import { jobOf, kindsOf, openRun, runTraining, wholeOf, type TrainingFlags } from './training-run.ts';
import { scheduleSettings } from './training-schedule.ts';

export interface TextFlags extends TextSourceFlags {
  site?: string[]; tokens?: number; round?: number; bufferMib?: number; bufferType?: TrainSettings['storage']; inputs?: InputScale; centre?: boolean;
}

type Options = TextFlags & TrainingFlags & { model: string; revision?: string; features?: number; batch?: number; weights: WeightType; tuning?: string };

/** The learning rate is one for many steps on much data; on a task's few examples rates are higher. */
export const textDefaults = { batch: 1024, tokens: 1_000_000, round: 65_536, learningRate: 1e-3, factor: 8 } as const;

export async function trainOnText(options: Options): Promise<void> {
  const sites = (options.site ?? []).map(siteOf);
  if (sites.length === 0) throw new UsageError('--text needs --site: the hooks to train on, such as blocks.2.hook_resid_post');
  const files = await textFiles(options.text!);
  const released = releasedTraining(options.asReleased);
  const snapshotEpochs = options.snapshots.map((text) => wholeOf(text, '--snapshots', 1));
  const resumed = await openRun(options);
  const model = await loadModel(options);
  const { tokens = textDefaults.tokens, batch = textDefaults.batch } = options;
  const text = new TextSource(model, files, options, options.seed);
  const storage = options.bufferType ?? 'f32';
  // Later rounds are read beneath the bar of training.
  let bar: Progress | null = progress('reading text');
  let stream: TextActivations | null = null;
  try {
    const widths = sites.map(({ hook, head }) => model.hooks.columns(model.hooks.get(hook), head).width);
    const examples = Math.min(roundOf(options, widths, storage), tokens);
    stream = new TextActivations(model, {
      sites, examples, special: text.special, batch: promptsPerRun(model, text.pack.context), open: (state, pass) => text.open('train', state, pass),
      onProgress: (done, total) => {
        bar?.update(done, total);
        if (done < total) return;
        bar?.stop();
        bar = null;
      },
    });
    const features = options.features ?? textDefaults.factor * Math.max(...stream.data.map(({ shape }) => shape[1]!));
    const kinds = kindsOf({ ...options, features });
    const jobs = sites.flatMap((site, i) => kinds.map((kind) => (
      jobOf(kind, nameOf(site), stream!.data[i]!, options.seed, options.lr ?? textDefaults.learningRate, metadataOf(model, site, text, tokens)))));
    const folders = sites.flatMap((site) => kinds.map(({ variant, value }) => dictionaryFolder(nameOf(site), variant, value)));
    await runTraining(model.gpu, jobs, folders, { features, epochs: Math.ceil(tokens / examples), batch: Math.min(batch, examples), seed: options.seed, ...released, ...scheduleSettings(options), ...inputSettings(options), storage, snapshotEpochs, stream }, { ...options, resumed });
    if (stream.passes > 1) note(`the text was read ${stream.passes} times`);
    text.tell();
  } finally {
    bar?.stop();
    model.dispose();
  }
}

/** HOOK or HOOK:HEAD. */
function siteOf(text: string): StreamSite {
  const match = /^(.+?)(?::(\d+))?$/.exec(text)!;
  return { hook: match[1]!, ...(match[2] === undefined ? {} : { head: Number(match[2]) }) };
}

function nameOf({ hook, head }: StreamSite): string {
  return head === undefined ? hook : `${hook}.${head}`;
}

/** Examples of a round: as many as asked for, or as the memory that is given holds. Throws UsageError for both, and for too little memory. */
function roundOf({ round, bufferMib }: TextFlags, widths: readonly number[], storage: TrainSettings['storage']): number {
  if (bufferMib === undefined) return round ?? textDefaults.round;
  if (round !== undefined) throw new UsageError('--round and --buffer-mib both say how many tokens are shuffled together: give one');
  const each = widths.reduce((sum, width) => sum + Math.ceil(width / 4) * 4, 0) * (storage === 'f16' ? 2 : 4);
  const examples = Math.floor((bufferMib * 2 ** 20) / each);
  if (examples < 1) throw new UsageError(`--buffer-mib ${bufferMib}: activations of one token take ${each} bytes`);
  return examples;
}

/** The settings of inputs that the flags ask for, and no others. */
function inputSettings({ inputs, centre }: TextFlags): Partial<TrainSettings> {
  return { ...(inputs === undefined ? {} : { inputs }), ...(centre === undefined ? {} : { centre }) };
}

/** What cfg.json says of training at a site on text. */
function metadataOf(model: Gpt2, { hook, head }: StreamSite, text: TextSource, tokens: number): Record<string, unknown> {
  return { ...modelMetadata(model), hook_name: hook, ...(head === undefined ? {} : { hook_head_index: head }), ...text.metadata(), training_tokens: tokens };
}
