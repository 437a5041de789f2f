/** What an evaluation asks of a task. Everything that runs, edits and scores models works with any task that can do this. */
import { LexiconError } from '../errors.ts';
import type { Prompts } from './prompts.ts';
import type { CrossSection } from './sites.ts';

/** What task files call their format. */
export const TASK_SCHEMA = 'diffract.task/1';

/** The position that a prompt's answer follows: the last token. Every task has it. */
export const ANSWER_POSITION = 'end';

/** As much of a model as decides which published cross-sections are its own. */
export interface ModelShape { layers: number; heads: number; width: number }

/** Cross-sections that come with a task, and where they are from. */
export interface KnownSections { origin: 'published' | 'given'; sections: CrossSection[] }

/** A task as an evaluation sees it: prompts for each purpose, and prompts with attributes changed. */
export interface EvaluationTask {
  readonly name: string;
  /** What differs between prompts and can be edited. */
  readonly attributes: readonly string[];
  /** Semantic positions; ANSWER_POSITION is among them. */
  readonly positions: readonly string[];
  /** Prompts that dictionaries are fitted on: all values. A task of listed prompts may have fewer than `count`. */
  training(count: number, seed: number): Prompts;
  /** Prompts that are edited and scored. */
  evaluation(count: number, seed: number): Prompts;
  /** The prompts in `prompts`, one by one with the attributes named changed, to values that evaluation prompts do not have where the task splits them. */
  counterfactual(prompts: Prompts, attributes: readonly string[], seed: number): Prompts;
  /** Cross-sections to use with a model of this shape unless others are asked for; null where they have to be found by patching. */
  crossSections(model: ModelShape): KnownSections | null;
  /** Word lists and choices that the prompts depend on. */
  record(): Record<string, unknown>;
}

/** A published set of cross-sections exists for models of this shape: 12 layers of 12 heads, 768 wide. */
export function isGpt2SmallShape({ layers, heads, width }: ModelShape): boolean {
  return layers === 12 && heads === 12 && width === 768;
}

/** Makes a task for a model's tokenizer, or says why its words do not fit it (`leftOut`). Other errors than LexiconError go on. */
export function applicable<T extends EvaluationTask>(make: () => T): { task: T } | { leftOut: string } {
  try {
    return { task: make() };
  } catch (error) {
    if (error instanceof LexiconError) return { leftOut: `not applicable: ${error.message}` };
    throw error;
  }
}
