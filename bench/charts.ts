/** The charts of a result's page: Vega-Lite specifications, nothing drawn yet. */
import type { Chart, LegendEntry, Panel } from '../src/report/charts.ts';
import { shorten } from '../src/report/text.ts';
import { ink, look, vegaConfig, type Look } from '../src/report/theme.ts';
import type { BenchResult, Row } from './results.ts';
import { milliseconds, percent, rowName, significant } from './table.ts';

/** Kernels that share a look: there are more kernels than colours that can be told apart. */
const FAMILIES: readonly (readonly [family: string, kernels: readonly string[]])[] = [
  ['matmul', ['matmul']], ['attention', ['attention']], ['rows', ['layer norm', 'softmax', 'argmax', 'gather rows']], ['Adam', ['Adam']],
  ['SAE kernels', ['SAE encode', 'SAE decode', 'greedy edit']], ['model', []], ['training', []],
];

/** Looks with an area: the seventh is a stroke, which a filled mark does not show. */
const LOOKS = [0, 1, 2, 3, 4, 5, 7];

function family(row: Row): string {
  return row.group !== 'kernels' ? row.group : FAMILIES.find(([, kernels]) => kernels.includes(row.kernel))?.[0] ?? 'rows';
}

function legend(looks: ReadonlyMap<string, Look>): LegendEntry[] {
  return [...looks].map(([label, { colour, shape }]) => ({ label, colour, shape }));
}

function scales(looks: ReadonlyMap<string, Look>): { fill: { domain: string[]; range: string[] }; shape: { domain: string[]; range: string[] } } {
  const domain = [...looks.keys()];
  return { fill: { domain, range: [...looks.values()].map((l) => l.colour) }, shape: { domain, range: [...looks.values()].map((l) => l.shape) } };
}

export function benchCharts(result: BenchResult): Chart[] {
  return [roofline(result), ratios(result), own(result)].filter((chart) => chart.panels.length > 0);
}

/** Williams, Waterman & Patterson 2009: what a kernel can reach at most is bandwidth × operations per byte, or the arithmetic's own rate. */
function roofline({ rows, ceilings }: BenchResult): Chart {
  const timed = rows.filter((row) => row.gflops && row.flops > 0 && row.bytes > 0 && row.kernel !== 'recording');
  const looks = new Map(FAMILIES.map(([name], i) => [name, look(LOOKS[i]!)] as const).filter(([name]) => timed.some((row) => family(row) === name)));
  const points = timed.map((row) => ({
    family: family(row), x: row.flops / row.bytes, y: row.gflops!,
    tip: `${rowName(row)}: ${milliseconds(row.ms!)}, ${significant(row.gflops!)} GFLOP/s, ${percent(row.share!)} of the ${row.bound === 'compute' ? 'arithmetic' : 'bandwidth'} ceiling`,
  }));
  const { copyGBps, gflops } = ceilings;
  const ridge = gflops / copyGBps;
  const xs = [...points.map((p) => p.x), ridge];
  const ys = [...points.map((p) => p.y), gflops];
  const domainX = [10 ** Math.floor(Math.log10(Math.min(...xs))), 10 ** Math.ceil(Math.log10(Math.max(...xs) * 1.01))];
  const domainY = [10 ** Math.floor(Math.log10(Math.min(...ys))), 10 ** Math.ceil(Math.log10(Math.max(...ys) * 1.2))];
  const roof = [domainX[0]!, ridge, domainX[1]!].map((x) => ({ x, y: Math.min(gflops, copyGBps * x) })).filter(({ y }) => y >= domainY[0]!);
  // The bandwidth line enters through the bottom where it starts below it.
  if (roof[0]!.x > domainX[0]!) roof.unshift({ x: domainY[0]! / copyGBps, y: domainY[0]! });
  const decades = ([low, high]: number[]): number[] => Array.from({ length: Math.round(Math.log10(high! / low!)) + 1 }, (_, i) => low! * 10 ** i);
  const x = { field: 'x', type: 'quantitative', title: 'Operations per byte that must move', scale: { type: 'log', domain: domainX, nice: false }, axis: { values: decades(domainX), format: '~g', grid: true } } as const;
  const y = { field: 'y', type: 'quantitative', title: 'GFLOP/s', scale: { type: 'log', domain: domainY, nice: false }, axis: { values: decades(domainY), format: '~g', grid: true } } as const;
  const { fill, shape } = scales(looks);
  const panel: Panel = {
    title: 'Roofline of this adapter',
    alt: `Roofline: copying ${significant(copyGBps)} GB/s, multiply-adds ${significant(gflops)} GFLOP/s. ${timed.length} rows, the nearest to its ceiling ${bestOf(timed)}. Every number stands in the table below.`,
    spec: {
      width: 760, height: 380, autosize: { type: 'fit-x', contains: 'padding' }, config: vegaConfig, padding: 2, data: { values: points },
      layer: [
        { data: { values: roof }, mark: { type: 'line', color: ink, strokeWidth: 2, aria: false }, encoding: { x, y } },
        { data: { values: [{ x: ridge, y: gflops, text: `${significant(gflops)} GFLOP/s` }] }, mark: { type: 'text', align: 'left', dx: 6, dy: -8, aria: false, color: ink }, encoding: { x, y, text: { field: 'text' } } },
        { data: { values: [{ x: ridge / 4, y: gflops / 4, text: `${significant(copyGBps)} GB/s` }] }, mark: { type: 'text', align: 'right', dx: -8, dy: -4, aria: false, color: ink }, encoding: { x, y, text: { field: 'text' } } },
        {
          mark: { type: 'point', filled: true, size: 60, opacity: 0.85 },
          encoding: { x, y, fill: { field: 'family', type: 'nominal', legend: null, scale: fill }, shape: { field: 'family', type: 'nominal', legend: null, scale: shape }, description: { field: 'tip' } },
        },
      ],
    },
  };
  return {
    id: 'roofline', title: 'How close to what the hardware can do', wide: true,
    reading: 'One point a row: to the right, operations for each byte that must move; up, operations a second. The line is the most that this adapter was measured to do: '
      + 'on its slope the bandwidth of a copy binds, on its flat part multiply-adds on registers. A point above the slope found its data in a cache.',
    legend: [...legend(looks), { label: 'measured ceilings', colour: ink, shape: 'line' }],
    panels: points.length ? [panel] : [],
  };
}

function bestOf(rows: readonly Row[]): string {
  const best = rows.reduce((a, b) => ((b.share ?? 0) > (a.share ?? 0) ? b : a), rows[0]!);
  return best ? `${rowName(best)} at ${percent(best.share!)}` : 'none';
}

interface Ratio { row: string; name: string; ratio: number; tip: string }

function ratioPanel(title: string, points: readonly Ratio[], looks: ReadonlyMap<string, Look>, width = 460): Panel {
  const names = [...new Set(points.map((p) => p.row))];
  const most = Math.max(2, ...points.map((p) => p.ratio)) * 1.15;
  const least = Math.min(0.5, ...points.map((p) => p.ratio)) / 1.15;
  const ticks = [0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500].filter((v) => v >= least && v <= most);
  const { fill, shape } = scales(looks);
  const x = { field: 'ratio', type: 'quantitative', title: 'Times as quick as it', scale: { type: 'log', domain: [least, most] as number[], nice: false }, axis: { values: ticks, format: '~g', grid: true } } as const;
  return {
    title,
    alt: `${title}, how many times as quick ours is. ${points.map((p) => `${p.row}, ${p.name}: ${significant(p.ratio)}`).join('; ')}.`,
    spec: {
      width, height: { step: 20 }, autosize: { type: 'fit-x', contains: 'padding' }, config: vegaConfig, padding: 2, data: { values: points },
      layer: [
        { data: { values: [{ ratio: 1 }] }, mark: { type: 'rule', color: ink, strokeWidth: 1.5, aria: false }, encoding: { x } },
        {
          mark: { type: 'point', filled: true, size: 70, opacity: 0.9 },
          encoding: {
            x, y: { field: 'row', type: 'nominal', sort: names, title: null, axis: { labelLimit: 340, labelColor: ink, grid: true } }, fill: { field: 'name', type: 'nominal', legend: null, scale: fill },
            shape: { field: 'name', type: 'nominal', legend: null, scale: shape }, description: { field: 'tip' },
          },
        },
      ],
    },
  };
}

/** Each row beside the peers that can do it. */
function ratios({ rows, peers }: BenchResult): Chart {
  const looks = new Map(peers.map(({ name }, i) => [name, look(i + 1)] as const));
  const panels = [...new Set(rows.map((row) => row.kernel))].flatMap((kernel) => {
    const points = rows.filter((row) => row.kernel === kernel).flatMap((row) => Object.entries(row.peers).filter(([, p]) => p.ratio !== null).map(([name, p]): Ratio => ({
      row: shorten(row.shape, 38), name, ratio: p.ratio!,
      tip: `${rowName(row)}: ${name} ${milliseconds(p.ms!)}, ours ${milliseconds(p.ours!)} in the same comparison, ${significant(p.ratio!)}×${p.transfers ? `; both move ${significant((p.transfers.upload + p.transfers.download) / 1e6)} MB to and from the host at every run` : ''}`,
    })));
    return points.length ? [ratioPanel(kernel, points, looks)] : [];
  });
  return {
    id: 'peers', title: 'Beside other engines', wide: true,
    reading: 'How many times as quick ours was, run in turns with the other in the same process or page on the same adapter, by the wall clock. Right of the line ours is quicker. '
      + 'Where an engine has to move its inputs or outputs at every run, as many bytes are moved for ours.',
    legend: legend(looks), panels,
  };
}

/** Each row beside this engine's own other ways. */
function own({ rows }: BenchResult): Chart {
  const points = rows.flatMap((row) => Object.entries(row.against).filter(([, v]) => v.ratio !== null).map(([name, v]): Ratio => ({
    row: shorten(`${row.kernel}, ${row.shape}: ${name}`, 60), name: 'its other way', ratio: v.ratio!, tip: `${rowName(row)}: ${milliseconds(v.ours!)} against ${milliseconds(v.ms!)} for ${name}`,
  })));
  const looks = new Map([['its other way', look(0)]]);
  return {
    id: 'own', title: 'Beside this engine’s own other ways', wide: true,
    reading: 'Resumed runs beside full ones, a batch of dictionaries beside single steps, the sparse path beside the dense one: what the shortcut saves.',
    legend: [], panels: points.length ? [ratioPanel('Shortcuts', points, looks, 760)] : [],
  };
}

