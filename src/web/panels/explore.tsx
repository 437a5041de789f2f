/** Explore: a prompt, what the model makes of it, and what is inside: sites, attention, features. */
import { useEffect } from 'preact/hooks';
import { engine } from '../client.ts';
import { SUPERVISED, type Answer, type SiteShown } from '../engine/explore-facts.ts';
import type { Option } from '../parts/basic.tsx';
import { visible } from '../parts/format.ts';
import { dictionaries, model } from '../state.ts';
import { AttentionGrid } from './explore-attention.tsx';
import { FeaturePageView, Features, type Looking } from './explore-features.tsx';
import { Lens } from './explore-lens.tsx';
import { SiteMap } from './explore-map.tsx';
import { Comparison, Predictions, Problems, PromptBox, Tokens } from './explore-prompt.tsx';
import { choose, fits, hasHead, readChoices, semanticPosition, type Choices } from './explore-state.ts';
import './explore.css';
import { useAsked, type Asked } from '../parts/asked.ts';

/** Milliseconds of rest before a prompt that is being typed is run. */
const TYPING = 150;
/** The same before work that takes longer. */
const SETTLED = 400;
const EARLY = 1000;

export function ExplorePanel() {
  return (
    <>
      <h2 id="explore-title" class="visually-hidden">Explore</h2>
      {model.value ? <Loaded /> : <section><p class="muted">Waiting for a model…</p></section>}
    </>
  );
}

function Loaded() {
  const choices = readChoices(model.value!);
  const { text, seed, bos, first, second } = choices;
  const asked = useAsked(JSON.stringify([model.value!.hash, text, text === null ? seed : null, bos, first, second]), () => engine().explore.predict({ text, seed, bos, first, second }), text === null && !first && !second ? 0 : TYPING);
  return (
    <>
      <section aria-labelledby="explore-title">
        <PromptBox choices={choices} asked={asked} />
        <Problems problems={choices.problems} />
        {asked.value && (
          <>
            <Tokens answer={asked.value} token={tokenOf(choices, asked.value)} stale={!asked.current} />
            <div class="explore-next"><Predictions answer={asked.value} stale={!asked.current} /><Comparison answer={asked.value} choices={choices} stale={!asked.current} /></div>
          </>
        )}
        {!asked.value && !asked.error && <p class="muted" role="status">Running the prompt…</p>}
      </section>
      {asked.value && <Inside answer={asked.value} choices={choices} asked={asked} />}
    </>
  );
}

function tokenOf({ token }: Choices, { tokens }: Answer): number {
  return token === null || token >= tokens.length ? tokens.length - 1 : token;
}

/** What is within the model for the prompt that was answered last. */
function Inside({ answer, choices, asked }: { answer: Answer; choices: Choices; asked: Asked<Answer> }) {
  const { hash, config } = model.value!;
  const ids = answer.tokens.map(({ id }) => id);
  const token = tokenOf(choices, answer);
  const pair: [number, number] | null = answer.pair && [answer.pair.first.id, answer.pair.second.id];
  const pairNames = answer.pair && `${visible(answer.pair.first.token)}\n${visible(answer.pair.second.token)}`;
  const about = JSON.stringify([hash, ids]);
  const effects = useAsked(pair && `${about} ${pair.join()}`, () => engine().explore.effects(ids, pair![0], pair![1]));
  // The first look is at the head with the largest effect; from then on it stays.
  const strongest = effects.value && strongestHead(effects.value.heads);
  useEffect(() => {
    if (choices.layer === null && choices.head === null && strongest && effects.current) choose(strongest);
  }, [strongest?.layer, strongest?.head, choices.layer, choices.head, effects.current]);
  const waiting = choices.layer === null && choices.head === null && !strongest && pair !== null && !effects.error;
  const layer = choices.layer ?? strongest?.layer ?? config.layers - 1;
  const head = choices.head ?? strongest?.head ?? 0;
  const { kind } = choices;
  const site: SiteShown = { kind, layer, head: hasHead(kind) ? head : null };
  const sizes = useAsked(choices.by === 'size' ? `${about} ${kind} ${token}` : null, () => engine().explore.sizes(ids, kind, token));
  const attention = useAsked(waiting ? null : `${about} ${layer} ${head} ${pair?.join()} ${ids.length > 48 ? token : ''}`, () => engine().explore.attention(ids, layer, head, token, pair));
  const position = `${visible(answer.tokens[token]!.text)} (${token})`;
  const siteName = `${kind} of ${hasHead(kind) ? `L${layer}H${head}` : `layer ${layer}`}`;
  return (
    <>
      <div class="columns explore-columns">
        <section aria-labelledby="explore-map-title">
          <h2 id="explore-map-title">Sites</h2>
          <SiteMap choices={choices} kind={kind} layer={layer} head={head} effects={effects} sizes={sizes} pair={pairNames} position={position} />
        </section>
        <section aria-labelledby="explore-attention-title">
          <h2 id="explore-attention-title">Attention of L{layer}H{head}</h2>
          <AttentionGrid answer={answer} asked={attention} layer={layer} head={head} token={token} pair={pairNames} />
        </section>
      </div>
      {kind.startsWith('resid') && <Lens ids={ids} kind={kind} layer={layer} token={token} about={about} position={position} />}
      <section aria-labelledby="explore-features-title">
        <h2 id="explore-features-title">Features in {siteName} at <span class="mono">{position}</span></h2>
        {kind === 'pattern' ? <p class="muted" id="explore-none">Attention weights are shown above; dictionaries are of queries, keys, values and outputs: choose one of these kinds.</p>
          : !waiting && <Site answer={answer} choices={choices} site={site} siteName={siteName} token={token} pair={pair} ids={ids} settled={asked.current} />}
      </section>
    </>
  );
}

function strongestHead(heads: readonly (readonly number[])[]): { layer: number; head: number } {
  const all = heads.flatMap((own, layer) => own.map((value, head) => ({ layer, head, size: Math.abs(value) })));
  const { layer, head } = all.reduce((best, one) => (one.size > best.size ? one : best));
  return { layer, head };
}

function Site({ answer, choices, site, siteName, token, pair, ids, settled }: {
  answer: Answer; choices: Choices; site: SiteShown; siteName: string; token: number; pair: [number, number] | null; ids: readonly number[]; settled: boolean;
}) {
  const { hash, task } = model.value!;
  const semantic = semanticPosition(answer, token);
  const own = dictionaries.value.filter((one) => fits(one, site));
  const supervised = site.head !== null && semantic !== null;
  const options: Option[] = [
    ...own.map(({ id, name, features }) => ({ value: id, label: `${name}, ${features} features` })),
    ...(supervised ? [{ value: SUPERVISED, label: `supervised codes of the task at ${semantic}` }] : []),
  ];
  // One that the address names may be on its way, behind the model: nothing else is looked at meanwhile.
  const missing = choices.dictionary !== null && choices.dictionary !== SUPERVISED && !dictionaries.value.some(({ id }) => id === choices.dictionary) ? choices.dictionary : null;
  const dictionary = missing !== null ? null : options.find(({ value }) => value === choices.dictionary)?.value ?? options[0]?.value ?? null;
  // Nobody asked for supervised codes yet, which take a while: further dictionaries may come first.
  const early = dictionary === SUPERVISED && choices.dictionary !== SUPERVISED;
  const facts = own.find(({ id }) => id === dictionary);
  const trained = facts?.site?.split('@')[2];
  const at = !task ? null : dictionary === SUPERVISED ? semantic : choices.at ?? semantic ?? trained ?? task.positions.at(-1) ?? null;
  const looking: Looking = {
    site, siteName, dictionary, options, missing, at, feature: choices.feature,
    supervisedNote: !task || site.head === null || supervised ? null : answer.task ? `Supervised codes are made at the task’s positions: ${Object.entries(answer.task.positions).map(([name, i]) => `${name} (token ${i})`).join(', ')}.` : `Supervised codes read the attributes of the task’s prompts, and this is none: ${answer.taskProblem ?? ''}.`,
  };
  const where = JSON.stringify([hash, dictionary, site, at]);
  const attributes = Object.fromEntries(Object.entries(answer.task?.attributes ?? {}).map(([name, { id }]) => [name, id]));
  const features = useAsked(dictionary && JSON.stringify([hash, ids, site, token, dictionary, pair, semantic, early && dictionaries.value.length]), () => engine().explore.features({ ids, site, position: token, dictionary: dictionary!, pair, task: semantic === null ? null : { position: semantic, attributes } }), early ? EARLY : dictionary === SUPERVISED ? SETTLED : 0);
  const shown = features.current ? features.value?.rows.map(({ feature }) => feature) ?? [] : [];
  const interpretations = useAsked(dictionary && at && settled && features.current ? `${where} ${shown.join()}` : null, () => engine().explore.interpretations({ dictionary: dictionary!, site, position: at! }, shown), SETTLED);
  const page = useAsked(dictionary && choices.feature !== null && features.value ? `${where} ${choices.feature}` : null, () => engine().explore.page({ dictionary: dictionary!, site, position: at ?? '' }, choices.feature!));
  const label = features.value?.rows.find(({ feature }) => feature === choices.feature)?.label ?? null;
  return (
    <div class={choices.feature !== null && dictionary ? 'explore-site with-feature' : 'explore-site'}>
      <div class="explore-narrow"><Features looking={looking} answer={answer} token={token} features={features} interpretations={interpretations} /></div>
      {choices.feature !== null && dictionary && <FeaturePageView asked={page} feature={choices.feature} label={label} at={at} />}
    </div>
  );
}
