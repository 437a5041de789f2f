/** Metrics of dictionaries as a person reads them. */
import type { SaeBenchResult } from '../evaluation/index.ts';

/** One line per metric, by group. */
export function metricsTable({ eval_result_metrics: groups, eval_result_unstructured: { notes, ...more } }: SaeBenchResult): string {
  const lines = Object.entries({ ...groups, ...more }).flatMap(([group, metrics]) => [
    group, ...Object.entries(metrics).map(([name, value]) => `  ${name.padEnd(38)} ${shown(value)}`),
  ]);
  return `${[...lines, ...notes.map((note) => `- ${note}`)].join('\n')}\n`;
}

/** One line per dictionary. */
export function summaryTable(rows: readonly { name: string; result: SaeBenchResult }[]): string {
  const columns = ['dictionary', 'l0', 'explained_variance', 'ce_loss_score', 'kl_div_score', 'loss_recovered', 'mse', 'dead', 'tokens'];
  const cells = rows.map(({ name, result: { eval_result_metrics: groups, eval_result_unstructured: { dictionary_learning: { frac_alive: alive }, mean_ablation: mean } } }) => [
    name,
    ...[
      groups.sparsity.l0, groups.reconstruction_quality.explained_variance, groups.model_performance_preservation.ce_loss_score, groups.model_behavior_preservation.kl_div_score,
      mean?.ce_loss_score ?? null, groups.reconstruction_quality.mse, alive === null ? null : 1 - alive,
    ].map((value) => (value === null ? '-' : value.toPrecision(4))),
    String(groups.token_stats.total_tokens_eval_sparsity_variance),
  ]);
  const widths = columns.map((column, i) => Math.max(column.length, ...cells.map((row) => row[i]!.length)));
  return [columns, ...cells].map((row) => `${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ').trimEnd()}\n`).join('');
}

function shown(value: number | null): string {
  return value === null ? '-' : Number.isInteger(value) ? String(value) : value.toPrecision(5);
}
