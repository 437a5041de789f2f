/** What every page has: its head, links, facts, sections of charts with their legends, and an end that carries all numbers. */
import type { Chart, LegendEntry } from './charts.ts';
import { pageScript } from './page-script.ts';
import { pageStyle } from './page-style.ts';
import { renderSvg } from './svg.ts';
import { escapeHtml, scriptJson } from './text.ts';

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

/** Short numbers with what they count, below the title. */
export function factList(items: readonly (readonly [value: string, label: string])[]): string {
  return `<ul class="facts">${items.map(([value, label]) => `<li><b>${escapeHtml(value)}</b>${escapeHtml(label)}</li>`).join('')}</ul>`;
}

/** Links to the sections. */
export function contents(links: readonly (readonly [id: string, label: string])[]): string {
  return `<nav aria-label="Contents">${links.map(([id, label]) => `<a href="#${id}">${escapeHtml(label)}</a>`).join('')}</nav>`;
}

/** A chart's panels as drawings, how to read them, and below them their numbers as HTML, folded unless `open`. */
export async function chartSection({ id, title, reading, legend: entries, panels, wide }: Chart, numbers?: string, open = false): Promise<string> {
  const figures: string[] = [];
  for (const [index, panel] of panels.entries()) figures.push(`<figure><h3>${escapeHtml(panel.title)}</h3>${await renderSvg(panel.spec, { id: `${id}-${index}`, label: panel.alt })}</figure>`);
  return `<section id="${id}" data-chart><h2>${escapeHtml(title)}</h2>
<p class="reading">${escapeHtml(reading)}</p>
${legend(entries)}
<div class="panels${wide ? ' wide' : ''}">${figures.join('\n')}</div>
${numbers ? `<details${open ? ' open' : ''}><summary>All numbers</summary>${numbers}</details>` : ''}</section>`;
}

/** The button that the page's script saves the results with; a page without script does not show it. */
export function saveButton(file: string): string {
  return `<p><button id="save" type="button" data-file="${escapeHtml(file)}" hidden>Save ${escapeHtml(file)}</button></p>`;
}

/** From the footer on: the version, the results' JSON text, and the script that shows tips and saves the results. */
export function pageEnd(version: string | undefined, json: string): string {
  return `<footer><p>Made by diffract ${escapeHtml(version ?? '')}. The page holds all results as JSON in its element <code>#results</code>.</p></footer>
<div id="tip" role="status" hidden></div>
<script id="results" type="application/json">${scriptJson(JSON.stringify(JSON.parse(json)))}</script>
<script>
${pageScript}
</script>
</body>
</html>
`;
}

const SWATCHES: Record<LegendEntry['shape'], string> = {
  circle: '<circle cx="8" cy="6" r="4.5"/>',
  square: '<rect x="3.5" y="1.5" width="9" height="9"/>',
  diamond: '<path d="M8 0l6 6-6 6-6-6z"/>',
  'triangle-up': '<path d="M8 1l5.5 10h-11z"/>',
  'triangle-down': '<path d="M8 11l5.5-10h-11z"/>',
  'triangle-left': '<path d="M2 6l11-5.5v11z"/>',
  'triangle-right': '<path d="M14 6L3 .5v11z"/>',
  wedge: '<path d="M8 0l3 12h-6z"/>',
  arrow: '<path d="M8 0l5 6h-3v6h-4v-6h-3z"/>',
  cross: '<path d="M6 1h4v3h3v4h-3v3h-4v-3h-3v-4h3z"/>',
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
