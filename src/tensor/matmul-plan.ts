/**
 * Which matmul kernel serves a shape, and with how many workgroups: a pure function of shapes and the kind of adapter.
 *
 * Software drivers want registers and no barriers (lavapipe: 6 to 9 GFLOP/s against 2 through workgroup memory); real GPUs want each
 * number loaded once for a whole tile, and for few rows enough threads, which only slices of k give.
 */
export interface MatmulShape {
  batch: number; m: number; n: number; k: number;
  transposeA: boolean; transposeB: boolean;
  /** Row length of the output, and the first column written. */
  outRow: number; column: number;
}

export const matmulVariants = ['registers', 'dot', 'tiled', 'vector', 'any'] as const;
export type MatmulVariant = (typeof matmulVariants)[number];

export interface MatmulPlan {
  variant: MatmulVariant;
  tilesM: number; tilesN: number;
  groups: number;
  /** Sizes of the variant, for the kernel's constants. */
  constants: Record<string, number>;
}

const TILE = 64;
const ANY_WORKGROUP = 64;
const MANY_ROWS = 8;

/** True if the kernel can compute the shape at all. */
export function canRun(variant: MatmulVariant, s: MatmulShape): boolean {
  if (variant === 'registers' || variant === 'vector') return !s.transposeB && s.n % 4 === 0 && s.outRow % 4 === 0 && s.column % 4 === 0;
  if (variant === 'dot') return s.transposeB && !s.transposeA && s.k % 4 === 0;
  return true;
}

/** The kernel for a shape on a software or a real adapter. */
export function planMatmul(s: MatmulShape, software: boolean): MatmulPlan {
  if (software) return layOut(canRun('registers', s) ? 'registers' : canRun('dot', s) ? 'dot' : 'any', s);
  if (s.m <= MANY_ROWS) return layOut(canRun('vector', s) ? 'vector' : canRun('dot', s) ? 'dot' : 'tiled', s);
  return layOut('tiled', s);
}

/** Tiles and workgroups of a kernel for a shape. */
export function layOut(variant: MatmulVariant, s: MatmulShape): MatmulPlan {
  switch (variant) {
    case 'registers': {
      // A tile of 64 × 32; few rows get a wide, low one instead of idle threads.
      const [width, height] = s.m <= 8 ? [64, 1] : s.m <= 32 ? [16, 4] : [8, 8];
      return tiles(variant, s, 8 * height, 4 * width, { WIDTH: width, HEIGHT: height });
    }
    case 'dot': {
      const [width, height] = s.m <= 4 ? [64, 1] : [4, 8];
      return tiles(variant, s, 4 * height, 4 * width, { WIDTH: width, HEIGHT: height });
    }
    case 'tiled': return tiles(variant, s, TILE, TILE, {});
    case 'vector': return tiles(variant, s, 1, TILE, {});
    case 'any': return { variant, tilesM: 0, tilesN: 0, groups: Math.ceil((s.batch * s.m * s.n) / ANY_WORKGROUP), constants: {} };
  }
}

function tiles(variant: MatmulVariant, s: MatmulShape, rows: number, columns: number, constants: Record<string, number>): MatmulPlan {
  const tilesM = Math.ceil(s.m / rows);
  const tilesN = Math.ceil(s.n / columns);
  return { variant, tilesM, tilesN, groups: s.batch * tilesM * tilesN, constants };
}
