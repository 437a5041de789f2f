/** `train --text`: sparse autoencoders on a model's activations on text, at any hooks. */
import { UsageError } from '../errors.ts';
import { openSource } from '../files/index.ts';
import type { Gpu } from '../gpu/index.ts';
import type { WeightType } from '../model/index.ts';
import { modelMetadata, promptsPerRun } from '../task/index.ts';
import {
  cachedName, CachedActivations, checkCacheModel, dictionaryFolder, readCacheManifest, releasedTraining, TextActivations, type ActivationStream, type InputScale, type StreamedExamples, type StreamSite, type TrainSettings,
} from '../training/index.ts';
import { openDevice } from './device.ts';
import { loadModel } from './model.ts';
import { note, progress, type Progress } from './terminal.ts';
import { textFiles, TextSource, type TextSourceFlags } from './text-source.ts';
import { jobOf, kindsOf, openRun, runTraining, wholeOf, type TrainingFlags } from './training-run.ts';
import { scheduleSettings } from './training-schedule.ts';

export interface TextFlags extends TextSourceFlags {
  activations?: string; site?: string[]; tokens?: number; round?: number; bufferMib?: number; bufferType?: TrainSettings['storage']; inputs?: InputScale; centre?: boolean;
}

type Options = TextFlags & TrainingFlags & { model: string; revision?: string; features?: number; batch?: number; weights: WeightType; tuning?: string };

/** The learning rate is one for many steps on much data; on a task's few examples rates are higher. */
export const textDefaults = { batch: 1024, tokens: 1_000_000, round: 65_536, learningRate: 1e-3, factor: 8 } as const;

export async function trainOnText(options: Options): Promise<void> {
  const sites = sitesOf(options.site);
  const files = await textFiles(options.text!);
  const plan = await planOf(options);
  const model = await loadModel(options);
  const text = new TextSource(model, files, options, options.seed);
  // Later rounds are read beneath the bar of training.
  let bar: Progress | null = progress('reading text');
  try {
    const examples = roundOf(options, sites.map(({ hook, head }) => model.hooks.columns(model.hooks.get(hook), head).width), plan.tokens);
    const stream = new TextActivations(model, {
      sites, examples, special: text.special, batch: promptsPerRun(model, text.pack.context), open: (state, pass) => text.open('train', state, pass),
      onProgress: (done, total) => {
        bar?.update(done, total);
        if (done < total) return;
        bar?.stop();
        bar = null;
      },
    });
    const metadata = { ...modelMetadata(model), ...text.metadata(), training_tokens: plan.tokens };
    const started = performance.now();
    await learn(model.gpu, stream, sites, metadata, plan, options);
    note(speed(stream, (performance.now() - started) / 1000));
    if (stream.passes > 1) note(`the text was read ${stream.passes} times`);
  } finally {
    bar?.stop();
    // It may be why there was too little text.
    text.tell();
    model.dispose();
  }
}

/** `train --activations`: the same from a folder that `activations` wrote. */
export async function trainOnActivations(options: Omit<Options, 'model'> & { model?: string }): Promise<void> {
  const sites = sitesOf(options.site);
  const source = openSource(options.activations!);
  const manifest = await readCacheManifest(source);
  const plan = await planOf(options);
  const gpu = await openDevice(options.tuning);
  if (options.model !== undefined) {
    const model = await loadModel({ ...options, model: options.model });
    try {
      checkCacheModel(manifest, model);
    } finally {
      model.dispose();
    }
  }
  const widths = sites.map((site) => manifest.sites.find(({ tensor }) => tensor === cachedName(site))?.d_in ?? 1);
  const examples = Math.min(roundOf(options, widths, plan.tokens), manifest.tokens);
  const stream = new CachedActivations(gpu, source, manifest, { sites, examples });
  await learn(gpu, stream, sites, { ...manifest.model, ...manifest.text, training_tokens: plan.tokens }, plan, options);
}

/** What is told by flags alone, checked before anything takes time. */
interface Plan { tokens: number; snapshotEpochs: number[]; settings: Partial<TrainSettings>; resumed: Awaited<ReturnType<typeof openRun>> }

async function planOf(options: Omit<Options, 'model'>): Promise<Plan> {
  const { tokens = textDefaults.tokens, inputs, centre, bufferType: storage = 'f32', seed } = options;
  const settings: Partial<TrainSettings> = {
    seed, storage, encoderStart: 'balanced', ...releasedTraining(options.asReleased), ...scheduleSettings(options), ...(inputs === undefined ? {} : { inputs }), ...(centre === undefined ? {} : { centre }),
  };
  return { tokens, settings, snapshotEpochs: options.snapshots.map((text) => wholeOf(text, '--snapshots', 1)), resumed: await openRun(options) };
}

/** Trains every kind at every site on what the stream brings. */
async function learn(
  gpu: Gpu, stream: ActivationStream & { data: readonly StreamedExamples[] }, sites: readonly StreamSite[], metadata: Readonly<Record<string, unknown>>, { tokens, snapshotEpochs, settings, resumed }: Plan, options: Omit<Options, 'model'>,
): Promise<void> {
  const { data } = stream;
  const examples = data[0]!.shape[0];
  const features = options.features ?? textDefaults.factor * Math.max(...data.map(({ shape }) => shape[1]));
  const kinds = kindsOf({ ...options, features });
  const jobs = sites.flatMap((site, i) => kinds.map((kind) => jobOf(kind, cachedName(site), data[i]!, options.seed, options.lr ?? textDefaults.learningRate, {
    ...metadata, hook_name: site.hook, ...(site.head === undefined ? {} : { hook_head_index: site.head }),
  })));
  const folders = sites.flatMap((site) => kinds.map(({ variant, value }) => dictionaryFolder(cachedName(site), variant, value)));
  const batch = Math.min(options.batch ?? textDefaults.batch, examples);
  await runTraining(gpu, jobs, folders, { features, epochs: Math.ceil(tokens / examples), batch, ...settings, snapshotEpochs, stream }, { ...options, resumed });
}

/** How fast it went, and where the time went. */
function speed({ tokens, seconds }: TextActivations, all: number): string {
  const share = (part: number): string => `${(100 * part / all).toFixed(part / all < 0.1 ? 1 : 0)} %`;
  return `${Math.round(tokens.counted / all).toLocaleString('en')} tokens a second; ${share(seconds.model)} of the time ran the model, ${share(seconds.text)} waited for text`;
}

/** Each as HOOK or HOOK:HEAD. */
export function sitesOf(texts: readonly string[] = []): StreamSite[] {
  if (texts.length === 0) throw new UsageError('--site is needed: hooks, such as blocks.2.hook_resid_post, or one head of one as blocks.0.attn.hook_z:3');
  return texts.map((text) => {
    const match = /^(.+?)(?::(\d+))?$/.exec(text)!;
    return { hook: match[1]!, ...(match[2] === undefined ? {} : { head: Number(match[2]) }) };
  });
}

/** Examples of a round: as many as asked for, or as the memory that is given holds. Throws UsageError for both, and for too little memory. */
function roundOf({ round, bufferMib, bufferType }: TextFlags, widths: readonly number[], tokens: number): number {
  if (bufferMib === undefined) return Math.min(round ?? textDefaults.round, tokens);
  if (round !== undefined) throw new UsageError('--round and --buffer-mib both say how many tokens are shuffled together: give one');
  const each = widths.reduce((sum, width) => sum + Math.ceil(width / 4) * 4, 0) * (bufferType === 'f16' ? 2 : 4);
  const examples = Math.floor((bufferMib * 2 ** 20) / each);
  if (examples < 1) throw new UsageError(`--buffer-mib ${bufferMib}: activations of one token take ${each} bytes`);
  return Math.min(examples, tokens);
}
