/** Prompts, positions, counterfactuals and splits of the indirect-object task. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createHash } from 'node:crypto';
import { LexiconError, UsageError } from '../../src/errors.ts';
import type { Tokenizer } from '../../src/model/tokenizer.ts';
import { grammarFor, grammarFromJson, IoiTask, gpt2Grammar, type Attribute, type IoiPrompts } from '../../src/task/index.ts';
import { gpt2Words, MINI, miniTokenizer } from './tokenizers.ts';

const test = suite('task/ioi');
let tokenizer: Tokenizer;
let task: IoiTask;

test.before(async () => {
  tokenizer = await miniTokenizer();
  task = IoiTask.create(tokenizer, await grammarFor(MINI));
});

function hash(prompts: IoiPrompts): string {
  return createHash('sha256').update(JSON.stringify(prompts.tokens)).digest('hex').slice(0, 16);
}

/** IO and S of a prompt by name. */
function roles(prompts: IoiPrompts, i: number): { io: string; s: string; third: string } {
  const { io, s, third } = prompts.details[i]!;
  const { names } = task.grammar;
  return { io: names[io]!, s: names[s]!, third: names[third]! };
}

test('a seed gives the same prompts on every machine', () => {
  const prompts = task.sample({ count: 200, seed: 7 });
  assert.equal([prompts.texts[0], prompts.texts[199]], PINNED_TEXTS);
  assert.is(hash(prompts), PINNED.sample);
  assert.is(hash(task.sample({ count: 50, seed: 2 ** 40 + 1, patterns: ['ABC'] })), PINNED.abc);
  assert.is(hash(task.counterfactual(prompts, ['IO', 'S', 'Pos'], { seed: 3 })), PINNED.counterfactual);
  assert.is(hash(IoiTask.create(gpt2Words(), gpt2Grammar()).sample({ count: 100, seed: 0 })), PINNED.gpt2);
});

test('other seeds give other prompts, and a seed that is no whole number is refused', () => {
  const hashes = [0, 1, 2, 2 ** 32, 2 ** 32 + 1].map((seed) => hash(task.sample({ count: 20, seed })));
  assert.is(new Set(hashes).size, 5);
  for (const seed of [-1, 0.5, NaN, 2 ** 53]) assert.throws(() => task.sample({ count: 1, seed }), (e: Error) => e instanceof UsageError && /seed/.test(e.message));
});

test('tokens spell the text, and positions hold what they say', () => {
  const prompts = task.sample({ count: 400, seed: 11, patterns: ['ABB', 'BAB', 'ABC'] });
  const at = (i: number, position: string) => tokenizer.token(prompts.tokens[i]![prompts.positions[position]![i]!]!).trim();
  const lengths = new Set<number>();
  for (let i = 0; i < prompts.count; i++) {
    const tokens = prompts.tokens[i]!;
    const { pattern } = prompts.details[i]!;
    const { io, s, third } = roles(prompts, i);
    assert.is(tokenizer.decode(tokens), prompts.texts[i]);
    assert.equal(tokenizer.encode(prompts.texts[i]!), tokens);
    assert.equal([at(i, 'io'), at(i, 's1'), at(i, 's2')], [io, s, third]);
    assert.is(third === s, pattern !== 'ABC');
    assert.is.not(io, s);
    assert.is.not(io, third);
    const position = (name: string) => prompts.positions[name]![i]!;
    assert.is(position('s1+1'), position('s1') + 1);
    assert.is(position('end'), tokens.length - 1);
    assert.is(at(i, 'end'), 'to');
    assert.is(position('io') < position('s1'), pattern !== 'BAB');
    assert.ok(Math.max(position('io'), position('s1')) < position('s2'));
    assert.is(prompts.attributes.Pos!.ids[i], pattern === 'BAB' ? 1 : 0);
    assert.is(prompts.attributes.IO!.values[prompts.attributes.IO!.ids[i]!], io);
    assert.is(prompts.attributes.S!.values[prompts.attributes.S!.ids[i]!], s);
    assert.equal([prompts.correct[i], prompts.incorrect[i]], [tokenizer.single(` ${io}`), tokenizer.single(` ${s}`)]);
    lengths.add(tokens.length);
  }
  assert.ok(lengths.size > 5, 'the grammar makes prompts of many lengths');
});

test('positions are counted, not searched for: a name may stand elsewhere in the text', () => {
  const grammar = grammarFromJson({
    prepend_bos: true,
    names: ['Mark', 'Mary', 'Jack', 'John'],
    prefixes: ['Mary and Mark and Jack and John were at the market. Then, '],
    templates: ['[A] and [B] left Mark and Mary at the [PLACE]. In the end [C] gave a book to'],
    places: ['park'],
  }, 'x');
  const own = IoiTask.create(tokenizer, grammar);
  const prompts = own.sample({ count: 24, seed: 1 });
  const frame = tokenizer.encode('Mary and Mark and Jack and John were at the market. Then,').length;
  for (let i = 0; i < prompts.count; i++) {
    const first = 1 + frame;
    const bab = prompts.details[i]!.pattern === 'BAB';
    assert.equal([prompts.positions.io![i], prompts.positions.s1![i]], bab ? [first + 2, first] : [first, first + 2]);
    assert.is(prompts.tokens[i]![0], tokenizer.bos);
    assert.not(prompts.texts[i]!.includes('endoftext'));
  }
});

test('patterns are shared out exactly, and everything is drawn uniformly', () => {
  const count = 6000;
  const prompts = task.sample({ count, seed: 4 });
  const { details } = prompts;
  assert.is(details.filter(({ pattern }) => pattern === 'ABB').length, count / 2);
  assert.ok(details.slice(0, 100).some(({ pattern }) => pattern === 'ABB') && details.slice(0, 100).some(({ pattern }) => pattern === 'BAB'), 'in mixed order');
  // Pearson's chi-squared over k values has mean k - 1 and variance 2(k - 1); five deviations above would be a fault.
  const uniform = (values: number[], k: number, what: string) => {
    const seen = new Array<number>(k).fill(0);
    for (const value of values) seen[value]!++;
    const expected = values.length / k;
    const chi = seen.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
    assert.ok(chi < k - 1 + 5 * Math.sqrt(2 * (k - 1)), `${what}: chi-squared ${chi} of ${k} values`);
  };
  const { names, places, objects, prefixes, templates } = task.grammar;
  uniform(details.map((d) => d.io), names.length, 'IO');
  uniform(details.map((d) => d.s), names.length, 'S');
  uniform(details.map((d) => d.place), places.length, 'places');
  uniform(details.map((d) => d.object), objects.length, 'objects');
  uniform(details.map((d) => d.prefix), prefixes.length, 'prefixes');
  uniform(details.map((d) => d.template * 2 + (d.pattern === 'ABB' ? 0 : 1)), templates.length * 2, 'templates by pattern');
  uniform(details.map((d) => (d.io % 5) * 5 + (d.s % 5)), 25, 'IO by S');
  const odd = task.sample({ count: 5, seed: 1 }).details.map(({ pattern }) => pattern);
  assert.is(odd.filter((pattern) => pattern === 'ABB').length, 3);
});

test('ABC prompts use all orders of a small list of names', () => {
  const triples = new Set(task.sample({ count: 300, seed: 2, names: [10, 13], patterns: ['ABC'] }).details.map(({ io, s, third }) => `${io} ${s} ${third}`));
  assert.equal([...triples].sort(), ['10 11 12', '10 12 11', '11 10 12', '11 12 10', '12 10 11', '12 11 10']);
});

test('parts of the lists can be chosen, and parts that are none are refused', () => {
  const { details } = task.sample({ count: 200, seed: 9, names: [3, 8], templates: [1, 3], places: [0, 2], objects: [19, 20] });
  const seen = (key: 'io' | 'template' | 'place' | 'object') => [...new Set(details.map((d) => d[key]))].sort((a, b) => a - b);
  assert.equal([seen('io'), seen('template'), seen('place'), seen('object')], [[3, 4, 5, 6, 7], [1, 2], [0, 1], [19]]);
  const refused = (options: object, type: typeof UsageError | typeof LexiconError, pattern: RegExp) =>
    assert.throws(() => task.sample({ count: 4, seed: 1, ...options }), (e: Error) => e instanceof type && pattern.test(e.message));
  refused({ names: [0, 1000] }, UsageError, /names \[0, 1000\) is not a part of the 125 names/);
  refused({ names: [4, 5] }, LexiconError, /1 names to choose from, at least 2/);
  refused({ names: [4, 6], patterns: ['ABC'] }, LexiconError, /2 names to choose from, at least 3/);
  refused({ templates: [2, 2] }, LexiconError, /0 templates/);
  refused({ count: -1 }, UsageError, /-1 prompts/);
  refused({ patterns: [] }, UsageError, /no pattern/);
});

test('counterfactuals change what they should, in the text as written by hand, and nothing else', () => {
  const prompts = task.sample({ count: 120, seed: 21, names: task.splits.eval });
  const sets: Attribute[][] = [['Pos'], ['S'], ['IO'], ['Pos', 'S'], ['IO', 'S'], ['IO', 'Pos', 'S'], []];
  for (const set of sets) {
    const changed = task.counterfactual(prompts, set, { seed: 5 });
    for (let i = 0; i < prompts.count; i++) {
      const [before, after] = [roles(prompts, i), roles(changed, i)];
      const old = prompts.details[i]!;
      const { pattern, io, s, third, ...rest } = changed.details[i]!;
      assert.equal(rest, { template: old.template, prefix: old.prefix, place: old.place, object: old.object });
      assert.is(pattern !== old.pattern, set.includes('Pos'));
      assert.is(io !== old.io, set.includes('IO'));
      assert.is(s !== old.s, set.includes('S'));
      assert.is(third, s);
      // The sentence rebuilt by replacing names in the old one, through place holders.
      let text = prompts.texts[i]!.replace(new RegExp(`\\b${before.io}\\b`, 'g'), '<io>').replace(new RegExp(`\\b${before.s}\\b`, 'g'), '<s>');
      if (set.includes('Pos')) text = text.replace(/(<io>|<s>)(.*?)(<io>|<s>)/, '$3$2$1');
      assert.is(changed.texts[i], text.replaceAll('<io>', after.io).replaceAll('<s>', after.s));
      const { counterfactualIo, counterfactualS } = task.splits;
      if (set.includes('IO')) assert.ok(counterfactualIo[0] <= io && io < counterfactualIo[1]);
      if (set.includes('S')) assert.ok(counterfactualS[0] <= s && s < counterfactualS[1]);
      assert.is(changed.correct[i], tokenizer.single(` ${after.io}`));
    }
  }
});

test('new names are never in the prompt, even from a pool that its names come from', () => {
  const prompts = task.sample({ count: 300, seed: 8, names: [0, 5] });
  const changed = task.counterfactual(prompts, ['IO', 'S'], { seed: 1, ioNames: [0, 5], sNames: [0, 5] });
  const drawn = new Set<string>();
  changed.details.forEach(({ io, s }, i) => {
    const { io: oldIo, s: oldS } = prompts.details[i]!;
    assert.is(new Set([io, s, oldIo, oldS]).size, 4);
    drawn.add(`${io} ${s}`);
  });
  assert.is(drawn.size, 20, 'all ordered pairs of the five names come up');
  const tight = () => task.counterfactual(prompts, ['IO', 'S'], { seed: 1, ioNames: [0, 3], sNames: [0, 3] });
  assert.throws(tight, (e: Error) => e instanceof LexiconError && /hold none that is not already in the prompt/.test(e.message));
});

test('new IO and new S are drawn independently of each other, and of what else is edited', () => {
  const prompts = task.sample({ count: 3000, seed: 30, names: task.splits.eval });
  const both = task.counterfactual(prompts, ['IO', 'S'], { seed: 0 }).details;
  const [ioStart, ioEnd] = task.splits.counterfactualIo;
  const [sStart, sEnd] = task.splits.counterfactualS;
  const correlation = pearson(both.map(({ io }) => (io - ioStart) / (ioEnd - ioStart)), both.map(({ s }) => (s - sStart) / (sEnd - sStart)));
  assert.ok(Math.abs(correlation) < 0.08, `new names correlate by ${correlation}`);
  assert.equal(task.counterfactual(prompts, ['IO'], { seed: 0 }).details.map(({ io }) => io), both.map(({ io }) => io));
  assert.equal(task.counterfactual(prompts, ['Pos', 'S'], { seed: 0 }).details.map(({ s }) => s), both.map(({ s }) => s));
  assert.is.not(hash(task.counterfactual(prompts, ['IO'], { seed: 1 })), hash(task.counterfactual(prompts, ['IO'], { seed: 0 })));
});

function pearson(x: number[], y: number[]): number {
  const mean = (v: number[]) => v.reduce((sum, a) => sum + a, 0) / v.length;
  const [mx, my] = [mean(x), mean(y)];
  const sum = (f: (i: number) => number) => x.reduce((total, _, i) => total + f(i), 0);
  return sum((i) => (x[i]! - mx) * (y[i]! - my)) / Math.sqrt(sum((i) => (x[i]! - mx) ** 2) * sum((i) => (y[i]! - my) ** 2));
}

test('an unknown attribute is refused, and prompts without a repeated name', () => {
  const prompts = task.sample({ count: 2, seed: 1 });
  assert.throws(() => task.counterfactual(prompts, ['Place' as Attribute], { seed: 0 }), (e: Error) => e instanceof UsageError && /"Place"; there are IO, S, Pos/.test(e.message));
  const abc = task.sample({ count: 2, seed: 1, patterns: ['ABC'] });
  assert.throws(() => task.counterfactual(abc, ['Pos'], { seed: 0 }), (e: Error) => e instanceof UsageError && /ABC/.test(e.message));
});

test('splits keep the published proportions for any number of names', () => {
  const names = Array.from({ length: 216 }, (_, i) => `N${i}`);
  const anything = { bos: null, single: (text: string) => Number(text.slice(2)), encode: () => [] };
  const of = (n: number) => IoiTask.create(anything, grammarFromJson({ prepend_bos: false, names: names.slice(0, n), prefixes: ['So '], templates: ['[A] and [B] met. [C] ran to'] }, 'x')).splits;
  assert.equal(of(216), { eval: [0, 108], counterfactualIo: [108, 162], counterfactualS: [162, 216] });
  assert.equal(of(4), { eval: [0, 2], counterfactualIo: [2, 3], counterfactualS: [3, 4] });
  for (let n = 4; n < 60; n++) {
    const { eval: base, counterfactualIo: io, counterfactualS: s } = of(n);
    assert.equal([base[0], base[1], io[1], s[1]], [0, io[0], s[0], n]);
    assert.ok(base[1] - base[0] >= 2 && io[1] > io[0] && s[1] > s[0]);
  }
});

test('the paper’s partition divides every list and covers it', () => {
  const [train, test_] = [task.partition('train'), task.partition('test')];
  assert.equal([train.names, test_.names], [[0, 62], [62, 125]]);
  assert.equal([train.templates, test_.templates], [[0, 4], [4, 6]]);
  const used = (parts: typeof train) => new Set(task.sample({ count: 300, seed: 1, ...parts }).details.flatMap((d) => [`name ${d.io}`, `name ${d.s}`, `place ${d.place}`, `object ${d.object}`, `template ${d.template}`]));
  const inTest = used(test_);
  for (const item of used(train)) assert.not(inTest.has(item), `${item} is in both parts`);
});

test('slices and selections keep the columns together', () => {
  const prompts = task.sample({ count: 40, seed: 14 });
  const chosen = prompts.select(Uint32Array.of(30, 2, 2));
  assert.is(chosen.count, 3);
  for (const [i, from] of [30, 2, 2].entries()) {
    assert.equal([chosen.texts[i], chosen.tokens[i], chosen.details[i]], [prompts.texts[from], prompts.tokens[from], prompts.details[from]]);
    assert.equal([chosen.correct[i], chosen.incorrect[i]], [prompts.correct[from], prompts.incorrect[from]]);
    for (const name of Object.keys(prompts.positions)) assert.is(chosen.positions[name]![i], prompts.positions[name]![from]);
    for (const name of Object.keys(prompts.attributes)) assert.is(chosen.attributes[name]!.ids[i], prompts.attributes[name]!.ids[from]);
  }
  const indices = Array.from({ length: 40 }, (_, i) => i);
  for (const [start, end] of [[5, 9], [-3, undefined], [38, 60], [9, 5]] as const) {
    assert.equal(prompts.slice(start, end).texts, indices.slice(start, end).map((i) => prompts.texts[i]));
  }
  assert.throws(() => prompts.select([40]), /prompt 40 of 40/);
  // A counterfactual of a slice is made of the slice's own prompts.
  assert.equal(task.counterfactual(prompts.slice(0, 4), ['Pos'], { seed: 0 }).texts, task.counterfactual(prompts, ['Pos'], { seed: 0 }).slice(0, 4).texts);
});

/** Taken once from this code; they hold on any machine and must not change. */
const PINNED_TEXTS = ['Yesterday, Jamie and Tyler had a big fight at the bar. After that Jamie said sorry to', 'After lunch, Sarah and Jonathan met at the bank. Jonathan handed a map to'];
const PINNED = { sample: 'e6ccef767945e0d4', abc: 'a16b951d7119a8de', counterfactual: '7e4e4e42f30ec867', gpt2: '11c4b52a4ef0e256' };

test.run();
