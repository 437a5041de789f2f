/** A user's own task, from the content of a task file. What checks such files is loaded when there is one. */
import type { TaskTokenizer } from './lexicon.ts';
import { ListedTask } from './listed-task.ts';
import type { EvaluationTask } from './task.ts';
import { TemplateTask } from './template-task.ts';

/**
 * Makes the task that a parsed JSON file describes, for a model's tokenizer. `file` stands in messages and records. Throws FileError that names
 * the place in the file and what is valid there, LexiconError for words that the tokenizer does not have.
 */
export async function taskFromFile(tokenizer: TaskTokenizer, json: unknown, file: string): Promise<EvaluationTask> {
  const { parseTaskFile } = await import('./task-file.ts');
  const parsed = parseTaskFile(json, file);
  return 'templates' in parsed ? new TemplateTask(tokenizer, parsed, file) : new ListedTask(tokenizer, parsed, file);
}

/** JSON Schema (draft 2020-12) of task files. */
export async function taskJsonSchema(): Promise<Record<string, unknown>> {
  return (await import('./task-file.ts')).taskJsonSchema();
}
