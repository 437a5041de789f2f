/** The library's modules for browsers: nothing of Node in them, small enough, and kernels that are shorter but the same. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { BuildOptions } from 'esbuild';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { defineKernel, kernelHash, type Kernel } from '../src/gpu/index.ts';
import { packageRoot } from '../src/node-adapter.mjs';

interface Weight { plain: number; gzip: number }
interface Sizes { entries: { name: string; all: Weight; added: Weight }[]; later: Weight; inputs: string[]; atImport: string[] }
interface Library {
  browserSettings(shared: BuildOptions, version: string, outdir: string): BuildOptions;
  sizes(settings: BuildOptions): Promise<Sizes>;
  sizeTable(sizes: Sizes): string;
  shortKernel(text: string): string;
  shortKernels: { setup(build: { onLoad(filter: { filter: RegExp }, load: (file: { path: string }) => { contents: string }): void }): void };
}

const test = suite('bundle');
const root = packageRoot();
const load = async <T>(file: string): Promise<T> => (await import(pathToFileURL(join(root, file)).href)) as T;

/** Bytes that importing `diffract` may load, compressed. */
const LIMIT = 150_000;

test('what importing diffract loads is small, and nothing of Node or of what is rarely used is in it', async () => {
  const { shared } = await load<{ shared: BuildOptions }>('build.mjs');
  const library = await load<Library>('build-library.mjs');
  const found = await library.sizes(library.browserSettings(shared, 'test', join(root, 'never-written')));
  const { all } = found.entries.find(({ name }) => name === 'diffract')!;
  assert.ok(all.gzip < LIMIT, `${all.gzip} bytes, at most ${LIMIT}`);
  // It is the whole engine that was weighed.
  for (const part of ['src/gpu/gpu.ts', 'src/model/gpt2.ts', 'src/dictionary/sae.ts', 'kernels/matmul-tiled.wgsl']) assert.ok(found.atImport.includes(part), part);
  assert.equal(found.inputs.filter((file) => /src\/(cli|node\.ts|node-|files\/node)/.test(file)), []);
  assert.equal(found.atImport.filter((file) => /node_modules\/(zod|ml-matrix|vega|hyparquet|@huggingface\/hub)/.test(file)), []);
  // What is loaded later is there all the same.
  for (const part of ['zod', 'vega', 'hyparquet', '@huggingface/hub']) assert.ok(found.inputs.some((file) => file.includes(`node_modules/${part}/`)), part);
  assert.ok(found.later.gzip > 100_000);
  const table = library.sizeTable(found);
  assert.match(table, new RegExp(`\\| \`diffract\` \\| ${Math.round(all.plain / 1000)} \\| ${Math.round(all.gzip / 1000)} \\|`));
  assert.is(table.split('\n').length, 2 + found.entries.length + 1);
});

/** A kernel's tokens: words, brackets and separators one by one, and operators in runs as they stand between blanks. */
const tokens = (text: string): string[] => text.replace(/\/\/.*$/gm, '').match(/\w+|[,;:(){}[\]]|[^\w\s,;:(){}[\]]+/g)!;

test('kernels for browsers are shorter, have the same tokens and interface, and tuning files know them by the same hash', async () => {
  const { shortKernel, shortKernels } = await load<Library>('build-library.mjs');
  let asLoaded = (_: { path: string }): { contents: string } => assert.unreachable() as never;
  shortKernels.setup({ onLoad: ({ filter }, own) => { assert.ok(filter.test('a.wgsl')); asLoaded = own; } });
  const names = readdirSync(join(root, 'kernels')).filter((name) => name.endsWith('.wgsl'));
  assert.ok(names.length > 50);
  const face = ({ access, params, constants }: Kernel) => ({ access, params, constants: [...constants] });
  let [before, after] = [0, 0];
  for (const name of names) {
    const path = join(root, 'kernels', name);
    const text = readFileSync(path, 'utf8');
    const short = asLoaded({ path }).contents;
    assert.equal(tokens(short), tokens(text), name);
    assert.is(short.split('\n').slice(1).join('\n'), shortKernel(text));
    const [long, brief] = [defineKernel(name, text), defineKernel(name, short)];
    assert.equal(face(brief), face(long), name);
    assert.is(await kernelHash(brief), await kernelHash(long), name);
    before += text.length;
    after += short.length;
  }
  assert.ok(after < 0.75 * before, `${after} of ${before}`);
});

test('what is shortened keeps operators apart and constants as they are', async () => {
  const { shortKernel } = await load<Library>('build-library.mjs');
  assert.is(shortKernel('// a\nconst A: u32 = 4u; // b\n\nfn f( x : f32 ) -> f32 {\n  return a [ 1 ] - -x / 2.0; // c\n}\n'), 'const A: u32 = 4u;\nfn f(x:f32)-> f32{\nreturn a[1]- -x / 2.0;\n}\n');
});

test.run();
