// Bundles the library, the command line and the benchmark into dist/. Plain Node; esbuild does the work.
//   dist/index.js  browser-neutral library      dist/node.js  the same and what Node adds
//   dist/cli.js    the command line             dist/bench.js the benchmark
//   dist/bench-page/  the benchmark as a page, with the model that it runs
import { build } from 'esbuild';
import { cpSync, existsSync, readFileSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PAGE_FILES } from './bench/install.mjs';

export const root = dirname(fileURLToPath(import.meta.url));

/** esbuild settings that every bundle of this project shares; packages stay outside, kernels come in as text. */
export const shared = {
  absWorkingDir: root,
  bundle: true,
  format: 'esm',
  target: 'es2022',
  splitting: true,
  sourcemap: true,
  packages: 'external',
  // The hub's client has a build for browsers that its exports do not lead to. It needs nothing of Node and serves there as well; only what is used of it comes in.
  alias: { '@huggingface/hub': join(root, 'node_modules', '@huggingface', 'hub', 'dist', 'browser', 'index.mjs') },
  loader: { '.wgsl': 'text' },
  logLevel: 'warning',
};

/** The benchmark's page with all it needs, into a folder that any static server can serve. */
export async function buildPage(outdir, version) {
  const file = (...path) => join(root, ...path);
  // Other engines come along where they are installed; without them the page says so.
  const peers = existsSync(file('bench', PAGE_FILES[0])) ? { peers: 'bench/peers/page.ts' } : {};
  await build({
    ...shared, packages: 'bundle', platform: 'browser', outdir,
    entryPoints: { page: 'bench/page.ts', ...peers },
    define: { DIFFRACT_VERSION: JSON.stringify(version) },
  });
  if (peers.peers) for (const path of PAGE_FILES) cpSync(file('bench', path), join(outdir, basename(path)));
  cpSync(file('bench', 'page.html'), join(outdir, 'index.html'));
  cpSync(file('models', 'ioi-mini'), join(outdir, 'models', 'ioi-mini'), { recursive: true });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  rmSync(join(root, 'dist'), { recursive: true, force: true });
  const entries = { index: 'src/index.ts', node: 'src/node.ts', cli: 'src/cli/main.ts', bench: 'bench/main.ts', 'bench-peers': 'bench/peers/index.ts' };
  await build({
    ...shared,
    entryPoints: Object.fromEntries(Object.entries(entries).filter(([, file]) => existsSync(join(root, file)))),
    outdir: 'dist',
    platform: 'node',
    chunkNames: 'chunks/[name]-[hash]',
    define: { DIFFRACT_VERSION: JSON.stringify(version) },
  });
  await buildPage(join(root, 'dist', 'bench-page'), version);
}
