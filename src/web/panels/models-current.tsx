/** The model in use: what it is, where it comes from, what it takes on the device. */
import { useEffect, useState } from 'preact/hooks';
import { useModel, engine } from '../client.ts';
import { Notice, Progress } from '../parts/basic.tsx';
import { bytes, count } from '../parts/format.ts';
import type { MemoryFacts } from '../protocol.ts';
import { dictionaries, EMBEDDED, epoch, loading, model, modelForm, modelOrigin, phase } from '../state.ts';
import { keep, keeping, processingNames, stopKeep, whereFrom } from './models-state.ts';

export function CurrentModel() {
  const [problem, setProblem] = useState<string | null>(null);
  const facts = model.value;
  const take = (...[origin, options]: Parameters<typeof useModel>): void => {
    setProblem(null);
    useModel(origin, options).catch((error: Error) => { if (error.name !== 'AbortError') setProblem(error.message); });
  };
  const other = facts?.weights === 'f32' ? 'f16' : 'f32';
  return (
    <section aria-labelledby="models-title">
      <h2 id="models-title">Model</h2>
      {!facts && <p class="muted" id="models-none" role="status">{loading.value ? 'A model is being loaded.' : phase.value === 'open' ? 'No model is loaded.' : 'There is no device to load a model on.'}</p>}
      {facts && (
        <dl id="models-current">
          <dt>Name</dt><dd><strong>{facts.name}</strong> <span class="muted">({whereFrom(facts.origin)})</span></dd>
          <dt>Shape</dt><dd>{facts.config.layers} layers of {facts.config.heads} heads, width {facts.config.width}, vocabulary {facts.config.vocabulary}, up to {facts.config.context} tokens</dd>
          <dt>Size</dt><dd>{count(facts.parameters)} parameters, {bytes(facts.bytes)} on the device ({facts.weights}; {processingNames(facts.processing)})</dd>
          <dt>Task</dt><dd>{facts.task ? `${facts.task.name}: ${facts.task.attributes.join(', ')}` : facts.taskProblem}</dd>
          <dt>Device memory</dt><dd><Memory /></dd>
        </dl>
      )}
      <div class="row actions">
        {modelOrigin.value.kind !== 'embedded' || !facts ? <button type="button" id="models-embedded" disabled={phase.value !== 'open' || loading.value !== null} onClick={() => take(EMBEDDED)}>Use the model of this page</button> : null}
        {facts && <button type="button" id="models-form" disabled={loading.value !== null} onClick={() => take(modelOrigin.peek(), { ...modelForm.peek(), weights: other, beside: dictionaries.peek() })}>Load it again as {other}</button>}
        {facts?.origin.kind === 'files' && <button type="button" id="models-keep" disabled={keeping.value?.word === null} onClick={() => void keep('model')}>Keep it in this browser</button>}
        {loading.value && <button type="button" id="models-stop" onClick={() => void engine().cancel('load')}>Cancel loading</button>}
      </div>
      <Keeping what="model" />
      {problem && <Notice kind="error" id="models-problem">{problem}</Notice>}
    </section>
  );
}

/** Bytes of the engine's buffers, asked for again when what is loaded changes. */
function Memory() {
  const [memory, setMemory] = useState<MemoryFacts | null>(null);
  const at = `${epoch.value} ${dictionaries.value.length}`;
  useEffect(() => {
    let current = true;
    engine().memory().then((now) => { if (current) setMemory(now); }).catch(() => {});
    return () => { current = false; };
  }, [at]);
  return <span id="models-memory">{memory ? `${bytes(memory.live)} in ${memory.liveBuffers} buffers, with dictionaries and what panels keep` : '…'}</span>;
}

/** What becomes of keeping something. */
export function Keeping({ what }: { what: string }) {
  const now = keeping.value;
  if (now?.what !== what) return null;
  if (now.word) return <Notice kind={now.word.kind} id="models-kept">{now.word.text}</Notice>;
  return <Progress id="models-keeping" label="Copying into the browser’s storage" done={now.done} total={now.total} note={now.total > 0 ? `${bytes(now.done)} of ${bytes(now.total)}` : ''} onCancel={stopKeep} />;
}
