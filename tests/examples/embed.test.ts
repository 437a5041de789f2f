/** The library in a page, as its example embeds it: a script of type module and a Web Worker in a real browser, and a bundler that finds the package by its name. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type BuildOptions } from 'esbuild';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { serveFolder } from '../../src/cli/static-server.ts';
import { directorySource } from '../../src/files/node-directory.ts';
import { Gpt2, nextTokens } from '../../src/model/index.ts';
import { packageRoot } from '../../src/node-adapter.mjs';
import { launchBrowser } from '../support/browser.ts';
import { testGpu } from '../support/gpu.ts';
import { textOf, waitForText } from '../support/web.ts';

const test = suite('embedding');
const root = packageRoot();
/** A model may lack it; browsers write down that the server does not have it. */
const OPTIONAL = /tokenizer_config\.json$/;
/** A copy of what the package brings, built afresh, so that a stale dist/ is never what is tested. */
const folder = mkdtempSync(join(tmpdir(), 'diffract-embed-'));

test.before(async () => {
  const at = (file: string) => import(pathToFileURL(join(root, file)).href);
  const { shared } = (await at('build.mjs')) as { shared: BuildOptions };
  const library = (await at('build-library.mjs')) as { browserSettings(shared: BuildOptions, version: string, outdir: string): BuildOptions; writeTypes(outdir: string): void };
  await build(library.browserSettings(shared, 'test', join(folder, 'dist', 'browser')));
  library.writeTypes(join(folder, 'dist', 'types'));
  mkdirSync(join(folder, 'node_modules'));
  for (const path of ['package.json', 'examples', 'models/ioi-mini']) cpSync(join(root, path), join(folder, path), { recursive: true });
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

test('the example shows predictions and an edit, in a page and from a worker, as Node computes them', async () => {
  const profile = mkdtempSync(join(tmpdir(), 'diffract-profile-'));
  const browser = await launchBrowser(profile, { webgpu: true });
  if (!browser) return;
  const server = await serveFolder(folder);
  try {
    const gpu = await testGpu();
    const model = await Gpt2.load(gpu, directorySource('models/ioi-mini'));
    const run = model.run([model.tokenizer!.encode('Mary and Adam went to the store. Adam gave a drink to')]);
    const expected = nextTokens(model, await run.logits!.read(), 3)[0]!;
    run.dispose();
    model.dispose();
    for (const query of ['', '?worker']) {
      const page = await browser.newPage();
      const faults: string[] = [];
      page.on('pageerror', (error) => faults.push(String(error)));
      page.on('console', (message) => { if (message.type() === 'error' && !OPTIONAL.test(message.location().url ?? '')) faults.push(`${message.text()} ${message.location().url ?? ''}`); });
      await page.goto(`${server.url}examples/embed.html${query}`);
      await waitForText(page, '#adapter', /^(?!loading)./);
      const shown = await textOf(page, '#adapter');
      assert.match(shown, /computed on ./, `${shown}; ${faults.join('; ')}`);
      const [clean, edited] = await Promise.all(['#clean', '#edited'].map(async (id) => (await textOf(page, id)).split('\n').map((line) => /^\s*(\S+) ([\d.]+) %$/.exec(line)!.slice(1) as [string, string])));
      assert.is(clean![0]![0], 'Mary');
      assert.equal(clean!.map(([token]) => token), expected.map(({ token }) => token!.trim()));
      clean!.forEach(([, share], i) => assert.ok(Math.abs(Number(share) - 100 * expected[i]!.probability) < 0.15, `${share} ${expected[i]!.probability}`));
      // With the other giver patched in, the model no longer knows whom to name.
      assert.ok(Number(edited!.find(([token]) => token === 'Mary')?.[1] ?? 0) < Number(clean![0]![1]) - 10, JSON.stringify(edited));
      assert.ok(edited!.some(([token]) => token === 'Adam'));
      assert.equal(faults, []);
      await page.close();
    }
  } finally {
    await browser.close();
    server.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
});

test('errors keep their names in minified code', async () => {
  const module = (await import(pathToFileURL(join(folder, 'dist', 'browser', 'diffract.js')).href)) as Record<string, new (message: string) => Error>;
  const errors = Object.keys(module).filter((name) => name.endsWith('Error'));
  assert.ok(errors.includes('AdapterError') && errors.includes('DeviceLostError') && errors.length > 12, errors.join(' '));
  for (const name of [...errors, 'Unreachable']) assert.is(new module[name]!('x').name, name);
});

/** A project of somebody else's that has the package and what it depends on installed. */
function consumer(name: string, files: Record<string, string>): string {
  const project = join(folder, name);
  mkdirSync(join(project, 'node_modules'), { recursive: true });
  symlinkSync(folder, join(project, 'node_modules', 'diffract'), 'dir');
  for (const [file, text] of Object.entries(files)) writeFileSync(join(project, file), text);
  return project;
}

test('a bundler finds the browser module by the package\'s name, and nothing of Node comes in', async () => {
  const project = consumer('bundled', { 'main.js': "import { Gpt2, openGpu } from 'diffract';\nimport { f1Score } from 'diffract/evaluation';\nconsole.log(Gpt2, openGpu, f1Score);\n" });
  const { metafile } = await build({ entryPoints: [join(project, 'main.js')], bundle: true, format: 'esm', platform: 'browser', splitting: true, outdir: join(project, 'out'), metafile: true, logLevel: 'silent' });
  const inputs = Object.keys(metafile.inputs);
  assert.ok(inputs.some((file) => file.endsWith('dist/browser/diffract.js')) && inputs.some((file) => file.endsWith('dist/browser/evaluation.js')), inputs.join(' '));
  assert.ok(inputs.every((file) => file.endsWith('main.js') || file.includes('dist/browser/')));
});

test('a project of somebody else\'s type-checks against the declarations', () => {
  const project = consumer('typed', {
    'package.json': '{ "type": "module" }',
    'tsconfig.json': JSON.stringify({ compilerOptions: { target: 'ES2022', module: 'ESNext', moduleResolution: 'bundler', lib: ['ES2023', 'DOM', 'DOM.Iterable', 'ESNext.Disposable'], types: [], strict: true, noEmit: true, skipLibCheck: true }, include: ['*.ts'] }),
    'good.ts': `import { openGpu, Gpt2, nextTokens, openSource, type NextToken, type Tensor } from 'diffract';
import { evaluate, ioiEvaluation, type Results } from 'diffract/evaluation';
import { trainSaes } from 'diffract/training';
import { renderReport } from 'diffract/report';
const gpu = await openGpu({ portable: true });
const model: Gpt2 = await Gpt2.load(gpu, openSource('https://example.org/model'));
const logits: Tensor | undefined = model.run([[1, 2]]).logits;
export const next: NextToken[][] = nextTokens(model, await logits!.read() as Float32Array, 3);
export const make = async (results: Results): Promise<string> => renderReport(results);
export const [a, b, c] = [evaluate, ioiEvaluation, trainSaes];
`,
    'node.ts': "import { directorySource, openGpu, evaluate } from 'diffract/node';\nexport const [d, o, e] = [directorySource('x').name.length, openGpu({ dawn: ['backend=vulkan'] }), evaluate];\n",
    // What the declarations say is really checked: each of these lines must be refused.
    'bad.ts': `import { openGpu, Gpt2 } from 'diffract';
// @ts-expect-error: no such option
await openGpu({ portabel: true });
// @ts-expect-error: a device is needed
await Gpt2.load('models/ioi-mini', 'models/ioi-mini');
// @ts-expect-error: not in this module
import { evaluate } from 'diffract';
export { evaluate };
`,
  });
  for (const name of ['zod', 'webgpu', '@webgpu']) symlinkSync(join(root, 'node_modules', name), join(folder, 'node_modules', name), 'dir');
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  try {
    execFileSync(process.execPath, [tsc, '-p', project], { encoding: 'utf8', stdio: 'pipe' });
  } catch (error) {
    assert.unreachable((error as { stdout: string }).stdout);
  }
  assert.match(readFileSync(join(folder, 'dist', 'types', 'index.d.ts'), 'utf8'), /from '\.\/model\/index\.js'/);
});

test.run();
