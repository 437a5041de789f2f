/** Test 1: sufficiency and necessity as bars, one panel a score, one group of bars a cross-section, one bar a dictionary. */
import type { ApproximationRow } from '../../evaluation/index.ts';
import type { Chart, ChartInput, Panel } from '../charts.ts';
import { score, shorten } from '../text.ts';
import { ink, muted, PANEL_WIDTH, vegaConfig, type Look } from '../theme.ts';

/** Scores beyond these are drawn at the edge; the number beside the bar is always the true one. */
const LOWEST = -0.5;
const HIGHEST = 1.5;

export function approximationChart({ results, series }: ChartInput): Chart {
  const rows = results.tests.approximation;
  const used = new Map(series.names.filter((name) => rows.some((row) => row.dictionary === name)).map((name) => [name, series.looks.get(name)!]));
  return {
    id: 'approximation',
    wide: true,
    title: 'Approximation: do reconstructions do the work of the activations?',
    reading: 'Sufficiency: the share of the model’s logit difference that is left when reconstructions replace the activations of a '
      + 'cross-section. Necessity: how much of it goes when only what the reconstructions miss is kept. Both are best at 1, the dashed line; '
      + 'at 0 a dictionary does no better than nothing, and a sufficiency '
      + 'above 1 means that the reconstructions overshoot.',
    legend: [...used].map(([label, { colour }]) => ({ label, colour, shape: 'square' as const })),
    panels: rows.length === 0 ? [] : [panel('sufficiency', rows, used), panel('necessity', rows, used)],
  };
}

function panel(metric: 'sufficiency' | 'necessity', rows: ApproximationRow[], looks: Map<string, Look>): Panel {
  const title = metric === 'sufficiency' ? 'Sufficiency' : 'Necessity';
  const sections = [...new Set(rows.map((row) => row.crossSection))];
  // Bars of a cross-section lie together, whichever dictionaries others have.
  const slots = new Map(sections.map((section) => [section, [...looks.keys()].filter((name) => rows.some((row) => row.crossSection === section && row.dictionary === name))]));
  const clamp = (value: number) => Math.min(HIGHEST, Math.max(LOWEST, value));
  const data = rows.map((row) => ({
    section: row.crossSection,
    label: shorten(row.crossSection, 22),
    dictionary: row.dictionary,
    slot: slots.get(row.crossSection)!.indexOf(row.dictionary),
    drawn: clamp(row[metric] ?? 0),
    text: score(row[metric]),
    tip: `${row.crossSection}, ${row.dictionary}: ${metric} ${score(row[metric], 3)}${row.note ? ` (${row.note})` : ''}`,
  }));
  const values = data.map((row) => row.drawn);
  const domain = [Math.min(0, ...values), Math.max(1.02, ...values)];
  const y = { field: 'label', type: 'nominal', sort: sections.map((s) => shorten(s, 22)), title: null, axis: { labelLimit: 150, labelColor: ink } } as const;
  const yOffset = { field: 'slot', type: 'ordinal' } as const;
  return {
    title,
    alt: `${title} by cross-section and dictionary. ${data.map((row) => `${row.section}, ${row.dictionary}: ${row.text}`).join('; ')}.`,
    spec: {
      width: PANEL_WIDTH, height: { step: 15, for: 'offset' }, autosize: { type: 'fit-x', contains: 'padding' }, config: vegaConfig, padding: 2,
      data: { values: data },
      layer: [
        {
          mark: { type: 'bar', cornerRadiusEnd: 2, height: { band: 0.86 } },
          encoding: {
            y, yOffset,
            x: { field: 'drawn', type: 'quantitative', scale: { domain, nice: false }, axis: { values: [-0.5, 0, 0.25, 0.5, 0.75, 1, 1.25, 1.5], format: '.2~f' }, title: `${title} (ratio of mean logit differences)` },
            fill: { field: 'dictionary', type: 'nominal', legend: null, scale: { domain: [...looks.keys()], range: [...looks.values()].map((l) => l.colour) } },
            description: { field: 'tip' },
          },
        },
        { data: { values: [{}] }, mark: { type: 'rule', strokeDash: [4, 3], color: muted, aria: false }, encoding: { x: { datum: 1 } } },
        {
          mark: { type: 'text', align: 'left', dx: 5, fontSize: 11, color: ink, aria: false },
          encoding: { y, yOffset, x: { value: 'width' }, text: { field: 'text' } },
        },
      ],
    },
  };
}
