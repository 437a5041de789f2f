/**
 * Dictionaries on disk in SAELens' layout: a directory with `cfg.json` and `sae_weights.safetensors`. Written as version 6 has it; read in that
 * form and the flat one before it. Weights take activations in the model's own units, so `normalize_activations` is "none".
 *
 *   architecture       tensors
 *   standard, topk     W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_in], b_dec [d_in]
 *   gated              W_enc, W_dec, b_dec, b_gate [d_sae], b_mag [d_sae], r_mag [d_sae]
 *   jumprelu           as standard, and threshold [d_sae]; BatchTopK dictionaries are jumprelu ones here, as SAELens exports them
 *
 * What SAELens has no word for (the kind among several of one architecture, signed codes) stands in the metadata.
 */
import { FileError, ShapeError, UsageError } from '../errors.ts';
import { encodeSafetensors, fileName, openSafetensors, type FileSource, type TensorToWrite } from '../files/index.ts';
import type { Gpu } from '../gpu/index.ts';
import { affine, Tensor, transpose, type SaePart, type SaeWeights } from '../tensor/index.ts';
import { Sae, type SaeMetadata, type SaeVariantName } from './sae.ts';

const ARCHITECTURES = ['standard', 'gated', 'topk', 'jumprelu'] as const;
type Architecture = (typeof ARCHITECTURES)[number];

const ARCHITECTURE_OF: Readonly<Record<SaeVariantName, Architecture>> = { vanilla: 'standard', frozen: 'standard', gated: 'gated', topk: 'topk', batchtopk: 'jumprelu', jumprelu: 'jumprelu' };

/** The tensors of an architecture: SAELens' name, the part of the weights, and whether it is written across. */
const TENSORS: Readonly<Record<Architecture, readonly (readonly [name: string, part: SaePart])[]>> = {
  standard: [['W_enc', 'encoder'], ['b_enc', 'encoderBias'], ['W_dec', 'decoder'], ['b_dec', 'decoderBias']],
  topk: [['W_enc', 'encoder'], ['b_enc', 'encoderBias'], ['W_dec', 'decoder'], ['b_dec', 'decoderBias']],
  gated: [['W_enc', 'encoder'], ['b_gate', 'encoderBias'], ['W_dec', 'decoder'], ['b_dec', 'decoderBias'], ['b_mag', 'magnitudeBias'], ['r_mag', 'magnitudeScale']],
  jumprelu: [['W_enc', 'encoder'], ['b_enc', 'encoderBias'], ['W_dec', 'decoder'], ['b_dec', 'decoderBias'], ['threshold', 'threshold']],
};

/** Parts that are in the units of the activations. */
const SCALED: readonly SaePart[] = ['encoderBias', 'decoderBias', 'magnitudeBias', 'threshold'];

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
  /** Checked if the dictionary says how the model's weights were processed. */
  weightProcessing?: Readonly<Record<string, boolean>>;
}

/** The files of a dictionary in SAELens' layout, by name. */
export async function saeFiles(sae: Sae): Promise<Record<string, Uint8Array>> {
  const { dIn, features, weights, metadata, variant, k, kind } = sae;
  const architecture = ARCHITECTURE_OF[variant];
  const across = transpose(weights.encoder);
  const tensors: Record<string, TensorToWrite> = {};
  for (const [name, part] of TENSORS[architecture]) {
    const tensor = part === 'encoder' ? across : weights[part]!;
    tensors[name] = { dtype: 'F32', shape: tensor.shape, data: await tensor.read() };
  }
  across.dispose();
  const config = {
    architecture, d_in: dIn, d_sae: features, dtype: 'float32', device: 'cpu', apply_b_dec_to_input: true,
    normalize_activations: 'none', reshape_activations: 'none', ...(k === null ? {} : { k, rescale_acts_by_decoder_norm: false }),
    metadata: { ...metadata, name: sae.name, variant, ...(kind.signed ? { signed: true } : {}) },
  };
  return {
    'cfg.json': new TextEncoder().encode(`${JSON.stringify(config, null, 2)}\n`),
    'sae_weights.safetensors': encodeSafetensors(tensors),
  };
}

/**
 * Loads a dictionary and checks that it belongs where it is to be used. FileError for broken or unsupported files, ShapeError for a width
 * that is not the site's, UsageError for another model, hook, head, position or weight processing.
 */
export async function loadSae(gpu: Gpu, source: FileSource, expected: ExpectedSite = {}): Promise<Sae> {
  const config = await readSaeConfig(source);
  checkSite(config, expected, source.name);
  const file = await openSafetensors(source, 'sae_weights.safetensors');
  const values = new Map<SaePart, Float32Array>();
  for (const [name, part] of TENSORS[config.architecture]) {
    const shape = shapeOf(part, config);
    const found = file.info(name).shape;
    if (found.join() !== shape.join()) throw new FileError(`${file.name}: tensor ${name} has shape [${found.join(', ')}], but cfg.json says [${shape.join(', ')}]`);
    const numbers = await file.f32(name);
    if (!numbers.every(Number.isFinite)) throw new FileError(`${file.name}: tensor ${name} holds NaN or infinity`);
    values.set(part, numbers);
  }
  if (file.has('scaling_factor') && (await file.f32('scaling_factor')).some((v) => v !== 1)) throw new FileError(`${file.name}: has a scaling_factor other than 1, which is not supported`);
  if (values.get('threshold')?.some((threshold) => threshold < 0)) throw new FileError(`${file.name}: tensor threshold holds a negative number`);
  const weights = gpu.scope(() => Object.fromEntries([...values].map(([part, numbers]) => {
    const tensor = Tensor.from(gpu, numbers, shapeOf(part, config));
    if (part === 'encoder') return [part, transpose(tensor)];
    return [part, config.scale !== 1 && SCALED.includes(part) ? affine(tensor, config.scale) : tensor];
  })) as unknown as SaeWeights);
  const { name, variant: _variant, signed, ...metadata } = config.metadata;
  const { variant, k } = config;
  return new Sae(typeof name === 'string' ? name : `${variant} ${source.name}`, weights, metadata as SaeMetadata, { variant, ...(k === null ? {} : { k }), ...(signed === true ? { signed } : {}) });
}

/** As the file has it. */
function shapeOf(part: SaePart, { dIn, features }: Pick<SaeFileConfig, 'dIn' | 'features'>): number[] {
  if (part === 'encoder') return [dIn, features];
  if (part === 'decoder') return [features, dIn];
  return part === 'decoderBias' ? [dIn] : [features];
}

export interface SaeFileConfig {
  dIn: number;
  features: number;
  architecture: Architecture;
  /** The kind: as the metadata says where that is of the architecture, else the kind of that name. */
  variant: SaeVariantName;
  /** Top-k: active features of an example; else null. */
  k: number | null;
  /** What a vector of activations is divided by before encoding and multiplied by after decoding. */
  scale: number;
  metadata: SaeMetadata;
}

/** Reads and checks `cfg.json`. FileError naming the field for everything that no kind here is. */
export async function readSaeConfig(source: FileSource): Promise<SaeFileConfig> {
  const file = fileName(source, 'cfg.json');
  const json = await source.json('cfg.json');
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new FileError(`${file}: not a JSON object`);
  const fields = json as Record<string, unknown>;
  const refuse = (field: string, why: string): never => {
    throw new FileError(`${file}: ${field} is ${JSON.stringify(fields[field])}; ${why}`);
  };
  for (const field of ['d_in', 'd_sae']) if (!Number.isSafeInteger(fields[field]) || (fields[field] as number) < 1) refuse(field, 'a whole number of at least 1 is needed');
  if (fields['apply_b_dec_to_input'] === false) refuse('apply_b_dec_to_input', 'only true is supported');
  if (fields['rescale_acts_by_decoder_norm'] === true) refuse('rescale_acts_by_decoder_norm', 'only false is supported');
  const { architecture, k } = architectureOf(fields, refuse);
  const nested = typeof fields['metadata'] === 'object' && fields['metadata'] !== null;
  const metadata = nested ? (fields['metadata'] as SaeMetadata) : flatMetadata(fields);
  const said = metadata['variant'] as SaeVariantName;
  return {
    dIn: fields['d_in'] as number, features: fields['d_sae'] as number, architecture, k, scale: await scaleOf(source, fields, refuse),
    variant: ARCHITECTURE_OF[said] === architecture ? said : architecture === 'standard' ? 'vanilla' : architecture, metadata,
  };
}

/** The architecture, which older files give by the activation function. */
function architectureOf(fields: Record<string, unknown>, refuse: (field: string, why: string) => never): { architecture: Architecture; k: number | null } {
  const field = fields['activation_fn'] === undefined ? 'activation_fn_str' : 'activation_fn';
  const activation = fields[field] ?? 'relu';
  const byActivation = activation === 'topk';
  const architecture = (byActivation && (fields['architecture'] ?? 'standard') === 'standard' ? 'topk' : fields['architecture'] ?? 'standard') as Architecture;
  if (!ARCHITECTURES.includes(architecture)) refuse('architecture', `only ${ARCHITECTURES.map((name) => `"${name}"`).join(', ')} are supported`);
  if (activation !== 'relu' && !(byActivation && architecture === 'topk') && !(activation === 'jumprelu' && architecture === 'jumprelu')) refuse(field, 'only "relu", "topk" and "jumprelu" are supported, each for its architecture');
  if (architecture !== 'topk') return { architecture, k: null };
  const options = fields['activation_fn_kwargs'];
  const k = fields['k'] ?? (typeof options === 'object' && options !== null ? (options as { k?: unknown }).k : undefined);
  if (!Number.isSafeInteger(k) || (k as number) < 1 || (k as number) > (fields['d_sae'] as number)) refuse(fields['k'] === undefined ? 'activation_fn_kwargs' : 'k', 'a topk dictionary needs a whole number k from 1 to d_sae');
  return { architecture, k: k as number };
}

/** The factor of `normalize_activations`: 1 if there is none, c if every vector is divided by one number that the directory holds. */
async function scaleOf(source: FileSource, fields: Record<string, unknown>, refuse: (field: string, why: string) => never): Promise<number> {
  const kind = fields['normalize_activations'];
  if (kind === undefined || kind === null || kind === false || kind === 'none') return 1;
  if (kind !== true && kind !== 'expected_average_only_in') refuse('normalize_activations', 'only "none" and "expected_average_only_in" are supported');
  if (!(await source.has('activation_scaler.json'))) refuse('normalize_activations', 'there is no activation_scaler.json that holds its factor');
  const factor = (await source.json<{ scaling_factor?: unknown }>('activation_scaler.json'))?.scaling_factor;
  if (typeof factor !== 'number' || !(factor > 0)) throw new FileError(`${fileName(source, 'activation_scaler.json')}: scaling_factor is ${JSON.stringify(factor)}, not a number above 0`);
  return 1 / factor;
}

/** The metadata of a flat cfg.json, as SAELens had it before version 6, under today's names. */
function flatMetadata(fields: Record<string, unknown>): SaeMetadata {
  const today: Record<string, string> = { hook_point: 'hook_name', hook_point_head_index: 'hook_head_index' };
  const kept = ['model_name', 'hook_name', 'hook_point', 'hook_head_index', 'hook_point_head_index', 'prepend_bos', 'context_size', 'dataset_path'];
  const entries = kept.filter((field) => fields[field] !== undefined).map((field): [string, unknown] => [today[field] ?? field, fields[field]]);
  return { prepend_bos: true, ...Object.fromEntries(entries) };
}

function checkSite(config: SaeFileConfig, expected: ExpectedSite, name: string): void {
  const { metadata } = config;
  const differ = (what: string, found: unknown, wanted: unknown): void => {
    if (found === undefined || wanted === undefined) return;
    if ((found ?? null) !== (wanted ?? null)) throw new UsageError(`dictionary ${name}: it was made for ${what} ${String(found)}, not ${String(wanted)}`);
  };
  differ('hook', metadata.hook_name, expected.hookName);
  differ('head', metadata.hook_head_index, expected.headIndex);
  differ('position', metadata['position'], expected.position);
  if (expected.width !== undefined && config.dIn !== expected.width) {
    throw new ShapeError(`dictionary ${name}: takes activations of width ${config.dIn}, but its site ${expected.hookName ?? ''} has width ${expected.width}`.replace('  ', ' '));
  }
  differ('model', metadata.model_name, expected.modelName);
  differ('a model with the weights', metadata['model_hash'], expected.modelHash);
  differ('prepend_bos', metadata.prepend_bos, expected.prependBos);
  const processing = metadata['weight_processing'];
  if (typeof processing !== 'object' || processing === null || !expected.weightProcessing) return;
  for (const [key, wanted] of Object.entries(expected.weightProcessing)) {
    differ(`weight processing ${key}`, (processing as Record<string, unknown>)[key], wanted);
  }
}
