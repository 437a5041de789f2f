import * as assert from 'uvu/assert';
import { saeDecode, Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random, relativeError } from '../support/numbers.ts';

const test = gpuSuite('decoding in windows');
const gpu = await testGpu();

test('a decoder beyond one binding gives what one within it gives', () => gpu.scope(async () => {
  for (const [n, features, width] of [[5, 300, 24], [1, 129, 7], [40, 64, 64], [0, 90, 8]] as const) {
    const [codes, decoder, bias] = [random(n * features, 1).map((v) => (v > 0.5 ? v : 0)), random(features * width, 2), random(width, 3)];
    const expected = Array.from({ length: n * width }, (_, i) => bias[i % width]! + Array.from({ length: features }, (_, f) => f).reduce((sum, f) => sum + codes[Math.floor(i / width) * features + f]! * decoder[f * width + (i % width)]!, 0));
    const weights = { encoder: Tensor.zeros(gpu, [features, width]), encoderBias: Tensor.zeros(gpu, [features]), decoder: Tensor.from(gpu, decoder, [features, width]), decoderBias: Tensor.from(gpu, bias, [width]) };
    const given = Tensor.from(gpu, codes, [n, features]);
    const whole = await saeDecode(given, weights).read();
    assert.ok(relativeError(whole, expected) <= 1e-6);
    for (const bindingBytes of [4096, 9000, features * width * 4 + 4096]) {
      const found = await saeDecode(given, weights, { bindingBytes }).read();
      assert.equal([...found], [...whole], `${n} ${features} ${width} in ${bindingBytes}`);
    }
  }
}));

test.run();
