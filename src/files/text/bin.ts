/** Token ids as little-endian uint16, one after the other, as nanoGPT's preparation writes them. */
import { FileError } from '../../errors.ts';
import { fileName, type FileSource } from '../source.ts';
import type { Content, DocumentOptions } from './documents.ts';

const ROW_TOKENS = 1024;

/** Documents of equal length; what is left at the end is one more. */
export async function* binDocuments(source: FileSource, path: string, first: number, { rowTokens = ROW_TOKENS }: DocumentOptions): AsyncGenerator<Content> {
  const size = await source.size(path);
  if (size % 2 !== 0) throw new FileError(`${fileName(source, path)}: ${size} bytes are no whole number of uint16 token ids`);
  for (let at = first * rowTokens * 2; at < size; at += rowTokens * 2) {
    const bytes = await source.range(path, at, Math.min(size, at + rowTokens * 2));
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    yield { tokens: Uint16Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(2 * i, true)) };
  }
}
