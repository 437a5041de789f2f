/** Results -> one self-contained HTML page: drawings, tables and the results themselves in one file that asks the network for nothing. */
import { resultsText, type Results } from '../evaluation/index.ts';
import { charts, type Chart, type LegendEntry } from './charts.ts';
import { pageScript } from './page-script.ts';
import { pageStyle } from './page-style.ts';
import { renderSvg } from './svg.ts';
import { examplesTable, environmentList, summaryTable, controlTable, approximationTable, dictionaryTable, weightTable } from './sections.ts';
import { escapeHtml, integer, percent, plural, score, scriptJson } from './text.ts';

export interface ReportOptions {
  /** Title of the page; by default the names of model and task. */
  title?: string;
}

/** Nothing may be fetched, whatever the results contain; only what stands in the page runs. */
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/** A page up to its body, with further style rules of its own. */
export function pageHead(title: string, style = ''): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<title>${escapeHtml(title)}</title>
<style>
${pageStyle}
${style}</style>
</head>`;
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
  for (const chart of all) sections.push(await chartSection(chart, results));
  const links = [['summary', 'Summary'], ...all.map((chart) => [chart.id, SHORT[chart.id] ?? chart.title]), ['examples', 'Examples'], ['setup', 'Settings']] as const;
  return `${pageHead(title)}
<body>
<header>
<h1>${escapeHtml(title)}</h1>
<p class="muted">How well dictionaries of features approximate, control and explain a model on one task, by the framework of arXiv 2405.08366.</p>
${facts(results)}
<nav aria-label="Contents">${links.map(([id, label]) => `<a href="#${id}">${escapeHtml(label!)}</a>`).join('')}</nav>
</header>
<main>
<section id="summary"><h2>Summary</h2>
<p class="reading">Everything at one glance; the charts below say how to read each column. A range of edits goes from the smallest to the largest k (features
changed at each site), any other range from the smallest to the largest λ (sparsity penalty). “No edit” is the accuracy of doing nothing: an edit is worth
as much as it rises above it. The last column is the share of alive features that one property explains with an F1 of at least 0.8.</p>
${summaryTable(results)}</section>
${sections.join('\n')}
<section id="examples"><h2>Examples: the best explained features</h2>
<p class="reading">For every site and dictionary, the features that one property explains best. Precision: of the prompts where the feature is active, the
share that has the property; recall: of those with the property, the share where it is active.</p>
${examplesTable(results)}</section>
<section id="setup"><h2>Settings and environment</h2>
${environmentList(results)}
<p><button id="save" type="button" hidden>Save results.json</button></p></section>
</main>
<footer><p>Made by diffract ${escapeHtml(results.environment.versions.diffract ?? '')}. The page holds all results as JSON in its element <code>#results</code>.</p></footer>
<div id="tip" role="status" hidden></div>
<script id="results" type="application/json">${scriptJson(JSON.stringify(JSON.parse(resultsText(results))))}</script>
<script>
${pageScript}
</script>
</body>
</html>
`;
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
  const items = [
    [percent(task.accuracy, 1), 'of prompts answered right'],
    [score(task.logitDiff.mean), 'mean logit difference'],
    [integer(task.prompts), `prompts scored, dictionaries fitted on ${integer(task.trainPrompts)}`],
    [integer(crossSections.length), `cross-sections of ${plural(new Set(crossSections.flatMap((c) => c.sites)).size, 'site')}`],
    [integer(dictionaries.length), 'dictionaries, each for one site'],
    [`${model.layers} × ${model.heads}`, `layers and heads, width ${model.width}`],
  ];
  return `<ul class="facts">${items.map(([value, label]) => `<li><b>${escapeHtml(value!)}</b>${escapeHtml(label!)}</li>`).join('')}</ul>`;
}

async function chartSection(chart: Chart, results: Results): Promise<string> {
  const figures: string[] = [];
  for (const [index, panel] of chart.panels.entries()) {
    const svg = await renderSvg(panel.spec, { id: `${chart.id}-${index}`, label: panel.alt });
    figures.push(`<figure><h3>${escapeHtml(panel.title)}</h3>${svg}</figure>`);
  }
  const table = TABLES[chart.id];
  return `<section id="${chart.id}" data-chart><h2>${escapeHtml(chart.title)}</h2>
<p class="reading">${escapeHtml(chart.reading)}</p>
${legend(chart.legend)}
<div class="panels${chart.wide ? ' wide' : ''}">${figures.join('\n')}</div>
${table ? `<details><summary>All numbers</summary>${table(results)}</details>` : ''}</section>`;
}

const SWATCHES: Record<LegendEntry['shape'], string> = {
  circle: '<circle cx="8" cy="6" r="4.5"/>',
  square: '<rect x="3.5" y="1.5" width="9" height="9"/>',
  diamond: '<path d="M8 0l6 6-6 6-6-6z"/>',
  'triangle-up': '<path d="M8 1l5.5 10h-11z"/>',
  'triangle-down': '<path d="M8 11l5.5-10h-11z"/>',
  'triangle-left': '<path d="M2 6l11-5.5v11z"/>',
  cross: '<path d="M6 1h4v3h3v4h-3v3h-4v-3h-3v-4h3z"/>',
  stroke: '<rect x="1" y="5" width="14" height="2"/>',
  line: '<rect x="0" y="5" width="16" height="2.4"/>',
  dashed: '<path d="M0 5h4v2h-4zM6 5h4v2h-4zM12 5h4v2h-4z"/>',
  outline: '<path fill-rule="evenodd" d="M2.5.5h11v11h-11zM4.5 2.5v7h7v-7z"/>',
};

/** Marks and their names as a list. */
export function legend(entries: readonly LegendEntry[]): string {
  if (entries.length === 0) return '';
  return `<ul class="legend">${entries.map(({ label, colour, shape }) =>
    `<li><svg viewBox="0 0 16 12" aria-hidden="true" fill="${colour}">${SWATCHES[shape]}</svg>${escapeHtml(label)}</li>`).join('')}</ul>`;
}
