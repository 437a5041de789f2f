/** `bench --tune FILE` in Node: progress on stderr, the findings on stdout, the file written whole; Ctrl-C keeps what was found so far. */
import { dirname } from 'node:path';
import { assertWritable, writeFileAtomic } from '../src/files/node-write.ts';
import { openGpu } from '../src/node.ts';
import { adapterName } from './results.ts';
import { milliseconds } from './table.ts';
import { nameOf, tune, type TuneRow } from './tune.ts';
import { matmulCases } from './tune-cases.ts';

/** Leaves room for opening the device and for a run that takes longer than the ones before it: two minutes are promised. */
const SECONDS = 100;

/** Returns the exit code: 0, 1 if a candidate computed something wrong, 130 after an interruption. */
export async function tuneToFile(path: string, signal: AbortSignal, seconds = SECONDS): Promise<number> {
  await assertWritable(dirname(path));
  const gpu = await openGpu();
  process.stdout.write(`${adapterName({ ...gpu.info, software: gpu.software })}\n`);
  const clear = process.stderr.isTTY ? '\r\x1b[K' : '';
  const result = await tune(gpu, {
    cases: matmulCases(gpu), seconds, signal,
    onStep: (at, total, what) => { if (clear) process.stderr.write(`${clear}${at + 1} of ${total}: ${what}`.slice(0, (process.stderr.columns ?? 100) + 2)); },
    onRow: (row) => process.stderr.write(`${clear}${rowText(row)}\n`),
  });
  process.stderr.write(clear);
  await writeFileAtomic(path, `${JSON.stringify(result.file, null, 1)}\n`);
  const changed = result.rows.filter((row) => row.choice).length;
  const kept = result.rows.filter((row) => !row.choice && !row.skipped).length;
  process.stdout.write(`${changed} classes of shapes tuned, ${kept} best as they are, ${result.rows.length - changed - kept} left out, in ${Math.round(result.seconds)} s${result.interrupted ? ', interrupted' : ''}: ${path}\n`);
  const wrong = result.rows.flatMap((row) => row.wrong.map((text) => `${row.operation} ${row.shape}: ${text}`));
  for (const text of wrong) process.stderr.write(`error: ${text}\n`);
  return wrong.length > 0 ? 1 : result.interrupted ? 130 : 0;
}

function rowText({ operation, shape, candidates, choice, ms, defaultMs, skipped }: TuneRow): string {
  const what = skipped ? `left out: ${skipped}`
    : choice ? `${nameOf(choice)}: ${milliseconds(ms)} instead of ${milliseconds(defaultMs)} (${(defaultMs / ms).toFixed(2)}×)` : `as it is, of ${candidates + 1}`;
  return `${operation} ${shape}: ${what}`;
}
