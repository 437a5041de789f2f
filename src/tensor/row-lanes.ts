/** How rows are shared out in the kernels that reduce them (layer norm, softmax, argmax, sums): pure functions of shape and device. */

export const ROW_WORKGROUP = 64;

/**
 * Threads that share a row of `width` elements in kernels without subgroups; a power of two up to ROW_WORKGROUP. One on software
 * drivers, where barriers cost more than they save; elsewhere as many as find at least four elements each.
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

/** What the choice of a kernel depends on; a Gpu has it. */
export interface RowDevice {
  software: boolean;
  /** The one size of its subgroups, 0 if it has none. */
  subgroupSize: number;
  limits: { workgroupInvocations: number };
}

/** Rows done by teams of whole subgroups. */
export interface RowTeams {
  subgroup: number;
  workgroup: number;
  /** Subgroups of a team. */
  across: number;
  /** Rows of a team. */
  rows: number;
}

const SHARED_BY = 16; // teams that there should be at least, so that a CPU's cores find work

/**
 * Teams for rows of `width`, or null where rows are too short or there are no subgroups of one size. On software drivers a team is one
 * subgroup, as a barrier costs as much as some hundred numbers; it does up to `mostRows` rows at once, and a workgroup holds as many
 * teams as leave work for every core, since starting one costs. Elsewhere a team does one row, with eight vectors a thread or more.
 */
export function rowTeams(device: RowDevice, rows: number, width: number, mostRows: number): RowTeams | null {
  const subgroup = device.subgroupSize;
  if (subgroup === 0 || width < 4 * subgroup) return null;
  if (!device.software) {
    const workgroup = Math.max(subgroup, Math.min(256, device.limits.workgroupInvocations));
    let across = 1;
    while (subgroup * across * 2 <= workgroup && width / 4 >= 16 * subgroup * across) across *= 2;
    return { subgroup, workgroup: Math.max(subgroup * across, Math.min(64, workgroup)), across, rows: 1 };
  }
  let own = mostRows;
  while (own > 1 && rows < own * SHARED_BY) own /= 2;
  let teams = 1;
  while (teams < 8 && rows >= own * teams * 2 * SHARED_BY) teams *= 2;
  return { subgroup, workgroup: subgroup * teams, across: 1, rows: own };
}

/** Workgroups that do `rows` rows. */
export function teamGroups(rows: number, { subgroup, workgroup, across, rows: own }: RowTeams): number {
  return Math.ceil(rows / (own * (workgroup / (subgroup * across))));
}

/** The constants that the kernels have for teams. */
export function teamConstants({ subgroup, workgroup, across, rows }: RowTeams): Record<string, number> {
  return { WORKGROUP: workgroup, SUBGROUP: subgroup, ACROSS: across, ROWS: rows };
}
