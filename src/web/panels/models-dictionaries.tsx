/** The dictionaries beside the model, and those that come with the page. */
import { useEffect, useState } from 'preact/hooks';
import { addDictionary, embeddedDictionaries, removeDictionary, type Beside } from '../client.ts';
import { Notice } from '../parts/basic.tsx';
import type { DictionaryFacts } from '../protocol.ts';
import { dictionaries, EMBEDDED, model } from '../state.ts';
import { Keeping } from './models-current.tsx';
import { keep, keeping, whereFrom } from './models-state.ts';

export function Dictionaries() {
  const all = dictionaries.value;
  return (
    <section aria-labelledby="models-dictionaries-title">
      <h2 id="models-dictionaries-title">Dictionaries</h2>
      {all.length === 0 ? <p class="muted">None is loaded beside the model. Open some above, or train one.</p> : (
        <ul class="plain cards" id="models-dictionaries">
          {all.map((facts) => <li key={facts.id}><Loaded facts={facts} /></li>)}
        </ul>
      )}
      <Embedded />
    </section>
  );
}

function Loaded({ facts }: { facts: DictionaryFacts }) {
  const { id, name, features, width, variant, site, hook, head, origin, notes, about } = facts;
  return (
    <div class="found">
      <div class="row">
        <span class="name">
          <strong>{name}</strong> {features} features × {width}, {variant}, at <code>{site ?? (head === null ? hook : `${hook}:${head}`)}</code> <span class="muted">({whereFrom(origin)})</span>
        </span>
        {origin.kind === 'files' && <button type="button" class="small" disabled={keeping.value?.word === null} onClick={() => void keep(id)}>Keep<span class="visually-hidden"> {name} in this browser</span></button>}
        <button type="button" class="small" onClick={() => void removeDictionary(id).catch(() => {})}>Remove<span class="visually-hidden"> {name}</span></button>
      </div>
      {notes.length > 0 && <ul class="notes muted">{notes.map((text) => <li key={text}>{text}</li>)}</ul>}
      <details><summary>What its files say</summary><pre>{JSON.stringify(about, null, 2)}</pre></details>
      <Keeping what={id} />
    </div>
  );
}

/** Those that come with the page and are not loaded. */
function Embedded() {
  const [list, setList] = useState<Beside[]>([]);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => { void embeddedDictionaries(EMBEDDED).then(setList); }, []);
  const left = list.filter(({ id }) => !dictionaries.value.some((one) => one.id === id));
  if (left.length === 0) return null;
  const take = ({ origin }: Beside): void => {
    setProblem(null);
    addDictionary(origin).catch((error: Error) => { if (error.name !== 'AbortError') setProblem(error.message); });
  };
  return (
    <>
      <h3 id="models-embedded-title">Those that come with the page</h3>
      <ul class="plain row" id="models-embedded-list" aria-labelledby="models-embedded-title">
        {left.map((one) => <li key={one.id}><button type="button" class="small" disabled={!model.value} onClick={() => take(one)}>Add {one.id}</button></li>)}
      </ul>
      {problem && <Notice kind="error" id="models-embedded-problem">{problem}</Notice>}
    </>
  );
}
