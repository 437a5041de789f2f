/**
 * Installs Mesa's software Vulkan driver (lavapipe) with apt on Debian and Ubuntu, from the release's backports where the release's
 * own Mesa is too old. Every failure is an Error whose message is one line; nothing half done is left behind.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { OLDEST_MESA } from '../node-adapter.mjs';

const PACKAGES = ['mesa-vulkan-drivers', 'libvulkan1'];
const SOURCES = '/etc/apt/sources.list.d';
const OUR_SOURCE = join(SOURCES, 'diffract-backports');
const PATIENCE = ['-o', 'DPkg::Lock::Timeout=30', '-o', 'Acquire::http::Timeout=20', '-o', 'Acquire::https::Timeout=20', '-o', 'Acquire::Retries=1'];

/** Fields of an os-release file. */
export function parseOsRelease(text) {
  return Object.fromEntries([...text.matchAll(/^(\w+)="?([^"\n]*)"?$/gm)].map(([, key, value]) => [key, value]));
}

/** Why lavapipe cannot be installed here by apt, in a few words; null where it can. */
export function whyNoApt() {
  if (process.platform !== 'linux') return 'not Linux';
  if (process.getuid?.() !== 0) return 'not root';
  if (!existsSync('/usr/bin/apt-get') || !existsSync('/etc/os-release')) return 'no apt here';
  const release = parseOsRelease(readFileSync('/etc/os-release', 'utf8'));
  if (!/\b(debian|ubuntu)\b/.test(`${release.ID} ${release.ID_LIKE ?? ''}`) || !release.VERSION_CODENAME) return 'neither Debian nor Ubuntu';
  return null;
}

/**
 * A source entry for the backports of `codename`, made from the machine's own entry for that release, so that it names the same host
 * and key. `files` are { name, text } of the machine's source files. Returns { extension, text }; null if there is no entry
 * to copy, or if the backports are listed already.
 */
export function backportsSource(files, codename) {
  const suite = `${codename}-backports`;
  let found = null;
  for (const { name, text } of files) {
    if (name.endsWith('.sources')) {
      for (const stanza of text.split(/\n\s*\n/)) {
        const lines = stanza.split('\n').filter((line) => line.trim() && !line.startsWith('#'));
        const at = lines.findIndex((line) => /^suites:/i.test(line));
        const suites = at < 0 ? [] : lines[at].slice(7).trim().split(/\s+/);
        if (lines.some((line) => /^enabled:\s*no/i.test(line))) continue;
        if (suites.includes(suite)) return null;
        if (!found && suites.includes(codename)) found = { extension: '.sources', text: lines.with(at, `Suites: ${suite}`).join('\n') + '\n' };
      }
    } else if (name.endsWith('.list')) {
      for (const line of text.split('\n')) {
        const [, head, release, components] = /^(deb\s+(?:\[[^\]]*\]\s+)?\S+)\s+(\S+)\s+(.+)$/.exec(line.trim()) ?? [];
        if (release === suite) return null;
        if (!found && release === codename) found = { extension: '.list', text: `${head} ${suite} ${components}\n` };
      }
    }
  }
  return found;
}

/** Major numbers of the versions that `apt-cache madison` lists, e.g. `pkg | 1:25.0.7-2~bpo12+1 | …` gives 25. */
export function majorVersions(madison) {
  return madison.split('\n').map((line) => /\|\s*(?:\d+:)?(\d+)\./.exec(line)?.[1]).filter(Boolean).map(Number);
}

function apt(command, args, seconds) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8', timeout: seconds * 1000, stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' },
  });
  if (status === 0) return stdout + stderr;
  const said = `${stderr ?? ''}`.split('\n').filter((line) => /^E:/.test(line));
  const why = error?.code === 'ETIMEDOUT' ? `no end after ${seconds} s` : (said[0] ?? error?.message ?? `exit ${status}`).replace(/^E:\s*/, '');
  throw new Error(`${command} ${args.find((a) => !a.startsWith('-') && !a.includes('::'))}: ${why}`.slice(0, 200));
}

/** Fetches the package lists. apt calls it a success when it fetched none, so the answer is whether it fetched all. */
const update = () => !/^(W|E|Err):?/m.test(apt('apt-get', [...PATIENCE, '-q', 'update'], 240));
const newest = () => Math.max(0, ...majorVersions(apt('apt-cache', ['madison', PACKAGES[0]], 60)));
const candidate = () => Number(/Candidate:\s*(?:\d+:)?(\d+)\./.exec(apt('apt-cache', ['policy', PACKAGES[0]], 60))?.[1] ?? 0);

const tooOld = (codename, complete) => complete
  ? `neither ${codename} nor its backports have Mesa ${OLDEST_MESA} or newer`
  : 'the package lists could not be fetched (is there a network?)';

/** Installs lavapipe. Throws an Error that says in one line what stood in the way. */
export function installLavapipe() {
  const codename = parseOsRelease(readFileSync('/etc/os-release', 'utf8')).VERSION_CODENAME;
  let complete = update();
  let written = null;
  try {
    if (newest() < OLDEST_MESA) {
      const files = [['/etc/apt', 'sources.list'], ...(existsSync(SOURCES) ? readdirSync(SOURCES).map((n) => [SOURCES, n]) : [])]
        .filter(([dir, name]) => /\.(list|sources)$/.test(name) && statSync(join(dir, name), { throwIfNoEntry: false })?.isFile())
        .map(([dir, name]) => ({ name, text: readFileSync(join(dir, name), 'utf8') }));
      const source = backportsSource(files, codename);
      if (!source) throw new Error(tooOld(codename, complete));
      written = OUR_SOURCE + source.extension;
      writeFileSync(written, source.text);
      complete = update();
      if (newest() < OLDEST_MESA) throw new Error(tooOld(codename, complete));
    }
    const from = candidate() >= OLDEST_MESA ? [] : ['-t', `${codename}-backports`];
    apt('apt-get', [...PATIENCE, '-q', 'install', '-y', '--no-install-recommends', ...from, ...PACKAGES], 600);
  } catch (error) {
    if (written) rmSync(written, { force: true });
    throw error;
  }
}
