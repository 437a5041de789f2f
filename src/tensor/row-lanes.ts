/** How many threads share a row in the kernels that reduce rows (layer norm, softmax, argmax, sums): a pure function of shape and device. */

export const ROW_WORKGROUP = 64;

/**
 * Threads that share a row of `width` elements; a power of two up to ROW_WORKGROUP. One on software drivers, where barriers cost
 * more than they save; elsewhere as many as find at least four elements each.
 */
export function rowLanes(software: boolean, width: number): number {
  if (software) return 1;
  let lanes = 1;
  while (lanes < ROW_WORKGROUP && lanes * 8 <= width) lanes *= 2;
  return lanes;
}

/** Workgroups for `rows` rows of `lanes` threads each. */
export function rowGroups(rows: number, lanes: number): number {
  return Math.ceil((rows * lanes) / ROW_WORKGROUP);
}
