/** Benchmark: this browser's adapter, and every kernel, the model and training measured against it. */
import { Field, Notice, Progress, saveAs } from '../parts/basic.tsx';
import { device, paramsOf, setParams } from '../state.ts';
import { begin, ceilings, problem, result, rows, stop, underWay } from './benchmark-run.ts';
import './benchmark.css';

const GROUPS = ['kernels', 'model', 'training'] as const;

export function BenchmarkPanel() {
  const params = paramsOf('benchmark').value;
  const groups = params.groups === undefined ? [...GROUPS] : GROUPS.filter((group) => params.groups!.split(',').includes(group));
  const words = (params.words ?? '').split(',').map((word) => word.trim()).filter(Boolean);
  const samples = Number(params.samples ?? 5);
  const wrongSamples = !(Number.isInteger(samples) && samples >= 1 && samples <= 99);
  const nothing = words.length === 0 && groups.length === 0;
  const set = (changes: Readonly<Record<string, string | undefined>>): void => setParams('benchmark', changes);
  const asked = { names: words.length > 0 ? words : groups.length === GROUPS.length ? [] : groups, full: params.full === '1', samples, peers: params.peers === '1' };
  return (
    <>
      <section aria-labelledby="benchmark-title">
        <h2 id="benchmark-title">Benchmark</h2>
        <p class="muted">Measures what this adapter can do at most, then every kernel, the model and training against that. Every result is checked against float64 before it is timed. Leave the tab in front while it runs.</p>
        <form onSubmit={(event) => { event.preventDefault(); void begin(asked); }}>
          <fieldset class="benchmark-groups">
            <legend>What is measured</legend>
            {GROUPS.map((group) => (
              <label key={group} class="check"><input type="checkbox" id={`benchmark-${group}`} disabled={words.length > 0} checked={groups.includes(group)} onChange={(event) => set({ groups: GROUPS.filter((one) => (one === group ? event.currentTarget.checked : groups.includes(one))).join(',') })} /> {group}</label>
            ))}
            <label class="check"><input type="checkbox" id="benchmark-full" checked={asked.full} onChange={(event) => set({ full: event.currentTarget.checked ? '1' : undefined })} /> the long ones too</label>
            <label class="check"><input type="checkbox" id="benchmark-peers" checked={asked.peers} onChange={(event) => set({ peers: event.currentTarget.checked ? '1' : undefined })} /> beside other engines (jax-js, TensorFlow.js, ONNX Runtime)</label>
          </fieldset>
          <div class="row">
            <Field id="benchmark-words" label="Or only rows with these words, separated by commas" wide hint="such as matmul, attention, 64 to 512">{(id) => <input type="text" id={id} value={params.words ?? ''} autocomplete="off" onInput={(event) => set({ words: event.currentTarget.value || undefined })} />}</Field>
            <Field id="benchmark-samples" label="Samples" error={wrongSamples ? 'a whole number from 1 to 99' : null}>{(id) => <input type="number" id={id} min={1} max={99} value={params.samples ?? 5} onInput={(event) => set({ samples: event.currentTarget.value })} />}</Field>
            <button type="submit" class="primary" id="benchmark-run" disabled={wrongSamples || nothing || underWay.value !== null || !device.value}>Measure</button>
          </div>
          {nothing && <p class="field-error" role="alert">choose a group, or write a word</p>}
        </form>
        {underWay.value && (
          <div class="benchmark-running">
            <Progress id="benchmark-progress" label={underWay.value.total > 0 ? `Row ${underWay.value.at + 1} of ${underWay.value.total}` : 'Opening a device'} done={underWay.value.at} total={underWay.value.total} note={underWay.value.what} />
            <button type="button" id="benchmark-stop" onClick={stop}>Stop and keep what was measured</button>
          </div>
        )}
        {problem.value && <Notice kind="error" id="benchmark-problem">{problem.value}</Notice>}
        {ceilings.value && <p class="muted" id="benchmark-ceilings" role="status">{ceilings.value.adapter}: {result.value?.ceilings ?? ceilings.value.line}.</p>}
      </section>
      {rows.value.lines.length > 0 && <Rows />}
    </>
  );
}

function Rows() {
  const { columns, lines } = rows.value;
  const done = result.value;
  return (
    <section aria-labelledby="benchmark-rows-title">
      <h2 id="benchmark-rows-title">{lines.length} {lines.length === 1 ? 'row' : 'rows'}{done ? ` in ${Math.round(done.seconds)} s${done.interrupted ? ', stopped' : ''}` : ' so far'}</h2>
      {done && done.wrong > 0 && <Notice kind="error" id="benchmark-wrong">{done.wrong} of the results were wrong on this adapter: see the notes. That is a fault worth reporting.</Notice>}
      {done && (
        <div class="row benchmark-save">
          <button type="button" id="benchmark-save" onClick={() => saveAs('bench.json', done.json, 'application/json')}>Save bench.json</button>
          <button type="button" id="benchmark-save-page" onClick={() => saveAs('bench.html', done.page, 'text/html')}>Save the page with charts</button>
        </div>
      )}
      <div class="scroll" tabIndex={0} role="region" aria-label="All rows">
        <table id="benchmark-rows">
          <caption>Of ceiling: the share of the ceiling that binds, C multiply-adds, M bandwidth. Needs: what one run has to do and move at least. {done && done.columns.length > 9 ? 'A peer’s cell: how many times as quick ours was, and the peer’s own time; * where bytes are moved at every run.' : ''}</caption>
          <thead><tr>{columns.map(({ head, left }) => <th key={head} scope="col" class={left ? 'text' : ''}>{head}</th>)}</tr></thead>
          <tbody>{lines.map((line, i) => <tr key={i}>{line.map((cell, at) => <td key={at} class={columns[at]?.left ? 'text' : ''}>{cell}</td>)}</tr>)}</tbody>
        </table>
      </div>
      {done && done.notes.length > 0 && <ul class="benchmark-notes" id="benchmark-notes">{done.notes.map((note) => <li key={note}>{note}</li>)}</ul>}
    </section>
  );
}
