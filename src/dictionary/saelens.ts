/**
 * Dictionaries on disk in SAELens' layout: a directory with `cfg.json` and `sae_weights.safetensors` (W_enc [d_in, d_sae], b_enc [d_sae],
 * W_dec [d_sae, d_in], b_dec [d_in]). Written as version 6 has it; read in that form and the flat one before it. Weights take activations in
 * the model's own units, so `normalize_activations` is "none"; a decoder row has unit length.
 */
import { FileError, ShapeError, UsageError } from '../errors.ts';
import { encodeSafetensors, fileName, openSafetensors, type FileSource } from '../files/index.ts';
import type { Gpu } from '../gpu/index.ts';
import { affine, Tensor, transpose, type SaeWeights } from '../tensor/index.ts';
import { Sae, type SaeMetadata } from './sae.ts';

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
  const { dIn, features, weights, metadata } = sae;
  const { encoder, encoderBias, decoder, decoderBias } = weights;
  const across = transpose(encoder);
  const [wEnc, bEnc, wDec, bDec] = await Promise.all([across.read(), encoderBias.read(), decoder.read(), decoderBias.read()]);
  across.dispose();
  const config = {
    architecture: 'standard', d_in: dIn, d_sae: features, dtype: 'float32', device: 'cpu', apply_b_dec_to_input: true,
    normalize_activations: 'none', reshape_activations: 'none', metadata: { ...metadata, name: sae.name },
  };
  return {
    'cfg.json': new TextEncoder().encode(`${JSON.stringify(config, null, 2)}\n`),
    'sae_weights.safetensors': encodeSafetensors({
      W_enc: { dtype: 'F32', shape: [dIn, features], data: wEnc },
      b_enc: { dtype: 'F32', shape: [features], data: bEnc },
      W_dec: { dtype: 'F32', shape: [features, dIn], data: wDec },
      b_dec: { dtype: 'F32', shape: [dIn], data: bDec },
    }),
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
  const { dIn, features } = config;
  const shapes: Record<string, number[]> = { W_enc: [dIn, features], b_enc: [features], W_dec: [features, dIn], b_dec: [dIn] };
  for (const [name, shape] of Object.entries(shapes)) {
    const found = file.info(name).shape;
    if (found.join() !== shape.join()) throw new FileError(`${file.name}: tensor ${name} has shape [${found.join(', ')}], but cfg.json says [${shape.join(', ')}]`);
  }
  const [wEnc, bEnc, wDec, bDec] = await Promise.all([file.f32('W_enc'), file.f32('b_enc'), file.f32('W_dec'), file.f32('b_dec')]);
  for (const [name, values] of Object.entries({ W_enc: wEnc, b_enc: bEnc, W_dec: wDec, b_dec: bDec })) {
    if (!values.every(Number.isFinite)) throw new FileError(`${file.name}: tensor ${name} holds NaN or infinity`);
  }
  if (file.has('scaling_factor') && (await file.f32('scaling_factor')).some((v) => v !== 1)) throw new FileError(`${file.name}: has a scaling_factor other than 1, which is not supported`);
  const weights = gpu.scope((): SaeWeights => {
    const matrix = transpose(Tensor.from(gpu, wEnc!, [dIn, features]));
    const bias = Tensor.from(gpu, bEnc!, [features]);
    const shift = Tensor.from(gpu, bDec!, [dIn]);
    const decoder = Tensor.from(gpu, wDec!, [features, dIn]);
    if (config.scale === 1) return { encoder: matrix, encoderBias: bias, decoder, decoderBias: shift };
    return { encoder: matrix, encoderBias: affine(bias, config.scale), decoder, decoderBias: affine(shift, config.scale) };
  });
  const { name, ...metadata } = config.metadata;
  return new Sae(typeof name === 'string' ? name : `vanilla ${source.name}`, weights, metadata as SaeMetadata);
}

export interface SaeFileConfig {
  dIn: number;
  features: number;
  /** What a vector of activations is divided by before encoding and multiplied by after decoding. */
  scale: number;
  metadata: SaeMetadata;
}

/** Reads and checks `cfg.json`. FileError naming the field for everything that a vanilla SAE is not. */
export async function readSaeConfig(source: FileSource): Promise<SaeFileConfig> {
  const file = fileName(source, 'cfg.json');
  const json = await source.json('cfg.json');
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new FileError(`${file}: not a JSON object`);
  const fields = json as Record<string, unknown>;
  const refuse = (field: string, why: string): never => {
    throw new FileError(`${file}: ${field} is ${JSON.stringify(fields[field])}; ${why}`);
  };
  for (const field of ['d_in', 'd_sae']) if (!Number.isSafeInteger(fields[field]) || (fields[field] as number) < 1) refuse(field, 'a whole number of at least 1 is needed');
  if ((fields['architecture'] ?? 'standard') !== 'standard') refuse('architecture', 'only "standard" (ReLU) dictionaries are supported');
  const activation = fields['activation_fn'] ?? fields['activation_fn_str'] ?? 'relu';
  if (activation !== 'relu') refuse(fields['activation_fn'] === undefined ? 'activation_fn_str' : 'activation_fn', 'only "relu" is supported');
  if (fields['apply_b_dec_to_input'] === false) refuse('apply_b_dec_to_input', 'only true is supported');
  const nested = typeof fields['metadata'] === 'object' && fields['metadata'] !== null;
  return {
    dIn: fields['d_in'] as number, features: fields['d_sae'] as number, scale: await scaleOf(source, fields, refuse),
    metadata: nested ? (fields['metadata'] as SaeMetadata) : flatMetadata(fields),
  };
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
