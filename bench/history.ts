/** Results of earlier runs: one file each, in a folder that is not under version control. */
import { mkdir, readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { UsageError } from '../src/errors.ts';
import { writeFileAtomic } from '../src/files/node-write.ts';
import { readBench } from './compare.ts';
import { benchText, type BenchResult } from './results.ts';

export const HISTORY = 'bench-history';

/** Keeps a result; returns its path. */
export async function keep(result: BenchResult, folder = HISTORY): Promise<string> {
  await mkdir(folder, { recursive: true });
  const words = `${result.where.name} ${result.adapter.description || result.adapter.vendor}`.toLowerCase().replace(/[^a-z0-9]+/g, '-').slice(0, 40).replace(/^-|-$/g, '');
  const path = join(folder, `${result.date.replace(/[:.]/g, '-')}-${words}.json`);
  await writeFileAtomic(path, benchText(result));
  return path;
}

/** The newest kept result that `fits`. Throws UsageError where there is none. */
export async function newest(fits: (result: BenchResult) => boolean, folder = HISTORY): Promise<{ path: string; result: BenchResult }> {
  const names = (await readdir(folder).catch(() => [] as string[])).filter((name) => name.endsWith('.json')).sort().reverse();
  for (const name of names) {
    const path = join(folder, name);
    try {
      const result = readBench(await readFile(path, 'utf8'), path);
      if (fits(result)) return { path, result };
    } catch (error) {
      // A file of another version of the benchmark is no reason to stop.
      if (!(error instanceof UsageError)) throw error;
    }
  }
  throw new UsageError(`${folder} holds no earlier result of this adapter here: there is nothing to compare with yet`);
}
