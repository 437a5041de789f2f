/** The likeliest next tokens of prompts as lines for a terminal, alone or before and after a change side by side. */
import type { Gpt2, NextToken } from '../model/index.ts';

/** A prompt's text, or its ids where there is no tokenizer. */
export function showPrompt({ tokenizer }: Gpt2, prompt: readonly number[]): string {
  return tokenizer ? tokenizer.decode(prompt) : prompt.join(' ');
}

export function showToken({ id, token, probability, logit }: NextToken): string {
  return `${(100 * probability).toFixed(2).padStart(6)} %  ${logit.toFixed(3).padStart(9)}  ${token === undefined ? id : JSON.stringify(token)}`;
}

/** Two lists in columns. */
export function sideBySide(before: readonly NextToken[], after: readonly NextToken[]): string {
  const [left, right] = [['before', ...before.map(showToken)], ['after', ...after.map(showToken)]];
  const width = Math.max(...left.map((cell) => cell.length));
  return left.map((cell, i) => `  ${cell.padEnd(width)}    ${right[i]!}\n`).join('');
}
