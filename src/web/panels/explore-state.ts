/** The explore panel's inputs as the address holds them. */
import { HEAD_KINDS, LAYER_KINDS, type Answer, type SiteKindShown, type SiteShown } from '../engine/explore-facts.ts';
import type { DictionaryFacts, ModelFacts } from '../protocol.ts';
import { paramsOf, setParams } from '../state.ts';

export const KINDS: readonly SiteKindShown[] = [...HEAD_KINDS, ...LAYER_KINDS];

export interface Choices {
  /** Null for the task's sample of the seed, or an example where there is no task. */
  text: string | null;
  seed: number;
  bos: boolean | null;
  first: string | null;
  second: string | null;
  /** Null for the last token. */
  token: number | null;
  kind: SiteKindShown;
  /** Null until one is chosen: the head with the largest effect then. */
  layer: number | null;
  head: number | null;
  by: 'effect' | 'size';
  dictionary: string | null;
  feature: number | null;
  /** Semantic position that interpretations are made at. */
  at: string | null;
  /** What the address asks for that this model does not have. */
  problems: string[];
}

export function readChoices({ config, task }: ModelFacts): Choices {
  const params = paramsOf('explore').value;
  const problems: string[] = [];
  const whole = (name: string, end: number | null, what: string): number | null => {
    const given = params[name];
    if (given === undefined) return null;
    const value = Number(given);
    if (/^\d+$/.test(given) && (end === null || value < end)) return value;
    problems.push(`the address asks for ${name}=${given}, but ${end === null ? 'it must be a whole number' : `${what} are 0 to ${end - 1}`}`);
    return null;
  };
  const oneOf = <T extends string>(name: string, known: readonly T[]): T | null => {
    const given = params[name];
    if (given === undefined) return null;
    if ((known as readonly string[]).includes(given)) return given as T;
    problems.push(`the address asks for ${name}=${given}; there are ${known.join(', ')}`);
    return null;
  };
  const layer = whole('layer', config.layers, 'the model’s layers');
  const head = whole('head', config.heads, 'a layer’s heads');
  return {
    text: params.prompt ?? null, seed: whole('seed', null, '') ?? 0, bos: params.bos === undefined ? null : params.bos === '1',
    first: params.a ?? null, second: params.b ?? null, token: whole('token', config.context, 'places in this model’s context'),
    kind: oneOf('kind', KINDS) ?? 'z', layer, head, by: oneOf('by', ['effect', 'size']) ?? 'effect',
    dictionary: params.dictionary ?? null, feature: whole('feature', null, ''), at: task ? oneOf('at', task.positions) : null, problems,
  };
}

export function choose(changes: Readonly<Record<string, string | number | null>>): void {
  setParams('explore', Object.fromEntries(Object.entries(changes).map(([name, value]) => [name, value === null ? undefined : String(value)])));
}

export function hasHead(kind: SiteKindShown): boolean {
  return (HEAD_KINDS as readonly string[]).includes(kind);
}

/** The hooks that hold a site's activation: the residual stream behind a layer is that before the next. */
function hooksOf({ kind, layer }: SiteShown): string[] {
  if (hasHead(kind)) return [`blocks.${layer}.attn.hook_${kind}`];
  const same = kind === 'resid_pre' ? [`blocks.${layer - 1}.hook_resid_post`] : kind === 'resid_post' ? [`blocks.${layer + 1}.hook_resid_pre`] : [];
  return [`blocks.${layer}.hook_${kind}`, ...same];
}

/** Whether a dictionary reads what is at a site. */
export function fits({ hook, head }: DictionaryFacts, site: SiteShown): boolean {
  return hooksOf(site).includes(hook) && (head === null || head === site.head);
}

/** The task's name for a token of a prompt. */
export function semanticPosition({ task }: Answer, token: number): string | null {
  return Object.entries(task?.positions ?? {}).find(([, at]) => at === token)?.[0] ?? null;
}
