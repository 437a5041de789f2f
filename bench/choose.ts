/** Which cases a list of words stands for. */
import { UsageError } from '../src/errors.ts';
import type { Case } from './cases/case.ts';
import { GROUPS, type Group } from './results.ts';

/** What of a case a word is looked for in. */
function text({ kernel, shape, variant = '' }: Case): string {
  return `${kernel} ${variant} ${shape}`.toLowerCase();
}

/**
 * A word that names a group stands for its cases; any other for those whose kernel, variant or shape contains it; no words for all. Long cases
 * are left out but with `full`, or where a word finds nothing else. Throws UsageError for a word that stands for nothing.
 */
export function chooseCases<T extends Case>(cases: readonly T[], words: readonly string[], full: boolean): T[] {
  const short = (found: readonly T[]): readonly T[] => (full ? found : found.filter((item) => !item.long));
  if (words.length === 0) return [...short(cases)];
  const chosen = new Set<T>();
  for (const word of words) {
    const matching = cases.filter((item) => (GROUPS.includes(word as Group) ? item.group === word : text(item).includes(word.toLowerCase())));
    if (matching.length === 0) throw new UsageError(`no benchmark is called "${word}"; --list names them all, groups are ${GROUPS.join(', ')}`);
    const quick = short(matching);
    for (const item of quick.length ? quick : matching) chosen.add(item);
  }
  return cases.filter((item) => chosen.has(item));
}
