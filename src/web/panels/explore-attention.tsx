/** Where a head attends to: queries by keys. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Answer, Attention } from '../engine/explore-facts.ts';
import { signed, visible } from '../parts/format.ts';
import { choose } from './explore-state.ts';
import { placeAfter } from '../parts/keys.ts';
import { type Asked } from '../parts/asked.ts';

export function AttentionGrid({ answer, asked, layer, head, token, pair }: { answer: Answer; asked: Asked<Attention>; layer: number; head: number; token: number; pair: string | null }) {
  const [at, move] = useState<{ query: number; key: number } | null>(null);
  const grid = useRef<HTMLTableElement>(null);
  const attention = asked.value;
  useEffect(() => move(null), [answer.tokens.length, attention?.start]);
  if (asked.error) return <p class="field-error" role="alert">{asked.error}</p>;
  // A pattern of another prompt has other tokens.
  if (!attention || attention.end > answer.tokens.length) return <p class="muted">…</p>;
  const { start, end, weights } = attention;
  const n = end - start;
  const name = (i: number): string => visible(answer.tokens[i]!.text);
  const query = at?.query ?? Math.min(n - 1, Math.max(0, token - start));
  const row = weights[query]!;
  const strongest = row.reduce((best, weight, key) => (weight > row[best]! ? key : best), 0);
  const key = Math.min(at?.key ?? strongest, query);
  const go = (q: number, k: number): void => {
    move({ query: q, key: k });
    grid.current?.querySelectorAll<HTMLElement>('tbody tr')[q]?.querySelectorAll<HTMLElement>('td')[k]?.focus();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const next = placeAfter(event.key, query * n + key, n, n * n);
    if (next === null) return;
    event.preventDefault();
    const q = Math.floor(next / n);
    go(q, Math.min(next % n, q));
  };
  return (
    <>
      <p id="explore-attention-says" role="status"><span class="mono">{name(start + query)}</span> <span class="muted">({start + query})</span> attends to <span class="mono">{name(start + key)}</span> <span class="muted">({start + key})</span> with <strong>{row[key]!.toFixed(3)}</strong></p>
      <div class={asked.current ? 'scroll' : 'scroll explore-stale'}>
        <table class={n > 24 ? 'explore-pattern dense' : 'explore-pattern'} id="explore-pattern" ref={grid} onKeyDown={onKeyDown} aria-describedby="explore-attention-says">
          <caption class="visually-hidden">Attention weights of L{layer}H{head}: a row for each query, a column for each key</caption>
          <thead><tr><td />{Array.from({ length: n }, (_, k) => <th key={k} scope="col" class={k === key ? 'here' : undefined}><span>{name(start + k)}</span></th>)}</tr></thead>
          <tbody>
            {weights.map((own, q) => (
              <tr key={q} class={start + q === token ? 'chosen' : undefined}>
                <th scope="row" class={q === query ? 'here' : undefined}><button type="button" class="link" tabIndex={-1} title="look at this position" onClick={() => choose({ token: start + q === answer.tokens.length - 1 ? null : start + q })}>{name(start + q)}</button></th>
                {Array.from(own, (weight, k) => (k > q ? <td key={k} class="after" aria-hidden="true" /> : (
                  <td key={k} tabIndex={q === query && k === key ? 0 : -1} style={{ '--strength': weight }} title={`${name(start + q)} → ${name(start + k)}: ${weight.toFixed(3)}`}
                    onMouseEnter={() => move({ query: q, key: k })} onFocus={() => move({ query: q, key: k })}><span>{weight.toFixed(3)}</span></td>
                )))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {n < answer.tokens.length && <p class="muted hint">Tokens {start} to {end - 1} of {answer.tokens.length}, around the chosen one.</p>}
      {attention.sources && pair && asked.current && <Sources answer={answer} sources={attention.sources} pair={pair} />}
    </>
  );
}

/** What the last token takes from where: the head's direct effect, source by source. */
function Sources({ answer, sources, pair }: { answer: Answer; sources: readonly number[]; pair: string }) {
  const [first, second] = pair.split('\n');
  const most = sources.reduce((a, value) => Math.max(a, Math.abs(value)), 1e-9);
  const total = sources.reduce((a, b) => a + b, 0);
  return (
    <>
      <h3>What the last token takes from each source</h3>
      <div class="tokens" id="explore-sources">
        {answer.tokens.map(({ text }, i) => (
          <span key={i} class={`token explore-shade ${sources[i]! < 0 ? 'negative' : 'positive'}`} style={{ '--strength': Math.abs(sources[i]!) / most }}>{visible(text)}<small>{signed(sources[i]!)}</small></span>
        ))}
      </div>
      <p class="muted hint">Weight times value, through the head’s output, on logit(<span class="mono">{first}</span>) − logit(<span class="mono">{second}</span>): together {signed(total)}.</p>
    </>
  );
}
