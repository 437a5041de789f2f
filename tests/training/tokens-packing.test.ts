/** Rows of tokens from files: as SAELens makes them, through parts of one text, from rows that were made before, in any order of shards and from any place on. */
import { gzipSync } from 'node:zlib';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { TokenError } from '../../src/errors.ts';
import { memorySource, readDocuments, type Document, type DocumentOptions } from '../../src/files/index.ts';
import { isHeldOut, packDefaults, shardOrder, TokenRows, type PackSettings, type PackState, type TokenRowsOptions } from '../../src/training/index.ts';
import { random } from '../support/numbers.ts';
import { refusal } from '../support/refusal.ts';

const [BOS, SEPARATOR] = [9, 8];
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const json = (value: unknown): Uint8Array => bytes(JSON.stringify(value));
const settings = (own: Partial<PackSettings> = {}): PackSettings => ({ ...packDefaults, context: 6, bos: BOS, separator: SEPARATOR, heldOut: 0, ...own });
const encode = (text: string): number[] => [...text].map((character) => character.codePointAt(0)! % 8);

/** Whole numbers below `n`, the same for the same seed. */
const whole = (count: number, n: number, seed: number): number[] => Array.from(random(count, seed), (value) => Math.floor(((value + 1) / 2) * n));

type Files = Record<string, Uint8Array>;

function opener(files: Files, own: PackSettings, options: TokenRowsOptions = {}, reading: DocumentOptions = {}): (state?: PackState) => TokenRows {
  const source = memorySource(files, 'data');
  const list = Object.keys(files).map((path) => ({ source, path }));
  return (state) => new TokenRows((from) => readDocuments(list, reading, from), own, { encode, ...options, state });
}

async function all(reader: TokenRows): Promise<number[][]> {
  const rows: number[][] = [];
  for (let row = await reader.read(); row; row = await reader.read()) rows.push([...row]);
  return rows;
}

/** What SAELens' `concat_and_batch_sequences` does with its `begin_batch_token_id` and `sequence_separator_token_id`. */
function saelens(documents: readonly (readonly number[])[], { context, bos, separator }: PackSettings): number[][] {
  const rows: number[][] = [];
  let batch: number[] | null = null;
  for (const tokens of documents) {
    for (let offset = 0; offset < tokens.length;) {
      const wanted: number | null = batch ? separator : bos;
      const added: number[] = wanted !== null && tokens[offset] !== wanted ? [wanted] : [];
      const room: number = context - (batch?.length ?? 0);
      const taken = tokens.slice(offset, offset + Math.max(room - added.length, 0));
      batch = [...(batch ?? []), ...added.slice(0, room), ...taken];
      offset += taken.length;
      if (batch.length === context) {
        rows.push(batch);
        batch = null;
      }
    }
  }
  return rows;
}

const test = suite('rows of tokens from files');

test('rows are those of SAELens, also where documents bring their own special tokens', async () => {
  for (let seed = 1; seed <= 60; seed++) {
    const lengths = whole(20, 12, seed);
    // Few different tokens, so that many documents begin with a special one.
    const documents = lengths.map((length, i) => whole(length, 10, 100 * seed + i));
    const own = settings({ context: 2 + (seed % 9), bos: seed % 3 === 0 ? null : BOS, separator: [SEPARATOR, BOS, null][seed % 4] ?? null });
    assert.equal(await all(opener({ 'a.json': json(documents) }, own)()), saelens(documents, own), JSON.stringify([own, documents]));
  }
  const own = settings();
  // By hand: nothing before a token that is the same, no separator behind a row's beginning, a separator that fills a row.
  assert.equal(await all(opener({ 'a.json': json([[BOS, 1, 2, 3], [SEPARATOR, 4], [5, 6], [], [7, 1, 2], [3, 4, 5, 6, 7]]) }, own)()), [
    [BOS, 1, 2, 3, SEPARATOR, 4], [BOS, 5, 6, SEPARATOR, 7, 1], [BOS, 2, SEPARATOR, 3, 4, 5],
  ]);
  assert.equal(await all(opener({ 'a.json': json([[1, 2, 3, 4], [5, 6, 7, 1, 2, 3]]) }, own)()), [[BOS, 1, 2, 3, 4, SEPARATOR], [BOS, 5, 6, 7, 1, 2]]);
  const apart = json([[BOS, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5], [1, 2, 3, 4], [BOS, 1, 2, 3, 4]]);
  assert.equal(await all(opener({ 'a.json': apart }, { ...own, concatenate: false })()), [[BOS, 1, 2, 3, 4, 5], [BOS, 1, 2, 3, 4, 5]]);
});

test('parts of one text are one document; where one between them is held out, a separator stands', async () => {
  const ids = whole(500, 8, 4);
  const bin = new Uint8Array(Uint16Array.from(ids).buffer);
  for (const rowTokens of [1, 3, 7, 64, 1000]) assert.equal(await all(opener({ 'a.bin': bin }, settings(), {}, { rowTokens })()), saelens([ids], settings()), `${rowTokens}`);
  // Another file is another document.
  assert.equal(await all(opener({ 'a.bin': bin, 'b.bin': bin.slice(0, 82) }, settings(), {}, { rowTokens: 5 })()), saelens([ids, ids.slice(0, 41)], settings()));
  for (const part of ['train', 'held-out'] as const) {
    const own = settings({ heldOut: 0.3, seed: 2, context: 8 });
    const runs: number[][] = [];
    for (let row = 0; row < 100; row++) {
      if (isHeldOut({ shard: 0, row }, own) !== (part === 'held-out')) continue;
      if (row === 0 || isHeldOut({ shard: 0, row: row - 1 }, own) !== (part === 'held-out')) runs.push([]);
      runs.at(-1)!.push(...ids.slice(5 * row, 5 * row + 5));
    }
    assert.ok(runs.length > 10);
    const rows = await all(opener({ 'a.bin': bin }, own, { part }, { rowTokens: 5 })());
    assert.equal(rows, saelens(runs, own));
    assert.ok(rows.flat().filter((id) => id === SEPARATOR).length > 5);
  }
  const text = 'some words on a line\n'.repeat(12_000);
  assert.equal(await all(opener({ 'a.txt': bytes(text) }, settings({ context: 1000 }))()), saelens([encode(text)], settings({ context: 1000 })));
});

test('rows that were made before are used as they are', async () => {
  const files = { 'a.json': json([[BOS, 1, 2, 3, 4, 5], [BOS, 7, 6, 5, 4, 3, 2, 1, 0, 7, 6, 5, 4], [1, 2, 3, 4, 5, 6, 7]]), 'b.txt': bytes('abcdefg') };
  const own = settings({ lists: 'rows' });
  assert.equal((await all(opener(files, own)())).slice(0, 4), [
    [BOS, 1, 2, 3, 4, 5],
    // The second row of a list gets its own beginning; two tokens of it are left and dropped.
    [BOS, 7, 6, 5, 4, 3], [BOS, 2, 1, 0, 7, 6], [BOS, 1, 2, 3, 4, 5],
  ]);
  assert.equal(await all(opener(files, own)()), [...(await all(opener({ 'a.json': files['a.json'] }, own)())), [BOS, ...encode('abcde')]]);
  assert.equal(await all(opener({ 'a.json': files['a.json'] }, { ...own, bos: null })()), [[BOS, 1, 2, 3, 4, 5], [BOS, 7, 6, 5, 4, 3], [2, 1, 0, 7, 6, 5], [1, 2, 3, 4, 5, 6]]);
  // SAELens takes the beginning of each list, which is the first of its rows here.
  const lists = Array.from({ length: 30 }, (_, i) => [BOS, ...whole(12 + (i % 20), 8, i)]);
  const rows = await all(opener({ 'a.json': json(lists) }, own)());
  assert.is(rows.length, lists.reduce((sum, list) => sum + 1 + Math.floor((list.length - 6) / 5), 0));
  let at = 0;
  for (const list of lists) {
    assert.equal(rows[at], list.slice(0, 6));
    at += 1 + Math.floor((list.length - 6) / 5);
  }
  const short = opener({ 'a.json': json([[1, 2, 3, 4, 5], [1, 2, 3]]) }, own);
  assert.match(await refusal(() => all(short()), TokenError), /^data\/a\.json document 1: 3 token ids do not fill a row of 6; as documents, not rows, they would share one$/);
});

/** Shards of all formats, in which documents of all lengths begin. */
const documents = Array.from({ length: 24 }, (_, i) => whole((i * 7) % 19, 8, i + 50));
const texts = documents.map((tokens) => String.fromCodePoint(...tokens.map((id) => 48 + id)));
const shards: Files = {
  'a.jsonl': bytes(texts.map((text) => `${JSON.stringify({ text })}\n`).join('')),
  'b.parquet': new Uint8Array(parquetWriteBuffer({ columnData: [{ name: 'text', data: texts, type: 'STRING' }], rowGroupSize: 5 })),
  'c.json': json(documents), 'd.bin': new Uint8Array(Uint16Array.from(documents.flat()).buffer), 'e.txt.gz': new Uint8Array(gzipSync(texts.join('\n\n'))),
};
const reading: DocumentOptions = { rowTokens: 10, separator: '\n\n' };

test('a reader of files goes on from the state of another after any row', async () => {
  for (const own of [settings(), settings({ heldOut: 0.2, context: 5 }), settings({ context: 9, bos: null, concatenate: false })]) {
    for (const order of [undefined, shardOrder(5, 3)]) {
      const open = opener(shards, own, {}, { ...reading, order });
      const expected = await all(open());
      const reader = open();
      assert.ok(expected.length > 20);
      for (let i = 0; i <= expected.length; i++) {
        const state = JSON.parse(JSON.stringify(reader.state())) as PackState;
        assert.equal(await all(open(state)), expected.slice(i), `${JSON.stringify(state)}`);
        await reader.read();
      }
    }
  }
  // Between documents a place tells its byte: what is before is not read again.
  const lines = opener({ 'a.jsonl': shards['a.jsonl']! }, settings({ context: 2, bos: null, separator: null }))();
  await lines.read();
  while (lines.state().used > 0) await lines.read();
  assert.ok(lines.state().document.row > 0 && lines.state().document.offset! > 0, JSON.stringify(lines.state()));
  // Rows of lists too, the end of a list among them.
  const open = opener({ 'c.json': json(documents.map((tokens) => [...tokens, ...tokens, 1, 2, 3, 4, 5, 6])) }, settings({ lists: 'rows' }));
  const expected = await all(open());
  const reader = open();
  for (let i = 0; i <= expected.length; i++) {
    assert.equal(await all(open(reader.state())), expected.slice(i));
    await reader.read();
  }
});

test('what is held out is the same in every order of shards, and two documents are enough for both parts', async () => {
  const names = Object.keys(shards);
  const source = memorySource(shards, 'data');
  const own = settings({ heldOut: 0.2, seed: 8 });
  /** Documents that a part is made of, by the names of their files. */
  const seen = async (part: 'train' | 'held-out', order: number[]): Promise<string[]> => {
    const asked: Document[] = [];
    const documents = async function* (): AsyncGenerator<Document> {
      for await (const document of readDocuments(names.map((path) => ({ source, path })), { ...reading, order })) {
        asked.push(document);
        // Each has a token of its own.
        yield { ...document, content: { tokens: [asked.length - 1] } };
      }
    };
    const rows = await all(new TokenRows(documents, { ...own, context: 1, bos: null, separator: null }, { part }));
    return rows.map(([id]) => asked[id!]!.name).sort();
  };
  const listed = [0, 1, 2, 3, 4];
  const [train, heldOut] = [await seen('train', listed), await seen('held-out', listed)];
  assert.is(new Set([...train, ...heldOut]).size, train.length + heldOut.length);
  assert.ok(heldOut.length >= 10 && train.length > 2 * heldOut.length, `${train.length} ${heldOut.length}`);
  for (const seed of [1, 2, 3]) {
    assert.equal([...shardOrder(5, seed)].sort(), listed);
    assert.equal([await seen('train', shardOrder(5, seed)), await seen('held-out', shardOrder(5, seed))], [train, heldOut]);
  }
  assert.ok(new Set([0, 1, 2, 3, 4, 5].map((pass) => String(shardOrder(5, 1, pass)))).size > 3);
  const little: Files[] = [{ 'a.json': json([[1], [2]]) }, { 'a.txt': bytes('1'), 'b.txt': bytes('2') }];
  for (const files of little) {
    for (let seed = 0; seed < 20; seed++) {
      for (const heldOut of [0.01, 0.99]) {
        const two = settings({ context: 1, bos: null, separator: null, seed, heldOut });
        assert.equal([await all(opener(files, two)()), await all(opener(files, two, { part: 'held-out' })())], [[[1]], [[2]]]);
      }
    }
  }
});

test('a tokenizer or ids of another model are refused by name', async () => {
  const ids = opener({ 'a.json': json([[1, 2], [3, 7]]) }, settings(), { vocabulary: 7 });
  assert.match(await refusal(() => all(ids()), TokenError), /^data\/a\.json document 1: token 1 is 7, the model has 7 tokens: it was made with another tokenizer$/);
  const text = opener({ 'a.txt': bytes('012389') }, settings(), { vocabulary: 3 });
  assert.match(await refusal(() => all(text()), TokenError), /^data\/a\.txt document 0: token 3 is 3, the model has 3 tokens: the tokenizer is of another model$/);
});

test.run();
