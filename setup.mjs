// Makes a fresh clone ready: npm packages, the build, and a WebGPU adapter. Plain Node, no dependencies; run first by
// `npm run demo`, `npm test` and `npm run bench`. What is there already is left alone: a second run touches no network.
//
//   node setup.mjs           all of it; one line on stderr says which adapter will be used
//   DIFFRACT_ADAPTER=…       auto (default), lavapipe or swiftshader: see src/node-adapter.mjs
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installLavapipe, whyNoApt } from './src/node-setup/mesa.mjs';
import { installPackages, packagesAreStale } from './src/node-setup/packages.mjs';
import { adapterChoice, cacheFolder, createInstance, isSoftware } from './src/node-adapter.mjs';

const root = dirname(fileURLToPath(import.meta.url));
const say = (text) => console.error(text);

/** Stops with one line and exit code 2. */
function stop(text) {
  say(`error: ${text}`);
  process.exit(2);
}

/** Every file that goes into the build, with its size and time of change. */
function sources() {
  const seen = [];
  const walk = (path) => {
    const info = statSync(join(root, path), { throwIfNoEntry: false });
    if (!info) return;
    if (info.isDirectory()) for (const name of readdirSync(join(root, path)).sort()) { if (name !== 'node_modules') walk(join(path, name)); }
    else seen.push(`${path} ${info.size} ${info.mtimeMs}`);
  };
  // The benchmark's page takes the other engines along where they are installed.
  seen.push(`other engines ${existsSync(join(root, 'bench', 'node_modules'))}`);
  for (const path of ['build.mjs', 'build-library.mjs', 'package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.types.json', 'src', 'kernels', 'bench']) walk(path);
  return seen.join('\n');
}

function buildBundles() {
  const stamp = join(root, 'dist', '.built-from');
  const now = sources();
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === now) return;
  const done = spawnSync(process.execPath, [join(root, 'build.mjs')], { cwd: root, encoding: 'utf8' });
  if (done.status !== 0) stop(`the build failed: ${`${done.stderr || done.stdout}`.split(/\n\/.*esbuild/)[0].trim()}`);
  writeFileSync(stamp, now);
}

/** The adapter that a fresh process gets, or null; in a child, because a driver that crashes must not take set-up with it. */
function probe() {
  const child = spawnSync(process.execPath, [fileURLToPath(import.meta.url), '--probe'], { encoding: 'utf8', timeout: 60_000 });
  try {
    return JSON.parse(child.stdout.trim().split('\n').at(-1));
  } catch {
    return { info: null, error: child.signal ? `the driver ended with ${child.signal}` : child.stderr.trim().split('\n').at(-1) };
  }
}

async function answerProbe() {
  let answer;
  try {
    const { create } = await import('webgpu');
    const gpu = await createInstance(create);
    const info = (await gpu.requestAdapter({ powerPreference: 'high-performance' }))?.info;
    const { vendor, architecture, device, description, isFallbackAdapter } = info ?? {};
    answer = { info: info ? { vendor, architecture, device, description, isFallbackAdapter } : null };
  } catch (error) {
    answer = { info: null, error: error.message };
  }
  console.log(JSON.stringify(answer));
  process.exit(0);
}

const isSwiftshader = (info) => /swiftshader/i.test(info.description);

/** Finds an adapter, installing lavapipe where that is possible and wanted. */
function findAdapter() {
  const choice = adapterChoice();
  let { info, error } = probe();
  const wanting = choice === 'lavapipe' ? !info : choice === 'auto' && process.platform === 'linux' && (!info || isSwiftshader(info));
  const ownDrivers = choice === 'auto' && (process.env.VK_DRIVER_FILES || process.env.VK_ICD_FILENAMES);
  const refused = join(cacheFolder(), 'apt-failed');
  if (wanting && !ownDrivers && (choice === 'lavapipe' || !existsSync(refused))) {
    const why = whyNoApt();
    if (why === null) {
      try {
        say('installing Mesa\'s software Vulkan driver (lavapipe) with apt…');
        installLavapipe();
      } catch (failure) {
        say(`lavapipe could not be installed, going on without it: ${failure.message}`);
        // Asked once: the next run is to touch no network. DIFFRACT_ADAPTER=lavapipe asks again.
        writeFileSync(refused, `${failure.message}\n`);
      }
      ({ info, error } = probe());
    } else if (choice === 'lavapipe') {
      error = `${error}; set-up cannot install it: ${why}`;
    }
  }
  return { info, error };
}

async function main() {
  try {
    adapterChoice();
  } catch (error) {
    stop(error.message);
  }
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) stop(`Node ${process.versions.node} is too old: 20.19 or newer is needed`);
  if (packagesAreStale(root)) {
    say('installing npm packages…');
    try {
      installPackages(root);
    } catch (error) {
      stop(error.message);
    }
  }
  buildBundles();
  const { info, error } = findAdapter();
  if (!info) stop(`no WebGPU adapter: ${error ?? 'no driver was found'}. Install a GPU's Vulkan driver or, on Debian and Ubuntu, the packages mesa-vulkan-drivers and libvulkan1`);
  const name = info.description || info.device || info.vendor;
  say(`adapter: ${name}${isSoftware(info) ? ' (a software driver on the CPU: slow, expect minutes where a GPU takes seconds)' : ''}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await (process.argv.includes('--probe') ? answerProbe() : main());
