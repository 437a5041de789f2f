/** The evaluate panel's options as the address holds them, and what is wrong with them. */
import type { FeatureEdit } from '../../dictionary/index.ts';
import type { EvaluateAsked } from '../engine/evaluate.ts';
import { device, dictionaries, paramsOf, setParams } from '../state.ts';

/** Sizes of an evaluation: `full` is what the command line does unless told otherwise. */
export const SIZES = {
  quick: { prompts: 100, trainPrompts: 600, selectionPrompts: 40, ks: [2, 8], lambdas: [1], features: 128, epochs: 20 },
  full: { prompts: 300, trainPrompts: 3000, selectionPrompts: 100, ks: [2, 4, 8, 16], lambdas: [0.5, 2], features: 256, epochs: 40 },
} as const;
export type Size = keyof typeof SIZES;

export const METHODS: readonly FeatureEdit[] = ['agnostic', 'reconstruction', 'aware', 'threshold'];

/** Whole numbers that can be set, with their least values. */
export const COUNTS = {
  prompts: { label: 'Prompts scored', least: 1 }, trainPrompts: { label: 'Prompts to fit on', least: 2 }, selectionPrompts: { label: 'Prompts to choose SAEs on', least: 1 },
  features: { label: 'Features of trained SAEs', least: 1 }, epochs: { label: 'Epochs of training', least: 1 }, seed: { label: 'Seed', least: 0 },
} as const;
export type CountName = keyof typeof COUNTS;

export interface Choices {
  size: Size;
  asked: EvaluateAsked;
  /** What the address or a control says that cannot be used, by control. */
  problems: Record<string, string>;
}

export function readChoices(): Choices {
  const params = paramsOf('evaluate').value;
  const problems: Record<string, string> = {};
  // A processor takes minutes for what a GPU does in seconds.
  const usual: Size = device.value?.software ? 'quick' : 'full';
  const size = Object.hasOwn(SIZES, params.size ?? '') ? (params.size as Size) : usual;
  if (params.size && params.size !== size) problems.size = `${params.size}: there are ${Object.keys(SIZES).join(' and ')}`;
  const base = SIZES[size];
  const count = (name: CountName): number => {
    const given = params[name];
    const standard = name === 'seed' ? 0 : base[name];
    if (given === undefined) return standard;
    if (/^\d+$/.test(given) && Number(given) >= COUNTS[name].least) return Number(given);
    problems[name] = `a whole number from ${COUNTS[name].least} up is needed`;
    return standard;
  };
  const numbers = (name: 'ks' | 'lambdas', whole: boolean, what: string): number[] => {
    const given = params[name];
    if (given === undefined) return [...base[name]];
    const values = given.split(',').map((part) => Number(part.trim() || NaN));
    if (values.length > 0 && values.every((value) => value > 0 && Number.isFinite(value) && (!whole || Number.isInteger(value)))) return values;
    problems[name] = `${what}, separated by commas, are needed`;
    return [...base[name]];
  };
  const names = (name: string, known: readonly string[], standard: readonly string[]): string[] => {
    const given = params[name];
    return given === undefined ? [...standard] : given.split(',').filter((one) => known.includes(one));
  };
  const asked: EvaluateAsked = {
    prompts: count('prompts'), trainPrompts: count('trainPrompts'), selectionPrompts: count('selectionPrompts'), seed: count('seed'), features: count('features'), epochs: count('epochs'),
    dictionaries: names('make', ['supervised', 'vanilla'], ['supervised', 'vanilla']),
    loaded: names('sae', dictionaries.value.map(({ id }) => id), []),
    crossSections: (params.sections ?? '').split('\n').map((line) => line.trim()).filter(Boolean),
    discover: params.discover === '1', threshold: 0.2, ks: numbers('ks', true, 'whole numbers from 1 up'), lambdas: numbers('lambdas', false, 'numbers above zero'),
    methods: names('methods', METHODS, ['agnostic']) as FeatureEdit[],
  };
  if (asked.dictionaries.length + asked.loaded.length === 0) problems.dictionaries = 'choose at least one dictionary';
  if (asked.methods.length === 0) problems.methods = 'choose at least one';
  return { size, asked, problems };
}

export function choose(changes: Readonly<Record<string, string | null>>): void {
  setParams('evaluate', Object.fromEntries(Object.entries(changes).map(([name, value]) => [name, value ?? undefined])));
}

/** A list with one of its entries put in or taken out, as the address has it. */
export function toggled(list: readonly string[], one: string, on: boolean): string {
  return [...list.filter((other) => other !== one), ...(on ? [one] : [])].join(',');
}
