/**
 * What a run has to compute: where it starts, how deep it goes, and which rows it carries. Pure functions from what is asked to a plan.
 *
 * A resumed run may start in the middle of the model, because the run before kept the residual stream and the queries, keys and values of
 * every layer; and, prompt by prompt, at the first position that an edit touches, because attention is causal: nothing before can change.
 */
import { depthOf, type Hook } from './sites.ts';

/** An edit with its hook found and its positions written out. */
export interface PlannedEdit { hook: Hook; positions: Uint32Array | null }
export interface PlannedCapture { hook: Hook; positions: Uint32Array }

export interface Asked {
  layers: number;
  /** Prompts, and positions of the longest. */
  batch: number;
  length: number;
  cache: readonly Hook[];
  captures: readonly PlannedCapture[];
  edits: readonly PlannedEdit[];
  logits: 'all' | 'none' | Uint32Array;
  keep: boolean;
  resumed: boolean;
}

export interface Plan {
  /** Depth of the deepest thing asked for; the run stops there. -1 if nothing is asked for. */
  deepest: number;
  /** First block that is computed. */
  layer: number;
  /** What that block starts from: token ids, the residual stream before it, or its queries, keys and values. */
  from: 'tokens' | 'residual' | 'attention';
  /** Positions that are computed: for each prompt from the first that anything changes or is asked for, on. */
  rows: Rows;
  /** After the last block's attention only these positions, one per prompt, are carried on; null: all. */
  narrow: Uint32Array | null;
}

/** The rows that a tensor of a run carries: of prompt i the positions starts[i] … starts[i] + count - 1, of which some may lie past its end. */
export interface Rows { starts: Uint32Array; count: number }

export function planRun(asked: Asked): Plan {
  return { ...startOf(asked), rows: asked.resumed ? rowsOf(asked) : { starts: new Uint32Array(asked.batch), count: asked.length }, deepest: deepestOf(asked), narrow: narrowedTo(asked) };
}

function deepestOf({ cache, captures, logits, keep, layers }: Asked): number {
  const depths = [...cache, ...captures.map((c) => c.hook)].map((hook) => hook.depth);
  if (logits !== 'none') depths.push(depthOf('logits', layers));
  if (keep) depths.push(depthOf('v', layers - 1));
  return Math.max(-1, ...depths);
}

function startOf({ layers, cache, captures, edits, resumed }: Asked): Pick<Plan, 'layer' | 'from'> {
  if (!resumed) return { layer: 0, from: 'tokens' };
  const hooks = [...cache, ...captures.map((c) => c.hook), ...edits.map((e) => e.hook)].sort((a, b) => a.depth - b.depth);
  const first = hooks[0];
  if (!first || first.layer >= layers) return { layer: layers - 1, from: 'attention' };
  if (first.layer < 0) return { layer: 0, from: 'tokens' };
  if (first.kind === 'resid_post' && first.layer + 1 < layers) return { layer: first.layer + 1, from: 'residual' };
  return { layer: first.layer, from: first.depth < depthOf('q', first.layer) ? 'residual' : 'attention' };
}

/** The positions that a resumed run computes: up to the last one asked for, because nothing after it can matter. */
function rowsOf({ batch, length, cache, captures, edits, logits }: Asked): Rows {
  const whole = { starts: new Uint32Array(batch), count: length };
  // What is cached comes with all its positions.
  if (cache.length > 0 || logits === 'all') return whole;
  const asked = captures.map((c) => c.positions);
  if (typeof logits !== 'string') asked.push(logits);
  if (asked.length === 0) return whole;
  const changed = edits.map((e) => e.positions ?? whole.starts);
  const starts = Uint32Array.from({ length: batch }, (_, i) => Math.min(...[...asked, ...changed].map((positions) => positions[i]!)));
  const ends = Uint32Array.from({ length: batch }, (_, i) => Math.max(...asked.map((positions) => positions[i]!)));
  // Rows of a stored pattern reach over all positions, and an edited one may look ahead: there all prompts go alike, to the end.
  const stored = [...edits, ...captures].some(({ hook }) => hook.kind === 'pattern' || hook.kind === 'attn_scores');
  if (stored) {
    const start = starts.reduce((a, b) => Math.min(a, b), length);
    return { starts: starts.fill(start), count: length - start };
  }
  const count = starts.reduce((most, start, i) => Math.max(most, ends[i]! - start + 1), 1);
  return count === length ? whole : { starts, count };
}

/** If all that is read after the last attention is one position per prompt, only that one is carried on. */
function narrowedTo({ layers, cache, captures, logits }: Asked): Uint32Array | null {
  if (typeof logits === 'string') return null;
  const after = depthOf('result', layers - 1);
  if (cache.some((hook) => hook.depth > after)) return null;
  const same = (positions: Uint32Array): boolean => positions.every((p, i) => p === logits[i]);
  return captures.every((c) => c.hook.depth <= after || same(c.positions)) ? logits : null;
}

/** Marks a row that is not there; scatterRows and gatherRows pass over it. */
export const NO_ROW = 0xffffffff;

/** The row of one position of one prompt among the rows carried, or NO_ROW. */
export function rowOf({ starts, count }: Rows, prompt: number, position: number): number {
  const at = position - starts[prompt]!;
  return at >= 0 && at < count ? prompt * count + at : NO_ROW;
}
