/**
 * The description that a torch file gives of its tensors, `data.pkl`: a pickle of protocol 2. A pickle is a program for a stack machine that may
 * call anything by name. Nothing is called here: what can be made are numbers, strings, lists, tuples, dictionaries and descriptions of
 * tensors, from the names below and no others. Every other name or operation is refused, and the refusal says which.
 */
import { FileError } from '../errors.ts';
import type { SafetensorsDType } from './dtypes.ts';
import { TorchTensor, type TorchDict, type TorchValue } from './torch-tensor.ts';

const STORAGES: Readonly<Record<string, SafetensorsDType>> = {
  'torch.FloatStorage': 'F32', 'torch.DoubleStorage': 'F64', 'torch.HalfStorage': 'F16', 'torch.BFloat16Storage': 'BF16', 'torch.LongStorage': 'I64',
  'torch.IntStorage': 'I32', 'torch.ShortStorage': 'I16', 'torch.CharStorage': 'I8', 'torch.ByteStorage': 'U8', 'torch.BoolStorage': 'BOOL',
};
const CALLS: readonly string[] = ['torch._utils._rebuild_tensor_v2', 'torch._utils._rebuild_parameter', 'collections.OrderedDict'];

/** Operations that a file may well hold and that are refused, by the names that Python's pickletools gives them. */
const REFUSED: Readonly<Record<number, string>> = {
  0x46: 'FLOAT', 0x49: 'INT', 0x4c: 'LONG', 0x50: 'PERSID', 0x53: 'STRING', 0x54: 'BINSTRING', 0x55: 'SHORT_BINSTRING', 0x56: 'UNICODE', 0x69: 'INST', 0x6f: 'OBJ',
  0x81: 'NEWOBJ', 0x82: 'EXT1', 0x83: 'EXT2', 0x84: 'EXT4', 0x8b: 'LONG4', 0x8c: 'SHORT_BINUNICODE', 0x8d: 'BINUNICODE8', 0x8f: 'EMPTY_SET', 0x92: 'NEWOBJ_EX',
  0x93: 'STACK_GLOBAL', 0x94: 'MEMOIZE', 0x95: 'FRAME', 0x96: 'BYTEARRAY8', 0x42: 'BINBYTES', 0x43: 'SHORT_BINBYTES',
};

/** A name that the pickle mentions, one of the above; a storage that it points to; the beginning of a list of arguments. */
class Name { readonly name: string; constructor(name: string) { this.name = name; } }
class Storage {
  readonly dtype: SafetensorsDType; readonly key: string; readonly elements: number;
  constructor(dtype: SafetensorsDType, key: string, elements: number) { this.dtype = dtype; this.key = key; this.elements = elements; }
}
class Mark {}
type Item = TorchValue | Name | Storage | Mark;

/** Reads the whole pickle. `file` is the name in messages. FileError for everything but what the header of this file allows. */
export function readPickle(bytes: Uint8Array, file: string): TorchValue {
  return new Machine(bytes, file).run();
}

class Machine {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly file: string;
  private readonly stack: Item[] = [];
  private readonly memo = new Map<number, Item>();
  private at = 0;

  constructor(bytes: Uint8Array, file: string) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.file = file;
  }

  run(): TorchValue {
    for (;;) {
      const code = this.take(1, (at) => this.view.getUint8(at));
      if (code === 0x2e) return this.finish();
      this.step(code);
    }
  }

  private step(code: number): void {
    const { stack, view } = this;
    switch (code) {
      case 0x80: { // PROTO
        const version = this.u8();
        if (version !== 2) throw this.error(`a pickle of protocol ${version}; torch.save writes protocol 2`);
        return;
      }
      case 0x4e: stack.push(null); return; // NONE
      case 0x88: stack.push(true); return; // NEWTRUE
      case 0x89: stack.push(false); return; // NEWFALSE
      case 0x4b: stack.push(this.u8()); return; // BININT1
      case 0x4d: stack.push(this.take(2, (at) => view.getUint16(at, true))); return; // BININT2
      case 0x4a: stack.push(this.take(4, (at) => view.getInt32(at, true))); return; // BININT
      case 0x8a: stack.push(this.long(this.u8())); return; // LONG1
      case 0x47: stack.push(this.take(8, (at) => view.getFloat64(at, false))); return; // BINFLOAT
      case 0x58: stack.push(this.text(this.u32())); return; // BINUNICODE
      case 0x7d: stack.push(new Map()); return; // EMPTY_DICT
      case 0x5d: stack.push([]); return; // EMPTY_LIST
      case 0x29: stack.push([]); return; // EMPTY_TUPLE
      case 0x28: stack.push(new Mark()); return; // MARK
      case 0x74: stack.push(this.toMark()); return; // TUPLE
      case 0x85: case 0x86: case 0x87: stack.push(this.tuple(code - 0x84)); return; // TUPLE1 to TUPLE3
      case 0x71: this.memo.set(this.u8(), this.top()); return; // BINPUT
      case 0x72: this.memo.set(this.u32(), this.top()); return; // LONG_BINPUT
      case 0x68: stack.push(this.recall(this.u8())); return; // BINGET
      case 0x6a: stack.push(this.recall(this.u32())); return; // LONG_BINGET
      case 0x61: this.extend([this.pop()]); return; // APPEND
      case 0x65: this.extend(this.toMark()); return; // APPENDS
      case 0x73: { const value = this.pop(); this.set([this.pop(), value]); return; } // SETITEM
      case 0x75: this.set(this.toMark()); return; // SETITEMS
      case 0x63: stack.push(this.name()); return; // GLOBAL
      case 0x51: stack.push(this.storage(this.pop())); return; // BINPERSID
      case 0x52: { const given = this.pop(); stack.push(this.call(this.pop(), given)); return; } // REDUCE
      case 0x62: this.build(); return; // BUILD
      default: throw this.error(`the operation ${REFUSED[code] ?? `0x${code.toString(16).padStart(2, '0')}`} is not among those that a file of tensors needs; it is refused`, this.at - 1);
    }
  }

  private finish(): TorchValue {
    const value = this.pop() as TorchValue;
    if (this.stack.length > 0) throw this.error('values are left over at its end');
    for (const part of partsOf(value)) {
      if (part instanceof Name || part instanceof Storage) throw this.error(`${part instanceof Name ? `the name ${part.name}` : 'a storage'} stands where a value should be`);
    }
    return value;
  }

  private error(what: string, at = this.at): FileError {
    return new FileError(`${this.file}: byte ${at}: ${what}`);
  }

  private take<T>(count: number, read: (at: number) => T): T {
    const { at } = this;
    if (at + count > this.bytes.length) throw this.error(`truncated: the pickle ends at byte ${this.bytes.length}`);
    this.at += count;
    return read(at);
  }

  private u8(): number {
    return this.take(1, (at) => this.view.getUint8(at));
  }

  private u32(): number {
    return this.take(4, (at) => this.view.getUint32(at, true));
  }

  private text(length: number): string {
    return this.take(length, (at) => new TextDecoder().decode(this.bytes.subarray(at, at + length)));
  }

  /** Two's complement, the lowest byte first. */
  private long(length: number): number | bigint {
    let value = 0n;
    this.take(length, (at) => {
      for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[at + i]!);
    });
    const signed = length ? BigInt.asIntN(length * 8, value) : 0n;
    return signed >= BigInt(Number.MIN_SAFE_INTEGER) && signed <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(signed) : signed;
  }

  private line(): string {
    const end = this.bytes.indexOf(0x0a, this.at);
    if (end < 0) throw this.error('truncated: a name does not end');
    return this.text(end + 1 - this.at).slice(0, -1);
  }

  private name(): Name {
    const { at } = this;
    const name = `${this.line()}.${this.line()}`;
    if (!CALLS.includes(name) && !Object.hasOwn(STORAGES, name)) throw this.error(`the name ${JSON.stringify(name)} is not among those that a file of tensors needs; it is refused`, at - 1);
    return new Name(name);
  }

  private top(): Item {
    const item = this.stack.at(-1);
    if (item === undefined) throw this.error('a value is missing');
    return item;
  }

  private pop(): Item {
    const item = this.top();
    if (item instanceof Mark) throw this.error('a value is missing');
    this.stack.pop();
    return item;
  }

  /** Tuples hold storages and their types too, until these are used; what is left of them at the end is found there. */
  private toMark(): TorchValue[] {
    const mark = this.stack.findLastIndex((item) => item instanceof Mark);
    if (mark < 0) throw this.error('the beginning of a list is missing');
    return this.stack.splice(mark).slice(1) as TorchValue[];
  }

  private tuple(length: number): TorchValue[] {
    return Array.from({ length }, () => this.pop() as TorchValue).reverse();
  }

  private recall(place: number): Item {
    const item = this.memo.get(place);
    if (item === undefined) throw this.error(`value ${place} is used before it is there`);
    return item;
  }

  private extend(values: Item[]): void {
    const list = this.top();
    if (!Array.isArray(list)) throw this.error('values are appended to what is no list');
    for (const value of values) list.push(value as TorchValue);
  }

  private set(pairs: Item[]): void {
    const dict = this.top();
    if (!(dict instanceof Map) || pairs.length % 2) throw this.error('entries are set in what is no dictionary');
    for (let i = 0; i < pairs.length; i += 2) dict.set(pairs[i] as TorchValue, pairs[i + 1] as TorchValue);
  }

  /** What torch points to outside the pickle: ('storage', its type, the record's name, where it was, its elements). */
  private storage(id: Item): Storage {
    const [kind, type, key, , elements] = (Array.isArray(id) ? id : []) as Item[];
    if (kind !== 'storage' || !(type instanceof Name) || !Object.hasOwn(STORAGES, type.name) || typeof key !== 'string' || !count(elements)) throw this.error('what the pickle points to is no storage of a tensor');
    return new Storage(STORAGES[type.name]!, key, elements);
  }

  private call(what: Item, given: Item): TorchValue {
    if (!(what instanceof Name) || !CALLS.includes(what.name) || !Array.isArray(given)) throw this.error(`a call of ${what instanceof Name ? what.name : 'what is no name'} is refused`);
    if (what.name === 'collections.OrderedDict') return this.ordered(given);
    if (what.name === 'torch._utils._rebuild_tensor_v2') return this.tensor(given);
    const [tensor] = given;
    if (!(tensor instanceof TorchTensor)) throw this.error('a parameter is made of what is no tensor');
    return tensor;
  }

  private ordered(given: TorchValue[]): TorchDict {
    const pairs = given.length ? given[0] : [];
    if (!Array.isArray(pairs) || !pairs.every((pair) => Array.isArray(pair) && pair.length === 2)) throw this.error('an OrderedDict is made of what are no pairs');
    return new Map(pairs as [TorchValue, TorchValue][]);
  }

  private tensor(given: Item[]): TorchTensor {
    const [storage, offset, shape, strides] = given;
    const counts = (list: Item | undefined): list is number[] => Array.isArray(list) && list.every(count);
    const fits = storage instanceof Storage && count(offset) && counts(shape) && counts(strides) && shape.length === strides.length;
    if (!fits) throw this.error('a tensor is described by other than storage, offset, shape and strides');
    const { dtype, key, elements } = storage;
    const empty = shape.includes(0);
    const last = offset + shape.reduce((sum, n, axis) => sum + (n - 1) * strides[axis]!, 0);
    if (!empty && last >= elements) throw this.error(`a tensor of shape [${shape.join(', ')}] reaches to element ${last} of storage ${key}, which has ${elements}`);
    const size = shape.reduce((product, n) => product * n, 1);
    if (size > elements) throw this.error(`a tensor of shape [${shape.join(', ')}] has more elements than its storage ${key}, which has ${elements}`);
    return new TorchTensor({ dtype, shape, strides, offset, storage: { key, elements } });
  }

  /** A state dictionary carries its modules' versions as an attribute; nothing else gets attributes, and these are not used. */
  private build(): void {
    const state = this.pop();
    if (!(this.top() instanceof Map) || !(state instanceof Map)) throw this.error('BUILD of what is no OrderedDict is refused');
  }
}

/** A value and all that is in it, keys included; each once. */
export function* partsOf(value: TorchValue): Generator<TorchValue> {
  const seen = new Set<TorchValue>();
  const left = [value];
  for (let part = left.pop(); part !== undefined; part = left.pop()) {
    if (seen.has(part)) continue;
    seen.add(part);
    yield part;
    if (Array.isArray(part)) for (const one of part) left.push(one);
    if (part instanceof Map) for (const [key, one] of part) left.push(key, one);
  }
}

function count(value: Item | undefined): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
