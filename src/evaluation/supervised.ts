/** Supervised dictionaries of many sites at once, by any method and parametrization: what figure 15 of arXiv 2405.08366 compares. */
import { columnIds, columnSpaces, independent, ioiParametrization, SupervisedCodes, type AdamCodesOptions, type CodeMethod, type Parametrization } from '../dictionary/index.ts';
import { ShapeError } from '../errors.ts';
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
export function fitSupervisedCodes(training: Prompts, sites: readonly SiteAddress[], activations: ReadonlyMap<string, Tensor>, { method, parametrization, adam }: SupervisedPlan): Map<string, SupervisedCodes> {
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
    const codes = SupervisedCodes.fitSites(group.tensors, ids, { spaces, parametrization: group.parametrization, method, ...(adam ? { adam } : {}) });
    group.sites.forEach((name, at) => made.set(name, codes[at]!));
  }
  return new Map(sites.map((site) => [formatSite(site), made.get(formatSite(site))!]));
}
