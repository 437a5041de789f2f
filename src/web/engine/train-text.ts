/** Text for training in the page: a file that was chosen, or what the model writes itself; and the rows of tokens that are made of it. */
import { UsageError } from '../../errors.ts';
import { readDocuments, type FileSource } from '../../files/index.ts';
import { promptsPerRun } from '../../task/index.ts';
import { packDefaults, TextActivations, TokenRows, type PackSettings, type StreamSite } from '../../training/index.ts';
import type { OnProgress } from '../protocol.ts';
import type { Session } from './session.ts';
import type { TextSpec } from './train-spec.ts';

/** Documents that are written side by side. */
const TOGETHER = 64;
/** Passes of the model that a round takes at least: the last one is made again for the next round where it brings more than fits. */
const PASSES = 4;

/** Whether text begins with the beginning-of-sequence token: it does unless the model's own prompts do not. */
function beginningOf({ model, ioi }: Pick<Session, 'model' | 'ioi'>): number | null {
  return ioi && !ioi.prependBos ? null : model.tokenizer?.bos ?? model.config.bos;
}

/** Documents that the model writes, as JSON lines. They begin with its beginning-of-sequence token, or as the task's prompts do. UsageError for a length that it has no room for. */
export async function writeText(session: Session, { documents, length }: TextSpec & { kind: 'sampled' }, seed: number, signal: AbortSignal, onProgress: OnProgress): Promise<Uint8Array> {
  const { model, task } = session;
  const { tokenizer, config } = model;
  if (!tokenizer) throw new UsageError(`${model.name} has no tokenizer.json, which text needs`);
  const bos = beginningOf(session);
  if (bos === null && !task) throw new UsageError(`${model.name} has no beginning-of-sequence token to begin text with; choose a file`);
  const words = bos === null ? [...new Set(task!.training(4 * TOGETHER, seed).tokens.map(([first]) => first!))] : [];
  const room = config.context - (bos === null ? 0 : 1);
  if (!Number.isInteger(length) || length < 2 || length > room) throw new UsageError(`documents of ${length} tokens: the model has room for 2 to ${room}`);
  if (!Number.isInteger(documents) || documents < 1) throw new UsageError(`the number of documents must be a whole number of at least 1, not ${documents}`);
  const stop = tokenizer.bos ?? config.bos;
  const lines: string[] = [];
  for (let at = 0; at < documents; at += TOGETHER) {
    signal.throwIfAborted();
    const prompts = Array.from({ length: Math.min(TOGETHER, documents - at) }, (_, i) => [bos ?? words[(at + i) % words.length]!]);
    const made = await model.sample(prompts, { count: bos === null ? length - 1 : length, temperature: 1, seed: seed * documents + at, ...(stop === null ? {} : { stop }) });
    made.forEach((ids, i) => lines.push(`${JSON.stringify({ text: tokenizer.decode(bos === null ? [...prompts[i]!, ...ids] : ids) })}\n`));
    onProgress(Math.min(at + TOGETHER, documents), documents, 'writing text');
  }
  return new TextEncoder().encode(lines.join(''));
}

export interface OpenText {
  stream: TextActivations;
  /** What a dictionary's cfg.json says of the text, by SAELens' names where it has them. */
  metadata: Record<string, unknown>;
}

/** The activations of a hook on a text, in rounds. */
export function openText(session: Session, site: StreamSite, text: TextSpec, file: { source: FileSource; path: string }, examples: number, seed: number, signal: AbortSignal, onProgress: OnProgress): OpenText {
  const { model } = session;
  const bos = beginningOf(session);
  const longest = text.kind === 'sampled' ? text.length + (bos === null ? 0 : 1) : packDefaults.context;
  const separator = model.tokenizer?.bos ?? model.config.bos;
  const pack: PackSettings = { ...packDefaults, context: Math.min(longest, model.config.context), bos, separator, seed };
  // Without it in front of rows it still stands between documents.
  const special = separator === null ? [] : [separator];
  const stream = new TextActivations(model, {
    sites: [site], examples, special, signal, batch: Math.min(promptsPerRun(model, pack.context), Math.ceil(examples / pack.context / PASSES)), onProgress: (done, total) => onProgress(done, total, 'reading text'),
    open: (state) => new TokenRows((from) => readDocuments([file], {}, from), pack, {
      vocabulary: model.config.vocabulary, ...(model.tokenizer ? { encode: (words) => model.tokenizer!.encode(words) } : {}), ...(state ? { state } : {}),
    }),
  });
  return {
    stream,
    metadata: {
      context_size: pack.context, prepend_bos: bos !== null, sequence_separator_token: separator, disable_concat_sequences: false, exclude_special_tokens: special,
      dataset_path: text.kind === 'file' ? text.name : `${text.documents} documents of ${text.length} tokens that the model wrote`, held_out: pack.heldOut, held_out_seed: seed,
    },
  };
}
