/**
 * What a layout of dictionaries on disk has to say. A layout is one file of this folder: it recognises its own directories, reads what they say of
 * themselves, and points to the tensors. How tensors lie, and what of them has to be folded together, is told here and done in weights.ts.
 */
import { FileError } from '../../errors.ts';
import { TorchTensor, type FileSource, type TensorFile, type TorchDict, type TorchFile } from '../../files/index.ts';
import type { RowNormalization, SaePart } from '../../tensor/index.ts';
import type { SaeMetadata, SaeVariantName } from '../sae.ts';

/** Which of several dictionaries. */
export interface SaeChoice {
  /** The file, for layouts whose files have no fixed name: a path in the source. */
  file?: string;
  /** The hook, for files that hold several dictionaries. */
  hook?: string;
}

/** What a dictionary's files say of it; nothing of its tensors is read yet. */
export interface SaeFileConfig {
  /** The layout's name. */
  layout: string;
  dIn: number;
  features: number;
  variant: SaeVariantName;
  /** Top-k: active features of an example; else null. */
  k: number | null;
  /** As Sae has it. */
  signed: boolean;
  /** What a vector of activations is divided by before encoding and multiplied by after decoding: one number for all. */
  scale: number;
  /** How each vector is brought to a scale of its own; else null. */
  normalization: RowNormalization | null;
  /** As `name` in the metadata, or after its file. */
  name: string;
  /** hook_name, hook_head_index, context_size, prepend_bos and what else is known, under SAELens' names; `weight_processing` of those kinds that change the hook. */
  metadata: SaeMetadata;
  /** What cannot be trusted blindly, a sentence each. */
  warnings: readonly string[];
}

/** Tensors by name, of whatever kind of file. */
export interface NamedTensors {
  /** For messages: source and file. */
  readonly name: string;
  has(name: string): boolean;
  /** FileError if there is none of the name. */
  shape(name: string): readonly number[];
  f32(name: string): Promise<Float32Array>;
}

/** Where a part lies: the tensor's name, and whether the file has it across, [width, features] instead of [features, width]. */
export type PartPlace = readonly [name: string, across?: 'across'];

/** How the parts of a dictionary come from its tensors. */
export interface WeightPlan {
  tensors: NamedTensors;
  parts: Partial<Readonly<Record<SaePart, PartPlace>>>;
  /** What says the sizes that the tensors must have, for messages. */
  sizesFrom: string;
  /** The decoder's bias is not taken off what is encoded. */
  unshifted?: boolean;
  /** The decoder's rows have unit length where they are used, whatever they have in the file. */
  unitDecoder?: boolean;
  /** Pre-activations are multiplied by the lengths of the decoder's rows and codes divided by them before they are decoded. */
  byDecoderNorm?: boolean;
  /** A tensor [features] that codes are multiplied by before they are decoded. */
  codeFactors?: string;
}

export interface FoundSae {
  /** `scale` is NaN where a factor is asked for that the files do not hold. */
  config: SaeFileConfig;
  weights(): Promise<WeightPlan>;
}

export interface SaeFormat {
  readonly name: string;
  /** The dictionary, or null if the files are not in this layout. FileError naming the field for what the layout allows and no dictionary here is. */
  open(files: SaeFiles, choice: SaeChoice): Promise<FoundSae | null>;
}

/** A source as layouts look at it. */
export interface SaeFiles {
  source: FileSource;
  /** A torch file, opened once for all layouts that look into it. */
  torch(path: string): Promise<TorchFile>;
}

/** The dictionary of tensors in a torch file, under names that begin with `prefix`. */
export function torchTensors(file: TorchFile, dict: TorchDict, prefix = ''): NamedTensors {
  const find = (name: string): TorchTensor => {
    const tensor = dict.get(prefix + name);
    if (!(tensor instanceof TorchTensor)) throw new FileError(`${file.name}: has no tensor ${prefix}${name}`);
    return tensor;
  };
  return { name: file.name, has: (name) => dict.get(prefix + name) instanceof TorchTensor, shape: (name) => find(name).shape, f32: (name) => file.f32(find(name)) };
}

export function safetensorsTensors(file: TensorFile): NamedTensors {
  return { name: file.name, has: (name) => file.has(name), shape: (name) => file.info(name).shape, f32: (name) => file.f32(name) };
}

/** The dictionary that a torch file consists of; FileError for another value. */
export function torchDict(file: TorchFile): TorchDict {
  if (!(file.value instanceof Map)) throw new FileError(`${file.name}: holds no dictionary of tensors`);
  return file.value;
}

/** A JSON object's fields, with an error for each that is not as it should be. */
export interface Fields {
  readonly values: Record<string, unknown>;
  refuse(field: string, why: string): never;
  /** A whole number of at least 1. */
  count(field: string): number;
}

export function fieldsOf(json: unknown, file: string): Fields {
  if (!isRecord(json)) throw new FileError(`${file}: not a JSON object`);
  const refuse = (field: string, why: string): never => {
    throw new FileError(`${file}: ${field} is ${JSON.stringify(json[field])}; ${why}`);
  };
  return {
    values: json,
    refuse,
    count: (field) => (Number.isSafeInteger(json[field]) && (json[field] as number) >= 1 ? (json[field] as number) : refuse(field, 'a whole number of at least 1 is needed')),
  };
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The two sizes of a matrix of a file without a configuration. */
export function matrixShape(tensors: NamedTensors, name: string): [number, number] {
  const shape = tensors.shape(name);
  if (shape.length !== 2 || shape.includes(0)) throw new FileError(`${tensors.name}: tensor ${name} has shape [${shape.join(', ')}], but a matrix is needed`);
  return shape as [number, number];
}

/** TransformerLens' name of what a Hugging Face module of GPT-2 (or one named alike) gives out; null for others. */
export function hookOfModule(path: string): string | null {
  const match = /^(?:(?:transformer|model)\.)?(?:h|layers)[._](\d+)(?:\.(attn|self_attn|mlp|mlp\.act))?$/.exec(path);
  if (!match) return null;
  const kind = { attn: 'hook_attn_out', self_attn: 'hook_attn_out', mlp: 'hook_mlp_out', 'mlp.act': 'mlp.hook_post' }[match[2] ?? ''] ?? 'hook_resid_post';
  return `blocks.${match[1]}.${kind}`;
}
