/** The frame around the panels: title, adapter, navigation, and what concerns all of them. */
import type { ComponentType } from 'preact';
import { start } from './client.ts';
import { BenchmarkPanel } from './panels/benchmark.tsx';
import { EditPanel } from './panels/edit.tsx';
import { EvaluatePanel } from './panels/evaluate.tsx';
import { ExplorePanel } from './panels/explore.tsx';
import { ModelsPanel } from './panels/models.tsx';
import { TrainPanel } from './panels/train.tsx';
import { Notice, Progress } from './parts/basic.tsx';
import { count, bytes } from './parts/format.ts';
import { device, failure, linkTo, loading, lossNote, model, PANELS, panel, phase, type PanelName } from './state.ts';

const PANEL: Record<PanelName, { title: string; Panel: ComponentType }> = {
  explore: { title: 'Explore', Panel: ExplorePanel },
  edit: { title: 'Edit', Panel: EditPanel },
  evaluate: { title: 'Evaluate', Panel: EvaluatePanel },
  train: { title: 'Train', Panel: TrainPanel },
  benchmark: { title: 'Benchmark', Panel: BenchmarkPanel },
  models: { title: 'Models', Panel: ModelsPanel },
};

export function App() {
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById('main')!.focus(); }}>Skip to the panel</a>
      <header class="top">
        <div class="title">
          <h1>diffract</h1>
          <p class="muted">GPT-2 and feature dictionaries, computed by your own GPU.</p>
        </div>
        <Machine />
        <nav aria-label="Panels">
          {PANELS.map((name) => <a key={name} href={linkTo(name)} aria-current={panel.value === name ? 'page' : undefined}>{PANEL[name].title}</a>)}
        </nav>
      </header>
      <main id="main" tabIndex={-1}>
        <State />
        {PANELS.map((name) => {
          const { Panel } = PANEL[name];
          return <div key={name} id={`panel-${name}`} hidden={panel.value !== name}>{(panel.value === name || seen.has(name)) && shown(name) && <Panel />}</div>;
        })}
      </main>
    </>
  );
}

/** Panels are made when they are first looked at, and stay as they are left. */
const seen = new Set<PanelName>();
function shown(name: PanelName): boolean {
  seen.add(name);
  return true;
}

/** The adapter, what it can do, and the model on it. */
function Machine() {
  const facts = device.value;
  if (!facts) return <p class="machine muted" id="machine" role="status">{phase.value === 'starting' ? 'Opening the GPU…' : 'No GPU'}</p>;
  const features = [...facts.features.map((name) => name.replace('shader-', '').replace('timestamp-query', 'timestamps')), facts.immediates ? 'immediates' : ''].filter(Boolean);
  const loaded = model.value;
  return (
    <p class="machine muted" id="machine" role="status">
      <span title={`largest binding ${bytes(facts.bindingBytes)}, largest buffer ${bytes(facts.bufferBytes)}`}>{facts.name}</span>{' '}
      <span class="features">{features.length > 0 ? features.join(', ') : 'no optional features'}</span>
      {loaded && <><br /><a href="#models" id="loaded-model">{loaded.name}</a> {count(loaded.parameters)} parameters, {bytes(loaded.bytes)}</>}
    </p>
  );
}

/** What goes wrong, or is slow, for the page as a whole. */
function State() {
  const facts = device.value;
  const progress = loading.value;
  return (
    <>
      {phase.value === 'missing' && (
        <Notice kind="error" id="missing">
          <strong>This browser offers no WebGPU adapter.</strong> {failure.value}
          <ul>
            <li>Chrome and Edge have WebGPU from version 113, Safari from 26, Firefox from 141 on Windows and 145 on Macs with Apple’s chips. Elsewhere it can be switched on: <code>chrome://flags/#enable-unsafe-webgpu</code>, or <code>dom.webgpu.enabled</code> in Firefox’s <code>about:config</code>.</li>
            <li>Pages have it over https and on localhost only.</li>
            <li>Without a usable GPU, Chrome computes on the processor if it is started with <code>--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader</code>.</li>
          </ul>
          <button type="button" onClick={() => void start()}>Try again</button>
        </Notice>
      )}
      {phase.value === 'failed' && <Notice kind="error" id="failed">The page could not be started: {failure.value} <button type="button" onClick={() => void start()}>Try again</button></Notice>}
      {phase.value === 'lost' && <Notice kind="error" id="lost">The GPU device was lost again ({failure.value}). <button type="button" onClick={() => void start()}>Open it again</button></Notice>}
      {phase.value !== 'lost' && lossNote.value && (
        <Notice kind="warning" id="recovered">
          The GPU device was lost ({lossNote.value}). {model.value ? 'It is open again, with the model and your inputs as they were.' : 'It is being opened again; your inputs stay.'}{' '}
          <button type="button" class="small" onClick={() => { lossNote.value = null; }}>Close</button>
        </Notice>
      )}
      {phase.value === 'open' && failure.value && <Notice kind="error" id="model-failed">{failure.value} <a href="#models">Choose another model</a>.</Notice>}
      {facts?.software && <Notice kind="warning" id="software">This adapter computes on the processor, not on a GPU: everything works and gives the same numbers, only slowly.</Notice>}
      {progress && <Progress id="loading" label={progress.what === 'loading' ? 'Loading the model' : 'Downloading'} done={progress.done} total={progress.total} note={progress.note} />}
    </>
  );
}
