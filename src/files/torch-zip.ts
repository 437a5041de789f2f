/**
 * Where the records of a torch file lie. `torch.save` writes a zip archive whose records are stored as they are, without compression, so that a
 * record is a byte range of the file. Only the list at the archive's end is read here, and a record's own 30 bytes before it is used: a file of
 * any size costs what is asked of it, which an unpacking library does not offer.
 *
 * The list (APPNOTE 4.3): `PK\5\6` at the end, at most 65,535 bytes of comment after it; where a number does not fit, `PK\6\7` before it points to
 * a `PK\6\6` record with 64-bit numbers. Entries begin with `PK\1\2`, records with `PK\3\4`, name and extra field.
 */
import { FileError } from '../errors.ts';
import { fileName, type FileSource } from './source.ts';

export interface ZipEntry {
  /** Where the record's own header begins, in bytes from the start of the file. */
  header: number;
  /** Length of the data in bytes. */
  size: number;
}

const END = 0x06054b50;
const END64 = 0x06064b50;
const LOCATOR64 = 0x07064b50;
const ENTRY = 0x02014b50;
const RECORD = 0x04034b50;
const [END_BYTES, LOCATOR_BYTES, END64_BYTES, ENTRY_BYTES, RECORD_BYTES] = [22, 20, 56, 46, 30];
/** A list of more bytes is refused before it is read. */
const LARGEST_LIST = 1 << 26;

/** Reads the list of records, by name. FileError for what is no zip archive, is cut off, or holds packed or encrypted records. */
export async function readZip(source: FileSource, path: string): Promise<Map<string, ZipEntry>> {
  const file = fileName(source, path);
  const size = await source.size(path);
  const start = Math.max(0, size - END_BYTES - 0xffff - LOCATOR_BYTES);
  const tail = viewOf(await source.range(path, start, size));
  const end = findEnd(tail);
  if (end < 0) throw new FileError(`${file}: has no zip directory at its end: it is cut off, or no file of torch.save`);
  let [count, bytes, offset] = [tail.getUint16(end + 10, true), tail.getUint32(end + 12, true), tail.getUint32(end + 16, true)];
  const locator = end - LOCATOR_BYTES;
  if (locator >= 0 && tail.getUint32(locator, true) === LOCATOR64) {
    const at = whole(tail, locator + 8, file);
    if (at + END64_BYTES > size) throw new FileError(`${file}: truncated: its zip64 directory is said to lie at byte ${at}, the file ends at byte ${size}`);
    const record = viewOf(await source.range(path, at, at + END64_BYTES));
    if (record.getUint32(0, true) !== END64) throw new FileError(`${file}: byte ${at} is not the zip64 directory that it should be`);
    [count, bytes, offset] = [whole(record, 32, file), whole(record, 40, file), whole(record, 48, file)];
  }
  if (offset + bytes > size || bytes > LARGEST_LIST) throw new FileError(`${file}: truncated: its zip directory is said to lie at bytes ${offset} to ${offset + bytes}, the file ends at byte ${size}`);
  return readEntries(viewOf(await source.range(path, offset, offset + bytes)), count, file, size);
}

/** The byte at which an entry's data begin, which only the record itself says. */
export async function dataStart(source: FileSource, path: string, name: string, { header, size }: ZipEntry): Promise<number> {
  const file = fileName(source, path);
  const record = viewOf(await source.range(path, header, header + RECORD_BYTES));
  if (record.getUint32(0, true) !== RECORD) throw new FileError(`${file}: record ${name}: byte ${header} is not where it begins`);
  const start = header + RECORD_BYTES + record.getUint16(26, true) + record.getUint16(28, true);
  const end = await source.size(path);
  if (start + size > end) throw new FileError(`${file}: truncated: record ${name} reaches to byte ${start + size}, the file ends at byte ${end}`);
  return start;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The end record's place in the file's tail; its comment must reach exactly to the end. */
function findEnd(tail: DataView): number {
  for (let at = tail.byteLength - END_BYTES; at >= 0; at--) {
    if (tail.getUint32(at, true) === END && at + END_BYTES + tail.getUint16(at + 20, true) === tail.byteLength) return at;
  }
  return -1;
}

function readEntries(list: DataView, count: number, file: string, fileSize: number): Map<string, ZipEntry> {
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + ENTRY_BYTES > list.byteLength || list.getUint32(at, true) !== ENTRY) throw new FileError(`${file}: entry ${i} of its zip directory is broken`);
    const [flags, method] = [list.getUint16(at + 8, true), list.getUint16(at + 10, true)];
    const [nameBytes, extraBytes, commentBytes] = [list.getUint16(at + 28, true), list.getUint16(at + 30, true), list.getUint16(at + 32, true)];
    const next = at + ENTRY_BYTES + nameBytes + extraBytes + commentBytes;
    if (next > list.byteLength) throw new FileError(`${file}: entry ${i} of its zip directory is broken`);
    const name = new TextDecoder().decode(new Uint8Array(list.buffer, list.byteOffset + at + ENTRY_BYTES, nameBytes));
    if (flags & 1) throw new FileError(`${file}: record ${name} is encrypted`);
    if (method !== 0) throw new FileError(`${file}: record ${name} is packed by method ${method}; torch.save stores records as they are`);
    if (entries.has(name)) throw new FileError(`${file}: record ${name} is listed twice`);
    const [packed, size, header] = sizes(list, at, nameBytes, extraBytes, file, name);
    if (packed !== size) throw new FileError(`${file}: record ${name} is stored in ${packed} bytes but said to have ${size}`);
    if (header + RECORD_BYTES + size > fileSize) throw new FileError(`${file}: truncated: record ${name} of ${size} bytes begins at byte ${header}, the file ends at byte ${fileSize}`);
    entries.set(name, { header, size });
    at = next;
  }
  return entries;
}

/** Stored and real length and place of an entry; what is 0xffffffff stands in the zip64 field (number 1), in this order. */
function sizes(list: DataView, at: number, nameBytes: number, extraBytes: number, file: string, name: string): [packed: number, size: number, header: number] {
  const found = [list.getUint32(at + 20, true), list.getUint32(at + 24, true), list.getUint32(at + 42, true)];
  if (!found.includes(0xffffffff)) return found as [number, number, number];
  const end = at + ENTRY_BYTES + nameBytes + extraBytes;
  for (let field = end - extraBytes; field + 4 <= end; field += 4 + list.getUint16(field + 2, true)) {
    if (list.getUint16(field, true) !== 1) continue;
    let value = field + 4;
    // The format's order is real length, stored length, place.
    for (const which of [1, 0, 2]) {
      if (found[which] !== 0xffffffff) continue;
      if (value + 8 > end) break;
      found[which] = whole(list, value, file);
      value += 8;
    }
    return found as [number, number, number];
  }
  throw new FileError(`${file}: record ${name} lacks the zip64 field that holds its length`);
}

function whole(view: DataView, at: number, file: string): number {
  const value = view.getBigUint64(at, true);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new FileError(`${file}: its zip directory holds the number ${value}`);
  return Number(value);
}
