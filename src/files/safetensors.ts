/**
 * Reading safetensors, one tensor at a time by byte range, so that a file of any size passes through with one tensor in memory.
 * A model in shards looks like one file: `model.safetensors.index.json` says which shard holds which tensor.
 */
import { FileError } from '../errors.ts';
import { widenToF32 } from './dtypes.ts';
import { readHeader, type TensorInfo, type TensorPlace } from './safetensors-header.ts';
import { fileName, type FileSource } from './source.ts';

export type { TensorInfo } from './safetensors-header.ts';

export interface TensorFile {
  /** For messages: source and file. */
  readonly name: string;
  /** In the order in which the data lies, so that reading them one by one reads the file from front to back. */
  readonly names: readonly string[];
  /** The free-text entries of `__metadata__`; of shards, all of them together. */
  readonly metadata: Readonly<Record<string, string>>;
  has(name: string): boolean;
  /** dtype, shape and length of a tensor; FileError if the file has none of the name. */
  info(name: string): TensorInfo;
  /** The bytes as they lie in the file, beginning at offset 0 of their own buffer: for types that the GPU widens itself. */
  raw(name: string): Promise<Uint8Array>;
  /** Bytes [start, end) of a tensor: for tensors that are uploaded in windows. */
  rawRange(name: string, start: number, end: number): Promise<Uint8Array>;
  /** The elements as float32, in the file's (row-major) order. F16 and BF16 exactly; F64 and large integers rounded. */
  f32(name: string): Promise<Float32Array>;
}

interface Place extends TensorPlace {
  path: string;
}

/**
 * Opens `path` of a source, or its shards when the source has `path + '.index.json'` instead (or `path` is such an index).
 * Every header is read and checked here; data is read only by raw and f32.
 */
export async function openSafetensors(source: FileSource, path = 'model.safetensors'): Promise<TensorFile> {
  const isIndex = path.endsWith('.index.json');
  if (!isIndex && (await source.has(path))) {
    const { tensors, metadata } = await readHeader(source, path);
    return tensorFile(source, path, new Map([...tensors].map(([name, place]) => [name, { ...place, path }])), metadata);
  }
  const index = isIndex ? path : `${path}.index.json`;
  if (!(await source.has(index))) throw await missing(source, path, index);
  return openShards(source, index);
}

async function missing(source: FileSource, path: string, index: string): Promise<FileError> {
  const torch = (await source.has('pytorch_model.bin')) ? '; its pytorch_model.bin is not read: convert it to safetensors' : '';
  return new FileError(`${fileName(source, path)}: no such file${path === index ? '' : `, nor ${index}`}${torch}`);
}

async function openShards(source: FileSource, index: string): Promise<TensorFile> {
  const file = fileName(source, index);
  const map = (await source.json<{ weight_map?: unknown } | null>(index))?.weight_map;
  if (typeof map !== 'object' || map === null || Array.isArray(map)) throw new FileError(`${file}: has no weight_map`);
  const byShard = new Map<string, string[]>();
  for (const [name, shard] of Object.entries(map)) {
    if (typeof shard !== 'string' || !/^[^/\\]+$/.test(shard)) throw new FileError(`${file}: tensor ${name}: ${JSON.stringify(shard)} is not the name of a file beside the index`);
    byShard.set(shard, [...(byShard.get(shard) ?? []), name]);
  }
  const directory = index.slice(0, index.lastIndexOf('/') + 1);
  const places = new Map<string, Place>();
  const metadata: Record<string, string> = {};
  for (const [shard, names] of byShard) {
    const path = directory + shard;
    if (!(await source.has(path))) throw new FileError(`${fileName(source, path)}: no such file, but ${index} says that tensor ${names[0]} is in it`);
    const header = await readHeader(source, path);
    Object.assign(metadata, header.metadata);
    for (const name of names) {
      const place = header.tensors.get(name);
      if (!place) throw new FileError(`${fileName(source, path)}: has no tensor ${name}, though ${index} says so`);
      places.set(name, { ...place, path });
    }
  }
  return tensorFile(source, index, places, metadata);
}

function tensorFile(source: FileSource, path: string, places: Map<string, Place>, metadata: Record<string, string>): TensorFile {
  const file = fileName(source, path);
  const shards = [...new Set([...places.values()].map((place) => place.path))];
  const names = [...places]
    .sort(([, a], [, b]) => shards.indexOf(a.path) - shards.indexOf(b.path) || a.start - b.start)
    .map(([name]) => name);

  function find(name: string): Place {
    const place = places.get(name);
    if (!place) throw new FileError(`${file}: has no tensor ${name}`);
    return place;
  }

  async function rawRange(name: string, start: number, end: number): Promise<Uint8Array> {
    const place = find(name);
    if (!(start >= 0 && start <= end && end <= place.bytes)) {
      throw new FileError(`${file}: tensor ${name}: bytes ${start} to ${end} are not within its ${place.bytes}`);
    }
    return source.range(place.path, place.start + start, place.start + end);
  }

  return {
    name: file,
    names,
    metadata,
    has: (name) => places.has(name),
    info(name) {
      const { dtype, shape, bytes } = find(name);
      return { dtype, shape, bytes };
    },
    raw: async (name) => rawRange(name, 0, find(name).bytes),
    rawRange,
    async f32(name) {
      const { dtype, bytes } = find(name);
      return widenToF32(await rawRange(name, 0, bytes), dtype);
    },
  };
}
