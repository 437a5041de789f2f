/** The run that was begun here last: its progress, curves, and what became of it. */
import { useEffect, useState } from 'preact/hooks';
import type { LogRecord } from '../../training/index.ts';
import { Notice, Progress } from '../parts/basic.tsx';
import { figure } from '../parts/format.ts';
import type { DictionaryFacts } from '../protocol.ts';
import { epoch, linkTo, model, type Params } from '../state.ts';
import { Curves, CurvesTable } from './train-charts.tsx';
import { current, deleteRun, downloadRun, isUnderWay, loadedOf, resumeRun, stopRun, useRun, type CurrentRun } from './train-run.ts';

const STATES: Record<CurrentRun['state'], string> = { preparing: 'is being prepared', training: 'is training', stopping: 'is stopping', stopped: 'is stopped', finished: 'is finished', failed: 'failed' };

export function CurrentCard() {
  const run = current.value;
  if (!run) return null;
  const { record, state, metrics, problem, unsaved } = run;
  const steps = record?.steps ?? 0;
  return (
    <section id="train-current" aria-labelledby="train-current-title">
      <h3 id="train-current-title" aria-live="polite">{record ? <code>{record.name}</code> : 'The run'} {STATES[state]}</h3>
      {isUnderWay() && <UnderWay run={run} steps={steps} />}
      {!isUnderWay() && record && state !== 'finished' && <p id="train-where">After step {run.step} of {steps.toLocaleString('en')}, {seconds(run.seconds)} of training.</p>}
      {problem && <Notice kind="error" id="train-failed">{record ? `${problem.replace(/\.$/, '')}; ${whatIsLeft(run)}.` : problem}</Notice>}
      {unsaved && <Notice kind="warning" id="train-unsaved">{unsaved}. {unsavedInWords(run)}</Notice>}
      {state === 'finished' && <Final run={run} final={run.end!.final!} />}
      {record && metrics.length > 0 && <>
        <Curves id="train-chart" metrics={metrics} steps={steps} features={record.spec.features} />
        <CurvesTable id="train-metrics" metrics={metrics} />
      </>}
      {record && !isUnderWay() && <RunButtons name={record.name} finished={state === 'finished'} prefix="train-current" onResume={() => void resumeRun(record)} />}
    </section>
  );
}

function UnderWay({ run, steps }: { run: CurrentRun; steps: number }) {
  const { state, preparing, step, rate, saved, record } = run;
  const { spec } = record ?? {};
  const perStep = spec ? (spec.text ? Math.min(spec.batch, spec.round, spec.tokens) : Math.min(spec.batch, spec.prompts)) : 0;
  const left = rate > 0 ? ((steps - step) * perStep) / rate : null;
  const what = spec?.text ? 'tokens' : 'examples';
  const note = state === 'preparing' ? preparing.note
    : [`step ${step.toLocaleString('en')} of ${steps.toLocaleString('en')}`, `${seconds(run.seconds)} so far`, left === null ? '' : `about ${seconds(left)} to go`, `${Math.round(rate).toLocaleString('en')} ${what} a second`, saved === null ? 'no checkpoint yet' : `checkpoint at step ${saved}`].filter(Boolean).join(', ');
  return (
    <>
      <Progress id="train-progress" label={state === 'preparing' ? 'Preparing' : 'Training'} done={state === 'preparing' ? preparing.done : step} total={state === 'preparing' ? preparing.total : steps} note={note} />
      <button type="button" id="train-stop" disabled={state === 'stopping'} onClick={stopRun}>Stop; it can go on later</button>
    </>
  );
}

/** What a failed run can go on from. */
function whatIsLeft({ saved }: CurrentRun): string {
  return saved === null ? 'there is no checkpoint yet: Resume begins again' : `Resume goes on from the checkpoint at step ${saved}`;
}

function unsavedInWords({ state, end }: CurrentRun): string {
  if (end?.files) return 'The dictionary is in this page only: use or download it before you close the page.';
  if (end?.checkpoint) return 'What is trained so far is in this page only: go on before you close it.';
  return state === 'training' || state === 'preparing' ? 'Training goes on; until there is room, closing the page loses what came after the last checkpoint.' : '';
}

/** Figures with the final weights, and what to do next. */
function Final({ run, final }: { run: CurrentRun; final: LogRecord }) {
  return (
    <>
      <FinalTable final={final} features={run.record!.spec.features} />
      <p class="muted hint">After {run.record!.steps.toLocaleString('en')} steps in {seconds(run.seconds)}. {verdict(final)}</p>
    </>
  );
}

function verdict({ explained_variance, dead_fraction, l0 }: LogRecord): string {
  if (dead_fraction > 0.5) return 'More than half of the features are dead: fewer features, a lower λ or more passes may serve better.';
  if (explained_variance < 0.7) return 'It explains little of the variance: a larger K, a lower λ or more steps may serve better.';
  return l0 > 30 ? 'Many features are active at a time: a smaller K or a higher λ makes each easier to read.' : 'Use it, and see in Explore what its features stand for.';
}

function FinalTable({ final, features }: { final: LogRecord; features: number }) {
  return (
    <div class="scroll">
      <table id="train-final">
        <caption>Over all examples, with the final weights; squared errors are of activations scaled to a mean length of √width</caption>
        <thead><tr><th scope="col">Squared error</th><th scope="col">L0</th><th scope="col">Explained variance</th><th scope="col">Dead features</th></tr></thead>
        <tbody><tr><td>{figure(final.mse)}</td><td>{final.l0.toFixed(2)}</td><td>{final.explained_variance.toFixed(4)}</td><td>{Math.round(final.dead_fraction * features)} of {features}</td></tr></tbody>
      </table>
    </div>
  );
}

/** What can be done with a run that is not under way. `prefix` begins the buttons' ids. */
export function RunButtons({ name, finished, prefix, onResume }: { name: string; finished: boolean; prefix: string; onResume: () => void }) {
  const [problem, setProblem] = useState<string | null>(null);
  const [working, setWorking] = useState(false);
  // What a lost device left unanswered is not waited for.
  useEffect(() => setWorking(false), [epoch.value]);
  const loaded = loadedOf(name);
  const attempt = (work: () => Promise<unknown>) => async (): Promise<void> => {
    setProblem(null);
    setWorking(true);
    await work().catch((error: Error) => { if (error.name !== 'AbortError') setProblem(error.message); });
    setWorking(false);
  };
  const of = ` ${name}`;
  return (
    <>
      <div class="train-buttons">
        {!finished && <button type="button" class="primary" id={`${prefix}-resume`} aria-label={`Resume${of}`} disabled={isUnderWay() || !model.value} onClick={onResume}>Resume</button>}
        {finished && !loaded && <button type="button" class="primary" id={`${prefix}-use`} aria-label={`Use${of}`} disabled={working || !model.value} onClick={attempt(() => useRun(name))}>Use</button>}
        {finished && <button type="button" id={`${prefix}-download`} aria-label={`Download${of}`} disabled={working} onClick={attempt(() => downloadRun(name))}>Download</button>}
        <button type="button" id={`${prefix}-delete`} aria-label={`Delete${of}`} disabled={working} onClick={attempt(() => deleteRun(name))}>Delete</button>
      </div>
      {loaded && (
        <p class="train-links" id={`${prefix}-loaded`} role="status">
          <span>Loaded beside the model.</span>
          <a href={linkTo('explore', exploring(loaded))}>What its features show</a>
          <a href={linkTo('edit', { by: 'hand', dictionary: loaded.id, ...(loaded.site ? { where: loaded.site } : {}) })}>Edit by its features</a>
          <a href={linkTo('evaluate', { make: 'supervised', sae: loaded.id, ...(loaded.site ? { sections: `trained=${loaded.site}` } : {}) })}>Evaluate it</a>
        </p>
      )}
      {problem && <Notice kind="error" id={`${prefix}-problem`}>{problem}</Notice>}
    </>
  );
}

/** What the explore panel shows of a dictionary: its place, and the position that it was made for. */
function exploring({ id, hook, head, site }: DictionaryFacts): Params {
  const [, layer, kind] = /^blocks\.(\d+)\.(?:attn\.)?hook_(\w+)$/.exec(hook) ?? [];
  return { dictionary: id, ...(layer && kind ? { layer, kind } : {}), ...(head === null ? {} : { head: String(head) }), ...(site ? { at: site.split('@')[2]! } : {}) };
}

/** 75 as 1 min 15 s. */
export function seconds(value: number): string {
  if (value < 59.5) return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
  const whole = Math.round(value);
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `${minutes} min ${whole % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
