/** The safetensors reader and writer: bytes laid by hand, round trips, and every way in which a file can be broken. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError } from '../../src/errors.ts';
import { bytesPerElement, encodeSafetensors, memorySource, openSafetensors, type SafetensorsDType } from '../../src/files/index.ts';
import { random } from '../support/numbers.ts';

const test = suite('files/safetensors');

/** A file laid by hand: the length, the header's text, the data. */
function lay(header: string, data: ArrayLike<number> = []): Uint8Array {
  const text = new TextEncoder().encode(header);
  const out = new Uint8Array(8 + text.length + data.length);
  new DataView(out.buffer).setBigUint64(0, BigInt(text.length), true);
  out.set(text, 8);
  out.set(data, 8 + text.length);
  return out;
}

function openBytes(bytes: Uint8Array) {
  return openSafetensors(memorySource({ 'model.safetensors': bytes }, 'dir'));
}

/** Asserts a FileError of one line whose message holds every given piece. */
async function refused(work: () => Promise<unknown>, ...pieces: string[]): Promise<void> {
  try {
    await work();
  } catch (error) {
    assert.instance(error, FileError);
    const { message } = error as Error;
    assert.not.match(message, /\n/);
    for (const piece of pieces) assert.ok(message.includes(piece), `"${piece}" is missing from: ${message}`);
    return;
  }
  assert.unreachable(`nothing was refused where a message with "${pieces.join('", "')}" was expected`);
}

test('reads a file laid by hand, whatever the alignment of its data', async () => {
  // 1.5, -2 as float32; then 1, 0.5 as float16; 1, -2 as bfloat16.
  const data = [0, 0, 0xc0, 0x3f, 0, 0, 0, 0xc0, 0x00, 0x3c, 0x00, 0x38, 0x80, 0x3f, 0x00, 0xc0];
  for (const padding of ['', ' ', '  ', '   ']) {
    const file = await openBytes(lay(
      `{"__metadata__":{"format":"pt"},"h":{"dtype":"F16","shape":[2,1],"data_offsets":[8,12]},` +
      `"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]}}${padding}`, data));
    assert.equal(file.names, ['x', 'h', 'b'], 'names come in the order of the data');
    assert.equal(file.metadata, { format: 'pt' });
    assert.equal(file.info('h'), { dtype: 'F16', shape: [2, 1], bytes: 4 });
    assert.equal([...(await file.f32('x'))], [1.5, -2]);
    assert.equal([...(await file.f32('h'))], [1, 0.5]);
    assert.equal([...(await file.f32('b'))], [1, -2]);
    assert.equal([...(await file.raw('h'))], [0x00, 0x3c, 0x00, 0x38]);
    assert.equal((await file.raw('b')).byteOffset, 0);
    assert.equal([...(await file.rawRange('x', 4, 8))], [0, 0, 0, 0xc0]);
  }
});

test('every float16 pattern widens to what its formula says', async () => {
  const patterns = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const file = await openBytes(encodeSafetensors({ h: { dtype: 'F16', shape: [65536], data: patterns } }));
  const wide = await file.f32('h');
  const spots: [number, number][] = [[0x0000, 0], [0x8000, -0], [0x0001, 2 ** -24], [0x03ff, 1023 * 2 ** -24], [0x0400, 2 ** -14], [0x7bff, 65504], [0x7c00, Infinity], [0xfc00, -Infinity], [0x3555, 0.333251953125], [0xc248, -3.140625]];
  for (const [bits, value] of spots) assert.ok(Object.is(wide[bits], value), `0x${bits.toString(16)} gave ${wide[bits]}, not ${value}`);
  assert.ok(Number.isNaN(wide[0x7e00]!));
  // Finite positive patterns are in the order of their values.
  for (let bits = 1; bits < 0x7c00; bits++) if (!(wide[bits]! > wide[bits - 1]!)) assert.unreachable(`pattern ${bits} is not above the one before`);
});

test('integers, doubles and booleans widen', async () => {
  const file = await openBytes(encodeSafetensors({
    i64: { dtype: 'I64', shape: [2], data: BigInt64Array.of(-5n, 1n << 40n) },
    u64: { dtype: 'U64', shape: [1], data: BigUint64Array.of(7n) },
    f64: { dtype: 'F64', shape: [1], data: Float64Array.of(0.25) },
    i32: { dtype: 'I32', shape: [1], data: Int32Array.of(-70000) },
    u32: { dtype: 'U32', shape: [1], data: Uint32Array.of(70000) },
    i16: { dtype: 'I16', shape: [1], data: Int16Array.of(-300) },
    u16: { dtype: 'U16', shape: [1], data: Uint16Array.of(40000) },
    i8: { dtype: 'I8', shape: [1], data: Int8Array.of(-3) },
    u8: { dtype: 'U8', shape: [1], data: Uint8Array.of(200) },
    flag: { dtype: 'BOOL', shape: [2], data: Uint8Array.of(0, 1) },
  }));
  const expected: Record<string, number[]> = { i64: [-5, 2 ** 40], u64: [7], f64: [0.25], i32: [-70000], u32: [70000], i16: [-300], u16: [40000], i8: [-3], u8: [200], flag: [0, 1] };
  for (const [name, values] of Object.entries(expected)) assert.equal([...(await file.f32(name))], values, name);
});

test('what is written is read back: random names, types and shapes', async () => {
  const dtypes: SafetensorsDType[] = ['F32', 'U8', 'F16', 'F64', 'I32'];
  for (let seed = 1; seed <= 40; seed++) {
    const draw = random(400, seed);
    let at = 0;
    const below = (n: number) => Math.floor(((draw[at++]! + 1) / 2) * n);
    const tensors: Parameters<typeof encodeSafetensors>[0] = {};
    for (let i = below(6); i > 0; i--) {
      const dtype = dtypes[below(dtypes.length)]!;
      const shape = Array.from({ length: below(4) }, () => below(4));
      const bytes = Uint8Array.from({ length: shape.reduce((p, n) => p * n, bytesPerElement(dtype)) }, () => below(256));
      tensors[['a', 'b.weight', '7', 'quote"d', 'é\\', '{x:[1]}', '__proto'][below(7)]!] = { dtype, shape, data: bytes };
    }
    const metadata = below(2) ? { note: 'braces } and "quotes"' } : undefined;
    const file = await openBytes(encodeSafetensors(tensors, metadata));
    assert.equal(file.metadata, metadata ?? {});
    assert.equal([...file.names].sort(), Object.keys(tensors).sort());
    for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
      assert.equal(file.info(name), { dtype, shape, bytes: data.byteLength });
      assert.equal(await file.raw(name), data);
    }
  }
});

test('float32 survives bit for bit, and the same tensors give the same bytes', async () => {
  const x = random([3, 5], 9);
  const once = encodeSafetensors({ x: { dtype: 'F32', shape: [3, 5], data: x } });
  assert.equal(encodeSafetensors({ x: { dtype: 'F32', shape: [3, 5], data: x } }), once);
  assert.equal(await (await openBytes(once)).f32('x'), x);
});

test('the writer refuses data that does not fill its shape', () => {
  assert.throws(() => encodeSafetensors({ x: { dtype: 'F32', shape: [3], data: new Float32Array(2) } }), /tensor x: F32 of shape \[3\] takes 12 bytes, 8 were given/);
  assert.throws(() => encodeSafetensors({ __metadata__: { dtype: 'U8', shape: [0], data: new Uint8Array(0) } }), /__metadata__/);
});

test('a file cut at any byte is refused', async () => {
  const whole = encodeSafetensors({ a: { dtype: 'F32', shape: [4], data: random(4) }, b: { dtype: 'F16', shape: [3], data: new Uint16Array(3) } });
  for (let length = 0; length < whole.length; length++) await refused(() => openBytes(whole.slice(0, length)), 'dir/model.safetensors', 'truncated', `byte ${length}`);
  await refused(() => openBytes(whole.slice(0, whole.length - 1)), 'tensor b', 'bytes', 'truncated');
});

test('a header that cannot be is refused with its place', async () => {
  const huge = lay('{}');
  new DataView(huge.buffer).setBigUint64(0, 1n << 62n, true);
  await refused(() => openBytes(huge), 'dir/model.safetensors', String(1n << 62n), 'not a safetensors file');
  await refused(() => openBytes(lay('{"a":')), 'header at byte 8', 'not valid JSON');
  await refused(() => openBytes(lay('[1]')), 'header at byte 8', 'not a JSON object');
  await refused(() => openBytes(lay('{"__metadata__":{"a":1}}')), '__metadata__');
  const bad = lay('{"a": }');
  bad[12] = 0xff;
  await refused(() => openBytes(bad), 'header at byte 8', 'not UTF-8');
});

test('an entry that cannot be is refused by the name of its tensor', async () => {
  const one = (entry: string, data = 8) => openBytes(lay(`{"w.x":${entry}}`, new Uint8Array(data)));
  await refused(() => one('3'), 'tensor w.x', 'not an object');
  await refused(() => one('{"dtype":"F4","shape":[2],"data_offsets":[0,8]}'), 'tensor w.x', 'unknown dtype "F4"', 'BF16');
  await refused(() => one('{"shape":[2],"data_offsets":[0,8]}'), 'tensor w.x', 'unknown dtype');
  await refused(() => one('{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}'), 'tensor w.x', 'shape [-2]');
  await refused(() => one('{"dtype":"F32","shape":2,"data_offsets":[0,8]}'), 'tensor w.x', 'shape 2');
  await refused(() => one('{"dtype":"F32","shape":[2],"data_offsets":[8,0]}'), 'tensor w.x', 'data_offsets [8,0]');
  await refused(() => one('{"dtype":"F32","shape":[2],"data_offsets":[0.5,8]}'), 'tensor w.x', 'data_offsets');
  await refused(() => one('{"dtype":"F32","shape":[3],"data_offsets":[0,8]}'), 'tensor w.x', 'takes 12 bytes', 'give 8');
  await refused(() => one('{"dtype":"F32","shape":[4],"data_offsets":[0,16]}'), 'tensor w.x', 'truncated', 'the file ends at byte');
  await refused(() => one('{"dtype":"F32","shape":[1],"data_offsets":[4,8]}'), 'tensor w.x', 'belong to no tensor');
  await refused(() => one('{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'), 'at its end belong to no tensor');
});

test('overlapping tensors and names listed twice are refused', async () => {
  const entry = (from: number, to: number) => `{"dtype":"U8","shape":[${to - from}],"data_offsets":[${from},${to}]}`;
  await refused(() => openBytes(lay(`{"a":${entry(0, 6)},"b":${entry(4, 8)}}`, new Uint8Array(8))), 'tensor b', 'overlaps tensor a');
  await refused(() => openBytes(lay(`{"a":${entry(0, 4)},"b":${entry(0, 4)}}`, new Uint8Array(4))), 'overlaps');
  await refused(() => openBytes(lay(`{"a":${entry(0, 4)},"\\u0061":${entry(4, 8)}}`, new Uint8Array(8))), 'tensor a', 'twice', 'byte ');
  // The word "a" may well stand elsewhere.
  const fine = await openBytes(lay(`{"__metadata__":{"a":"a","b":"{\\"a\\":1}"},"a":${entry(0, 4)}}`, new Uint8Array(4)));
  assert.equal(fine.names, ['a']);
});

test('a tensor that is not there is refused by name', async () => {
  const file = await openBytes(lay('{}'));
  assert.not(file.has('w'));
  assert.throws(() => file.info('w'), (e: Error) => e instanceof FileError && e.message === 'dir/model.safetensors: has no tensor w');
  await refused(() => file.f32('w'), 'has no tensor w');
  await refused(() => openSafetensors(memorySource({}, 'dir')), 'dir/model.safetensors: no such file');
  await refused(() => openSafetensors(memorySource({ 'pytorch_model.bin': new Uint8Array(1) }, 'dir')), 'pytorch_model.bin is not read');
});

test('shards read as one file, and a missing or wrong shard is named', async () => {
  const shard = (name: string, value: number) => encodeSafetensors({ [name]: { dtype: 'F32', shape: [1], data: Float32Array.of(value) } }, { [name]: 'yes' });
  const text = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  const files: Record<string, Uint8Array> = {
    'model-1.safetensors': shard('a', 1),
    'model-2.safetensors': shard('b', 2),
    'model.safetensors.index.json': text({ weight_map: { b: 'model-2.safetensors', a: 'model-1.safetensors' } }),
  };
  const file = await openSafetensors(memorySource(files, 'dir'));
  assert.equal([...file.names].sort(), ['a', 'b']);
  assert.equal([(await file.f32('a'))[0], (await file.f32('b'))[0]], [1, 2]);
  assert.equal(file.metadata, { a: 'yes', b: 'yes' });
  const { 'model-2.safetensors': _, ...without } = files;
  await refused(() => openSafetensors(memorySource(without, 'dir')), 'dir/model-2.safetensors', 'no such file', 'tensor b');
  const withIndex = (index: unknown) => openSafetensors(memorySource({ ...files, 'model.safetensors.index.json': text(index) }, 'dir'));
  await refused(() => withIndex({ weight_map: { c: 'model-1.safetensors' } }), 'dir/model-1.safetensors', 'has no tensor c');
  await refused(() => withIndex({ weight_map: { a: '../model-1.safetensors' } }), 'tensor a', 'not the name of a file beside the index');
  await refused(() => withIndex({}), 'has no weight_map');
  await refused(() => withIndex(null), 'has no weight_map');
});

test.run();
