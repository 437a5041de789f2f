/** A reproduction whose process is killed, again and again: started once more it goes on, and ends with the numbers of one that was left alone. */
import { spawn, type ChildProcess } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { packageRoot } from '../../src/node-adapter.mjs';
import { cli, cliScript } from '../support/cli.ts';

const test = suite<{ folder: string }>('a killed reproduction');
test.before.each((context) => { context.folder = mkdtempSync(join(tmpdir(), 'diffract-kill-')); });
test.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

const command = [
  'reproduce', '--model', join(packageRoot(), 'models', 'ioi-mini'), '--stages', 'geometry,parametrizations', '--variants', 'vanilla', '--epochs', '60', '--train-prompts', '200', '--prompts', '8',
  '--selection-prompts', '4', '--out',
];

/** All files under a folder, by their paths. */
function filesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name)) : [];
}

/** Starts the command and kills it as soon as its directory looks as asked. Gives the exit code or signal. */
async function killed(out: string, signal: 'SIGKILL' | 'SIGINT', when: (files: string[]) => boolean): Promise<number | string> {
  const child: ChildProcess = spawn(process.execPath, [await cliScript(), ...command, out], { stdio: 'ignore' });
  const end = new Promise<number | string>((resolve) => child.on('exit', (code, by) => resolve(by ?? code!)));
  while (child.exitCode === null && !when(filesIn(out))) await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill(signal);
  return end;
}

/** What a run found, without its times. */
function results(out: string): string {
  const { environment: { times: _times, ...environment }, ...rest } = JSON.parse(readFileSync(join(out, 'reproduction.json'), 'utf8')) as { environment: Record<string, unknown> };
  return JSON.stringify({ ...rest, environment });
}

test('killed in stages and in the sweep, it repeats nothing that was finished and ends with the same numbers', async ({ folder }) => {
  const [whole, cut] = [join(folder, 'whole'), join(folder, 'cut')];
  assert.is(await killed(cut, 'SIGKILL', (files) => files.length === 0 && existsSync(cut)), 'SIGKILL');
  const { code, stderr } = await cli([...command, whole]);
  assert.is(code, 0, stderr);
  // The first stage takes long and is the same: the killed run starts behind it.
  cpSync(join(whole, 'stages'), join(cut, 'stages'), { recursive: true, filter: (path) => !/(saes|geometry|parametrizations)-/.test(path), preserveTimestamps: true });
  const first = filesIn(join(cut, 'stages'))[0]!;
  const before = statSync(first).ino;
  const moments: [name: string, when: (files: string[]) => boolean][] = [
    ['as the sweep begins', (files) => files.some((file) => file.includes('/saes/'))],
    ['at its first dictionary', (files) => files.some((file) => file.endsWith('sae_weights.safetensors'))],
    ['at its end', (files) => files.some((file) => /stages\/saes-[0-9a-f]+\.json$/.test(file))],
  ];
  for (const [name, when] of moments) assert.is(await killed(cut, 'SIGKILL', when), 'SIGKILL', name);
  const stopped = await killed(cut, 'SIGINT', (files) => files.some((file) => /stages\/geometry-/.test(file)));
  assert.ok(stopped === 130 || stopped === 0, `${stopped}`);
  const saes = filesIn(cut).filter((file) => file.endsWith('sae_weights.safetensors')).map((file) => [file, statSync(file).mtimeMs]);
  const last = await cli([...command, cut]);
  assert.is(last.code, 0, last.stderr);
  assert.is(results(cut), results(whole));
  // Nothing that was finished was made again.
  assert.is(statSync(first).ino, before);
  assert.equal(filesIn(cut).filter((file) => file.endsWith('sae_weights.safetensors')).map((file) => [file, statSync(file).mtimeMs]), saes);
  const made = (out: string): string[] => filesIn(out).map((file) => file.slice(out.length)).sort();
  assert.equal(made(cut), made(whole), 'nothing half-written is left');
});

test.run();
