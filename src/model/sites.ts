/**
 * Hook names: TransformerLens' names for GPT-2's activations, in the order in which a forward pass computes them.
 *
 * Written shapes: B prompts, T positions, H heads, d = width of a head, D = width of the residual stream, M = width of the MLP.
 */
import { UnknownSiteError } from '../errors.ts';
import type { Gpt2Config } from './config.ts';

/** What a hook is, apart from its layer. */
export type HookKind =
  | 'embed' | 'pos_embed'
  | 'resid_pre' | 'ln1_scale' | 'ln1_normalized' | 'q' | 'k' | 'v' | 'attn_scores' | 'pattern' | 'z' | 'result' | 'attn_out'
  | 'resid_mid' | 'ln2_scale' | 'ln2_normalized' | 'pre' | 'post' | 'mlp_out' | 'resid_post'
  | 'final_scale' | 'final_normalized' | 'logits'
  | 'spliced';

export interface Hook {
  name: string;
  kind: HookKind;
  /** -1 before the first block, the number of layers after the last. */
  layer: number;
  /** Grows along the forward pass: a hook needs only what has a smaller depth. */
  depth: number;
  /** Feeds forward and may be replaced. */
  editable: boolean;
  /** For a site within a spliced dictionary (splice.ts). */
  inner?: InnerSite;
}

/** A site within a dictionary that takes the place of an activation. */
export interface InnerSite {
  /** The hook that the dictionary is spliced into. */
  outer: Hook;
  /** Shape without prompts and positions. */
  shape: readonly number[];
  /** Positions at which the dictionary is spliced, one per prompt, so that the site has one row per prompt; null: all. */
  positions: Uint32Array | null;
}

const EDITABLE: ReadonlySet<HookKind> = new Set(['embed', 'pos_embed', 'resid_pre', 'q', 'k', 'v', 'pattern', 'z', 'attn_out', 'resid_mid', 'pre', 'post', 'mlp_out', 'resid_post']);
const PER_HEAD: ReadonlySet<HookKind> = new Set(['q', 'k', 'v', 'attn_scores', 'pattern', 'z', 'result']);

/** Names within a block, in order. */
const BLOCK: readonly [HookKind, string][] = [
  ['resid_pre', 'hook_resid_pre'],
  ['ln1_scale', 'ln1.hook_scale'],
  ['ln1_normalized', 'ln1.hook_normalized'],
  ['q', 'attn.hook_q'],
  ['k', 'attn.hook_k'],
  ['v', 'attn.hook_v'],
  ['attn_scores', 'attn.hook_attn_scores'],
  ['pattern', 'attn.hook_pattern'],
  ['z', 'attn.hook_z'],
  ['result', 'attn.hook_result'],
  ['attn_out', 'hook_attn_out'],
  ['resid_mid', 'hook_resid_mid'],
  ['ln2_scale', 'ln2.hook_scale'],
  ['ln2_normalized', 'ln2.hook_normalized'],
  ['pre', 'mlp.hook_pre'],
  ['post', 'mlp.hook_post'],
  ['mlp_out', 'hook_mlp_out'],
  ['resid_post', 'hook_resid_post'],
];

/** Depth of a kind of hook in a layer; the numbers of one layer lie together and below those of the next. */
export function depthOf(kind: HookKind, layer: number): number {
  const within = BLOCK.findIndex(([k]) => k === kind);
  if (within >= 0) return (layer + 1) * BLOCK.length + within;
  return { embed: 0, pos_embed: 1, final_scale: 0, final_normalized: 1, logits: 2 }[kind as 'embed']! + (layer + 1) * BLOCK.length;
}

/** Whether a hook of this kind has one part per head. */
export function hasHeads(kind: HookKind): boolean {
  return PER_HEAD.has(kind);
}

/** All hooks of a model by name, in the order of the forward pass. */
export class Hooks {
  readonly all: ReadonlyMap<string, Hook>;
  private readonly config: Gpt2Config;

  /** `inner` are sites of spliced dictionaries, each of which stands behind the hook that it is spliced into. */
  constructor(config: Gpt2Config, inner: readonly Hook[] = []) {
    this.config = config;
    const all = new Map<string, Hook>();
    const add = (name: string, kind: HookKind, layer: number): void => {
      all.set(name, { name, kind, layer, depth: depthOf(kind, layer), editable: EDITABLE.has(kind) });
      for (const site of inner) if (site.inner?.outer.name === name) all.set(site.name, site);
    };
    add('hook_embed', 'embed', -1);
    add('hook_pos_embed', 'pos_embed', -1);
    for (let layer = 0; layer < config.layers; layer++) {
      for (const [kind, name] of BLOCK) add(`blocks.${layer}.${name}`, kind, layer);
    }
    add('ln_final.hook_scale', 'final_scale', config.layers);
    add('ln_final.hook_normalized', 'final_normalized', config.layers);
    add('logits', 'logits', config.layers);
    this.all = all;
  }

  /** The hook of a name. Throws UnknownSiteError with the nearest names there are. */
  get(name: string): Hook {
    const hook = this.all.get(name);
    if (!hook) throw new UnknownSiteError(this.unknown(name));
    return hook;
  }

  /** A hook that may be replaced. Throws UnknownSiteError for an unknown one, and for one that can only be read. */
  editable(name: string): Hook {
    const hook = this.get(name);
    if (hook.inner && !hook.editable) throw new UnknownSiteError(`${name} can be read but not edited: the dictionary is spliced without its error term`);
    if (!hook.editable) throw new UnknownSiteError(`${name} can be read but not edited; editable are hook_embed, hook_pos_embed and, in each block, ${BLOCK.filter(([kind]) => EDITABLE.has(kind)).map(([, n]) => n).join(', ')}`);
    return hook;
  }

  /** Hooks that a name or glob stands for: `*` is any run of characters, `?` one character. Throws UnknownSiteError if it stands for none. */
  match(pattern: string): Hook[] {
    if (!/[*?]/.test(pattern)) return [this.get(pattern)];
    const source = pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&').replace(/\*/g, '.*').replace(/\?/g, '.');
    const expression = new RegExp(`^${source}$`);
    const found = [...this.all.values()].filter((hook) => expression.test(hook.name));
    if (found.length === 0) throw new UnknownSiteError(this.unknown(pattern));
    return found;
  }

  /** Hooks that any of the names or globs stands for, in the order of the forward pass. */
  matchAll(patterns: string | readonly string[]): Hook[] {
    const wanted = new Set((typeof patterns === 'string' ? [patterns] : patterns).flatMap((pattern) => this.match(pattern)));
    return [...this.all.values()].filter((hook) => wanted.has(hook));
  }

  /** Columns of a hook's row for one token: all of them, or those of one of its `heads`, null where it has none. Whether there is such a head is the caller's to ask. */
  columns(hook: Hook, head?: number): { heads: number | null; offset: number; width: number } {
    const shape = this.shape(hook, 1, 1);
    const heads = shape.length === 4 ? shape[2]! : null;
    const all = shape.slice(2).reduce((product, n) => product * n, 1);
    return heads === null || head === undefined ? { heads, offset: 0, width: all } : { heads, offset: (head * all) / heads, width: all / heads };
  }

  /** Shape of a hook's activation for `batch` prompts of `length` positions. */
  shape(hook: Hook, batch: number, length: number): number[] {
    const { heads, headWidth, width, mlpWidth, vocabulary } = this.config;
    switch (hook.kind) {
      case 'ln1_scale': case 'ln2_scale': case 'final_scale': return [batch, length, 1];
      case 'q': case 'k': case 'v': case 'z': return [batch, length, heads, headWidth];
      case 'attn_scores': case 'pattern': return [batch, heads, length, length];
      case 'result': return [batch, length, heads, width];
      case 'pre': case 'post': return [batch, length, mlpWidth];
      case 'logits': return [batch, length, vocabulary];
      case 'spliced': return [batch, hook.inner!.positions ? 1 : length, ...hook.inner!.shape];
      default: return [batch, length, width];
    }
  }

  private unknown(name: string): string {
    const layer = /^blocks\.(\d+)\./.exec(name);
    const last = this.config.layers - 1;
    if (layer && Number(layer[1]) > last) return `there is no hook ${name}: the model has the layers 0 to ${last}`;
    const within = /^(.+)\.hook_sae_\w+$/.exec(name);
    if (within && !/[*?]/.test(name)) {
      const own = [...this.all.values()].filter((hook) => hook.inner && hook.name.startsWith(`${within[1]!}.hook_sae_`));
      if (own.length === 0) return `there is no hook ${name}: no dictionary is spliced into ${within[1]!}`;
      return `there is no hook ${name}; the dictionary there has ${own.map((hook) => hook.name.slice(within[1]!.length + 1)).join(', ')}`;
    }
    const near = nearest(name, [...this.all.keys()]);
    return `there is no hook ${/[*?]/.test(name) ? 'that matches ' : ''}${name}; the nearest are ${near.join(', ')}`;
  }
}

/** The candidates with the smallest edit distance to a name, best first. */
export function nearest(name: string, candidates: readonly string[], count = 3): string[] {
  return candidates
    .map((candidate, index) => ({ candidate, index, distance: distance(name, candidate) }))
    .sort((a, b) => a.distance - b.distance || a.index - b.index)
    .slice(0, count)
    .map((entry) => entry.candidate);
}

/** Levenshtein's distance: insertions, deletions and replacements that turn one text into the other. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    row = next;
  }
  return row[b.length]!;
}
