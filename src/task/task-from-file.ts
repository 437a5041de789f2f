/** A user's own task, from the content of a task file. */
import type { TaskTokenizer } from './lexicon.ts';
import { ListedTask } from './listed-task.ts';
import type { EvaluationTask } from './task.ts';
import { parseTaskFile } from './task-file.ts';
import { TemplateTask } from './template-task.ts';

/**
 * Makes the task that a parsed JSON file describes, for a model's tokenizer. `file` stands in messages and records. Throws FileError that names
 * the place in the file and what is valid there, LexiconError for words that the tokenizer does not have.
 */
export function taskFromFile(tokenizer: TaskTokenizer, json: unknown, file: string): EvaluationTask {
  const parsed = parseTaskFile(json, file);
  return 'templates' in parsed ? new TemplateTask(tokenizer, parsed, file) : new ListedTask(tokenizer, parsed, file);
}
