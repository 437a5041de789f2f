/** `diffract reproduce`: all of the paper on one model, stage after stage, each kept. */
import { join } from 'node:path';
import type { Command } from 'commander';
import { UsageError } from '../errors.ts';
import { directoryStore } from '../files/node-store.ts';
import { assertWritable, writeFileAtomic } from '../files/node-write.ts';
import { measureCeilings } from '../gpu/index.ts';
import type { WeightType } from '../model/index.ts';
import { renderReproduction } from '../report/index.ts';
import { chosenStages, planReproduction, PRESETS, RELEASED, reproduce, reproductionJsonSchema, reproductionText, settingsOf, SIZES, stagesOf, type Reproduction, type ReproductionPlan, type Settings, type StagePlan } from '../reproduction/index.ts';
import { isGpt2SmallShape } from '../task/index.ts';
import { checkVariant } from '../training/index.ts';
import { tuningOption, weightsOption } from './device.ts';
import { openTask, PhaseBars, stoppable, versions } from './evaluation.ts';
import { modelOption, revisionOption } from './model.ts';
import { list, printJson, wholeNumber } from './terminal.ts';

interface Options {
  model?: string; revision?: string; out: string; preset: string; sizes?: string; stages?: string[]; asReleased: string[]; prompts?: number; trainPrompts?: number; selectionPrompts?: number; epochs?: number; variants?: string[];
  seed?: number; lexicon?: string; weights: WeightType; tuning?: string; json?: boolean; schema?: boolean; plan?: boolean;
}

export function register(program: Command): void {
  program.command('reproduce')
    .description('Everything of arXiv 2405.08366 on one model: all dictionaries, tests and phenomena, and one report.')
    .addOption(modelOption({ mandatory: false }))
    .addOption(revisionOption())
    .option('--out <dir>', 'directory for reproduction.json, report.html, dictionaries and finished stages', 'reproduction')
    .option('--preset <name>', `version of the paper to follow: ${PRESETS.join(', ')}`, PRESETS[0])
    .option('--sizes <name>', `${SIZES.join(' or ')} (default: paper for models of GPT-2 Small's shape, else reduced)`)
    .option('--stages <list>', `run only these, and what they need: ${stagesOf(settingsOf(PRESETS[0], 'reduced')).map(({ name }) => name).join(', ')}`, list)
    .option('--as-released <list>', `do as the released code does: ${Object.keys(RELEASED).join(', ')}`, list, [])
    .option('--prompts <n>', 'prompts to score', wholeNumber(1))
    .option('--train-prompts <n>', 'prompts to fit dictionaries on', wholeNumber(2))
    .option('--selection-prompts <n>', 'prompts to choose SAEs on', wholeNumber(1))
    .option('--epochs <n>', 'training epochs of the SAEs', wholeNumber(1))
    .option('--variants <list>', 'only these kinds of SAEs: vanilla, gated, topk, batchtopk, jumprelu, frozen', list)
    .option('--seed <n>', 'seed of every random choice', wholeNumber(0))
    .option('--lexicon <dir>', "word lists to make prompts from instead of the model's own")
    .addOption(weightsOption())
    .addOption(tuningOption())
    .option('--plan', 'print what each stage will cost on this adapter, and exit')
    .option('--schema', 'print the JSON Schema of reproduction.json and exit')
    .option('--json', 'print reproduction.json on stdout instead of the summary')
    .addHelpText('after', `
Stopped at any moment and started again with the same options, it goes on after the last finished stage (SAEs: after the last checkpoint).

Behaviours of the released code that --as-released takes:
${Object.entries(RELEASED).map(([name, what]) => `  ${name.padEnd(22)} ${what}`).join('\n')}

Examples:
  diffract reproduce --model models/ioi-mini --out mini
  diffract reproduce --model gpt2 --preset arxiv --out arxiv --as-released lr-decay,resample-norm`)
    .action(run);
}

async function run(options: Options): Promise<void> {
  if (options.schema) return printJson(reproductionJsonSchema());
  if (options.model === undefined) throw new UsageError('reproduce needs --model: a directory, a URL or a name on the hub such as gpt2');
  // Faults in the options are told before a model is loaded.
  chosenStages(stagesOf(settingsFrom(options, options.sizes ?? 'reduced')), options.stages);
  if (!options.plan) await assertWritable(options.out);
  await stoppable(async (signal) => {
    const { model, task } = await openTask({ ...options, model: options.model!, coupledTargets: options.asReleased.includes('coupled-targets') }, signal);
    const settings = settingsFrom(options, options.sizes ?? (isGpt2SmallShape(model.config) ? 'paper' : 'reduced'));
    const bars = new PhaseBars();
    try {
      if (options.plan) return printPlan(planReproduction(model, task, settings, await measureCeilings(model.gpu)), options.json ?? false);
      const reproduction = await reproduce(model, task, directoryStore(options.out), { settings, only: options.stages, versions: versions() }, {
        signal, onProgress: (phase, done, total, words) => bars.update(phase, done, total, words),
      }).finally(() => bars.stop());
      const page = await renderReproduction(reproduction);
      await writeFileAtomic(join(options.out, 'reproduction.json'), reproductionText(reproduction));
      await writeFileAtomic(join(options.out, 'report.html'), page);
      if (options.json) process.stdout.write(reproductionText(reproduction));
      else process.stdout.write(summary(reproduction, options.out));
    } finally {
      model.dispose();
    }
  }, `finished stages are kept in ${options.out}; the same command goes on from there`);
}

function settingsFrom({ preset, asReleased, prompts, trainPrompts, selectionPrompts, epochs, variants, seed }: Options, sizes: string): Settings {
  const settings = settingsOf(preset, sizes, { released: asReleased, prompts, trainPrompts, selectionPrompts, seed });
  if (variants) {
    for (const name of variants) checkVariant(name, '--variants');
    settings.variants = settings.variants.filter(({ variant }) => variants.includes(variant));
  }
  if (epochs === undefined) return settings;
  return { ...settings, training: { ...settings.training, epochs }, snapshotEpochs: [...settings.snapshotEpochs.filter((epoch) => epoch < epochs), epochs] };
}

function printPlan(plan: ReproductionPlan, json: boolean): void {
  if (json) return printJson(plan);
  const row = (name: string, { operations, bytes, peak, seconds }: Pick<StagePlan, 'operations' | 'bytes' | 'peak' | 'seconds'>): string => [
    name.padEnd(20), (operations / 1e9).toPrecision(3).padStart(12), (bytes / 1e9).toPrecision(3).padStart(12), (peak / 2 ** 20).toFixed(0).padStart(12), duration(seconds).padStart(12),
  ].join('');
  const head = `${'stage'.padEnd(20)}${'GFLOP'.padStart(12)}${'GB moved'.padStart(12)}${'peak MiB'.padStart(12)}${'about'.padStart(12)}`;
  process.stdout.write(`${[head, ...plan.stages.map((stage) => row(stage.name, stage)), row('all', plan.total), ...plan.notes.map((words) => `Note: ${words}.`)].join('\n')}\n`);
}

function duration(seconds: number): string {
  return seconds < 100 ? `${seconds.toPrecision(2)} s` : seconds < 7200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

function summary({ stages, environment, published }: Reproduction, out: string): string {
  const lines = stages.map(({ name, title, leftOut }) => {
    const time = environment.times.stages.find((own) => own.name === name)!;
    return `  ${title.padEnd(52)} ${leftOut === null ? `${time.seconds.toFixed(1).padStart(7)} s${time.reused ? ' (kept)' : ''}` : `left out: ${leftOut}`}`;
  });
  const compared = published.filter(({ within }) => within !== null);
  return [
    ...lines, '', `Published numbers: ${compared.length} compared, ${compared.filter(({ within }) => within).length} within tolerance, ${published.length - compared.length} left out with a reason`,
    `Done in ${environment.times.totalSeconds.toFixed(0)} s.`, `Results: ${join(out, 'reproduction.json')}`, `Report:  ${join(out, 'report.html')}`, '',
  ].join('\n');
}
