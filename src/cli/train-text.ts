/** `train --text`: sparse autoencoders on a model's activations on text, at any hooks. */
import { readdirSync, statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { UsageError } from '../errors.ts';
import { openSource, readDocuments, TEXT_FORMATS, type Cursor, type Document, type TextFile } from '../files/index.ts';
import type { Gpt2, WeightType } from '../model/index.ts';
import { modelMetadata, promptsPerRun } from '../task/index.ts';
import { dictionaryFolder, releasedTraining, TextActivations, TokenRows, type PackSettings, type PackState, type StreamSite } from '../training/index.ts';
import { loadModel } from './model.ts';
import { note, progress, type Progress } from './terminal.ts';
import { jobOf, kindsOf, openRun, runTraining, wholeOf, type TrainingFlags } from './training-run.ts';
import { scheduleSettings } from './training-schedule.ts';

export interface TextFlags {
  text?: string[]; site?: string[]; tokens?: number; context?: number; round?: number; field?: string; separator?: string; bos: boolean; heldOut?: number;
}

type Options = TextFlags & TrainingFlags & { model: string; revision?: string; features?: number; batch?: number; weights: WeightType; tuning?: string };

/** The learning rate is one for many steps on much data; on a task's few examples rates are higher. */
export const textDefaults = { batch: 1024, tokens: 1_000_000, context: 128, round: 65_536, heldOut: 0.01, learningRate: 1e-3, factor: 8 } as const;

export async function trainOnText(options: Options): Promise<void> {
  const sites = (options.site ?? []).map(siteOf);
  if (sites.length === 0) throw new UsageError('--text needs --site: the hooks to train on, such as blocks.2.hook_resid_post');
  const files = options.text!.flatMap(filesOf);
  const released = releasedTraining(options.asReleased);
  const snapshotEpochs = options.snapshots.map((text) => wholeOf(text, '--snapshots', 1));
  const resumed = await openRun(options);
  const model = await loadModel(options);
  const { tokens = textDefaults.tokens, batch = textDefaults.batch } = options;
  const examples = Math.min(options.round ?? textDefaults.round, tokens);
  const pack = packOf(model, options);
  // Later rounds are read beneath the bar of training.
  let bar: Progress | null = progress('reading text');
  let stream: TextActivations | null = null;
  try {
    stream = new TextActivations(model, {
      sites, examples, special: pack.bos === null ? [] : [pack.bos], batch: promptsPerRun(model, pack.context),
      open: (state) => rowsOf(model, files, pack, options, state),
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
      jobOf(kind, nameOf(site), stream!.data[i]!, options.seed, options.lr ?? textDefaults.learningRate, metadataOf(model, site, pack, options)))));
    const folders = sites.flatMap((site) => kinds.map(({ variant, value }) => dictionaryFolder(nameOf(site), variant, value)));
    await runTraining(model.gpu, jobs, folders, { features, epochs: Math.ceil(tokens / examples), batch: Math.min(batch, examples), seed: options.seed, ...released, ...scheduleSettings(options), snapshotEpochs, stream }, { ...options, resumed });
    if (stream.passes > 1) note(`the text was read ${stream.passes} times`);
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

/** A file, or the files of a folder that hold text, in the order of their names. */
function filesOf(path: string): TextFile[] {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found?.isDirectory()) return [{ source: openSource(dirname(path)), path: basename(path) }];
  const names = readdirSync(path).filter((name) => TEXT_FORMATS.some((format) => name.toLowerCase().endsWith(`.${format}`))).sort();
  if (names.length === 0) throw new UsageError(`--text ${path}: there is no file that ends in ${TEXT_FORMATS.map((name) => `.${name}`).join(', ')}`);
  const source = openSource(path);
  return names.map((name) => ({ source, path: name }));
}

function packOf(model: Gpt2, options: Options): PackSettings {
  const { bos, heldOut = textDefaults.heldOut, seed } = options;
  const context = options.context ?? Math.min(textDefaults.context, model.config.context);
  const token = model.tokenizer?.bos ?? model.config.bos;
  if (context > model.config.context) throw new UsageError(`--context ${context}: the model has room for ${model.config.context} tokens`);
  return { context, bos: bos ? token : null, separator: token, concatenate: true, heldOut, seed };
}

function rowsOf(model: Gpt2, files: readonly TextFile[], pack: PackSettings, { field, separator }: Options, state?: PackState): TokenRows {
  const documents = (from: Cursor): AsyncIterable<Document> => readDocuments(files, { field, separator }, from);
  return new TokenRows(documents, pack, { vocabulary: model.config.vocabulary, ...(model.tokenizer ? { encode: (text) => model.tokenizer!.encode(text) } : {}), state });
}

/** What cfg.json says of training at a site on text. */
function metadataOf(model: Gpt2, site: StreamSite, pack: PackSettings, options: Options): Record<string, unknown> {
  return {
    ...modelMetadata(model), hook_name: site.hook, ...(site.head === undefined ? {} : { hook_head_index: site.head }),
    context_size: pack.context, prepend_bos: pack.bos !== null, sequence_separator_token: pack.separator, disable_concat_sequences: !pack.concatenate, exclude_special_tokens: pack.bos === null ? [] : [pack.bos],
    dataset_path: options.text, held_out: pack.heldOut, training_tokens: options.tokens ?? textDefaults.tokens,
  };
}
