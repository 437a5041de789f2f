/**
 * Reading files of `torch.save`, one tensor at a time by byte range. The archive's list (torch-zip.ts) and the description of the tensors
 * (torch-pickle.ts) are read and checked when the file is opened; a tensor's numbers when they are asked for.
 */
import { FileError } from '../errors.ts';
import { bytesPerElement, widenToF32 } from './dtypes.ts';
import { fileName, type FileSource } from './source.ts';
import type { TorchFile } from './torch.ts';
import { partsOf, readPickle } from './torch-pickle.ts';
import { TorchTensor } from './torch-tensor.ts';
import { dataStart, readZip, type ZipEntry } from './torch-zip.ts';

/** A description of more bytes than this is refused before it is read. */
const LARGEST_PICKLE = 1 << 26;
/** What files begin with that torch wrote before version 1.6: protocol 2 and a number of ten bytes. */
const OLD = [0x80, 0x02, 0x8a, 0x0a];

/** See openTorch. */
export async function openTorchFile(source: FileSource, path: string): Promise<TorchFile> {
  const file = fileName(source, path);
  const size = await source.size(path);
  if (size < 4) throw new FileError(`${file}: truncated: it ends at byte ${size}`);
  const first = await source.range(path, 0, 4);
  if (OLD.every((byte, i) => first[i] === byte)) throw new FileError(`${file}: in the format that torch had before 1.6, which is not read; torch.load and torch.save turn it into today's`);
  const entries = await readZip(source, path);
  const pickle = [...entries.keys()].find((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (pickle === undefined) throw new FileError(`${file}: has no data.pkl: no file of torch.save`);
  const folder = pickle.slice(0, -'data.pkl'.length);

  async function read(name: string, start = 0, end = entries.get(name)!.size): Promise<Uint8Array> {
    const at = await dataStart(source, path, name, entries.get(name)!);
    return source.range(path, at + start, at + end);
  }

  if (entries.has(`${folder}byteorder`)) {
    const order = new TextDecoder().decode(await read(`${folder}byteorder`));
    if (order !== 'little') throw new FileError(`${file}: its numbers are in ${JSON.stringify(order)} byte order; only "little" is read`);
  }
  if (entries.get(pickle)!.size > LARGEST_PICKLE) throw new FileError(`${file}: its data.pkl has ${entries.get(pickle)!.size} bytes; at most ${LARGEST_PICKLE} are read`);
  const value = readPickle(await read(pickle), `${file}: data.pkl`);
  for (const part of partsOf(value)) if (part instanceof TorchTensor) checkStorage(file, folder, entries, part);

  return {
    name: file,
    value,
    async f32(tensor) {
      const { dtype, shape, strides, offset, storage } = tensor;
      if (shape.includes(0)) return new Float32Array(0);
      const width = bytesPerElement(dtype);
      const end = offset + 1 + shape.reduce((sum, n, axis) => sum + (n - 1) * strides[axis]!, 0);
      return rowMajor(widenToF32(await read(`${folder}data/${storage.key}`, offset * width, end * width), dtype), shape, strides);
    },
  };
}

function checkStorage(file: string, folder: string, entries: Map<string, ZipEntry>, { dtype, storage: { key, elements } }: TorchTensor): void {
  const entry = entries.get(`${folder}data/${key}`);
  if (!entry) throw new FileError(`${file}: has no record data/${key}, which holds a tensor`);
  const bytes = elements * bytesPerElement(dtype);
  if (entry.size !== bytes) throw new FileError(`${file}: record data/${key} has ${entry.size} bytes, but ${elements} elements of ${dtype} take ${bytes}`);
}

/** The elements in row-major order, of data that lie with the given strides. */
function rowMajor(data: Float32Array, shape: readonly number[], strides: readonly number[]): Float32Array {
  const dense = (axis: number): number => shape.slice(axis + 1).reduce((product, n) => product * n, 1);
  if (shape.every((n, axis) => n === 1 || strides[axis] === dense(axis))) return data;
  const out = new Float32Array(dense(-1));
  if (shape.length === 2) {
    gatherMatrix(data, out, shape as [number, number], strides as [number, number]);
    return out;
  }
  const index = shape.map(() => 0);
  for (let i = 0, from = 0; i < out.length; i++) {
    out[i] = data[from]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      from -= shape[axis]! * strides[axis]!;
      index[axis] = 0;
    }
  }
  return out;
}

/** In squares that stay in the processor's cache whichever way the data lie. */
function gatherMatrix(data: Float32Array, out: Float32Array, [rows, columns]: [number, number], [down, across]: [number, number]): void {
  const SQUARE = 32;
  for (let top = 0; top < rows; top += SQUARE) {
    for (let left = 0; left < columns; left += SQUARE) {
      for (let r = top; r < Math.min(top + SQUARE, rows); r++) {
        for (let c = left; c < Math.min(left + SQUARE, columns); c++) out[r * columns + c] = data[r * down + c * across]!;
      }
    }
  }
}
