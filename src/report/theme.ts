/**
 * Colours and type of the report. Charts refer to CSS variables, never to colours, so that one drawing serves the light and the dark scheme;
 * the colours behind the variables stand in page-style.ts. Each variable has a fallback, so that a chart copied out of the page still shows.
 */
import type { Config } from 'vega-lite';

export const ink = 'var(--ink, #1b1f24)';
export const muted = 'var(--muted, #59636e)';
/** What lies behind a chart. */
export const panelColour = 'var(--panel, #fff)';
export const line = 'var(--line, #d8dee4)';
export const accent = 'var(--c0, #0b6bb8)';

const SERIES = ['#0b6bb8', '#c94a05', '#0a8060', '#a03a8c', '#8a6200', '#1f8fb8', '#6b7280', '#b02a37', '#5b4bb5', '#4d7c0f'];
const SHAPES = ['circle', 'square', 'diamond', 'triangle-up', 'cross', 'triangle-down', 'triangle-right', 'triangle-left', 'wedge', 'arrow'] as const;
export type Shape = (typeof SHAPES)[number];

/** How a series looks wherever it is drawn: colour and shape, so that it can be told apart without colour. */
export interface Look { colour: string; shape: Shape }

export function look(index: number): Look {
  // The first look is that of supervised dictionaries alone, however many others there are.
  const place = index === 0 ? 0 : 1 + ((index - 1) % (SERIES.length - 1));
  return { colour: `var(--c${place}, ${SERIES[place]})`, shape: SHAPES[place]! };
}

/** Width of every panel, in pixels: what a phone shows at full size. A page may enlarge it. */
export const PANEL_WIDTH = 340;

export const vegaConfig: Config = {
  background: undefined,
  font: 'system-ui, sans-serif',
  view: { stroke: null },
  axis: {
    labelColor: muted, titleColor: muted, gridColor: line, domainColor: muted, tickColor: muted,
    labelFontSize: 11, titleFontSize: 11, titleFontWeight: 'normal', tickSize: 4, labelPadding: 4, gridOpacity: 0.8,
  },
  axisX: { labelFlush: false },
  axisY: { domain: false, ticks: false },
  text: { color: ink, fontSize: 11 },
  rule: { color: muted },
};
