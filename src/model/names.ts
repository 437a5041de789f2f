/** Which tensors a GPT-2 file holds, under which names and in which shapes. */
import { FileError } from '../errors.ts';
import type { TensorFile } from '../files/index.ts';
import type { Gpt2Config } from './config.ts';

/** A tensor of the model as its file has it. */
export interface WeightEntry {
  /** Its name without any prefix, such as `h.0.attn.c_attn.weight`. */
  name: string;
  /** Its name in the file. */
  stored: string;
  shape: readonly number[];
  /** Bytes in the file. */
  bytes: number;
}

const PREFIX = 'transformer.';
const HEAD = 'lm_head.weight';
const TYPES = ['F32', 'F16', 'BF16'];
/** The causal mask, which old files carry along. */
const MASK = /^h\.\d+\.attn\.(bias|masked_bias)$/;

/** Shapes of all tensors by name. Matrices are [input, output]. */
export function expectedShapes(config: Gpt2Config): Map<string, number[]> {
  const { width, mlpWidth, vocabulary, context, layers } = config;
  const shapes = new Map<string, number[]>([['wte.weight', [vocabulary, width]], ['wpe.weight', [context, width]]]);
  for (let layer = 0; layer < layers; layer++) {
    const add = (name: string, shape: number[]): void => void shapes.set(`h.${layer}.${name}`, shape);
    for (const norm of ['ln_1', 'ln_2']) {
      add(`${norm}.weight`, [width]);
      add(`${norm}.bias`, [width]);
    }
    add('attn.c_attn.weight', [width, 3 * width]);
    add('attn.c_attn.bias', [3 * width]);
    add('attn.c_proj.weight', [width, width]);
    add('attn.c_proj.bias', [width]);
    add('mlp.c_fc.weight', [width, mlpWidth]);
    add('mlp.c_fc.bias', [mlpWidth]);
    add('mlp.c_proj.weight', [mlpWidth, width]);
    add('mlp.c_proj.bias', [width]);
  }
  shapes.set('ln_f.weight', [width]);
  shapes.set('ln_f.bias', [width]);
  if (!config.tied) shapes.set(HEAD, [vocabulary, width]);
  return shapes;
}

/**
 * Finds the model's tensors in a file, with or without the prefix `transformer.`, in the order in which their data lies.
 * Throws FileError that names a tensor which is missing, unknown, there twice, or of a wrong shape or type.
 */
export function findWeights(file: TensorFile, config: Gpt2Config): WeightEntry[] {
  const expected = expectedShapes(config);
  const entries = new Map<string, WeightEntry>();
  for (const stored of file.names) {
    const name = stored.startsWith(PREFIX) ? stored.slice(PREFIX.length) : stored;
    if (MASK.test(name)) continue;
    // A tied model may store its head once more; `loadWeights` checks that it is the same.
    const shape = expected.get(name) ?? (name === HEAD ? expected.get('wte.weight') : undefined);
    if (!shape) throw new FileError(`${file.name}: tensor ${stored} is not one of a GPT-2 model with ${config.layers} layers`);
    const twin = entries.get(name);
    if (twin) throw new FileError(`${file.name}: tensors ${twin.stored} and ${stored} are the same weight`);
    const info = file.info(stored);
    if (info.shape.length !== shape.length || info.shape.some((n, i) => n !== shape[i])) {
      throw new FileError(`${file.name}: tensor ${stored} has the shape [${info.shape.join(', ')}], but config.json asks for [${shape.join(', ')}]`);
    }
    if (!TYPES.includes(info.dtype)) throw new FileError(`${file.name}: tensor ${stored} is of type ${info.dtype}; supported are ${TYPES.join(', ')}`);
    entries.set(name, { name, stored, shape, bytes: info.bytes });
  }
  for (const name of expected.keys()) {
    if (!entries.has(name)) throw new FileError(`${file.name}: tensor ${name} is missing${name === HEAD ? ', though config.json has tie_word_embeddings false' : ''}`);
  }
  return [...entries.values()];
}
