/** Which edits Test 2 tries: the sets of attributes of the cross-sections, and by which dictionaries, in which ways and with how many features. */
import { SyntheticDictionary, type CodeEdit, type Dictionary, type FeatureEdit } from '../dictionary/index.ts';
import type { SiteAddress } from '../task/index.ts';
import { isSupervised, type Catalogue, type EditedSection, type Entry } from './catalogue.ts';

/** Every way of choosing the features of an SAE's edits. */
export const FEATURE_EDITS: readonly FeatureEdit[] = ['agnostic', 'reconstruction', 'aware', 'threshold'];

/** One way of editing: a variant's dictionaries with at most k features changed; k is 0 where the way of choosing features says how many. */
export interface Method {
  variant: string;
  way: 'supervised' | FeatureEdit;
  k: number;
  /** How supervised codes are swapped, where it is not by arithmetic. */
  code?: CodeEdit;
}

/** Which ways of editing are tried, with which k and with which dictionaries. */
export interface EditPlan {
  ks: readonly number[];
  ways: readonly FeatureEdit[];
  /** Other k for some of the ways. */
  ksOf?: Partial<Record<FeatureEdit, readonly number[]>>;
  /** Checkpoints that compete for a site: all (`overall`, unless given), or those of each variant's last epoch there. */
  pool?: 'overall' | 'last';
  /** SAEs that compete at all. */
  select?: (entry: Entry) => boolean;
  /** Ways of swapping supervised codes, of all dictionaries or by their names; `arithmetic` alone unless given. */
  codeEdits?: readonly CodeEdit[] | ((dictionary: string) => readonly CodeEdit[]);
  /** Released behaviour `coupled-pos-edit`: an edit of Pos by (IO, Pos) and (S, Pos) swaps the code of the last alone. */
  coupledPosEdit?: boolean;
}

/** What a method is called where kinds of dictionaries are: agnostic edits and arithmetic are what a variant's name alone means. */
export function methodName({ variant, way, code }: Pick<Method, 'variant' | 'way' | 'code'>): string {
  if (way === 'supervised') return code ? `${variant} by ${code}` : variant;
  return way === 'agnostic' ? variant : `${variant}, ${way}`;
}

/** Tells methods apart. */
export function methodKey({ variant, way, k, code }: Method): string {
  return `${variant}|${way}|${k}${code ? `|${code}` : ''}`;
}

/** The edit that others are measured against: arithmetic with independent mean codes. */
export function isReference({ variant, way, code }: Method): boolean {
  return variant === 'supervised' && way === 'supervised' && !code;
}

/** The name of a set of attributes. */
export function editName(attributes: readonly string[]): string {
  return attributes.join('+');
}

/** Distinct sets of attributes that any cross-section edits. */
export function distinctEdits(sections: readonly EditedSection[]): string[][] {
  return [...editsOf(sections).values()].map((edit) => [...edit]);
}

/** Every set of attributes that some cross-section edits, by its name. */
export function editsOf(sections: readonly EditedSection[]): Map<string, readonly string[]> {
  return new Map(sections.flatMap(({ edits }) => edits).map((edit) => [editName(edit), edit]));
}

/** Whether any cross-section with the site edits these attributes. */
export function hasEdit({ edits }: Pick<EditedSection, 'edits'>, name: string): boolean {
  return edits.some((candidate) => editName(candidate) === name);
}

/**
 * Supervised codes change one feature out and one in per attribute and term, to be compared with k = 2; SAEs are tried with each k. Supervised
 * dictionaries that some site of the cross-section cannot edit with are left out.
 */
export function methodsFor(section: EditedSection, catalogue: Catalogue, edit: readonly string[], plan: EditPlan): Method[] {
  const supervised = catalogue.supervisedFor(section).flatMap((variant) => supervisedMethods(section.sites.map((site) => catalogue.find(site, variant)!.dictionary), variant, edit, plan));
  const sparse = catalogue.variantsFor(section).flatMap((variant): Method[] => {
    const rivals = section.sites.map((site) => rivalsAt(catalogue, site, variant, plan));
    if (rivals.some(({ length }) => length === 0)) return [];
    return waysOf(rivals.flat(), plan).flatMap((way) => ksOf(way, plan, edit).map((k) => ({ variant, way, k })));
  });
  return [...supervised, ...sparse];
}

interface Editing extends Dictionary {
  canEdit(attributes: readonly string[]): boolean;
  changes(attributes: readonly string[], how?: { method?: CodeEdit; coupledPosEdit?: boolean }): number;
}

function supervisedMethods(bySite: readonly Dictionary[], variant: string, edit: readonly string[], { codeEdits = ['arithmetic'], coupledPosEdit }: EditPlan): Method[] {
  const editing = bySite.filter((dictionary): dictionary is Editing => 'canEdit' in dictionary && 'changes' in dictionary);
  if (editing.length < bySite.length) return [{ variant, way: 'supervised', k: 2 * edit.length }];
  if (!editing.every((dictionary) => dictionary.canEdit(edit))) return [];
  return (typeof codeEdits === 'function' ? codeEdits(variant) : codeEdits).map((method): Method => ({
    // Parametrizations may differ from site to site; k is what any of them changes at most.
    variant, way: 'supervised', k: Math.max(...editing.map((dictionary) => dictionary.changes(edit, { method, coupledPosEdit }))),
    ...(method === 'arithmetic' ? {} : { code: method }),
  }));
}

/** Ways that all of the entries know: dictionaries with known answers only edit greedily. */
export function waysOf(entries: readonly Entry[], { ways }: Pick<EditPlan, 'ways'>): readonly FeatureEdit[] {
  return entries.some(({ dictionary }) => dictionary instanceof SyntheticDictionary) ? ways.filter((way) => way === 'agnostic') : ways;
}

/** Numbers of features that a way is tried with. By interpretations k is shared among old and new features of every attribute. */
export function ksOf(way: FeatureEdit, plan: Pick<EditPlan, 'ks' | 'ksOf'>, edit: readonly string[]): readonly number[] {
  if (way === 'threshold') return [0];
  const ks = plan.ksOf?.[way] ?? plan.ks;
  return way === 'aware' ? ks.filter((k) => k % 2 === 0 && k >= 2 * edit.length) : ks;
}

/** SAEs of a variant that compete for a site. */
export function rivalsAt(catalogue: Catalogue, site: SiteAddress, variant: string, plan: Pick<EditPlan, 'pool' | 'select'>): Entry[] {
  return rivals(catalogue.at(site), plan).filter((entry) => entry.variant === variant);
}

/** SAEs among the entries of a site that compete for it. */
export function rivals(entries: readonly Entry[], { pool = 'overall', select = () => true }: Pick<EditPlan, 'pool' | 'select'>): Entry[] {
  const last = new Map<string, number>();
  for (const { variant, epoch } of entries) last.set(variant, Math.max(last.get(variant) ?? -Infinity, epoch ?? -Infinity));
  return entries.filter((entry) => !isSupervised(entry) && select(entry) && (pool === 'overall' || entry.epoch == null || entry.epoch === last.get(entry.variant)));
}
