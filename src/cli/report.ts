/** `diffract report`: results.json, or the directory of a training run -> report.html and the table. */
import { readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { ZodError } from 'zod';
import { FileError, UsageError } from '../errors.ts';
import { RESULTS_SCHEMA, parseResults, resultsJsonSchema, type Results } from '../evaluation/results.ts';
import { writeFileAtomic } from '../files/node-write.ts';
import { renderReport, renderTable, renderTraining, renderTrainingTable } from '../report/index.ts';
import { note, printJson } from './terminal.ts';
import { readTrainingRun, runDirectory } from './training-report.ts';

interface Options { out?: string; title?: string; json?: boolean; schema?: boolean }

export function register(program: Command): void {
  program.command('report')
    .description('Draw a results.json, or the curves of a training run, as one self-contained HTML page, and print its table.')
    .argument('[results]', 'results.json of an evaluation, or the directory of a training run')
    .option('--out <file>', 'the page to write (default: report.html beside the results)')
    .option('--title <text>', 'title of the page')
    .option('--schema', 'print the JSON Schema of results.json and exit')
    .option('--json', 'print where the page went as JSON instead of the table')
    .addHelpText('after', '\nExamples:\n  diffract report diffract-demo/results.json --out report.html\n  diffract report saes')
    .action(async (path: string | undefined, options: Options) => {
      if (options.schema) return printJson(resultsJsonSchema());
      if (path === undefined) throw new UsageError('report needs the results.json of an evaluation, or the directory of a training run');
      const directory = runDirectory(path, await stat(path).then((entry) => entry.isDirectory(), () => false));
      if (directory !== null) return reportTraining(directory, options);
      const results = await readResults(path);
      const out = options.out ?? join(dirname(path), 'report.html');
      if (out === path) throw new UsageError(`--out ${out} would overwrite the results`);
      const html = await renderReport(results, { title: options.title });
      await writeFileAtomic(out, html);
      if (options.json) printJson({ report: out, bytes: Buffer.byteLength(html) });
      else process.stdout.write(`${renderTable(results)}\nReport: ${out}\n`);
    });
}

async function reportTraining(directory: string, { out = join(directory, 'report.html'), title, json }: Options): Promise<void> {
  const run = await readTrainingRun(directory);
  if (resolve(out) === resolve(directory, 'metrics.jsonl')) throw new UsageError(`--out ${out} would overwrite the figures`);
  const html = await renderTraining(run, { title });
  await writeFileAtomic(out, html);
  for (const text of run.notes) note(text);
  if (json) printJson({ report: out, bytes: Buffer.byteLength(html) });
  else process.stdout.write(`${renderTrainingTable(run)}\nReport: ${out}\n`);
}

/** Reads and checks a results.json. Throws FileError, in one line: what is wrong with which field. */
export async function readResults(path: string): Promise<Results> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new FileError(code === 'ENOENT' ? `${path} does not exist` : `cannot read ${path}: ${message}`, { cause });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FileError(`${path} is not JSON: ${(cause as Error).message.replaceAll('\n', ' ')}`, { cause });
  }
  try {
    return parseResults(value);
  } catch (cause) {
    if (!(cause instanceof ZodError)) throw cause;
    const schema = (value as { schema?: unknown } | null)?.schema;
    if (schema !== RESULTS_SCHEMA) throw new FileError(`${path} is not ${RESULTS_SCHEMA}: its field "schema" is ${JSON.stringify(schema) ?? 'missing'}`, { cause });
    const { issues } = cause;
    const first = issues[0]!;
    const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : '';
    throw new FileError(`${path} does not fit ${RESULTS_SCHEMA}: ${first.path.join('.') || 'the whole'}: ${first.message}${more}`, { cause });
  }
}
