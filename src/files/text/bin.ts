/** Token ids as little-endian uint16, one after the other, as nanoGPT's preparation writes them. */
import { FileError } from '../../errors.ts';
import { fileName, type FileSource } from '../source.ts';
import { checkPlace, type DocumentOptions, type Found, type Place } from './documents.ts';

const ROW_TOKENS = 1024;

/** Parts of equal length that go on from each other; what is left at the end is one more. Where documents end is among the ids. */
export async function* binDocuments(source: FileSource, path: string, from: Place, { rowTokens = ROW_TOKENS }: DocumentOptions): AsyncGenerator<Found> {
  const file = fileName(source, path);
  const size = await source.size(path);
  if (size % 2 !== 0) throw new FileError(`${file}: ${size} bytes are no whole number of uint16 token ids`);
  checkPlace(file, Math.ceil(size / 2 / rowTokens), from);
  for (let { row } = from; row * rowTokens * 2 < size; row++) {
    const at = row * rowTokens * 2;
    const bytes = await source.range(path, at, Math.min(size, at + rowTokens * 2));
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const tokens = Uint16Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(2 * i, true));
    yield { content: { tokens }, ...(row > 0 ? { continues: true } : {}) };
  }
}
