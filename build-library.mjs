// The library as others take it: modules for browsers in dist/browser/, declarations in dist/types/, and what the modules weigh.
import { build } from 'esbuild';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const root = dirname(fileURLToPath(import.meta.url));

/** Modules of the package besides `diffract` itself, as package.json exports them. */
export const PARTS = ['training', 'evaluation', 'phenomena', 'reproduction', 'report'];
export const BROWSER_ENTRIES = { diffract: 'src/index.ts', ...Object.fromEntries(PARTS.map((name) => [name, `src/${name}/index.ts`])) };

/** Lines whose form the engine reads (src/gpu/kernel.ts): constants, bindings and the head of the parameters stay as they are. */
const KEPT = /^(const |@group|struct )/;

/** A kernel without what only people read: comments, blank lines, indents, and blanks beside brackets and separators. */
export function shortKernel(text) {
  return text.replace(/\/\/.*$/gm, '').split('\n').map((line) => line.trim()).filter(Boolean)
    .map((line) => (KEPT.test(line) ? line : line.replace(/\s*([,;:(){}[\]])\s*/g, '$1'))).join('\n') + '\n';
}

/** Brings kernels in short. The first line keeps the beginning of the whole file's SHA-256, by which tuning files know kernels (kernelHash). */
export const shortKernels = {
  name: 'short kernels',
  setup({ onLoad }) {
    onLoad({ filter: /\.wgsl$/ }, ({ path }) => {
      const text = readFileSync(path, 'utf8');
      return { contents: `//#${createHash('sha256').update(text).digest('hex').slice(0, 16)}\n${shortKernel(text)}`, loader: 'text' };
    });
  },
};

/** The sources of ml-matrix: the file that its exports lead to wraps CommonJS, of which nothing can be left out. */
export const leanMatrix = { 'ml-matrix': join(root, 'node_modules', 'ml-matrix', 'src', 'index.js') };

/** esbuild settings of the browser's modules, from those that all bundles share. */
export function browserSettings(shared, version, outdir) {
  return {
    ...shared, packages: 'bundle', platform: 'browser', outdir, entryPoints: BROWSER_ENTRIES, chunkNames: 'chunks/[name]-[hash]', plugins: [shortKernels],
    minify: true, keepNames: false, sourcemap: 'linked', sourcesContent: false,
    alias: { ...shared.alias, ...leanMatrix },
    define: { DIFFRACT_VERSION: JSON.stringify(version) },
  };
}

/** Declarations of everything that the package exports, named as a consumer's compiler looks for them. Types are checked elsewhere (`npm run check`). */
export function writeTypes(outdir) {
  execFileSync(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', join(root, 'tsconfig.types.json'), '--outDir', outdir], { stdio: 'inherit' });
  for (const entry of readdirSync(outdir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, text.replace(/((?:from|import) ?\(?\s*['"]\.[^'"]*)\.ts(['"])/g, '$1.js$2'));
  }
}

/** For each entry, bytes minified and gzipped of all that importing it loads, and of what that adds to `diffract`; then what is loaded only on demand. */
export async function sizes(settings) {
  const { outputFiles, metafile } = await build({ ...settings, write: false, metafile: true, sourcemap: false, logLevel: 'silent' });
  const bytes = new Map(Object.keys(metafile.outputs).map((name) => {
    const { contents } = outputFiles.find(({ path }) => path.endsWith(name.slice(name.lastIndexOf('/'))));
    return [name, { plain: contents.length, gzip: gzipSync(contents, { level: 9 }).length }];
  }));
  const outputOf = (input) => Object.keys(metafile.outputs).find((name) => metafile.outputs[name].entryPoint === input);
  const closure = (name, seen = new Set()) => {
    if (seen.has(name)) return seen;
    seen.add(name);
    for (const { path, kind } of metafile.outputs[name].imports) if (kind === 'import-statement') closure(path, seen);
    return seen;
  };
  const sum = (names) => [...names].reduce((total, name) => ({ plain: total.plain + bytes.get(name).plain, gzip: total.gzip + bytes.get(name).gzip }), { plain: 0, gzip: 0 });
  const main = closure(outputOf(BROWSER_ENTRIES.diffract));
  const entries = Object.entries(BROWSER_ENTRIES).map(([name, input]) => {
    const own = closure(outputOf(input));
    return { name, all: sum(own), added: sum([...own].filter((file) => !main.has(file))) };
  });
  const atOnce = new Set(Object.values(BROWSER_ENTRIES).flatMap((input) => [...closure(outputOf(input))]));
  return { entries, later: sum([...bytes.keys()].filter((name) => !atOnce.has(name))), inputs: Object.keys(metafile.inputs), atImport: [...main].flatMap((name) => Object.keys(metafile.outputs[name].inputs)) };
}

/** What `sizes` found, as the table of bench/README.md. */
export function sizeTable({ entries, later }) {
  const kB = (bytes) => (bytes / 1000).toFixed(0);
  return [
    '| module | minified, kB | gzip, kB | beyond `diffract`, gzip kB |', '|---|--:|--:|--:|',
    ...entries.map(({ name, all, added }) => `| \`${name === 'diffract' ? name : `diffract/${name}`}\` | ${kB(all.plain)} | ${kB(all.gzip)} | ${name === 'diffract' ? '' : kB(added.gzip)} |`),
    `| loaded when first needed: charts, parquet, the hub's client, layouts of SAEs, … | ${kB(later.plain)} | ${kB(later.gzip)} | |`,
  ].join('\n');
}
