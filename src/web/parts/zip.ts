/** Several files as one to save: a zip archive whose files are stored as they are (PKWARE's APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16). */

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  return c;
});

function crc32(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (const byte of bytes) c = TABLE[(c ^ byte) & 255]! ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

/** 1 January 1980, the first day that an archive can name: the same files always make the same archive. */
const DATE = 0x21;
/** Names are UTF-8. */
const FLAGS = 0x800;

/** An archive of less than 4 GiB; RangeError for more. */
export function zip(files: Readonly<Record<string, Uint8Array>>): Blob {
  const parts: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  const put = (list: Uint8Array[], ...pieces: Uint8Array[]): void => { list.push(...pieces); };
  for (const [path, bytes] of Object.entries(files)) {
    const name = new TextEncoder().encode(path);
    const common = [[2, 20], [2, FLAGS], [2, 0], [2, 0], [2, DATE], [4, crc32(bytes)], [4, bytes.length], [4, bytes.length], [2, name.length], [2, 0]] as const;
    put(parts, record([4, 0x04034b50], ...common), name, bytes);
    put(directory, record([4, 0x02014b50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]), name);
    at += 30 + name.length + bytes.length;
  }
  const size = directory.reduce((sum, { length }) => sum + length, 0);
  if (at + size >= 2 ** 32) throw new RangeError('files of more than 4 GiB do not fit one archive');
  const count = Object.keys(files).length;
  return new Blob([...parts, ...directory, record([4, 0x06054b50], [2, 0], [2, 0], [2, count], [2, count], [4, size], [4, at], [2, 0])] as BlobPart[], { type: 'application/zip' });
}

/** Whole numbers of so many bytes each, the lowest first. */
function record(...fields: readonly (readonly [size: 2 | 4, value: number])[]): Uint8Array {
  const bytes = new Uint8Array(fields.reduce((sum, [size]) => sum + size, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return bytes;
}
