/** Documents of every format, from bytes written here or by another library, whole and from any place on. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { UsageError } from '../../src/errors.ts';
import { memorySource, Unreachable, readDocuments, type Cursor, type DocumentOptions, type FileSource } from '../../src/files/index.ts';
import { refusal } from '../support/refusal.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const TEXTS = ['one', 'two words', 'drei 🎲 würfel', 'x'.repeat(3000), ''];
const TOKENS = [[1, 2, 3], [4], [50256, 0, 7, 7]];

/** Two row groups of texts, and a column of token ids beside another column. */
const parquet = new Uint8Array(parquetWriteBuffer({ columnData: [{ name: 'id', data: [0, 1, 2, 3, 4], type: 'INT32' }, { name: 'text', data: TEXTS, type: 'STRING' }], rowGroupSize: 2 }));
const tokens = new Uint8Array(parquetWriteBuffer({ columnData: [{ name: 'input_ids', data: TOKENS, type: 'JSON' }] }));
const bin = new Uint8Array(Uint16Array.from({ length: 10 }, (_, i) => 1000 * i).buffer);
const long = Array.from({ length: 400 }, (_, i) => `document ${i} ${'é'.repeat((i * 97) % 9000)}`);

const source = memorySource({
  'a.txt': bytes('first line\nsecond line\n'), 'cut.txt': bytes('one<|endoftext|>two<|endoftext|>\n<|endoftext|>three'), 'long.txt': bytes(long.join('\n\n\n')),
  'a.jsonl': bytes(TEXTS.slice(0, 4).map((text) => `${JSON.stringify({ id: 1, text })}\n`).join('\n')), 'ids.jsonl': bytes('{"tokens": [5, 6]}\n{"tokens": []}'), 'a.json': bytes(JSON.stringify(TOKENS)),
  'a.bin': bin, 'a.parquet': parquet, 'broken.parquet': parquet.slice(0, 100), 'odd.bin': bin.slice(0, 5), 'broken.jsonl': bytes('{"text": "fine"}\n{"text": \n'), 'latin.txt': Uint8Array.from([72, 228, 33]),
  'other.jsonl': bytes('{"title": "x"}'), 'wrong.jsonl': bytes('{"text": 5}'), 'negative.json': bytes('[[1, -2]]'), 'empty.txt': bytes(' \n'), 'a.csv': bytes('x'),
}, 'data');

async function all(paths: string[], options: DocumentOptions = {}, from?: Cursor, of: FileSource = source): Promise<{ content: string | number[]; at: string }[]> {
  const found = [];
  for await (const { content, at } of readDocuments(paths.map((path) => ({ source: of, path })), options, from)) found.push({ content: content.text ?? Array.from(content.tokens!), at: `${at.shard}:${at.row}` });
  return found;
}
const contents = async (...given: Parameters<typeof all>): Promise<(string | number[])[]> => (await all(...given)).map(({ content }) => content);

const test = suite('files/text');

test('documents of every format', async () => {
  assert.equal(await contents(['a.txt']), ['first line\nsecond line\n']);
  assert.equal(await contents(['cut.txt'], { separator: '<|endoftext|>' }), ['one', 'two', 'three']);
  assert.equal(await contents(['a.jsonl']), TEXTS.slice(0, 4));
  assert.equal(await contents(['ids.jsonl']), [[5, 6], []]);
  assert.equal(await contents(['a.json']), TOKENS);
  assert.equal(await contents(['a.bin'], { rowTokens: 4 }), [[0, 1000, 2000, 3000], [4000, 5000, 6000, 7000], [8000, 9000]]);
  assert.equal(await contents(['a.parquet']), TEXTS);
  assert.equal(await contents(['a.jsonl'], { field: 'id' }).catch((error: Error) => error.message), 'data/a.jsonl: line 1: neither a text nor a list of token ids');
  assert.equal(await contents(['empty.txt']), []);
});

test('a file that is longer than a piece, cut within characters and separators', async () => {
  assert.ok((await source.size('long.txt')) > 2 ** 21);
  assert.equal(await contents(['long.txt'], { separator: '\n\n\n' }), long);
});

test('reading goes on at any place as if it had never stopped', async () => {
  const paths = ['cut.txt', 'a.parquet', 'a.jsonl', 'a.bin', 'a.json'];
  const options = { separator: '<|endoftext|>', rowTokens: 3 };
  const whole = await all(paths, options);
  assert.is(whole.length, 3 + 5 + 4 + 4 + 3);
  for (const [i, { at }] of whole.entries()) {
    const [shard, row] = at.split(':').map(Number) as [number, number];
    assert.equal(await all(paths, options, { shard, row }), whole.slice(i), at);
  }
});

test('parquet is read by parts', async () => {
  const asked: [number, number][] = [];
  const watched = { ...source, range: async (path: string, start: number, end: number) => { asked.push([start, end]); return source.range(path, start, end); }, bytes: () => assert.unreachable() as never };
  assert.equal(await contents(['a.parquet'], {}, { shard: 0, row: 4 }, watched), TEXTS.slice(4));
  assert.ok(asked.every(([start, end]) => end - start < parquet.length / 2 || start > parquet.length / 2 || end === parquet.length), JSON.stringify(asked));
});

test('lists of token ids in parquet', async () => {
  // Written as JSON by the library, which reads it back as lists.
  assert.equal(await contents(['t.parquet'], {}, undefined, memorySource({ 't.parquet': tokens })), TOKENS);
});

test('what is broken is named, or passed over and reported', async () => {
  assert.match(await refusal(() => all(['broken.parquet'])), /^data\/broken\.parquet: not a parquet file that can be read: /);
  assert.match(await refusal(() => all(['broken.jsonl'])), /^data\/broken\.jsonl: line 2 is no JSON: /);
  assert.match(await refusal(() => all(['latin.txt'])), /^data\/latin\.txt: not UTF-8 text between bytes 0 and 3$/);
  assert.match(await refusal(() => all(['odd.bin'])), /^data\/odd\.bin: 5 bytes are no whole number of uint16 token ids$/);
  assert.match(await refusal(() => all(['other.jsonl'])), /^data\/other\.jsonl: line 1: has no field text, input_ids, tokens; it has title$/);
  assert.match(await refusal(() => all(['a.parquet'], { field: 'body' })), /^data\/a\.parquet: has no field body; it has id, text$/);
  assert.match(await refusal(() => all(['wrong.jsonl'])), /line 1: neither a text nor a list of token ids$/);
  assert.match(await refusal(() => all(['negative.json'])), /entry 0: token 1 is -2, not an id$/);
  assert.match(await refusal(() => all(['missing.txt'])), /^data\/missing\.txt: no such file$/);
  assert.match(await refusal(() => all(['a.csv']), UsageError), /^data\/a\.csv: text is read from files that end in \.txt, /);
  const broken: string[] = [];
  assert.equal(await contents(['broken.jsonl', 'broken.parquet', 'a.json'], { onBroken: (file, reason) => broken.push(`${file}|${reason.startsWith(file)}`) }), ['fine', ...TOKENS]);
  assert.equal(broken, ['data/broken.jsonl|true', 'data/broken.parquet|true']);
  assert.instance(await contents(['a.csv'], { onBroken() {} }).catch((error: unknown) => error), UsageError);
  // What cannot be read for now is no broken file: skipping it would change what is learnt.
  const cut = { ...source, size: (path: string) => (path === 'a.txt' ? Promise.reject(new Unreachable('a.txt: no network')) : source.size(path)) };
  assert.match(await refusal(() => contents(['a.json', 'a.txt'], { onBroken: (file) => broken.push(file) }, undefined, cut), Unreachable), /^a\.txt: no network$/);
  assert.is(broken.length, 2);
});

test.run();
