/**
 * The header of a safetensors file: 8 bytes little-endian length n, then n bytes of JSON
 * `{ name: { dtype, shape, data_offsets: [begin, end] }, …, "__metadata__": { … } }`, then the data that the offsets count into.
 * Everything is checked before a byte of data is used, since a wrong offset would give wrong weights and no error.
 */
import { FileError } from '../errors.ts';
import { bytesPerElement, isDType, KNOWN_DTYPES, type SafetensorsDType } from './dtypes.ts';
import { checkRange, fileName, parseJson, type FileSource } from './source.ts';

export interface TensorInfo {
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  /** Length of the data in bytes. */
  readonly bytes: number;
}

/** Where a tensor's data lies, in bytes from the start of its file. */
export interface TensorPlace extends TensorInfo {
  readonly start: number;
  readonly end: number;
}

export interface Header {
  tensors: Map<string, TensorPlace>;
  metadata: Record<string, string>;
}

/** Larger headers are refused before they are read; the format's own reader draws the same line. */
const LARGEST_HEADER = 100_000_000;

/** Reads and checks the header of one file. Every fault is a FileError that names file, tensor and byte. */
export async function readHeader(source: FileSource, path: string): Promise<Header> {
  const file = fileName(source, path);
  const size = await source.size(path);
  if (size < 8) throw new FileError(`${file}: truncated: a safetensors file begins with 8 bytes of header length, the file ends at byte ${size}`);
  const lengthBytes = await source.range(path, 0, 8);
  const length = new DataView(lengthBytes.buffer, lengthBytes.byteOffset, 8).getBigUint64(0, true);
  if (length > LARGEST_HEADER) throw new FileError(`${file}: a header of ${length} bytes is claimed at byte 0 (at most ${LARGEST_HEADER} are allowed); this is not a safetensors file`);
  const dataStart = 8 + Number(length);
  if (dataStart > size) throw new FileError(`${file}: truncated: the header reaches to byte ${dataStart}, the file ends at byte ${size}`);
  const bytes = await source.range(path, 8, dataStart);
  return parseHeader(bytes, file, size);
}

/** Checks a header's JSON. `file` is the name in messages, `size` the length of the whole file in bytes. */
export function parseHeader(bytes: Uint8Array, file: string, size: number): Header {
  const what = `${file}: header at byte 8`;
  const json = parseJson<unknown>(bytes, what);
  if (!isRecord(json)) throw new FileError(`${what}: not a JSON object`);
  refuseDuplicates(new TextDecoder().decode(bytes), file);
  const dataStart = 8 + bytes.length;
  const tensors = new Map<string, TensorPlace>();
  let metadata: Record<string, string> = {};
  for (const [name, entry] of Object.entries(json)) {
    if (name === '__metadata__') metadata = readMetadata(entry, what);
    else tensors.set(name, readEntry(entry, `${file}: tensor ${name}`, dataStart));
  }
  checkPlaces(tensors, file, dataStart, size);
  return { tensors, metadata };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function readMetadata(entry: unknown, what: string): Record<string, string> {
  if (!isRecord(entry) || Object.values(entry).some((value) => typeof value !== 'string')) {
    throw new FileError(`${what}: __metadata__ is not an object of strings`);
  }
  return entry as Record<string, string>;
}

function readEntry(entry: unknown, what: string, dataStart: number): TensorPlace {
  if (!isRecord(entry)) throw new FileError(`${what}: its header entry is not an object`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (!isDType(dtype)) throw new FileError(`${what}: unknown dtype ${JSON.stringify(dtype)}; known are ${KNOWN_DTYPES}`);
  const isCount = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) >= 0;
  if (!Array.isArray(shape) || !shape.every(isCount)) throw new FileError(`${what}: its shape ${JSON.stringify(shape)} is not a list of sizes`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount) || offsets[0] > offsets[1]) {
    throw new FileError(`${what}: its data_offsets ${JSON.stringify(offsets)} are not [begin, end]`);
  }
  const [begin, end] = offsets as [number, number];
  const bytes = shape.reduce((product, n) => product * n, bytesPerElement(dtype));
  if (end - begin !== bytes) {
    throw new FileError(`${what}: ${dtype} of shape [${shape.join(', ')}] takes ${bytes} bytes, its data_offsets ${begin} to ${end} (from byte ${dataStart}) give ${end - begin}`);
  }
  return { dtype, shape, bytes, start: dataStart + begin, end: dataStart + end };
}

/** The data must be covered without gap or overlap, in any order of names, and the file must reach to its end. */
function checkPlaces(tensors: Map<string, TensorPlace>, file: string, dataStart: number, size: number): void {
  const ordered = [...tensors].sort(([, a], [, b]) => a.start - b.start || a.end - b.end);
  let reached = dataStart;
  let before = '';
  for (const [name, place] of ordered) {
    const what = `${file}: tensor ${name}`;
    if (place.start < reached) throw new FileError(`${what}: overlaps tensor ${before}: it begins at byte ${place.start}, that one ends at byte ${reached}`);
    if (place.start > reached) throw new FileError(`${what}: begins at byte ${place.start}, but bytes ${reached} to ${place.start} before it belong to no tensor`);
    checkRange(what, place.start, place.end, size);
    reached = place.end;
    before = name;
  }
  if (reached < size) throw new FileError(`${file}: bytes ${reached} to ${size} at its end belong to no tensor`);
}

/** JSON.parse keeps the last of two equal keys in silence; this walks the text and refuses them. The text is already known to parse. */
function refuseDuplicates(text: string, file: string): void {
  const seen = new Set<string>();
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const c = text[at];
    if (c === '{' || c === '[') depth++;
    else if (c === '}' || c === ']') depth--;
    else if (c === '"') {
      const start = at++;
      while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
      if (depth !== 1) continue;
      // At depth 1 of an object of objects every string is a key.
      const key = JSON.parse(text.slice(start, at + 1)) as string;
      if (seen.has(key)) throw new FileError(`${file}: tensor ${key} is listed twice in the header (byte ${8 + byteAt(text, start)})`);
      seen.add(key);
    }
  }
}

function byteAt(text: string, index: number): number {
  return new TextEncoder().encode(text.slice(0, index)).length;
}
