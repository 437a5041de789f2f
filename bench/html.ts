/** A result -> one self-contained HTML page: charts, the whole table, and the result itself in a file that asks the network for nothing. */
import { legend, pageHead, saveButton } from '../src/report/frame.ts';
import { pageScript } from '../src/report/page-script.ts';
import { renderSvg } from '../src/report/svg.ts';
import { escapeHtml, scriptJson } from '../src/report/text.ts';
import type { Chart } from '../src/report/charts.ts';
import { benchCharts } from './charts.ts';
import { adapterName, benchText, type BenchResult } from './results.ts';
import { againstLines, ceilingsLine, figureLines, noteLines, peerSummary, significant, tableCells } from './table.ts';

const STYLE = `#table h3 { margin-top: 1rem; }
.plain { margin: 0; padding-left: 1.2em; font-size: .9rem; }
`;

/** Roofline, ratios and table of a result as HTML; the same result gives the same text. */
export async function benchPage(result: BenchResult): Promise<string> {
  const title = `diffract's kernels on ${adapterName(result.adapter)}`;
  const all = benchCharts(result);
  const sections: string[] = [];
  for (const chart of all) sections.push(await chartSection(chart));
  const { where, date, settings } = result;
  return `${pageHead(title, STYLE)}
<body>
<header>
<h1>${escapeHtml(title)}</h1>
<p class="muted">Measured ${escapeHtml(date.slice(0, 16).replace('T', ' '))} UTC in ${escapeHtml(`${where.name} ${where.version}`)} on ${escapeHtml(where.platform)}, median of up to ${settings.samples} samples${settings.tuned ? ', with a tuning file' : ''}${result.adapter.software ? '; this adapter is a CPU' : ''}.</p>
<ul class="facts">${facts(result)}</ul>
<nav aria-label="Contents">${[...all.map((c) => [c.id, c.title]), ['table', 'All rows']].map(([id, label]) => `<a href="#${id}">${escapeHtml(label!)}</a>`).join('')}</nav>
</header>
<main>
${sections.join('\n')}
<section id="table"><h2>All rows</h2>
<p class="reading">${escapeHtml(`Ceilings: ${ceilingsLine(result.ceilings)}.`)} “Of ceiling” is the share of the ceiling that binds: C multiply-adds, M bandwidth. “Needs” is what one run has to do
and move at least. A peer's cell says how many times as quick ours was, and the peer's own time; * where bytes are moved at every run.</p>
${table(result)}
${plainList('Further numbers', [...figureLines(result.rows), ...againstLines(result.rows)])}
${plainList('In sum', peerSummary(result))}
${plainList('What has no time, and why', noteLines(result))}
${saveButton('bench.json')}</section>
</main>
<footer><p>Made by diffract ${escapeHtml(result.version)}. The page holds the result as JSON in its element <code>#results</code>.</p></footer>
<div id="tip" role="status" hidden></div>
<script id="results" type="application/json">${scriptJson(JSON.stringify(JSON.parse(benchText(result))))}</script>
<script>
${pageScript}
</script>
</body>
</html>
`;
}

function facts({ ceilings, rows, peers }: BenchResult): string {
  const timed = rows.filter((row) => row.ms !== null).length;
  const items: [string, string][] = [
    [`${significant(ceilings.copyGBps)} GB/s`, 'copied at most'], [`${significant(ceilings.gflops)} GFLOP/s`, 'of multiply-adds at most'],
    [significant(ceilings.dispatchesPerSecond), 'small dispatches a second'], [`${timed} of ${rows.length}`, 'rows checked and timed'],
    ...(peers.length ? [[String(peers.length), `other engines: ${peers.map((p) => `${p.name} ${p.version}`).join(', ')}`] as [string, string]] : []),
  ];
  return items.map(([value, label]) => `<li><b>${escapeHtml(value)}</b>${escapeHtml(label)}</li>`).join('');
}

async function chartSection(chart: Chart): Promise<string> {
  const figures: string[] = [];
  for (const [i, panel] of chart.panels.entries()) {
    figures.push(`<figure><h3>${escapeHtml(panel.title)}</h3>${await renderSvg(panel.spec, { id: `${chart.id}-${i}`, label: panel.alt })}</figure>`);
  }
  return `<section id="${chart.id}"><h2>${escapeHtml(chart.title)}</h2>
<p class="reading">${escapeHtml(chart.reading)}</p>
${legend(chart.legend)}
<div class="panels wide"${chart.panels.length === 1 ? ' style="grid-template-columns: 1fr"' : ''}>${figures.join('\n')}</div></section>`;
}

function table(result: BenchResult): string {
  const { columns, lines } = tableCells(result);
  const head = columns.map(({ head, left }) => `<th scope="col"${left ? ' class="text"' : ''}>${escapeHtml(head)}</th>`).join('');
  const body = lines.map((line) => `<tr>${line.map((cell, i) => (i === 0 ? `<th scope="row" class="text">${escapeHtml(cell)}</th>` : `<td${columns[i]!.left ? ' class="text"' : ''}>${escapeHtml(cell)}</td>`)).join('')}</tr>`);
  return `<div class="scroll" tabindex="0" role="region" aria-label="All rows"><table><thead><tr>${head}</tr></thead><tbody>${body.join('\n')}</tbody></table></div>`;
}

function plainList(title: string, lines: readonly string[]): string {
  return lines.length ? `<h3>${escapeHtml(title)}</h3><ul class="plain">${lines.map((line) => `<li>${escapeHtml(line)}</li>`).join('')}</ul>` : '';
}
