/** Training curves of the SAEs: loss, active features and dead share over steps. */
import type { CurvePoint, DictionaryRow } from '../../evaluation/index.ts';
import type { Chart, ChartInput, LegendEntry, Panel } from '../charts.ts';
import { short } from '../text.ts';
import { PANEL_WIDTH, vegaConfig } from '../theme.ts';

/** More points than this are not visible in a panel. */
const POINTS = 80;

interface Metric { title: string; axis: string; of: (point: CurvePoint) => number; format: string; log: boolean }
const METRICS: Metric[] = [
  { title: 'Loss', axis: 'Loss (normalised units, log scale)', of: (p) => p.loss, format: '~g', log: true },
  { title: 'L0', axis: 'Active features a prompt (log scale)', of: (p) => p.l0, format: '~g', log: true },
  { title: 'Dead features', axis: 'Dead features (share)', of: (p) => p.dead, format: '%', log: false },
];

export function trainingChart({ results, series }: ChartInput): Chart {
  const trained = results.dictionaries.filter((dictionary) => dictionary.curve.length > 1);
  const names = series.names.filter((name) => trained.some((dictionary) => dictionary.name === name));
  const colours = new Map(names.map((name) => [name, series.looks.get(name)!.colour]));
  return {
    id: 'training',
    title: 'Training of the SAEs',
    reading: 'A thin line is one SAE at one site, a bold line the median over sites; a larger λ asks for fewer active features. '
      + 'Trained well, the loss has levelled out, and few features are dead.',
    legend: names.map((label): LegendEntry => ({ label, colour: colours.get(label)!, shape: 'line' })),
    panels: trained.length === 0 ? [] : METRICS.map((metric) => panel(metric, trained, colours)),
  };
}

function thin(curve: CurvePoint[]): CurvePoint[] {
  const stride = Math.ceil(curve.length / POINTS);
  return curve.filter((_, index) => index % stride === 0 || index === curve.length - 1);
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function panel(metric: Metric, trained: DictionaryRow[], colours: Map<string, string>): Panel {
  const single = trained.flatMap((dictionary, index) => thin(dictionary.curve).map((point) => ({
    id: index, series: dictionary.name, step: point.step, value: metric.of(point),
  })));
  const medians = [...colours.keys()].flatMap((series) => {
    const bySteps = new Map<number, number[]>();
    for (const row of single) if (row.series === series) bySteps.set(row.step, [...(bySteps.get(row.step) ?? []), row.value]);
    return [...bySteps].sort((a, b) => a[0] - b[0]).map(([step, values]) => ({ series, step, value: median(values) }));
  });
  // A log scale has no place for zero.
  const drawn = (rows: { value: number }[]) => (metric.log ? rows.filter((row) => row.value > 0) : rows);
  const x = { field: 'step', type: 'quantitative', title: 'Step', axis: { tickCount: 4, grid: false, format: ',d' } } as const;
  const y = {
    field: 'value', type: 'quantitative', title: metric.axis, axis: { format: metric.format, tickCount: 4 },
    scale: metric.log ? { type: 'log' as const, nice: false } : { domainMin: 0 },
  } as const;
  const stroke = { field: 'series', type: 'nominal', legend: null, scale: { domain: [...colours.keys()], range: [...colours.values()] } } as const;
  const last = [...colours.keys()].map((series) => {
    const end = medians.filter((row) => row.series === series).at(-1);
    return `${series}: ${short(end?.value)}`;
  });
  return {
    title: metric.title,
    alt: `${metric.title} over training steps. Median at the end: ${last.join('; ')}.`,
    spec: {
      width: PANEL_WIDTH, height: 180, autosize: { type: 'fit-x', contains: 'padding' }, config: vegaConfig, padding: 2,
      layer: [
        { data: { values: drawn(single) }, mark: { type: 'line', strokeWidth: 0.8, strokeOpacity: 0.3, aria: false }, encoding: { x, y, stroke, detail: { field: 'id' } } },
        { data: { values: drawn(medians) }, mark: { type: 'line', strokeWidth: 2.2, aria: false }, encoding: { x, y, stroke } },
      ],
    },
  };
}
