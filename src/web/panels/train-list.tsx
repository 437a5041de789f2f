/** Runs that the browser keeps: unfinished ones to go on with, and finished ones to use. */
import { useEffect, useState } from 'preact/hooks';
import type { LogRecord } from '../../training/index.ts';
import { engine } from '../client.ts';
import type { RunFacts } from '../engine/train-store.ts';
import { bytes, figure } from '../parts/format.ts';
import { Curves, CurvesTable } from './train-charts.tsx';
import { RunButtons, seconds } from './train-current.tsx';
import { current, refreshRuns, resumeRun, runs } from './train-run.ts';

/** Milliseconds until a run that is running elsewhere is looked at again. */
const AGAIN = 1500;

export function RunList() {
  const all = runs.value;
  const isBusy = all?.some(({ name, busy }) => busy && name !== current.value?.record?.name) ?? false;
  // It may be what is left of this page before it was loaded again.
  useEffect(() => {
    if (!isBusy) return;
    const timer = setTimeout(() => void refreshRuns().catch(() => {}), AGAIN);
    return () => clearTimeout(timer);
  }, [isBusy, all]);
  if (!all || all.length === 0) return null;
  const here = current.value?.record?.name;
  const others = all.filter(({ name }) => name !== here);
  const unfinished = others.filter(({ finished }) => !finished);
  const finished = others.filter((run) => run.finished);
  return (
    <>
      {unfinished.length > 0 && <Runs id="train-unfinished" title="Unfinished runs" list={unfinished} />}
      {finished.length > 0 && <Runs id="train-trained" title="Dictionaries that were trained here" list={finished} />}
    </>
  );
}

function Runs({ id, title, list }: { id: string; title: string; list: readonly RunFacts[] }) {
  return (
    <section id={id} aria-labelledby={`${id}-title`}>
      <h3 id={`${id}-title`}>{title}</h3>
      {list.map((run, i) => (
        <div class="card" key={run.name} data-run={run.name}>
          <h4 class="train-name"><code>{run.name}</code></h4>
          <p class="muted hint">{inWords(run)}</p>
          {run.busy ? <p>It is running in another page of this site.</p> : <RunButtons name={run.name} finished={run.finished} prefix={`${id}-${i}`} onResume={() => void resumeRun(run)} />}
          <Past run={run} id={`${id}-${i}`} />
        </div>
      ))}
    </section>
  );
}

/** The curves of a run that is not under way, read when they are asked for. */
function Past({ id, run: { name, step, steps, spec } }: { id: string; run: RunFacts }) {
  const [metrics, setMetrics] = useState<LogRecord[] | null>(null);
  const show = (event: Event): void => {
    if ((event.currentTarget as HTMLDetailsElement).open) void engine().train.metrics(name).then(setMetrics, () => setMetrics([]));
  };
  return (
    <details onToggle={show} key={step}>
      <summary>Curves</summary>
      {metrics?.length === 0 && <p class="muted">No figures yet.</p>}
      {metrics && metrics.length > 0 && <><Curves id={`${id}-chart`} metrics={metrics} steps={steps} features={spec.features} /><CurvesTable id={`${id}-metrics`} metrics={metrics} /></>}
    </details>
  );
}

function inWords({ model, spec, step, steps, seconds: took, finished, final, bytes: size }: RunFacts): string {
  const what = `${spec.features} features on ${model.name}, ${bytes(size)} here`;
  if (!finished) return `${what}; step ${step.toLocaleString('en')} of ${steps.toLocaleString('en')} after ${seconds(took)}`;
  return `${what}; squared error ${figure(final!.mse)}, L0 ${final!.l0.toFixed(2)}, explained variance ${final!.explained_variance.toFixed(4)}, ${Math.round(final!.dead_fraction * spec.features)} dead`;
}
