/** Rows of tokens: against a packing written out plainly, from every place on, and with held-out documents kept apart. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { TokenError, UsageError } from '../../src/errors.ts';
import type { Cursor, Document } from '../../src/files/index.ts';
import { countedPositions, isHeldOut, packDefaults, TokenRows, type PackSettings, type PackState, type TokenRowsOptions } from '../../src/training/token-rows.ts';
import { refusal } from '../support/refusal.ts';
import { random } from '../support/numbers.ts';

const BOS = 900;
const SEPARATOR = 901;
const lengths = Array.from(random(60, 3), (value) => Math.floor(Math.abs(value) * 40));
/** Documents in three shards, some of them empty; tokens tell their document. */
const documents = lengths.map((length, i) => ({ shard: i % 3, tokens: Array.from({ length }, (_, t) => (10 * i + t) % 890) })).sort((a, b) => a.shard - b.shard);
const placed = documents.map(({ shard, tokens }, i) => ({ tokens, at: { shard, row: documents.slice(0, i).filter((other) => other.shard === shard).length } }));

async function* open(from: Cursor): AsyncGenerator<Document> {
  for (const { tokens, at } of placed) if (at.shard > from.shard || (at.shard === from.shard && at.row >= from.row)) yield { content: { tokens }, at, name: `document ${at.shard}:${at.row}` };
}

const settings = (own: Partial<PackSettings> = {}): PackSettings => ({ ...packDefaults, context: 16, bos: BOS, separator: SEPARATOR, heldOut: 0, ...own });

async function rowsOf(own: PackSettings, options: TokenRowsOptions = {}): Promise<number[][]> {
  const reader = new TokenRows(open, own, options);
  const rows: number[][] = [];
  for (let row = await reader.read(); row; row = await reader.read()) rows.push([...row]);
  return rows;
}

/** One token after the other. */
function packed(all: number[][], { context, bos, separator, concatenate }: PackSettings): number[][] {
  const rows: number[][] = [];
  const start = (): number[] => (bos === null ? [] : [bos]);
  if (!concatenate) return all.map((tokens) => [...start(), ...tokens].slice(0, context)).filter((row) => row.length === context);
  let row: number[] = [];
  for (const tokens of all) {
    tokens.forEach((token, i) => {
      if (row.length === 0) row = start();
      else if (i === 0 && separator !== null) row.push(separator);
      if (row.length === context) {
        rows.push(row);
        row = start();
      }
      row.push(token);
      if (row.length === context) {
        rows.push(row);
        row = [];
      }
    });
  }
  return rows;
}

const test = suite('rows of tokens');

test('rows are those of a packing token by token, for every policy', async () => {
  for (const own of [{}, { bos: null }, { separator: null }, { bos: null, separator: null }, { context: 7 }, { context: 2 }, { context: 64 }, { concatenate: false }, { concatenate: false, bos: null, context: 5 }]) {
    const rows = await rowsOf(settings(own));
    assert.ok(rows.length > 3, JSON.stringify(own));
    assert.equal(rows, packed(placed.map(({ tokens }) => tokens), settings(own)), JSON.stringify(own));
  }
});

test('a reader goes on from the state of another after any row', async () => {
  for (const own of [settings(), settings({ context: 5, separator: null }), settings({ concatenate: false, context: 9 }), settings({ heldOut: 0.3 })]) {
    const whole = await rowsOf(own);
    const reader = new TokenRows(open, own);
    for (let i = 0; i <= whole.length; i++) {
      // A state is data: as a checkpoint holds it.
      const state = JSON.parse(JSON.stringify(reader.state())) as PackState;
      assert.is(state.rows, i);
      assert.equal(await rowsOf(own, { state }), whole.slice(i));
      await reader.read();
    }
  }
});

test('training never sees what is held out, whatever the order of reading', async () => {
  const own = settings({ heldOut: 0.3, context: 4, bos: null, separator: null });
  const seen = async (part: 'train' | 'held-out'): Promise<Set<number>> => {
    const reader = new TokenRows(open, { ...own, context: 1 }, { part });
    const found = new Set<number>();
    for (let row = await reader.read(); row; row = await reader.read()) found.add(row[0]!);
    return found;
  };
  const expected = (part: boolean): Set<number> => new Set(placed.filter(({ at }) => isHeldOut(at, own) === part).flatMap(({ tokens }) => tokens));
  assert.equal([await seen('train'), await seen('held-out')], [expected(false), expected(true)]);
  const share = (seed: number, heldOut: number): number => Array.from({ length: 20_000 }, (_, i) => isHeldOut({ shard: i % 7, row: Math.floor(i / 7) }, { heldOut, seed })).filter(Boolean).length / 20_000;
  for (const seed of [0, 1, 99]) assert.ok(Math.abs(share(seed, 0.1) - 0.1) < 0.01, `${share(seed, 0.1)}`);
  assert.is(share(0, 0), 0);
  // Another seed holds out others.
  assert.ok(Array.from({ length: 1000 }, (_, row) => isHeldOut({ shard: 0, row }, { heldOut: 0.1, seed: 0 }) && isHeldOut({ shard: 0, row }, { heldOut: 0.1, seed: 1 })).filter(Boolean).length < 40);
});

test('texts are encoded, special tokens are marked', async () => {
  const reader = new TokenRows(async function* () { yield { content: { text: 'abcdefg' }, at: { shard: 0, row: 0 }, name: 'x' }; }, settings({ context: 4 }), { encode: (text) => [...text].map((letter) => letter.charCodeAt(0)) });
  const row = (await reader.read())!;
  assert.equal([...row], [BOS, 97, 98, 99]);
  assert.equal([...countedPositions([row, [BOS, SEPARATOR, 5, 6]], [BOS, SEPARATOR])], [0, 1, 1, 1, 0, 0, 1, 1]);
  assert.equal([...(await reader.read())!], [BOS, 100, 101, 102]);
  assert.is(await reader.read(), null);
});

test('what makes no rows is refused', async () => {
  assert.match(await refusal(() => rowsOf(settings(), { vocabulary: 500 }), TokenError), /^document \d:\d+: token \d+ is 5\d\d, the model has 500 tokens: it was made with another tokenizer$/);
  assert.match(await refusal(() => new TokenRows(open, settings({ context: 1 })), UsageError), /rows of 1 tokens have no room for text/);
  assert.match(await refusal(() => new TokenRows(open, settings({ heldOut: 1 })), UsageError), /1 is no share/);
  const text = new TokenRows(async function* () { yield { content: { text: 'a' }, at: { shard: 0, row: 0 }, name: 'a.txt document 0' }; }, settings());
  assert.match(await refusal(() => text.read(), UsageError), /a\.txt document 0 is a text, and there is no tokenizer/);
});

test.run();
