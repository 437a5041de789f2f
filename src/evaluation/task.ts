/** The samples that one evaluation draws from a task. */
import { type Attribute, type Column, type EvaluationTask, gpt2SmallCrossSections, type IoiPrompts, type IoiTask, isGpt2SmallShape, type Prompts, promptTable } from '../task/index.ts';
import { assertEveryValue, missingValues } from './interpretability.ts';
import { bySpan } from './patching.ts';

export type { EvaluationTask };

/** What sets an evaluation on indirect objects apart from the usual one. */
export interface IoiEvaluationOptions {
  /** Released behaviour `coupled-targets`: new IO and new S share their place in their lists of names. */
  coupledTargets?: boolean;
}

/**
 * Indirect objects as the released code evaluates them: dictionaries are fitted on all names; scored prompts use the first half of the names,
 * new IO names come from the third quarter and new S names from the last.
 */
export function ioiEvaluation(task: IoiTask, { coupledTargets = false }: IoiEvaluationOptions = {}): EvaluationTask {
  return {
    name: task.name,
    attributes: task.attributes,
    positions: task.positions,
    training: (count, seed) => task.sample({ count, seed }),
    evaluation: (count, seed) => task.sample({ count, seed, names: task.splits.eval }),
    // prompts of this task keep what they were made of through slices and selections
    counterfactual: (prompts, attributes, seed) => task.counterfactual(prompts as IoiPrompts, attributes as Attribute[], { seed, coupledTargets }),
    crossSections: (model) => (isGpt2SmallShape(model) ? { origin: 'published', sections: gpt2SmallCrossSections() } : null),
    record: () => ({ ...task.record(), ...(coupledTargets ? { coupledTargets } : {}) }),
  };
}

/** Seeds of the samples of one evaluation, apart from each other and from those of neighbouring evaluations. */
export function seedsOf(seed: number): Record<'training' | 'interpretability' | 'evaluation' | 'selection' | 'discovery' | 'counterfactual', number> {
  const first = seed * 8;
  return { training: first, interpretability: first + 1, evaluation: first + 2, selection: first + 3, discovery: first + 4, counterfactual: first + 5 };
}

/** Prompts and their counterfactuals per set of attributes, by growing span (patching.ts). */
export interface EditedPrompts {
  prompts: Prompts;
  counterfactuals: Map<string, Prompts>;
}

/** Samples `count` prompts for scoring, sorted by span, with one counterfactual set for each set of attributes; sets draw independently. */
export function sampleEdited(task: EvaluationTask, count: number, seed: number, counterfactualSeed: number, edits: ReadonlyMap<string, readonly string[]>): EditedPrompts {
  const sampled = task.evaluation(count, seed);
  // Drawn first, sorted after: the order in which prompts run must not change the draws.
  const order = bySpan(sampled);
  const counterfactuals = new Map([...edits].map(([name, attributes]) => [name, task.counterfactual(sampled, attributes, counterfactualSeed).select(order)]));
  return { prompts: sampled.select(order), counterfactuals };
}

/**
 * The training prompts and, behind them, as many more as it takes until every value of every attribute occurs: features can only be
 * ranked for values that are there. Throws UsageError if no sample of the task shows some value.
 */
export function withEveryValue(task: EvaluationTask, training: Prompts, seed: number): Prompts {
  let prompts = training;
  for (let size = 256; missingValues(prompts).length > 0 && size <= 2 ** 16; size *= 4) {
    const more = task.training(size, seed);
    const wanted = new Map(Object.keys(prompts.attributes).map((name) => [name, new Set<number>()]));
    for (const [name, value] of missingValues(prompts)) wanted.get(name)!.add(prompts.attributes[name]!.values.indexOf(value));
    const useful: number[] = [];
    for (let i = 0; i < more.count; i++) {
      const shows = [...wanted].filter(([name, values]) => values.has(more.attributes[name]!.ids[i]!));
      if (shows.length === 0) continue;
      useful.push(i);
      for (const [name, values] of shows) values.delete(more.attributes[name]!.ids[i]!);
    }
    prompts = concatenate(prompts, more.select(useful));
  }
  assertEveryValue(prompts);
  return prompts;
}

/** The prompts of `a`, then those of `b`. Both come from one task. */
export function concatenate(a: Prompts, b: Prompts): Prompts {
  const join = (x: Uint32Array, y: Uint32Array) => Uint32Array.from([...x, ...y]);
  const joined = (x: Record<string, Column>, y: Record<string, Column>) => Object.fromEntries(Object.entries(x).map(([name, { values, ids }]) => [name, { values, ids: join(ids, y[name]!.ids) }]));
  return promptTable<undefined>({
    texts: [...a.texts, ...b.texts],
    tokens: [...a.tokens, ...b.tokens],
    details: new Array<undefined>(a.count + b.count).fill(undefined),
    attributes: joined(a.attributes, b.attributes),
    properties: joined(a.properties, b.properties),
    positions: Object.fromEntries(Object.entries(a.positions).map(([name, list]) => [name, join(list, b.positions[name]!)])),
    correct: join(a.correct, b.correct),
    incorrect: join(a.incorrect, b.incorrect),
  });
}
