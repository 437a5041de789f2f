/**
 * The charts of a report: Vega-Lite specifications made from results, nothing drawn yet. A chart is several small panels of the same size
 * rather than one wide drawing, so that a page can lay them out side by side on a desk and below one another on a phone.
 */
import type { TopLevelSpec } from 'vega-lite';
import type { Results } from '../evaluation/index.ts';
import { approximationChart } from './charts/approximation.ts';
import { controlChart } from './charts/control.ts';
import { f1Chart, propertyChart } from './charts/interpretability.ts';
import { rankingChart, siteMapChart } from './charts/sites.ts';
import { trainingChart } from './charts/training.ts';
import { seriesOf, type Series } from './series.ts';
import type { Shape } from './theme.ts';

export interface Panel {
  /** Heading above the drawing. */
  title: string;
  /** What the drawing shows, in words, for those who do not see it. */
  alt: string;
  spec: TopLevelSpec;
}

export interface LegendEntry { label: string; colour: string; shape: Shape | 'dashed' | 'line' | 'outline' }

export interface Chart {
  /** Anchor of the chart in the page. */
  id: string;
  title: string;
  /** How to read it, in a sentence or two. */
  reading: string;
  legend: LegendEntry[];
  panels: Panel[];
  /** Panels with much detail get more room. */
  wide?: boolean;
}

/** Results and their dictionaries, which look the same in all charts. */
export interface ChartInput { results: Results; series: Series }

/** The charts that the results have data for, in reading order. */
export function charts(results: Results): Chart[] {
  const input: ChartInput = { results, series: seriesOf(results) };
  return [approximationChart, controlChart, f1Chart, propertyChart, rankingChart, siteMapChart, trainingChart]
    .map((make) => make(input)).filter((chart) => chart.panels.length > 0);
}
