/** Dictionaries that `diffract run` splices into the model: which, where, and which of their features are set to what. */
import { readSaeConfig, loadSae, splitAddress, type Sae, type SaeFileConfig } from '../dictionary/index.ts';
import { UsageError } from '../errors.ts';
import { openSource, type FileSource } from '../files/index.ts';
import type { Edit, Gpt2, Splice, WeightProcessing } from '../model/index.ts';
import { Tensor } from '../tensor/index.ts';
import { processingNamed, readProcessing } from './model.ts';
import { note } from './terminal.ts';

/** A dictionary as the command line names it: `WHERE`, or `HOOK=WHERE`, or `HOOK:HEAD=WHERE`. */
export interface SpliceFlag {
  where: string;
  hook?: string;
  head?: number;
  source: FileSource;
  /** The file within the source, if one is named. */
  file?: string;
  config: SaeFileConfig;
}

/** A feature that is set: of which dictionary (null: the only one), to what, and at which position (null: all; below zero: from the prompt's end). */
export interface FeatureFlag { text: string; place: string | null; feature: number; value: number; position: number | null }

/** A dictionary in its place. */
export interface Spliced { sae: Sae; where: string; hook: string; head?: number }

/** Reads what the files of dictionaries say of them, before there is a model. */
export async function readSpliceFlags(texts: readonly string[]): Promise<SpliceFlag[]> {
  return Promise.all(texts.map(async (text) => {
    const [, hook, head, where] = /^(?:((?:blocks\.\d+\.|hook_)[\w.]+)(?::(\d+))?=)?(.+)$/s.exec(text) ?? [];
    if (where === undefined) throw new UsageError('--splice needs the directory or address of a dictionary');
    const { directory, file } = splitAddress(where);
    const source = openSource(directory);
    const config = await readSaeConfig(source, { ...(file === undefined ? {} : { file }), ...(hook === undefined ? {} : { hook }) });
    return { where, source, config, ...(file === undefined ? {} : { file }), ...(hook === undefined ? {} : { hook }), ...(head === undefined ? {} : { head: Number(head) }) };
  }));
}

/** `INDEX=VALUE`, `INDEX=VALUE@POSITION`, and before it `HOOK:` or `HOOK:HEAD:` where there are several dictionaries. */
export function readFeatureFlag(text: string): FeatureFlag {
  const match = /^(?:(.+):)?(\d+)=([^@]+)(?:@(-?\d+))?$/.exec(text);
  const value = Number(match?.[3]);
  if (!match || match[3]!.trim() === '' || !Number.isFinite(value)) throw new UsageError(`--feature ${text}: is not of the form INDEX=VALUE or INDEX=VALUE@POSITION, such as 17=0 or 17=5.5@-1`);
  return { text, place: match[1] ?? null, feature: Number(match[2]), value, position: match[4] === undefined ? null : Number(match[4]) };
}

/** The processing that the dictionaries were trained with, as far as they say so. */
export function processingOf(flags: readonly SpliceFlag[]): Partial<WeightProcessing> {
  const kinds = [...new Set(flags.flatMap(({ config }) => processingNamed(config.metadata)))];
  if (kinds.length > 0) note(`the model's weights are processed as the dictionaries were trained with: ${kinds.join(', ')}`);
  return readProcessing(kinds);
}

/** Loads the dictionaries and checks that they belong to the model. Those that were loaded before one is refused are freed. */
export async function openSpliced(model: Gpt2, flags: readonly SpliceFlag[], prompts: readonly (readonly number[])[]): Promise<Spliced[]> {
  const open: Spliced[] = [];
  try {
    for (const flag of flags) open.push(await openOne(model, flag, prompts));
  } catch (error) {
    for (const { sae } of open) sae.dispose();
    throw error;
  }
  return open;
}

async function openOne(model: Gpt2, { where, source, file, config: { metadata }, ...given }: SpliceFlag, prompts: readonly (readonly number[])[]): Promise<Spliced> {
  const hook = given.hook ?? metadata.hook_name;
  if (hook === undefined) throw new UsageError(`--splice ${where}: its files do not name a hook; give it as --splice HOOK=${where}`);
  const own = hook === metadata.hook_name ? metadata.hook_head_index : undefined;
  const head = given.head ?? own ?? undefined;
  const contextSize = prompts.reduce((most, prompt) => Math.max(most, prompt.length), 0);
  const { width } = model.hooks.columns(model.hooks.get(hook), head);
  const choice = { ...(file === undefined ? {} : { file }), ...(given.hook === undefined ? {} : { hook }) };
  const sae = await loadSae(model.gpu, source, { width, hookName: hook, headIndex: head, modelHash: model.hash, contextSize, weightProcessing: { ...model.processing } }, choice);
  for (const warning of sae.warnings) note(`${sae.name}: ${warning}`);
  const { bos } = model.tokenizer ?? {};
  const begins = bos != null && prompts.every((prompt) => prompt[0] === bos);
  if (typeof metadata.prepend_bos === 'boolean' && bos != null && metadata.prepend_bos !== begins) {
    const trained = metadata.prepend_bos ? 'behind a beginning-of-sequence token (--prepend-bos)' : 'without a beginning-of-sequence token';
    note(`${sae.name}: it was trained ${trained}, and ${begins ? 'all' : 'not all'} prompts here begin with one`);
  }
  if (typeof metadata['position'] === 'string') note(`${sae.name}: it was trained at the position ${metadata['position']} alone, and is used at all positions`);
  return { sae, where, hook, ...(head === undefined ? {} : { head }) };
}

/** HOOK or HOOK:HEAD, as the command line names a place. */
export function placeOf({ hook, head }: Pick<Spliced, 'hook' | 'head'>): string {
  return head === undefined ? hook : `${hook}:${head}`;
}

/** The name of a dictionary's codes among the hooks of a run. */
export function codesOf({ hook, head }: Pick<Spliced, 'hook' | 'head'>): string {
  return `${head === undefined ? hook : `${hook}.${head}`}.hook_sae_acts_post`;
}

/** What a run is given: the dictionaries, and an edit for each feature that is set, whose values belong to the caller. */
export function spliceOptions(
  model: Gpt2, spliced: readonly Spliced[], errorTerm: boolean, features: readonly FeatureFlag[], prompts: readonly (readonly number[])[],
): { splice: Splice[]; edits: Edit[] } {
  const longest = prompts.reduce((most, prompt) => Math.max(most, prompt.length), 0);
  const wanted = features.map((flag) => {
    const found = flag.place === null ? spliced : spliced.filter((own) => placeOf(own) === flag.place);
    if (flag.place === null && spliced.length > 1) throw new UsageError(`--feature ${flag.text}: say of which dictionary, such as ${placeOf(spliced[0]!)}:${flag.text}`);
    if (found.length === 0) throw new UsageError(`--feature ${flag.text}: no dictionary is spliced into ${flag.place}; there are ${spliced.map(placeOf).join(', ')}`);
    const { sae } = found[0]!;
    if (flag.feature >= sae.features) throw new UsageError(`--feature ${flag.text}: ${sae.name} has the features 0 to ${sae.features - 1}`);
    const positions = flag.position === null ? null : prompts.map((prompt) => flag.position! + (flag.position! < 0 ? prompt.length : 0));
    const stray = positions?.findIndex((position, i) => position < 0 || position >= prompts[i]!.length) ?? -1;
    if (stray >= 0) throw new UsageError(`--feature ${flag.text}: prompt ${stray} has ${prompts[stray]!.length} tokens`);
    return { hook: codesOf(found[0]!), column: flag.feature, value: flag.value, positions };
  });
  const edits = wanted.map(({ value, positions, ...edit }): Edit => {
    const shape = [prompts.length, ...(positions ? [] : [longest]), 1];
    return { ...edit, ...(positions ? { positions } : {}), values: Tensor.from(model.gpu, new Float32Array(shape.reduce((a, b) => a * b)).fill(value), shape) };
  });
  return { splice: spliced.map(({ sae, hook, head }) => ({ sae, hook, errorTerm, ...(head === undefined ? {} : { head }) })), edits };
}
