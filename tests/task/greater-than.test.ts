import * as assert from 'uvu/assert';
import { LexiconError } from '../../src/errors.ts';
import { applicable, formatSite, GREATER_THAN_NOUNS, GREATER_THAN_YEARS, GreaterThanTask } from '../../src/task/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';
import { gpt2Stretches, miniTokenizer } from './tokenizers.ts';

const test = gpuSuite('task/greater-than');

test('every year and noun is there; years lie where the positions say, as two tokens', () => {
  const tokenizer = gpt2Stretches();
  const task = new GreaterThanTask(tokenizer);
  assert.is(new Set(GREATER_THAN_NOUNS).size, 120);
  assert.is(GREATER_THAN_YEARS.length, 19);
  const prompts = task.training(3000, 0);
  const pairs = new Set<string>();
  for (let i = 0; i < prompts.count; i++) {
    const [noun, yy] = [prompts.properties.noun!, prompts.attributes.YY!].map(({ values, ids }) => values[ids[i]!]!);
    pairs.add(`${noun}`).add(yy!);
    assert.is(prompts.texts[i], `The ${noun} lasted from the year 17${yy} to the year 17`);
    const tokens = prompts.tokens[i]!;
    assert.equal(tokens, [50256, ...tokenizer.encode(prompts.texts[i]!)]);
    assert.is(tokens[prompts.positions.yy![i]!], tokenizer.single(yy!));
    assert.is(tokens[prompts.positions.yy![i]! - 1], tokenizer.single(' 17'));
    assert.is(prompts.positions.end![i], tokens.length - 1);
    assert.is(tokens.at(-1), tokenizer.single(' 17'));
    const year = (step: number) => tokenizer.single(String(Number(yy) + step).padStart(2, '0'));
    assert.equal([prompts.correct[i], prompts.incorrect[i]], [year(1), year(-1)]);
  }
  assert.is(pairs.size, 120 + 19);
});

test('scored years are the first nine, counterfactual ones the others; released, they are any', () => {
  const numbers = (prompts: { attributes: Record<string, { values: string[]; ids: Uint32Array }> }) => Array.from(prompts.attributes.YY!.ids, (id) => Number(prompts.attributes.YY!.values[id]));
  const task = new GreaterThanTask(gpt2Stretches());
  const prompts = task.evaluation(500, 1);
  assert.equal([...new Set(numbers(prompts))].sort((a, b) => a - b), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const changed = task.counterfactual(prompts, ['YY'], 0);
  assert.equal([...new Set(numbers(changed))].sort((a, b) => a - b), [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
  assert.equal([...changed.properties.noun!.ids], [...prompts.properties.noun!.ids]);
  const released = new GreaterThanTask(gpt2Stretches(), { allYears: true });
  const any = numbers(released.counterfactual(released.evaluation(500, 1), ['YY'], 0));
  assert.is(new Set(any).size, 19);
  assert.ok(any.some((year, i) => year === numbers(prompts)[i]), 'some keep their year');
});

test('a tokenizer that reads years otherwise is told apart, with the reason', async () => {
  const mini = await miniTokenizer();
  const outcome = applicable(() => new GreaterThanTask(mini));
  assert.ok('leftOut' in outcome && /^not applicable: greater-than: not single tokens .*slot noun/.test(outcome.leftOut), JSON.stringify(outcome));
  // A vocabulary in which one year is a single token, as GPT-2 has for 1700.
  const gpt2 = gpt2Stretches();
  const joined = { ...gpt2, encode: (text: string) => (text.includes(' 1703') ? [...gpt2.encode(text.split(' 1703')[0]!), 999, ...gpt2.encode(text.split(' 1703')[1]!)] : gpt2.encode(text)) };
  assert.throws(() => new GreaterThanTask(joined), (e: Error) => e instanceof LexiconError && /1703.*does not tokenise/.test(e.message));
  const other = applicable(() => new GreaterThanTask(gpt2));
  assert.ok('task' in other);
  assert.throws(() => applicable(() => { throw new RangeError('x'); }), RangeError);
});

test('sites are z at END of the seven released heads, jointly, in models of GPT-2 Small’s shape', () => {
  const task = new GreaterThanTask(gpt2Stretches());
  const known = task.crossSections({ layers: 12, heads: 12, width: 768 })!;
  assert.equal(known.sections.map(({ sites }) => sites.map(formatSite)), [['z@L5H1@end', 'z@L5H5@end', 'z@L6H1@end', 'z@L6H9@end', 'z@L7H10@end', 'z@L8H8@end', 'z@L8H11@end']]);
  assert.is(task.crossSections({ layers: 4, heads: 4, width: 128 }), null);
});

test('probability difference: what sums in float64 give, and its end points', async () => {
  const gpu = await testGpu();
  // Small ids, so that the logits can be few: year tokens are 100 numbers apart from each other in a vocabulary of 313.
  const words = gpt2Stretches();
  const small = (id: number, text: string) => (/^\d\d$/.test(text) ? 3 * Number(text) + 7 : id % 5);
  const task = new GreaterThanTask({ ...words, single: (text) => { const id = words.single(text); return id === null ? null : small(id, text); } });
  const prompts = task.evaluation(9, 3);
  const vocabulary = 313;
  const values = random([9, vocabulary], 4).map((x) => 3 * x);
  const reference = Array.from({ length: 9 }, (_, i) => {
    const row = Array.from(values.subarray(i * vocabulary, (i + 1) * vocabulary), Math.exp);
    const total = row.reduce((a, b) => a + b, 0);
    const yy = Number(prompts.attributes.YY!.values[prompts.attributes.YY!.ids[i]!]);
    let sum = 0;
    for (let year = 0; year < 100; year++) sum += ((year > yy ? 1 : -1) * row[3 * year + 7]!) / total;
    return sum;
  });
  const certain = (year: (yy: number) => number) => Float32Array.from({ length: 9 * vocabulary }, (_, at) => {
    const i = Math.floor(at / vocabulary);
    return at % vocabulary === 3 * year(Number(prompts.attributes.YY!.values[prompts.attributes.YY!.ids[i]!])) + 7 ? 50 : 0;
  });
  for (const [logits, expected] of [[values, reference], [certain((yy) => yy + 1), new Array(9).fill(1)], [certain((yy) => yy), new Array(9).fill(-1)]] as const) {
    const input = Tensor.from(gpu, logits, [9, vocabulary]);
    const out = task.probabilityDifference(input, prompts);
    const found = await out.read();
    for (let i = 0; i < 9; i++) assert.ok(Math.abs(found[i]! - expected[i]!) < 1e-5, `${found[i]} ${expected[i]}`);
    for (const tensor of [input, out]) tensor.dispose();
  }
  const years = Array.from(prompts.attributes.YY!.ids, (id) => id + 1);
  assert.is(task.yearAccuracy(years.map((yy) => 3 * (yy + 1) + 7), prompts), 1);
  assert.is(task.yearAccuracy(years.map((yy, i) => (i < 3 ? 3 * yy + 7 : i < 6 ? 3 * 99 + 7 : 2)), prompts), 3 / 9);
});

test.run();
