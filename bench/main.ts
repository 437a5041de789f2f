/** `npm run bench`: measures the device's ceilings, then each kernel against them. See bench/README.md. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Command, CommanderError } from 'commander';
import { openDevice, tuningOption } from '../src/cli/device.ts';
import { list, reportError, wholeNumber, written } from '../src/cli/terminal.ts';
import { UsageError } from '../src/errors.ts';
import { assertWritable, writeFileAtomic } from '../src/files/node-write.ts';
import type { Gpu } from '../src/gpu/index.ts';
import { packageRoot } from '../src/node-adapter.mjs';
import { allCases, setMiniFolder, type Case } from './cases/index.ts';
import { chooseCases } from './choose.ts';
import { compareResults, comparisonText, readBench } from './compare.ts';
import { HISTORY, keep, newest } from './history.ts';
import type { OpenedPeers } from './peers/peer.ts';
import { adapterName, benchText, type BenchResult } from './results.ts';
import { runBench, type BenchOptions } from './run.ts';
import { ceilingsLine, markdownTable, milliseconds, rowName, textTable } from './table.ts';

declare const DIFFRACT_VERSION: string;

export interface Flags {
  full?: boolean; samples: number; peers?: string[] | true; json?: string; html?: string; compare?: string; markdown?: boolean; list?: boolean;
  browser?: boolean; updateReadme?: boolean; history: boolean; tune?: string | true; tuning?: string;
}

const program = new Command('bench')
  .description('Times the kernels, the model and training on this machine\'s WebGPU adapter. Every result is checked before it is timed.')
  .argument('[names...]', 'groups (kernels, model, training), or words that a kernel or shape contains')
  .option('--full', 'also the long ones, and more samples of each')
  .option('--samples <n>', 'timed samples of each; the median counts', wholeNumber(1), 5)
  .option('--peers [names]', 'beside other WebGPU engines, all that are installed or these (comma-separated)', list)
  .option('--json <file>', 'write the result as JSON')
  .option('--html <file>', 'write a page with charts')
  .option('--compare <file>', 'say what changed since an earlier result; "last": the newest in the history')
  .option('--markdown', 'print the table as Markdown')
  .option('--list', 'print the names and exit')
  .option('--browser', 'in headless Chromium instead of Node')
  .option('--update-readme', 'write the tables into bench/README.md and README.md')
  .option('--no-history', `do not keep the result in ${HISTORY}/`)
  .option('--tune [file]', 'search the constants of kernels on this adapter, in under two minutes, and write what beats the defaults (default: tuning.json)')
  .addOption(tuningOption())
  .exitOverride();

/** Everything that can be wrong with a command line is found out before any work is done. */
async function bench(names: string[], flags: Flags): Promise<number> {
  if (flags.browser && (flags.tune || flags.tuning)) throw new UsageError('--tune and --tuning are for Node: leave --browser out');
  if (flags.tune) return (await import('./tune-node.ts')).tuneToFile(flags.tune === true ? 'tuning.json' : flags.tune, stopOnSignal());
  const cases = chooseCases(allCases(), names, flags.full || flags.list || false);
  if (flags.list) {
    for (const item of cases) process.stdout.write(`${item.group}  ${item.kernel}${item.variant ? ` (${item.variant})` : ''}: ${item.shape}${item.long ? '  (--full)' : ''}\n`);
    return 0;
  }
  const old = flags.compare && flags.compare !== 'last' ? readBench(await readFile(flags.compare, 'utf8').catch(() => { throw new UsageError(`${flags.compare}: cannot be read`); }), flags.compare) : null;
  for (const file of [flags.json, flags.html]) if (file) await assertWritable(dirname(file));
  const result = flags.browser ? await benchThere(names, flags) : await benchHere(cases, names, flags);

  process.stdout.write(`${flags.markdown ? markdownTable(result) : textTable(result)}\n`);
  process.stdout.write(`${result.rows.length} rows in ${Math.round(result.seconds)} s${result.interrupted ? ', interrupted' : ''}\n`);
  if (flags.json) await writeFileAtomic(flags.json, benchText(result));
  if (flags.html) await writeFileAtomic(flags.html, await (await import('./html.ts')).benchPage(result));
  // Before this result is kept: it would be the newest itself.
  if (flags.compare) {
    const found = old ? { path: flags.compare, result: old } : await newest((r) => r.adapter.description === result.adapter.description && r.where.name === result.where.name).catch(noEarlier);
    if (found) process.stdout.write(`${comparisonText(compareResults(found.result, result), found.path)}\n`);
  }
  if (flags.history && result.rows.length > 0) await keep(result);
  if (flags.updateReadme) await (await import('./readme.ts')).updateReadmes(result, packageRoot());
  return exitCode(result);
}

function noEarlier(error: unknown): null {
  process.stderr.write(`${(error as Error).message}\n`);
  return null;
}

function exitCode({ rows, interrupted }: BenchResult): number {
  const wrong = rows.filter((row) => row.wrong).length;
  if (wrong) process.stderr.write(`error: ${wrong} of ${rows.length} results are wrong\n`);
  return wrong ? 1 : interrupted ? 130 : 0;
}

async function benchHere(cases: readonly Case[], names: string[], flags: Flags): Promise<BenchResult> {
  const gpu = await openDevice(flags.tuning);
  setMiniFolder(join(packageRoot(), 'models', 'ioi-mini'));
  const { peers, missing } = flags.peers ? await loadPeers(gpu, flags.peers === true ? undefined : flags.peers) : { peers: [], missing: [] };
  const signal = stopOnSignal();
  const clear = process.stderr.isTTY ? '\r\x1b[K' : '';
  const options: BenchOptions = {
    cases, names, samples: flags.samples, full: flags.full ?? false, version: DIFFRACT_VERSION, peers, missingPeers: missing, signal,
    where: { kind: 'node', name: 'Node', version: process.versions.node, platform: `${process.platform}-${process.arch}` },
    onCeilings: (ceilings, adapter) => process.stdout.write(`${adapterName(adapter)}\nceilings: ${ceilingsLine(ceilings)}\n\n`),
    // Where nobody watches, a line for each row, so that a long run can be followed.
    onRow: (row) => { if (!clear) process.stderr.write(`${rowName(row)}: ${row.ms === null ? row.wrong ?? row.skipped : milliseconds(row.ms)}\n`); },
    onStep: (at, total, what) => { if (clear) process.stderr.write(`${clear}${at + 1} of ${total}: ${what}`.slice(0, (process.stderr.columns ?? 100) + 2)); },
  };
  const result = await runBench(gpu, options);
  process.stderr.write(clear);
  for (const peer of peers) await Promise.resolve(peer.dispose()).catch(() => {});
  return result;
}

/** In headless Chromium: the page chooses by the same names. */
async function benchThere(names: string[], flags: Flags): Promise<BenchResult> {
  const { benchInBrowser } = await import('./browser.ts');
  if (flags.peers && !existsSync(join(packageRoot(), 'dist', 'bench-page', 'peers.js'))) {
    const { installPeers } = await import('./install.mjs');
    await installPeers();
    throw new UsageError('--browser --peers: the other engines were not there when the page was built; now they are: run npm run bench again');
  }
  const clear = process.stderr.isTTY ? '\r\x1b[K' : '';
  const stop = stopOnSignal();
  const result = await benchInBrowser({
    folder: join(packageRoot(), 'dist', 'bench-page'), names, full: flags.full ?? false, samples: flags.samples, peers: flags.peers ?? false, signal: stop,
    onProgress: (text) => { if (clear) process.stderr.write(`${clear}${text}`.slice(0, (process.stderr.columns ?? 100) + 2)); },
  });
  process.stderr.write(clear);
  process.stdout.write(`${adapterName(result.adapter)} in ${result.where.name} ${result.where.version}\nceilings: ${ceilingsLine(result.ceilings)}\n\n`);
  return result;
}

/** Ends a run with what it has at the first Ctrl-C. */
function stopOnSignal(): AbortSignal {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort());
  return stop.signal;
}

/** The peers are packages of their own, which need not be installed. */
async function loadPeers(gpu: Gpu, names?: string[]): Promise<OpenedPeers> {
  // Built beside this file, and named at run time, so that a page's bundle does not take them along.
  const built = new URL('./bench-peers.js', import.meta.url).href;
  const { openPeers } = (await import(built)) as { openPeers(gpu: unknown, names?: string[]): Promise<OpenedPeers> };
  return openPeers(gpu, names);
}

try {
  await program.parseAsync();
  process.exitCode = await bench(program.args, program.opts<Flags>());
} catch (error) {
  process.exitCode = error instanceof CommanderError ? (error.exitCode === 0 ? 0 : 2) : reportError(error);
}
await written();
process.exit(process.exitCode);
