/** Evaluate: the three tests of the paper on the model and its dictionaries, with the report of the command line. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { Field, Notice, Progress, saveAs, Select } from '../parts/basic.tsx';
import { bytes } from '../parts/format.ts';
import { dictionaries, epoch, model } from '../state.ts';
import { begin, cancel, kept, problem, refreshKept, remove, reopen, saveTrained, shown, underWay, type UnderWay } from './evaluate-run.ts';
import { choose, COUNTS, METHODS, readChoices, toggled, type Choices, type CountName } from './evaluate-state.ts';
import './evaluate.css';

export function EvaluatePanel() {
  const ready = model.value !== null;
  useEffect(() => { if (ready) void refreshKept().catch(() => {}); }, [ready, epoch.value]);
  return (
    <>
      <Form />
      {shown.value && <Shown />}
      <Kept />
    </>
  );
}

function Form() {
  const choices = readChoices();
  const { asked, problems } = choices;
  const loaded = model.value;
  const wrong = Object.keys(problems).length > 0;
  const box = (list: readonly string[], param: string, value: string, label: string) => (
    <label class="check" key={value}><input type="checkbox" id={`evaluate-${param}-${value}`} checked={list.includes(value)} onChange={(event) => choose({ [param]: toggled(list, value, event.currentTarget.checked) })} /> {label}</label>
  );
  return (
    <section aria-labelledby="evaluate-title">
      <h2 id="evaluate-title">Evaluate</h2>
      <p class="muted">How well dictionaries approximate, control and explain the model on the indirect-object task (arXiv 2405.08366): the same evaluation as the command line’s, in this page.</p>
      {loaded && !loaded.task && <Notice kind="warning" id="evaluate-no-task">{loaded.taskProblem} <a href="#models">Choose another model</a>.</Notice>}
      <form onSubmit={(event) => { event.preventDefault(); void begin(asked); }}>
        <div class="row">
          <Field id="evaluate-size" label="Size">{(id) => <Select id={id} value={choices.size} options={[{ value: 'quick', label: 'quick: about a minute without a GPU' }, { value: 'full', label: 'full: as the command line does' }]} onChange={(size) => choose({ size })} />}</Field>
          <Count name="prompts" choices={choices} />
          <Count name="seed" choices={choices} />
        </div>
        <fieldset>
          <legend>Dictionaries</legend>
          {box(asked.dictionaries, 'make', 'supervised', 'supervised codes')}
          {box(asked.dictionaries, 'make', 'vanilla', `vanilla SAEs, trained here (λ ${asked.lambdas.join(', ')}; ${asked.features} features)`)}
          {dictionaries.value.map(({ id, name }) => box(asked.loaded, 'sae', id, name))}
          {problems.dictionaries && <span class="field-error" role="alert">{problems.dictionaries}</span>}
        </fieldset>
        <details>
          <summary>More settings</summary>
          <div class="row">
            {(['trainPrompts', 'selectionPrompts', 'features', 'epochs'] as const).map((name) => <Count key={name} name={name} choices={choices} />)}
            <Field id="evaluate-lambdas" label="λ of trained SAEs" error={problems.lambdas}>{(id) => <Text id={id} value={asked.lambdas.join(', ')} onChange={(lambdas) => choose({ lambdas })} />}</Field>
            <Field id="evaluate-ks" label="k: features an edit may change" error={problems.ks}>{(id) => <Text id={id} value={asked.ks.join(', ')} onChange={(ks) => choose({ ks })} />}</Field>
          </div>
          <fieldset>
            <legend>Ways of choosing those features</legend>
            {METHODS.map((method) => box(asked.methods, 'methods', method, method))}
            {problems.methods && <span class="field-error" role="alert">{problems.methods}</span>}
          </fieldset>
          <Field id="evaluate-sections" label="Cross-sections, one a line, as NAME=SITE,SITE,…" wide hint={loaded?.task?.sections ? 'Those that are published for this model unless some are given.' : 'Found by patching unless some are given, such as S=v@L0H3@s2 or out=z@L0H3@end.'}>
            {(id) => <textarea id={id} class="mono" rows={2} spellcheck={false} value={asked.crossSections.join('\n')} onChange={(event) => choose({ sections: event.currentTarget.value.trim() || null })} />}
          </Field>
          {loaded?.task?.sections && <label class="check"><input type="checkbox" id="evaluate-discover" checked={asked.discover} onChange={(event) => choose({ discover: event.currentTarget.checked ? '1' : null })} /> find cross-sections by patching all the same</label>}
        </details>
        <div class="row evaluate-actions">
          <button type="submit" class="primary" id="evaluate-run" disabled={!loaded?.task || wrong || underWay.value !== null}>Run the evaluation</button>
          {problems.size && <span class="field-error" role="alert">{problems.size}</span>}
        </div>
      </form>
      {underWay.value && <Running state={underWay.value} />}
      {problem.value && <Notice kind="error" id="evaluate-problem">{problem.value}</Notice>}
    </section>
  );
}

function Count({ name, choices }: { name: CountName; choices: Choices }) {
  return (
    <Field id={`evaluate-${name}`} label={COUNTS[name].label} error={choices.problems[name]}>
      {(id) => <input type="number" id={id} min={COUNTS[name].least} step={1} value={choices.asked[name]} onChange={(event) => choose({ [name]: event.currentTarget.value || null })} />}
    </Field>
  );
}

function Text({ id, value, onChange }: { id: string; value: string; onChange: (value: string | null) => void }) {
  return <input type="text" id={id} class="evaluate-list" value={value} onChange={(event) => onChange(event.currentTarget.value.trim() || null)} />;
}

function Running({ state: { phase, done, total, note, startedAt, phaseStartedAt } }: { state: UnderWay }) {
  const [now, tick] = useState(performance.now());
  useEffect(() => {
    const timer = setInterval(() => tick(performance.now()), 500);
    return () => clearInterval(timer);
  }, []);
  const left = total > 0 && done > 0 ? ((now - phaseStartedAt) / done) * (total - done) : null;
  const words = [`${duration(now - startedAt)} so far`, left !== null && done < total ? `about ${duration(left)} left of this step` : '', note].filter(Boolean).join('; ');
  return <Progress id="evaluate-progress" label={`${phase.charAt(0).toUpperCase()}${phase.slice(1)}`} done={done} total={total} note={words} onCancel={cancel} />;
}

function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  return seconds < 100 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

function Shown() {
  const { name, results, report, table, unsaved, trained } = shown.value!;
  const facts = kept.value?.find((one) => one.name === name);
  const hasTrained = trained ? Object.keys(trained).length > 0 : (facts?.trained ?? 0) > 0;
  const open = (): void => {
    const url = URL.createObjectURL(new Blob([report], { type: 'text/html' }));
    window.open(url, '_blank');
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  };
  return (
    <section aria-labelledby="evaluate-shown-title" id="evaluate-shown">
      <h2 id="evaluate-shown-title">{name}</h2>
      {unsaved && <Notice kind="warning" id="evaluate-unsaved">The browser did not keep this evaluation: {unsaved}. Save the files below.</Notice>}
      <div class="row">
        <button type="button" id="evaluate-save-results" onClick={() => saveAs('results.json', results, 'application/json')}>Save results.json</button>
        <button type="button" id="evaluate-save-report" onClick={() => saveAs('report.html', report, 'text/html')}>Save report.html</button>
        {hasTrained && <button type="button" id="evaluate-save-trained" onClick={() => void saveTrained()}>Save the trained dictionaries</button>}
        <button type="button" id="evaluate-open" onClick={open}>Open the report in a tab</button>
      </div>
      <div class="scroll" tabIndex={0} role="region" aria-label="Summary"><pre id="evaluate-table">{table}</pre></div>
      <Report html={report} />
    </section>
  );
}

/** The report as it is, as high as it is. */
function Report({ html }: { html: string }) {
  const frame = useRef<HTMLIFrameElement>(null);
  const [height, setHeight] = useState(600);
  const [watch, setWatch] = useState<ResizeObserver | null>(null);
  const onLoad = (): void => {
    watch?.disconnect();
    const root = frame.current?.contentDocument?.documentElement;
    if (!root) return;
    const observer = new ResizeObserver(() => setHeight(root.getBoundingClientRect().height));
    observer.observe(root);
    setWatch(observer);
  };
  useEffect(() => () => watch?.disconnect(), [watch]);
  return <iframe ref={frame} id="evaluate-report" title="The report" srcdoc={html} style={{ height: `${Math.ceil(height)}px` }} onLoad={onLoad} />;
}

function Kept() {
  const list = kept.value;
  if (!list || list.length === 0) return null;
  return (
    <section aria-labelledby="evaluate-kept-title" id="evaluate-kept">
      <h2 id="evaluate-kept-title">Evaluations that this browser keeps</h2>
      <ul class="evaluate-kept">
        {list.map(({ name, prompts, seconds, trained, bytes: size }) => (
          <li key={name}>
            <span><strong>{name}</strong> <span class="muted">{prompts} prompts in {duration(1000 * seconds)}{trained > 0 ? `, ${trained} trained SAEs` : ''}, {bytes(size)}</span></span>
            <span class="row">
              <button type="button" class="small" aria-label={`Show ${name}`} onClick={() => void reopen(name)}>Show</button>
              <button type="button" class="small" aria-label={`Delete ${name}`} onClick={() => { if (confirm(`Delete the evaluation ${name} and its ${trained} trained SAEs?`)) void remove(name); }}>Delete</button>
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
