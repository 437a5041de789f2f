import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { UsageError } from '../../src/errors.ts';
import { openGpu } from '../../src/node.ts';
import { randomBits, randomNormal, randomUniform } from '../../src/tensor/random.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { relativeError } from '../support/numbers.ts';

type Words = [number, number, number, number];

/** One block of Philox-4x32-10 in exact integer arithmetic, as the paper writes it. */
function philox(counter: Words, key: [number, number]): Words {
  let [c0, c1, c2, c3] = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key.map(BigInt) as [bigint, bigint];
  const word = 0xffffffffn;
  for (let round = 0; round < 10; round++) {
    const p0 = 0xd2511f53n * c0;
    const p1 = 0xcd9e8d57n * c2;
    [c0, c1, c2, c3] = [(p1 >> 32n) ^ c1 ^ k0, p1 & word, (p0 >> 32n) ^ c3 ^ k1, p0 & word];
    k0 = (k0 + 0x9e3779b9n) & word;
    k1 = (k1 + 0xbb67ae85n) & word;
  }
  return [c0, c1, c2, c3].map(Number) as Words;
}

/** Elements [0, count) of a stream: the bits, uniform and normal numbers. */
function reference(count: number, seed: number, stream: number): { bits: number[]; uniform: number[]; normal: number[] } {
  const split = (n: number): [number, number] => [n >>> 0, Math.floor(n / 2 ** 32)];
  const bits: number[] = [];
  const normal: number[] = [];
  for (let block = 0; block * 4 < count; block++) {
    const words = philox([block, 0, ...split(stream)], split(seed));
    bits.push(...words);
    for (const [a, b] of [[words[0], words[1]], [words[2], words[3]]] as const) {
      const radius = Math.sqrt(-2 * Math.log(((a >>> 8) + 1) / 2 ** 24));
      const angle = (2 * Math.PI * (b >>> 8)) / 2 ** 24;
      normal.push(radius * Math.cos(angle), radius * Math.sin(angle));
    }
  }
  const cut = bits.slice(0, count);
  return { bits: cut, uniform: cut.map((b) => (b >>> 8) / 2 ** 24), normal: normal.slice(0, count) };
}

const plain = suite('philox reference');

plain('gives the published known answers', () => {
  // Random123's kat_vectors, lines "philox4x32 10".
  const known: [Words, [number, number], Words][] = [
    [[0, 0, 0, 0], [0, 0], [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]],
    [[0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff], [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]],
    [[0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0], [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]],
  ];
  for (const [counter, key, answer] of known) assert.equal(philox(counter, key), answer);
});

plain.run();

const test = gpuSuite('random');

test('bits and uniforms equal the reference bit for bit, normals to rounding', async () => {
  const gpu = await testGpu();
  for (const [seed, stream, count] of [[0, 0, 5], [123456789, 7, 1001], [2 ** 53 - 1, 2 ** 52 + 1, 64]] as const) {
    const ref = reference(count, seed, stream);
    await gpu.scope(async () => {
      assert.equal(Array.from(await randomBits(gpu, [count], { seed, stream }).readU32()), ref.bits);
      assert.equal(Array.from(await randomUniform(gpu, [count], { seed, stream }).read()), ref.uniform);
      const error = relativeError(await randomNormal(gpu, [count], { seed, stream }).read(), ref.normal);
      assert.ok(error < 1e-5, `normal ${error}`);
    });
  }
});

test('moments of uniform and normal numbers', async () => {
  const gpu = await testGpu();
  const n = 200_000;
  await gpu.scope(async () => {
    const moments = (x: Float32Array): { mean: number; std: number; third: number; fourth: number } => {
      const mean = x.reduce((s, v) => s + v, 0) / n;
      const power = (p: number): number => x.reduce((s, v) => s + (v - mean) ** p, 0) / n;
      const std = Math.sqrt(power(2));
      return { mean, std, third: power(3) / std ** 3, fourth: power(4) / std ** 4 };
    };
    // Tolerances are five standard errors of each moment.
    const near = (value: number, expected: number, error: number, what: string): void => assert.ok(Math.abs(value - expected) < (5 * error) / Math.sqrt(n), `${what}: ${value}`);
    const u = await randomUniform(gpu, [n], { seed: 1, low: -2, high: 6 }).read();
    assert.ok(u.every((v) => v >= -2 && v < 6));
    const uniform = moments(u);
    near(uniform.mean, 2, 8 / Math.sqrt(12), 'uniform mean');
    near(uniform.std, 8 / Math.sqrt(12), 1.1, 'uniform deviation');
    const normal = moments(await randomNormal(gpu, [n], { seed: 2, mean: 3, std: 0.5 }).read());
    near(normal.mean, 3, 0.5, 'normal mean');
    near(normal.std, 0.5, 0.5 / Math.SQRT2, 'normal deviation');
    near(normal.third, 0, Math.sqrt(6), 'normal skewness');
    near(normal.fourth, 3, Math.sqrt(24), 'normal kurtosis');
  });
});

test('an element depends on seed, stream and its index alone', async () => {
  const gpu = await testGpu();
  const small = await openGpu({ windowBytes: 1024 });
  const draw = async (on: typeof gpu, shape: number[], options: { seed: number; stream?: number }): Promise<number[]> => on.scope(async () => Array.from(await randomNormal(on, shape, options).read()));
  const long = await draw(gpu, [1003], { seed: 5 });
  assert.equal(await draw(gpu, [17, 59], { seed: 5 }), long);
  assert.equal(await draw(gpu, [6], { seed: 5 }), long.slice(0, 6));
  assert.equal(await draw(small, [1003], { seed: 5 }), long);
  assert.not.equal(await draw(gpu, [1003], { seed: 5, stream: 1 }), long);
  assert.not.equal(await draw(gpu, [1003], { seed: 6 }), long);
  assert.equal(await draw(gpu, [0], { seed: 5 }), []);
  small.destroy();
});

test('seeds that are no whole numbers are refused', async () => {
  const gpu = await testGpu();
  for (const seed of [-1, 0.5, 2 ** 53, NaN]) {
    await gpu.scope(() => assert.throws(() => randomUniform(gpu, [3], { seed }), (e: unknown) => e instanceof UsageError && /seed/.test(e.message)));
  }
});

test.run();
