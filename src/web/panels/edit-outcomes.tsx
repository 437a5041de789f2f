/** What the model says before and after, side by side, and a sentence that puts it in words. */
import { useState } from 'preact/hooks';
import type { EditShown, Said } from '../engine/edit-facts.ts';
import { figure, percent, signed, visible } from '../parts/format.ts';
import type { Choices } from './edit-state.ts';

export function Outcomes({ shown, choices, stale, link }: { shown: EditShown; choices: Choices; stale: boolean; link: string }) {
  const { clean, edited, patched, counterfactual, change } = shown;
  const own = shown.task && [shown.task.attributes.IO!.value, shown.task.attributes.S!.value] as const;
  const columns: { id: string; title: string; note: string; said: Said }[] = [
    { id: 'clean', title: 'Before', note: 'the prompt as it is', said: clean },
    { id: 'edited', title: 'After the edit', note: `${shown.sites.length === 1 ? shown.sites[0]!.site : `${shown.sites.length} sites`} edited`, said: edited },
    ...(patched ? [{ id: 'patched', title: 'True patch', note: 'the counterfactual’s activations there', said: patched }] : []),
    ...(counterfactual ? [{ id: 'counterfactual', title: 'Counterfactual', note: shown.counterfactualText ?? '', said: counterfactual }] : []),
  ];
  return (
    <section aria-labelledby="edit-outcome-title" class={stale ? 'edit-stale' : ''}>
      <div class="edit-head"><h2 id="edit-outcome-title">What the model says</h2><CopyLink link={link} /></div>
      <p id="edit-sentence" role="status">{sentence(shown, choices)}</p>
      <div class="edit-outcomes">
        {columns.map(({ id, title, note, said }) => (
          <div key={id} id={`edit-${id}`} class="edit-outcome">
            <h3>{title}</h3>
            <p class="muted hint">{note}</p>
            <table>
              <caption class="visually-hidden">Likeliest next tokens: {title}</caption>
              <thead class="visually-hidden"><tr><th scope="col">Token</th><th scope="col">Probability</th></tr></thead>
              <tbody>
                {said.predictions.map(({ id: token, token: text, probability }) => (
                  <tr key={token}><th scope="row" class="text mono">{visible(text)}</th><td class="edit-share"><span class="bar" style={{ width: `${100 * probability}%` }} /><span>{percent(probability)}</span></td></tr>
                ))}
              </tbody>
            </table>
            <dl>
              {own && said.difference !== null && <><dt>{own[0]} − {own[1]}</dt><dd class="edit-difference">{signed(said.difference)}</dd></>}
              {change && said.otherDifference !== null && <><dt>{change.names[0]} − {change.names[1]}</dt><dd>{signed(said.otherDifference)}</dd></>}
              {id !== 'clean' && <><dt>KL from before</dt><dd>{said.divergence < 1e-9 ? '0' : figure(said.divergence)} nats</dd></>}
            </dl>
          </div>
        ))}
      </div>
      <div class="scroll">
        <table id="edit-sites-table">
          <caption>Where it was edited</caption>
          <thead><tr><th class="text" scope="col">Site</th><th class="text" scope="col">Dictionary</th><th scope="col">Weight taken out</th><th scope="col">Activation moved by</th></tr></thead>
          <tbody>{shown.sites.map(({ site, dictionary, weightRemoved, moved }) => <tr key={site}><th scope="row" class="text mono">{site}</th><td class="text">{dictionary}</td><td>{weightRemoved === null ? '–' : percent(weightRemoved)}</td><td>{percent(moved)}</td></tr>)}</tbody>
        </table>
      </div>
      {shown.left.length > 0 && <p class="muted" id="edit-left">Left as they are: {shown.left.map(({ site, why }) => `${site} (${why})`).join(', ')}.</p>}
    </section>
  );
}

/** What happened, for people. */
function sentence({ clean, edited, patched, change, task, sites }: EditShown, { changes }: Choices): string {
  const [before, after] = [clean.predictions[0]!.token.trim(), edited.predictions[0]!.token.trim()];
  const where = sites.length === 1 ? `at ${sites[0]!.site}` : `at ${sites.length} sites`;
  const same = before === after;
  if (!change || !patched) {
    if (changes.length === 0) return `The model goes on with “${before}”. Change a feature ${where} to see what it does.`;
    return same ? `The model still goes on with “${before}”: its probability goes from ${percent(clean.predictions[0]!.probability)} to ${percent(probabilityOf(edited, clean.predictions[0]!.id))}.` : `The model now goes on with “${after}” and no longer with “${before}”.`;
  }
  const what = [change.s && `S is told to be ${change.s}`, change.io && `IO is told to be ${change.io}`, change.swap && 'the first two names are told to have changed places'].filter(Boolean).join(', and ');
  const truth = patched.predictions[0]!.token.trim();
  const agrees = edited.predictions[0]!.id === patched.predictions[0]!.id;
  const moved = task && clean.difference !== null && edited.difference !== null && patched.difference !== null
    ? ` The logit difference goes from ${signed(clean.difference)} to ${signed(edited.difference)}; the true patch brings it to ${signed(patched.difference)}.` : '';
  return `${what.charAt(0).toUpperCase()}${what.slice(1)}, ${where}. The model ${same ? `still says “${after}”` : `says “${after}” and no longer “${before}”`}, ${agrees ? 'just as the true patch does' : `where the true patch says “${truth}”`}.${moved}`;
}

function probabilityOf(said: Said, id: number): number {
  return said.predictions.find((one) => one.id === id)?.probability ?? 0;
}

function CopyLink({ link }: { link: string }) {
  const [state, setState] = useState('');
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(link);
      setState('copied');
    } catch {
      setState('copy it from the address bar');
    }
  };
  return <span class="edit-link"><button type="button" class="small" id="edit-copy" onClick={() => void copy()}>Copy a link to this edit</button> <span role="status" class="muted">{state}</span></span>;
}
