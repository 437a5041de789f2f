/** npm packages: are those in node_modules the ones that package-lock.json asks for, and if not, `npm ci`. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Packages of package-lock.json that npm's own record in node_modules lacks or has in another version. */
export function stalePackages(lock, installed) {
  return Object.entries(lock.packages)
    // Optional packages are for other platforms, or npm left them out for a reason of its own.
    .filter(([path, entry]) => path && !entry.optional && !entry.link && installed.packages?.[path]?.version !== entry.version)
    .map(([path]) => path);
}

export function packagesAreStale(root) {
  const read = (path) => JSON.parse(readFileSync(join(root, path), 'utf8'));
  const record = 'node_modules/.package-lock.json';
  return !existsSync(join(root, record)) || stalePackages(read('package-lock.json'), read(record)).length > 0;
}

/** Runs `npm ci`. Throws an Error of one line if it fails. */
export function installPackages(root) {
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=error'];
  const options = { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] };
  // Under `npm run`, the same npm; otherwise the one on the path.
  const inner = process.env.npm_execpath;
  const done = inner?.endsWith('.js')
    ? spawnSync(process.execPath, [inner, ...args], options)
    : spawnSync('npm', args, { ...options, shell: process.platform === 'win32' });
  if (done.status === 0) return;
  const said = `${done.stderr || done.error?.message || done.stdout}`.trim().split('\n').slice(0, 3).join(' ');
  throw new Error(`npm ci failed (it needs the network once): ${said}`);
}
