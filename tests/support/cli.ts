/** The command line as a user runs it: bundled from the sources once a process, each call in a process of its own. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type BuildOptions } from 'esbuild';
import { packageRoot } from '../../src/node-adapter.mjs';

export interface Outcome {
  code: number;
  stdout: string;
  /** What the command itself wrote on stderr: without the lines that Dawn writes at every start. */
  stderr: string;
}

let bundle: Promise<string> | null = null;

async function bundleCli(): Promise<string> {
  const root = packageRoot();
  // Inside the project, so that bare imports resolve.
  const out = mkdtempSync(join(root, '.test-build-cli-'));
  process.on('exit', () => rmSync(out, { recursive: true, force: true }));
  const { shared } = (await import(pathToFileURL(join(root, 'build.mjs')).href)) as { shared: BuildOptions };
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  await build({ ...shared, entryPoints: { cli: 'src/cli/main.ts' }, outdir: out, platform: 'node', define: { DIFFRACT_VERSION: JSON.stringify(version) } });
  return join(out, 'cli.js');
}

/** The bundled command line, for tests that start it themselves. */
export function cliScript(): Promise<string> {
  return (bundle ??= bundleCli());
}

/** Runs `diffract ARGS…` and waits for its end. Variables of `environment` that are undefined are unset. */
export async function cli(args: readonly string[], environment: Record<string, string | undefined> = {}): Promise<Outcome> {
  const script = await cliScript();
  const env = { ...process.env, ...environment };
  return new Promise((resolve) => {
    execFile(process.execPath, [script, ...args], { env, maxBuffer: 64 * 2 ** 20, timeout: 120_000 }, (error, stdout, stderr) => {
      const code = error ? (typeof error.code === 'number' ? error.code : -1) : 0;
      resolve({ code, stdout, stderr: stderr.replace(/^Warning: .*artificially reduced.*\n/gm, '') });
    });
  });
}
