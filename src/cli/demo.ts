/** `diffract demo`: the whole evaluation of the embedded model, with defaults that a software driver on two cores manages in minutes. */
import { join, relative } from 'node:path';
import type { Command } from 'commander';
import { resultsText } from '../evaluation/results.ts';
import { packageRoot } from '../node-adapter.mjs';
import { renderTable } from '../report/index.ts';
import { tuningOption } from './device.ts';
import { evaluationDefaults as defaults, runEvaluation, stoppable } from './evaluation.ts';
import { wholeNumber } from './terminal.ts';

interface Options { out: string; prompts: number; trainPrompts: number; seed: number; tuning?: string; json?: boolean }

export function register(program: Command): void {
  program.command('demo')
    .description('Judge dictionaries on the embedded model: find its sites, fit and train dictionaries, test them, draw the report.')
    .option('--out <dir>', 'directory for results.json and report.html', 'diffract-demo')
    .option('--prompts <n>', 'prompts to score', wholeNumber(1), 300)
    .option('--train-prompts <n>', 'prompts to fit dictionaries on', wholeNumber(2), 3000)
    .option('--seed <s>', 'seed of every random choice', wholeNumber(0), defaults.seed)
    .addOption(tuningOption())
    .option('--json', 'print results.json on stdout instead of the table')
    .addHelpText('after', '\nExamples:\n  diffract demo\n  diffract demo --seed 1 --out another --json > another.json\n\nOther models and dictionaries: diffract eval ioi --help')
    .action((options: Options) => stoppable(async (signal) => {
      const { out, prompts, trainPrompts, seed, tuning } = options;
      // Beside the code, wherever the command is called from; relative, so that results do not depend on where the project lies.
      const model = relative('.', join(packageRoot(), 'models', 'ioi-mini'));
      const { results, resultsPath, reportPath } = await runEvaluation({ model, out, prompts, trainPrompts, seed, tuning }, signal);
      if (options.json) return void process.stdout.write(resultsText(results));
      const { totalSeconds } = results.environment.times;
      process.stdout.write(`${renderTable(results)}\nDone in ${Math.round(totalSeconds)} s.\nResults: ${resultsPath}\nReport:  ${reportPath} (open it in a browser)\n`);
    }));
}
