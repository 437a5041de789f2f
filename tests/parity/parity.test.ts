/** What a page computes is what Node computes. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { ACROSS, SAME } from './bounds.ts';
import { compareResults, comparisonLines } from './compare.ts';
import { inChromium, inNode } from './places.ts';

const test = suite('parity');

test('on one driver every bit is the same, training included; across drivers every number to a thousandth, and every choice', async () => {
  const page = await inChromium('small');
  if (!page) return;
  const same = compareResults(await inNode('swiftshader', 'small'), page, SAME);
  assert.ok(same.numbers > 800 && same.choices > 3000, 'the whole of the results is compared');
  assert.is(same.equal, same.numbers, comparisonLines('SwiftShader in both', same, SAME.tolerance).join('\n'));
  assert.equal(same.changed, []);
  const across = compareResults(await inNode('lavapipe', 'small'), page, ACROSS);
  assert.equal([across.beyond, across.changed], [[], []], comparisonLines('lavapipe and SwiftShader', across, ACROSS.tolerance).join('\n'));
  assert.ok(across.equal < across.numbers, 'two drivers were compared');
});

test.run();
