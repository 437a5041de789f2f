/** Discovery: which sites carry the task. The strongest ones as sorted bars, and all of them as maps of layers and heads. */
import type { SiteRow } from '../../evaluation/index.ts';
import type { Chart, ChartInput, Panel } from '../charts.ts';
import { score } from '../text.ts';
import { accent, ink, PANEL_WIDTH, vegaConfig } from '../theme.ts';

const SHOWN = 30;
const FAINT = 'var(--faint, #b6bfc9)';
const CONTENTS = { q: 'queries', k: 'keys', v: 'values', z: 'head outputs' } as const;

type Measured = SiteRow & { effect: number };

/** Sites whose effect was measured, strongest first. */
function measured(sites: SiteRow[]): Measured[] {
  return sites.filter((site): site is Measured => site.effect !== null).sort((a, b) => b.effect - a.effect);
}

const tip = (site: Measured) => `${site.site}: effect ${score(site.effect, 3)}`
  + Object.entries(site.byAttribute).map(([name, { effect }]) => `, ${name} ${score(effect, 3)}`).join('')
  + (site.selected ? ', selected' : '');

export function rankingChart({ results }: ChartInput): Chart {
  const all = measured(results.sites);
  const threshold = results.config.discovery?.threshold ?? null;
  const selected = all.filter((site) => site.selected).length;
  const shown = all.slice(0, SHOWN);
  // Panels side by side, on a common scale, instead of one tall one.
  const part = Math.ceil(shown.length / 3);
  const top = Math.max(threshold ?? 0, shown[0]?.effect ?? 0);
  const parts = shown.length > 10 ? [0, 1, 2].map((index) => shown.slice(index * part, (index + 1) * part)) : [shown];
  return {
    id: 'ranking',
    title: 'Sites: where does the model carry the task?',
    reading: `Each of ${all.length} sites (kind of activation, layer, head, position) is patched alone from prompts with another name or another `
      + 'order; a bar is the mean change of the logit difference, as a share of the clean one, for the attribute that changes it most. '
      + `${selected} sites are selected${threshold === null ? '' : `: those that reach ${score(threshold)}, the dashed line`}.`,
    legend: [
      { label: 'selected', colour: accent, shape: 'square' }, { label: 'not selected', colour: FAINT, shape: 'square' },
      ...(threshold === null ? [] : [{ label: 'threshold', colour: ink, shape: 'dashed' as const }]),
    ],
    panels: parts.filter((sites) => sites.length > 0).map((sites, index) => rankingPanel(sites, index * part + 1, top, threshold)),
  };
}

function rankingPanel(sites: Measured[], first: number, top: number, threshold: number | null): Panel {
  const data = sites.map((site) => ({ site: site.site, effect: site.effect, text: score(site.effect), selected: site.selected, tip: tip(site) }));
  const y = { field: 'site', type: 'nominal', sort: null, title: null, axis: { labelColor: ink, labelLimit: 130 } } as const;
  return {
    title: `Rank ${first} to ${first + sites.length - 1}`,
    alt: `Sites by effect. ${data.map((row) => `${row.site}: ${row.text}${row.selected ? ', selected' : ''}`).join('; ')}.`,
    spec: {
      width: PANEL_WIDTH, height: { step: 18 }, autosize: { type: 'fit-x', contains: 'padding' }, config: vegaConfig, padding: 2,
      data: { values: data },
      layer: [
        {
          mark: { type: 'bar', cornerRadiusEnd: 2, height: { band: 0.78 } },
          encoding: {
            y, x: { field: 'effect', type: 'quantitative', scale: { domain: [0, top] }, title: 'Effect (share of the clean logit difference)', axis: { tickCount: 5 } },
            fill: { field: 'selected', type: 'nominal', legend: null, scale: { domain: [true, false], range: [accent, FAINT] } },
            description: { field: 'tip' },
          },
        },
        ...(threshold === null ? [] : [{ data: { values: [{}] }, mark: { type: 'rule' as const, strokeDash: [4, 3], color: ink, aria: false }, encoding: { x: { datum: threshold } } }]),
        { mark: { type: 'text', align: 'left', dx: 5, color: ink, aria: false }, encoding: { y, x: { value: 'width' }, text: { field: 'text' } } },
      ],
    },
  };
}

export function siteMapChart({ results }: ChartInput): Chart {
  const all = measured(results.sites);
  const positions = results.task.positions.filter((position) => all.some((site) => site.position === position));
  const top = all[0]?.effect ?? 1;
  const kinds = (['q', 'k', 'v', 'z'] as const).filter((kind) => all.some((site) => site.kind === kind));
  return {
    id: 'map',
    wide: true,
    title: 'Sites: the same effects on the map of the model',
    reading: `A row is a layer, a column a head, repeated for every position in the prompt. The stronger the colour, the larger the effect (largest: ${score(top)}); `
      + 'an outline marks a selected site, and an empty place was not measured.',
    legend: [{ label: `effect ${score(top)}`, colour: accent, shape: 'square' }, { label: 'selected', colour: ink, shape: 'outline' }],
    panels: kinds.map((kind) => mapPanel(kind, all.filter((site) => site.kind === kind), positions, results.model, top)),
  };
}

/** Heads of all positions stand side by side on one axis, with a gap of one column between positions. */
function mapPanel(kind: Measured['kind'], sites: Measured[], positions: string[], model: { layers: number; heads: number }, top: number): Panel {
  const pitch = model.heads + 1;
  const data = sites.map((site) => {
    const column = positions.indexOf(site.position) * pitch + site.head;
    // The square root lets weak sites show beside a strong one.
    return { column, right: column + 1, layer: site.layer, below: site.layer + 1, strength: 0.04 + 0.96 * Math.sqrt(site.effect / top), selected: site.selected, tip: tip(site) };
  });
  const names = JSON.stringify(positions);
  const centres = positions.map((_, index) => index * pitch + model.heads / 2);
  const strongest = sites.slice(0, 5).map((site) => `${site.site} ${score(site.effect)}`).join(', ');
  return {
    title: `${kind}: ${CONTENTS[kind]}`,
    alt: `Effects of patching ${CONTENTS[kind]} by layer, head and position. Strongest: ${strongest}.`,
    spec: {
      width: PANEL_WIDTH, height: Math.max(60, Math.min(220, model.layers * 18)), autosize: { type: 'fit-x', contains: 'padding' }, config: vegaConfig, padding: 2,
      layer: [{
        data: { values: data },
        mark: { type: 'rect', fill: accent, strokeWidth: 1.5 },
        encoding: {
          x: {
            field: 'column', type: 'quantitative', scale: { domain: [0, positions.length * pitch - 1], nice: false },
            axis: { values: centres, labelExpr: `${names}[floor(datum.value / ${pitch})]`, grid: false, ticks: false, domain: false },
            title: `Position (columns within: heads 0 to ${model.heads - 1})`,
          },
          x2: { field: 'right' },
          y: {
            field: 'layer', type: 'quantitative', scale: { domain: [0, model.layers], reverse: true, nice: false }, title: 'Layer',
            axis: { values: Array.from({ length: model.layers }, (_, layer) => layer + 0.5), labelExpr: 'floor(datum.value)', grid: false, labelOverlap: true },
          },
          y2: { field: 'below' },
          fillOpacity: { field: 'strength', type: 'quantitative', scale: null, legend: null },
          stroke: { condition: { test: 'datum.selected', value: ink }, value: 'none' },
          description: { field: 'tip' },
        },
      }],
    },
  };
}
