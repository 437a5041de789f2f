/** The features that are active at a token, each with what it is to do. */
import { useState } from 'preact/hooks';
import type { EditShown, FeatureChange } from '../engine/edit-facts.ts';
import { Field } from '../parts/basic.tsx';
import { figure, percent, visible } from '../parts/format.ts';
import { byHandDictionary, choose, writeChanges, type Choices } from './edit-state.ts';

/** Rows that are shown at first. */
const FIRST = 12;

export function FeatureList({ shown, choices, stale }: { shown: EditShown; choices: Choices; stale: boolean }) {
  const [all, setAll] = useState(false);
  const { changes } = choices;
  const dictionary = byHandDictionary(choices)!;
  const set = (feature: number, change: Omit<FeatureChange, 'feature'> | null): void => {
    choose({ change: writeChanges([...changes.filter((one) => one.feature !== feature), ...(change ? [{ feature, ...change }] : [])].sort((a, b) => a.feature - b.feature)) });
  };
  const added = changes.filter(({ feature }) => !shown.active.some((one) => one.feature === feature));
  const rows = [...added.map(({ feature }) => ({ feature, code: 0, contribution: 0 })), ...(all ? shown.active : shown.active.slice(0, FIRST))];
  return (
    <section aria-labelledby="edit-features-title" class={stale ? 'edit-stale' : ''}>
      <h2 id="edit-features-title">Active features</h2>
      <p class="muted hint">Choose the token at which they change:</p>
      <div class="tokens" id="edit-tokens" role="group" aria-label="Token at which features change">
        {shown.tokens.map(({ text }, at) => (
          <button key={at} type="button" class="token" aria-pressed={at === shown.token} onClick={() => choose({ token: at })}>{visible(text)}</button>
        ))}
      </div>
      <div class="scroll">
        <table id="edit-features">
          <caption>{shown.active.length} of {dictionary.features} features are active; the heaviest come first</caption>
          <thead><tr><th class="text" scope="col">Feature</th><th scope="col">Code</th><th scope="col">Weight</th><th class="text" scope="col">Change</th></tr></thead>
          <tbody>
            {rows.map(({ feature, code, contribution }) => {
              const change = changes.find((one) => one.feature === feature);
              return (
                <tr key={feature} class={change ? 'chosen' : ''}>
                  <th scope="row" class="text">{feature}</th><td>{code === 0 ? 'silent' : figure(code)}</td><td>{code === 0 ? '–' : percent(contribution)}</td>
                  <td class="text">
                    <span class="edit-change">
                      <select aria-label={`What feature ${feature} does`} value={change?.how ?? ''} onChange={(event) => {
                        const how = event.currentTarget.value as FeatureChange['how'] | '';
                        set(feature, how === '' ? null : { how, value: how === 'scale' ? 2 : how === 'add' ? Number(figure(Math.max(1, Math.abs(code)))) : 0 });
                      }}>
                        <option value="" selected={!change}>stays</option>
                        <option value="remove" selected={change?.how === 'remove'} disabled={code === 0}>is removed</option>
                        <option value="scale" selected={change?.how === 'scale'} disabled={code === 0}>is scaled ×</option>
                        <option value="add" selected={change?.how === 'add'}>gets more by</option>
                      </select>
                      {change && change.how !== 'remove' && (
                        <input type="number" step="any" aria-label={change.how === 'scale' ? `Factor of feature ${feature}` : `What is added of feature ${feature}`} value={change.value}
                          onInput={(event) => { const value = event.currentTarget.valueAsNumber; if (Number.isFinite(value)) set(feature, { how: change.how, value }); }} />
                      )}
                    </span>
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
      <div class="row edit-more">
        {shown.active.length > FIRST && <button type="button" class="small" onClick={() => setAll(!all)}>{all ? `Only the first ${FIRST}` : `All ${shown.active.length}`}</button>}
        {changes.length > 0 && <button type="button" class="small" id="edit-reset" onClick={() => choose({ change: null })}>Leave all as they are</button>}
        <AddFeature count={dictionary.features} onAdd={(feature) => set(feature, { how: 'add', value: 1 })} />
      </div>
    </section>
  );
}

function AddFeature({ count, onAdd }: { count: number; onAdd: (feature: number) => void }) {
  const [text, setText] = useState('');
  const feature = Number(text);
  const problem = text !== '' && !(Number.isInteger(feature) && feature >= 0 && feature < count) ? `features are 0 to ${count - 1}` : null;
  return (
    <form class="edit-add" onSubmit={(event) => { event.preventDefault(); if (text !== '' && !problem) { onAdd(feature); setText(''); } }}>
      <Field id="edit-add-feature" label="Another feature" error={problem}>{(id) => <input type="number" id={id} min={0} max={count - 1} value={text} onInput={(event) => setText(event.currentTarget.value)} />}</Field>
      <button type="submit" class="small" disabled={text === '' || problem !== null}>Add it</button>
    </form>
  );
}
