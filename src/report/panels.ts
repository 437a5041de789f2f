/** Panels of common kinds: lines over a number, dots or ranges over names, bars. Series look the same wherever they are named in the same order. */
import type { Panel, LegendEntry } from './charts.ts';
import { score, short, shorten } from './text.ts';
import { ink, look, muted, PANEL_WIDTH, panelColour, vegaConfig, type Look } from './theme.ts';

export interface Axis {
  title: string;
  /** Ends of the axis; points beyond are drawn at the edge. */
  domain?: readonly [number, number];
  log?: boolean;
  /** d3's format of the labels. */
  format?: string;
}

export type Looks = ReadonlyMap<string, Look>;

/** Looks for series in their order; the first is that of supervised dictionaries, ideals and references. */
export function looksOf(series: readonly string[]): Map<string, Look> {
  return new Map([...new Set(series)].map((name, index) => [name, look(index)]));
}

export function legendOf(looks: Looks, shape?: LegendEntry['shape']): LegendEntry[] {
  return [...looks].map(([label, own]) => ({ label, colour: own.colour, shape: shape ?? own.shape }));
}

/** A horizontal or vertical dashed line with a meaning that the text gives. */
export interface Rule { x?: number; y?: number }

const base = { autosize: { type: 'fit-x', contains: 'padding' } as const, config: vegaConfig, padding: { left: 2, right: 18, top: 2, bottom: 2 }, width: PANEL_WIDTH };

function scaleOf({ domain, log }: Axis, zero = false): Record<string, unknown> {
  return { ...(log ? { type: 'log' } : {}), ...(domain ? { domain: [...domain], clamp: true } : log ? {} : { zero }), nice: !domain };
}

function clamped(value: number, { domain }: Axis): number {
  return domain ? Math.min(domain[1], Math.max(domain[0], value)) : value;
}

function colours(looks: Looks): { domain: string[]; range: string[] } {
  return { domain: [...looks.keys()], range: [...looks.values()].map(({ colour }) => colour) };
}

export interface LinePoint { x: number; y: number; series: string; tip?: string }

/**
 * Marks, joined by lines from point to point as they are given unless `join` is false. Points that are no number are left out; a series without
 * any is not drawn. What supervised dictionaries do is a larger mark, which shows around another that hides it.
 */
export function linesPanel({ title, points, x, y, looks, rules = [], height = 190, join = true }: {
  title: string; points: readonly LinePoint[]; x: Axis; y: Axis; looks: Looks; rules?: readonly Rule[]; height?: number; join?: boolean;
}): Panel {
  const shown = points.filter((point) => Number.isFinite(point.x) && Number.isFinite(point.y) && (!x.log || point.x > 0) && (!y.log || point.y > 0)).map((point, order) => ({
    ...point, order, x: clamped(point.x, x), y: clamped(point.y, y), tip: point.tip ?? `${point.series}: ${x.title} ${short(point.x)}, ${y.title} ${short(point.y)}`,
  }));
  const scale = colours(looks);
  const encode = {
    x: { field: 'x', type: 'quantitative', title: x.title, scale: scaleOf(x), axis: { grid: false, tickCount: 5, format: x.format ?? ',.4~r' } },
    y: { field: 'y', type: 'quantitative', title: y.title, scale: scaleOf(y), axis: { tickCount: 5, format: y.format ?? ',.4~r' } },
  } as const;
  return {
    title,
    alt: `${title}. ${[...looks.keys()].map((series) => words(series, shown.filter((point) => point.series === series))).filter(Boolean).join('; ')}.`,
    spec: {
      ...base, height,
      data: { values: shown },
      layer: [
        ...ruleLayers(rules),
        ...(join ? [{
          mark: { type: 'line', strokeWidth: 1.8, strokeOpacity: 0.8, aria: false },
          encoding: { ...encode, order: { field: 'order', type: 'quantitative' }, stroke: { field: 'series', type: 'nominal', legend: null, scale } },
        }] : []),
        {
          mark: { type: 'point', filled: true, opacity: 1 },
          encoding: {
            ...encode, size: { condition: { test: 'datum.series === "supervised"', value: 110 }, value: 42 }, fill: { field: 'series', type: 'nominal', legend: null, scale }, description: { field: 'tip' },
            shape: { field: 'series', type: 'nominal', legend: null, scale: { domain: scale.domain, range: [...looks.values()].map(({ shape }) => shape) } },
          },
        },
      ],
    } as Panel['spec'],
  };
}

function words(series: string, points: readonly { x: number; y: number }[]): string {
  return points.length === 0 ? '' : `${series}: ${points.map((point) => `${short(point.x)} → ${short(point.y)}`).join(', ')}`;
}

function ruleLayers(rules: readonly Rule[]): object[] {
  return rules.map((rule) => ({
    data: { values: [{}] }, mark: { type: 'rule', strokeDash: [4, 3], color: muted, aria: false },
    encoding: rule.x === undefined ? { y: { datum: rule.y } } : { x: { datum: rule.x } },
  }));
}

export interface NamedRow {
  label: string;
  series: string;
  value: number;
  /** Ends of a thin line through the mark, and of a thick one: a box plot's whiskers and quartiles. */
  whiskers?: readonly [number, number];
  box?: readonly [number, number];
  tip?: string;
  /** The number beside the mark; the value in short unless given. */
  text?: string;
}

/** One line a name, one mark a series on it; with boxes a box plot. Numbers stand at the right where there is one series. */
export function namedPanel({ title, rows, x, looks, rules = [], bars = false, step = 15 }: {
  title: string; rows: readonly NamedRow[]; x: Axis; looks: Looks; rules?: readonly Rule[]; bars?: boolean; step?: number;
}): Panel {
  const shown = rows.filter(({ value }) => Number.isFinite(value)).map((row) => ({
    label: shorten(row.label, 26), series: row.series, value: clamped(row.value, x), text: row.text ?? short(row.value),
    low: clamped(row.whiskers?.[0] ?? row.value, x), high: clamped(row.whiskers?.[1] ?? row.value, x),
    from: clamped(row.box?.[0] ?? row.value, x), to: clamped(row.box?.[1] ?? row.value, x),
    tip: row.tip ?? `${row.label}, ${row.series}: ${short(row.value)}${row.box ? ` (middle half ${short(row.box[0])} to ${short(row.box[1])})` : ''}`,
  }));
  const labels = [...new Set(shown.map(({ label }) => label))];
  const used = [...looks.keys()].filter((series) => shown.some((row) => row.series === series));
  const scale = colours(looks);
  const y = { field: 'label', type: 'nominal', sort: labels, title: null, axis: { labelLimit: 170, labelColor: ink } } as const;
  const yOffset = used.length > 1 ? { yOffset: { field: 'series', type: 'nominal', sort: used } } : {};
  const axis = { tickCount: 5, format: x.format ?? ',.4~r' };
  const at = (field: string) => ({ field, type: 'quantitative', title: x.title, scale: scaleOf(x, bars), axis });
  const stroke = { field: 'series', type: 'nominal', legend: null, scale };
  const description = { description: { field: 'tip' } };
  const mark = bars
    ? { mark: { type: 'bar', cornerRadiusEnd: 2, height: { band: 0.8 } }, encoding: { y, ...yOffset, x: at('value'), fill: stroke, ...description } }
    : {
      mark: { type: 'point', filled: true, size: 48, opacity: 1 },
      encoding: { y, ...yOffset, x: at('value'), fill: stroke, shape: { ...stroke, scale: { domain: scale.domain, range: [...looks.values()].map(({ shape }) => shape) } }, ...description },
    };
  return {
    title,
    alt: `${title}. ${shown.map((row) => `${row.label}${used.length > 1 ? `, ${row.series}` : ''}: ${row.text}`).join('; ')}.`,
    spec: {
      ...base, height: used.length > 1 ? { step, for: 'offset' } : { step: step + 3 },
      data: { values: shown },
      layer: [
        ...ruleLayers(rules),
        ...(rows.some(({ whiskers }) => whiskers) ? [{ mark: { type: 'rule', strokeWidth: 1.2, aria: false }, encoding: { y, ...yOffset, x: at('low'), x2: { field: 'high' }, stroke } }] : []),
        ...(rows.some(({ box }) => box) ? [{ mark: { type: 'rule', strokeWidth: 6, strokeOpacity: 0.35, aria: false }, encoding: { y, ...yOffset, x: at('from'), x2: { field: 'to' }, stroke } }] : []),
        mark,
        // A halo keeps dashed lines out of the numbers.
        ...(used.length <= 1 || bars ? [...(rules.length > 0 ? [{ stroke: panelColour, strokeWidth: 3 }] : []), {}].map((halo) => (
          { mark: { type: 'text', align: 'left', dx: 6, fontSize: 10, color: ink, aria: false, ...halo }, encoding: { y, ...yOffset, x: at('high'), text: { field: 'text' } } }
        )) : []),
      ],
    } as Panel['spec'],
  };
}

/** Points in a plane with the diagonal, for two numbers of the same kind. */
export function scatterPanel({ title, points, x, y, looks, height = 240 }: {
  title: string; points: readonly LinePoint[]; x: Axis & { domain: readonly [number, number] }; y: Axis & { domain: readonly [number, number] }; looks: Looks; height?: number;
}): Panel {
  const scale = colours(looks);
  const shown = points.map((point) => ({ ...point, x: clamped(point.x, x), y: clamped(point.y, y), tip: point.tip ?? `${point.series}: ${score(point.x, 3)}, ${score(point.y, 3)}` }));
  const ends = [Math.max(x.domain[0], y.domain[0]), Math.min(x.domain[1], y.domain[1])];
  const encode = (px: string, py: string) => ({
    x: { field: px, type: 'quantitative', title: x.title, scale: scaleOf(x), axis: { tickCount: 5, grid: false } },
    y: { field: py, type: 'quantitative', title: y.title, scale: scaleOf(y), axis: { tickCount: 5 } },
  });
  return {
    title,
    alt: `${title}. ${shown.length} points, ${shown.filter((point) => point.y >= point.x).length} on or above the diagonal.`,
    spec: {
      ...base, height,
      layer: [
        { data: { values: ends.map((end) => ({ x: end, y: end })) }, mark: { type: 'line', strokeDash: [4, 3], color: muted, strokeWidth: 1.2, aria: false }, encoding: encode('x', 'y') },
        {
          data: { values: shown }, mark: { type: 'point', filled: true, size: 44, opacity: 0.85 },
          encoding: {
            ...encode('x', 'y'), fill: { field: 'series', type: 'nominal', legend: null, scale }, description: { field: 'tip' },
            shape: { field: 'series', type: 'nominal', legend: null, scale: { domain: scale.domain, range: [...looks.values()].map(({ shape }) => shape) } },
          },
        },
      ],
    } as Panel['spec'],
  };
}
