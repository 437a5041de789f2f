/**
 * Which Vulkan driver Dawn uses on Linux, decided in the running process before Dawn looks for one. Plain JavaScript, so that
 * `setup.mjs` can use it before anything is built.
 *
 * DIFFRACT_ADAPTER=auto         what the machine has, a real GPU first; without any, or with a Mesa that is too old, SwiftShader
 *                 =lavapipe     Mesa's software driver, even where there is a GPU
 *                 =swiftshader  the software driver inside the npm package @sparticuz/chromium
 *
 * No child process is needed: the loader reads VK_DRIVER_FILES when Dawn creates an instance, and where the machine has no
 * loader, the one beside SwiftShader is loaded first and kept, so that Dawn's own dlopen by name finds it.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants, homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliDecompressSync } from 'node:zlib';

export const CHOICES = ['auto', 'lavapipe', 'swiftshader'];
/** Dawn needs what Mesa's software driver has had since this release. */
export const OLDEST_MESA = 24;
const SWIFTSHADER_FILES = ['libvk_swiftshader.so', 'libvulkan.so.1', 'vk_swiftshader_icd.json'];
const DRIVER_FOLDERS = ['/etc/vulkan/icd.d', '/usr/local/share/vulkan/icd.d', '/usr/share/vulkan/icd.d'];
/** Whatever else the loader searches for manifests of drivers. */
const moreDriverFolders = () => [
  process.env.XDG_CONFIG_HOME || join(homedir(), '.config'), process.env.XDG_DATA_HOME || join(homedir(), '.local', 'share'),
  ...(process.env.XDG_CONFIG_DIRS || '/etc/xdg').split(':'), ...(process.env.XDG_DATA_DIRS || '').split(':').filter(Boolean),
].map((folder) => join(folder, 'vulkan', 'icd.d'));
// Where containers get NVIDIA's driver mounted; loaders do not look there by themselves.
const EXTRA_DRIVERS = ['/usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json'];
const RTLD_NODELETE = 0x1000;

/** The project's or the installed package's folder. */
export function packageRoot() {
  for (let dir = dirname(fileURLToPath(import.meta.url)); ; dir = dirname(dir)) {
    try {
      if (JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8')).name === 'diffract') return dir;
    } catch { /* no package.json here: look above */ }
    if (dir === dirname(dir)) throw new Error('the folder of the package diffract was not found');
  }
}

/** What DIFFRACT_ADAPTER asks for. Throws an Error that names the choices for anything else. */
export function adapterChoice() {
  const choice = process.env.DIFFRACT_ADAPTER || 'auto';
  if (!CHOICES.includes(choice)) throw new Error(`DIFFRACT_ADAPTER is "${choice}": use ${CHOICES.join(', ')}`);
  return choice;
}

/** Folder for what set-up unpacks and remembers; it goes when node_modules goes. */
export function cacheFolder() {
  const modules = join(packageRoot(), 'node_modules');
  const ours = join(modules, '.cache', 'diffract');
  try {
    if (!existsSync(modules)) throw new Error('installed as a dependency');
    mkdirSync(ours, { recursive: true });
    return ours;
  } catch {
    const users = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'diffract');
    mkdirSync(users, { recursive: true });
    return users;
  }
}

/** The files of an uncompressed tar archive whose names are in `wanted`. */
export function readTar(archive, wanted) {
  const text = (at, length) => archive.toString('latin1', at, at + length).replace(/\0.*$/s, '').trim();
  const files = new Map();
  for (let at = 0; at + 512 <= archive.length && archive[at] !== 0; ) {
    const name = text(at, 100).replace(/^\.\//, '');
    const size = parseInt(text(at + 124, 12), 8);
    if (!Number.isInteger(size) || at + 512 + size > archive.length) throw new Error(`broken archive at byte ${at}`);
    if (wanted.includes(name)) files.set(name, archive.subarray(at + 512, at + 512 + size));
    at += 512 + Math.ceil(size / 512) * 512;
  }
  return files;
}

/** Folder with SwiftShader's driver, loader and manifest, unpacked at the first call; null where the npm package is missing. */
export function swiftshaderFolder() {
  if (process.platform !== 'linux' || process.arch !== 'x64') return null;
  let dir;
  try {
    dir = dirname(createRequire(join(packageRoot(), 'package.json')).resolve('@sparticuz/chromium'));
  } catch {
    return null;
  }
  while (!existsSync(join(dir, 'bin', 'swiftshader.tar.br'))) {
    if (dir === dirname(dir)) return null;
    dir = dirname(dir);
  }
  const { version } = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8'));
  const target = join(cacheFolder(), `swiftshader-${version}`);
  if (existsSync(target)) return target;
  const files = readTar(brotliDecompressSync(readFileSync(join(dir, 'bin', 'swiftshader.tar.br'))), SWIFTSHADER_FILES);
  for (const name of SWIFTSHADER_FILES) if (!files.has(name)) throw new Error(`@sparticuz/chromium ${version} has no ${name}`);
  // Complete or absent: another process may be doing the same.
  const part = mkdtempSync(`${target}.`);
  for (const [name, bytes] of files) writeFileSync(join(part, name), bytes, { mode: 0o755 });
  try {
    renameSync(part, target);
  } catch (error) {
    rmSync(part, { recursive: true, force: true });
    if (!existsSync(target)) throw error;
  }
  return target;
}

/** Paths of the manifests of Mesa's lavapipe on this machine. */
export function lavapipeManifests(folders = DRIVER_FOLDERS) {
  return folders.filter((f) => existsSync(f)).flatMap((f) => readdirSync(f).filter((n) => /^lvp_icd.*\.json$/.test(n)).sort().map((n) => join(f, n)));
}

/** Whether the loader would find any driver at all; asking it without one makes it complain on stderr. */
function hasDrivers() {
  return [...DRIVER_FOLDERS, ...moreDriverFolders()].some((f) => existsSync(f) && readdirSync(f).some((name) => name.endsWith('.json')));
}

function hasLoader(file, flags = 0) {
  try {
    process.dlopen({ exports: {} }, file, constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL | flags);
  } catch (error) {
    // A shared library that is no Node addon: it was found, and loaded.
    return /did not self-register/.test(error.message);
  }
  return true;
}

function ensureLoader() {
  if (hasLoader('libvulkan.so.1')) return true;
  const folder = swiftshaderFolder();
  return folder !== null && hasLoader(join(folder, 'libvulkan.so.1'), RTLD_NODELETE);
}

function useDrivers(manifests) {
  process.env.VK_DRIVER_FILES = manifests.join(':');
  // Loaders before 1.3.207 know only the old name.
  process.env.VK_ICD_FILENAMES = process.env.VK_DRIVER_FILES;
  delete process.env.VK_ADD_DRIVER_FILES;
}

function useSwiftshader() {
  const folder = swiftshaderFolder();
  if (!folder) return false;
  useDrivers([join(folder, 'vk_swiftshader_icd.json')]);
  return ensureLoader();
}

/** True for a software driver, by what an adapter says about itself. */
export function isSoftware(info) {
  const words = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`.toLowerCase();
  return Boolean(info.isFallbackAdapter) || /llvmpipe|lavapipe|swiftshader|software/.test(words);
}

function isTooOld(info) {
  const version = /llvmpipe.*Mesa (\d+)/.exec(info.description)?.[1];
  return version !== undefined && Number(version) < OLDEST_MESA;
}

/**
 * Creates Dawn's instance (`create` of the npm package webgpu) on the driver that DIFFRACT_ADAPTER and the machine settle.
 * An instance without any adapter is returned as it is; asking it for one answers null.
 * Throws an Error for a choice that does not exist or cannot be had.
 */
export async function createInstance(create, flags = []) {
  const choice = adapterChoice();
  // Mesa asks for this folder at every start and warns on stderr without it.
  process.env.XDG_RUNTIME_DIR ||= '/tmp';
  if (process.platform !== 'linux') return create([...flags]);
  if (choice === 'swiftshader') {
    if (!useSwiftshader()) throw new Error('DIFFRACT_ADAPTER=swiftshader, but the npm package @sparticuz/chromium (x64 Linux) is not installed');
    return create([...flags]);
  }
  ensureLoader();
  if (choice === 'lavapipe') {
    const manifests = lavapipeManifests();
    if (!manifests.length) throw new Error('DIFFRACT_ADAPTER=lavapipe, but Mesa\'s lavapipe is not installed (package mesa-vulkan-drivers)');
    useDrivers(manifests);
    return create([...flags]);
  }
  if (process.env.VK_DRIVER_FILES || process.env.VK_ICD_FILENAMES) return create([...flags]);
  const extra = EXTRA_DRIVERS.filter((f) => existsSync(f));
  if (extra.length && !DRIVER_FOLDERS.some((f) => existsSync(join(f, 'nvidia_icd.json')))) process.env.VK_ADD_DRIVER_FILES ||= extra.join(':');
  if (!process.env.VK_ADD_DRIVER_FILES && !hasDrivers() && useSwiftshader()) return create([...flags]);
  const own = create([...flags]);
  const adapter = await own.requestAdapter({ powerPreference: 'high-performance' });
  if (adapter && !isTooOld(adapter.info)) return own;
  return useSwiftshader() ? create([...flags]) : own;
}
