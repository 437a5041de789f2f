/** Which attention kernel serves a shape, and in which sizes: a pure function of the shape and of facts about the adapter, so that it is tested without one. */

/** How the fused kernel shares the work out. */
export type AttentionVariant =
  /** A tile of queries in the registers of one subgroup: CPU drivers with subgroups of 4 or 8; heads of whole vec4s. */
  | 'subgroup'
  /** Four queries a thread, no barriers, any width: CPU drivers without subgroups. */
  | 'lanes'
  /** 64 queries a workgroup, keys and values in workgroup memory; heads up to 64 wide. */
  | 'tiled'
  /** One query a workgroup, or a run of the keys of one: few queries, or wide heads. */
  | 'rows';

/** `length` earlier positions are seen by all queries. */
export interface AttentionShape { batch: number; heads: number; queries: number; length: number; width: number }

/** `subgroupSize` is 0 where subgroups are missing or vary in size. */
export interface AttentionAdapter { software: boolean; subgroupSize: number }

export interface AttentionPlan {
  variant: AttentionVariant;
  constants: Record<string, number>;
  /** `rows` only: runs that the keys of a query are shared out in, one a workgroup; more than 1 take a second pass. */
  parts: number;
}

const TILED_MOST_WIDTH = 64;
const ROWS_MOST_QUERIES = 8;
/** Workgroups that `rows` should have at least, and keys that a run has at least (one a thread). */
const ROWS_GROUPS = 256;
const ROWS_LEAST_RUN = 64;
const SUBGROUP_MOST_ROWS = 16;
/** With fewer keys than this `lanes` is quicker where subgroups have 4 lanes (SwiftShader: 8.1 against 15.6 ms for 64 prompts of 19, even at 48). */
const SUBGROUP_OF_4_LEAST_KEYS = 48;
/** vec4s of a head that a lane of the subgroup kernel can hold. */
const MOST_VECTORS = 4;

/** The plan for a shape. A `variant` overrides the choice. */
export function planAttention(shape: AttentionShape, adapter: AttentionAdapter, variant: AttentionVariant = choose(shape, adapter)): AttentionPlan {
  if (variant === 'tiled') return { variant, constants: { HEAD_WIDTH: shape.width }, parts: 1 };
  if (variant === 'rows') {
    const parts = runs(shape);
    return { variant, constants: parts > 1 ? { SPLIT: 1 } : {}, parts };
  }
  if (variant === 'lanes') return { variant, constants: {}, parts: 1 };
  const tiles = Math.max(1, Math.ceil(shape.queries / SUBGROUP_MOST_ROWS));
  const rows = Math.ceil(shape.queries / tiles);
  // Steps of two keep the pipelines few.
  const constants = { SUBGROUP: adapter.subgroupSize, ROWS: rows <= 1 ? 1 : Math.ceil(rows / 2) * 2, VECTORS: Math.ceil(shape.width / (4 * adapter.subgroupSize)) };
  return { variant, constants, parts: 1 };
}

/** Runs of keys that fill a GPU which a workgroup for every query alone would not. */
function runs({ batch, heads, queries, length }: AttentionShape): number {
  const wanted = Math.ceil(ROWS_GROUPS / Math.max(1, batch * heads * queries));
  return Math.max(1, Math.min(wanted, Math.floor((length + queries) / ROWS_LEAST_RUN)));
}

/** Why a variant cannot serve a shape on an adapter; null if it can. */
export function whyNot(variant: AttentionVariant, { width }: Pick<AttentionShape, 'width'>, { subgroupSize }: AttentionAdapter): string | null {
  if (variant === 'tiled' && width > TILED_MOST_WIDTH) return `heads of ${width} are too wide for the tiled variant`;
  if (variant !== 'subgroup') return null;
  if (subgroupSize !== 4 && subgroupSize !== 8) return `the subgroup variant needs subgroups of 4 or 8, not ${subgroupSize}`;
  return width % 4 || width > 4 * MOST_VECTORS * subgroupSize ? `the subgroup variant cannot do heads of ${width}` : null;
}

function choose(shape: AttentionShape, adapter: AttentionAdapter): AttentionVariant {
  if (adapter.software) {
    const enough = adapter.subgroupSize !== 4 || shape.length + shape.queries >= SUBGROUP_OF_4_LEAST_KEYS;
    return enough && whyNot('subgroup', shape, adapter) === null ? 'subgroup' : 'lanes';
  }
  return shape.queries <= ROWS_MOST_QUERIES || shape.width > TILED_MOST_WIDTH ? 'rows' : 'tiled';
}
