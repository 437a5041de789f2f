import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { LimitError } from '../../src/errors.ts';
import { dictionariesPerStep, featureWindows, saePath, stepBytes, stepWindows } from '../../src/tensor/sae-plan.ts';

const test = suite('sae plan');
const MiB = 2 ** 20;
const limits = (bindingBytes: number): { bindingBytes: number } => ({ bindingBytes });

test('small dictionaries go the dense path, wide ones the sparse, by features alone', () => {
  for (const features of [3, 256, 512]) assert.is(saePath({ features }), 'dense');
  for (const features of [1024, 4096, 24576, 131072]) assert.is(saePath({ features }), 'sparse');
});

for (const [name, dictionaries, features, width, maxRows, bindingBytes] of [
  ['220 of 64 to 512', 220, 512, 64, 512, 128 * MiB], ['one of 768 to 24,576', 1, 24576, 768, 512, 128 * MiB], ['28 of the demo', 28, 256, 32, 128, 128 * MiB],
  ['small bindings', 32, 64, 64, 64, 524288], ['odd sizes', 37, 50, 12, 31, 128 * MiB], ['odd sizes, small bindings', 140, 7, 4, 5, 16384], ['none', 0, 64, 16, 64, 32768],
] as const) {
  test(`windows cover every dictionary once, begin where bindings may, and fit: ${name}`, () => {
    const sizes = { dictionaries, features, width, maxRows };
    const windows = stepWindows(sizes, limits(bindingBytes));
    let next = 0;
    for (const { first, count } of windows) {
      assert.is(first, next);
      assert.ok(count > 0 && count * stepBytes(sizes).scratch <= bindingBytes);
      for (const perDictionary of [features, width, features * width]) assert.is((first * perDictionary * 4) % 256, 0);
      next += count;
    }
    assert.is(next, dictionaries);
  });
}

test('a batch of hundreds takes few windows of near the same size, a single dictionary one', () => {
  const windows = stepWindows({ dictionaries: 220, features: 512, width: 64, maxRows: 512 }, limits(128 * MiB));
  assert.ok(windows.length <= 8);
  assert.ok(windows.at(-1)!.count > 0.8 * windows[0]!.count);
  assert.is(stepWindows({ dictionaries: 1, features: 24576, width: 768, maxRows: 512 }, limits(128 * MiB)).length, 1);
});

for (const [features, width, maxRows, bindingBytes, most] of [[131072, 768, 128, 128 * MiB, 7], [131072, 768, 1024, 128 * MiB, 9], [24576, 768, 2048, 128 * MiB, 4], [1000, 12, 7, 16384, 4], [24576, 768, 512, 128 * MiB, 1]] as const) {
  test(`one dictionary of ${width} to ${features} with ${maxRows} rows is cut into windows of features that begin where bindings may, and fit`, () => {
    const sizes = { dictionaries: 1, features, width, maxRows };
    const windows = featureWindows(sizes, limits(bindingBytes));
    let next = 0;
    for (const { start, count } of windows) {
      assert.is(start, next);
      assert.ok(count > 0 && 4 * count * Math.max(width, maxRows + 1) <= bindingBytes);
      for (const perFeature of [1, width]) assert.is((start * perFeature * 4) % 256, 0);
      next += count;
    }
    assert.is(next, features);
    assert.is(windows.length, most);
    assert.is(dictionariesPerStep(sizes, limits(bindingBytes)), 1);
    assert.equal(stepWindows(sizes, limits(bindingBytes)), [{ first: 0, count: 1 }]);
  });
}

test('what cannot be held is counted and refused', () => {
  const sizes = { features: 64, width: 64, maxRows: 640 };
  assert.is(dictionariesPerStep(sizes, limits(1024)), 0);
  const most = dictionariesPerStep(sizes, limits(524288));
  assert.is(most, Math.floor(524288 / stepBytes(sizes).state));
  assert.ok(stepWindows({ ...sizes, dictionaries: most }, limits(524288)).length > 1);
  assert.throws(() => stepWindows({ ...sizes, dictionaries: most + 1 }, limits(524288)), (e: unknown) => e instanceof LimitError && /524288/.test(e.message));
  // Weights that begin anywhere can be bound in windows of 64 dictionaries only: where those do not fit, one window is all there is.
  const odd = { features: 63, width: 4, maxRows: 64 };
  assert.is(dictionariesPerStep(odd, limits(65536)), Math.floor(65536 / stepBytes(odd).scratch));
});

test.run();
