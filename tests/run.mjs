// Bundles test files and runs them with uvu, all in one process on one device.
//   node tests/run.mjs                         every tests/**/*.test.ts
//   node tests/run.mjs tests/tensor/a.test.ts  only these (files or folders)
// Ends with the line `N passed, N failed`; exits 1 if a test failed or none ran.
import { build } from 'esbuild';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root, shared } from '../build.mjs';

process.env.XDG_RUNTIME_DIR ??= '/tmp';

function testFiles(path) {
  if (statSync(path).isFile()) return [path];
  return readdirSync(path).sort().flatMap((name) => {
    const inner = join(path, name);
    if (statSync(inner).isDirectory()) return name === 'fixtures' ? [] : testFiles(inner);
    return name.endsWith('.test.ts') ? [inner] : [];
  });
}

/** Has a file's suites followed by a line with the seconds they took, where that is long. */
function timed(suites) {
  let start = 0;
  suites.splice(1, 0, async () => { start = performance.now(); return [true, 0, 0, 0]; });
  suites.push(async () => {
    const seconds = (performance.now() - start) / 1000;
    if (seconds >= 5) process.stdout.write(` ${seconds.toFixed(0)} s\n`);
    return [true, 0, 0, 0];
  });
}

const wanted = process.argv.slice(2).filter((a) => !a.startsWith('--'));
const files = (wanted.length ? wanted.map((p) => resolve(p)) : [join(root, 'tests')]).flatMap(testFiles);
// Inside the project, so that bare imports resolve; one folder a run, so that two runs never meet.
const out = mkdtempSync(join(root, '.test-build-'));
process.on('exit', () => rmSync(out, { recursive: true, force: true }));

await build({
  ...shared,
  entryPoints: files,
  outdir: out,
  outbase: root,
  platform: 'node',
  external: ['uvu', 'uvu/assert'],
  define: { DIFFRACT_VERSION: '"test"' },
});

// uvu's registry: one slot a file, run in order; its exec prints the summary and sets the exit code.
globalThis.UVU_DEFER = 1;
const { exec } = await import('uvu');
globalThis.UVU_QUEUE.length = 0;
for (const [index, file] of files.entries()) {
  globalThis.UVU_INDEX = index;
  globalThis.UVU_QUEUE.push([relative(root, file)]);
  await import(pathToFileURL(join(out, relative(root, file)).replace(/\.ts$/, '.js')).href);
  timed(globalThis.UVU_QUEUE[index]);
}
let printed = '';
const write = process.stdout.write.bind(process.stdout);
process.stdout.write = (chunk, ...rest) => { printed += chunk; return write(chunk, ...rest); };
await exec();
const plain = printed.replace(/\x1b\[[0-9;]*m/g, '');
const count = (label) => Number(plain.match(new RegExp(`${label}:\\s+(\\d+)`))?.[1] ?? 0);
const [total, passed] = [count('Total'), count('Passed')];
console.log(`${passed} passed, ${total - passed} failed`);
process.exit(total > 0 && passed === total && !process.exitCode ? 0 : 1);
