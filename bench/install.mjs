// Installs the other engines that the benchmark compares with, into bench/node_modules, where they are not there as bench/package-lock.json
// says. Plain Node, so that it runs before anything is built: `node bench/install.mjs`, or through `npm run bench -- --peers` and the tests.
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packageRoot } from '../src/node-adapter.mjs';

/** What a page with the peers needs beside `peers.js`, from the folder bench/. */
export const PAGE_FILES = ['mjs', 'wasm'].map((ending) => `node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.asyncify.${ending}`);

/** Whether each package that the lock file names is installed in its version. */
export function peersInstalled(folder = join(packageRoot(), 'bench')) {
  const { packages } = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8'));
  return Object.entries(packages).every(([path, { version, optional }]) => {
    if (!path) return true;
    const file = join(folder, path, 'package.json');
    return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).version === version : Boolean(optional);
  });
}

/** Installs what is missing; throws an Error that names the command and npm's last words. */
export async function installPeers() {
  const folder = join(packageRoot(), 'bench');
  if (peersInstalled(folder)) return;
  process.stderr.write('installing the other engines into bench/node_modules (about 510 MB, once) … ');
  const started = performance.now();
  // No scripts: everything that is used is in the packages themselves.
  const npm = spawn('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], shell: process.platform === 'win32' });
  let said = '';
  for (const stream of [npm.stdout, npm.stderr]) stream.on('data', (chunk) => { said = (said + chunk).slice(-2000); });
  const code = await new Promise((resolve) => {
    npm.on('error', (error) => { said = error.message; resolve(-1); });
    npm.on('close', resolve);
  });
  if (code !== 0 || !peersInstalled(folder)) {
    process.stderr.write('failed\n');
    throw new Error(`the other engines could not be installed (npm ci in ${folder}): ${said.trim().split('\n').slice(-3).join(' ')}`);
  }
  process.stderr.write(`done in ${Math.round((performance.now() - started) / 1000)} s\n`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await installPeers();
