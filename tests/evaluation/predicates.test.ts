import * as assert from 'uvu/assert';
import { ShapeError } from '../../src/errors.ts';
import { Interpreter } from '../../src/evaluation/interpreter.ts';
import { familyOf, propertiesOf } from '../../src/evaluation/predicates.ts';
import type { Column, Prompts } from '../../src/task/index.ts';
import { Tensor } from '../../src/tensor/index.ts';
import { gpuSuite, testGpu } from '../support/gpu.ts';
import { random } from '../support/numbers.ts';

const test = gpuSuite('predicates');

const NAMES = Array.from({ length: 9 }, (_, i) => `N${i}`);
const WOMEN = [1, 4, 5, 8];

/** One prompt as people say it. */
interface Said { io: number; s: number; order: 'ABB' | 'BAB' | 'ABC'; third: number }

function said(count: number, three: boolean): Said[] {
  const draws = random([count, 4], 17).map((x) => (x + 1) / 2);
  return Array.from({ length: count }, (_, i): Said => {
    const [a, b, c, d] = [0, 1, 2, 3].map((j) => draws[4 * i + j]!) as [number, number, number, number];
    const s = Math.floor(a * 9);
    const io = (s + 1 + Math.floor(b * 8)) % 9;
    const order = three && d < 0.2 ? 'ABC' : c < 0.5 ? 'ABB' : 'BAB';
    const third = order === 'ABC' ? NAMES.findIndex((_n, name) => name !== s && name !== io) : s;
    return { io, s, order, third };
  });
}

function promptsOf(list: readonly Said[]): Prompts {
  const column = (values: string[], id: (one: Said) => number): Column => ({ values, ids: Uint32Array.from(list, id) });
  const sex = (name: number): number => (WOMEN.includes(name) ? 1 : name === 0 ? 2 : 0);
  return {
    count: list.length,
    attributes: { IO: column(NAMES, ({ io }) => io), S: column(NAMES, ({ s }) => s), Pos: column(['ABB', 'BAB'], ({ order }) => (order === 'BAB' ? 1 : 0)) },
    properties: {
      name1: column(NAMES, (one) => namesOf(one)[0]!), name2: column(NAMES, (one) => namesOf(one)[1]!), name3: column(NAMES, ({ third }) => third),
      io_gender: column(['M', 'F', '?'], ({ io }) => sex(io)), s_gender: column(['M', 'F', '?'], ({ s }) => sex(s)),
    },
  } as unknown as Prompts;
}

/** The names in the order in which they stand. */
function namesOf({ io, s, order, third }: Said): number[] {
  return order === 'BAB' ? [s, io, third] : [io, s, third];
}

/** What the paper's appendix lists, each predicate as a question about a sentence. */
type Predicate = (one: Said) => boolean;
const each = (ask: (name: number) => Predicate): Predicate[] => NAMES.map((_, name) => ask(name));
const SENTENCE: Record<string, Predicate[]> = {
  Pos: [({ order }) => order !== 'BAB', ({ order }) => order === 'BAB'],
  'S gender': [({ s }) => s !== 0 && !WOMEN.includes(s), ({ s }) => WOMEN.includes(s)],
  S: each((name) => ({ s }) => s === name),
  'S∧first': each((name) => (one) => one.s === name && namesOf(one)[0] === name),
  'S∧second': each((name) => (one) => one.s === name && namesOf(one)[1] === name),
  IO: each((name) => ({ io }) => io === name),
  'IO∧first': each((name) => (one) => one.io === name && namesOf(one)[0] === name),
  'IO∧second': each((name) => (one) => one.io === name && namesOf(one)[1] === name),
  'name anywhere': each((name) => (one) => namesOf(one).includes(name)),
  'name 1st': each((name) => (one) => namesOf(one)[0] === name),
  'name 2nd': each((name) => (one) => namesOf(one)[1] === name),
};
const tokenPredicates = (role: 'io' | 's'): Record<string, Predicate[]> => {
  const place = (one: Said): number => namesOf(one).indexOf(one[role]);
  return {
    'token place': [(one) => place(one) === 0, (one) => place(one) === 1],
    'token gender': [(one) => WOMEN.includes(one[role])],
    token: each((name) => (one) => one[role] === name),
    'token∧1st': each((name) => (one) => one[role] === name && place(one) === 0),
    'token∧2nd': each((name) => (one) => one[role] === name && place(one) === 1),
  };
};
const LIBRARIES: [position: string, library: Record<string, Predicate[]>][] = [['end', SENTENCE], ['s1+1', SENTENCE], ['io', tokenPredicates('io')], ['s1', tokenPredicates('s')]];

function bruteF1(active: boolean[], holds: boolean[]): number {
  const both = active.filter((on, i) => on && holds[i]).length;
  const either = active.filter(Boolean).length + holds.filter(Boolean).length;
  return holds.some(Boolean) ? (2 * both) / either : -Infinity;
}

/** The best F1 over all predicates and unions of the best 1 to `limit` of a kind; the two-valued kinds have no unions. */
function bruteBest(list: readonly Said[], library: Record<string, Predicate[]>, active: boolean[], limit: number): number {
  let best = -Infinity;
  for (const predicates of Object.values(library)) {
    const sets = predicates.map((predicate) => list.map(predicate)).map((set, index) => ({ set, index, f1: bruteF1(active, set) })).sort((a, b) => b.f1 - a.f1 || a.index - b.index);
    for (let m = 1; m <= (predicates.length === NAMES.length ? limit : 1); m++) {
      best = Math.max(best, bruteF1(active, list.map((_, i) => sets.slice(0, m).some(({ set }) => set[i]))));
    }
  }
  return best;
}

for (const [what, three, limit] of [['two people', false, 10], ['three people too', true, 4]] as const) {
  test(`the best F1 at every position equals brute force over sets of prompts: ${what}`, async () => {
    const gpu = await testGpu();
    const list = said(230, three);
    const interpreter = new Interpreter(gpu, promptsOf(list), { unionLimit: limit });
    // Features that are known to stand for something, some with codes below zero, and random ones.
    const known: Predicate[] = [
      (one) => namesOf(one).includes(2), (one) => [2, 6, 7].some((name) => namesOf(one).includes(name)), ({ s }) => WOMEN.includes(s), (one) => namesOf(one)[1] === 3,
      (one) => one.s === 4 && namesOf(one)[0] === 4, (one) => one.io === 5, (one) => one.io === 5 && one.order === 'BAB', () => false,
    ];
    const chance = [0.03, 0.1, 0.4, 0.8].map((rate, j) => { const draws = random(list.length, 40 + j); return (i: number): boolean => (draws[i]! + 1) / 2 < rate; });
    const sets = [...known.map((predicate) => list.map(predicate)), ...chance.map((on) => list.map((_, i) => on(i)))];
    const codes = new Float32Array(list.length * sets.length);
    sets.forEach((set, f) => set.forEach((on, i) => { codes[i * sets.length + f] = on ? (f % 2 === 0 ? 1 : -1) * (1 + i) : 0; }));
    const tensor = Tensor.from(gpu, codes, [list.length, sets.length]);
    for (const [position, library] of LIBRARIES) {
      const { interpretations, bestF1, counts } = await interpreter.interpret(tensor, position);
      assert.equal(Array.from(counts.active), sets.map((set) => set.filter(Boolean).length));
      assert.is(interpretations.length, sets.length - 1);
      for (const { feature, f1 } of interpretations) {
        assert.ok(Math.abs(f1 - bruteBest(list, library, sets[feature]!, limit)) < 1e-12, `${position} feature ${feature}: ${f1}`);
        assert.is(bestF1[feature], f1);
      }
      assert.is(bestF1[7], 0);
      if (position === 'end') {
        assert.equal(interpretations.slice(0, 4).map(({ kind, property }) => [kind, property.split(' or ').sort().join(' or ')]), [
          ['name anywhere', 'N2 anywhere'], ['union of name anywhere', 'N2 anywhere or N6 anywhere or N7 anywhere'], ['S gender', 'S female'], ['name 2nd', 'N3 2nd'],
        ]);
        assert.equal(interpretations.slice(4, 7).map(({ property }) => property), ['S=N4∧first', 'IO=N5', 'IO=N5∧second']);
        assert.equal(interpretations.slice(0, 7).map(({ f1 }) => f1), new Array(7).fill(1));
      }
    }
    const few = tensor.rows(0, 5);
    await assertRejects(() => interpreter.interpret(few, 'end'));
    for (const own of [few, tensor]) own.dispose();
    interpreter.dispose();
  });
}

async function assertRejects(run: () => Promise<unknown>): Promise<void> {
  const error = await run().then(() => null, (e: unknown) => e);
  assert.ok(error instanceof ShapeError, String(error));
}

test('every predicate holds where the sentence says so', () => {
  const list = said(150, true);
  const prompts = promptsOf(list);
  for (const [position, library] of LIBRARIES) {
    const { groupings, kinds } = propertiesOf(prompts, position);
    const places = groupings.flatMap(({ ids, groups }) => Array.from({ length: groups }, (_, group) => ({ ids, group })));
    assert.equal(kinds.map(({ kind }) => kind), Object.keys(library), position);
    for (const { kind, members } of kinds) {
      members.forEach((groups, predicate) => list.forEach((one, i) => {
        // Groups have no prompt in common: a prompt is in one of them or in none.
        const inside = Array.from(groups).filter((group) => places[group]!.ids[i] === places[group]!.group).length;
        assert.is(inside, library[kind]![predicate]!(one) ? 1 : 0, `${position} ${kind} ${predicate} prompt ${i}`);
      }));
    }
  }
});

test('positions share families; other tasks have all columns and pairs at every position', () => {
  const prompts = promptsOf(said(40, false));
  assert.equal(['io', 's1', 's1+1', 's2', 'end'].map((position) => familyOf(prompts, position)), ['io', 's1', 'sentence', 'sentence', 'sentence']);
  const column = (values: string[]): Column => ({ values, ids: Uint32Array.from({ length: 6 }, (_, i) => i % values.length) });
  const other = { count: 6, attributes: { YY: column(['01', '02', '03']), side: column(['l', 'r']) }, properties: { noun: column(['war', 'plan', 'era']), only: column(['x']) } } as unknown as Prompts;
  const { kinds } = propertiesOf(other, 's1');
  assert.equal(kinds.map(({ kind }) => kind), ['YY', 'side', 'noun', 'YY∧side', 'YY∧side', 'noun∧side', 'noun∧side']);
  assert.is(kinds[4]!.labels[2], 'YY=03∧side=r');
  assert.is(familyOf(other, 's1'), 'sentence');
});

test.run();
