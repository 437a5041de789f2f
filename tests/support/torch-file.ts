/**
 * Files as torch.save writes them, put together byte by byte from the descriptions of the zip archive (APPNOTE) and of the pickle machine
 * (Python's pickletools): nothing of the reader is used.
 */

const STORAGE = { f32: 'FloatStorage', f16: 'HalfStorage', bf16: 'BFloat16Storage', f64: 'DoubleStorage', i64: 'LongStorage', bool: 'BoolStorage' } as const;
const WIDTH = { f32: 4, f16: 2, bf16: 2, f64: 8, i64: 8, bool: 1 } as const;
export type Kind = keyof typeof STORAGE;

/** A tensor to write: its numbers as they lie in the storage, and how the tensor lies in it; row-major over all of it unless said otherwise. */
export class Saved {
  constructor(readonly shape: number[], readonly data: ArrayLike<number>, readonly more: { kind?: Kind; strides?: number[]; offset?: number; parameter?: boolean } = {}) {}
}

/** The raw bytes of a pickle, put in where a value would stand. */
export class Raw {
  constructor(readonly bytes: number[]) {}
}

export type Value = null | boolean | number | string | Saved | Raw | Value[] | Map<string, Value> | { [key: string]: Value };

const ascii = (text: string): number[] => [...new TextEncoder().encode(text)];
const bytesOf = (width: number, write: (view: DataView) => void): number[] => {
  const bytes = new Uint8Array(width);
  write(new DataView(bytes.buffer));
  return [...bytes];
};
const u16 = (n: number): number[] => bytesOf(2, (v) => v.setUint16(0, n, true));
const u32 = (n: number): number[] => bytesOf(4, (v) => v.setUint32(0, n, true));
const u64 = (n: number): number[] => bytesOf(8, (v) => v.setBigUint64(0, BigInt(n), true));
export const global = (module: string, name: string): number[] => [0x63, ...ascii(`${module}\n${name}\n`)];

/** data.pkl of a value and the storages that it points to. Maps are ordered dictionaries with a module's attributes, objects plain ones. */
export function pickle(value: Value): { bytes: Uint8Array; storages: Uint8Array[] } {
  const storages: Uint8Array[] = [];
  const memo = new Map<string, number>();
  let puts = 0;
  const put = (): number[] => (puts < 256 ? [0x71, puts++] : [0x72, ...u32(puts++)]);
  const text = (string: string): number[] => {
    const before = memo.get(string);
    if (before !== undefined) return before < 256 ? [0x68, before] : [0x6a, ...u32(before)];
    const utf8 = ascii(string);
    memo.set(string, puts);
    return [0x58, ...u32(utf8.length), ...utf8, ...put()];
  };
  const number = (n: number): number[] => {
    if (!Number.isInteger(n)) return [0x47, ...bytesOf(8, (v) => v.setFloat64(0, n, false))];
    if (n >= 0 && n < 256) return [0x4b, n];
    if (n >= 0 && n < 65536) return [0x4d, ...u16(n)];
    if (n >= -(2 ** 31) && n < 2 ** 31) return [0x4a, ...bytesOf(4, (v) => v.setInt32(0, n, true))];
    return [0x8a, 8, ...bytesOf(8, (v) => v.setBigInt64(0, BigInt(n), true))];
  };
  const tuple = (items: number[][]): number[] => {
    if (items.length === 0) return [0x29];
    return items.length <= 3 ? [...items.flat(), 0x84 + items.length, ...put()] : [0x28, ...items.flat(), 0x74, ...put()];
  };
  const entries = (pairs: [string, Value][]): number[] => {
    if (pairs.length === 0) return [];
    if (pairs.length === 1) return [...text(pairs[0]![0]), ...write(pairs[0]![1]), 0x73];
    return [0x28, ...pairs.flatMap(([key, one]) => [...text(key), ...write(one)]), 0x75];
  };
  const ordered = (): number[] => [...global('collections', 'OrderedDict'), ...put(), 0x29, 0x52, ...put()];
  function tensor({ shape, data, more: { kind = 'f32', strides, offset = 0, parameter } }: Saved): number[] {
    const key = String(storages.push(encode(data, kind)) - 1);
    const dense = shape.map((_, axis) => shape.slice(axis + 1).reduce((p, n) => p * n, 1));
    const id = tuple([text('storage'), [...global('torch', STORAGE[kind]), ...put()], text(key), text('cpu'), number(data.length)]);
    const given = tuple([[...id, 0x51], number(offset), tuple(shape.map(number)), tuple((strides ?? dense).map(number)), [0x89], ordered()]);
    const made = [...global('torch._utils', '_rebuild_tensor_v2'), ...put(), ...given, 0x52, ...put()];
    return parameter ? [...global('torch._utils', '_rebuild_parameter'), ...put(), ...tuple([made, [0x88], ordered()]), 0x52, ...put()] : made;
  }
  function write(one: Value): number[] {
    if (one === null) return [0x4e];
    if (one instanceof Raw) return one.bytes;
    if (one instanceof Saved) return tensor(one);
    if (typeof one === 'boolean') return [one ? 0x88 : 0x89];
    if (typeof one === 'number') return number(one);
    if (typeof one === 'string') return text(one);
    if (Array.isArray(one)) return [0x5d, ...put(), ...(one.length === 1 ? [...write(one[0]!), 0x61] : one.length ? [0x28, ...one.flatMap(write), 0x65] : [])];
    if (one instanceof Map) return [...ordered(), ...entries([...one]), 0x7d, ...put(), ...text('_metadata'), ...ordered(), 0x73, 0x62];
    return [0x7d, ...put(), ...entries(Object.entries(one))];
  }
  return { bytes: Uint8Array.from([0x80, 2, ...write(value), 0x2e]), storages };
}

function encode(data: ArrayLike<number>, kind: Kind): Uint8Array {
  const out = new DataView(new ArrayBuffer(data.length * WIDTH[kind]));
  for (let i = 0; i < data.length; i++) {
    const [value, at] = [data[i]!, i * WIDTH[kind]];
    if (kind === 'f32') out.setFloat32(at, value, true);
    else if (kind === 'f64') out.setFloat64(at, value, true);
    else if (kind === 'i64') out.setBigInt64(at, BigInt(value), true);
    else if (kind === 'bool') out.setUint8(at, value);
    else out.setUint16(at, kind === 'f16' ? half(value) : upper(value), true);
  }
  return new Uint8Array(out.buffer);
}

/** The bits of a number that float16 (or, below, bfloat16) holds exactly. */
function half(value: number): number {
  if (value === 0) return 0;
  const exponent = Math.floor(Math.log2(Math.abs(value)));
  return (value < 0 ? 0x8000 : 0) | ((exponent + 15) << 10) | ((Math.abs(value) / 2 ** exponent - 1) * 1024);
}

function upper(value: number): number {
  return new Uint32Array(Float32Array.of(value).buffer)[0]! >>> 16;
}

/** A zip archive of stored records, with torch's padding before each record's data; `large` writes every length and place in 64 bits. */
export function zip(records: [name: string, bytes: Uint8Array][], { large = false, method = 0 } = {}): Uint8Array {
  const out: number[] = [];
  const list: number[] = [];
  const hidden = large ? 0xffffffff : null;
  for (const [name, bytes] of records) {
    const header = out.length;
    const path = ascii(name);
    const padding = 64 - ((header + 30 + path.length + 4) % 64);
    const size = u32(hidden ?? bytes.length);
    out.push(...u32(0x04034b50), ...u16(0), ...u16(0), ...u16(method), ...u32(0), ...u32(0), ...size, ...size, ...u16(path.length), ...u16(4 + padding), ...path);
    out.push(...ascii('FB'), ...u16(padding), ...new Array<number>(padding).fill(0x5a));
    for (const byte of bytes) out.push(byte);
    const extra = large ? [...ascii('XX'), ...u16(2), 7, 7, ...u16(1), ...u16(24), ...u64(bytes.length), ...u64(bytes.length), ...u64(header)] : [];
    list.push(...u32(0x02014b50), ...u16(0), ...u16(0), ...u16(0), ...u16(method), ...u32(0), ...u32(0), ...size, ...size, ...u16(path.length), ...u16(extra.length), ...u16(0));
    list.push(...u16(0), ...u16(0), ...u32(0), ...u32(hidden ?? header), ...path, ...extra);
  }
  const start = out.length;
  for (const byte of list) out.push(byte);
  if (large) {
    const at = out.length;
    out.push(...u32(0x06064b50), ...u64(44), ...u16(45), ...u16(45), ...u32(0), ...u32(0), ...u64(records.length), ...u64(records.length), ...u64(list.length), ...u64(start));
    out.push(...u32(0x07064b50), ...u32(0), ...u64(at), ...u32(1));
  }
  const count = u16(large ? 0xffff : records.length);
  out.push(...u32(0x06054b50), ...u16(0), ...u16(0), ...count, ...count, ...u32(hidden ?? list.length), ...u32(hidden ?? start), ...u16(0));
  return Uint8Array.from(out);
}

/** A whole file of torch.save. */
export function torchFile(value: Value, { name = 'archive', large = false } = {}): Uint8Array {
  const { bytes, storages } = pickle(value);
  return zip([
    [`${name}/data.pkl`, bytes], [`${name}/byteorder`, Uint8Array.from(ascii('little'))],
    ...storages.map((storage, i): [string, Uint8Array] => [`${name}/data/${i}`, storage]), [`${name}/version`, Uint8Array.from(ascii('3\n'))],
  ], { large });
}
