/** What says which text is read: places, separators, orders, broken files, and rows that training and evaluation pack alike. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { separatorOf, TextSource, textFiles, type TextSourceFlags } from '../../src/cli/text-source.ts';
import { FileError, UsageError } from '../../src/errors.ts';
import type { Gpt2 } from '../../src/model/index.ts';
import '../../src/node.ts';
import { shardOrder, type TokenRows } from '../../src/training/index.ts';
import { COMMIT, hubServer } from '../support/hub-server.ts';
import { refusal } from '../support/refusal.ts';

const test = suite<{ folder: string }>('text source');
test.before.each((context) => {
  context.folder = mkdtempSync(join(tmpdir(), 'diffract-source-'));
  mkdirSync(join(context.folder, 'inner'));
  ['a.jsonl', 'b.jsonl', 'inner/c.jsonl'].forEach((name, i) => writeFileSync(join(context.folder, name), Array.from({ length: 4 }, (_, row) => `${JSON.stringify({ input_ids: [10 * i + row + 1, 10 * i + row + 1, 10 * i + row + 1] })}\n`).join('')));
  writeFileSync(join(context.folder, 'notes.md'), 'no text to train on');
});
test.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

const model = { config: { context: 16, vocabulary: 100, bos: 99 }, tokenizer: null } as unknown as Gpt2;
const flags: TextSourceFlags = { context: 4, bos: true, concat: true, heldOut: 0 };

async function all(rows: TokenRows): Promise<number[][]> {
  const out: number[][] = [];
  for (let row = await rows.read(); row; row = await rows.read()) out.push([...row]);
  return out;
}

test('a folder is its files, those of folders in it too; what is no text is left out', async ({ folder }) => {
  assert.equal((await textFiles([folder])).map(({ path }) => path), ['a.jsonl', 'b.jsonl', 'inner/c.jsonl']);
  assert.equal((await textFiles([join(folder, 'b.jsonl'), join(folder, 'inner')])).map(({ path }) => path), ['b.jsonl', 'c.jsonl']);
  assert.equal((await textFiles(['https://texts.example/some/x.txt'])).map(({ source, path }) => [source.name, path]), [['https://texts.example/some', 'x.txt']]);
  mkdirSync(join(folder, 'empty'));
  assert.match(await refusal(() => textFiles([join(folder, 'empty')]), UsageError), /empty: there is no file that ends in \.txt/);
  await refusal(() => textFiles([join(folder, 'gone', 'x.txt')]), FileError);
});

test('a data set on a hub is the files of its folder or one of them, downloaded where reading comes to them', async ({ folder }) => {
  const rows = (from: number): Uint8Array => new TextEncoder().encode(`{"tokens":[${from},${from},${from},${from}]}\n`.repeat(3));
  const server = await hubServer('datasets/someone/words', { 'README.md': rows(0), 'part/one.jsonl': rows(1), 'part/two.jsonl': rows(2), 'three.jsonl': rows(3) });
  const before = { ...process.env };
  Object.assign(process.env, { HF_ENDPOINT: server.url, DIFFRACT_CACHE: join(folder, 'cache') });
  try {
    const where = 'hub:datasets/someone/words';
    assert.equal((await textFiles([where])).map(({ path }) => path), ['part/one.jsonl', 'part/two.jsonl', 'three.jsonl']);
    assert.equal((await textFiles([`${where}/three.jsonl`])).map(({ path }) => path), ['three.jsonl']);
    const part = await textFiles([`${where}@${COMMIT}/part`]);
    assert.equal(part.map(({ path }) => path), ['one.jsonl', 'two.jsonl']);
    assert.not.ok(server.requests.some((line) => line.includes('.jsonl')));
    const reader = new TextSource(model, part, { ...flags, concat: false }, 0).open('all');
    assert.equal([...(await reader.read())!], [99, 1, 1, 1]);
    assert.not.ok(server.requests.some((line) => line.includes('two.jsonl')));
    assert.equal(await all(reader), [[99, 1, 1, 1], [99, 1, 1, 1], [99, 2, 2, 2], [99, 2, 2, 2], [99, 2, 2, 2]]);
  } finally {
    for (const name of ['HF_ENDPOINT', 'DIFFRACT_CACHE']) {
      if (before[name] === undefined) delete process.env[name];
      else process.env[name] = before[name];
    }
    await server.close();
  }
});

test('separators as they are typed', () => {
  assert.equal(['blank-lines', '\\n\\n', '<|end|>', 'a\\tb\\\\n', undefined].map(separatorOf), ['\n\n', '\n\n', '<|end|>', 'a\tb\\n', undefined]);
});

test('files come in a seeded order that each pass has anew, and every document in each; reading goes on where it stood', async ({ folder }) => {
  const files = await textFiles([folder]);
  const source = new TextSource(model, files, { ...flags, shuffleShards: true }, 7);
  const plain = await all(new TextSource(model, files, flags, 7).open('all'));
  const orders = [0, 1, 2, 3].map((pass) => shardOrder(3, 7, pass));
  assert.ok(new Set(orders.map(String)).size > 1, String(orders));
  for (const [pass, order] of orders.entries()) {
    const rows = await all(source.open('all', undefined, pass));
    assert.equal(rows.map((row) => Math.floor((row[1]! - 1) / 10)), order.flatMap((file) => [file, file, file, file]), `pass ${pass}`);
    assert.equal([...rows].sort(), [...plain].sort());
    const reader = source.open('all', undefined, pass);
    for (let i = 0; i < 5; i++) await reader.read();
    assert.equal(await all(source.open('all', reader.state(), pass)), rows.slice(5));
  }
});

test('broken files end reading, or are skipped and named', async ({ folder }) => {
  writeFileSync(join(folder, 'b.jsonl'), '{"input_ids": [1, 2, 3]}\n{"input_ids": [1, 2');
  const files = await textFiles([folder]);
  assert.match(await refusal(() => all(new TextSource(model, files, flags, 0).open('all')), FileError), /b\.jsonl/);
  const source = new TextSource(model, files, { ...flags, skipBroken: true }, 0);
  assert.is((await all(source.open('all'))).length, 9);
  assert.equal([...source.broken.keys()], [join(folder, 'b.jsonl')]);
});

test('parts share no document; separators are left out of training and scoring even without a beginning token', async ({ folder }) => {
  const files = await textFiles([folder]);
  const source = new TextSource(model, files, { ...flags, heldOut: 0.3 }, 1);
  const [train, held] = [await all(source.open('train')), await all(source.open('held-out'))];
  assert.ok(train.length > 0 && held.length > 0);
  assert.equal([...train, ...held].sort(), (await all(source.open('all'))).sort());
  const bare = new TextSource(model, files, { ...flags, bos: false }, 0);
  assert.equal((await all(bare.open('all')))[0], [1, 1, 1, 99]);
  assert.equal(bare.special, [99]);
  assert.equal(bare.metadata()['exclude_special_tokens'], [99]);
  assert.match(await refusal(() => new TextSource(model, files, { ...flags, context: 17 }, 0), UsageError), /--context 17: the model has room for 16/);
});

test.run();
