/** Supervised dictionaries of many sites at once, by any method and parametrization: what figure 15 of arXiv 2405.08366 compares. */
import { columnIds, columnSpaces, independent, ioiParametrization, randomSets, SupervisedCodes, SyntheticDictionary, type AdamCodesOptions, type CodeMethod, type Parametrization } from '../dictionary/index.ts';
import { ShapeError, UsageError } from '../errors.ts';
import { formatSite, type Prompts, type SiteAddress } from '../task/index.ts';
import type { Tensor } from '../tensor/index.ts';

export interface SupervisedPlan {
  method: CodeMethod;
  /** A parametrization of indirect-object prompts by name, or one of the caller's. `independent` has a term for every attribute of any task. */
  parametrization: string | Parametrization;
  /** For `mse-adam`. */
  adam?: AdamCodesOptions;
}

/** The parametrization that a plan means at a site. Throws UsageError for an unknown name. */
export function parametrizationAt(named: string | Parametrization, prompts: Prompts, position: string): Parametrization {
  if (typeof named !== 'string') return named;
  return named === 'independent' ? independent(Object.keys(prompts.attributes).map((name) => ({ name }))) : ioiParametrization(named, position);
}

/**
 * Codes of every site by one plan, by address. `activations` [prompts, d] are those of `training`, per site. Sites that mean the same
 * parametrization and are of one width are fitted together, so that labels are gone through once.
 */
export async function fitSupervisedCodes(training: Prompts, sites: readonly SiteAddress[], activations: ReadonlyMap<string, Tensor>, { method, parametrization, adam }: SupervisedPlan): Promise<Map<string, SupervisedCodes>> {
  const groups = new Map<string, { parametrization: Parametrization; sites: string[]; tensors: Tensor[] }>();
  for (const site of sites) {
    const name = formatSite(site);
    const own = activations.get(name);
    if (!own) throw new ShapeError(`there are no activations of ${name} to fit codes to`);
    const meant = parametrizationAt(parametrization, training, site.position);
    const key = `${own.shape[1]} ${JSON.stringify(meant.terms)}`;
    const group = groups.get(key) ?? { parametrization: meant, sites: [], tensors: [] };
    groups.set(key, group);
    group.sites.push(name);
    group.tensors.push(own);
  }
  const [spaces, ids] = [columnSpaces(training), columnIds(training)];
  const made = new Map<string, SupervisedCodes>();
  for (const group of groups.values()) {
    const codes = await SupervisedCodes.solveSites(group.tensors, ids, { spaces, parametrization: group.parametrization, method, ...(adam ? { adam } : {}) });
    group.sites.forEach((name, at) => made.set(name, codes[at]!));
  }
  return new Map(sites.map((site) => [formatSite(site), made.get(formatSite(site))!]));
}

/** Sets that each value belongs to (of few values at most half as many), and sets per value, of the dictionary of overlapping sets. */
const OVERLAP = { each: 4, setsPerValue: 1.5 };

/**
 * The three dictionaries with known answers from independent codes (synthetic.ts): `groups` names for each column the one that groups its values,
 * IO by io_gender; the same columns are divided among overlapping sets; combinations are those of all `prompts`, among which should be the ones
 * that tests edit and their counterfactuals. Kinds that `groups` gives no columns for are left out.
 */
export async function syntheticDictionaries(codes: SupervisedCodes, prompts: readonly Prompts[], groups: Readonly<Record<string, string>>, seed: number): Promise<SyntheticDictionary[]> {
  const columns = Object.entries(groups);
  const overfitted = await SyntheticDictionary.overfitted(codes, prompts.map(columnIds));
  if (columns.length === 0) return [overfitted];
  const grouped = Object.fromEntries(columns.map(([column, group]) => [column, groupOfValues(prompts, column, group)]));
  const sets = Object.fromEntries(columns.map(([column], at) => {
    const { length } = grouped[column]!;
    const count = Math.ceil(OVERLAP.setsPerValue * length);
    return [column, randomSets(length, count, Math.max(1, Math.min(OVERLAP.each, Math.floor(length / 2))), seed + at)];
  }));
  return [await SyntheticDictionary.groupAndValue(codes, grouped), await SyntheticDictionary.overlapping(codes, sets), overfitted];
}

/** For each value of a column the value of another that goes with it in the prompts; 0 for values that do not occur. Throws UsageError where two go with one. */
export function groupOfValues(prompts: readonly Prompts[], column: string, group: string): Uint32Array {
  const found = new Map<number, number>();
  let values = 0;
  for (const table of prompts) {
    const columns = { ...table.properties, ...table.attributes };
    const [own, other] = [columns[column], columns[group]];
    if (!own || !other) throw new UsageError(`the prompts have no column ${own ? group : column}; they have ${Object.keys(columns).join(', ')}`);
    values = own.values.length;
    own.ids.forEach((value, prompt) => {
      const id = other.ids[prompt]!;
      if ((found.get(value) ?? id) !== id) throw new UsageError(`${column} ${own.values[value]} goes with more than one value of ${group}`);
      found.set(value, id);
    });
  }
  return Uint32Array.from({ length: values }, (_, value) => found.get(value) ?? 0);
}
