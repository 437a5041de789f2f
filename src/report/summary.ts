/** Results arranged as people compare them: one row a cross-section and dictionary. Used by the page and by the terminal table. */
import type { ApproximationRow, ControlRow, Results, Thresholds } from '../evaluation/index.ts';
import { seriesOf } from './series.ts';

export interface InterpretabilitySum {
  sites: number;
  features: number;
  alive: number;
  interpretable: Thresholds;
  /** Mean over alive features of all sites; null where none is alive. */
  meanF1: number | null;
}

export interface SummaryRow {
  crossSection: string;
  dictionary: string;
  approximation: ApproximationRow | null;
  /** Rows of each edited attribute, by growing k. */
  control: Map<string, ControlRow[]>;
  /** Sum over the sites of the cross-section; null where none was scored. */
  interpretability: InterpretabilitySum | null;
}

const unique = <T>(values: T[]): T[] => [...new Set(values)];

/** Edited attributes in order of first appearance. */
export function attributes(results: Results): string[] {
  return unique(results.tests.control.map((row) => row.attribute));
}

/** Every k that some edit used, growing. */
export function budgets(results: Results): number[] {
  return unique(results.tests.control.map((row) => row.k)).sort((a, b) => a - b);
}

/**
 * Rows grouped by cross-section in the order of the results, supervised dictionaries first in each. A dictionary appears in a cross-section when
 * one of the three tests has a row for it there. Where a variant has several dictionaries, its edits stand in a row of the variant's name.
 */
export function summary(results: Results): SummaryRow[] {
  const { approximation, control } = results.tests;
  const { names, variants } = seriesOf(results);
  // A variant without dictionaries of other names is its own and only dictionary.
  const ordered = unique([...names, ...variants]);
  return results.crossSections.flatMap(({ name: crossSection, sites }) => ordered.flatMap((dictionary) => {
    const edits = new Map<string, ControlRow[]>();
    for (const row of control) {
      if (row.crossSection !== crossSection || row.dictionary !== dictionary) continue;
      edits.set(row.attribute, [...(edits.get(row.attribute) ?? []), row].sort((a, b) => a.k - b.k));
    }
    const row: SummaryRow = {
      crossSection,
      dictionary,
      approximation: approximation.find((r) => r.crossSection === crossSection && r.dictionary === dictionary) ?? null,
      control: edits,
      interpretability: sumOverSites(results, dictionary, sites),
    };
    return row.approximation || edits.size || row.interpretability ? [row] : [];
  }));
}

function sumOverSites(results: Results, dictionary: string, sites: string[]): InterpretabilitySum | null {
  const rows = results.tests.interpretability.filter((row) => row.dictionary === dictionary && sites.includes(row.site));
  if (rows.length === 0) return null;
  const sum = (of: (row: (typeof rows)[number]) => number) => rows.reduce((total, row) => total + of(row), 0);
  const alive = sum((row) => row.alive);
  return {
    sites: rows.length,
    features: sum((row) => row.features),
    alive,
    interpretable: { '0.5': sum((r) => r.interpretable['0.5']), '0.6': sum((r) => r.interpretable['0.6']), '0.8': sum((r) => r.interpretable['0.8']) },
    meanF1: alive ? sum((row) => (row.f1.mean ?? 0) * row.alive) / alive : null,
  };
}

/** Values from the first to the last: one text if they agree as shown. */
export function range(values: readonly string[]): string {
  const [first = '–', last = first] = [values[0], values.at(-1)];
  return first === last ? first : `${first} … ${last}`;
}
