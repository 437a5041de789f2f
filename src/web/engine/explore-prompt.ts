/** From what a person typed, or a seed, to tokens; and from logits to what the panel shows of them. */
import { LexiconError, TokenError } from '../../errors.ts';
import { nextTokens, tokenText, type Gpt2 } from '../../model/index.ts';
import type { IoiTask, Prompts } from '../../task/index.ts';
import type { TokenFacts } from '../protocol.ts';
import type { Answer, Candidate, PromptAsked, TaskPrompt } from './explore-facts.ts';

/** What the task knows of a prompt. */
interface Known {
  task: TaskPrompt | null;
  /** The task's right and wrong answer. */
  answers: [correct: number, incorrect: number] | null;
  /** Why a typed sentence is no prompt of the task. */
  taskProblem: string | null;
}

export interface ReadPrompt extends Known {
  text: string;
  ids: number[];
  bos: boolean;
}

const SHOWN = 10;
/** Where there is no task to take a prompt from. */
const SENTENCE = 'When Mary and John went to the store, John gave a drink to';

/** Tokens of a prompt. Throws TokenError for one that is empty, too long, or not made of token ids where the model has no tokenizer. */
export function readPrompt(model: Gpt2, ioi: IoiTask | null, asked: PromptAsked): ReadPrompt {
  if (asked.text === null && ioi) return sampled(ioi, asked.seed);
  const text = asked.text ?? (model.tokenizer ? SENTENCE : '0 1 2 3');
  const { context } = model.config;
  const bos = model.tokenizer && (asked.bos ?? ioi?.prependBos ?? false) ? model.tokenizer.bos : null;
  const ids = [...(bos === null ? [] : [bos]), ...(model.tokenizer ? model.tokenizer.encode(text) : readIds(model, text))];
  if (ids.length === 0) throw new TokenError(model.tokenizer ? 'the prompt is empty: type a few words' : 'the prompt is empty: type token ids, such as 17 4 250');
  if (ids.length > context) throw new TokenError(`the prompt has ${ids.length} tokens, but the model’s context holds ${context}: leave out ${ids.length - context}`);
  const known = ioi ? typed(ioi, text, ids) : { task: null, answers: null, taskProblem: null };
  return { text, ids, bos: bos !== null, ...known };
}

function sampled(ioi: IoiTask, seed: number): ReadPrompt {
  const prompts = ioi.sample({ count: 1, seed });
  return { text: prompts.texts[0]!, ids: prompts.tokens[0]!, bos: ioi.prependBos, ...knownOf(prompts) };
}

/** What the task knows of a typed sentence, or why it is none of its prompts. */
function typed(ioi: IoiTask, text: string, ids: readonly number[]): Known {
  try {
    const { prompts } = ioi.read(text);
    const own = prompts.tokens[0]!;
    if (own.length === ids.length && own.every((id, i) => id === ids[i])) return knownOf(prompts);
    return { task: null, answers: null, taskProblem: `the task’s prompts begin ${ioi.prependBos ? 'with' : 'without'} a beginning-of-sequence token and end without a space` };
  } catch (error) {
    if (error instanceof LexiconError) return { task: null, answers: null, taskProblem: error.message };
    throw error;
  }
}

function knownOf(prompts: Prompts): Known {
  return {
    taskProblem: null, answers: [prompts.correct[0]!, prompts.incorrect[0]!],
    task: {
      positions: Object.fromEntries(Object.entries(prompts.positions).map(([name, list]) => [name, list[0]!])),
      attributes: Object.fromEntries(Object.entries(prompts.attributes).map(([name, { values, ids }]) => [name, { value: values[ids[0]!]!, id: ids[0]! }])),
    },
  };
}

function readIds({ config: { vocabulary } }: Gpt2, text: string): number[] {
  return text.split(/[\s,]+/).filter(Boolean).map((part) => {
    const id = Number(part);
    if (!/^\d+$/.test(part) || id >= vocabulary) throw new TokenError(`“${part}” is no token id; this model has no tokenizer, so that prompts are ids from 0 to ${vocabulary - 1}`);
    return id;
  });
}

export function tokensOf(model: Gpt2, ids: readonly number[]): TokenFacts[] {
  return ids.map((id) => ({ id, text: tokenText(model, id) }));
}

/** The id of a token that a person names. Throws TokenError, with what to do. */
function readToken({ tokenizer, config: { vocabulary } }: Gpt2, text: string): number {
  const id = /^#?(\d+)$/.exec(text.trim());
  if (id && (!tokenizer || text.trim().startsWith('#'))) {
    if (Number(id[1]) < vocabulary) return Number(id[1]);
    throw new TokenError(`there is no token #${id[1]}: the vocabulary has the ids 0 to ${vocabulary - 1}`);
  }
  if (!tokenizer) throw new TokenError(`“${text}” is no token id; this model has no tokenizer`);
  // Within a sentence a word begins with a space, which nobody types by itself.
  const found = (text.startsWith(' ') ? null : tokenizer.single(` ${text}`)) ?? tokenizer.single(text);
  if (found !== null) return found;
  const parts = tokenizer.encode(text.startsWith(' ') ? text : ` ${text}`).map((part) => `“${tokenizer.token(part)}”`);
  throw new TokenError(`“${text}” is not one token but ${parts.length}: ${parts.slice(0, 6).join(', ')}${parts.length > 6 ? ', …' : ''}; give one of them, or #id`);
}

/** What the panel shows of the logits [vocabulary] behind a prompt's last token. */
export function answerOf(model: Gpt2, prompt: ReadPrompt, logits: Float32Array, asked: PromptAsked): Answer {
  const [predictions] = nextTokens(model, logits, SHOWN);
  const shown = predictions!.map(({ id, probability, logit }) => ({ id, token: tokenText(model, id), probability, logit }));
  const [first, second] = [choice(model, asked.first), choice(model, asked.second)];
  const problems = { firstProblem: first.problem, secondProblem: second.problem };
  const base = { text: prompt.text, tokens: tokensOf(model, prompt.ids), bos: prompt.bos, task: prompt.task, taskProblem: prompt.taskProblem, predictions: shown, ...problems };
  if (first.problem || second.problem) return { ...base, pair: null };
  const usual = prompt.answers ?? [shown[0]!.id, shown[1]?.id ?? shown[0]!.id];
  const a = first.id ?? (second.id === usual[0] ? usual[1] : usual[0]);
  const b = second.id ?? (a === usual[1] ? usual[0] : usual[1]);
  // p = e^(logit − logit₀) p₀ for any other token's p₀.
  const candidate = (id: number): Candidate => {
    const logit = logits[id]!;
    const rank = 1 + logits.reduce((above, other, at) => above + (other > logit || (other === logit && at < id) ? 1 : 0), 0);
    return { id, token: tokenText(model, id), logit, probability: shown[0]!.probability * Math.exp(logit - shown[0]!.logit), rank };
  };
  const from = first.id !== null || second.id !== null ? 'chosen' : prompt.answers ? 'task' : 'likeliest';
  return { ...base, pair: { first: candidate(a), second: candidate(b), difference: logits[a]! - logits[b]!, from } };
}

function choice(model: Gpt2, text: string | null): { id: number | null; problem: string | null } {
  if (text === null || text === '') return { id: null, problem: null };
  try {
    return { id: readToken(model, text), problem: null };
  } catch (error) {
    if (error instanceof TokenError) return { id: null, problem: error.message };
    throw error;
  }
}
