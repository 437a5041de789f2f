import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError } from '../../src/errors.ts';
import { memorySource, openTorch, TorchTensor, type FileSource, type TorchDict, type TorchFile } from '../../src/files/index.ts';
import { random } from '../support/numbers.ts';
import { refusal } from '../support/refusal.ts';
import { global, pickle, Raw, Saved, torchFile, zip, type Value } from '../support/torch-file.ts';

const test = suite('torch files');

const open = (bytes: Uint8Array): Promise<TorchFile> => openTorch(memorySource({ 'a.pt': bytes }), 'a.pt');

async function tensor(file: TorchFile, name: string): Promise<{ shape: readonly number[]; values: number[] }> {
  const found = (file.value as TorchDict).get(name);
  if (!(found instanceof TorchTensor)) throw new Error(`${name} is no tensor`);
  return { shape: found.shape, values: [...await file.f32(found)] };
}

const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i - 2.5);

test('tensors of every type, values of every kind, in the order of the file', async () => {
  for (const large of [false, true]) {
    const file = await open(torchFile(new Map<string, Value>([
      ['weight', new Saved([2, 3], numbers(6))], ['half', new Saved([4], [1, -0.5, 1.5, 0], { kind: 'f16' })], ['brain', new Saved([2], [-2, 0.75], { kind: 'bf16' })],
      ['double', new Saved([1], [0.1], { kind: 'f64' })], ['count', new Saved([], [-7], { kind: 'i64' })], ['flags', new Saved([2], [0, 1], { kind: 'bool' })],
      ['none', new Saved([0, 3], [])], ['parameter', new Saved([2], [8, 9], { parameter: true })],
      ['state', { k: 32, name: 'é', big: 2 ** 40, less: -70000, middle: 300, half: -0.5, yes: true, no: false, nothing: null, list: [1, 'a', []], one: [5], inner: {} }],
    ]), { large }));
    assert.equal([...(file.value as TorchDict).keys()], ['weight', 'half', 'brain', 'double', 'count', 'flags', 'none', 'parameter', 'state']);
    assert.equal(await tensor(file, 'weight'), { shape: [2, 3], values: numbers(6) });
    assert.equal((await tensor(file, 'half')).values, [1, -0.5, 1.5, 0]);
    assert.equal((await tensor(file, 'brain')).values, [-2, 0.75]);
    assert.equal((await tensor(file, 'double')).values, [Math.fround(0.1)]);
    assert.equal(await tensor(file, 'count'), { shape: [], values: [-7] });
    assert.equal((await tensor(file, 'flags')).values, [0, 1]);
    assert.equal(await tensor(file, 'none'), { shape: [0, 3], values: [] });
    assert.equal((await tensor(file, 'parameter')).values, [8, 9]);
    assert.equal([...((file.value as TorchDict).get('state') as TorchDict)], [
      ['k', 32], ['name', 'é'], ['big', 2 ** 40], ['less', -70000], ['middle', 300], ['half', -0.5], ['yes', true], ['no', false], ['nothing', null], ['list', [1, 'a', []]], ['one', [5]], ['inner', new Map()],
    ]);
  }
});

test('tensors that lie across, in part or with gaps are read as torch sees them', async () => {
  const [rows, columns] = [37, 70];
  const data = [...random(rows * columns, 3)];
  const file = await open(torchFile({
    // The transpose of a [70, 37] matrix; its second and third row; every other column of it; three axes turned about; one number of many.
    across: new Saved([rows, columns], data, { strides: [1, rows] }), part: new Saved([2, columns], data, { strides: [columns, 1], offset: columns }),
    gaps: new Saved([rows, columns / 2], data, { strides: [columns, 2], offset: 1 }), turned: new Saved([2, 3, 4], data.slice(0, 24), { strides: [3, 1, 6] }), one: new Saved([], data, { offset: 5 }),
    row: new Saved([1, 4], data, { strides: [999, 1], offset: 2 }),
  }));
  const expected = (shape: number[], at: (...index: number[]) => number): number[] => {
    const out: number[] = [];
    const walk = (index: number[]): void => {
      if (index.length === shape.length) out.push(data[at(...index)]!);
      else for (let i = 0; i < shape[index.length]!; i++) walk([...index, i]);
    };
    walk([]);
    return out;
  };
  assert.equal((await tensor(file, 'across')).values, expected([rows, columns], (r, c) => r! + rows * c!));
  assert.equal((await tensor(file, 'part')).values, expected([2, columns], (r, c) => columns * (r! + 1) + c!));
  assert.equal((await tensor(file, 'gaps')).values, expected([rows, columns / 2], (r, c) => 1 + columns * r! + 2 * c!));
  assert.equal((await tensor(file, 'turned')).values, expected([2, 3, 4], (i, j, k) => 3 * i! + j! + 6 * k!));
  assert.equal((await tensor(file, 'one')).values, [data[5]!]);
  assert.equal((await tensor(file, 'row')).values, data.slice(2, 6));
});

test('of a large file only what is asked for is read', async () => {
  const bytes = torchFile({ small: new Saved([2], [1, 2]), large: new Saved([50_000], new Float32Array(50_000)) });
  const inner = memorySource({ 'a.pt': bytes });
  let read = 0;
  const counting: FileSource = { ...inner, bytes: () => Promise.reject(new Error('the whole file was asked for')), range: (path, start, end) => { read += end - start; return inner.range(path, start, end); } };
  const file = await openTorch(counting, 'a.pt');
  assert.equal((await tensor(file, 'small')).values, [1, 2]);
  // The archive's end takes 64 KB to look through; the large tensor has 200 KB.
  assert.ok(read < 70_000, `${read} of ${bytes.length} bytes`);
});

const refused = (value: Value): Promise<string> => refusal(() => open(torchFile(value)));
const u32 = (n: number): number[] => [n & 255, (n >> 8) & 255, (n >> 16) & 255, n >>> 24];
const text = (string: string): number[] => [0x58, ...u32(string.length), ...new TextEncoder().encode(string)];

test('names other than those of tensors are refused by name', async () => {
  const call = (module: string, name: string): Raw => new Raw([...global(module, name), ...text('true'), 0x85, 0x52]);
  const names = [
    ['os', 'system'], ['posix', 'system'], ['builtins', 'eval'], ['torch', 'load'], ['torch._utils', '_rebuild_tensor_v3'],
    ['torch.nn.modules.linear', 'Linear'], ['numpy.core.multiarray', '_reconstruct'], ['collections', 'OrderedDict.x'], ['torch', 'float32'],
  ] as const;
  for (const [module, name] of names) {
    const message = await refused({ weight: new Saved([1], [1]), bad: call(module, name) });
    assert.ok(message.includes(`"${module}.${name}"`) && /^memory\/a\.pt: data\.pkl: byte \d+: .*refused/.test(message), message);
  }
  // The constructor of a JavaScript object is no name of the list either.
  assert.match(await refused(new Raw(global('torch', '__proto__'))), /"torch.__proto__"/);
});

test('calls of what is no function of tensors, and attributes of what is no dictionary, are refused', async () => {
  assert.match(await refused(new Raw([...global('torch', 'FloatStorage'), 0x29, 0x52])), /a call of torch\.FloatStorage is refused/);
  assert.match(await refused(new Raw([...text('os.system'), 0x29, 0x52])), /a call of what is no name is refused/);
  assert.match(await refused(new Raw([...global('collections', 'OrderedDict'), 0x7d, 0x52])), /a call of collections.OrderedDict is refused/);
  assert.match(await refused(new Raw([...global('collections', 'OrderedDict'), 0x5d, 0x4b, 1, 0x61, 0x85, 0x52])), /OrderedDict is made of what are no pairs/);
  assert.match(await refused(new Raw([0x5d, 0x7d, 0x62])), /BUILD of what is no OrderedDict/);
  assert.match(await refused(new Raw([...global('torch._utils', '_rebuild_parameter'), 0x4b, 1, 0x88, 0x4e, 0x87, 0x52])), /a parameter is made of what is no tensor/);
  assert.match(await refused(new Raw([...global('torch._utils', '_rebuild_tensor_v2'), 0x4b, 1, 0x85, 0x52])), /a tensor is described by other than/);
  assert.match(await refused(new Raw([...text('storage'), 0x51])), /points to is no storage/);
  assert.match(await refused({ kind: new Raw(global('torch', 'FloatStorage')) }), /the name torch.FloatStorage stands where a value should be/);
  assert.match(await refused([new Raw([...global('torch', 'FloatStorage'), 0x85])]), /the name torch.FloatStorage stands where/);
});

test('operations that tensors do not need are refused by name', async () => {
  const operations: [number[], string][] = [
    [[0x82, 1], 'EXT1'], [[0x83, 1, 0], 'EXT2'], [[0x84, 1, 0, 0, 0], 'EXT4'], [[0x28, 0x69, ...new TextEncoder().encode('os\nsystem\n')], 'INST'], [[0x28, 0x6f], 'OBJ'],
    [[0x29, 0x29, 0x81], 'NEWOBJ'], [[0x93], 'STACK_GLOBAL'], [[0x50, 0x31, 0x0a], 'PERSID'], [[0x8c, 1, 0x61], 'SHORT_BINUNICODE'], [[0xff], '0xff'], [[0x32], '0x32'],
  ];
  for (const [bytes, name] of operations) assert.match(await refused(new Raw(bytes)), new RegExp(`the operation ${name} is not among`));
  const newer = zip([['archive/data.pkl', Uint8Array.from([0x80, 4, 0x4e, 0x2e])]]);
  assert.match(await refusal(() => open(newer)), /protocol 4/);
});

test('a stack machine that is given too little stops', async () => {
  for (const bytes of [[], [0x52], [0x28, 0x52], [0x74], [0x85], [0x61], [0x4b, 1, 0x4b, 2, 0x61], [0x65], [0x75], [0x28, 0x4b, 1, 0x75], [0x7d, 0x28, 0x4b, 1, 0x75], [0x71, 0], [0x68, 7], [0x62], [0x28], [0x4e, 0x4e]]) {
    assert.match(await refused(new Raw(bytes)), /^memory\/a\.pt: data\.pkl: byte \d+: /);
  }
  // Very deep values are read without recursion.
  const deep = await open(torchFile(new Raw([...new Array<number>(100_000).fill(0x5d), ...new Array<number>(99_999).fill(0x61)])));
  assert.ok(Array.isArray(deep.value));
});

test('a pickle that is cut off is refused wherever that happens', async () => {
  const { bytes, storages } = pickle({ weight: new Saved([2], [1, 2]), n: 2 ** 40, x: 0.5 });
  for (let length = 0; length < bytes.length; length++) {
    const file = zip([['a/data.pkl', bytes.subarray(0, length)], ['a/data/0', storages[0]!]]);
    assert.match(await refusal(() => open(file)), /truncated/);
  }
});

test('an archive that is cut off, or lacks what its description speaks of, is refused', async () => {
  const whole = torchFile({ weight: new Saved([300], numbers(300)) });
  for (const length of [0, 3, 100, whole.length >> 1, whole.length - 30, whole.length - 1]) assert.match(await refusal(() => open(whole.subarray(0, length))), /truncated|cut off/);
  const { bytes, storages } = pickle({ weight: new Saved([2], [1, 2]) });
  const record = 'a/data.pkl';
  assert.match(await refusal(() => open(zip([[record, bytes]]))), /no record data\/0, which holds a tensor/);
  assert.match(await refusal(() => open(zip([[record, bytes], ['a/data/0', storages[0]!.subarray(0, 4)]]))), /data\/0 has 4 bytes, but 2 elements of F32 take 8/);
  assert.match(await refusal(() => open(zip([['a/data/0', storages[0]!]]))), /has no data\.pkl/);
  assert.match(await refusal(() => open(zip([[record, bytes]], { method: 8 }))), /packed by method 8/);
  assert.match(await refusal(() => open(zip([[record, bytes], [record, bytes]]))), /listed twice/);
  assert.match(await refusal(() => open(zip([[record, bytes], ['a/byteorder', new TextEncoder().encode('big')], ['a/data/0', storages[0]!]]))), /"big" byte order/);
  assert.match(await refusal(() => open(Uint8Array.of(0x80, 2, 0x8a, 10, 1, 2, 3))), /before 1\.6/);
  assert.match(await refusal(() => open(new TextEncoder().encode('<!DOCTYPE html>'.padEnd(500)))), /no zip directory/);
  const moved = torchFile({ weight: new Saved([2], [1, 2]) });
  moved[0] = 0;
  assert.match(await refusal(() => open(moved)), /record archive\/data\.pkl: byte 0 is not where it begins/);
});

test('a damaged file is read or refused, and does nothing else', async () => {
  const whole = torchFile(new Map<string, Value>([['weight', new Saved([2, 3], numbers(6), { strides: [1, 2] })], ['state', { k: 32, list: ['a', -0.5, 2 ** 40] }]]), { large: true });
  const rounds = 1200;
  const noise = random(rounds * 6, 9).map((v) => (v + 1) / 2);
  let opened = 0;
  for (let round = 0; round < rounds; round++) {
    const damaged = whole.slice();
    // One to three bytes become others.
    for (let i = 0; i <= round % 3; i++) damaged[Math.floor(noise[6 * round + 2 * i]! * whole.length)]! ^= 1 + Math.floor(noise[6 * round + 2 * i + 1]! * 255);
    try {
      const file = await open(damaged);
      opened++;
      for (const part of file.value instanceof Map ? file.value.values() : []) if (part instanceof TorchTensor) await file.f32(part);
    } catch (error) {
      assert.instance(error, FileError, `round ${round}: ${(error as Error).stack}`);
    }
  }
  assert.ok(opened > 50 && opened < rounds - 50, `${opened} of ${rounds} could be read`);
});

test('a tensor that reaches beyond its storage is refused', async () => {
  assert.match(await refused({ w: new Saved([2, 2], [1, 2, 3]) }), /shape \[2, 2\] reaches to element 3 of storage 0, which has 3/);
  assert.match(await refused({ w: new Saved([2], [1, 2], { offset: 1 }) }), /reaches to element 2/);
  // Rows that are all the same row would make numbers out of nothing.
  assert.match(await refused({ w: new Saved([1000, 2], [1, 2], { strides: [0, 1] }) }), /more elements than its storage/);
  assert.match(await refused({ w: new Saved([-1], [1, 2]) }), /described by other than/);
});

test.run();
