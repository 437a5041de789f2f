/** Lists of rows for segmentSum. */

/** Rows grouped by id, ids ascending and rows in their own order within one: the rows of id v are order[starts[v] .. starts[v + 1]). */
export function segments(ids: Uint32Array, groups: number): { order: Uint32Array; starts: Uint32Array } {
  const starts = new Uint32Array(groups + 1);
  for (const id of ids) starts[id + 1]!++;
  for (let group = 0; group < groups; group++) starts[group + 1]! += starts[group]!;
  const next = starts.slice(0, groups);
  const order = new Uint32Array(ids.length);
  ids.forEach((id, row) => { order[next[id]!++] = row; });
  return { order, starts };
}
