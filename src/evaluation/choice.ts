/**
 * Which SAE of a variant a site uses (evaluation.md §5.6). By distance: per edit, way and k the one whose edits come closest in l2 to the
 * counterfactual activations. By trade-off: one for everything, as arXiv 2405.08366 has it. Both are measured on prompts that are not scored.
 */
import type { EditOptions, EditResult, Examples } from '../dictionary/index.ts';
import { formatSite, type SiteAddress } from '../task/index.ts';
import { sub, sumSquaresRows, type Tensor } from '../tensor/index.ts';
import type { Catalogue, EditedSection, Entry } from './catalogue.ts';
import { mean } from './formulas.ts';
import { editName, ksOf, methodKey, methodsFor, rivals, rivalsAt, waysOf, type EditPlan, type Method } from './methods.ts';
import type { Measurements, Tally } from './tally.ts';

/** Activations of one batch and of its counterfactual at a site. */
export interface EditPair {
  site: SiteAddress;
  source: Examples;
  target: Examples;
}

/** ‖a_t - a'‖² per prompt. */
export function squaredDistance(pair: EditPair, activations: Tensor): Tensor {
  return sumSquaresRows(sub(pair.target.activations, activations));
}

/** The edits that an entry makes by several methods, in their order. */
export function editsBy(entry: Entry, { source, target }: EditPair, edit: readonly string[], methods: readonly Pick<Method, 'way' | 'k' | 'code'>[], { coupledPosEdit }: Pick<EditPlan, 'coupledPosEdit'>): EditResult[] {
  const options = methods.map(({ way, k, code }): EditOptions => ({
    attributes: [...edit], k,
    ...(way === 'supervised' ? { ...(code ? { method: code } : {}), ...(coupledPosEdit ? { coupledPosEdit } : {}) } : { features: way }),
    ...(entry.rankings ? { rankings: entry.rankings } : {}),
  }));
  const { dictionary } = entry;
  return dictionary.edits ? dictionary.edits(source, target, options) : options.map((option) => dictionary.edit(source, target, option));
}

export const distanceKey = (site: SiteAddress, edit: string, name: string, { way, k }: Pick<Method, 'way' | 'k'>): string => `distance|${formatSite(site)}|${edit}|${name}|${way}|${k}`;

/** Tallies the distance that every competing SAE at a site reaches by every way with every k, on one batch of the selection prompts. */
export function measureDistances(pair: EditPair, edit: readonly string[], entries: readonly Entry[], plan: EditPlan, tally: Tally, start: number): void {
  const { gpu } = pair.source.activations;
  for (const entry of rivals(entries, plan)) {
    const methods = waysOf([entry], plan).flatMap((way) => ksOf(way, plan, edit).map((k) => ({ way, k })));
    gpu.scope(() => editsBy(entry, pair, edit, methods, plan).forEach(({ activations }, i) => {
      tally.put(distanceKey(pair.site, editName(edit), entry.name, methods[i]!), start, squaredDistance(pair, activations));
    }));
  }
}

/** Which entry each site uses, per edit and method. */
export class Choice {
  private readonly chosen = new Map<string, { entry: Entry; distance: number | null }>();

  private key(site: SiteAddress, edit: string, method: Method): string {
    return `${formatSite(site)}|${edit}|${methodKey(method)}`;
  }

  /** `distance` is null where the entry was not chosen by it. */
  set(site: SiteAddress, edit: string, method: Method, entry: Entry, distance: number | null): void {
    this.chosen.set(this.key(site, edit, method), { entry, distance });
  }

  get(site: SiteAddress, edit: string, method: Method): { entry: Entry; distance: number | null } {
    const chosen = this.chosen.get(this.key(site, edit, method));
    if (!chosen) throw new RangeError(`no dictionary was chosen for ${this.key(site, edit, method)}`);
    return chosen;
  }

  /** Every entry that any edit uses, once. */
  used(): Set<Entry> {
    return new Set([...this.chosen.values()].map(({ entry }) => entry));
  }
}

type Picker = (site: SiteAddress, edit: string, method: Method, rivals: readonly Entry[]) => { entry: Entry; distance: number | null };

/** A choice for every site, edit and method. Supervised codes have no rival. */
function chooseBy(catalogue: Catalogue, sections: readonly EditedSection[], plan: EditPlan, pick: Picker): Choice {
  const choice = new Choice();
  for (const section of sections) {
    for (const edit of section.edits) {
      for (const method of methodsFor(section, catalogue, edit, plan)) {
        for (const site of section.sites) {
          const { entry, distance } = method.way === 'supervised'
            ? { entry: catalogue.find(site, method.variant)!, distance: null }
            : pick(site, editName(edit), method, rivalsAt(catalogue, site, method.variant, plan));
          choice.set(site, editName(edit), method, entry, distance);
        }
      }
    }
  }
  return choice;
}

/** The SAE with the smallest mean distance for each site, edit, variant, way and k; the first of equals. */
export function choose(measured: Measurements, catalogue: Catalogue, sections: readonly EditedSection[], plan: EditPlan): Choice {
  return chooseBy(catalogue, sections, plan, (site, edit, method, entries) => {
    let best: { entry: Entry; distance: number } | null = null;
    for (const entry of entries) {
      const distance = mean(Array.from(measured.get(distanceKey(site, edit, entry.name, method)), Math.sqrt));
      if (best === null || distance < best.distance) best = { entry, distance };
    }
    return best!;
  });
}

/** What the choice by trade-off goes by: one SAE at one site, on prompts that are not scored. */
export interface TradeOff {
  site: string;
  dictionary: string;
  /** mean active features */
  l0: number;
  /** mean ‖a − â‖² */
  error: number;
  /** logit difference recovered, 1 where it is best; null where the site alone has too little effect to divide by */
  recovered: number | null;
}

/** Fewer features than this, and a logit difference recovered to within this share (arXiv 2405.08366, A.11 and figure 18). */
export const TRADE_OFF = { l0: 25, recovered: 0.2 } as const;

/**
 * The best of rivals by trade-off: of those with L0 < 25 and |1 − recovered| ≤ 0.2 the one with the smallest error. Where the quotient does not
 * exist any reconstruction keeps the logit difference. If none meets both, the one of L0 < 25 that recovers best; if none is as sparse, the
 * sparsest. The first of equals.
 */
export function bestTradeOff<Row extends TradeOff>(rows: readonly Row[]): Row {
  const lost = ({ recovered }: TradeOff): number => (recovered === null ? 0 : Math.abs(1 - recovered));
  const least = (list: readonly Row[], of: (row: Row) => number): Row => list.reduce((best, row) => (of(row) < of(best) ? row : best));
  const sparse = rows.filter(({ l0 }) => l0 < TRADE_OFF.l0);
  const kept = sparse.filter((row) => lost(row) <= TRADE_OFF.recovered);
  if (kept.length > 0) return least(kept, ({ error }) => error);
  return sparse.length > 0 ? least(sparse, lost) : least(rows, ({ l0 }) => l0);
}

/** The same SAE of a variant for every edit and k at a site: the best by trade-off. Throws RangeError for a rival that was not measured. */
export function chooseByTradeOff(rows: readonly TradeOff[], catalogue: Catalogue, sections: readonly EditedSection[], plan: EditPlan): Choice {
  return chooseBy(catalogue, sections, plan, (site, _edit, _method, entries) => ({ entry: bestByTradeOff(rows, site, entries), distance: null }));
}

/** The best of these entries of a site by trade-off. */
export function bestByTradeOff(rows: readonly TradeOff[], site: SiteAddress, entries: readonly Entry[]): Entry {
  const own = entries.map((entry) => {
    const row = rows.find(({ site: at, dictionary }) => at === formatSite(site) && dictionary === entry.name);
    if (!row) throw new RangeError(`${entry.name} at ${formatSite(site)} was not measured`);
    return { ...row, entry };
  });
  return bestTradeOff(own).entry;
}
