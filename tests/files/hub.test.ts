/** Downloads from a hub into a cache: against a real local server that answers as the hub does, and that fails in every way a network can. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createHash } from 'node:crypto';
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UsageError } from '../../src/errors.ts';
import { hubSource, isHubName, parseHubAddress, readDocuments, type FileSource, type HubOptions } from '../../src/files/index.ts';
import { directoryHubCache, hubCachePath } from '../../src/files/node-hub-cache.ts';
import { COMMIT, gitDigest, hubServer, OLD_COMMIT, type HubServer } from '../support/hub-server.ts';
import { refusal } from '../support/refusal.ts';

const REPOSITORY = 'someone/model';
const large = Uint8Array.from({ length: 300_001 }, (_, i) => (i * 31 + (i >> 8)) & 255);
const config = new TextEncoder().encode('{"n": 3}');
const files: Record<string, Uint8Array> = { 'config.json': config, 'model.safetensors': large, 'empty.bin': new Uint8Array(0), 'folder/two words.bin': large.slice(0, 5000) };
const sha256 = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex');
const QUICK = { attempts: 4, wait: 5, silence: 300 };

interface Context { server: HubServer; root: string; open(options?: Partial<HubOptions>): FileSource; at(path: string): string }

const test = suite<Context>('files/hub');
test.before.each(async (context) => {
  context.server = await hubServer(REPOSITORY, files);
  context.root = mkdtempSync(join(tmpdir(), 'diffract-hub-'));
  context.open = (options = {}) => hubSource(REPOSITORY, { cache: directoryHubCache(context.root), endpoint: context.server.url, patience: QUICK, ...options });
  context.at = (path) => join(context.root, 'models--someone--model', path);
});
test.after.each(async ({ server, root }) => {
  await server.close();
  rmSync(root, { recursive: true, force: true });
});

const bytesAsked = (server: HubServer): string[] => server.requests.filter((line) => /model\.safetensors/.test(line) && !/bytes=0-0$/.test(line));

test('a source of the hub gives the files, and keeps them as the Python tools do', async ({ server, open, at }) => {
  const source = open();
  assert.equal(source.name, REPOSITORY);
  assert.equal(server.requests, [], 'nothing is asked before a file is');
  assert.equal([await source.has('config.json'), await source.has('nothing.bin'), await source.has('folder')], [true, false, false]);
  assert.is(await source.size('model.safetensors'), large.length);
  assert.equal(bytesAsked(server), [], 'the listing has the size');
  assert.equal(await source.json('config.json'), { n: 3 });
  assert.equal(await source.bytes('model.safetensors'), large);
  assert.equal(await source.range('model.safetensors', 1000, 1003), large.slice(1000, 1003));
  assert.equal(await source.bytes('empty.bin'), new Uint8Array(0));
  assert.equal(await source.bytes('folder/two words.bin'), files['folder/two words.bin']);
  assert.equal(await source.origin!(), { repository: REPOSITORY, revision: 'main', commit: COMMIT });
  assert.is(bytesAsked(server).length, 1, 'a file is asked for once');
  assert.match(await refusal(() => source.range('config.json', 0, 100)), /someone\/model\/config\.json: truncated: bytes 0 to 100 are needed, the file ends at byte 8/);

  assert.is(readFileSync(at('refs/main'), 'utf8'), COMMIT);
  const name = at(`snapshots/${COMMIT}/model.safetensors`);
  assert.ok(lstatSync(name).isSymbolicLink());
  assert.is(readlinkSync(name), `../../blobs/${sha256(large)}`);
  assert.equal(readdirSync(at('blobs')).sort(), [sha256(large), gitDigest(config), sha256(files['folder/two words.bin']!), gitDigest(new Uint8Array(0))].sort());
  assert.equal(new Uint8Array(readFileSync(at(`snapshots/${COMMIT}/folder/two words.bin`))), files['folder/two words.bin']);
});

test('afterwards nobody is asked, and a moved branch changes nothing until it is named', async ({ server, open }) => {
  await open().bytes('model.safetensors');
  await server.down();
  const source = open();
  assert.equal(await source.bytes('model.safetensors'), large);
  assert.equal([await source.has('model.safetensors'), await source.has('nothing.bin')], [true, false]);
  assert.match(await refusal(() => source.bytes('config.json')), /^the hub cannot be reached for config\.json \(0 of 8 bytes are kept\): .*(ECONNREFUSED|refused)/);
  await server.up();
  server.commits['main'] = OLD_COMMIT;
  assert.is((await open().origin!()).commit, COMMIT);
  assert.equal(await open({ revision: OLD_COMMIT }).origin!(), { repository: REPOSITORY, revision: OLD_COMMIT, commit: OLD_COMMIT });
  assert.is((await open({ revision: 'old' }).origin!()).commit, OLD_COMMIT);
});

test('offline: what is in the cache, and a word on what is not', async ({ server, open }) => {
  assert.match(await refusal(() => open({ offline: true }).has('config.json')), /^someone\/model: revision main is not in the cache .*, and asking the hub is switched off$/);
  await open().bytes('config.json');
  const before = server.requests.length;
  const source = open({ offline: true });
  assert.equal(await source.bytes('config.json'), config);
  assert.match(await refusal(() => source.bytes('model.safetensors')), /^someone\/model\/model\.safetensors: not in the cache .*switched off$/);
  assert.is(server.requests.length, before);
});

test('a snapshot that another tool made serves offline', async ({ open, at }) => {
  mkdirSync(at(`snapshots/${COMMIT}`), { recursive: true });
  mkdirSync(at('refs'));
  writeFileSync(at('refs/main'), `${COMMIT}\n`);
  writeFileSync(at(`snapshots/${COMMIT}/config.json`), config);
  const source = open({ offline: true });
  assert.equal([await source.has('config.json'), await source.has('tokenizer.json')], [true, false]);
  assert.equal(await source.json('config.json'), { n: 3 });
});

test('what breaks off goes on from there, as often as it comes further', async ({ server, open }) => {
  // More cuts than attempts: each brings something, so patience starts anew.
  for (let i = 0; i < 7; i++) server.troubles.push({ kind: 'cut', after: 20_000 + i });
  const seen: number[] = [];
  const source = open({ onProgress: (path, done, total) => { if (path === 'model.safetensors') seen.push(done); assert.is(total, large.length); } });
  assert.equal(await source.bytes('model.safetensors'), large);
  const asked = bytesAsked(server).map((line) => Number(/bytes=(\d+)-/.exec(line)?.[1] ?? 0));
  assert.is(asked.length, 8);
  assert.ok(asked.every((start, i) => i === 0 || start > asked[i - 1]!), `each request starts where the last ended: ${asked.join(' ')}`);
  assert.is(asked.at(-1), 7 * 20_000 + 21);
  assert.is(seen.at(-1), large.length);
  assert.ok(seen.every((done, i) => i === 0 || done >= seen[i - 1]!));
});

test('a busy server is asked again, a silent one left and asked again', async ({ server, open }) => {
  server.apiStatus.push(503, 429);
  server.troubles.push({ kind: 'status', status: 500 }, { kind: 'silent', after: 1000 }, { kind: 'status', status: 503 });
  assert.equal(await open().bytes('model.safetensors'), large);
  assert.is(bytesAsked(server).length, 4);
  assert.match(bytesAsked(server).at(-1)!, /bytes=1000-300000$/);
});

test('patience ends, what came is kept, and a later run goes on from it', async ({ server, open, at }) => {
  server.troubles.push({ kind: 'cut', after: 100_000 }, ...Array.from({ length: 3 }, () => ({ kind: 'status', status: 503 }) as const));
  assert.match(await refusal(() => open().bytes('model.safetensors')), /^the hub cannot be reached for model\.safetensors \(100000 of 300001 bytes are kept\): .*503/);
  const incomplete = at(`blobs/${sha256(large)}.incomplete`);
  assert.is(statSync(incomplete).size, 100_000);
  assert.not.ok(existsSync(`${at(`blobs/${sha256(large)}`)}.lock`));
  server.requests.length = 0;
  assert.equal(await open().bytes('model.safetensors'), large);
  assert.equal(bytesAsked(server), [`GET /${REPOSITORY}/resolve/${COMMIT}/model.safetensors bytes=100000-300000`]);
  assert.not.ok(existsSync(incomplete));
});

test('a wrong checksum is seen, whoever spoilt the bytes', async ({ server, open, at }) => {
  // This time the network: once spoilt, then right.
  server.troubles.push({ kind: 'spoil' });
  assert.equal(await open().bytes('model.safetensors'), large);
  rmSync(at('snapshots'), { recursive: true });
  rmSync(at('blobs'), { recursive: true });
  // What an earlier run left is not of this file.
  mkdirSync(at('blobs'));
  writeFileSync(at(`blobs/${sha256(large)}.incomplete`), 'something else');
  server.requests.length = 0;
  assert.equal(await open().bytes('model.safetensors'), large);
  assert.equal(bytesAsked(server).map((line) => / bytes=\d+/.exec(line)?.[0] ?? 'all'), [' bytes=14', 'all']);
  // Spoilt each time: nothing is kept, nothing is given. Small files have git's digest.
  for (let i = 0; i < 3; i++) server.troubles.push({ kind: 'spoil' });
  assert.match(await refusal(() => open().bytes('config.json')), new RegExp(`^someone/model/config\\.json: its checksum is not ${gitDigest(config)}; what came was thrown away$`));
  assert.equal(readdirSync(at('blobs')), [sha256(large)]);
});

test('a server that cannot send parts sends the whole again', async ({ server, open }) => {
  server.troubles.push({ kind: 'cut', after: 50_000 }, { kind: 'whole' });
  assert.equal(await open().bytes('model.safetensors'), large);
  assert.equal(bytesAsked(server).map((line) => / bytes=\d+/.exec(line)?.[0] ?? 'all'), ['all', ' bytes=50000', 'all']);
});

test('two that want one file download it once', async ({ server, open }) => {
  server.troubles.push({ kind: 'slow', piece: 50_000, wait: 20 });
  const [a, b, c] = [open(), open(), open()];
  const all = await Promise.all([a.bytes('model.safetensors'), a.range('model.safetensors', 0, 5), b.bytes('model.safetensors'), c.bytes('model.safetensors')]);
  assert.equal(all.map(({ length }) => length), [large.length, 5, large.length, large.length]);
  assert.is(bytesAsked(server).length, 1);
});

test('a lock that a dead process left is taken over', async ({ open, at }) => {
  mkdirSync(at('blobs'), { recursive: true });
  writeFileSync(at(`blobs/${sha256(large)}.lock`), '2147483646');
  assert.equal(await open().bytes('model.safetensors'), large);
});

test('stopping keeps what came', async ({ server, open, at }) => {
  server.troubles.push({ kind: 'slow', piece: 10_000, wait: 10 });
  const controller = new AbortController();
  const source = open({ signal: controller.signal, onProgress: (_path, done) => { if (done > 50_000) controller.abort(); } });
  try {
    await source.bytes('model.safetensors');
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).name, 'AbortError');
  }
  assert.ok(statSync(at(`blobs/${sha256(large)}.incomplete`)).size > 50_000);
  assert.equal(await open().bytes('model.safetensors'), large);
});

test('what the hub refuses', async ({ server, open, root }) => {
  const other = (name: string, options: Partial<HubOptions> = {}) => hubSource(name, { cache: directoryHubCache(root), endpoint: server.url, patience: QUICK, ...options });
  assert.match(await refusal(() => other('someone/else').has('config.json')), /^someone\/else: the hub has no such public model \(HTTP 401\); a private or gated one needs HF_TOKEN$/);
  assert.match(await refusal(() => open({ revision: 'never' }).has('config.json')), /^someone\/model: the hub has no such model, revision or file \(HTTP 404\)$/);
  assert.match(await refusal(() => open().bytes('nothing.bin')), /^someone\/model\/nothing\.bin: no such file at revision main$/);
  assert.match(await refusal(() => open().bytes('../../x')), /leads out of the repository/);
  for (const name of ['', 'a/b/c', '../x', 'a b', 'a/..']) assert.throws(() => other(name), (error: unknown) => error instanceof UsageError);
  assert.throws(() => open({ revision: '../main' }), (error: unknown) => error instanceof UsageError);
});

test('a private repository needs a token', async ({ root }) => {
  const server = await hubServer(REPOSITORY, files, { token: 'hf_secret' });
  try {
    const open = (token?: string) => hubSource(REPOSITORY, { cache: directoryHubCache(root), endpoint: server.url, patience: QUICK, token });
    assert.match(await refusal(() => open().has('config.json')), /HTTP 401/);
    assert.equal(await open('hf_secret').bytes('config.json'), config);
  } finally {
    await server.close();
  }
});

test('a cache that cannot be written is named', async ({ server, root }) => {
  writeFileSync(join(root, 'file'), '');
  const source = hubSource(REPOSITORY, { cache: directoryHubCache(join(root, 'file')), endpoint: server.url, patience: QUICK });
  assert.match(await refusal(() => source.bytes('config.json')), /cannot write .*file.*: (a part of the path is a file, not a directory|already exists as a file)/);
});

test('a folder of a repository is a source too', async ({ open }) => {
  const source = open({ folder: 'folder' });
  assert.is(source.name, 'someone/model/folder');
  assert.equal([await source.has('two words.bin'), await source.has('config.json')], [true, false]);
  assert.equal(await source.bytes('two words.bin'), files['folder/two words.bin']);
});

test('a data set: its files are listed, and each shard comes when reading reaches it, once', async ({ root }) => {
  const lines = (from: number): Uint8Array => new TextEncoder().encode(Array.from({ length: 3 }, (_, i) => `{"text":"${from + i}"}\n`).join(''));
  const server = await hubServer('datasets/someone/texts', { 'README.md': config, 'data/a.jsonl': lines(0), 'data/b.jsonl': lines(3), 'other/c.jsonl': lines(6) });
  server.commits['refs/convert/parquet'] = OLD_COMMIT;
  try {
    const { repository, folder, revision } = parseHubAddress('hub:datasets/someone/texts@refs%2Fconvert%2Fparquet/data');
    const open = (): FileSource => hubSource(repository, { cache: directoryHubCache(root), endpoint: server.url, patience: QUICK, folder, revision });
    const source = open();
    assert.equal(await source.list!(), ['a.jsonl', 'b.jsonl']);
    assert.equal((await source.origin!()).commit, OLD_COMMIT);
    const shards = (): string[] => [...new Set(server.requests.flatMap((line) => /([abc]\.jsonl)/.exec(line)?.[1] ?? []))];
    const seen: string[] = [];
    for await (const { content } of readDocuments([{ source, path: 'a.jsonl' }, { source, path: 'b.jsonl' }])) {
      seen.push(content.text!);
      assert.equal(shards(), seen.length <= 3 ? ['a.jsonl'] : ['a.jsonl', 'b.jsonl']);
    }
    assert.equal(seen, ['0', '1', '2', '3', '4', '5']);
    assert.ok(readdirSync(join(root, 'datasets--someone--texts', 'snapshots', OLD_COMMIT, 'data')).includes('b.jsonl'));
    const asked = server.requests.length;
    assert.equal([await open().bytes('a.jsonl'), await open().list!()], [lines(0), ['a.jsonl', 'b.jsonl']]);
    assert.is(server.requests.length, asked);
    const broken: string[] = [];
    const away = hubSource(repository, { cache: directoryHubCache(root), endpoint: server.url, patience: QUICK, folder: 'other', revision });
    await server.down();
    const first = readDocuments([{ source: away, path: 'c.jsonl' }], { onBroken: (file) => broken.push(file) }).next();
    assert.match(await refusal(() => first), /cannot be reached for other\/c\.jsonl/);
    assert.equal(broken, []);
    await server.up();
    assert.match(await refusal(() => hubSource('datasets/someone/nothing', { cache: directoryHubCache(root), endpoint: server.url, patience: QUICK }).list!()), /the hub has no such public data set/);
  } finally {
    await server.close();
  }
});

test('names and addresses', () => {
  assert.equal(['gpt2', 'openai-community/gpt2', 'a/b/c', './x', '/x', 'x/', '~x', 'models/ioi-mini', ''].map(isHubName), [true, true, false, false, false, false, false, true, false]);
  assert.equal(parseHubAddress('hub:gpt2'), { repository: 'gpt2' });
  assert.equal(parseHubAddress('hub:gpt2@main'), { repository: 'gpt2', revision: 'main' });
  assert.equal(parseHubAddress('hub:a/b@v1/blocks.8/x y/'), { repository: 'a/b', revision: 'v1', folder: 'blocks.8/x y' });
  assert.equal(parseHubAddress('hub:a/b/c/d'), { repository: 'a/b', folder: 'c/d' });
  assert.equal(parseHubAddress('hub:datasets/a/b@refs%2Fconvert%2Fparquet/c/d.parquet'), { repository: 'datasets/a/b', revision: 'refs/convert/parquet', folder: 'c/d.parquet' });
  for (const text of ['hub:', 'hub:/a', 'hub:a b', 'gpt2', 'hub:@x']) assert.throws(() => parseHubAddress(text), (error: unknown) => error instanceof UsageError);
});

test('where the cache is', () => {
  assert.is(hubCachePath({ DIFFRACT_CACHE: '/d', HF_HUB_CACHE: '/h', HF_HOME: '/home' }), '/d');
  assert.is(hubCachePath({ HF_HUB_CACHE: '/h', HF_HOME: '/home' }), '/h');
  assert.is(hubCachePath({ HF_HOME: '/home' }), '/home/hub');
  assert.is(hubCachePath({ XDG_CACHE_HOME: '/x' }), '/x/huggingface/hub');
  assert.match(hubCachePath({}), /\.cache\/huggingface\/hub$/);
});

test.run();
