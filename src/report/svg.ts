/**
 * Vega-Lite specification -> SVG text, without a screen: in Node as in a browser. Vega is loaded on the first call, so that importing the
 * library does not load it.
 */
import type { TopLevelSpec } from 'vega-lite';
import { escapeHtml } from './text.ts';

/**
 * Width of a text in pixels, by classes of characters of a wide sans-serif face, so that a label is rather given too much room than cut. Vega's own estimate without a canvas takes every
 * character as 0.8 em wide, which leaves wide gaps beside axes.
 */
export function textWidth(text: string, fontSize: number): number {
  let em = 0;
  for (const character of text) {
    em += /[iljtfrI.,:;|!'()[\] ]/.test(character) ? 0.36 : /[mwMW@%+…–—]/.test(character) ? 0.95 : /[A-Z]/.test(character) ? 0.72 : 0.62;
  }
  return em * fontSize;
}

interface TextItem { fontSize?: number; limit?: number; text?: unknown }

/**
 * The specification drawn as one `<svg>` element for use inside HTML: labelled as one image for screen readers, as wide as its container up to 1.3 times its own size,
 * identifiers prefixed with `id` so that several charts may share a page.
 */
export async function renderSvg(spec: TopLevelSpec, { id, label }: { id: string; label: string }): Promise<string> {
  const [vega, { compile }] = await Promise.all([import('vega'), import('vega-lite')]);
  const metrics = (vega as unknown as { textMetrics: { width: (item: TextItem, text: unknown) => number } }).textMetrics;
  metrics.width = (item, text) => {
    const width = textWidth(String(text ?? item.text ?? ''), item.fontSize ?? 11);
    return item.limit && item.limit > 0 ? Math.min(width, item.limit) : width;
  };
  vega.resetSVGDefIds?.();
  const view = new vega.View(vega.parse(compile(spec, { logger: vega.logger(vega.Error) }).spec), { renderer: 'none', logLevel: vega.Error });
  try {
    return tidy(await view.toSVG(), id, label);
  } finally {
    view.finalize();
  }
}

/** What says nothing inside a page: roles within one labelled image, the look of text that the page's style sheet sets. */
const DROPPED = new Set(['role', 'aria-hidden', 'pointer-events', 'font-family', 'stroke-miterlimit']);
const GEOMETRY = new Set(['d', 'transform', 'x', 'y', 'x1', 'y1', 'x2', 'y2', 'width', 'height', 'points']);

/** What a drawing inside a page does not need goes; coordinates are cut to tenths of a pixel. Labels stay as they are. */
function tidy(svg: string, id: string, label: string): string {
  const [, width, height] = /<svg[^>]* width="([\d.]+)" height="([\d.]+)"/.exec(svg)!;
  const head = `<svg role="img" aria-label="${escapeHtml(label)}" viewBox="0 0 ${width} ${height}" style="max-width:${Math.round(Number(width) * 1.3)}px">`;
  return svg
    .replace(/<path class="(?:background|foreground)"[^>]* d="(?:M0,0h0v0h0Z)?"[^>]*\/>/g, '')
    .replace(/<[a-z][^>]*>/g, (tag) => (tag.startsWith('<svg') ? head : tag.replace(/ ([\w-]+)="([^"]*)"/g, (_, name: string, value: string) => attribute(name, value, id))));
}

function attribute(name: string, value: string, id: string): string {
  if (DROPPED.has(name)) return '';
  if (name === 'id') return ` id="${id}-${value}"`;
  if (name === 'clip-path' || name === 'fill' || name === 'stroke') return ` ${name}="${value.replace(/url\(#/, `url(#${id}-`)}"`;
  if (GEOMETRY.has(name)) return ` ${name}="${value.replace(/-?\d+\.\d{2,}(?:e-?\d+)?/g, (number) => String(Number(Number(number).toFixed(1))))}"`;
  return ` ${name}="${value}"`;
}
