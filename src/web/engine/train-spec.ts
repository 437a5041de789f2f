/** A training run as a person asks for it on the page, and what follows from that: jobs, settings, steps and memory. */
import { LimitError, UsageError } from '../../errors.ts';
import type { Gpt2 } from '../../model/index.ts';
import { checkSite, hookOf, modelMetadata, parseSite, trainedOn, type SiteAddress } from '../../task/index.ts';
import {
  cachedName, checkJobs, checkSettings, checkVariant, dictionaryFolder, runMemory, scheduleOf, StreamedExamples, streamPlace, variantPolicies, type SaeJob, type StreamSite, type TrainSettings, type TrainVariant,
} from '../../training/index.ts';
import { bytes as inWords } from '../parts/format.ts';

/** Text that is trained on: a file that the user chose, or what the model writes itself. */
export type TextSpec = { kind: 'file'; name: string } | { kind: 'sampled'; documents: number; length: number };

export interface TrainSpec {
  /** A site of the task (z@L0H3@end), a hook, or one head of a hook (blocks.0.attn.hook_z:3). */
  place: string;
  /** Null: the task's prompts. */
  text: TextSpec | null;
  variant: TrainVariant;
  features: number;
  /** λ or K. */
  sparsity: number;
  learningRate: number;
  batch: number;
  seed: number;
  /** On the task's prompts: how many, and passes over them. */
  prompts: number;
  epochs: number;
  /** On text: tokens to train on, and those that are kept and shuffled together, after which figures are logged. */
  tokens: number;
  round: number;
  /** Most bytes on the device, which does not say itself how many it has. */
  allowed: number;
}

/** What a run will be and take. */
export interface TrainPlan {
  /** How the dictionary's folder is called. */
  name: string;
  width: number;
  /** Examples of a pass or round, and passes or rounds. */
  examples: number;
  epochs: number;
  steps: number;
  /** Bytes on the device: the model's, the activations', and what training takes, by what it is for. */
  memory: { name: string; bytes: number }[];
  total: number;
  /** Bytes of a checkpoint, about. */
  checkpoint: number;
}

/** A plan with what the library is told. */
export interface Planned extends TrainPlan { site: SiteAddress | null; stream: StreamSite | null; settings: TrainSettings; job: Omit<SaeJob, 'data'>; data: StreamedExamples }

/** Reads HOOK or HOOK:HEAD. */
function streamSiteOf(text: string): StreamSite {
  const match = /^(.+?)(?::(\d+))?$/.exec(text.trim());
  if (!match) throw new UsageError('a hook is needed, such as blocks.2.hook_resid_post, or one head of one as blocks.0.attn.hook_z:3');
  return { hook: match[1]!, ...(match[2] === undefined ? {} : { head: Number(match[2]) }) };
}

/**
 * What a run would be. Throws what the library throws for settings out of range and places that are not there, and LimitError, with numbers, for one that
 * takes more memory than is allowed or a buffer larger than the adapter has.
 */
export function planRun(model: Gpt2, spec: TrainSpec, positions: readonly string[]): Planned {
  const { place, text, features, batch, seed, learningRate, sparsity } = spec;
  const variant = checkVariant(spec.variant, 'training');
  const whole = (name: 'prompts' | 'epochs' | 'tokens' | 'round' | 'batch' | 'features', least = 1): void => {
    if (!Number.isInteger(spec[name]) || spec[name] < least) throw new UsageError(`${name} must be a whole number of at least ${least}, not ${spec[name]}`);
  };
  for (const name of ['batch', 'features'] as const) whole(name);
  if (text) for (const name of ['tokens', 'round'] as const) whole(name);
  else for (const [name, least] of [['prompts', 2], ['epochs', 1]] as const) whole(name, least);
  const site = text ? null : parseSite(place, positions);
  if (site) checkSite(site, model.config);
  const stream = text ? streamSiteOf(place) : null;
  const width = stream ? streamPlace(model, stream).width : model.hooks.columns(model.hooks.get(hookOf(site!)), site!.head).width;
  const examples = text ? Math.min(spec.round, spec.tokens) : spec.prompts;
  const epochs = text ? Math.ceil(spec.tokens / examples) : spec.epochs;
  const settings = checkSettings({
    features, epochs, batch: Math.min(batch, examples), seed, learningRate, ...(text ? { encoderStart: 'balanced' } : { logEvery: Math.max(1, Math.round(epochs / 100)) }),
  });
  const byK = variantPolicies[variant].sparsity === 'k';
  const where = stream ? cachedName(stream) : place;
  const job: Planned['job'] = {
    name: `${variant} ${where} ${byK ? 'k' : 'λ'}=${sparsity}`, variant, ...(byK ? { k: sparsity } : { l1: sparsity }), seed, learningRate,
    metadata: { ...(site ? aboutSite(model, site, spec) : aboutHook(model, stream!, spec)), learning_rate: learningRate },
  };
  const data = new StreamedExamples(examples, width);
  checkJobs([{ ...job, data }], settings);
  const { steps } = scheduleOf(settings, examples);
  const { terms } = runMemory([{ ...job, data }], settings, { ...model.gpu.limits, software: model.gpu.software });
  const own = 4 * examples * width;
  const memory = [{ name: 'model', bytes: model.weightBytes }, ...(text ? [] : [{ name: 'activations', bytes: own }]), ...terms].filter(({ bytes }) => bytes > 0);
  const total = memory.reduce((sum, { bytes }) => sum + bytes, 0);
  checkRoom(model, spec, width, memory, total);
  const weights = 2 * features * width + width + features;
  return { name: dictionaryFolder(where.replace(/[\\/:]/g, '.'), variant, sparsity), width, examples, epochs, steps, memory, total, checkpoint: 4 * (3 * weights + features), site, stream, settings, job, data };
}

function checkRoom({ gpu }: Gpt2, { features, allowed }: TrainSpec, width: number, memory: TrainPlan['memory'], total: number): void {
  const most = Math.min(allowed, gpu.memoryLimit);
  if (total > most) {
    const parts = [...memory].sort((a, b) => b.bytes - a.bytes).slice(0, 3).map(({ name, bytes }) => `${name} ${inWords(bytes)}`).join(', ');
    throw new LimitError(`this run takes ${inWords(total)} on the device (${parts}, …), but ${inWords(most)} are allowed: use fewer features, a smaller batch or fewer examples, or allow more memory`);
  }
  const matrix = 4 * features * Math.ceil(width / 4) * 4;
  if (matrix > gpu.limits.bufferBytes) throw new LimitError(`${features} features of width ${width} need a buffer of ${inWords(matrix)}, but this adapter allows ${inWords(gpu.limits.bufferBytes)}: use fewer features`);
}

/** As the command line's train writes it, so that what one trained is the other's as well. */
function aboutSite(model: Gpt2, site: SiteAddress, { prompts, epochs, batch }: TrainSpec): Record<string, unknown> {
  return { ...trainedOn(model, site), kind: site.kind, layer: site.layer, head: site.head, dataset_path: 'ioi', training_prompts: prompts, epochs, training_batch: batch };
}

function aboutHook(model: Gpt2, { hook, head }: StreamSite, { tokens }: TrainSpec): Record<string, unknown> {
  return { ...modelMetadata(model), hook_name: hook, ...(head === undefined ? {} : { hook_head_index: head }), training_tokens: tokens };
}
