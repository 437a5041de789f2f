/** Rows of one key together, in order of first appearance. */
export function groupBy<T>(rows: readonly T[], key: (row: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const row of rows) {
    const own = groups.get(key(row));
    if (own) own.push(row);
    else groups.set(key(row), [row]);
  }
  return groups;
}

/** The groups alone, as tables set them off. */
export function grouped<T>(rows: readonly T[], key: (row: T) => string): T[][] {
  return [...groupBy(rows, key).values()];
}

/** The mean of those that exist; NaN if none does. */
export function meanOf(values: readonly (number | null)[]): number {
  const known = values.filter((value) => value !== null);
  return known.length > 0 ? known.reduce((sum, value) => sum + value, 0) / known.length : Number.NaN;
}
