/** Directories, URLs and writing: what each source promises, against real files and a real local server. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { mkdtempSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileError } from '../../src/errors.ts';
import { encodeSafetensors, memorySource, openSafetensors, openSource, urlSource, type FileSource } from '../../src/files/index.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { directoryStore } from '../../src/files/node-store.ts';
import { assertWritable, writeDirectoryAtomic, writeFileAtomic } from '../../src/files/node-write.ts';
import { refusal } from '../support/refusal.ts';

const content = Uint8Array.from({ length: 1000 }, (_, i) => (i * 7) & 255);
const files: Record<string, Uint8Array> = {
  'a.bin': content,
  'empty.bin': new Uint8Array(0),
  'x.json': new TextEncoder().encode('{"n": 3}'),
  'broken.json': new TextEncoder().encode('{"n": '),
  'sub/two words.bin': content.slice(0, 10),
};

type Manner = 'ranges' | 'whole' | 'hidden';
const requests: string[] = [];

/** A static server that honours ranges, ignores them, or hides Content-Range as a page on another origin would see it. */
function answer(manner: Manner, request: IncomingMessage, response: ServerResponse): void {
  const path = decodeURIComponent(request.url!.replace(/\?.*$/, '').slice('/base/'.length));
  const file = files[path];
  const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '');
  requests.push(`${request.method} ${path} ${request.headers.range ?? 'whole'}`);
  if (path === 'refused.bin') response.writeHead(503).end('try later');
  else if (!file) response.writeHead(404).end();
  else if (!range || manner === 'whole') response.writeHead(200, { 'content-length': file.length }).end(request.method === 'HEAD' ? undefined : file);
  else if (Number(range[1]) >= file.length) response.writeHead(416, { 'content-range': `bytes */${file.length}` }).end();
  else {
    const part = file.slice(Number(range[1]), Number(range[2]) + 1);
    const headers = manner === 'hidden' ? {} : { 'content-range': `bytes ${range[1]}-${Number(range[1]) + part.length - 1}/${file.length}` };
    response.writeHead(206, headers).end(part);
  }
}

function listen(manner: Manner): Promise<Server> {
  const server = createServer((request, response) => answer(manner, request, response));
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

const test = suite('files/sources');
const root = mkdtempSync(join(tmpdir(), 'diffract-files-'));
const servers: Server[] = [];
test.before(() => {
  mkdirSync(join(root, 'sub'));
  for (const [name, data] of Object.entries(files)) writeFileSync(join(root, name), data);
});
test.after(() => {
  rmSync(root, { recursive: true, force: true });
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

async function served(manner: Manner): Promise<string> {
  const server = await listen(manner);
  servers.push(server);
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/base`;
}

/** What holds for every source. */
async function keepsItsPromises(source: FileSource): Promise<void> {
  assert.is(await source.has('a.bin'), true);
  assert.is(await source.has('none.bin'), false);
  assert.is(await source.size('a.bin'), 1000);
  assert.is(await source.size('empty.bin'), 0);
  assert.equal(await source.bytes('a.bin'), content);
  assert.equal(await source.bytes('empty.bin'), new Uint8Array(0));
  assert.equal(await source.range('a.bin', 0, 1000), content);
  const part = await source.range('a.bin', 13, 29);
  assert.equal(part, content.slice(13, 29));
  assert.is(part.byteOffset, 0);
  part.fill(0);
  assert.equal(await source.range('a.bin', 13, 29), content.slice(13, 29), 'the bytes were the caller’s own');
  assert.equal(await source.range('a.bin', 5, 5), new Uint8Array(0));
  assert.equal(await source.bytes('sub/two words.bin'), content.slice(0, 10));
  assert.equal(await source.json('x.json'), { n: 3 });
  assert.match(await refusal(() => source.range('a.bin', 990, 1010)), /a\.bin: truncated: bytes 990 to 1010 are needed, the file ends at byte 1000/);
  assert.match(await refusal(() => source.range('a.bin', 2000, 2010)), /a\.bin: truncated/);
  assert.match(await refusal(() => source.range('a.bin', 10, 5)), /a\.bin: byte range 10 to 5/);
  assert.match(await refusal(() => source.bytes('none.bin')), /none\.bin: .*no such file/);
  assert.match(await refusal(() => source.size('none.bin')), /none\.bin: .*no such file/);
  assert.match(await refusal(() => source.json('broken.json')), /broken\.json: not valid JSON/);
}

test('memory', () => keepsItsPromises(memorySource(files)));
test('a directory', () => keepsItsPromises(directorySource(root)));
test('a URL with ranges', async () => keepsItsPromises(urlSource(await served('ranges'))));
test('a URL whose server ignores ranges', async () => keepsItsPromises(urlSource(await served('whole'))));
test('a URL whose Content-Range is hidden', async () => keepsItsPromises(urlSource(await served('hidden'))));

test('a server that ignores ranges is asked once for a file', async () => {
  const source = urlSource(await served('whole'));
  requests.length = 0;
  for (let i = 0; i < 5; i++) await source.range('a.bin', i, i + 3);
  assert.equal(requests, ['GET a.bin bytes=0-2']);
});

test('a server with ranges sends only what is asked for', async () => {
  const tensors = encodeSafetensors({ a: { dtype: 'F32', shape: [2], data: Float32Array.of(1, 2) }, b: { dtype: 'F32', shape: [1], data: Float32Array.of(3) } });
  files['model.safetensors'] = tensors;
  const file = await openSafetensors(urlSource(await served('ranges')));
  requests.length = 0;
  assert.equal([...(await file.f32('b'))], [3]);
  assert.equal(requests, [`GET model.safetensors bytes=${tensors.length - 4}-${tensors.length - 1}`]);
});

test('the base keeps its query, and statuses and dead hosts are told', async () => {
  const asked: string[] = [];
  const source = urlSource('https://example.test/models/m?key=1', {
    fetch: async (input) => {
      asked.push(String(input));
      return new Response('{}');
    },
  });
  await source.json('config.json');
  assert.equal(asked, ['https://example.test/models/m/config.json?key=1']);
  assert.is(source.name, 'https://example.test/models/m', 'no secrets of the query in messages');
  const base = await served('ranges');
  assert.match(await refusal(() => urlSource(base).bytes('refused.bin')), /refused\.bin: HTTP 503/);
  assert.match(await refusal(() => urlSource(base).has('refused.bin')), /HTTP 503/);
  const dead = urlSource('http://127.0.0.1:1/');
  assert.match(await refusal(() => dead.bytes('a.bin')), /^http:\/\/127\.0\.0\.1:1\/a\.bin: cannot be fetched: /);
});

test('a server that sends other bytes than asked for is found out', async () => {
  const source = urlSource('https://example.test/', {
    fetch: async () => new Response(content.slice(0, 4), { status: 206, headers: { 'content-range': 'bytes 0-3/1000' } }),
  });
  assert.match(await refusal(() => source.range('a.bin', 8, 12)), /sent bytes from 0 where 8 was asked for/);
});

test('a directory that is none, and a path that leads out', async () => {
  assert.match(await refusal(() => directorySource(join(root, 'none'))), /none: no such directory$/);
  assert.match(await refusal(() => directorySource(join(root, 'a.bin'))), /a\.bin: a directory is needed, this is a file$/);
  assert.match(await refusal(() => directorySource(join(root, 'sub')).bytes('../a.bin')), /leads out of the directory$/);
  assert.match(await refusal(() => directorySource(root).bytes('sub')), /not a file$/);
});

test('what a user names is opened as what it is', async () => {
  const { directorySource: opener } = await import('../../src/node.ts');
  assert.is(opener, directorySource);
  assert.equal(await openSource(root).json('x.json'), { n: 3 });
  const memory = memorySource(files);
  assert.is(openSource(memory), memory);
  assert.is(openSource('HTTPS://example.test/m/').name, 'HTTPS://example.test/m');
  assert.throws(() => openSource(join(root, 'none')), (e: Error) => e instanceof FileError && /none: no such directory/.test(e.message));
  assert.throws(() => openSource(''), /empty path/);
});

test('a file is replaced whole, and no temporary file stays', async () => {
  const directory = join(root, 'out');
  mkdirSync(directory);
  const path = join(directory, 'r.json');
  await writeFileAtomic(path, 'first, and long');
  await writeFileAtomic(path, [Uint8Array.of(65, 66), Uint8Array.of(67)]);
  assert.is(readFileSync(path, 'utf8'), 'ABC');
  assert.equal(readdirSync(directory), ['r.json']);
  mkdirSync(join(directory, 'taken'));
  writeFileSync(join(directory, 'taken', 'inner'), '');
  assert.match(await refusal(() => writeFileAtomic(join(directory, 'taken'), 'x')), /cannot write .*taken: /);
  assert.equal(readdirSync(directory).sort(), ['r.json', 'taken']);
});

test('a directory is replaced whole', async () => {
  const path = join(root, 'dictionary');
  await writeDirectoryAtomic(path, { 'cfg.json': '{}', 'deep/weights.bin': content });
  await writeDirectoryAtomic(path, { 'cfg.json': '{"second": true}' });
  assert.equal(readdirSync(path), ['cfg.json']);
  assert.is(readFileSync(join(path, 'cfg.json'), 'utf8'), '{"second": true}');
  assert.equal(readdirSync(root).filter((name) => name.includes('.tmp')), []);
});

test('an output directory is made, or the reason told before work starts', async () => {
  await assertWritable(join(root, 'new', 'deep'));
  assert.equal(readdirSync(join(root, 'new', 'deep')), []);
  assert.match(await refusal(() => assertWritable(join(root, 'a.bin', 'out'))), /cannot write to the directory .*a\.bin.out: a part of the path is a file/);
  assert.match(await refusal(() => assertWritable(join(root, 'a.bin'))), /cannot write to the directory .*a\.bin: a part of the path is a file/);
  assert.match(await refusal(() => assertWritable('/proc/none')), /cannot write to the directory \/proc\/none: no such file or directory/);
});

test('what killed processes left is cleared, and what they were about to replace is put back', async () => {
  const folder = mkdtempSync(join(root, 'left-'));
  // A number that no process has, and that of this one.
  const [gone, here] = ['2147483646-00c0ffee', `${process.pid}-00c0ffee`];
  for (const name of ['kept', `.half.${gone}.tmp`, `.busy.${here}.tmp`, '.other.tmp']) writeFileSync(join(folder, name), name);
  for (const name of [`.whole.${gone}.tmp`, `.whole.${gone}.tmp.old`, `.done.${gone}.tmp.old`, 'done']) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, 'file'), name);
  }
  await directoryStore(folder).put('new', { 'file': new Uint8Array(1) });
  assert.equal(readdirSync(folder).sort(), [`.busy.${here}.tmp`, '.other.tmp', 'done', 'kept', 'new', 'whole'].sort());
  assert.is(readFileSync(join(folder, 'whole', 'file'), 'utf8'), `.whole.${gone}.tmp.old`);
  assert.is(readFileSync(join(folder, 'done', 'file'), 'utf8'), 'done');
  // A command that begins clears its directory, also where it will have nothing to put there.
  writeFileSync(join(folder, `.results.json.${gone}.tmp`), '{');
  await assertWritable(folder);
  assert.equal(readdirSync(folder).sort(), [`.busy.${here}.tmp`, '.other.tmp', 'done', 'kept', 'new', 'whole'].sort());
});

test.run();
