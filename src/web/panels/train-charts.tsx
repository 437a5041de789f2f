/** Curves of a training run: small charts that are drawn as its figures come, and the same as a table. */
import type { LogRecord } from '../../training/index.ts';
import { figure } from '../parts/format.ts';

interface Line { label: string; points: readonly (readonly [x: number, y: number])[]; dashed?: boolean }

const [WIDTH, HEIGHT] = [330, 170];
const FRAME = { left: 46, right: 16, top: 8, bottom: 34 } as const;
/** Ticks of an axis, about. */
const TICKS = 4;

/** The four charts, over steps. `id` begins their ids. */
export function Curves({ id, metrics, steps, features }: { id: string; metrics: readonly LogRecord[]; steps: number; features: number }) {
  const line = (label: string, of: (record: LogRecord) => number, dashed = false): Line => ({ label, dashed, points: metrics.map((record) => [record.step, of(record)] as const).filter(([, y]) => Number.isFinite(y)) });
  return (
    <div class="train-curves">
      <Chart id={`${id}-loss`} title="Loss" lines={[line('in all', (r) => r.loss), line('squared error', (r) => r.mse, true)]} steps={steps} />
      <Chart id={`${id}-l0`} title="Active features of an example (L0)" lines={[line('L0', (r) => r.l0)]} steps={steps} />
      <Chart id={`${id}-explained`} title="Explained variance" lines={[line('explained variance', (r) => r.explained_variance)]} steps={steps} most={1} />
      <Chart id={`${id}-dead`} title={`Dead features of ${features}`} lines={[line('dead features', (r) => r.dead_fraction * features)]} steps={steps} least={4} />
    </div>
  );
}

/** One chart from zero on, up to `least` at least or `most` exactly. What lies below zero is drawn at the lower edge. */
function Chart({ id, title, lines, steps, least = 0, most }: { id: string; title: string; lines: readonly Line[]; steps: number; least?: number; most?: number }) {
  const highest = most ?? Math.max(least, ...lines.flatMap(({ points }) => points.map(([, y]) => y)));
  const yTicks = ticksTo(highest || 1);
  const xTicks = ticksTo(steps);
  const top = most ?? yTicks.at(-1)!;
  const x = (value: number): number => FRAME.left + (value / steps) * (WIDTH - FRAME.left - FRAME.right);
  const y = (value: number): number => HEIGHT - FRAME.bottom - (Math.min(Math.max(value, 0), top) / top) * (HEIGHT - FRAME.top - FRAME.bottom);
  return (
    <figure id={id}>
      <figcaption>
        {title}
        {lines.length > 1 && lines.map(({ label, dashed }, i) => (
          <span class="train-key" key={label}><svg width="22" height="8" aria-hidden="true"><line x1="0" x2="22" y1="4" y2="4" class={`train-line c${i}`} stroke-dasharray={dashed ? '5 3' : undefined} /></svg>{label}</span>
        ))}
      </figcaption>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={inWords(title, lines)}>
        {yTicks.filter((value) => value <= top).map((value) => (
          <g key={value}>
            <line x1={FRAME.left} x2={WIDTH - FRAME.right} y1={y(value)} y2={y(value)} class="train-grid" />
            <text x={FRAME.left - 5} y={y(value) + 4} text-anchor="end">{figure(value)}</text>
          </g>
        ))}
        {xTicks.filter((value) => value <= steps).map((value) => <text key={value} x={x(value)} y={HEIGHT - FRAME.bottom + 15} text-anchor="middle">{value.toLocaleString('en')}</text>)}
        <text x={(FRAME.left + WIDTH - FRAME.right) / 2} y={HEIGHT - 4} text-anchor="middle">steps</text>
        {lines.map(({ label, points, dashed }, i) => (points.length === 1
          ? <circle key={label} cx={x(points[0]![0])} cy={y(points[0]![1])} r="2.5" class={`train-dot c${i}`} />
          : <polyline key={label} points={points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(' ')} class={`train-line c${i}`} stroke-dasharray={dashed ? '5 3' : undefined} />))}
      </svg>
    </figure>
  );
}

/** What a chart shows, for those who do not see it. */
function inWords(title: string, lines: readonly Line[]): string {
  return lines.map(({ label, points }) => {
    const [first, last] = [points[0], points.at(-1)];
    return first && last ? `${label}: ${figure(first[1])} at step ${first[0]}, ${figure(last[1])} at step ${last[0]}` : `${label}: no figures yet`;
  }).join('; ').replace(/^/, `${title}. `);
}

/** Round values from 0 up to or just beyond the highest. */
function ticksTo(highest: number): number[] {
  const raw = highest / TICKS;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * unit).find((value) => value >= raw * (1 - 1e-9))!;
  return Array.from({ length: Math.ceil(highest / step - 1e-9) + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}

/** The same figures to read. */
export function CurvesTable({ id, metrics }: { id: string; metrics: readonly LogRecord[] }) {
  return (
    <details class="train-figures">
      <summary>The figures as a table</summary>
      <div class="scroll">
        <table id={id}>
          <caption>Means over a pass of the examples, as they were trained on</caption>
          <thead><tr><th scope="col">Step</th><th scope="col">Loss</th><th scope="col">Squared error</th><th scope="col">L0</th><th scope="col">Explained variance</th><th scope="col">Dead</th></tr></thead>
          <tbody>
            {metrics.map((r) => (
              <tr key={r.step}><th scope="row">{r.step}</th><td>{figure(r.loss)}</td><td>{figure(r.mse)}</td><td>{figure(r.l0)}</td><td>{r.explained_variance.toFixed(4)}</td><td>{(100 * r.dead_fraction).toFixed(1)} %</td></tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
