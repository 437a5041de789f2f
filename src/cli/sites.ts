/** `diffract sites`: rank a model's sites by what patching them does to the task. */
import { InvalidArgumentError, type Command } from 'commander';
import { findSections, type SiteRow } from '../evaluation/index.ts';
import type { WeightType } from '../model/index.ts';
import { tuningOption, weightsOption } from './device.ts';
import { evaluationDefaults, openTask, stoppable } from './evaluation.ts';
import { formatSite, SITE_KINDS, type SiteKind } from '../task/index.ts';
import { modelOption, revisionOption } from './model.ts';
import { list, printJson, progress, realNumber, wholeNumber } from './terminal.ts';

interface Options { model: string; revision?: string; prompts: number; seed: number; threshold: number; top: number; kinds?: SiteKind[]; positions?: string[]; lexicon?: string; task?: string; weights: WeightType; tuning?: string; json?: boolean }

const { discovery: defaults, seed } = evaluationDefaults;

export function register(program: Command): void {
  program.command('sites')
    .description("Rank every head's q, k, v and z at every position by the effect that a counterfactual patch there has on the logit difference.")
    .addOption(modelOption())
    .addOption(revisionOption())
    .option('--prompts <n>', 'prompts to patch', wholeNumber(1), defaults.prompts)
    .option('--seed <s>', 'seed of the prompts', wholeNumber(0), seed)
    .option('--threshold <share>', 'effect that selects a site, as a share of the logit difference', realNumber(0), defaults.threshold)
    .option('--kinds <list>', 'only these kinds of site: q, k, v, z', kindList)
    .option('--positions <list>', 'only these positions: io, s1, s1+1, s2, end (or those of the task)', list)
    .option('--task <file>', 'a task of your own, as JSON (see diffract eval task --help), instead of indirect objects')
    .option('--lexicon <dir>', "word lists to make prompts from instead of the model's own")
    .option('--top <n>', 'how many sites to print (all with --json)', wholeNumber(1), 30)
    .addOption(weightsOption())
    .addOption(tuningOption())
    .option('--json', 'print the whole ranking and the cross-sections it gives as JSON')
    .addHelpText('after', '\nExamples:\n  diffract sites --model models/ioi-mini\n  diffract sites --model models/ioi-mini --prompts 64 --json')
    .action((options: Options) => stoppable(async (signal) => {
      const { model, task } = await openTask({ ...options, task: options.task === undefined ? undefined : { file: options.task } }, signal);
      const bar = progress('patching sites');
      try {
        const settings = { ...defaults, kinds: options.kinds, positions: options.positions, prompts: options.prompts, threshold: options.threshold, seed: options.seed, extra: [] };
        const { ranking, sections } = await findSections(model, task, settings, { signal, onProgress: (done, total) => bar.update(done, total) });
        bar.stop();
        if (options.json) {
          printJson({
            model: model.name, prompts: options.prompts, seed: options.seed, threshold: options.threshold, sites: ranking,
            crossSections: sections.map(({ name, sites, edits, effects }) => ({ name, sites: sites.map(formatSite), edits, effects })),
          });
          return;
        }
        process.stdout.write(`${table(ranking.slice(0, options.top))}\n`);
        for (const section of sections) process.stdout.write(`\ncross-section ${section.name}: ${section.sites.map(formatSite).join(', ')}`);
        process.stdout.write('\n');
      } finally {
        bar.stop();
        model.dispose();
      }
    }));
}

/** For commander: a comma-separated list of kinds of site. */
function kindList(text: string): SiteKind[] {
  return list(text).map((kind) => {
    if (!(SITE_KINDS as readonly string[]).includes(kind)) throw new InvalidArgumentError(`there are ${SITE_KINDS.join(', ')}.`);
    return kind as SiteKind;
  });
}

/** The ranking as columns: site, effect, effect and signed change per attribute, a mark for selected sites. */
function table(rows: readonly SiteRow[]): string {
  const attributes = Object.keys(rows[0]?.byAttribute ?? {});
  const head = ['site', 'effect', ...attributes.map((name) => `${name} effect (change)`), ''];
  const lines = rows.map(({ site, effect, byAttribute, selected }) => [
    site, (effect ?? 0).toFixed(3), ...attributes.map((name) => `${byAttribute[name]!.effect.toFixed(3)} (${byAttribute[name]!.signed.toFixed(3)})`), selected ? 'selected' : '',
  ]);
  const widths = head.map((_, column) => Math.max(...[head, ...lines].map((line) => line[column]!.length)));
  return [head, ...lines].map((line) => line.map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))).join('  ').trimEnd()).join('\n');
}
