/** Runs: what is asked of a forward pass, checked; and what it gives back. */
import { ShapeError, TokenError, UsageError } from '../errors.ts';
import { showShape, Tensor } from '../tensor/index.ts';
import type { Gpt2Config } from './config.ts';
import type { ForwardResult, Kept } from './forward.ts';
import type { ResolvedCapture, ResolvedEdit } from './hook-points.ts';
import { hasHeads, type Hook, type Hooks } from './sites.ts';
import type { Splice, SpliceDictionary } from './splice.ts';
import { UnknownSiteError } from '../errors.ts';

/** Prompts as token ids, of any lengths; or a u32 tensor [prompts, positions], whose ids nobody checks. */
export type TokenBatch = readonly (readonly number[])[] | Tensor;

export interface Capture {
  hook: string;
  head?: number;
  /** One per prompt. */
  positions: ArrayLike<number>;
}

export interface Edit {
  hook: string;
  /** Only this head's part; all heads unless given. */
  head?: number;
  /** One per prompt, or one for all prompts; all positions unless given. For a pattern: the query's position. */
  positions?: ArrayLike<number> | number;
  /**
   * [prompts, width] with positions, else [prompts, positions, width]; width is that of the hook, or of one head. A pattern's rows have one
   * weight per key: [prompts, keys] or [prompts, queries, keys] for one head, [prompts, heads, …] for all.
   */
  values: Tensor;
  /** Add the values instead of putting them in place. */
  add?: boolean;
  /** Only this number of each row, such as one feature of a dictionary's codes or one neuron: values have the width 1 (of a pattern of all heads: one number a head). */
  column?: number;
}

export interface RunOptions {
  /** Hook names and globs whose whole activations are kept: `'blocks.*.hook_resid_post'`, `'blocks.1.attn.*'`, `'logits'`. */
  cache?: string | readonly string[];
  /** Activations at one position per prompt. */
  captures?: readonly Capture[];
  /** Replacements, applied together in this pass, in their order where they overlap. */
  edits?: readonly Edit[];
  /** Dictionaries that take the place of activations; one by itself goes where its metadata say (splice.ts). Their sites are hooks of this run. */
  splice?: readonly (SpliceDictionary | Splice)[];
  /** Keep what resuming needs. Only for runs without edits and dictionaries. */
  keep?: boolean;
  /** A kept run of the same prompts to start from. */
  resume?: Run;
  /** Logits of each prompt's last token (default), of all positions, of one position per prompt, or none. */
  logits?: 'last' | 'all' | 'none' | ArrayLike<number>;
}

/**
 * The outcome of a run. Rows of padded positions hold numbers without meaning.
 * `dispose` frees the cache, the logits and what was kept; the captured tensors belong to the caller.
 */
export class Run {
  readonly tokens: TokenBatch;
  readonly batch: number;
  /** Positions of the longest prompt. */
  readonly length: number;
  /** Whole activations by hook name: [prompts, position, …]. */
  readonly cache: ReadonlyMap<string, Tensor>;
  /** One tensor per capture: [prompts, width]. */
  readonly captured: Tensor[];
  /** [prompts, vocabulary], or [prompts, positions, vocabulary] for 'all'. */
  readonly logits?: Tensor;
  /** What another run needs to resume this one; freed with it. */
  readonly kept: Kept | null;

  constructor(tokens: TokenBatch, batch: number, length: number, result: ForwardResult) {
    this.tokens = tokens;
    this.batch = batch;
    this.length = length;
    this.cache = result.cache;
    this.captured = result.captured;
    if (result.logits) this.logits = result.logits;
    this.kept = result.kept;
  }

  /** A cached activation. Throws UnknownSiteError if the run was not asked for it. */
  get(name: string): Tensor {
    const tensor = this.cache.get(name);
    if (!tensor) throw new UnknownSiteError(`this run did not keep ${name}; it kept ${[...this.cache.keys()].join(', ') || 'nothing'}`);
    return tensor;
  }

  dispose(): void {
    for (const tensor of [...this.cache.values(), ...(this.kept?.residual ?? []), ...(this.kept?.qkv ?? [])]) tensor.dispose();
    this.logits?.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** A batch of prompts, checked. */
export interface Batch {
  count: number;
  /** Positions of the longest prompt. */
  length: number;
  /** Tokens of each prompt. */
  lengths: readonly number[];
  /** Right-padded with zeros, [count, length]; null for a tensor. */
  padded: Uint32Array | null;
}

/** Checks prompts and pads them. Throws TokenError for an empty one, one beyond the context, and an id that is not in the vocabulary. */
export function readBatch(tokens: TokenBatch, config: Gpt2Config): Batch {
  if (tokens instanceof Tensor) {
    const [count = 0, length = 0] = tokens.shape;
    if (tokens.shape.length !== 2 || tokens.dtype !== 'u32') throw new ShapeError(`tokens must be u32 [prompts, positions], not ${tokens.dtype} ${showShape(tokens.shape)}`);
    checkLength(length, `each prompt of ${showShape(tokens.shape)}`, config);
    return { count, length, lengths: new Array<number>(count).fill(length), padded: null };
  }
  if (tokens.length === 0) throw new TokenError('there are no prompts to run');
  const length = Math.max(...tokens.map((prompt) => prompt.length));
  const padded = new Uint32Array(tokens.length * length);
  for (const [i, prompt] of tokens.entries()) {
    checkLength(prompt.length, `prompt ${i}`, config);
    for (const [position, id] of prompt.entries()) {
      if (!Number.isInteger(id) || id < 0 || id >= config.vocabulary) {
        throw new TokenError(`prompt ${i} has the token id ${id} at position ${position}; the vocabulary has the ids 0 to ${config.vocabulary - 1}`);
      }
      padded[i * length + position] = id;
    }
  }
  return { count: tokens.length, length, lengths: tokens.map((prompt) => prompt.length), padded };
}

function checkLength(length: number, what: string, { context }: Gpt2Config): void {
  if (length === 0) throw new TokenError(`${what} is empty`);
  if (length > context) throw new TokenError(`${what} has ${length} tokens, the model's context holds ${context}`);
}

/** Positions, one per prompt, checked against the prompts' lengths. */
export function readPositions(positions: ArrayLike<number> | number, batch: Batch, what: string): Uint32Array {
  if (typeof positions !== 'number' && positions.length !== batch.count) throw new ShapeError(`${what}: ${positions.length} positions for ${batch.count} prompts`);
  return Uint32Array.from({ length: batch.count }, (_, prompt) => {
    const position = typeof positions === 'number' ? positions : positions[prompt]!;
    const length = batch.lengths[prompt]!;
    if (!Number.isInteger(position) || position < 0 || position >= length) throw new TokenError(`${what}: position ${position} is not in prompt ${prompt}, which has ${length} tokens`);
    return position;
  });
}

export function readHead(head: number | undefined, hook: Hook, config: Gpt2Config): number | null {
  if (head === undefined) return null;
  if (!hasHeads(hook.kind)) throw new UnknownSiteError(`${hook.name} has no heads`);
  if (!Number.isInteger(head) || head < 0 || head >= config.heads) throw new UnknownSiteError(`${hook.name} has the heads 0 to ${config.heads - 1}, not ${head}`);
  return head;
}

/** Positions at a hook; null: all that it has. A dictionary that is spliced at one position per prompt has sites nowhere else: TokenError. */
function positionsAt(hook: Hook, positions: ArrayLike<number> | number | undefined, batch: Batch, what: string): Uint32Array | null {
  const own = hook.inner?.positions ?? null;
  if (positions === undefined) return own;
  const read = readPositions(positions, batch, what);
  const stray = own === null ? -1 : read.findIndex((position, prompt) => position !== own[prompt]);
  if (stray >= 0) throw new TokenError(`${what}: position ${read[stray]} of prompt ${stray} has no dictionary; it is spliced at position ${own![stray]}`);
  return read;
}

/** Numbers in one row of a hook: the shape without prompts and positions, times one head's share if one is named. */
function rowWidth(hook: Hook, head: number | null, hooks: Hooks, config: Gpt2Config, length: number): number {
  if (hook.inner) return hook.inner.shape.reduce((product, n) => product * n, 1);
  const size = hooks.shape(hook, 1, length).reduce((product, n) => product * n, 1) / length;
  return head === null ? size : size / config.heads;
}

/** Checks captures: hook, head, positions. */
export function readCaptures(captures: readonly Capture[], batch: Batch, hooks: Hooks, config: Gpt2Config): ResolvedCapture[] {
  return captures.map(({ hook: name, head, positions }) => {
    const hook = hooks.get(name);
    return { hook, head: readHead(head, hook, config), positions: positionsAt(hook, positions, batch, `capture of ${name}`)! };
  });
}

/** Checks edits: hook, head, positions, and the number of values. */
export function readEdits(edits: readonly Edit[], batch: Batch, hooks: Hooks, config: Gpt2Config): ResolvedEdit[] {
  return edits.map(({ hook: name, head: wantedHead, positions, values, add, column }) => {
    const hook = hooks.editable(name);
    const head = readHead(wantedHead, hook, config);
    const what = `edit of ${name}`;
    const all = rowWidth(hook, head, hooks, config, batch.length);
    const rows = hook.kind === 'pattern' && head === null ? config.heads : 1;
    if (column !== undefined && !(Number.isInteger(column) && column >= 0 && column < all / rows)) throw new UnknownSiteError(`${what}: there is no column ${column}; there are 0 to ${all / rows - 1}`);
    const width = column === undefined ? all : rows;
    const each = positions === undefined && !hook.inner?.positions;
    const shape = each ? [batch.count, batch.length, width] : [batch.count, width];
    if (values.dtype !== 'f32' || values.shape[0] !== batch.count || values.size !== shape.reduce((a, b) => a * b, 1)) {
      const byHead = rows > 1 ? ` (as ${showShape([batch.count, config.heads, ...(each ? [batch.length] : []), width / rows])})` : '';
      throw new ShapeError(`${what}: values must have the shape ${showShape(shape)}${byHead}, not ${values.dtype} ${showShape(values.shape)}`);
    }
    return { hook, head, column: column ?? null, positions: positionsAt(hook, positions, batch, what), values, add: add ?? false };
  });
}

/** Checks which logits are asked for. */
export function readLogits(logits: RunOptions['logits'], batch: Batch): 'all' | 'none' | Uint32Array {
  if (logits === 'all' || logits === 'none') return logits;
  if (logits === undefined || logits === 'last') return Uint32Array.from(batch.lengths, (length) => length - 1);
  return readPositions(logits, batch, 'logits');
}

/** Checks that a run can be resumed with these prompts. Throws UsageError if not. */
export function checkResume(resume: Run, tokens: TokenBatch, batch: Batch): Kept {
  if (!resume.kept) throw new UsageError('the run to resume kept nothing: make it with keep: true');
  const same = resume.tokens === tokens || (!(tokens instanceof Tensor) && !(resume.tokens instanceof Tensor) && sameTokens(resume.tokens, tokens));
  if (!same || resume.batch !== batch.count || resume.length !== batch.length) throw new UsageError('the run to resume was made with other prompts');
  return resume.kept;
}

function sameTokens(a: readonly (readonly number[])[], b: readonly (readonly number[])[]): boolean {
  return a.length === b.length && a.every((prompt, i) => prompt.length === b[i]!.length && prompt.every((id, j) => id === b[i]![j]));
}
