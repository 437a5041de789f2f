/**
 * Task files: a user's own task as JSON, in one of two forms.
 *
 *   templates   sentences with slots; attributes are slots, or how a sentence is worded; counterfactuals put other values in
 *   prompts     listed one by one with their attributes; counterfactuals are other prompts of the list
 *
 * The zod schemas below are the only definition; the TypeScript types and the JSON Schema are derived from them.
 */
import * as z from 'zod';
import { FileError } from '../errors.ts';
import { TASK_SCHEMA } from './task.ts';

/** An object that allows no other keys, and says which it has when one is not known. */
function strict<T extends z.core.$ZodLooseShape>(shape: T) {
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'unrecognized_keys' ? `there is no ${(issue.keys as string[]).join(', ')} here; there are ${Object.keys(shape).join(', ')}` : undefined),
  });
}

const someTexts = z.array(z.string().min(1)).min(1);

const crossSection = strict({
  name: z.string().min(1),
  sites: someTexts.describe('patched and edited together, each {q|k|v|z}@L{layer}H{head}@{position}'),
  edits: z.array(someTexts).min(1).optional().describe('sets of attributes whose edits are evaluated here; every attribute by itself unless given'),
});

const common = {
  $schema: z.string().optional(),
  schema: z.literal(TASK_SCHEMA).optional().describe('version of this format'),
  name: z.string().min(1).describe('what results call the task'),
  prependBos: z.boolean().default(true).describe("begin every prompt with the tokenizer's beginning-of-sequence token, which positions then count"),
  crossSections: z.array(crossSection).min(1).optional().describe('sites to evaluate; found by patching unless given'),
};

const slot = strict({
  values: someTexts.describe('what may stand in the slot; the space before a slot belongs to its value'),
  evaluation: someTexts.optional().describe('the values that scored prompts use; all unless given'),
  counterfactual: someTexts.optional().describe('the values that edits put in; all unless given'),
  multiToken: z.boolean().default(false).describe('values may be several tokens; the position of the slot is then that of the last one'),
});

const template = strict({
  text: z.string().min(1).optional().describe('a sentence with slots, as [S] gave a book to; it ends where the answer is to follow'),
  texts: z.record(z.string(), z.string().min(1)).optional().describe('the same sentence for every value of the attribute that `wording` names'),
});

const slotPosition = strict({
  slot: z.string().optional().describe('a slot: its token, or its last one'),
  mention: z.int().min(1).default(1).describe('which mention of the slot, from 1'),
  offset: z.int().default(0).describe('tokens to go from there, negative to the left'),
  index: z.int().optional().describe('instead of a slot: a token by number from 0, or from the end if negative'),
});

const slotAnswer = strict({
  text: z.string().min(1).optional().describe('the token, with slots in it as in a sentence: " [IO]"'),
  slot: z.string().optional().describe('instead of a text: the slot whose value decides'),
  tokens: z.record(z.string(), z.string().min(1)).optional().describe('the token for every value of that slot'),
});

/** Sentences with slots. */
export const templateTaskSchema = strict({
  ...common,
  templates: z.array(template).min(1).describe('sentences, drawn uniformly'),
  slots: z.record(z.string().regex(/^[^[\]]+$/, 'a name without brackets is needed'), slot).describe('what stands in the [brackets] of the sentences'),
  wording: z.string().min(1).optional().describe('an attribute whose value is how the sentence is put, rather than what stands in a slot'),
  distinct: z.array(z.array(z.string()).min(2)).default([]).describe('groups of slots that never have the same value in one prompt'),
  attributes: z.array(z.string()).min(1).describe('the slots (and the wording) that are edited; other slots are merely drawn'),
  positions: z.record(z.string().regex(/^[^@=,\s]+$/, 'a name without @ = , and spaces is needed'), slotPosition).default({}).describe('semantic positions; "end", the last token, is always there'),
  answers: strict({ correct: slotAnswer, incorrect: slotAnswer }).describe('the right next token and a wrong one; logit differences compare the two'),
});

const listedPosition = strict({
  index: z.int().optional().describe('a token by number from 0, or from the end if negative'),
  word: z.string().min(1).optional().describe('instead of a number: a text in the prompt, of which the last token counts'),
  mention: z.int().min(1).default(1).describe('which mention of the text, from 1'),
});

const listedPrompt = strict({
  id: z.string().min(1).optional().describe('a name by which other prompts refer to this one'),
  text: z.string().min(1),
  attributes: z.record(z.string(), z.string().min(1)).describe('the value of every attribute'),
  positions: z.record(z.string().regex(/^[^@=,\s]+$/, 'a name without @ = , and spaces is needed'), listedPosition).default({}),
  correct: z.string().min(1).describe('the right next token, with the space before it'),
  incorrect: z.string().min(1).describe('a wrong one'),
  use: z.enum(['both', 'training', 'evaluation']).default('both').describe('whether dictionaries are fitted on the prompt, or it is scored'),
  counterfactuals: z.record(z.string(), someTexts).optional().describe(
    "per attribute (or several joined by '+') ids of the prompts that an edit may lead to; unless given, all prompts that differ in just these attributes"),
});

/** Prompts one by one. */
export const listedTaskSchema = strict({ ...common, prompts: z.array(listedPrompt).min(2) });

export type TemplateTaskFile = z.infer<typeof templateTaskSchema>;
export type ListedTaskFile = z.infer<typeof listedTaskSchema>;
export type TaskFile = TemplateTaskFile | ListedTaskFile;

/** JSON Schema (draft 2020-12) of task files. */
export function taskJsonSchema(): Record<string, unknown> {
  return { $id: TASK_SCHEMA, title: 'diffract task', ...z.toJSONSchema(z.union([templateTaskSchema, listedTaskSchema]), { io: 'input' }) };
}

/** Checks a parsed task file. Throws FileError that names the file, the place in it, and what is valid there, for every fault. */
export function parseTaskFile(json: unknown, file: string): TaskFile {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new FileError(`${file}: a JSON object is needed`);
  const [templates, prompts] = ['templates' in json, 'prompts' in json];
  if (templates === prompts) throw new FileError(`${file}: a task has either templates (sentences with slots) or prompts (a list)`);
  const { data, error } = (templates ? templateTaskSchema : listedTaskSchema).safeParse(json);
  if (error) throw new FileError(`${file}: ${error.issues.map(({ path, message }) => `${place(path)}${message}`).join('; ')}`);
  return data;
}

function place(path: readonly PropertyKey[]): string {
  const text = path.map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('').replace(/^\./, '');
  return text && `${text}: `;
}
