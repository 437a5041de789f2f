/** Parquet: every compression and every way to store texts and token ids, read by row group and column; damage anywhere is refused by name or harmless. */
import { brotliCompressSync, gzipSync } from 'node:zlib';
import type { CompressionCodec, SchemaElement } from 'hyparquet';
import { ByteWriter, parquetWrite, type ColumnSource } from 'hyparquet-writer';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { FileError } from '../../src/errors.ts';
import { memorySource, readDocuments, type Cursor, type DocumentOptions, type FileSource } from '../../src/files/index.ts';
import { random } from '../support/numbers.ts';
import { refusal } from '../support/refusal.ts';

/** A zstd frame of stored blocks, by the format's description: magic number, a header with the content's length, blocks of at most 128 KiB. */
function zstd(content: Uint8Array): Uint8Array {
  const parts: number[] = [0x28, 0xb5, 0x2f, 0xfd, 0b1010_0000, ...new Uint8Array(Uint32Array.of(content.length).buffer)];
  for (let at = 0; at === 0 || at < content.length; at += 1 << 17) {
    const block = content.subarray(at, at + (1 << 17));
    const header = (block.length << 3) | Number(at + block.length >= content.length);
    parts.push(header & 255, (header >> 8) & 255, header >> 16, ...block);
  }
  return Uint8Array.from(parts);
}

const COMPRESSORS = { GZIP: (bytes: Uint8Array) => new Uint8Array(gzipSync(bytes)), BROTLI: (bytes: Uint8Array) => new Uint8Array(brotliCompressSync(bytes)), ZSTD: zstd };

function written(columnData: ColumnSource[], { codec, rowGroupSize = 7, schema }: { codec?: CompressionCodec; rowGroupSize?: number; schema?: SchemaElement[] } = {}): Uint8Array {
  const writer = new ByteWriter();
  parquetWrite({ writer, columnData, codec, compressors: COMPRESSORS, rowGroupSize, schema });
  return new Uint8Array(writer.getBuffer());
}

/** A column of lists, as the format's three levels. */
const listSchema = (type: 'INT32' | 'INT64', nullable: boolean): SchemaElement[] => [
  { name: 'root', num_children: 2 }, { name: 'id', type: 'INT32', repetition_type: 'REQUIRED' },
  { name: 'input_ids', converted_type: 'LIST', repetition_type: nullable ? 'OPTIONAL' : 'REQUIRED', num_children: 1 }, { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
  { name: 'element', type, repetition_type: nullable ? 'OPTIONAL' : 'REQUIRED' },
];

const TEXTS = Array.from({ length: 30 }, (_, i) => (i % 9 === 4 ? '' : `row ${i}: ${'größer 🎲 '.repeat((i * 31) % 50)}`));
const LISTS = Array.from({ length: 30 }, (_, i) => Array.from(random((i * 7) % 12, i), (value) => Math.floor(Math.abs(value) * 50257)));
const ids = { name: 'id', data: TEXTS.map((_, i) => i), type: 'INT32' } as const;
const other = { name: 'other', data: TEXTS.map((_, i) => `${'x'.repeat(3000)} ${i}`), type: 'STRING', encoding: 'PLAIN' } as const;

async function read(file: Uint8Array | FileSource, options: DocumentOptions = {}, from?: Cursor): Promise<(string | number[])[]> {
  const source = file instanceof Uint8Array ? memorySource({ 'a.parquet': file }, 'data') : file;
  const found: (string | number[])[] = [];
  for await (const { content } of readDocuments([{ source, path: 'a.parquet' }], options, from)) found.push(content.text ?? Array.from(content.tokens!));
  return found;
}

const test = suite('files/text parquet');

test('every compression', async () => {
  for (const codec of ['UNCOMPRESSED', 'SNAPPY', 'GZIP', 'BROTLI', 'ZSTD'] as const) {
    const file = written([ids, { name: 'text', data: TEXTS, type: 'STRING' }], { codec });
    assert.equal(await read(file), TEXTS, codec);
    assert.equal(await read(file, {}, { shard: 0, row: 17 }), TEXTS.slice(17), codec);
  }
});

test('lists of token ids of either width, and texts that are marked as nothing but bytes', async () => {
  for (const type of ['INT32', 'INT64'] as const) {
    for (const nullable of [false, true]) {
      const data = type === 'INT64' ? LISTS.map((list) => list.map(BigInt)) : LISTS;
      const file = written([{ name: 'id', data: ids.data }, { name: 'input_ids', data }], { schema: listSchema(type, nullable) });
      assert.equal(await read(file), LISTS, `${type} ${nullable}`);
      assert.equal(await read(file, {}, { shard: 0, row: 9 }), LISTS.slice(9));
    }
  }
  const raw = TEXTS.map((text) => new TextEncoder().encode(text));
  const plain = written([{ name: 'body', data: raw }], { schema: [{ name: 'root', num_children: 1 }, { name: 'body', type: 'BYTE_ARRAY', repetition_type: 'REQUIRED' }] });
  assert.equal(await read(plain, { field: 'body' }), TEXTS);
});

test('only the row groups and the column that are asked for are read', async () => {
  const file = written([other, { name: 'text', data: TEXTS, type: 'STRING' }, { ...other, name: 'more' }], { rowGroupSize: 10, codec: 'UNCOMPRESSED' });
  const inner = memorySource({ 'a.parquet': file }, 'data');
  const asked: [number, number][] = [];
  const source = { ...inner, range: (path: string, start: number, end: number) => { asked.push([start, end]); return inner.range(path, start, end); }, bytes: () => assert.unreachable() as never };
  const reader = readDocuments([{ source, path: 'a.parquet' }], {}, { shard: 0, row: 12 })[Symbol.asyncIterator]();
  assert.is((await reader.next()).value!.content.text, TEXTS[12]);
  // The end of the file holds what tells where the columns are; then comes one column of one group.
  const [footer, ...columns] = asked;
  assert.is(footer![1], file.length);
  assert.ok(file.length > 190_000 && columns.reduce((sum, [start, end]) => sum + end - start, 0) < 6000, JSON.stringify(asked));
  asked.length = 0;
  for (let row = 13; row < 20; row++) assert.is((await reader.next()).value!.content.text, TEXTS[row]);
  assert.equal(asked, []);
  assert.is((await reader.next()).value!.content.text, TEXTS[20]);
  assert.ok(asked.length > 0);
  await reader.return!(undefined);
});

test('rows that hold nothing, columns that are not there and places of other files are refused by name', async () => {
  assert.match(await refusal(() => read(written([{ name: 'text', data: ['a', null, 'b'], type: 'STRING' }]))), /^data\/a\.parquet: row 1: neither a text nor a list of token ids$/);
  assert.match(await refusal(() => read(written([ids, { name: 'body', data: TEXTS, type: 'STRING' }]))), /^data\/a\.parquet: has no field text, input_ids, tokens; it has id, body$/);
  assert.match(await refusal(() => read(written([{ name: 'text', data: [1, 2], type: 'INT32' }]))), /row 0: neither a text nor a list/);
  const negative = written([{ name: 'id', data: [0, 1] }, { name: 'input_ids', data: [[1], [2, -5]] }], { schema: listSchema('INT32', false) });
  assert.match(await refusal(() => read(negative)), /^data\/a\.parquet: row 1: token 1 is -5, not an id$/);
  const file = written([{ name: 'text', data: TEXTS, type: 'STRING' }]);
  assert.equal(await read(file, {}, { shard: 0, row: 30 }), []);
  assert.match(await refusal(() => read(file, {}, { shard: 0, row: 31 })), /^data\/a\.parquet: has 30 documents, and reading stood behind document 30: it is not the file that was read$/);
  for (const size of [0, 3, 7, 11]) assert.match(await refusal(() => read(file.slice(0, size))), /^data\/a\.parquet: not a parquet file that can be read: /);
});

test('a damaged file is refused by name, or gives as many rows as there are', async () => {
  const file = written([ids, { name: 'text', data: TEXTS, type: 'STRING' }], { codec: 'GZIP' });
  const where = random(400, 9);
  let refused = 0;
  for (let i = 0; i < 400; i += 2) {
    const damaged = file.slice();
    // Half of the places are in the footer, where everything is told.
    const [begin, length] = i % 4 ? [0, file.length] : [file.length - 1500, 1500];
    damaged[begin + Math.floor(((where[i]! + 1) / 2) * length)]! ^= 1 + Math.floor(((where[i + 1]! + 1) / 2) * 255);
    try {
      const rows = await read(damaged);
      assert.ok(rows.length <= 2 ** 20);
    } catch (error) {
      assert.instance(error, FileError, String((error as Error).stack));
      assert.match((error as Error).message, /^data\/a\.parquet: [^\n]+$/);
      refused += 1;
    }
  }
  assert.ok(refused > 60, `${refused} of 200 refused`);
});

test.run();
