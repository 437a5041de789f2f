/** The likeliest next tokens of prompts, and how far a change moves them. */
import type { Gpt2 } from './gpt2.ts';

/** `token` is missing where there is no tokenizer, or where it has no such token. */
export interface NextToken { id: number; token?: string; probability: number; logit: number }

/** The text of a token, `#id` where it has none. */
export function tokenText({ tokenizer }: Pick<Gpt2, 'tokenizer'>, id: number): string {
  return tokenizer?.has(id) ? tokenizer.token(id) : `#${id}`;
}

/** The most probable next tokens of each prompt, from logits [prompts, vocabulary]. */
export function nextTokens(model: Gpt2, logits: Float32Array, count: number): NextToken[][] {
  return rowsOf(model, logits).map((own) => {
    const { highest, total } = normaliser(own);
    return [...own.keys()].sort((a, b) => own[b]! - own[a]! || a - b).slice(0, count).map((id): NextToken => ({
      id, ...(model.tokenizer?.has(id) ? { token: model.tokenizer.token(id) } : {}), probability: Math.exp(own[id]! - highest) / total, logit: own[id]!,
    }));
  });
}

/** KL(before ‖ after) of each prompt's next token in nats. */
export function divergences(model: Gpt2, before: Float32Array, after: Float32Array): number[] {
  const changed = rowsOf(model, after);
  return rowsOf(model, before).map((own, i) => {
    const [p, q] = [normaliser(own), normaliser(changed[i]!)];
    const shift = q.highest + Math.log(q.total) - p.highest - Math.log(p.total);
    // Rounding may leave a little below zero where both are the same.
    return Math.max(0, own.reduce((sum, logit, id) => sum + (Math.exp(logit - p.highest) / p.total) * (logit - changed[i]![id]! + shift), 0));
  });
}

function rowsOf({ config: { vocabulary } }: Gpt2, logits: Float32Array): Float32Array[] {
  return Array.from({ length: logits.length / vocabulary }, (_, i) => logits.subarray(i * vocabulary, (i + 1) * vocabulary));
}

function normaliser(logits: Float32Array): { highest: number; total: number } {
  const highest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  return { highest, total: logits.reduce((sum, value) => sum + Math.exp(value - highest), 0) };
}
