/** Results -> one self-contained HTML page: drawings, tables and the results themselves in one file that asks the network for nothing. */
import { resultsText, type Results } from '../evaluation/index.ts';
import { charts } from './charts.ts';
import { chartSection, contents, factList, pageEnd, pageHead, saveButton } from './frame.ts';
import { examplesTable, environmentList, summaryTable, textNote, controlTable, approximationTable, dictionaryTable, weightTable } from './sections.ts';
import { escapeHtml, integer, percent, plural, score } from './text.ts';

export interface ReportOptions {
  /** Title of the page; by default the names of model and task. */
  title?: string;
}

/**
 * The report as HTML. Charts are drawn here, so that the page works without script and without network; the results are embedded as JSON
 * in `<script id="results">`. The same results give the same text.
 */
export async function renderReport(results: Results, options: ReportOptions = {}): Promise<string> {
  const { model, task } = results;
  const title = options.title ?? `${model.name} on ${task.name}: dictionaries judged`;
  const sections: string[] = [];
  const all = charts(results);
  for (const chart of all) sections.push(await chartSection(chart, TABLES[chart.id]?.(results)));
  const links: [string, string][] = [['summary', 'Summary'], ...all.map(({ id, title: own }): [string, string] => [id, SHORT[id] ?? own]), ['examples', 'Examples'], ['setup', 'Settings']];
  return `${pageHead(title)}
<body>
<header>
<h1>${escapeHtml(title)}</h1>
<p class="muted">How well dictionaries of features approximate, control and explain a model on one task, by the framework of arXiv 2405.08366.</p>
${facts(results)}
${contents(links)}
</header>
<main>
<section id="summary"><h2>Summary</h2>
<p class="reading">Everything at one glance; the charts below say how to read each column. A range of edits goes from the smallest to the largest k (features
changed at each site), any other range from the smallest to the largest λ (sparsity penalty). “No edit” is the accuracy of doing nothing: an edit is worth
as much as it rises above it. The last column is the share of alive features that one property explains with an F1 of at least 0.8.</p>
${textNote(results)}${summaryTable(results)}</section>
${sections.join('\n')}
<section id="examples"><h2>Examples: the best explained features</h2>
<p class="reading">For every site and dictionary, the features that one property explains best. Precision: of the prompts where the feature is active, the
share that has the property; recall: of those with the property, the share where it is active.</p>
${examplesTable(results)}</section>
<section id="setup"><h2>Settings and environment</h2>
${environmentList(results)}
${saveButton('results.json')}</section>
</main>
${pageEnd(results.environment.versions.diffract, resultsText(results))}`;
}

const SHORT: Record<string, string> = {
  approximation: 'Approximation', control: 'Control', f1: 'F1', properties: 'Properties', ranking: 'Site ranking', map: 'Site map', training: 'Training',
};

/** Tables with every number of a chart, folded below it. */
const TABLES: Record<string, (results: Results) => string> = {
  approximation: approximationTable,
  control: (results) => controlTable(results) + weightTable(results),
  f1: dictionaryTable,
};

function facts({ task, crossSections, dictionaries, model }: Results): string {
  return factList([
    [percent(task.accuracy, 1), 'of prompts answered right'],
    [score(task.logitDiff.mean), 'mean logit difference'],
    [integer(task.prompts), `prompts scored, dictionaries fitted on ${integer(task.trainPrompts)}`],
    [integer(crossSections.length), `cross-sections of ${plural(new Set(crossSections.flatMap((c) => c.sites)).size, 'site')}`],
    [integer(dictionaries.length), 'dictionaries, each for one site'],
    [`${model.layers} × ${model.heads}`, `layers and heads, width ${model.width}`],
  ]);
}
