/** `diffract verify`: does a model give the published numbers of GPT-2 Small? */
import type { Command } from 'commander';
import { GPT2_SMALL_VALUES, verifyModel } from '../model/index.ts';
import { tuningOption } from './device.ts';
import { loadModel, modelOption, revisionOption } from './model.ts';
import { printJson, progress } from './terminal.ts';

export function register(program: Command): void {
  program.command('verify')
    .description('Check the published values of GPT-2 Small. Exits 0 if none fails, 1 if one does; what the model cannot give is listed with the reason.')
    .addOption(modelOption())
    .addOption(revisionOption())
    .addOption(tuningOption())
    .option('--json', 'print the rows as JSON')
    .action(async (options: { model: string; revision?: string; tuning?: string; json?: boolean }) => {
      const model = await loadModel(options);
      const bar = progress('verifying');
      const rows = await verifyModel(model, GPT2_SMALL_VALUES, (done, total) => bar.update(done, total)).finally(() => bar.stop());
      model.dispose();
      const count = (status: string): number => rows.filter((row) => row.status === status).length;
      if (options.json) printJson(rows);
      else {
        for (const { status, what, measured, expected, tolerance, reason, source: from } of rows) {
          process.stdout.write(`${status.padEnd(15)} ${what}\n${' '.repeat(16)}${status === 'not applicable' ? reason : `measured ${measured}, expected ${expected}${tolerance === null ? '' : ` ± ${tolerance}`}`}  (${from})\n`);
        }
        process.stdout.write(`${count('ok')} ok, ${count('failed')} failed, ${count('not applicable')} not applicable\n`);
      }
      if (count('failed') > 0) process.exitCode = 1;
    });
}
