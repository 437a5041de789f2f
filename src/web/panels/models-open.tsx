/** Opening models and dictionaries: from this computer, from a hub. What was found is shown before anything of it is loaded. */
import { useEffect, useState } from 'preact/hooks';
import { Field, Notice } from '../parts/basic.tsx';
import { paramsOf, setParams } from '../state.ts';
import { openChosen } from './models-files.ts';
import { FoundDictionaries, FoundModel } from './models-found.tsx';
import { choose, open, opened, stopLook } from './models-state.ts';

export function OpenFiles() {
  const now = opened.value;
  return (
    <section aria-labelledby="models-open-title">
      <h2 id="models-open-title">Open a model or dictionaries</h2>
      <div class="columns">
        <FromComputer />
        <FromHub />
      </div>
      {now && (
        <div id="models-found" aria-live="polite">
          <h3>{now.name}</h3>
          {now.looking && <p class="muted row">Looking into its files… <button type="button" class="small" onClick={stopLook}>Cancel</button></p>}
          {now.problem && <Notice kind="error" id="models-look-problem">{now.problem}</Notice>}
          {now.models.length > 1 && (
            <ul class="plain" id="models-several" aria-label="Models that were found">
              {now.models.map((origin) => <li key={nameOf(origin)}><button type="button" class="link" onClick={() => void choose(origin)}>{nameOf(origin)}</button></li>)}
            </ul>
          )}
          {now.model && <FoundModel card={now.model} />}
          {now.dictionaries.length > 0 && <FoundDictionaries cards={now.dictionaries} />}
        </div>
      )}
    </section>
  );
}

const nameOf = (origin: Parameters<typeof choose>[0]): string => (origin.kind === 'hub' ? origin.address : origin.kind === 'files' ? origin.name : origin.path);

function FromComputer() {
  const take = (event: { currentTarget: HTMLInputElement }): void => {
    void openChosen(event.currentTarget.files);
  };
  return (
    <div class="card" role="group" aria-labelledby="models-local-title">
      <h3 id="models-local-title">From this computer</h3>
      <p class="hint muted">A model: <code>config.json</code>, <code>model.safetensors</code> (or its shards) and <code>tokenizer.json</code>. Dictionaries: folders of SAELens, sparsify or dictionary_learning, and <code>.pt</code> files. Drop files or folders anywhere on this panel, or choose them here. They stay on this computer.</p>
      <div class="row">
        <Field label="Files" id="models-files">{(id) => <input id={id} type="file" multiple onChange={take} onClick={(event) => { event.currentTarget.value = ''; }} />}</Field>
        <Field label="A folder" id="models-folder">{(id) => <input id={id} type="file" ref={(input) => input?.setAttribute('webkitdirectory', '')} onChange={take} onClick={(event) => { event.currentTarget.value = ''; }} />}</Field>
      </div>
    </div>
  );
}

function FromHub() {
  const { hub = '', endpoint = '' } = paramsOf('models').value;
  const [advanced, setAdvanced] = useState(endpoint !== '');
  useEffect(() => { if (endpoint) setAdvanced(true); }, [endpoint]);
  const look = (event: Event): void => {
    event.preventDefault();
    const address = hub.trim().replace(/^hub:/, '');
    if (address) void open({ kind: 'hub', address, ...(endpoint.trim() ? { endpoint: endpoint.trim() } : {}) }, address);
  };
  return (
    <form class="card" aria-labelledby="models-hub-title" onSubmit={look}>
      <h3 id="models-hub-title">From the Hugging Face hub</h3>
      <div class="row">
        <Field label="Repository" id="models-hub" wide hint="gpt2, owner/name, owner/name@revision, owner/name/folder or owner/name/file.pt">
          {(id) => <input id={id} type="text" spellcheck={false} autocapitalize="off" autocomplete="off" value={hub} onInput={(event) => setParams('models', { hub: event.currentTarget.value || undefined })} />}
        </Field>
        <button type="submit" id="models-hub-look" disabled={hub.trim() === ''}>Look</button>
      </div>
      <details open={advanced} onToggle={(event) => setAdvanced(event.currentTarget.open)}>
        <summary>Advanced</summary>
        <Field label="Address of a mirror" id="models-endpoint" hint="https://huggingface.co unless given; it has to allow other sites to read it (CORS)">
          {(id) => <input id={id} type="text" inputMode="url" spellcheck={false} autocomplete="off" value={endpoint} onInput={(event) => setParams('models', { endpoint: event.currentTarget.value || undefined })} />}
        </Field>
      </details>
      <p class="hint muted">Looking reads descriptions and headers. What is downloaded is checked, kept in this browser, and never asked for again.</p>
    </form>
  );
}
