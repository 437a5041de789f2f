/** Tasks: prompts with attributes, semantic positions and counterfactuals, and the sites and cross-sections at which models are read and edited. */
export { promptTable, type Column, type DetailedPrompts, type Prompts } from './prompts.ts';
export { ANSWER_POSITION, TASK_SCHEMA, applicable, isGpt2SmallShape, type EvaluationTask, type KnownSections, type ModelShape } from './task.ts';
export type { ListedTaskFile, TaskFile, TemplateTaskFile } from './task-file.ts';
export { TemplateTask, type TemplatePrompt, type TemplatePrompts } from './template-task.ts';
export { ListedTask, type ListedPrompt, type ListedPrompts } from './listed-task.ts';
export { taskFromFile, taskJsonSchema } from './task-from-file.ts';
export { GREATER_THAN_NOUNS, GREATER_THAN_YEARS, greaterThanFile, GreaterThanTask, type GreaterThanOptions } from './greater-than.ts';
export { IoiTask, type Attribute, type IoiPrompts, type Parts, type Range, type SampleOptions, type TaskOptions } from './ioi.ts';
export type { IoiPrompt, Pattern } from './sentences.ts';
export type { TaskTokenizer } from './lexicon.ts';
export { gpt2Grammar, grammarFor, grammarFromJson, loadGrammar, type Grammar } from './grammar.ts';
export { checkSite, distinctSites, formatPlace, formatSite, hookOf, IOI_POSITIONS, modelMetadata, parseCrossSection, parseSite, SITE_KINDS, trainedOn, type CrossSection, type HookPlace, type ActivationPlace, type SiteAddress, type SiteKind } from './sites.ts';
export { GPT2_SMALL_HEADS, gpt2SmallCrossSections } from './cross-sections.ts';
export { batchFor, byLength, captureOf, collectActivations, positionsOf, promptsPerRun, widthAt, type CollectOptions } from './activations.ts';
export { seededRandom, type Random } from './random.ts';
