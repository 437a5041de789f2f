/** Whether a dictionary belongs where it is to be used: what is known to differ is refused, what may differ is a warning. */
import { ShapeError, UsageError } from '../../errors.ts';
import type { RowNormalization } from '../../tensor/index.ts';
import type { SaeMetadata } from '../sae.ts';
import { isRecord, type SaeFileConfig } from './format.ts';

/** Where a dictionary is to be used. What is left out is not checked. */
export interface ExpectedSite {
  /** Width of the activations. */
  width?: number;
  hookName?: string;
  /** null for a hook without heads. */
  headIndex?: number | null;
  /** Semantic position, e.g. `end`; checked if the dictionary names one. */
  position?: string;
  modelName?: string;
  /** Fingerprint of the model's weights; checked if the dictionary has one. */
  modelHash?: string;
  prependBos?: boolean;
  /** Tokens of a prompt, at most; more than a dictionary was trained with is a risk. */
  contextSize?: number;
  /** Checked if the dictionary says how the model's weights were processed; else a risk, where that changes what is at the hook. */
  weightProcessing?: Readonly<Record<string, boolean>>;
}

/** TransformerLens' options under the names of this project's weight processing. */
const OPTIONS: Readonly<Record<string, string>> = {
  fold_ln: 'foldLn', center_writing_weights: 'centerWritingWeights', center_unembed: 'centerUnembed', fold_value_biases: 'foldValueBiases', refactor_factored_attn_matrices: 'refactorFactoredAttnMatrices',
};

/** By hook: the kinds of processing that change what is there. A hook that none of these names may be changed by all. */
const CHANGES: readonly (readonly [hook: RegExp, kinds: readonly string[]])[] = [
  [/(^|\.)hook_(embed|pos_embed|resid_\w+|mlp_out|attn_out|mlp_in|attn_in|[qkv]_input)$/, ['centerWritingWeights']],
  [/attn\.hook_result$/, ['centerWritingWeights', 'foldValueBiases', 'refactorFactoredAttnMatrices']],
  [/attn\.hook_[zv]$/, ['foldValueBiases', 'refactorFactoredAttnMatrices']],
  [/attn\.hook_[qk]$/, ['refactorFactoredAttnMatrices']],
  [/attn\.hook_(pattern|attn_scores)$|mlp\.hook_(pre|post)$|hook_scale$/, []],
  [/hook_normalized$/, ['foldLn']],
  [/^logits$/, ['centerUnembed']],
];

/**
 * The kinds of processing that change what a dictionary at a hook is given. Centring only takes the mean off, which per-token layer norm takes off
 * and gives back by itself.
 */
export function processingThatMatters(hook: string | undefined, normalization: RowNormalization | null): readonly string[] {
  const kinds = CHANGES.find(([names]) => hook !== undefined && names.test(hook))?.[1] ?? Object.values(OPTIONS);
  return normalization === 'layer_norm' ? kinds.filter((kind) => kind !== 'centerWritingWeights') : kinds;
}

/** What `model_from_pretrained_kwargs` say of the processing that matters at the hook; null if there are none. What they leave out is not done. */
export function processingOf({ hook_name: hook, model_from_pretrained_kwargs: given }: SaeMetadata, normalization: RowNormalization | null): Record<string, boolean> | null {
  if (!isRecord(given)) return null;
  const matters = processingThatMatters(hook, normalization);
  const all = Object.entries(OPTIONS).filter(([, kind]) => matters.includes(kind)).map(([option, kind]) => [kind, given[option] === true]);
  return all.length === 0 ? null : Object.fromEntries(all) as Record<string, boolean>;
}

/** Warnings for what may differ. ShapeError for a width that is not the site's, UsageError for another model, hook, head, position, token policy or processing. */
export function checkSite(config: SaeFileConfig, expected: ExpectedSite, name: string): string[] {
  const { metadata } = config;
  const differ = (what: string, found: unknown, wanted: unknown, same = (value: unknown): unknown => value ?? null): void => {
    if (found === undefined || wanted === undefined) return;
    if (same(found) !== same(wanted)) throw new UsageError(`dictionary ${name}: it was made for ${what} ${String(found)}, not ${String(wanted)}`);
  };
  differ('hook', metadata.hook_name, expected.hookName, residualPlace);
  differ('head', metadata.hook_head_index, expected.headIndex);
  differ('position', metadata['position'], expected.position);
  if (expected.width !== undefined && config.dIn !== expected.width) {
    throw new ShapeError(`dictionary ${name}: takes activations of width ${config.dIn}, but its site ${expected.hookName ?? ''} has width ${expected.width}`.replace('  ', ' '));
  }
  differ('model', metadata.model_name, expected.modelName, modelFamily);
  differ('a model with the weights', metadata['model_hash'], expected.modelHash);
  differ('prepend_bos', metadata.prepend_bos, expected.prependBos);
  const processing = metadata['weight_processing'];
  if (isRecord(processing)) for (const [key, wanted] of Object.entries(expected.weightProcessing ?? {})) differ(`weight processing ${key}`, processing[key], wanted);
  return risks(config, expected);
}

function risks({ metadata, normalization }: SaeFileConfig, { prependBos, contextSize, hookName, weightProcessing }: ExpectedSite): string[] {
  const found: string[] = [];
  const context = metadata['context_size'];
  if (contextSize !== undefined && typeof context === 'number' && contextSize > context) found.push(`it was trained in contexts of ${context} tokens, and is used in ${contextSize}`);
  if (prependBos !== undefined && metadata.prepend_bos === undefined) found.push(`it does not say whether prompts began with a beginning-of-sequence token; here they ${prependBos ? 'do' : 'do not'}`);
  if (hookName !== undefined && metadata.hook_name === undefined) found.push(`it does not say at which hook it was trained; it is used at ${hookName}`);
  if (weightProcessing && !isRecord(metadata['weight_processing']) && !isRecord(metadata['model_from_pretrained_kwargs'])) {
    const kinds = processingThatMatters(metadata.hook_name ?? hookName, normalization);
    if (kinds.length > 0) found.push(`it does not say how the model's weights were processed; at its hook ${kinds.join(', ')} would change the activations`);
  }
  return found;
}

/** The residual stream after a block is that before the next. */
function residualPlace(hook: unknown): unknown {
  const match = /^blocks\.(\d+)\.hook_resid_post$/.exec(String(hook));
  return match ? `blocks.${Number(match[1]) + 1}.hook_resid_pre` : hook ?? null;
}

/** GPT-2 Small has three names. */
function modelFamily(model: unknown): unknown {
  return ['gpt2', 'openai-community/gpt2'].includes(String(model)) ? 'gpt2-small' : model ?? null;
}
