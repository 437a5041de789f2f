/**
 * `config.json` of a Hugging Face GPT-2 directory, checked field by field. What would change the arithmetic and is not GPT-2's own is
 * refused by name; dropout rates and other training settings are read past.
 */
import { ConfigError } from '../errors.ts';

export interface Gpt2Config {
  layers: number;
  heads: number;
  /** Width of the residual stream. */
  width: number;
  headWidth: number;
  mlpWidth: number;
  vocabulary: number;
  /** Most positions a prompt may have. */
  context: number;
  /** Added to the variance in every layer norm. */
  epsilon: number;
  /** The unembedding is the embedding's own matrix; else the file has `lm_head.weight`. */
  tied: boolean;
  /** Token ids that the configuration names; null where it does not. */
  bos: number | null;
  eos: number | null;
}

/** Names under which the tanh form of GELU goes. */
const ACTIVATIONS = ['gelu_new', 'gelu_pytorch_tanh'];

/** Switches that change what is computed, with the only value that is supported. */
const SWITCHES: readonly [name: string, supported: boolean][] = [
  ['scale_attn_weights', true],
  ['scale_attn_by_inverse_layer_idx', false],
  ['reorder_and_upcast_attn', false],
  ['add_cross_attention', false],
  ['is_encoder_decoder', false],
];

/** Settings that would make the weights something else than plain matrices. */
const ABSENT = ['quantization_config', 'rope_scaling', 'adapters', 'pruned_heads'];

/**
 * Reads a parsed `config.json`; `file` names it in messages.
 * Throws ConfigError that names the field, its value and what is supported.
 */
export function readConfig(json: unknown, file: string): Gpt2Config {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new ConfigError(`${file}: not a JSON object`);
  const fields = json as Record<string, unknown>;
  const show = (name: string): string => `${name} ${fields[name] === undefined ? 'is missing' : `is ${JSON.stringify(fields[name])}`}`;
  const refuse = (name: string, wanted: string): never => {
    throw new ConfigError(`${file}: ${show(name)}; ${wanted}`);
  };

  if (fields.model_type !== 'gpt2') refuse('model_type', 'only models of type "gpt2" can be run');
  const activation = fields.activation_function ?? 'gelu_new';
  if (!ACTIVATIONS.includes(activation as string)) refuse('activation_function', `supported are ${ACTIVATIONS.join(' and ')} (the tanh form of GELU)`);
  for (const [name, supported] of SWITCHES) {
    if ((fields[name] ?? supported) !== supported) refuse(name, `only ${supported} is supported`);
  }
  for (const name of ABSENT) {
    const value = fields[name];
    if (value !== undefined && value !== null && !(typeof value === 'object' && Object.keys(value).length === 0)) refuse(name, 'it is not supported');
  }

  const count = (name: string, other?: string): number => {
    const key = fields[name] === undefined && other !== undefined && fields[other] !== undefined ? other : name;
    const value = fields[key];
    if (!Number.isSafeInteger(value) || (value as number) < 1) refuse(key, 'a whole number of at least 1 is needed');
    return value as number;
  };
  const width = count('n_embd');
  const heads = count('n_head');
  if (width % heads) throw new ConfigError(`${file}: n_embd ${width} is not divisible by n_head ${heads}`);
  const epsilon = fields.layer_norm_epsilon ?? 1e-5;
  if (typeof epsilon !== 'number' || !(epsilon > 0) || !Number.isFinite(epsilon)) refuse('layer_norm_epsilon', 'a positive number is needed');
  const tied = fields.tie_word_embeddings ?? true;
  if (typeof tied !== 'boolean') refuse('tie_word_embeddings', 'true or false is needed');

  const vocabulary = count('vocab_size');
  const token = (name: string): number | null => {
    const value = fields[name] ?? null;
    return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) < vocabulary ? (value as number) : null;
  };
  return {
    layers: count('n_layer'),
    heads,
    width,
    headWidth: width / heads,
    mlpWidth: fields.n_inner === undefined || fields.n_inner === null ? 4 * width : count('n_inner'),
    vocabulary,
    context: count('n_positions', 'n_ctx'),
    epsilon: epsilon as number,
    tied: tied as boolean,
    bos: token('bos_token_id'),
    eos: token('eos_token_id'),
  };
}
