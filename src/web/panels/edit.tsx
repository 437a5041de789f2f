/** Edit: who the sentence is about, or what a feature says, changed inside the model; and what the model makes of it. */
import { useState } from 'preact/hooks';
import { proxy } from 'comlink';
import { engine } from '../client.ts';
import type { SectionFound } from '../engine/edit-facts.ts';
import { useAsked } from '../parts/asked.ts';
import { Field, Notice, Progress, Select, type Option } from '../parts/basic.tsx';
import { dictionaries, linkTo, model } from '../state.ts';
import { FeatureList } from './edit-features.tsx';
import { Outcomes } from './edit-outcomes.tsx';
import { askedOf, BY, byHandDictionary, CHOICES, choose, METHODS, readChoices, sitesIn, type By, type Choices } from './edit-state.ts';
import './edit.css';

/** Milliseconds of rest before what is being typed is run. */
const TYPING = 250;

export function EditPanel() {
  return (
    <>
      <h2 id="edit-title" class="visually-hidden">Edit</h2>
      {model.value ? <Loaded /> : <section><p class="muted">Waiting for a model…</p></section>}
    </>
  );
}

function Loaded() {
  const facts = model.value!;
  const choices = readChoices(facts);
  const question = askedOf(choices);
  const asked = useAsked(question && JSON.stringify([facts.hash, question]), () => engine().edit.show(question!), TYPING);
  const shown = asked.value;
  const names = facts.task?.values.IO ?? [];
  return (
    <>
      <section aria-labelledby="edit-title">
        <div class="row">
          <Field id="edit-prompt" label="Prompt" wide error={asked.error}>
            {(id) => <textarea id={id} rows={2} spellcheck={false} value={choices.text ?? shown?.text ?? ''} onInput={(event) => choose({ prompt: event.currentTarget.value })} />}
          </Field>
        </div>
        <div class="row edit-actions">
          {facts.task && <button type="button" id="edit-sample" onClick={() => choose({ prompt: null, seed: choices.seed + (choices.text === null ? 1 : 0), io: null, s: null })}>Another task prompt</button>}
          {shown?.task && <span class="muted" id="edit-attributes">{Object.entries(shown.task.attributes).map(([name, { value }]) => `${name} ${value}`).join(' · ')}</span>}
        </div>
        <fieldset class="edit-by">
          <legend>Edit with</legend>
          {(Object.entries(BY) as [By, string][]).map(([by, label]) => (
            <label key={by} class="check"><input type="radio" name="edit-by" value={by} checked={choices.by === by} disabled={by !== 'hand' && !facts.task} onChange={() => choose({ by })} /> {label}</label>
          ))}
        </fieldset>
        {choices.by === 'hand' ? <ByHand choices={choices} /> : <Towards choices={choices} names={names} shown={shown?.change ?? null} attributes={shown?.task?.attributes ?? {}} />}
        {choices.problems.length > 0 && <Notice kind="warning" id="edit-address">{choices.problems.join('; ')}. The usual is shown instead.</Notice>}
        {!question && <Notice kind="note" id="edit-none">No dictionary is loaded: <a href="#models">load one</a>, or <a href="#train">train one</a>.</Notice>}
      </section>
      {shown && choices.by === 'hand' && <FeatureList shown={shown} choices={choices} stale={!asked.current} />}
      {shown && <Outcomes shown={shown} choices={choices} stale={!asked.current} link={new URL(linkTo('edit'), location.href).href} />}
      {!shown && question && !asked.error && <p class="muted" role="status">Running…{choices.by === 'supervised' && ' The first time, codes are fitted on 1,000 prompts of the task: with a large model and without a GPU that takes minutes.'}</p>}
    </>
  );
}

/** Edits towards a counterfactual: what changes, how, and where. */
function Towards({ choices, names, shown, attributes }: { choices: Choices; names: readonly string[]; shown: { names: [string, string] } | null; attributes: Readonly<Record<string, { value: string }>> }) {
  const person = (param: 'io' | 's', label: string, value: string | null, usual: string | undefined) => (
    <Field id={`edit-${param}`} label={label} error={value && !names.includes(value) ? `${value} is none of the task’s ${names.length} names` : null}>
      {(id) => <input type="text" id={id} list="edit-names" value={value ?? ''} placeholder={usual ?? ''} autocomplete="off" spellcheck={false} onInput={(event) => choose({ [param]: event.currentTarget.value.trim() || null })} />}
    </Field>
  );
  return (
    <>
      <datalist id="edit-names">{names.map((name) => <option key={name} value={name} />)}</datalist>
      <div class="row">
        {person('s', `S becomes (is ${attributes.S?.value ?? '…'})`, choices.s, shown?.names[1])}
        {person('io', `IO becomes (is ${attributes.IO?.value ?? '…'})`, choices.io, shown?.names[0])}
        <label class="check edit-swap"><input type="checkbox" id="edit-swap" checked={choices.swap} onChange={(event) => choose({ swap: event.currentTarget.checked ? 1 : null })} /> the first two names change places (Pos)</label>
      </div>
      <div class="row">
        {choices.by === 'supervised'
          ? <Field id="edit-method" label="How">{(id) => <Select id={id} value={choices.method} options={optionsOf(METHODS)} onChange={(method) => choose({ method })} />}</Field>
          : <>
            <Field id="edit-choice" label="Which features change">{(id) => <Select id={id} value={choices.features} options={optionsOf(CHOICES)} onChange={(features) => choose({ features })} />}</Field>
            {choices.features !== 'threshold' && <Field id="edit-k" label="At most k">{(id) => <input type="number" id={id} min={1} max={64} value={choices.k} onInput={(event) => { if (event.currentTarget.valueAsNumber >= 1) choose({ k: Math.floor(event.currentTarget.valueAsNumber) }); }} />}</Field>}
          </>}
      </div>
      <Where choices={choices} />
    </>
  );
}

function Where({ choices }: { choices: Choices }) {
  const { task } = model.value!;
  const [found, setFound] = useState<{ hash: string; sections: SectionFound[] } | null>(null);
  const [search, setSearch] = useState<{ done: number; total: number } | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const { hash } = model.value!;
  const sections = found?.hash === hash ? found.sections : task?.sections?.map((one) => ({ ...one, attributes: [] })) ?? [];
  const ofDictionaries = [...new Set(dictionaries.value.flatMap(({ site }) => (site ? [site] : [])))];
  const options: Option[] = [
    ...sections.map(({ name, sites, attributes }) => ({ value: sites.join(','), label: `${name}: ${sites.length} ${sites.length === 1 ? 'site' : 'sites'}${attributes.length > 0 ? `, moved by ${attributes.join(', ')}` : ''}`, group: 'Cross-sections' })),
    ...ofDictionaries.map((site) => ({ value: site, label: site, group: 'Sites with a dictionary' })),
  ];
  const where = sitesIn(choices.where).join(',');
  const known = options.some(({ value }) => value === where);
  const look = async (): Promise<void> => {
    setProblem(null);
    setSearch({ done: 0, total: 0 });
    try {
      setFound({ hash, sections: await engine().edit.sections(proxy((done: number, total: number) => setSearch({ done, total }))) });
    } catch (error) {
      if ((error as Error).name !== 'AbortError') setProblem((error as Error).message);
    } finally {
      setSearch(null);
    }
  };
  return (
    <>
      <div class="row">
        <Field id="edit-where" label="Where">
          {(id) => <Select id={id} value={known ? where : ''} options={[...options, ...(known ? [] : [{ value: '', label: 'the sites written here' }])]} onChange={(value) => { if (value) choose({ where: value }); }} />}
        </Field>
        <Field id="edit-sites" label="Sites, separated by commas" wide hint="{q|k|v|z}@L{layer}H{head}@{position}; positions are io, s1, s1+1, s2, end. All are edited together.">
          {(id) => <input type="text" id={id} class="mono" value={choices.where} spellcheck={false} autocomplete="off" onInput={(event) => choose({ where: event.currentTarget.value })} />}
        </Field>
        {!task?.sections && found?.hash !== hash && !search && <button type="button" id="edit-find" onClick={() => void look()}>Find cross-sections</button>}
      </div>
      {search && <Progress id="edit-search" label="Patching every head at every position" done={search.done} total={search.total} onCancel={() => void engine().cancel('edit-sections')} />}
      {problem && <Notice kind="error" id="edit-problem">{problem}</Notice>}
    </>
  );
}

function ByHand({ choices }: { choices: Choices }) {
  const own = byHandDictionary(choices);
  const options = dictionaries.value.map(({ id, name, features }) => ({ value: id, label: `${name}, ${features} features` }));
  if (!own) return null;
  return (
    <div class="row">
      <Field id="edit-dictionary" label="Dictionary">{(id) => <Select id={id} value={own.id} options={options} onChange={(dictionary) => choose({ dictionary, change: null, token: null })} />}</Field>
    </div>
  );
}

function optionsOf(labels: Readonly<Record<string, string>>): Option[] {
  return Object.entries(labels).map(([value, label]) => ({ value, label: `${value}: ${label}` }));
}
