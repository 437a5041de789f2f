/** Test 3: how well single features match a property of the prompt, and which kinds of property they match. */
import type { InterpretabilityRow, Thresholds } from '../../evaluation/index.ts';
import type { Chart, ChartInput, Panel } from '../charts.ts';
import { groupBy } from '../groups.ts';
import { integer, percent, plural } from '../text.ts';
import { ink, muted, PANEL_WIDTH, vegaConfig, type Look } from '../theme.ts';

const LEVELS = ['0.5', '0.6', '0.8'] as const;

/** Two or four panels look better in rows of two than of three. */
const inPairs = (count: number) => count === 2 || count === 4;

const total = (rows: InterpretabilityRow[], of: (row: InterpretabilityRow) => number) => rows.reduce((sum, row) => sum + of(row), 0);

export function f1Chart({ results, series }: ChartInput): Chart {
  const groups = groupBy(results.tests.interpretability, (row) => row.dictionary);
  const limits = results.tests.interpretability.flatMap(({ unionLimit }) => unionLimit ?? []);
  const panels = series.names.flatMap((name) => (groups.has(name) ? [f1Panel(name, groups.get(name)!, series.looks.get(name)!)] : []));
  return {
    id: 'f1',
    title: 'Interpretability: how well does one property explain one feature?',
    reading: 'Every feature that is active on some prompt is given the property of the prompt, such as the name of the indirect object, that '
      + 'matches its activity best; bars show how those matches (F1: 1 is a perfect match) are spread over all sites. The further right, the '
      + 'better; dashed lines mark 0.5, 0.6 and 0.8.'
      + (limits.length > 0 ? ` A property may be one of up to 10 values, for dictionaries trained on text of up to ${Math.max(...limits)}, so that features that are active on most prompts match more easily there.` : ''),
    legend: [],
    panels,
    wide: inPairs(panels.length),
  };
}

function f1Panel(name: string, rows: InterpretabilityRow[], { colour }: Look): Panel {
  const alive = total(rows, (row) => row.alive);
  const features = total(rows, (row) => row.features);
  const bins = Array.from({ length: 20 }, (_, bin) => total(rows, (row) => row.f1.bins[bin] ?? 0));
  const data = bins.map((count, bin) => ({
    from: bin / 20, to: (bin + 1) / 20, share: alive ? count / alive : 0,
    tip: `F1 ${(bin / 20).toFixed(2)} to ${((bin + 1) / 20).toFixed(2)}: ${plural(count, 'feature')}, ${percent(alive ? count / alive : 0, 1)}`,
  })).filter((bin) => bin.share > 0);
  const above = (level: (typeof LEVELS)[number]) => total(rows, (row) => row.interpretable[level]);
  return {
    title: `${name}: ${integer(alive)} of ${integer(features)} alive`,
    alt: `F1 of best interpretations, ${name}, ${plural(rows.length, 'site')}: of ${alive} features alive, `
      + LEVELS.map((level) => `${above(level)} reach ${level}`).join(', ') + '.',
    spec: {
      width: PANEL_WIDTH, height: 150, autosize: { type: 'fit-x', contains: 'padding' }, config: vegaConfig, padding: 2,
      layer: [
        {
          data: { values: data },
          mark: { type: 'rect', fill: colour, stroke: 'var(--panel, #fff)', strokeWidth: 1 },
          encoding: {
            x: { field: 'from', type: 'quantitative', scale: { domain: [0, 1] }, axis: { format: '.1f', values: [0, 0.2, 0.4, 0.6, 0.8, 1], grid: false }, title: 'F1 of the best interpretation' },
            x2: { field: 'to' },
            y: { field: 'share', type: 'quantitative', title: 'Share of alive features', axis: { format: '%', tickCount: 4 }, scale: { zero: true, domainMin: 0 } },
            y2: { datum: 0 },
            description: { field: 'tip' },
          },
        },
        { data: { values: LEVELS.map((level) => ({ at: Number(level) })) }, mark: { type: 'rule', strokeDash: [4, 3], color: muted, aria: false }, encoding: { x: { field: 'at', type: 'quantitative' } } },
      ],
    },
  };
}

export function propertyChart({ results, series }: ChartInput): Chart {
  const groups = groupBy(results.tests.interpretability, (row) => row.dictionary);
  const counts = new Map([...groups].map(([name, rows]) => [name, countKinds(rows)]));
  // The same kinds in the same order for every dictionary, so that panels can be compared.
  const sums = new Map<string, number>();
  for (const found of counts.values()) for (const [kind, levels] of found) sums.set(kind, (sums.get(kind) ?? 0) + levels['0.5']);
  const kinds = [...sums].filter(([, sum]) => sum > 0).sort((a, b) => b[1] - a[1]).map(([kind]) => kind);
  const panels = kinds.length === 0 ? [] : series.names.flatMap((name) => {
    const found = counts.get(name);
    return found ? [propertyPanel(name, kinds, found, series.looks.get(name)!)] : [];
  });
  return {
    id: 'properties',
    title: 'Interpretability: what do the features stand for?',
    reading: 'Features by the kind of property that explains them best, over all sites. The whole bar counts features with an F1 of at least 0.5, '
      + 'the parts in stronger colour those of at least 0.6 and 0.8. “A∧B” is a property that needs both, a union one of several values.',
    legend: [],
    panels,
    wide: inPairs(panels.length),
  };
}

/** Features over all sites by kind of property. */
function countKinds(rows: InterpretabilityRow[]): Map<string, Thresholds> {
  const counts = new Map<string, Thresholds>();
  for (const row of rows) {
    for (const [kind, found] of Object.entries(row.byProperty)) {
      const sum = counts.get(kind) ?? { '0.5': 0, '0.6': 0, '0.8': 0 };
      for (const level of LEVELS) sum[level] += found[level];
      counts.set(kind, sum);
    }
  }
  return counts;
}

function propertyPanel(name: string, kinds: string[], counts: Map<string, Thresholds>, { colour }: Look): Panel {
  const of = (kind: string): Thresholds => counts.get(kind) ?? { '0.5': 0, '0.6': 0, '0.8': 0 };
  const tip = (kind: string) => `${kind}: ${LEVELS.map((level) => `${of(kind)[level]} with F1 ≥ ${level}`).join(', ')}`;
  // Drawn from the widest to the narrowest bar, each over the last, so that the colour grows stronger where the match is better.
  const data = LEVELS.flatMap((level) => kinds.map((kind) => ({ kind, level, count: of(kind)[level], tip: tip(kind) })));
  const y = { field: 'kind', type: 'nominal', sort: kinds, title: null, axis: { labelColor: ink, labelLimit: 140 } } as const;
  return {
    title: name,
    alt: `Kinds of property, ${name}. ${kinds.map(tip).join('; ')}.`,
    spec: {
      width: PANEL_WIDTH, height: { step: 20 }, autosize: { type: 'fit-x', contains: 'padding' }, config: vegaConfig, padding: 2,
      layer: [
        {
          data: { values: data.filter(({ count }) => count > 0) },
          mark: { type: 'bar', fill: colour, opacity: 0.45, cornerRadiusEnd: 2, height: { band: 0.7 } },
          encoding: {
            y, x: { field: 'count', type: 'quantitative', stack: false, title: 'Features', axis: { tickMinStep: 1, tickCount: 4 } },
            description: { field: 'tip' },
          },
        },
        {
          data: { values: kinds.map((kind) => ({ kind, text: integer(of(kind)['0.5']) })) },
          mark: { type: 'text', align: 'left', dx: 5, color: ink, aria: false }, encoding: { y, x: { value: 'width' }, text: { field: 'text' } },
        },
      ],
    },
  };
}
