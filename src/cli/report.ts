/** `diffract report`: results.json -> report.html and the table. */
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { ZodError } from 'zod';
import { FileError, UsageError } from '../errors.ts';
import { RESULTS_SCHEMA, parseResults, resultsJsonSchema, type Results } from '../evaluation/results.ts';
import { writeFileAtomic } from '../files/node-write.ts';
import { renderReport, renderTable } from '../report/index.ts';
import { printJson } from './terminal.ts';

interface Options { out?: string; title?: string; json?: boolean; schema?: boolean }

export function register(program: Command): void {
  program.command('report')
    .description('Draw a results.json as one self-contained HTML page, and print its table.')
    .argument('[results]', 'results.json of an evaluation')
    .option('--out <file>', 'the page to write (default: report.html beside the results)')
    .option('--title <text>', 'title of the page')
    .option('--schema', 'print the JSON Schema of results.json and exit')
    .option('--json', 'print where the page went as JSON instead of the table')
    .addHelpText('after', '\nExample:\n  diffract report diffract-demo/results.json --out report.html')
    .action(async (path: string | undefined, options: Options) => {
      if (options.schema) return printJson(resultsJsonSchema());
      if (path === undefined) throw new UsageError('report needs the results.json of an evaluation');
      const results = await readResults(path);
      const out = options.out ?? join(dirname(path), 'report.html');
      if (out === path) throw new UsageError(`--out ${out} would overwrite the results`);
      const html = await renderReport(results, { title: options.title });
      await writeFileAtomic(out, html);
      if (options.json) printJson({ report: out, bytes: Buffer.byteLength(html) });
      else process.stdout.write(`${renderTable(results)}\nReport: ${out}\n`);
    });
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
