/** Two results compared number by number, and choice by choice. Pure functions. */

/** Fields that say where and when a result was made. Each is left out by its path. */
const ELSEWHERE = new Set([
  'environment.adapter', 'environment.versions', 'environment.tuned', 'environment.times',
  // The folder of the word lists.
  'task.lexicon.grammar',
  // How many prompts run at once is planned from the device's memory and changes no number's meaning.
  'config.batch',
]);

export interface Difference { path: string; a: unknown; b: unknown; relative: number }

export interface Comparison {
  /** Measured numbers. */
  numbers: number;
  /** Of these, those with the same bits. */
  equal: number;
  /** Numbers that differ at all, the furthest apart first, as a share of the larger one. */
  differing: Difference[];
  /** Numbers that differ by more than the tolerance, and everything that is there in one result only. */
  beyond: Difference[];
  /** Whole numbers, names and truth values: what was chosen and counted. */
  choices: number;
  /** Choices that are not the same. */
  changed: Difference[];
}

export interface Bounds {
  /** Most that two measured numbers may differ by, as a share of the larger one. */
  tolerance: number;
  /** What is smaller than this is compared by it: a rest of rounding. */
  least: number;
  /**
   * Two drivers: a count may differ as a number may, because a feature that is just active on one may just not be on the other; and sites are compared
   * by name, because those that have no effect stand in any order at the end of the ranking.
   */
  drivers?: boolean;
}

/**
 * Compares. A number that either side writes with a fraction is measured. Everything else is a choice and has to be the same. NaN and null are the
 * same as themselves only.
 */
export function compareResults(a: unknown, b: unknown, bounds: Bounds): Comparison {
  const found: Comparison = { numbers: 0, equal: 0, differing: [], beyond: [], choices: 0, changed: [] };
  walk(a, b, '', found, bounds);
  found.differing.sort((one, other) => other.relative - one.relative);
  return found;
}

/** Rows by the site that they are of. */
function bySite(rows: unknown): unknown {
  return Array.isArray(rows) ? Object.fromEntries(rows.map((row: { site: string }) => [row.site, row])) : rows;
}

function walk(a: unknown, b: unknown, path: string, found: Comparison, bounds: Bounds): void {
  if (ELSEWHERE.has(path)) return;
  const { tolerance, least, drivers = false } = bounds;
  if (drivers && path === 'sites') [a, b] = [bySite(a), bySite(b)];
  if (typeof a === 'number' && typeof b === 'number' && ((drivers && a !== b) || !(Number.isInteger(a) && Number.isInteger(b)))) {
    found.numbers++;
    if (Object.is(a, b)) {
      found.equal++;
      return;
    }
    const relative = Math.abs(a - b) / Math.max(Math.abs(a), Math.abs(b), least);
    // NaN against a number has no relative difference: it is beyond any.
    const difference = { path, a, b, relative: Number.isNaN(relative) ? Infinity : relative };
    found.differing.push(difference);
    if (!(difference.relative <= tolerance)) found.beyond.push(difference);
    return;
  }
  if (a !== null && b !== null && typeof a === 'object' && typeof b === 'object' && Array.isArray(a) === Array.isArray(b)) {
    for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
      walk((a as Record<string, unknown>)[key], (b as Record<string, unknown>)[key], Array.isArray(a) ? `${path}[${key}]` : path ? `${path}.${key}` : key, found, bounds);
    }
    return;
  }
  found.choices++;
  if (!Object.is(a, b)) found.changed.push({ path, a, b, relative: Infinity });
}

/** A comparison in lines: counts, the rows that are furthest apart, and every row that is beyond the tolerance or chosen differently. */
export function comparisonLines(title: string, { numbers, equal, differing, beyond, choices, changed }: Comparison, tolerance: number, rows = 1): string[] {
  const show = ({ path, a, b, relative }: Difference): string => `${path}: ${String(a)} and ${String(b)}${Number.isFinite(relative) ? ` (${relative.toExponential(2)})` : ''}`;
  const [largest] = differing;
  return [
    `${title}: ${numbers} numbers compared, ${equal} of them with the same bits; ${choices} choices and counts, ${choices - changed.length} the same`,
    largest ? `  largest difference ${largest.relative.toExponential(2)} at ${largest.path}, ${tolerance} allowed` : '  no number differs',
    ...(rows > 1 && largest ? [`  furthest apart, of ${differing.length} that differ:`, ...differing.slice(0, rows).map((one) => `    ${show(one)}`)] : []),
    ...(beyond.length > 0 ? [`  beyond ${tolerance}:`, ...beyond.map((one) => `    ${show(one)}`)] : []),
    ...(changed.length > 0 ? ['  chosen or counted differently:', ...changed.map((one) => `    ${show(one)}`)] : []),
  ];
}
