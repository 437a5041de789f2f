/**
 * GPT-2 Small's circuit for indirect-object identification as Wang et al. (arXiv 2211.00593) found it, and the six cross-sections of it
 * that arXiv 2405.08366 evaluates. Of no use for other models, whose cross-sections have to be found.
 */
import type { CrossSection, SiteAddress, SiteKind } from './sites.ts';

/**
 * Heads [layer, head] by what they do. Backup name mover 10.6 is absent: Wang et al. list it and arXiv 2405.08366 counts 26 heads with it,
 * but the authors' released code works with these 25, and the published numbers come from the code.
 */
export const GPT2_SMALL_HEADS = {
  previousToken: [[2, 2], [4, 11]],
  duplicateToken: [[0, 1], [3, 0], [0, 10]],
  induction: [[5, 5], [6, 9], [5, 8], [5, 9]],
  sInhibition: [[7, 3], [7, 9], [8, 6], [8, 10]],
  nameMover: [[9, 9], [9, 6], [10, 0]],
  negativeNameMover: [[10, 7], [11, 10]],
  backupNameMover: [[9, 0], [9, 7], [10, 1], [10, 2], [10, 10], [11, 2], [11, 9]],
} as const satisfies Record<string, readonly (readonly [layer: number, head: number])[]>;

type HeadClass = keyof typeof GPT2_SMALL_HEADS;

function sites(kind: SiteKind, position: string, ...classes: HeadClass[]): SiteAddress[] {
  return classes.flatMap((name) => GPT2_SMALL_HEADS[name].map(([layer, head]) => ({ kind, layer, head, position })));
}

const MOVERS = ['nameMover', 'backupNameMover'] as const;
const BEFORE_MOVERS = [['S'], ['Pos'], ['Pos', 'S']];

/** A fresh copy of the six, each with the sets of attributes that the arXiv version edits there. */
export function gpt2SmallCrossSections(): CrossSection[] {
  const edits = (sets: readonly (readonly string[])[]) => sets.map((set) => [...set]);
  return [
    { name: '(B)NM out', sites: sites('z', 'end', ...MOVERS), edits: [['IO']] },
    { name: '(B)NM q', sites: sites('q', 'end', ...MOVERS), edits: [['IO'], ['S'], ['Pos']] },
    {
      name: '(B)NM qk',
      sites: [...sites('q', 'end', ...MOVERS), ...sites('k', 'io', ...MOVERS), ...sites('k', 's1', ...MOVERS)],
      edits: [['IO'], ['S'], ['Pos'], ['Pos', 'S'], ['Pos', 'S', 'IO']],
    },
    { name: 'S-I out', sites: sites('z', 'end', 'sInhibition'), edits: edits(BEFORE_MOVERS) },
    { name: 'S-I v', sites: sites('v', 's2', 'sInhibition'), edits: edits(BEFORE_MOVERS) },
    { name: 'Ind+DT out', sites: sites('z', 's2', 'induction', 'duplicateToken'), edits: edits(BEFORE_MOVERS) },
  ];
}
