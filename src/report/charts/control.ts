/** Test 2: edit accuracy against weight removed, one panel a cross-section and attribute, one line a dictionary with a point for every k. */
import type { ControlRow } from '../../evaluation/index.ts';
import type { Chart, ChartInput, Panel } from '../charts.ts';
import { grouped } from '../groups.ts';
import { score } from '../text.ts';
import { ink, muted, PANEL_WIDTH, vegaConfig, type Look } from '../theme.ts';

/** Points beyond these weights are drawn at the edge: a weight is a share that may leave [0, 1], in rare cases by far. */
const LOWEST = -0.5;
const HIGHEST = 2;

export function controlChart({ results, series }: ChartInput): Chart {
  const rows = results.tests.control;
  const used = new Map(series.variants.filter((name) => rows.some((row) => row.dictionary === name)).map((name) => [name, series.looks.get(name)!]));
  const error = 1.96 * Math.sqrt(0.25 / Math.max(1, results.task.prompts));
  return {
    id: 'control',
    title: 'Control: do edits of few features do what they should?',
    reading: 'Height: the share of prompts where editing features gives the prediction that patching in the true counterfactual activations '
      + 'gives. To the right: the share of the original reconstruction that the edit took away. Best is the top left corner. Numbers beside the '
      + 'points are k, how many features an edit may change at each site; of several SAEs a site uses the one whose edits came closest on other '
      + 'prompts. The dashed line is no edit at all; an attribute whose line is near 1 cannot be judged here. '
      + `Sampling error of an accuracy is at most ±${score(error)} (95 %, ${results.task.prompts} prompts).`,
    legend: [
      ...[...used].map(([label, { colour, shape }]) => ({ label, colour, shape })),
      { label: 'no edit', colour: muted, shape: 'dashed' },
    ],
    panels: grouped(rows, (row) => JSON.stringify([row.crossSection, row.attribute])).map((group) => panel(group, used, weightDomain(rows))),
  };
}

function weightDomain(rows: ControlRow[]): [number, number] {
  const weights = rows.flatMap((row) => (row.weightRemoved === null ? [] : [row.weightRemoved]));
  return [Math.max(LOWEST, Math.min(0, ...weights)), Math.min(HIGHEST, Math.max(1, ...weights))];
}

/** Gives points of one dictionary that follow each other too closely for a label each one label together, at the last of them. */
function joinLabels(points: { dictionary: string; label: string; weight: number; accuracy: number }[], width: number): void {
  for (const [index, point] of points.entries()) {
    const before = points.slice(0, index).findLast((other) => other.dictionary === point.dictionary);
    if (!before || Math.abs(point.weight - before.weight) > 0.07 * width || Math.abs(point.accuracy - before.accuracy) > 0.06) continue;
    point.label = `${before.label}, ${point.label}`;
    before.label = '';
  }
}

function panel(rows: ControlRow[], looks: Map<string, Look>, domain: [number, number]): Panel {
  const { crossSection, attribute, accuracyNoEdit } = rows[0]!;
  const points = [...rows].sort((a, b) => a.k - b.k).filter((row) => row.weightRemoved !== null).map((row) => ({
    dictionary: row.dictionary,
    k: row.k,
    label: String(row.k),
    weight: row.weightRemoved!,
    accuracy: row.accuracy,
    tip: `${row.dictionary}, k = ${row.k}: accuracy ${score(row.accuracy, 3)}, weight removed ${score(row.weightRemoved, 3)}`,
  }));
  joinLabels(points, domain[1] - domain[0]);
  const names = [...looks.keys()];
  const scale = { domain: names, range: [...looks.values()].map((l) => l.colour) };
  const x = { field: 'weight', type: 'quantitative', title: 'Weight removed (share)', scale: { domain: [domain[0], domain[1] + 0.15 * (domain[1] - domain[0])] as number[], nice: false, clamp: true }, axis: { tickCount: 5 } } as const;
  const y = { field: 'accuracy', type: 'quantitative', title: 'Edit accuracy (share)', scale: { domain: [0, 1.08] as number[] }, axis: { values: [0, 0.2, 0.4, 0.6, 0.8, 1] as number[], format: '.1f', labelOverlap: false, grid: true } } as const;
  const stroke = { field: 'dictionary', type: 'nominal', legend: null, scale } as const;
  return {
    title: `${crossSection}: edit ${attribute}`,
    alt: `Edits of ${attribute} at ${crossSection}. Without an edit the accuracy is ${score(accuracyNoEdit)}. `
      + rows.map((row) => `${row.dictionary}, k ${row.k}: accuracy ${score(row.accuracy)}, weight removed ${score(row.weightRemoved)}`).join('; ') + '.',
    spec: {
      width: PANEL_WIDTH, height: 190, autosize: { type: 'fit-x', contains: 'padding' }, config: vegaConfig, padding: 2,
      data: { values: points },
      layer: [
        { data: { values: [{ tip: `no edit: accuracy ${score(accuracyNoEdit, 3)}` }] }, mark: { type: 'rule', strokeDash: [4, 3], strokeWidth: 1.5, color: muted }, encoding: { y: { ...y, field: undefined, datum: accuracyNoEdit }, description: { field: 'tip' } } },
        { mark: { type: 'line', strokeWidth: 1.5, strokeOpacity: 0.6, aria: false }, encoding: { x, y, stroke, order: { field: 'k', type: 'quantitative' } } },
        {
          mark: { type: 'point', filled: true, size: 64, opacity: 1 },
          encoding: {
            x, y, fill: stroke, description: { field: 'tip' },
            shape: { field: 'dictionary', type: 'nominal', legend: null, scale: { domain: names, range: [...looks.values()].map((l) => l.shape) } },
          },
        },
        { mark: { type: 'text', dx: 7, dy: -7, align: 'left', fontSize: 10, color: ink, aria: false }, encoding: { x, y, text: { field: 'label' } } },
      ],
    },
  };
}
