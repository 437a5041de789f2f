/**
 * What a run has to compute: where it starts, how deep it goes, and which rows it carries. Pure functions from what is asked to a plan.
 *
 * A resumed run may start in the middle of the model, because the run before kept the residual stream and the queries, keys and values of
 * every layer; and at the first position that an edit touches, because attention is causal: nothing before it can change.
 */
import { depthOf, type Hook } from './sites.ts';

/** An edit with its hook found and its positions written out. */
export interface PlannedEdit { hook: Hook; positions: Uint32Array | null }
export interface PlannedCapture { hook: Hook; positions: Uint32Array }

export interface Asked {
  layers: number;
  /** Positions of the longest prompt. */
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
  /** First position that is computed. */
  start: number;
  /** After the last block's attention only these positions, one per prompt, are carried on; null: all. */
  narrow: Uint32Array | null;
}

export function planRun(asked: Asked): Plan {
  const plan = startOf(asked);
  return { ...plan, deepest: deepestOf(asked), narrow: narrowedTo(asked) };
}

function deepestOf({ cache, captures, logits, keep, layers }: Asked): number {
  const depths = [...cache, ...captures.map((c) => c.hook)].map((hook) => hook.depth);
  if (logits !== 'none') depths.push(depthOf('logits', layers));
  if (keep) depths.push(depthOf('v', layers - 1));
  return Math.max(-1, ...depths);
}

function startOf(asked: Asked): Pick<Plan, 'layer' | 'from' | 'start'> {
  const { layers, cache, captures, edits, logits, resumed, length } = asked;
  if (!resumed) return { layer: 0, from: 'tokens', start: 0 };
  // What is cached comes with all its positions.
  let start = cache.length > 0 || logits === 'all' ? 0 : length;
  for (const { positions } of [...edits, ...captures, { positions: typeof logits === 'string' ? new Uint32Array() : logits }]) {
    if (!positions) start = 0;
    else for (const position of positions) start = Math.min(start, position);
  }
  start = Math.min(start, length - 1);
  const hooks = [...cache, ...captures.map((c) => c.hook), ...edits.map((e) => e.hook)].sort((a, b) => a.depth - b.depth);
  const first = hooks[0];
  if (!first || first.layer >= layers) return { layer: layers - 1, from: 'attention', start };
  if (first.layer < 0) return { layer: 0, from: 'tokens', start };
  if (first.kind === 'resid_post' && first.layer + 1 < layers) return { layer: first.layer + 1, from: 'residual', start };
  const beforeAttention = first.depth < depthOf('q', first.layer);
  return { layer: first.layer, from: beforeAttention ? 'residual' : 'attention', start };
}

/** If all that is read after the last attention is one position per prompt, only that one is carried on. */
function narrowedTo({ layers, cache, captures, logits }: Asked): Uint32Array | null {
  if (typeof logits === 'string') return null;
  const after = depthOf('result', layers - 1);
  if (cache.some((hook) => hook.depth > after)) return null;
  const same = (positions: Uint32Array): boolean => positions.every((p, i) => p === logits[i]);
  return captures.every((c) => c.hook.depth <= after || same(c.positions)) ? logits : null;
}

/** The rows that a tensor of a run carries: positions start … start + count − 1 of every prompt, or one picked position of each. */
export interface Rows { start: number; count: number; picked: Uint32Array | null }

/** Marks a row that is not there; scatterRows and gatherRows pass over it. */
export const NO_ROW = 0xffffffff;

/** The row of one position of one prompt among the rows carried, or NO_ROW. */
export function rowOf(rows: Rows, prompt: number, position: number): number {
  if (rows.picked) return rows.picked[prompt] === position ? prompt : NO_ROW;
  return position >= rows.start && position < rows.start + rows.count ? prompt * rows.count + position - rows.start : NO_ROW;
}
