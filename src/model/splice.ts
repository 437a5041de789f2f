/**
 * Dictionaries in the place of activations, as SAELens' HookedSAETransformer puts them there. With x what the model has at the hook:
 *
 *   output = x̂      or with the error term      output = x̂ + (x − x̂_clean)
 *
 * x̂ is the reconstruction of x through all edits within the dictionary, x̂_clean the one without any: so with the error term nothing changes
 * until something within the dictionary is edited, and what is edited changes the output by just that.
 *
 * The sites within have SAELens' names behind the hook's, `blocks.2.hook_resid_post.hook_sae_acts_post`, in a run's order:
 *
 *   hook_sae_input       x, [prompts, positions, dIn]; all heads' parts side by side where the hook has heads
 *   hook_sae_acts_pre    what the activation function is applied to, [prompts, positions, features] (tensor/sae-pre-activations.ts)
 *   hook_sae_acts_post   codes f, [prompts, positions, features]
 *   hook_sae_recons      f W_dec + b_dec, [prompts, positions, dIn], before a normalisation of each activation is undone
 *   hook_sae_error       x − x̂_clean, of the hook's shape; it may be edited where the error term is part of the output
 *   hook_sae_output      what the model goes on with, of the hook's shape
 *
 * A dictionary of one head has the head's number in between, as several heads of a hook may have one: `blocks.1.attn.hook_z.3.hook_sae_acts_post`.
 * The hook's own edits are made before the dictionary sees the activation; its captures and its cache are of the output.
 */
import { ShapeError, UnknownSiteError, UsageError } from '../errors.ts';
import type { Tensor } from '../tensor/index.ts';
import type { Gpt2Config } from './config.ts';
import { readHead, readPositions, type Batch } from './run.ts';
import { hasHeads, Hooks, type Hook } from './sites.ts';

/** What the forward pass asks of a dictionary; `Sae` is one. Tensors that it makes belong to whoever asks. */
export interface SpliceDictionary {
  readonly name: string;
  /** Width of the activations. */
  readonly dIn: number;
  readonly features: number;
  /** Where it belongs, under SAELens' names. */
  readonly metadata: { readonly hook_name?: string; readonly hook_head_index?: number | null };
  /** Codes [n, features] of activations [n, dIn]. */
  encode(examples: { activations: Tensor }): Tensor;
  /** What the activation function is applied to, [n, features]. */
  preActivations(activations: Tensor): Tensor;
  /** Codes [n, features] of pre-activations, which may have been edited; `activations` are for what else codes depend on, such as gates. */
  activate(pre: Tensor, activations: Tensor): Tensor;
  /** Codes times decoder, and its bias: [n, dIn]. */
  reconstruct(codes: Tensor): Tensor;
  /** That brought back to the scale of the activations, where the dictionary has a scale of its own for each; always a new handle. */
  restore(reconstruction: Tensor, activations: Tensor): Tensor;
}

export interface Splice {
  sae: SpliceDictionary;
  /** Where; by default the `hook_name` of the dictionary's metadata. */
  hook?: string;
  /** Only this head's part of hook_q, hook_k, hook_v or hook_z; by default `hook_head_index` of the metadata, where the hook is the one that they name. */
  head?: number;
  /** Add what the clean reconstruction misses, so that nothing changes by itself. */
  errorTerm?: boolean;
  /** Only there: one position per prompt, or one for all prompts. Its sites then have one row per prompt. All positions unless given. */
  positions?: ArrayLike<number> | number;
}

/** A splice that has been checked. */
export interface ResolvedSplice {
  dictionary: SpliceDictionary;
  hook: Hook;
  head: number | null;
  positions: Uint32Array | null;
  errorTerm: boolean;
  sites: Readonly<Record<SpliceSite, Hook>>;
}

const SITES = ['input', 'acts_pre', 'acts_post', 'recons', 'error', 'output'] as const;
export type SpliceSite = (typeof SITES)[number];

/**
 * Checks splices. UsageError for a dictionary whose hook is not known and for two in one place, UnknownSiteError for a hook or head where none can
 * be, ShapeError for a width that is not the hook's, TokenError for a position that a prompt does not have.
 */
export function readSplices(items: readonly (SpliceDictionary | Splice)[], batch: Batch, hooks: Hooks, config: Gpt2Config): ResolvedSplice[] {
  const resolved: ResolvedSplice[] = [];
  for (const item of items) {
    const splice = resolve('sae' in item ? item : { sae: item }, batch, hooks, config);
    const twin = resolved.find(({ hook, head }) => hook === splice.hook && (head === splice.head || head === null || splice.head === null));
    if (twin) throw new UsageError(`two dictionaries, ${twin.dictionary.name} and ${splice.dictionary.name}, are spliced into ${placeOf(splice)}${twin.head === splice.head ? '' : `, one of them into all of ${splice.hook.name}`}`);
    resolved.push(splice);
  }
  return resolved;
}

/** All hooks of a model, with the sites of what is spliced into it. */
export function splicedHooks(config: Gpt2Config, splices: readonly ResolvedSplice[]): Hooks {
  return new Hooks(config, splices.flatMap(({ sites }) => Object.values(sites)));
}

function resolve({ sae, hook: given, head: givenHead, errorTerm = false, positions }: Splice, batch: Batch, hooks: Hooks, config: Gpt2Config): ResolvedSplice {
  const what = `splice of ${sae.name}`;
  const { hook_name: own, hook_head_index: ownHead } = sae.metadata;
  const name = given ?? own;
  if (name === undefined) throw new UsageError(`${what}: its metadata does not say which hook it belongs to; give hook`);
  const [hook, head] = within(what, () => {
    const found = hooks.editable(name);
    if (found.kind === 'pattern') throw new UnknownSiteError(`${name} has a weight for every pair of positions; dictionaries read vectors`);
    return [found, readHead(givenHead ?? (name === own ? ownHead ?? undefined : undefined), found, config)];
  });
  const { width } = hooks.columns(hook, head ?? undefined);
  if (width !== sae.dIn) {
    const missing = head === null && hasHeads(hook.kind) && sae.dIn === config.headWidth;
    throw new ShapeError(`${what}: it takes activations of width ${sae.dIn}, but ${placeOf({ hook, head })} has width ${width}${missing ? '; say which head it belongs to' : ''}`);
  }
  const rows = positions === undefined ? null : readPositions(positions, batch, what);
  const splice = { dictionary: sae, hook, head, positions: rows, errorTerm };
  return { ...splice, sites: sitesOf(splice, hooks) };
}

function sitesOf({ dictionary: { dIn, features }, hook, head, positions, errorTerm }: Omit<ResolvedSplice, 'sites'>, hooks: Hooks): ResolvedSplice['sites'] {
  const outside = head === null ? hooks.shape(hook, 1, 1).slice(2) : [dIn];
  const shapes: Record<SpliceSite, readonly number[]> = { input: [dIn], acts_pre: [features], acts_post: [features], recons: [dIn], error: outside, output: outside };
  return Object.fromEntries(SITES.map((site, i): [SpliceSite, Hook] => [site, {
    // Part of what happens at the hook: deeper than it, but nothing lies in between.
    name: `${placeOf({ hook, head })}.hook_sae_${site}`, kind: 'spliced', layer: hook.layer, depth: hook.depth + (i + 1) / (SITES.length + 1),
    editable: site !== 'error' || errorTerm, inner: { outer: hook, shape: shapes[site], positions },
  }])) as Record<SpliceSite, Hook>;
}

function placeOf({ hook, head }: Pick<ResolvedSplice, 'hook' | 'head'>): string {
  return head === null ? hook.name : `${hook.name}.${head}`;
}

/** Errors about the hook say which dictionary was to be there. */
function within<T>(what: string, find: () => T): T {
  try {
    return find();
  } catch (error) {
    if (error instanceof UnknownSiteError) throw new UnknownSiteError(`${what}: ${error.message}`, { cause: error });
    throw error;
  }
}
