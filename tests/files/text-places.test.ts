/** Places among documents: by byte, in packed files, in any order of shards; and long texts cut into parts that a tokenizer does not notice. */
import { gzipSync } from 'node:zlib';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError, UsageError } from '../../src/errors.ts';
import { memorySource, readDocuments, type Cursor, type Document, type DocumentOptions, type FileSource } from '../../src/files/index.ts';
import { cutAt, cutBytes, PART } from '../../src/files/text/cuts.ts';
import { BLANK_LINES } from '../../src/files/text/lines.ts';
import { random } from '../support/numbers.ts';
import { refusal } from '../support/refusal.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const packed = (text: string | Uint8Array): Uint8Array => new Uint8Array(gzipSync(text));
const texts = Array.from({ length: 40 }, (_, i) => `${i} ${'wörter 🎲 '.repeat((i * 37) % 11)}`);
const lines = texts.map((text, i) => `${JSON.stringify({ text })}${i % 3 ? '\n' : '\r\n\n'}`).join('');
const joined = texts.join('<|endoftext|>');
const blank = `\n\n${texts.map((text, i) => `${text}\nsecond line${['\n\n', '\r\n\r\n', '\n \t\n\n', '\n\n\n\n\n'][i % 4]!}`).join('')}`;

const source = memorySource({
  'a.jsonl': bytes(lines), 'a.jsonl.gz': packed(lines), 'a.txt': bytes(joined), 'a.txt.gz': packed(joined), 'blank.txt': bytes(blank),
  'b.json': bytes(`\ufeff \n${lines}`), 'b.json.gz': packed(lines),
  'list.json.gz': packed(JSON.stringify([[1, 2], 'text', { input_ids: [3] }])),
  'list.json': bytes('\ufeff[[7]]'), 'a.bin': new Uint8Array(Uint16Array.from({ length: 10 }, (_, i) => i).buffer),
  'cut.jsonl.gz': packed(lines).slice(0, -30),
  'bad.jsonl.gz': packed(lines).map((byte, i) => (i > 60 && i < 90 ? byte ^ 0x5a : byte)), 'not.txt.gz': bytes('plain text'),
  'cut.json.gz': packed('{"text": "x"}\n{"te'),
  'object.json': bytes('{"text": 1}'), 'word.json': bytes('"x"'), 'empty.json': bytes(' '), 'flat.json': bytes('[1, 2]'),
  'half.json': bytes('[[1.5]]'), 'names.json': bytes('[["1"]]'), 'none.jsonl': bytes('{"text": null}'),
}, 'data');

async function read(paths: string[], options: DocumentOptions = {}, from?: Cursor, of: FileSource = source): Promise<Document[]> {
  const found: Document[] = [];
  for await (const document of readDocuments(paths.map((path) => ({ source: of, path })), options, from)) found.push(document);
  return found;
}
const contents = async (...given: Parameters<typeof read>): Promise<(string | number[])[]> => (await read(...given)).map(({ content }) => content.text ?? Array.from(content.tokens!));

/** What is asked of a file, as [start, end) in its bytes. */
function watched(): { of: FileSource; asked: [number, number][] } {
  const asked: [number, number][] = [];
  const of = { ...source, range: (path: string, start: number, end: number) => { asked.push([start, end]); return source.range(path, start, end); }, bytes: () => assert.unreachable() as never };
  return { of, asked };
}

const test = suite('files/text places');

test('files packed with gzip, JSON lines that are named .json, lists of anything that is a document', async () => {
  for (const path of ['a.jsonl', 'a.jsonl.gz', 'b.json', 'b.json.gz']) assert.equal(await contents([path]), texts, path);
  assert.equal(await contents(['a.txt.gz'], { separator: '<|endoftext|>' }), texts);
  assert.equal(await contents(['list.json.gz']), [[1, 2], 'text', [3]]);
  assert.equal(await contents(['list.json']), [[7]]);
});

test('documents between blank lines, however many and whatever ends a line', async () => {
  assert.equal((await contents(['blank.txt'], { separator: BLANK_LINES })).map((text) => String(text).replace(/\r$/, '')), texts.map((text) => `${text}\nsecond line`));
});

test('a document says where it begins and where the next one does; reading goes on from either as if it had never stopped', async () => {
  for (const [path, separator] of [['a.jsonl'], ['a.jsonl.gz'], ['b.json'], ['a.txt', '<|endoftext|>'], ['a.txt.gz', '<|endoftext|>'], ['blank.txt', BLANK_LINES], ['a.bin']] as [string, string?][]) {
    const options = { separator, rowTokens: 3 };
    const whole = await read([path, 'list.json'], options);
    for (const [i, { at, next }] of whole.entries()) {
      assert.equal(await read([path, 'list.json'], options, at), whole.slice(i), `${path} at ${i}`);
      assert.equal(await read([path, 'list.json'], options, next), whole.slice(i + 1), `${path} behind ${i}`);
      // Places as they were before bytes were told.
      assert.equal((await read([path, 'list.json'], options, { shard: at.shard, row: at.row })).map(({ content }) => content), whole.slice(i).map(({ content }) => content));
    }
  }
});

test('what lies before a place is not read again', async () => {
  const rest = (await read(['a.jsonl'])).at(-2)!;
  const { of, asked } = watched();
  assert.equal(await contents(['a.jsonl'], {}, rest.at, of), texts.slice(-2));
  assert.equal(asked, [[rest.at.offset!, bytes(lines).length]]);
});

test('shards in any order keep their numbers', async () => {
  const paths = ['a.bin', 'a.jsonl', 'list.json'];
  const options = { order: [2, 0, 1], rowTokens: 5 };
  const whole = await read(paths, options);
  assert.equal(whole.slice(0, 4).map(({ content, at, index }) => [content.text ?? [...Array.from(content.tokens!)], `${at.shard}:${at.row}`, index]), [
    [[7], '0:0', { shard: 2, row: 0 }], [[0, 1, 2, 3, 4], '1:0', { shard: 0, row: 0 }], [[5, 6, 7, 8, 9], '1:1', { shard: 0, row: 1 }], [texts[0], '2:0', { shard: 1, row: 0 }],
  ]);
  for (const [i, { at }] of whole.entries()) assert.equal(await read(paths, options, at), whole.slice(i));
  // The same documents, whatever the order.
  const numbers = (documents: Document[]): string[] => documents.map(({ index, content }) => `${index!.shard}:${index!.row} ${JSON.stringify(content)}`).sort();
  assert.equal(numbers(whole), numbers(await read(paths, { rowTokens: 5 })));
  for (const order of [[0, 0], [3], [-1], [0.5]]) assert.match(await refusal(() => read(paths, { order }), UsageError), /numbers from 0 to 2, each once at most/);
});

/** What GPT-2 splits a text into before it looks for tokens. */
const words = (text: string): string[] => text.match(/'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu)!;

test('a text without separators comes in parts that go on from each other and have the words of the whole', async () => {
  // Lines between all kinds of white space, so that few line ends are good ones.
  const pieces = ['word', ' end.', '\n', '\n\n', '\n ', ' \n', '\u3000', '\n\u00a0', "'s", '日本。', '🎲', '\t', '\r\n', '5'];
  const choice = random(120_000, 5);
  const text = Array.from(choice, (value) => pieces[Math.floor((value + 1) / 2 * pieces.length)]!).join('');
  const of = memorySource({ 'long.txt': bytes(text), 'line.txt': bytes('x '.repeat(PART)) });
  const parts = await read(['long.txt'], {}, undefined, of);
  assert.ok(parts.length >= 4, `${parts.length} parts`);
  assert.is(parts.map(({ content }) => content.text).join(''), text);
  assert.equal(parts.flatMap(({ content }) => words(content.text!)), words(text));
  assert.equal(parts.map(({ continues }) => continues === true), parts.map((_, i) => i > 0));
  for (const { content } of parts.slice(0, -1)) assert.ok(bytes(content.text!).length > PART && bytes(content.text!).length < PART + 4096);
  for (const [i, { at }] of parts.entries()) assert.equal(await read(['long.txt'], {}, at, of), parts.slice(i));
  // One line cannot be cut.
  assert.is((await read(['line.txt'], {}, undefined, of)).length, 1);
  // Documents between separators begin anew.
  assert.ok((await read(['a.txt'], { separator: '<|endoftext|>' })).every(({ continues }) => continues === undefined));
  assert.equal((await read(['a.bin'], { rowTokens: 4 })).map(({ continues }) => continues), [undefined, true, true]);
});

test('separators are found wherever pieces of a file end', async () => {
  // Pieces of one byte, in place of a megabyte.
  const text = 'aXXbXXXcXYXXdXX';
  const of: FileSource = { ...memorySource({ a: bytes('') }), size: async () => text.length, range: async (_, start, end) => bytes(text.slice(start, end)) };
  const found: string[] = [];
  for await (const part of cutBytes(of, 'a', cutAt(bytes('XX')))) found.push(new TextDecoder().decode(part.bytes));
  assert.equal(found, text.split('XX'));
  const cut = cutAt(bytes('XX'));
  for (let length = 0; length <= text.length; length++) {
    const known = bytes(text.slice(0, length));
    const at = text.slice(0, length).indexOf('XX');
    // Looking again from where it says finds what looking from the beginning does.
    const first = cut(known, 0);
    if (at >= 0) assert.equal(first, { end: at, next: at + 2 });
    else assert.equal('again' in first && cut(bytes(text), first.again), cut(bytes(text), 0));
  }
});

test('damaged files, and places of other files, are refused by name', async () => {
  assert.match(await refusal(() => read(['cut.jsonl.gz'])), /^data\/cut\.jsonl\.gz: not a gzip file that can be unpacked: /);
  assert.match(await refusal(() => read(['bad.jsonl.gz'])), /^data\/bad\.jsonl\.gz: (not a gzip file that can be unpacked: |line \d+ is no JSON: |not UTF-8 text)/);
  assert.match(await refusal(() => read(['not.txt.gz'])), /^data\/not\.txt\.gz: not a gzip file that can be unpacked: /);
  assert.match(await refusal(() => read(['missing.txt.gz'])), /^data\/missing\.txt\.gz: no such file$/);
  assert.match(await refusal(() => read(['cut.json.gz'])), /^data\/cut\.json\.gz: line 2 is no JSON: /);
  assert.match(await refusal(() => read(['object.json'])), /^data\/object\.json: line 1: neither a text nor a list of token ids$/);
  assert.match(await refusal(() => read(['none.jsonl'])), /^data\/none\.jsonl: line 1: neither a text nor a list of token ids$/);
  assert.match(await refusal(() => read(['word.json'])), /^data\/word\.json: a list of texts or of lists of token ids is needed$/);
  assert.match(await refusal(() => read(['empty.json'])), /^data\/empty\.json: not valid JSON: /);
  assert.match(await refusal(() => read(['flat.json'])), /^data\/flat\.json: entry 0: neither a text nor a list of token ids$/);
  assert.match(await refusal(() => read(['half.json'])), /entry 0: token 0 is 1\.5, not an id$/);
  assert.match(await refusal(() => read(['names.json'])), /entry 0: token 0 is 1, not an id$/);
  assert.match(await refusal(() => read(['a.jsonl'], {}, { shard: 0, row: 41 })), /^data\/a\.jsonl: has 40 documents, and reading stood behind document 40: it is not the file that was read$/);
  assert.match(await refusal(() => read(['list.json'], {}, { shard: 0, row: 2 })), /^data\/list\.json: has 1 documents/);
  assert.match(await refusal(() => read(['a.bin'], {}, { shard: 0, row: 2 })), /^data\/a\.bin: has 1 documents/);
  const behind = { shard: 0, row: 40, offset: 1e6 };
  for (const path of ['a.jsonl', 'a.jsonl.gz']) assert.match(await refusal(() => read([path], {}, behind)), new RegExp(`^data/${path}: ends at byte ${bytes(lines).length}, and reading stood at byte 1000000`));
  // Within a line: the file has changed.
  assert.match(await refusal(() => read(['a.jsonl'], {}, { shard: 0, row: 3, offset: 5 })), /^data\/a\.jsonl: line at byte 5 is no JSON: /);
  const broken: string[] = [];
  assert.equal(await contents(['not.txt.gz', 'list.json'], { onBroken: (file) => broken.push(file) }), [[7]]);
  assert.equal(broken, ['data/not.txt.gz']);
  assert.ok(FileError);
});

test.run();
