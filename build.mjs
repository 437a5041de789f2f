// Bundles the library, the command line and the benchmark into dist/. Plain Node; esbuild does the work.
//   dist/index.js  browser-neutral library, and training.js … report.js      dist/node.js  all of it and what Node adds
//   dist/browser/  the same modules for browsers, minified, with all they need      dist/types/  declarations
//   dist/cli.js    the command line             dist/bench.js the benchmark
//   dist/bench-page/  the benchmark as a page, with the model that it runs
// With --web, instead: dist/web/, the page for any static server. With --sizes, instead: what the browser's modules weigh, into bench/README.md.
import { build } from 'esbuild';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PAGE_FILES } from './bench/install.mjs';
import { browserSettings, leanMatrix, PARTS, shortKernels, sizes, sizeTable, writeTypes } from './build-library.mjs';

export const root = dirname(fileURLToPath(import.meta.url));

/** esbuild settings that every bundle of this project shares; packages stay outside, kernels come in as text. */
export const shared = {
  absWorkingDir: root,
  bundle: true,
  format: 'esm',
  target: 'es2022',
  splitting: true,
  jsx: 'automatic',
  jsxImportSource: 'preact',
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

/** The page with all it needs, into a folder that any static server can serve, below any path. */
export async function buildWeb(outdir, version) {
  const file = (...path) => join(root, ...path);
  rmSync(outdir, { recursive: true, force: true });
  const page = {
    ...shared, packages: 'bundle', platform: 'browser', outdir, minify: true, keepNames: true, plugins: [shortKernels],
    alias: { ...shared.alias, ...leanMatrix }, define: { DIFFRACT_VERSION: JSON.stringify(version) },
  };
  await build({ ...page, entryPoints: { main: 'src/web/main.tsx', worker: 'src/web/worker.ts' }, chunkNames: 'chunks/[name]-[hash]' });
  // Other engines, for the benchmark, come along where they are installed.
  if (existsSync(file('bench', PAGE_FILES[0]))) {
    await build({ ...page, outdir: join(outdir, 'peers'), entryPoints: { peers: 'bench/peers/page.ts' } });
    for (const path of PAGE_FILES) cpSync(file('bench', path), join(outdir, 'peers', basename(path)));
  }
  for (const name of ['index.html', 'icon.svg', 'manifest.webmanifest']) cpSync(file('src', 'web', name), join(outdir, name));
  for (const name of readdirSync(file('models'))) cpSync(file('models', name), join(outdir, 'models', name), { recursive: true });
  const models = readdirSync(join(outdir, 'models'), { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  writeFileSync(join(outdir, 'models', 'files.json'), JSON.stringify(models.map((entry) => relative(outdir, join(entry.parentPath, entry.name)).replaceAll('\\', '/')).sort()));
  // What the page needs without a network: all but sources, and the other engines, which the benchmark fetches when it is asked for them.
  const kept = readdirSync(outdir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name)).filter((path) => !path.endsWith('.map') && !path.startsWith(join(outdir, 'peers'))).sort();
  const digest = createHash('sha256');
  for (const path of kept) digest.update(readFileSync(path));
  const names = kept.map((path) => relative(outdir, path).replaceAll('\\', '/'));
  await build({
    ...page, splitting: false, entryPoints: { 'service-worker': 'src/web/service-worker.ts' },
    define: { PAGE_FILES: JSON.stringify(['./', ...names]), PAGE_DIGEST: JSON.stringify(digest.digest('hex').slice(0, 16)) },
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  if (process.argv.includes('--web')) {
    await buildWeb(join(root, 'dist', 'web'), version);
    process.exit();
  }
  const library = browserSettings(shared, version, join(root, 'dist', 'browser'));
  if (process.argv.includes('--sizes')) {
    const table = sizeTable(await sizes(library));
    const readme = join(root, 'bench', 'README.md');
    writeFileSync(readme, readFileSync(readme, 'utf8').replace(/(<!-- sizes: begin -->\n)[^]*(<!-- sizes: end -->)/, (_, begin, end) => `${begin}${table}\n${end}`));
    console.log(table);
    process.exit();
  }
  for (const name of existsSync(join(root, 'dist')) ? readdirSync(join(root, 'dist')) : []) if (name !== 'web') rmSync(join(root, 'dist', name), { recursive: true });
  const parts = Object.fromEntries(PARTS.map((name) => [name, `src/${name}/index.ts`]));
  const entries = { index: 'src/index.ts', ...parts, node: 'src/node.ts', cli: 'src/cli/main.ts', bench: 'bench/main.ts', 'bench-peers': 'bench/peers/index.ts' };
  await build({
    ...shared,
    entryPoints: Object.fromEntries(Object.entries(entries).filter(([, file]) => existsSync(join(root, file)))),
    outdir: 'dist',
    platform: 'node',
    chunkNames: 'chunks/[name]-[hash]',
    define: { DIFFRACT_VERSION: JSON.stringify(version) },
  });
  await buildPage(join(root, 'dist', 'bench-page'), version);
  await build(library);
  writeTypes(join(root, 'dist', 'types'));
}
