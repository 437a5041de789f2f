/** `npm run bench`: measures the device's ceilings, then each kernel against them. See bench/README.md. */
import { dirname } from 'node:path';
import { Command, CommanderError } from 'commander';
import { reportError, wholeNumber } from '../src/cli/terminal.ts';
import { measureCeilings } from '../src/gpu/ceilings.ts';
import { openGpu } from '../src/node.ts';
import { assertWritable, writeFileAtomic } from '../src/files/node-write.ts';
import { matmulCases } from './matmul-cases.ts';
import { measure, type Row } from './measure.ts';
import { pathCases } from './path-cases.ts';
import { rowCases } from './row-cases.ts';
import { markdownTable, textTable } from './table.ts';

interface Flags { full?: boolean; samples: number; json?: string; markdown?: boolean; list?: boolean }

async function bench(names: string[], flags: Flags): Promise<number> {
  const wanted = [...matmulCases(), ...rowCases(), ...pathCases()].filter((item) => {
    const text = `${item.kernel} ${item.shape}`.toLowerCase();
    return (flags.full || !item.long || names.length > 0) && (names.length === 0 || names.some((name) => text.includes(name.toLowerCase())));
  });
  if (wanted.length === 0) {
    process.stderr.write(`error: no benchmark is called ${names.map((n) => `"${n}"`).join(' or ')}; --list names them all\n`);
    return 2;
  }
  if (flags.list) {
    for (const item of wanted) process.stdout.write(`${item.kernel}: ${item.shape}${item.long ? ' (--full)' : ''}\n`);
    return 0;
  }
  if (flags.json) await assertWritable(dirname(flags.json));
  const gpu = await openGpu();
  const ceilings = await measureCeilings(gpu);
  const adapter = gpu.info.description || `${gpu.info.vendor} ${gpu.info.architecture}`;
  process.stdout.write(`${adapter}\nceilings: copy ${ceilings.copyGBps.toFixed(1)} GB/s, multiply-add ${ceilings.gflops.toFixed(1)} GFLOP/s (by ${ceilings.source})\n\n`);
  const rows: Row[] = [];
  for (const [at, item] of wanted.entries()) {
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${at + 1} of ${wanted.length}: ${item.kernel} ${item.shape}`);
    rows.push(await measure(gpu, item, ceilings, flags.samples));
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  process.stdout.write(`${flags.markdown ? markdownTable(rows) : textTable(rows)}\n`);
  if (flags.json) await writeFileAtomic(flags.json, `${JSON.stringify({ adapter: gpu.info, ceilings, rows }, null, 1)}\n`);
  const wrong = rows.filter((row) => row.ms === null).length;
  if (wrong) process.stderr.write(`error: ${wrong} of ${rows.length} results are wrong\n`);
  return wrong ? 1 : 0;
}

const program = new Command('bench')
  .description('Times the kernels on this machine\'s WebGPU adapter. Every result is checked before it is timed.')
  .argument('[names...]', 'only benchmarks whose kernel or shape contains one of these words')
  .option('--full', 'also the long ones')
  .option('--samples <n>', 'timed samples of each; the median counts', wholeNumber(1), 5)
  .option('--json <file>', 'write the rows as JSON')
  .option('--markdown', 'print the table as Markdown')
  .option('--list', 'print the names and exit')
  .exitOverride();

try {
  await program.parseAsync();
  process.exitCode = await bench(program.args, program.opts<Flags>());
} catch (error) {
  process.exitCode = error instanceof CommanderError ? (error.exitCode === 0 ? 0 : 2) : reportError(error);
}
process.exit(process.exitCode);
