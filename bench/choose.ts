/** Which cases a list of words stands for. */
import { UsageError } from '../src/errors.ts';
import type { Case } from './cases/case.ts';
import { GROUPS, type Group } from './results.ts';

/** What of a case a word is looked for in. */
function text({ kernel, shape, variant = '' }: Case): string {
  return `${kernel} ${variant} ${shape}`.toLowerCase();
}

/**
 * A word that names a group stands for its cases; any other for those whose kernel, variant or shape contains it. Long cases are left out but
 * with `full`, or where a word that is no group asks for them. Throws UsageError for a word that stands for nothing.
 */
export function chooseCases<T extends Case>(cases: readonly T[], words: readonly string[], full: boolean): T[] {
  const chosen = new Set<T>();
  if (words.length === 0) for (const item of cases) if (full || !item.long) chosen.add(item);
  for (const word of words) {
    const group = GROUPS.includes(word as Group);
    const matching = cases.filter((item) => (group ? item.group === word && (full || !item.long) : text(item).includes(word.toLowerCase())));
    if (matching.length === 0) throw new UsageError(`no benchmark is called "${word}"; --list names them all, groups are ${GROUPS.join(', ')}`);
    for (const item of matching) chosen.add(item);
  }
  return cases.filter((item) => chosen.has(item));
}
