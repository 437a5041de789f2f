/** The prompt, its tokens, what comes next, and two tokens compared. */
import { useId, useRef } from 'preact/hooks';
import type { Answer, Candidate } from '../engine/explore-facts.ts';
import { Field, Notice } from '../parts/basic.tsx';
import { percent, signed, visible } from '../parts/format.ts';
import { model } from '../state.ts';
import { choose, semanticPosition, type Choices } from './explore-state.ts';
import { placeAfter } from '../parts/keys.ts';
import { type Asked } from '../parts/asked.ts';

export function PromptBox({ choices, asked }: { choices: Choices; asked: Asked<Answer> }) {
  const { task, config } = model.value!;
  const answer = asked.value;
  const shown = choices.text ?? (asked.current ? answer?.text ?? '' : '');
  return (
    <>
      <Field id="explore-prompt" label="Prompt" wide error={asked.error}>
        {(id) => <textarea id={id} rows={2} spellcheck={false} value={shown} placeholder={choices.text === null ? 'a prompt of the task…' : 'type a few words'}
          aria-invalid={asked.error !== null} onInput={(event) => choose({ prompt: event.currentTarget.value, token: null })} />}
      </Field>
      <div class="row explore-actions">
        {task && <button type="button" id="explore-sample" onClick={() => choose({ prompt: null, seed: choices.seed + (choices.text === null ? 1 : 0), token: null, a: null, b: null })}>Another task prompt</button>}
        {choices.text !== null && config.bos !== null && (
          <label class="check"><input type="checkbox" id="explore-bos" checked={answer?.bos ?? false} onChange={(event) => choose({ bos: event.currentTarget.checked ? 1 : 0, token: null })} /> begin with the beginning-of-sequence token</label>
        )}
        {answer?.task && <span class="muted" id="explore-attributes">{Object.entries(answer.task.attributes).map(([name, { value }]) => `${name} ${value}`).join(' · ')}</span>}
      </div>
      {choices.text !== null && /\s$/.test(choices.text) && !asked.error && <p class="muted hint">The prompt ends with a space. Tokens of words bring their own along: without it the next word is easier to predict.</p>}
    </>
  );
}

/** Tokens as buttons; the chosen one is the position that everything below looks at. */
export function Tokens({ answer, token, stale }: { answer: Answer; token: number; stale: boolean }) {
  const list = useRef<HTMLDivElement>(null);
  const onKeyDown = (event: KeyboardEvent): void => {
    const next = placeAfter(event.key, token, answer.tokens.length, answer.tokens.length);
    if (next === null) return;
    event.preventDefault();
    select(next);
    list.current?.querySelectorAll('button')[next]?.focus();
  };
  const select = (at: number): void => choose({ token: at === answer.tokens.length - 1 ? null : at });
  return (
    <div class={stale ? 'tokens explore-stale' : 'tokens'} id="explore-tokens" ref={list} role="group" aria-label="Tokens; arrow keys choose the position" onKeyDown={onKeyDown}>
      {answer.tokens.map(({ id, text }, at) => {
        const name = semanticPosition(answer, at);
        return (
          <button key={at} type="button" class="token" aria-pressed={at === token} tabIndex={at === token ? 0 : -1} onClick={() => select(at)} title={`token ${id} at position ${at}${name ? `, the task’s ${name}` : ''}`}>
            {visible(text)}<small>{id}{name && <b> {name}</b>}</small>
          </button>
        );
      })}
    </div>
  );
}

export function Predictions({ answer, stale }: { answer: Answer; stale: boolean }) {
  const most = answer.predictions[0]?.probability ?? 1;
  return (
    <div class={stale ? 'scroll explore-stale' : 'scroll'}>
      <table id="explore-predictions">
        <caption>Likeliest next tokens</caption>
        <thead><tr><th class="text" scope="col">Token</th><th scope="col">Id</th><th class="text" scope="col" colSpan={2}>Probability</th><th scope="col">Logit</th></tr></thead>
        <tbody>
          {answer.predictions.map(({ id, token, probability, logit }) => (
            <tr key={id}>
              <th scope="row" class="text mono">{visible(token)}</th><td class="muted">{id}</td><td>{percent(probability)}</td>
              <td class="text explore-bar"><span class="bar" style={{ width: `${(100 * probability) / most}%` }} /></td><td>{logit.toFixed(2)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** logit(A) − logit(B). */
export function Comparison({ answer, choices, stale }: { answer: Answer; choices: Choices; stale: boolean }) {
  const { pair, predictions } = answer;
  const options = useId();
  const field = (param: 'a' | 'b', label: string, value: string | null, usual: Candidate | undefined, error: string | null) => (
    <Field id={`explore-${param}`} label={label} error={error}>
      {(id) => <input type="text" id={id} class="mono" list={options} value={value ?? ''} placeholder={usual ? visible(usual.token) : ''} autocomplete="off" spellcheck={false}
        onInput={(event) => choose({ [param]: event.currentTarget.value || null })} />}
    </Field>
  );
  return (
    <div class={stale ? 'explore-compare explore-stale' : 'explore-compare'}>
      <h3>Logit difference{pair?.from === 'task' ? ', IO − S' : ''}</h3>
      <p id="explore-difference" role="status" class="explore-figure">{pair ? <><strong>{signed(pair.difference)}</strong> <span class="muted mono">{visible(pair.first.token)} − {visible(pair.second.token)}</span></> : 'choose two tokens'}</p>
      <div class="explore-pair">{field('a', 'Token A', choices.first, pair?.first, answer.firstProblem)}{field('b', 'Token B', choices.second, pair?.second, answer.secondProblem)}</div>
      <datalist id={options}>{predictions.map(({ id, token }) => <option key={id} value={token.trim() || `#${id}`} />)}</datalist>
      {pair && (
        <table>
          <caption class="visually-hidden">The two tokens</caption>
          <thead><tr><th class="text" scope="col">Token</th><th scope="col">Logit</th><th scope="col">Probability</th><th scope="col">Rank</th></tr></thead>
          <tbody>{[pair.first, pair.second].map((one, i) => <tr key={i}><th scope="row" class="text mono">{visible(one.token)}</th><td>{one.logit.toFixed(3)}</td><td>{percent(one.probability)}</td><td>{one.rank}</td></tr>)}</tbody>
        </table>
      )}
      {pair?.from === 'likeliest' && <p class="muted hint">The two likeliest tokens, until you choose others.</p>}
    </div>
  );
}

export function Problems({ problems }: { problems: readonly string[] }) {
  return problems.length > 0 ? <Notice kind="warning" id="explore-address">{problems.join('; ')}. The usual is shown instead.</Notice> : null;
}
