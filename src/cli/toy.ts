/** `diffract toy …`: the paper's toy models, whose truth is known. */
import type { Command } from 'commander';
import { overSplittingToy, overSplittingToyDefaults, type OverSplittingToy } from '../phenomena/index.ts';
import { openDevice, tuningOption } from './device.ts';
import { list, note, printJson, progress, wholeNumber } from './terminal.ts';
import { UsageError } from '../errors.ts';

interface Common { json?: boolean; tuning?: string; seed: number }
interface OverSplitting extends Common { samples: number; seeds: number; features: number; lambdas: string[] }

export function register(program: Command): void {
  const toy = program.command('toy').description('the toy models of feature over-splitting and occlusion');
  toy.exitOverride();
  toy.command('over-splitting')
    .description('x = ±μ + N(0, I): gain over silence of the best two ideal features and of 1,000 random ones, for each λ')
    .option('--samples <n>', 'samples of each seed', wholeNumber(1), overSplittingToyDefaults.samples)
    .option('--seeds <n>', 'seeds; gains are means over them', wholeNumber(1), overSplittingToyDefaults.seeds)
    .option('--seed <n>', 'the first seed', wholeNumber(0), overSplittingToyDefaults.seed)
    .option('--features <n>', 'random features', wholeNumber(1), overSplittingToyDefaults.features)
    .option('--lambdas <list>', 'sparsity weights', list, overSplittingToyDefaults.lambdas.map(String))
    .addOption(tuningOption())
    .option('--json', 'print the result as JSON')
    .addHelpText('after', '\nExamples:\n  diffract toy over-splitting\n  diffract toy over-splitting --json --samples 20000 --seeds 5')
    .exitOverride()
    .action(overSplitting);
}

async function overSplitting(options: OverSplitting): Promise<void> {
  const result = await timed('over-splitting', options.tuning, (gpu, watching) => overSplittingToy(gpu, {
    samples: options.samples, seeds: options.seeds, seed: options.seed, features: options.features, lambdas: numbers('--lambdas', options.lambdas),
  }, watching));
  if (options.json) printJson(result);
  else process.stdout.write(`${overSplittingTable(result)}\n`);
}

/** Runs a study on a device of its own with a progress bar, stopped by Ctrl-C. */
async function timed<T>(title: string, tuning: string | undefined, study: (gpu: Awaited<ReturnType<typeof openDevice>>, watching: { signal: AbortSignal; onProgress: (done: number, total: number) => void }) => Promise<T>): Promise<T> {
  const gpu = await openDevice(tuning);
  const bar = progress(title);
  const stop = new AbortController();
  const onInterrupt = (): void => stop.abort();
  process.once('SIGINT', onInterrupt);
  const start = performance.now();
  try {
    const result = await study(gpu, { signal: stop.signal, onProgress: (done, total) => bar.update(done, total) });
    bar.stop();
    note(`${title}: ${((performance.now() - start) / 1000).toFixed(1)} s`);
    return result;
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    note('stopped');
    process.exit(130);
  } finally {
    bar.stop();
    process.off('SIGINT', onInterrupt);
    gpu.destroy();
  }
}

function numbers(flag: string, texts: readonly string[]): number[] {
  return texts.map((text) => {
    const value = Number(text);
    if (!Number.isFinite(value) || value < 0) throw new UsageError(`${flag}: "${text}" is not a number of at least 0`);
    return value;
  });
}

function overSplittingTable({ rows, seeds, samples, silentLoss, features }: OverSplittingToy): string {
  const lines = rows.map((row) => [
    row.lambda.toFixed(2).padStart(6), row.idealGain.toFixed(4).padStart(10), row.randomGain.toFixed(4).padStart(10), row.smallestDifference.toFixed(4).padStart(12),
    `${(100 * row.idealFiring).toFixed(1)}%`.padStart(9), row.randomActive.toFixed(2).padStart(9), row.randomBeta.toFixed(3).padStart(8),
  ].join(' '));
  return [
    `Gain over the silent dictionary, whose loss is ${silentLoss.toFixed(3)}; ${samples} samples, mean over ${seeds.length} seed${seeds.length === 1 ? '' : 's'}, ${features} random features.`,
    `${'λ'.padStart(6)} ${'ideal'.padStart(10)} ${'random'.padStart(10)} ${'least diff.'.padStart(12)} ${'firing'.padStart(9)} ${'active'.padStart(9)} ${'β'.padStart(8)}`,
    ...lines,
  ].join('\n');
}
