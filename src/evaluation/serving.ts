/**
 * At which sites a dictionary takes part that was trained on a hook at every position of text, rather than at one site of a task: at every position
 * of its own head.
 */
import { UsageError } from '../errors.ts';
import { formatSite, hookOf, type SiteAddress } from '../task/index.ts';

/** What a dictionary reads: a hook, or one head's part of it. */
export interface Reading {
  hook: string;
  head: number | null;
}

/** Whether features of what is read reach a site. */
export function reaches({ hook, head }: Reading, site: SiteAddress): boolean {
  return hook === hookOf(site) && head === site.head;
}

/** As messages say it. */
export function formatReading({ hook, head }: Reading): string {
  return head === null ? hook : `head ${head} of ${hook}`;
}

/** Throws UsageError, saying why, for what reaches no site of any task. */
export function checkReading(reading: Reading, name: string): void {
  const match = /^blocks\.\d+\.attn\.hook_[qkvz]$/.test(reading.hook);
  if (!match || reading.head === null) throw new UsageError(`${name}: reads ${formatReading(reading)}, which is no head's q, k, v or z`);
}

/** Throws UsageError where a dictionary reaches none of the sites. */
export function checkServes(reading: Reading, name: string, sites: readonly SiteAddress[]): void {
  if (sites.some((site) => reaches(reading, site))) return;
  throw new UsageError(`dictionary ${name} reads ${formatReading(reading)}, but no cross-section has a site there: they have ${sites.map(formatSite).join(', ')}; name one with --cross-section`);
}
