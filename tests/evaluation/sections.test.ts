import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { effectOf } from '../../src/evaluation/discover.ts';
import { bySpan, chunksBySpan, spansOf } from '../../src/evaluation/patching.ts';
import type { SiteRow } from '../../src/evaluation/results.ts';
import { sectionsFrom } from '../../src/evaluation/sections.ts';
import { formatSite, parseSite } from '../../src/task/sites.ts';
import type { Prompts } from '../../src/task/prompts.ts';

const test = suite('cross-sections from a ranking');

function ranking(effects: Record<string, number>, threshold: number): SiteRow[] {
  return Object.entries(effects).sort(([, a], [, b]) => b - a).map(([site, effect]) => ({
    site, ...parseSite(site), effect, byAttribute: { S: { effect, signed: -effect } }, prompts: 8, selected: effect >= threshold,
  }));
}

const EFFECTS = {
  'z@L0H3@end': 0.9, 'v@L0H3@s2': 0.8, 'z@L2H1@end': 0.3, 'z@L1H0@end': 0.3, 'v@L0H1@io': 0.25, 'v@L0H0@io': 0.2, 'q@L3H0@end': 0.18, 'k@L0H0@io': 0.05,
};

const found = (limit: number) => sectionsFrom(ranking(EFFECTS, 0.15), { strong: 0.5, limit }).map(({ name, sites }) => [name, sites.map(formatSite)]);

test('strong sites alone, then those of one kind and position together, in the order of layers and heads', () => {
  assert.equal(found(10), [
    ['z@L0H3@end', ['z@L0H3@end']],
    ['v@L0H3@s2', ['v@L0H3@s2']],
    ['z@end', ['z@L0H3@end', 'z@L1H0@end', 'z@L2H1@end']],
    ['v@io', ['v@L0H0@io', 'v@L0H1@io']],
  ]);
});

test('the weakest cross-sections go first when there are too many', () => {
  assert.equal(found(3).map(([name]) => name), ['z@L0H3@end', 'v@L0H3@s2', 'z@end']);
  assert.equal(found(1).map(([name]) => name), ['z@L0H3@end']);
});

test('nothing selected gives no cross-section', () => {
  assert.equal(sectionsFrom(ranking(EFFECTS, 2), { strong: 0.5, limit: 5 }), []);
});

test('effects are shares of the mean clean logit difference', () => {
  const { effect, signed } = effectOf([1, 3, 6], [2, 2, 2]);
  assert.ok(Math.abs(effect - 1) < 1e-12 && Math.abs(signed - 4 / 6) < 1e-12);
  assert.equal(effectOf([1, 2], [1, -1]), { effect: 0, signed: 0 });
});

test('batches of prompts end where spans change, once they are large enough', () => {
  const spans = [5, 5, 5, 6, 6, 7, 8, 8, 8, 8];
  const positions = { end: Uint32Array.from(spans, (span, i) => span + i), io: Uint32Array.from(spans, (_, i) => i + 2), s1: Uint32Array.from(spans, (_, i) => i + 1) };
  const prompts = { count: spans.length, positions } as unknown as Prompts;
  assert.equal(spansOf(prompts), spans);
  assert.equal(chunksBySpan(prompts, 100, 3), [[0, 3], [3, 6], [6, 10]]);
  assert.equal(chunksBySpan(prompts, 100, 1), [[0, 3], [3, 5], [5, 6], [6, 10]]);
  assert.equal(chunksBySpan(prompts, 4, Infinity), [[0, 4], [4, 8], [8, 10]]);
  const shuffled = { count: 3, positions: { end: Uint32Array.of(9, 9, 9), io: Uint32Array.of(1, 5, 1) } } as unknown as Prompts;
  assert.equal(bySpan(shuffled), [1, 0, 2]);
});

test.run();
