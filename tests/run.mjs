// Bundles test files and runs them with uvu, all in one process on one device.
//   node tests/run.mjs                         every tests/**/*.test.ts, and --portable
//   node tests/run.mjs tests/tensor/a.test.ts  only these (files or folders)
//   node tests/run.mjs --on-another-driver     without those that a second driver would only repeat (ONCE)
//   node tests/run.mjs --portable              models and evaluations (PORTABLE), or the files given, on a device with no more than every browser gives:
//                                              no optional feature, default limits (OpenOptions.portable)
// Ends with the line `N passed, N failed`; exits 1 if a test failed or none ran.
import { build } from 'esbuild';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join, relative, resolve, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { root, shared } from '../build.mjs';

process.env.XDG_RUNTIME_DIR ??= '/tmp';

/**
 * What does not depend on which driver computes: start-up and flags of commands, files and formats, reports, pages (a browser brings its own driver),
 * how stages of a reproduction follow each other. Run on one driver; on a second one only what computes on the device in this process is.
 */
const ONCE = [
  'bench/page.test.ts', 'bench/peers.test.ts', 'bundle.test.ts', 'cli', 'examples', 'files', 'parity', 'readme.test.ts', 'report', 'reproduction', 'setup', 'training/cli.test.ts', 'web',
].map((path) => join(root, 'tests', path));
const isOnce = (file) => ONCE.some((path) => file === path || file.startsWith(path + sep));

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

/** What has to work on a device without optional features and with default limits, and is run on such a one too. */
const PORTABLE = ['tests/model', 'tests/evaluation'];

const wanted = process.argv.slice(2).filter((a) => !a.startsWith('--'));
const [again, portable] = ['--on-another-driver', '--portable'].map((flag) => process.argv.includes(flag));
const files = (wanted.length ? wanted.map((p) => resolve(p)) : [join(root, 'tests')]).flatMap(testFiles).filter((file) => !again || !isOnce(file));
const portably = wanted.length ? files : PORTABLE.map((path) => join(root, path)).flatMap(testFiles);
const passes = [
  ...(portable ? [] : [{ name: '', files }]),
  ...(portable || !(wanted.length || again) ? [{ name: 'portable', files: portably }] : []),
];
// Inside the project, so that bare imports resolve; one folder a run, so that two runs never meet.
const out = mkdtempSync(join(root, '.test-build-'));
process.on('exit', () => rmSync(out, { recursive: true, force: true }));

for (const pass of passes) {
  // A pass of its own has modules of its own, and with them a device.
  await build({
    ...shared,
    entryPoints: pass.files,
    outdir: join(out, pass.name),
    outbase: root,
    platform: 'node',
    external: ['uvu', 'uvu/assert'],
    define: { DIFFRACT_VERSION: '"test"' },
  });
}

// uvu's registry: one slot a file, run in order; its exec prints the summary and sets the exit code.
globalThis.UVU_DEFER = 1;
const { exec } = await import('uvu');
const queue = globalThis.UVU_QUEUE;
queue.length = 0;
for (const { name, file } of passes.flatMap((pass) => pass.files.map((file) => ({ name: pass.name, file })))) {
  globalThis.UVU_INDEX = queue.length;
  queue.push([`${relative(root, file)}${name && ` (${name})`}`]);
  const suites = queue.at(-1);
  // Where tests open their device (tests/support/gpu.ts), which some do as they are loaded.
  const settle = () => { process.env.DIFFRACT_TEST_PORTABLE = name === 'portable' ? '1' : ''; };
  settle();
  await import(pathToFileURL(join(out, name, relative(root, file)).replace(/\.ts$/, '.js')).href);
  timed(suites);
  suites.splice(1, 0, async () => { settle(); return [true, 0, 0, 0]; });
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
