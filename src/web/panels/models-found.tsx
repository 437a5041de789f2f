/** A model that was found, with what it takes before it is loaded; dictionaries that were found. */
import { useEffect, useState } from 'preact/hooks';
import type { WeightProcessing, WeightType } from '../../model/index.ts';
import { Field, Notice, Progress } from '../parts/basic.tsx';
import { bytes, count } from '../parts/format.ts';
import type { FileFacts } from '../protocol.ts';
import { device, dictionaries, model } from '../state.ts';
import { addFound, keptVersion, loadFor, loadModel, place, processingNames, stopDictionary, stopModel, type DictionaryCard, type ModelCard, type Stage } from './models-state.ts';

const FORMS = ['f32', 'f16'] as const;
/** Kinds of processing of weights, those of the library. */
const KINDS: readonly [kind: keyof WeightProcessing, what: string][] = [
  ['foldLn', 'layer norms move into the matrices that read from them'], ['centerWritingWeights', 'what is written to the residual stream has mean zero'],
  ['centerUnembed', 'logits have mean zero'], ['foldValueBiases', 'values’ biases move into the attention output’s'],
  ['refactorFactoredAttnMatrices', 'heads in the bases of their singular vectors'],
];
const missingBytes = (files: readonly FileFacts[]): number => files.reduce((sum, one) => sum + one.bytes - one.kept, 0);

export function FoundModel({ card }: { card: ModelCard }) {
  const { config, forms, name, origin, parameters, tokenizer } = card.outlook;
  const [wanted, setWanted] = useState<WeightType>('f32');
  const weights = forms[wanted].refusal ? FORMS.find((form) => !forms[form].refusal) ?? wanted : wanted;
  const [processing, setProcessing] = useState<Partial<WeightProcessing>>({});
  const { largest } = forms[weights];
  const busy = card.stage === 'downloading' || card.stage === 'loading';
  const missing = missingBytes(card.files);
  const refused = FORMS.every((form) => forms[form].refusal);
  const facts = device.value;
  return (
    <div class="found" id="models-outlook">
      <dl>
        <dt>Model</dt><dd><strong>{name}</strong></dd>
        <dt>Shape</dt><dd>{config.layers} layers of {config.heads} heads, width {config.width}, vocabulary {config.vocabulary}, up to {config.context} tokens{tokenizer ? '' : '; it has no tokenizer.json, so that prompts cannot be typed'}</dd>
        <dt>Parameters</dt><dd>{count(parameters)}</dd>
        <dt>Files</dt><dd>{bytes(card.files.reduce((sum, one) => sum + one.bytes, 0))}{origin.kind === 'hub' && (missing === 0 ? ', all in this browser' : `, of which ${bytes(missing)} are to be downloaded`)}</dd>
        {origin.kind === 'hub' && missing > 0 && <><dt>Browser’s storage</dt><dd><Room /></dd></>}
        <dt>On the device</dt><dd>{FORMS.map((form) => `${bytes(forms[form].bytes)} as ${form}`).join(', ')}</dd>
        <dt>Largest tensor</dt>
        <dd>{largest.name}, {bytes(largest.bytes)}{facts && `; this adapter’s buffers hold ${bytes(facts.bufferBytes)}, a binding ${bytes(facts.bindingBytes)}`}{largest.windows > 1 && `, so that it is bound in ${largest.windows} windows of rows`}</dd>
      </dl>
      {FORMS.map((form) => forms[form].refusal).filter(Boolean).map((text) => <Notice key={text} kind="error" id="models-refusal">It does not fit: {text}.</Notice>)}
      <fieldset class="forms" disabled={busy}>
        <legend>Weights on the device</legend>
        {FORMS.map((form) => (
          <label key={form} class="check">
            <input type="radio" name="models-form" value={form} checked={weights === form} disabled={forms[form].refusal !== null} onChange={() => setWanted(form)} />
            {form}{form === 'f16' ? ', half the memory, rounded to 11 binary digits' : ', as published'}
          </label>
        ))}
      </fieldset>
      <details>
        <summary>Process its weights</summary>
        <p class="hint muted">Most published dictionaries were trained on models whose weights TransformerLens had processed. A dictionary that needs it says so when it is added. A processed unembedding takes {bytes(forms[weights].unembedBytes)} more on the device.</p>
        <fieldset class="forms" disabled={busy}>
          <legend>As TransformerLens does it</legend>
          {KINDS.map(([kind, what]) => (
            <label key={kind} class="check"><input type="checkbox" value={kind} checked={processing[kind] ?? false} onChange={(event) => setProcessing({ ...processing, [kind]: event.currentTarget.checked })} /><span>{kind} <span class="muted">({what})</span></span></label>
          ))}
        </fieldset>
      </details>
      <div class="row actions">
        <button type="button" class="primary" id="models-load" disabled={busy || refused || !facts} onClick={() => void loadModel({ weights, processing })}>{missing > 0 ? `Download ${bytes(missing)} and load` : 'Load'}</button>
        {busy && <button type="button" id="models-cancel" onClick={stopModel}>Cancel</button>}
      </div>
      {card.stage === 'downloading' && <Bars files={card.files} />}
      {card.word && <Notice kind={card.word.kind} id="models-word">{card.word.text}{card.word.kind === 'error' && model.value && ` ${model.value.name} is in use.`}</Notice>}
    </div>
  );
}

/** A bar for each file. */
function Bars({ files }: { files: readonly FileFacts[] }) {
  return <div class="bars">{files.map(({ path, bytes: all, kept }) => <Progress key={path} label={path} done={kept} total={all} note={`${bytes(kept)} of ${bytes(all)}`} />)}</div>;
}

/** What the browser has left for this site, as it says. */
function Room() {
  const [text, setText] = useState('');
  const version = keptVersion.value;
  useEffect(() => {
    void navigator.storage.estimate().then(({ usage = 0, quota = 0 }) => setText(`about ${bytes(Math.max(0, quota - usage))} left of ${bytes(quota)} for this site`));
  }, [version]);
  return <span id="models-room">{text}</span>;
}

const STATES: Record<Stage, string> = { idle: '', downloading: 'downloading', loading: 'loading', done: 'added' };

export function FoundDictionaries({ cards }: { cards: readonly DictionaryCard[] }) {
  return (
    <div id="models-found-dictionaries">
      <div class="row">
        <Field label="Site or hook" id="models-place" hint="for a dictionary whose files do not say where it is used: z@L0H3@end, blocks.0.attn.hook_z or blocks.0.attn.hook_z:3">
          {(id) => <input id={id} type="text" spellcheck={false} autocomplete="off" value={place.value} onInput={(event) => { place.value = event.currentTarget.value; }} />}
        </Field>
      </div>
      <ul class="plain cards">
        {cards.map((card, at) => <li key={card.outlook.name}><FoundDictionary card={card} at={at} /></li>)}
      </ul>
    </div>
  );
}

function FoundDictionary({ card, at }: { card: DictionaryCard; at: number }) {
  const { name, origin } = card.outlook;
  const missing = missingBytes(card.files);
  const busy = card.stage === 'downloading' || card.stage === 'loading';
  const added = card.stage === 'done' && dictionaries.value.length > 0;
  return (
    <div class="found">
      <div class="row">
        <span class="name"><strong>{name}</strong> <span class="muted">{bytes(card.files.reduce((sum, one) => sum + one.bytes, 0))}{origin.kind === 'hub' && missing === 0 ? ', in this browser' : ''}</span></span>
        {!busy && !added && <button type="button" class="small" onClick={() => void addFound(at)}>{missing > 0 ? `Download ${bytes(missing)} and add` : 'Add'}</button>}
        {busy && <><span class="muted" role="status">{STATES[card.stage]}…</span> <button type="button" class="small" onClick={() => stopDictionary(at)}>Cancel</button></>}
      </div>
      {card.stage === 'downloading' && missing > 0 && <Bars files={card.files} />}
      {card.word && <Notice kind={card.word.kind}>{card.word.text}</Notice>}
      {card.wants && !busy && <button type="button" class="small" disabled={!model.value} onClick={() => void loadFor(at)}>Load the model again with {processingNames(card.wants)} and add it</button>}
    </div>
  );
}
