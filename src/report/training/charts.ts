/** Curves of a training run over its steps: one panel a figure, one line a dictionary, or one a kind of dictionary where there are many. */
import type { LogRecord } from '../../training/index.ts';
import type { Chart, LegendEntry, Panel } from '../charts.ts';
import { groupBy } from '../groups.ts';
import { percent, short } from '../text.ts';
import { look, PANEL_WIDTH, vegaConfig } from '../theme.ts';

/** More points than this are not visible in a panel. */
const POINTS = 160;
/** More dictionaries than this cannot be told apart; kinds of them may. */
const LINES = 8;

interface Metric { title: string; axis: string; of: (record: LogRecord) => number; say: (value: number) => string; format: string; log?: boolean; floor?: number; top?: number }
const METRICS: Metric[] = [
  { title: 'Loss', axis: 'Loss (log scale)', of: (r) => r.loss, say: short, format: '~g', log: true },
  { title: 'Squared error', axis: 'mse (log scale)', of: (r) => r.mse, say: short, format: '~g', log: true },
  { title: 'L0', axis: 'Active features an example (log scale)', of: (r) => r.l0, say: short, format: '~g', log: true },
  // A dictionary may begin far below zero; what is learnt then would be a line at the top.
  { title: 'Explained variance', axis: 'Share', of: (r) => r.explained_variance, say: short, format: '~g', floor: -0.25, top: 1 },
  { title: 'Dead features', axis: 'Share of features', of: (r) => r.dead_fraction, say: percent, format: '%', floor: 0 },
  { title: 'Learning rate', axis: 'Learning rate', of: (r) => r.learning_rate, say: short, format: '~g', floor: 0 },
];

/** λ or K as the run ends with it. */
export function sparsityText({ k, l1_coefficient: l1 }: Pick<LogRecord, 'k' | 'l1_coefficient'>): string {
  return k === null ? `λ=${short(l1)}` : `k=${k}`;
}

/** A dictionary's records by step. */
interface Curve { name: string; series: string; points: LogRecord[] }

function curvesOf(records: readonly LogRecord[]): Curve[] {
  const all = [...groupBy(records, (record) => record.name)].map(([name, points]) => ({ name, points: [...points].sort((a, b) => a.step - b.step) }));
  const kind = (points: readonly LogRecord[]): string => `${points[0]!.variant} ${sparsityText(points.at(-1)!)}`;
  return all.map(({ name, points }) => ({ name, points, series: all.length > LINES ? kind(points) : name }));
}

export function curvesChart(records: readonly LogRecord[]): Chart {
  const curves = curvesOf(records);
  const series = [...new Set(curves.map((curve) => curve.series))];
  const grouped = curves.length > LINES;
  // The first look is that of supervised dictionaries.
  const looks = series.map((label, i): LegendEntry => ({ label, colour: look(i + 1).colour, shape: i % 2 ? 'dashed' : 'line' }));
  return {
    id: 'curves',
    title: 'Over the steps',
    reading: `${grouped ? 'A thin line is one dictionary, a bold one the median of its kind. ' : ''}Figures are means over the examples of the round, or epoch, that ends there. `
      + 'Trained well, the loss has levelled out, much of the variance is explained by few active features, and few features are dead.',
    legend: looks,
    panels: METRICS.map((metric) => panel(metric, curves, looks, grouped)),
  };
}

function thin<T>(points: readonly T[]): T[] {
  const stride = Math.ceil(points.length / POINTS);
  return points.filter((_, i) => i % stride === 0 || i === points.length - 1);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

interface Row { id: string; series: string; step: number; value: number }

function panel(metric: Metric, curves: readonly Curve[], looks: readonly LegendEntry[], grouped: boolean): Panel {
  // A log scale has no place for zero, and no scale for infinity.
  const shown = ({ value }: Row): boolean => Number.isFinite(value) && (!metric.log || value > 0);
  const single = curves.flatMap(({ name, series, points }) => thin(points).map((record): Row => ({ id: name, series, step: record.step, value: metric.of(record) }))).filter(shown);
  const bold = grouped ? [...groupBy(single, (row) => `${row.series}\n${row.step}`)].map(([, rows]) => ({ ...rows[0]!, id: rows[0]!.series, value: median(rows.map(({ value }) => value)) })) : single;
  const ends = looks.map(({ label }) => `${label}: ${metric.say(bold.filter((row) => row.series === label).sort((a, b) => a.step - b.step).at(-1)?.value ?? NaN)}`);
  const values = bold.map(({ value }) => value);
  const low = metric.floor === undefined ? undefined : metric.top === undefined ? metric.floor : Math.max(metric.floor, Math.min(0, ...values));
  const x = { field: 'step', type: 'quantitative', title: 'Step', axis: { tickCount: 4, grid: false, format: ',d' }, scale: { nice: false, zero: false } } as const;
  const y = {
    field: 'value', type: 'quantitative', title: metric.axis, axis: { format: metric.format, tickCount: 4 },
    scale: metric.log ? { type: 'log' as const, nice: false } : { ...(low === undefined ? {} : { domainMin: low }), ...(metric.top === undefined ? {} : { domainMax: metric.top }) },
  } as const;
  const domain = looks.map(({ label }) => label);
  const stroke = { field: 'series', type: 'nominal', legend: null, scale: { domain, range: looks.map(({ colour }) => colour) } } as const;
  const strokeDash = { field: 'series', type: 'nominal', legend: null, scale: { domain, range: looks.map(({ shape }) => (shape === 'dashed' ? [5, 3] : [1, 0])) } } as const;
  // One line of figures is a point, which a line does not show.
  const dots = new Set(single.map(({ step }) => step)).size < 3;
  return {
    title: metric.title,
    alt: `${metric.title} over training steps. At the end: ${ends.join('; ')}.`,
    spec: {
      width: PANEL_WIDTH, height: 180, autosize: { type: 'fit-x', contains: 'padding' }, config: vegaConfig, padding: 2,
      layer: [
        ...(grouped ? [{ data: { values: single }, mark: { type: 'line' as const, strokeWidth: 0.8, strokeOpacity: 0.3, clip: true, aria: false }, encoding: { x, y, stroke, detail: { field: 'id' } } }] : []),
        { data: { values: bold }, mark: { type: 'line' as const, strokeWidth: 2, clip: true, aria: false }, encoding: { x, y, stroke, strokeDash } },
        ...(dots ? [{ data: { values: bold }, mark: { type: 'circle' as const, size: 40, aria: false }, encoding: { x, y, fill: stroke } }] : []),
      ],
    },
  };
}
