import * as assert from 'uvu/assert';
import { NumberError, ShapeError } from '../../src/errors.ts';
import { openGpu } from '../../src/node.ts';
import { embed, fromHalves, gatherRows, Tensor, toHalves } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';

const test = gpuSuite('f16');

test('every half comes back as itself', () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const numbers = fromHalves(all);
  const back = toHalves(numbers);
  for (const [i, bits] of all.entries()) {
    if (Number.isNaN(numbers[i])) assert.ok((back[i]! & 0x7c00) === 0x7c00 && (back[i]! & 0x3ff) !== 0);
    else if (back[i] !== bits) assert.unreachable(`${bits} became ${back[i]}`);
  }
  assert.equal([...fromHalves(Uint16Array.of(0x0001, 0x03ff, 0x0400, 0x3c00, 0xc000, 0x7bff))], [2 ** -24, 1023 * 2 ** -24, 2 ** -14, 1, -2, 65504]);
});

test('numbers between two halves go to the nearest, half way to the even one', () => {
  const all = fromHalves(Uint16Array.from({ length: 0x7c00 }, (_, i) => i));
  for (let i = 0; i + 1 < all.length; i++) {
    const [low, high] = [all[i]!, all[i + 1]!];
    const middle = Math.fround((low + high) / 2); // exact: a float32 has more digits
    const step = middle * 2 ** -22;
    const expected = [i, i % 2 ? i + 1 : i, i + 1];
    const got = toHalves(Float32Array.of(middle - step, middle, middle + step));
    if (got.some((bits, j) => bits !== expected[j])) assert.unreachable(`between ${low} and ${high}: ${got}`);
  }
  assert.equal([...toHalves([-1.0001, 2 ** -26, -0])], [0xbc00, 0, 0x8000]);
});

test('numbers beyond the range are refused with their place', () => {
  assert.equal([...toHalves([65519.9, -65504, Infinity, -Infinity])], [0x7bff, 0xfbff, 0x7c00, 0xfc00]);
  for (const value of [65520, -70000, 3e38]) {
    assert.throws(() => toHalves(Float32Array.of(0, value)), (e: unknown) => e instanceof NumberError && /^element 1 is -?[0-9.e+]+, beyond the range of f16, whose largest number is 65504/.test(e.message));
  }
});

test('f16 tensors of odd and even sizes: upload, rows, copies, zeros, half the memory', async () => {
  const gpu = await testGpu();
  const values = random([300, 35], 4);
  const halves = fromHalves(toHalves(values));
  const before = gpu.memory().live;
  const x = Tensor.from(gpu, values, [300, 35], 'f16');
  assert.ok(gpu.memory().live - before < 1.13 * 2 * 300 * 35);
  assert.is(x.byteLength, 2 * 300 * 35);
  assert.equal(await x.read(), halves);
  const one = Tensor.from(gpu, Float32Array.of(1, 2, 3.0001), [3], 'f16');
  assert.equal([...await one.read()], [1, 2, 3]);
  one.write([7], 2);
  one.write([5, 6]);
  assert.equal([...await one.read()], [5, 6, 7]);
  for (const wrong of [() => one.write([1], 1), () => one.write([1], 0), () => one.write([1, 2, 3, 4]), () => x.rows(1, 2)]) assert.throws(wrong, (e: unknown) => e instanceof ShapeError);
  const [zeros, copy, view, part] = [Tensor.zeros(gpu, [5], 'f16'), x.clone(), x.rows(256, 3), x.rows(2, 3)];
  assert.equal([...await zeros.read()], [0, 0, 0, 0, 0]);
  assert.equal(await copy.read(), halves);
  assert.is(view.storage, x.storage);
  assert.equal(await view.read(), halves.subarray(256 * 35, 259 * 35));
  assert.equal(await part.read(), halves.subarray(70, 175));
  for (const t of [x, one, zeros, copy, view, part]) t.dispose();
});

test('rows of an f16 table by index, of odd width and beyond the binding limit', async () => {
  const values = random([900, 35], 8);
  const halves = fromHalves(toHalves(values));
  const ids = Uint32Array.of(899, 0, 3, 3, 450, 900);
  const row = (i: number): number[] => (i < 900 ? [...halves.subarray(i * 35, i * 35 + 35)] : Array<number>(35).fill(0));
  const narrow = await openGpu({ windowBytes: 17920 }); // 256 rows of 70 bytes
  try {
    for (const gpu of [await testGpu(), narrow]) await gpu.scope(async () => {
      const table = Tensor.from(gpu, values, [900, 35], 'f16');
      const index = Tensor.from(gpu, ids, [6]);
      assert.equal([...await embed(index, table).read()], [...ids].flatMap(row));
      assert.equal([...await gatherRows(table, index, { offset: 3, width: 5 }).read()], [...ids].flatMap((i) => row(i).slice(3, 8)));
    });
  } finally {
    narrow.destroy();
  }
});

test.run();
