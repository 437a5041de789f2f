/** `diffract eval ioi|greater-than|task`: judge dictionaries on a model. */
import { InvalidArgumentError, type Command } from 'commander';
import type { FeatureEdit } from '../dictionary/index.ts';
import { UsageError } from '../errors.ts';
import { MIN_FREQUENCY, resultsText } from '../evaluation/index.ts';
import { renderTable } from '../report/index.ts';
import { parseCrossSection, taskJsonSchema } from '../task/index.ts';
import { NO_PROCESSING, type WeightType } from '../model/index.ts';
import { tuningOption, weightsOption } from './device.ts';
import { modelOption, readProcessing, revisionOption } from './model.ts';
import { registerSae } from './eval-sae.ts';
import { evaluationDefaults as defaults, runEvaluation, stoppable, TEXT_K, type TaskChoice } from './evaluation.ts';
import { collect, list, printJson, realNumber, wholeNumber } from './terminal.ts';

interface Options {
  model: string; revision?: string; out: string; prompts: number; trainPrompts: number; selectionPrompts: number; seed: number;
  dictionaries?: string[]; sae?: string[]; crossSection?: string[]; discover?: boolean; threshold: number; lexicon?: string;
  lambda: number[]; features: number; epochs?: number; k?: number[]; minFrequency?: number; processing?: string[]; methods: string[]; batch?: number; weights: WeightType; tuning?: string; json?: boolean;
}

interface OwnTaskOptions extends Partial<Pick<Options, 'model' | 'out'>>, Omit<Options, 'model' | 'out'> { task?: string; taskSchema?: boolean }

const IOI_EXAMPLES = `
A site is written {q|k|v|z}@L{layer}H{head}@{position}; positions are io, s1, s1+1, s2, end.

Examples:
  diffract eval ioi --model models/ioi-mini --out results
  diffract eval ioi --model models/ioi-mini --out results --dictionaries supervised --cross-section 'S out=z@L0H3@end'
  diffract eval ioi --model gpt2/ --out results --sae sae-a/ --sae z@L9H9@end=sae-b/
  diffract eval ioi --model gpt2/ --out results --sae task-saes/ --sae text-saes/ --cross-section out=z@L9H6@end,z@L9H9@end`;

const OWN_EXAMPLES = `
A task is a JSON file: sentences with slots, or listed prompts, with their attributes, positions and answers. examples/tasks holds one of each;
--task-schema prints what a file may say. A site is written {q|k|v|z}@L{layer}H{head}@{position}, with the positions of the task.

Examples:
  diffract eval task --task examples/tasks/ioi-small.json --model models/ioi-mini --out results
  diffract eval task --task-schema`;

export function register(program: Command): void {
  const command = program.command('eval').description('Judge dictionaries on a model: approximation, control, interpretability.');
  const ioi = command.command('ioi')
    .description('Indirect objects: "Then, Mary and John went to the park. John gave a book to" -> " Mary".')
    .addOption(modelOption())
    .addOption(revisionOption())
    .requiredOption('--out <dir>', 'directory for results.json and report.html')
    .option('--lexicon <dir>', "word lists to make prompts from instead of the model's own");
  evaluationOptions(ioi).addHelpText('after', IOI_EXAMPLES).action((options: Options) => run(options, { name: 'ioi' }));
  const years = command.command('greater-than')
    .description('Years: "The war lasted from the year 1703 to the year 17" -> any later year. For models that read years as GPT-2 does.')
    .addOption(modelOption())
    .addOption(revisionOption())
    .requiredOption('--out <dir>', 'directory for results.json and report.html');
  evaluationOptions(years).action((options: Options) => run(options, { name: 'greater-than' }));
  const own = command.command('task')
    .description('A task of your own, from a JSON file.')
    .option('--task <file>', 'the task, as JSON')
    .option('--task-schema', 'print the JSON Schema of task files, and end')
    .addOption(modelOption({ mandatory: false }))
    .addOption(revisionOption())
    .option('--out <dir>', 'directory for results.json and report.html');
  evaluationOptions(own).addHelpText('after', OWN_EXAMPLES).action(runOwn);
  registerSae(command);
}

/** What every task's command takes. */
function evaluationOptions(command: Command): Command {
  return command
    .option('--prompts <n>', 'prompts to score', wholeNumber(1), defaults.prompts)
    .option('--train-prompts <n>', 'prompts to fit dictionaries on', wholeNumber(2), defaults.trainPrompts)
    .option('--selection-prompts <n>', 'prompts to choose SAEs on, apart from the scored ones', wholeNumber(1), defaults.selectionPrompts)
    .option('--seed <s>', 'seed of every random choice', wholeNumber(0), defaults.seed)
    .option('--dictionaries <names>', 'dictionaries to make: supervised, vanilla (default: both; with --sae only supervised)', list)
    .option('--sae <dir>', 'a trained SAE, or a folder of them, as DIR, SITE=DIR or HOOK[:HEAD]=DIR; one trained on text serves every position of its head; repeatable', collect)
    .option('--cross-section <spec>', "NAME=SITE,SITE,… instead of the task's or the model's own set; repeatable", collect)
    .option('--discover', 'find cross-sections by patching even where the task names some, or some are published for the model')
    .option('--threshold <share>', 'effect that selects a site, as a share of the logit difference', realNumber(0), defaults.discovery.threshold)
    .option('--lambda <list>', 'sparsity weights of the SAEs to train, one SAE per site and weight', positives, [...defaults.sae.lambdas])
    .option('--features <n>', 'features of the SAEs to train', wholeNumber(1), defaults.sae.features)
    .option('--epochs <n>', 'training epochs of the SAEs', wholeNumber(1))
    .option('--k <list>', `numbers of features that SAE edits may change (default: ${defaults.ks.join(', ')}; with SAEs trained on text ${TEXT_K} too)`, counts)
    .option('--min-frequency <share>', `of SAEs trained on text, leave out features active on a smaller share of its tokens (default: ${MIN_FREQUENCY})`, realNumber(0))
    .option('--methods <names>', 'ways of choosing those features: agnostic, reconstruction, aware, threshold', list, [...defaults.methods])
    .option('--batch <n>', 'prompts in one patched run (default: what fits a modest amount of memory)', wholeNumber(1))
    .option('--processing <names>', `weight processing of the model, of ${Object.keys(NO_PROCESSING).join(', ')}, all, or none (default: what the SAEs were trained with, as far as they say)`, list)
    .addOption(weightsOption())
    .addOption(tuningOption())
    .option('--json', 'print results.json on stdout instead of the table');
}

async function runOwn({ task, taskSchema, model, out, ...options }: OwnTaskOptions): Promise<void> {
  if (taskSchema) return printJson(await taskJsonSchema());
  for (const [flag, value] of Object.entries({ '--task <file>': task, '--model <where>': model, '--out <dir>': out })) {
    if (value === undefined) throw new UsageError(`required option '${flag}' not specified`);
  }
  return run({ ...options, model: model!, out: out! }, { file: task! });
}

async function run(options: Options, task: TaskChoice): Promise<void> {
  const { model, revision, out, prompts, trainPrompts, selectionPrompts, seed, lexicon, sae = [], discover, crossSection: crossSections } = options;
  // Positions of other tasks are known when the task has been read.
  if ('name' in task && task.name === 'ioi') crossSections?.forEach((spec) => parseCrossSection(spec));
  await stoppable(async (signal) => {
    const { results, resultsPath, reportPath } = await runEvaluation({
      model, revision, out, prompts, trainPrompts, selectionPrompts, seed, lexicon, saes: sae, crossSections, discover, weights: options.weights, tuning: options.tuning, task,
      dictionaries: options.dictionaries ?? (sae.length > 0 ? ['supervised'] : defaults.dictionaries),
      ks: options.k,
      minFrequency: options.minFrequency,
      ...(options.processing ? { processing: readProcessing(options.processing.filter((name) => name !== 'none')) } : {}),
      methods: options.methods as FeatureEdit[],
      batch: options.batch ?? null,
      discovery: { ...defaults.discovery, threshold: options.threshold },
      sae: { ...defaults.sae, lambdas: options.lambda, features: options.features, ...(options.epochs ? { epochs: options.epochs } : {}) },
    }, signal);
    if (options.json) process.stdout.write(resultsText(results));
    else process.stdout.write(`${renderTable(results)}\nResults: ${resultsPath}\nReport:  ${reportPath}\n`);
  });
}

/** For commander: a comma-separated list of numbers above zero. */
function positives(text: string): number[] {
  const values = list(text).map(realNumber(0));
  if (values.length === 0 || values.includes(0)) throw new InvalidArgumentError('numbers above zero are needed, separated by commas.');
  return values;
}

/** For commander: a comma-separated list of whole numbers from 1 up. */
function counts(text: string): number[] {
  const values = list(text).map(wholeNumber(1));
  if (values.length === 0) throw new InvalidArgumentError('whole numbers are needed, separated by commas.');
  return values;
}
