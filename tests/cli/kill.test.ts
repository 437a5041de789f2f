/** A reproduction whose process is killed, again and again: started once more it goes on, and ends with the numbers of one that was left alone. */
import { spawn, type ChildProcess } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { encodeSafetensors } from '../../src/files/index.ts';
import { cli, cliScript } from '../support/cli.ts';
import { fixtureParts, IOI_MINI } from '../support/models.ts';

const test = suite<{ folder: string }>('a killed reproduction');
test.before.each((context) => { context.folder = mkdtempSync(join(tmpdir(), 'diffract-kill-')); });
test.after.each(({ folder }) => rmSync(folder, { recursive: true, force: true }));

const flags = ['--stages', 'geometry,parametrizations', '--variants', 'vanilla', '--epochs', '24', '--train-prompts', '100', '--prompts', '8', '--selection-prompts', '4'];

/** The first layer of ioi-mini as a model: fewer sites, so that a whole reproduction takes seconds. */
async function firstLayer(folder: string): Promise<string> {
  const model = join(folder, 'model');
  cpSync(IOI_MINI, model, { recursive: true });
  const { config, tensors } = await fixtureParts(IOI_MINI);
  writeFileSync(join(model, 'config.json'), JSON.stringify({ ...config, n_layer: 1 }));
  writeFileSync(join(model, 'model.safetensors'), encodeSafetensors(Object.fromEntries(Object.entries(tensors).filter(([name]) => !/\bh\.[1-9]/.test(name)))));
  return model;
}

/** All files under a folder, by their paths in it. */
function filesIn(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1)).sort();
}

const isTemporary = (path: string): boolean => path.split('/').some((part) => part.startsWith('.'));

/** Starts the command, and once its directory looks as asked, and a while after that, kills it. Gives the exit code or signal. */
async function killed(args: string[], out: string, signal: 'SIGKILL' | 'SIGINT', when: (files: string[]) => boolean, after = 0): Promise<number | string> {
  const child: ChildProcess = spawn(process.execPath, [await cliScript(), ...args, out], { stdio: 'ignore' });
  const end = new Promise<number | string>((resolve) => child.on('exit', (code, by) => resolve(by ?? code!)));
  const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));
  // Directories may go while they are listed.
  const files = (): string[] => { try { return filesIn(out); } catch { return []; } };
  while (child.exitCode === null && !when(files())) await pause(5);
  await pause(after);
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
  const command = ['reproduce', '--model', await firstLayer(folder), ...flags, '--out'];
  const { code, stderr } = await cli([...command, whole]);
  assert.is(code, 0, stderr);

  /** Finished stages as they were first seen. */
  const finished = new Map<string, string>();
  const stamp = (path: string): string => { const { ino, mtimeMs } = statSync(join(cut, path)); return `${ino} ${mtimeMs}`; };
  /** Whatever has its name is complete: dictionaries have the bytes of the run that was left alone. */
  const inspect = (moment: string): void => {
    for (const path of filesIn(cut).filter((file) => !isTemporary(file))) {
      const bytes = readFileSync(join(cut, path));
      if (path.endsWith('.json')) JSON.parse(bytes.toString());
      if (/(dictionaries|snapshots)\//.test(path)) assert.ok(bytes.equals(readFileSync(join(whole, path))), `${path}, killed ${moment}`);
      if (path.startsWith('stages/') && !finished.has(path)) finished.set(path, stamp(path));
    }
  };
  const some = (pattern: RegExp) => (files: string[]): boolean => files.some((file) => !isTemporary(file) && pattern.test(file));
  const log = (): number => Math.max(0, ...filesIn(cut).filter((file) => file.endsWith('metrics.jsonl')).map((file) => statSync(join(cut, file)).size));

  assert.is(await killed(command, cut, 'SIGKILL', () => existsSync(cut)), 'SIGKILL');
  assert.is(await killed(command, cut, 'SIGKILL', some(/^stages\/sections-/)), 'SIGKILL');
  inspect('after the first stage');
  assert.is(finished.size, 1);
  // Ctrl-C in the sweep leaves a checkpoint; killed behind it, the sweep goes back to it.
  assert.is(await killed(command, cut, 'SIGINT', some(/metrics\.jsonl$/)), 130);
  inspect('by Ctrl-C');
  assert.ok(some(/checkpoint\.safetensors$/)(filesIn(cut)), 'Ctrl-C left no checkpoint');
  const logged = log();
  assert.is(await killed(command, cut, 'SIGKILL', () => log() > logged + 5000), 'SIGKILL');
  inspect('behind a checkpoint');
  assert.is(await killed(command, cut, 'SIGKILL', some(/\/dictionaries\/.*sae_weights\.safetensors$/)), 'SIGKILL');
  inspect('among the dictionaries');
  assert.is(finished.size, 1, 'the sweep was not over yet');
  // At any moment behind the sweep, its end among them.
  assert.ok(['SIGKILL', 0].includes(await killed(command, cut, 'SIGKILL', some(/^stages\/saes-/), 600 * Math.random())));
  inspect('behind the sweep');
  assert.ok(finished.size >= 2);
  const made = filesIn(cut).filter((file) => /\/dictionaries\//.test(file)).map((file) => [file, stamp(file)]);

  const last = await cli([...command, cut]);
  assert.is(last.code, 0, last.stderr);
  assert.is(results(cut), results(whole));
  assert.equal([...finished.keys()].map((path) => [path, stamp(path)]), [...finished], 'a finished stage was run again');
  assert.equal(filesIn(cut).filter((file) => /\/dictionaries\//.test(file)).map((file) => [file, stamp(file)]), made, 'dictionaries were made again');
  assert.equal(filesIn(cut), filesIn(whole), 'something half-written is left');
});

test.run();
