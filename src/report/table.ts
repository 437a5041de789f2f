/** The results as plain text for a terminal: three aligned tables, at most 100 columns wide. */
import type { Results } from '../evaluation/index.ts';
import { attributes, budgets, summary, type SummaryRow } from './summary.ts';
import { integer, percent, score, shorten } from './text.ts';

export const TABLE_WIDTH = 100;

interface Column { title: string; align: 'left' | 'right' }
const left = (title: string): Column => ({ title, align: 'left' });
const right = (title: string): Column => ({ title, align: 'right' });

/** Title lines and the tables of approximation, control and interpretability; ends with a line feed. */
export function renderTable(results: Results): string {
  const { model, task, environment } = results;
  const { adapter, seed } = environment;
  const rows = summary(results);
  return [
    `${model.name} on ${task.name}: ${integer(task.prompts)} prompts scored, dictionaries fitted on ${integer(task.trainPrompts)}, seed ${seed}`,
    shorten(`Adapter: ${adapter.description || adapter.device || adapter.vendor}${adapter.software ? ' (software)' : ''}`, TABLE_WIDTH),
    `The model: ${percent(task.accuracy, 1)} right, mean logit difference ${score(task.logitDiff.mean)}`,
    '',
    'Approximation (1 is best)',
    ...approximation(rows),
    '',
    'Control: share of prompts where an edit of k features a site does what the true patch does',
    ...control(rows, results),
    '',
    'Interpretability: alive features that one property explains with at least this F1',
    ...interpretability(rows),
    '',
  ].join('\n');
}

function approximation(rows: SummaryRow[]): string[] {
  return align(
    [left('cross-section'), left('dictionary'), right('sufficiency'), right('necessity')],
    rows.flatMap(({ crossSection, dictionary, approximation: row }) => (row ? [[crossSection, dictionary, score(row.sufficiency), score(row.necessity)]] : [])),
    1,
  );
}

function control(rows: SummaryRow[], results: Results): string[] {
  const ks = budgets(results);
  // With many budgets there is no room for the weights.
  const weights = ks.length <= 4;
  const lines: string[][] = [];
  const sections = [...new Set(rows.map((row) => row.crossSection))];
  for (const section of sections) {
    for (const attribute of attributes(results)) {
      for (const { crossSection, dictionary, control: edits } of rows) {
        const found = crossSection === section ? edits.get(attribute) : undefined;
        if (!found) continue;
        const cells = ks.map((k) => {
          const row = found.find((r) => r.k === k);
          return row ? score(row.accuracy) + (weights ? `/${score(row.weightRemoved)}` : '') : '';
        });
        lines.push([section, attribute, score(found[0]!.accuracyNoEdit), dictionary, ...cells]);
      }
    }
  }
  const title = (k: number) => (weights ? `k=${k}`.padEnd(6) : `k=${k}`);
  return [
    ...align([left('cross-section'), left('edit'), right('no edit'), left('dictionary'), ...ks.map((k) => right(title(k)))], lines, 3),
    ...(weights && lines.length ? ['  (accuracy / share of the reconstruction removed)'] : []),
  ];
}

function interpretability(rows: SummaryRow[]): string[] {
  return align(
    [left('cross-section'), left('dictionary'), right('sites'), right('features'), right('alive'), right('≥0.5'), right('≥0.6'), right('≥0.8'), right('mean F1')],
    rows.flatMap(({ crossSection, dictionary, interpretability: sum }) => (sum ? [[
      crossSection, dictionary, integer(sum.sites), integer(sum.features), integer(sum.alive),
      integer(sum.interpretable['0.5']), integer(sum.interpretable['0.6']), integer(sum.interpretable['0.8']), score(sum.meanF1),
    ]] : [])),
    1,
  );
}

/**
 * Lines with aligned columns. Of the first `repeated` columns, a cell that equals the one above, in a row that agrees so far, is left empty.
 * Where the line would be too wide, the widest left-aligned column is shortened.
 */
function align(columns: Column[], rows: string[][], repeated: number): string[] {
  if (rows.length === 0) return ['  none'];
  const widths = columns.map((column, index) => Math.max(column.title.length, ...rows.map((row) => row[index]!.length)));
  const total = () => widths.reduce((sum, width) => sum + width + 2, 0);
  while (total() > TABLE_WIDTH) {
    const text = columns.map((column, index) => (column.align === 'left' ? widths[index]! : 0));
    const widest = text.indexOf(Math.max(...text));
    if (widths[widest]! <= 6) break;
    widths[widest]!--;
  }
  const cell = (text: string, index: number) => {
    const short = shorten(text, widths[index]!);
    return columns[index]!.align === 'left' ? short.padEnd(widths[index]!) : short.padStart(widths[index]!);
  };
  const line = (cells: string[]) => `  ${cells.map(cell).join('  ')}`.trimEnd();
  return [
    line(columns.map((column) => column.title)),
    ...rows.map((row, index) => {
      const above = rows[index - 1];
      let agree = above !== undefined;
      return line(row.map((text, column) => {
        agree &&= column < repeated && text === above![column];
        return agree ? '' : text;
      }));
    }),
  ];
}
