/** `diffract toy …`: the paper's toy models, whose truth is known. */
import type { Command } from 'commander';
import { UsageError } from '../errors.ts';
import type { Gpu } from '../gpu/index.ts';
import {
  bestStarts, occlusionToy, occlusionToyDefaults, occlusionToyFull, overSplittingToy, overSplittingToyDefaults, trainedToy, twoFeatureDefaults, wideDefaults,
  type OcclusionToy, type OverSplittingToy, type TrainedToyRow, type Watch,
} from '../phenomena/index.ts';
import { openDevice, tuningOption } from './device.ts';
import { stoppable } from './evaluation.ts';
import { list, note, printJson, progress, realNumber, wholeNumber } from './terminal.ts';

interface Common { json?: boolean; tuning?: string; seed: number }
interface OverSplitting extends Common { samples: number; seeds: number; features: number; lambdas: string[]; trained: boolean }
interface Occlusion extends Common { full?: boolean; ratio: number; threshold: number; values?: number; epochs?: number; features?: string[]; lambdas?: string[]; batches?: string[]; rates?: string[] }

export function register(program: Command): void {
  const toy = program.command('toy').description('the toy models of feature over-splitting and occlusion');
  const common = (command: Command): Command => command.addOption(tuningOption()).option('--json', 'print the result as JSON').exitOverride().showHelpAfterError('(see --help)');
  common(toy.command('over-splitting')
    .description('x = ±μ + N(0, I): gain over silence of the best two ideal features and of 1,000 random ones, for each λ; then SAEs trained on it')
    .option('--samples <n>', 'samples of each seed', wholeNumber(1), overSplittingToyDefaults.samples)
    .option('--seeds <n>', 'seeds; gains are means over them', wholeNumber(1), overSplittingToyDefaults.seeds)
    .option('--seed <n>', 'the first seed', wholeNumber(0), overSplittingToyDefaults.seed)
    .option('--features <n>', 'random features', wholeNumber(1), overSplittingToyDefaults.features)
    .option('--lambdas <list>', 'sparsity weights', list, overSplittingToyDefaults.lambdas.map(String))
    .option('--no-trained', 'leave out the SAEs trained on the samples, with two features and with many')
    .addHelpText('after', '\nExamples:\n  diffract toy over-splitting\n  diffract toy over-splitting --json --samples 20000 --seeds 5')).action(overSplitting);
  common(toy.command('occlusion')
    .description('a = u_i + v_j: share of long and of short features that trained SAEs have a feature for')
    .option('--full', 'the paper\'s 216 values and its grid of 108 dictionaries at 1,000 epochs: work for a GPU')
    .option('--ratio <r>', 'mean length of the long features over that of the short ones', realNumber(1), occlusionToyDefaults.lengths.high)
    .option('--threshold <f1>', 'F1 from which on a feature counts', realNumber(0), occlusionToyDefaults.threshold)
    .option('--values <n>', 'features of either kind', wholeNumber(1))
    .option('--epochs <n>', 'passes over the pairs', wholeNumber(1))
    .option('--features <list>', 'sizes of dictionaries', list)
    .option('--lambdas <list>', 'sparsity weights, for activations scaled to a mean length of √width', list)
    .option('--batches <list>', 'batch sizes', list)
    .option('--rates <list>', 'learning rates', list)
    .option('--seed <n>', 'seed', wholeNumber(0), occlusionToyDefaults.seed)
    .addHelpText('after', '\nExamples:\n  diffract toy occlusion\n  diffract toy occlusion --json --ratio 1.2 --lambdas 1,2')).action(occlusion);
}

async function overSplitting(options: OverSplitting): Promise<void> {
  const { samples, seeds, seed, features } = options;
  const lambdas = numbers('--lambdas', options.lambdas);
  await study('over-splitting', options, async (gpu, watching) => {
    const families = await overSplittingToy(gpu, { samples, seeds, seed, features, lambdas }, watching);
    if (!options.trained) return families;
    return {
      ...families,
      twoFeatures: await trainedToy(gpu, { features: twoFeatureDefaults.features, seed }, watching),
      wide: await trainedToy(gpu, { features: wideDefaults.features, seed }, watching),
    };
  }, (result) => {
    const tables = [overSplittingTable(result)];
    if ('wide' in result) tables.push(trainedTable('Trained with two features, the best of the starts of each λ', bestStarts(result.twoFeatures)), trainedTable(`Trained with ${wideDefaults.features} features`, result.wide));
    return tables.join('\n\n');
  });
}

async function occlusion(options: Occlusion): Promise<void> {
  const { ratio, threshold, seed, values, epochs } = options;
  const lists = { features: whole('--features', options.features), lambdas: numbers('--lambdas', options.lambdas), batches: whole('--batches', options.batches), learningRates: numbers('--rates', options.rates) };
  const given = Object.fromEntries(Object.entries({ values, epochs, ...lists }).filter(([, value]) => value !== undefined));
  await study('occlusion', options, (gpu, watching) => occlusionToy(gpu, { ...(options.full ? occlusionToyFull : {}), lengths: { high: ratio, low: 1 }, threshold, seed, ...given }, watching), occlusionTable);
}

/** Runs a study on a device of its own with a progress bar, stopped by Ctrl-C, and prints what it found: as JSON if asked, else as text. */
async function study<T>(title: string, { json, tuning }: Common, run: (gpu: Gpu, watching: Watch) => Promise<T>, text: (result: T) => string): Promise<void> {
  await stoppable(async (signal) => {
    const gpu = await openDevice(tuning);
    const bar = progress(title);
    const start = performance.now();
    try {
      const result = await run(gpu, { signal, onProgress: (done, total) => bar.update(done, total) });
      bar.stop();
      note(`${title}: ${((performance.now() - start) / 1000).toFixed(1)} s`);
      if (json) printJson(result);
      else process.stdout.write(`${text(result)}\n`);
    } finally {
      bar.stop();
      gpu.destroy();
    }
  });
}

function numbers(flag: string, texts: readonly string[]): number[];
function numbers(flag: string, texts: readonly string[] | undefined): number[] | undefined;
function numbers(flag: string, texts: readonly string[] | undefined): number[] | undefined {
  return texts?.map((text) => {
    const value = Number(text);
    if (!Number.isFinite(value) || value < 0) throw new UsageError(`${flag}: "${text}" is not a number of at least 0`);
    return value;
  });
}

function whole(flag: string, texts: readonly string[] | undefined): number[] | undefined {
  return numbers(flag, texts)?.map((value) => {
    if (!Number.isInteger(value) || value < 1) throw new UsageError(`${flag}: ${value} is not a whole number of at least 1`);
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

function trainedTable(title: string, rows: readonly TrainedToyRow[]): string {
  const lines = rows.map((row) => [
    row.lambda.toFixed(2).padStart(6), (row.cosine === null ? '-' : row.cosine.toFixed(3)).padStart(8), String(row.activeOften).padStart(7), row.l0.toFixed(2).padStart(8),
    `${(100 * row.firing).toFixed(1)}%`.padStart(8), row.gain.toFixed(3).padStart(9),
  ].join(' '));
  return [
    `${title}: cosine with ±μ (the worse of the two), features active on 1 sample of 1,000 or more, active features, samples with any, gain`,
    `${'λ'.padStart(6)} ${'cosine'.padStart(8)} ${'alive'.padStart(7)} ${'active'.padStart(8)} ${'firing'.padStart(8)} ${'gain'.padStart(9)}`,
    ...lines,
  ].join('\n');
}

function occlusionTable({ rows, values, lengths, threshold, highAtLeastLow }: OcclusionToy): string {
  const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;
  const lines = rows.map((row) => [
    String(row.features).padStart(9), String(row.lambda).padStart(8), String(row.batch).padStart(6), String(row.learningRate).padStart(8),
    percent(row.high).padStart(8), percent(row.low).padStart(8), row.l0.toFixed(2).padStart(8), row.explainedVariance.toFixed(3).padStart(10), percent(row.dead).padStart(7),
  ].join(' '));
  return [
    `Share of ${values} long and ${values} short features (mean lengths ${lengths.high} to ${lengths.low}) with a feature of F1 ≥ ${threshold}; long at least short in ${percent(highAtLeastLow)} of runs.`,
    `${'features'.padStart(9)} ${'λ'.padStart(8)} ${'batch'.padStart(6)} ${'rate'.padStart(8)} ${'long'.padStart(8)} ${'short'.padStart(8)} ${'active'.padStart(8)} ${'explained'.padStart(10)} ${'dead'.padStart(7)}`,
    ...lines,
  ].join('\n');
}
