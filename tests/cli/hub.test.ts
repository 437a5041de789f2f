/** Models by their name on a hub, from the command line, with a local server in the hub's place: the processes, the network and the disk are real. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cli, cliScript, type Outcome } from '../support/cli.ts';
import { COMMIT, hubServer, type HubServer } from '../support/hub-server.ts';
import { packageRoot } from '../../src/node-adapter.mjs';

const REPOSITORY = 'someone/ioi-mini';
const folder = join(packageRoot(), 'models', 'ioi-mini');
const files = Object.fromEntries(readdirSync(folder).filter((name) => statSync(join(folder, name)).isFile()).map((name) => [name, new Uint8Array(readFileSync(join(folder, name)))]));
const PROMPT = ['--prompt', 'Mary and Adam went to the store. Adam gave a drink to', '--json'];

interface Context { server: HubServer; cache: string; run(args: readonly string[], environment?: Record<string, string>): Promise<Outcome>; environment(): Record<string, string | undefined> }

const test = suite<Context>('models on a hub');
test.before.each(async (context) => {
  context.server = await hubServer(REPOSITORY, files);
  context.cache = mkdtempSync(join(tmpdir(), 'diffract-hub-cli-'));
  context.environment = () => ({ HF_ENDPOINT: context.server.url, DIFFRACT_CACHE: context.cache, HF_TOKEN: undefined, HF_HUB_OFFLINE: undefined });
  context.run = (args, environment = {}) => cli(args, { ...context.environment(), ...environment });
});
test.after.each(async ({ server, cache }) => {
  await server.close();
  rmSync(cache, { recursive: true, force: true });
});

test('a name is downloaded once, recorded with its commit, and read from the cache without a network', async ({ server, run }) => {
  const [local, first] = [await run(['run', '--model', folder, ...PROMPT]), await run(['run', '--model', REPOSITORY, ...PROMPT])];
  assert.equal([local.code, first.code], [0, 0], local.stderr + first.stderr);
  assert.match(first.stderr, /downloading model\.safetensors, \d+ MB\n/);
  const [a, b] = [JSON.parse(local.stdout), JSON.parse(first.stdout)];
  assert.equal([a.origin, b.origin], [null, { repository: REPOSITORY, revision: 'main', commit: COMMIT }]);
  assert.is(b.model, 'ioi-mini');
  assert.equal([b.hash, b.next], [a.hash, a.next]);
  await server.down();
  const again = await run(['run', '--model', `hub:${REPOSITORY}`, ...PROMPT]);
  assert.equal([again.code, again.stderr], [0, '']);
  assert.is(again.stdout, first.stdout);
  assert.is((await run(['run', '--model', REPOSITORY, ...PROMPT], { HF_HUB_OFFLINE: '1' })).stdout, first.stdout);
});

test('a killed download goes on from where it was', async ({ server, cache, environment, run }) => {
  server.slow = { piece: 100_000, wait: 20 };
  const child = spawn(process.execPath, [await cliScript(), 'run', '--model', REPOSITORY, ...PROMPT], { env: { ...process.env, ...environment() } as NodeJS.ProcessEnv, stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => child.on('exit', () => resolve()));
  const blobs = join(cache, 'models--someone--ioi-mini', 'blobs');
  const incomplete = (): string | undefined => (existsSync(blobs) ? readdirSync(blobs).find((name) => name.endsWith('.incomplete')) : undefined);
  for (;;) {
    const name = incomplete();
    if (name && statSync(join(blobs, name)).size > 1_000_000) break;
    assert.is(child.exitCode, null, 'it ended before it could be killed');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  child.kill('SIGKILL');
  await ended;
  server.slow = null;
  const kept = statSync(join(blobs, incomplete()!)).size;
  server.requests.length = 0;
  const { code, stderr, stdout } = await run(['run', '--model', REPOSITORY, ...PROMPT]);
  assert.is(code, 0, stderr);
  assert.is(JSON.parse(stdout).hash, JSON.parse((await run(['run', '--model', folder, ...PROMPT])).stdout).hash);
  const asked = server.requests.filter((line) => /model\.safetensors bytes=[1-9]/.test(line));
  assert.equal(asked.map((line) => Number(/bytes=(\d+)/.exec(line)![1])), [kept]);
});

test('what cannot be: one line, exit code 2', async ({ server, run }) => {
  const refused = async (args: readonly string[], pattern: RegExp): Promise<void> => {
    const { code, stderr } = await run(args);
    assert.is(code, 2, stderr);
    assert.match(stderr, pattern);
    assert.is(stderr.trim().split('\n').length, 1, stderr);
  };
  await refused(['run', '--model', 'models/no-such-model', ...PROMPT], /^error: models\/no-such-model: there is no such directory, and as a name on the hub: models\/no-such-model: the hub has no such public model \(HTTP 401\)/);
  await refused(['run', '--model', REPOSITORY, '--revision', 'never', ...PROMPT], /revision or file \(HTTP 404\)/);
  await refused(['run', '--model', folder, '--revision', 'main', ...PROMPT], /--revision main is for a model on the hub; .*ioi-mini is a directory/);
  await refused(['run', '--model', `hub:${REPOSITORY}@old`, '--revision', 'main', ...PROMPT], /names a revision already/);
  await refused(['run', '--model', 'hub:a b', ...PROMPT], /hub:a b: not a name on a hub/);
  await refused(['run', '--model', './nowhere', ...PROMPT], /\.\/nowhere: no such directory/);
  await server.down();
  await refused(['verify', '--model', 'someone/other'], /there is no such directory, and as a name on the hub: the hub cannot be reached for revision main of someone\/other: /);
});

test.run();
