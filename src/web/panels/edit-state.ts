/** The edit panel's inputs as the address holds them: a link shows the same edit again. */
import type { CodeEdit, FeatureEdit } from '../../dictionary/index.ts';
import type { EditAsked, FeatureChange } from '../engine/edit-facts.ts';
import type { DictionaryFacts, ModelFacts } from '../protocol.ts';
import { dictionaries, paramsOf, setParams } from '../state.ts';

export const METHODS: Readonly<Record<Exclude<CodeEdit, 'mean-ablate-broadcast'>, string>> = {
  arithmetic: 'take the old vector out, put the new one in',
  'mean-ablate': 'bring the old direction to its mean, then put the new one in',
  'zero-ablate': 'take all of the old direction out, then put the new one in',
  subtract: 'only take the old vector out',
};
export const CHOICES: Readonly<Record<Exclude<FeatureEdit, 'aware'>, string>> = {
  agnostic: 'the k features that bring it closest to the counterfactual’s activation',
  reconstruction: 'the same towards the counterfactual’s reconstruction',
  threshold: 'all features that are heavy in one of the two only',
};
export const BY = { supervised: 'supervised codes', sae: 'an SAE, towards the counterfactual', hand: 'an SAE’s features by hand' } as const;
export type By = keyof typeof BY;

export interface Choices {
  text: string | null;
  seed: number;
  by: By;
  io: string | null;
  s: string | null;
  swap: boolean;
  method: keyof typeof METHODS;
  features: keyof typeof CHOICES;
  k: number;
  /** Sites, separated by commas. */
  where: string;
  dictionary: string | null;
  token: number | null;
  changes: FeatureChange[];
  /** What the address says that cannot be read. */
  problems: string[];
}

export function readChoices(facts: ModelFacts): Choices {
  const params = paramsOf('edit').value;
  const problems: string[] = [];
  const oneOf = <T extends string>(name: string, known: Readonly<Record<T, unknown>>, usual: T): T => {
    const given = params[name];
    if (given === undefined || Object.hasOwn(known, given)) return (given as T | undefined) ?? usual;
    problems.push(`the address asks for ${name}=${given}; there are ${Object.keys(known).join(', ')}`);
    return usual;
  };
  const whole = (name: string, least: number): number | null => {
    const given = params[name];
    if (given === undefined) return null;
    if (/^\d+$/.test(given) && Number(given) >= least) return Number(given);
    problems.push(`the address asks for ${name}=${given}, which is no whole number from ${least}`);
    return null;
  };
  const by = oneOf('by', BY, facts.task ? 'supervised' : 'hand');
  return {
    text: params.prompt ?? null, seed: whole('seed', 0) ?? 0, by, io: params.io ?? null, s: params.s ?? null, swap: params.swap === '1',
    method: oneOf('method', METHODS, 'arithmetic'), features: oneOf('features', CHOICES, 'agnostic'), k: whole('k', 1) ?? 4,
    where: params.where ?? usualSites(facts), dictionary: params.dictionary ?? null, token: whole('token', 0), changes: readChanges(params.change, problems), problems,
  };
}

/** The first published cross-section, or the site of the first dictionary beside the model, or any head's output. */
function usualSites({ task, config }: ModelFacts): string {
  return task?.sections?.[0]?.sites.join(',') ?? dictionaries.value.find(({ site }) => site !== null)?.site ?? `z@L${config.layers - 1}H0@end`;
}

export function choose(changes: Readonly<Record<string, string | number | null>>): void {
  setParams('edit', Object.fromEntries(Object.entries(changes).map(([name, value]) => [name, value === null ? undefined : String(value)])));
}

/** Feature changes are written 12:remove,40:scale:2,7:add:3. */
function readChanges(text: string | undefined, problems: string[]): FeatureChange[] {
  return (text ?? '').split(',').filter(Boolean).flatMap((part) => {
    const [, feature, how, value] = /^(\d+):(remove|scale|add)(?::(-?[\d.]+(?:e-?\d+)?))?$/.exec(part) ?? [];
    if (feature !== undefined && (how === 'remove' || value !== undefined)) return [{ feature: Number(feature), how: how as FeatureChange['how'], value: Number(value ?? 0) }];
    problems.push(`the address asks for the change ${part}; changes are written 12:remove, 40:scale:2 or 7:add:3`);
    return [];
  });
}

export function writeChanges(changes: readonly FeatureChange[]): string | null {
  return changes.length > 0 ? changes.map(({ feature, how, value }) => (how === 'remove' ? `${feature}:remove` : `${feature}:${how}:${value}`)).join(',') : null;
}

export function sitesIn(where: string): string[] {
  return where.split(',').map((site) => site.trim()).filter(Boolean);
}

/** The dictionary that features are changed of by hand: the chosen one, else the first. */
export function byHandDictionary({ dictionary }: Choices): DictionaryFacts | null {
  return dictionaries.value.find(({ id }) => id === dictionary) ?? dictionaries.value[0] ?? null;
}

/** The question to the engine; null where there is nothing to ask. */
export function askedOf(choices: Choices): EditAsked | null {
  const { text, seed, by, io, s, swap } = choices;
  const change = { io: io || null, s: s || null, swap };
  const sites = sitesIn(choices.where);
  switch (by) {
    case 'supervised':
      return { text, seed, by, sites, change, method: choices.method };
    case 'sae':
      return { text, seed, by, sites, change, dictionary: choices.dictionary, features: choices.features, k: choices.k };
    case 'hand': {
      const own = byHandDictionary(choices);
      return own && { text, seed, by, dictionary: own.id, token: choices.token, changes: choices.changes };
    }
  }
}
