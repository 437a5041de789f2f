/** A site at a position through a dictionary: active features, what they add and stand for; and one feature by itself. */
import type { ActiveFeature, Answer, InterpretedFeature, Interpretations, PageShown, SiteFeatures, SiteShown } from '../engine/explore-facts.ts';
import { Field, Notice, Select, type Option } from '../parts/basic.tsx';
import { figure, percent, signed, visible } from '../parts/format.ts';
import { dictionaries, model } from '../state.ts';
import { choose } from './explore-state.ts';
import { type Asked } from '../parts/asked.ts';

export interface Looking {
  site: SiteShown;
  siteName: string;
  /** Null where none fits; `options` are those that do. */
  dictionary: string | null;
  options: readonly Option[];
  /** The dictionary that the address names, where it is not loaded. */
  missing: string | null;
  /** Why the supervised codes are not among them. */
  supervisedNote: string | null;
  /** Semantic position that interpretations are made at; null for a model without the task. */
  at: string | null;
  feature: number | null;
}

export function Features({ looking, answer, token, features, interpretations }: { looking: Looking; answer: Answer; token: number; features: Asked<SiteFeatures>; interpretations: Asked<Interpretations> }) {
  const { dictionary, options, missing, at, supervisedNote } = looking;
  const facts = dictionaries.value.find(({ id }) => id === dictionary);
  const trained = facts?.site?.split('@')[2] ?? null;
  const here = answer.task?.positions[trained ?? ''];
  const positions = model.value!.task?.positions ?? [];
  return (
    <>
      <div class="row">
        <Field id="explore-dictionary" label="Dictionary">
          {(id) => (options.length > 0 ? <Select id={id} value={dictionary ?? ''} options={missing === null ? options : [{ value: '', label: 'choose one' }, ...options]} onChange={(value) => choose({ dictionary: value, feature: null })} /> : <output id={id}>none fits this site</output>)}
        </Field>
        {at !== null && dictionary !== null && !(dictionary === 'supervised') && (
          <Field id="explore-at" label="Interpreted on the task’s prompts at">
            {(id) => <Select id={id} value={at} options={positions.map((name) => ({ value: name, label: name }))} onChange={(value) => choose({ at: value })} />}
          </Field>
        )}
      </div>
      {supervisedNote && <p class="muted hint" id="explore-supervised-note">{supervisedNote}</p>}
      {missing !== null && <p class="muted" id="explore-missing" role="status">The dictionary {missing} is not loaded, or not yet.</p>}
      {options.length === 0 && missing === null && <p class="muted" id="explore-none">No dictionary is loaded for {looking.siteName}. <a href="#models">Load one under Models</a>, or choose a site with a ◆.</p>}
      {trained !== null && here !== token && <Notice kind="note" id="explore-elsewhere">This dictionary was made of activations at the task’s position {trained}{here === undefined ? '' : ` (token ${here})`}; the chosen token is another, so that its codes may mean little here.</Notice>}
      {features.error && <Notice kind="error" id="explore-features-error">{features.error}</Notice>}
      {!features.value && !features.error && dictionary !== null && <p class="muted" role="status">{dictionary === 'supervised' ? 'Fitting codes to the task’s prompts…' : 'Reading the features…'}</p>}
      {features.value && dictionary !== null && <Table asked={features} interpretations={interpretations} looking={looking} />}
      {interpretations.error && <Notice kind="error">{interpretations.error}</Notice>}
    </>
  );
}

function Table({ asked, interpretations, looking }: { asked: Asked<SiteFeatures>; interpretations: Asked<Interpretations>; looking: Looking }) {
  const { features, active, rows, cosine, relativeError, norm, reconstructedNorm, effectNote } = asked.value!;
  const about = new Map(interpretations.value?.features.map((one) => [one.feature, one]));
  const most = rows.reduce((a, { contribution }) => Math.max(a, Math.abs(contribution)), 1e-9);
  const withEffects = rows.some(({ effect }) => effect !== null);
  const interpreted = looking.at !== null;
  return (
    <div class={asked.current ? '' : 'explore-stale'}>
      <dl id="explore-reconstruction">
        <dt>Active here</dt><dd><span role="status">{active} of {features} features</span></dd>
        <dt>Reconstruction</dt><dd>cosine {cosine.toFixed(3)}, relative error ‖a − â‖² / ‖a‖² {relativeError.toFixed(3)}, length {figure(reconstructedNorm)} of {figure(norm)}</dd>
        {interpreted && <><dt>On the task’s prompts</dt><dd id="explore-explained">{interpretations.value ? `${percent(interpretations.value.explained)} of the variance explained, ${figure(interpretations.value.l0)} features active on average, ${interpretations.value.prompts} prompts` : interpretations.error ? '–' : <span class="muted">looking at them…</span>}</dd></>}
      </dl>
      <div class="scroll explore-list">
        <table id="explore-features">
          <caption>Active features, the largest contributions first{rows.length < active && `; ${rows.length} of ${active} are shown`}</caption>
          <thead><tr><th class="text" scope="col">Feature</th><th scope="col">Activation</th><th scope="col" class="text" colSpan={2}>Contribution</th>{withEffects && <th scope="col">Effect</th>}{interpreted && <><th class="text" scope="col">Stands for</th><th scope="col">F1</th></>}</tr></thead>
          <tbody>
            {rows.map((row) => <Row key={row.feature} row={row} about={about.get(row.feature)} most={most} withEffects={withEffects} interpreted={interpreted} waiting={!interpretations.value && !interpretations.error} chosen={row.feature === looking.feature} />)}
            {rows.length === 0 && <tr><td class="text muted" colSpan={7}>No feature is active here.</td></tr>}
          </tbody>
        </table>
      </div>
      {effectNote && <p class="muted hint">{effectNote}</p>}
    </div>
  );
}

function Row({ row, about, most, withEffects, interpreted, waiting, chosen }: { row: ActiveFeature; about: InterpretedFeature | undefined; most: number; withEffects: boolean; interpreted: boolean; waiting: boolean; chosen: boolean }) {
  const { feature, activation, contribution, effect, label } = row;
  return (
    <tr class={chosen ? 'chosen' : undefined}>
      <th scope="row" class="text"><button type="button" class="link" aria-pressed={chosen} onClick={() => choose({ feature })}>{label ?? `#${feature}`}</button></th>
      <td>{figure(activation)}</td><td>{Number.isFinite(contribution) ? contribution.toFixed(3) : '–'}</td>
      <td class="text explore-bar"><span class={contribution < 0 ? 'bar negative' : 'bar'} style={{ width: `${(100 * Math.abs(contribution || 0)) / most}%` }} /></td>
      {withEffects && <td>{effect === null ? '–' : signed(effect)}</td>}
      {interpreted && <><td class="text wrap" title={about && `${about.kind}; precision ${about.precision.toFixed(2)}, recall ${about.recall.toFixed(2)}`}>{about?.property ?? <span class="muted">{waiting ? '…' : 'never active there'}</span>}</td><td>{about ? about.f1.toFixed(2) : ''}</td></>}
    </tr>
  );
}

/** One feature: where it is active, what for, and what it does. */
export function FeaturePageView({ asked, feature, label, at }: { asked: Asked<PageShown>; feature: number; label: string | null; at: string | null }) {
  const page = asked.value;
  return (
    <section id="explore-feature" aria-labelledby="explore-feature-title">
      <div class="row explore-title"><h3 id="explore-feature-title">Feature #{feature}{label && `, ${label}`}</h3><button type="button" class="small" onClick={() => choose({ feature: null })}>Close</button></div>
      {asked.error && <Notice kind="error" id="explore-feature-error">{asked.error}</Notice>}
      {!page && !asked.error && <p class="muted" role="status">looking at the task’s prompts…</p>}
      {page && <div class={asked.current ? '' : 'explore-stale'}><Page page={page} at={at} /></div>}
    </section>
  );
}

function Page({ page, at }: { page: PageShown; at: string | null }) {
  const { interpretation, activity: [activity], examples, logits, logitsNote, attributionNote } = page;
  return (
    <>
      {interpretation && <p id="explore-interpretation">Stands for <strong>{interpretation.property}</strong> <span class="muted">({interpretation.kind})</span>: F1 {interpretation.f1.toFixed(3)}, precision {interpretation.precision.toFixed(3)}, recall {interpretation.recall.toFixed(3)}.</p>}
      {activity && <Activity {...activity} at={at} />}
      {examples.length > 0 && (
        <>
          <h3>Top examples</h3>
          <ol class="explore-examples" id="explore-examples">
            {examples.map(({ tokens, first, position, activation, attribution }, i) => {
              const most = attribution?.bySource.reduce((a, value) => Math.max(a, Math.abs(value)), 1e-9) ?? 1;
              return (
                <li key={i}><span class="explore-code">{figure(activation)}</span> <span class="explore-text">{tokens.map((text, j) => {
                  const share = attribution?.bySource[first + j];
                  return first + j === position ? <mark key={j} title={`the feature is active here: ${figure(activation)}`}>{visible(text)}</mark>
                    : <span key={j} class={share === undefined ? undefined : `explore-shade ${share < 0 ? 'negative' : 'positive'}`} style={share === undefined ? undefined : { '--strength': Math.abs(share) / most }} title={share === undefined ? undefined : `adds ${signed(share)} to the pre-activation`}>{text}</span>;
                })}</span></li>
              );
            })}
          </ol>
          <p class="muted hint">{attributionNote ? `Sources are not shaded: ${attributionNote}.` : 'Shaded: what each source token adds to the pre-activation through attention (on hovering: how much).'}</p>
        </>
      )}
      {examples.length === 0 && activity && <p class="muted">It is active on none of the task’s prompts there.</p>}
      {logits && (
        <div class="explore-ends" id="explore-logits">
          {([['Raises', logits.top], ['Lowers', logits.bottom]] as const).map(([title, list]) => (
            <table key={title}><caption>{title} the logits of</caption><tbody>{list.map(({ token, id, effect }) => <tr key={id}><th scope="row" class="text mono">{visible(token)}</th><td>{signed(effect)}</td></tr>)}</tbody></table>
          ))}
        </div>
      )}
      <p class="muted hint">{logits ? `Direct effect of a code of 1${logitsNote ? `, ${logitsNote}` : ''}, the mean over the vocabulary taken off, before the final norm divides.` : logitsNote && `No effect on logits is shown: ${logitsNote}.`}</p>
    </>
  );
}

function Activity({ positions, density, mean, most, bins, at }: PageShown['activity'][number] & { at: string | null }) {
  const highest = bins.reduce((a, b) => Math.max(a, b), 1);
  const words = `active on ${percent(density)} of ${positions} prompts${at ? ` at ${at}` : ''}${mean === null ? '' : `; mean ${figure(mean)}, largest ${figure(most!)} where active`}`;
  return (
    <figure class="explore-histogram">
      <div role="img" aria-label={`Histogram of codes: ${words}`}>{bins.map((count, i) => <span key={i} style={{ height: `${count === 0 ? 0 : Math.max(3, (100 * count) / highest)}%` }} title={`${count} prompts with codes from ${figure(((most ?? 0) * i) / bins.length)} to ${figure(((most ?? 0) * (i + 1)) / bins.length)}`} />)}</div>
      <figcaption class="muted" id="explore-activity">{words[0]!.toUpperCase() + words.slice(1)}.</figcaption>
    </figure>
  );
}
