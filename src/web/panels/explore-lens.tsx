/** The logit lens: what each layer's residual stream would predict by itself. */
import { engine } from '../client.ts';
import type { SiteKindShown } from '../engine/explore-facts.ts';
import { useAsked } from '../parts/asked.ts';
import { percent, visible } from '../parts/format.ts';
import { choose } from './explore-state.ts';

export function Lens({ ids, kind, layer, token, about, position }: { ids: readonly number[]; kind: SiteKindShown; layer: number; token: number; about: string; position: string }) {
  const asked = useAsked(`${about} ${kind} ${token}`, () => engine().explore.lens(ids, kind, token));
  return (
    <section aria-labelledby="explore-lens-title">
      <h2 id="explore-lens-title">Logit lens behind <span class="mono">{position}</span></h2>
      {asked.error && <p class="field-error" role="alert">{asked.error}</p>}
      {asked.value && (
        <div class={asked.current ? 'scroll' : 'scroll explore-stale'}>
          <table id="explore-lens">
            <caption>Likeliest tokens if {kind} of a layer went straight through the final norm and the unembedding</caption>
            <tbody>
              {asked.value.map((row, at) => (
                <tr key={at} class={at === layer ? 'chosen' : undefined}>
                  <th scope="row" class="text"><button type="button" class="link" aria-pressed={at === layer} onClick={() => choose({ layer: at })}>L{at}</button></th>
                  {row.map(({ id, token: text, probability }) => <td key={id} class="text"><span class="mono">{visible(text)}</span> <span class="muted">{percent(probability)}</span></td>)}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </section>
  );
}
