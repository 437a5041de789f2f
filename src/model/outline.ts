/** What a model's files say of it before anything of it is loaded: their headers alone are read. */
import { FileError } from '../errors.ts';
import { fileName, openSafetensors, openSource, type FileSource } from '../files/index.ts';
import { elements } from '../tensor/index.ts';
import { readConfig, type Gpt2Config } from './config.ts';
import { expectedShapes, findWeights } from './names.ts';
import { NO_PROCESSING } from './processing.ts';
import { storedBytes, weightBytes, weightTypes, type WeightType } from './weights.ts';

/** A tensor as a binding sees it: rows of so many bytes. */
export interface LargestTensor { name: string; rows: number; rowBytes: number; bytes: number }

export interface ModelOutline {
  config: Gpt2Config;
  /** Numbers in its weights; a tied embedding counts once. */
  parameters: number;
  /** Bytes of its tensors in their files. */
  fileBytes: number;
  /**
   * By how matrices are stored on the device: bytes of its weights there, bytes more where processing gives the unembedding numbers of its own, and the
   * largest tensor.
   */
  device: Record<WeightType, { bytes: number; unembedBytes: number; largest: LargestTensor }>;
}

/**
 * Reads `config.json` and the headers of the weights of a directory in Hugging Face's layout, and checks that they fit together. Throws ConfigError for
 * what is not GPT-2 and FileError for a broken file, or a tensor that is missing, unknown or of a wrong shape.
 */
export async function outlineModel(where: string | FileSource): Promise<ModelOutline> {
  const source = openSource(where);
  const config = await configOf(source);
  const entries = findWeights(await openSafetensors(source), config);
  const shapes = [...expectedShapes(config)];
  const formOf = (type: WeightType): ModelOutline['device'][WeightType] => {
    const sizes = shapes.map(([name, shape]): LargestTensor => ({ name, rows: shape[0]!, bytes: storedBytes(type, name, shape), rowBytes: storedBytes(type, name, shape) / shape[0]! }));
    const [bytes, processed] = [NO_PROCESSING, { ...NO_PROCESSING, foldLn: true }].map((processing) => weightBytes(config, { processing, type })) as [number, number];
    return { bytes, unembedBytes: processed - bytes, largest: sizes.reduce((most, one) => (one.bytes > most.bytes ? one : most)) };
  };
  return {
    config, parameters: shapes.reduce((sum, [, shape]) => sum + elements(shape), 0), fileBytes: entries.reduce((sum, { bytes }) => sum + bytes, 0),
    device: Object.fromEntries(weightTypes.map((type) => [type, formOf(type)])) as ModelOutline['device'],
  };
}

/** A model directory's configuration. FileError where there is none, ConfigError for what is not GPT-2. */
export async function configOf(source: FileSource): Promise<Gpt2Config> {
  if (!(await source.has('config.json'))) throw new FileError(`${fileName(source, 'config.json')}: no such file; a model directory in Hugging Face's layout is needed`);
  return readConfig(await source.json('config.json'), fileName(source, 'config.json'));
}
