/** Which dictionaries there are at each site, and the activations of one batch of prompts as dictionaries want them. */
import { columnIds, type Dictionary, type Examples, type Rankings } from '../dictionary/index.ts';
import { type CrossSection, formatSite, type HookPlace, type ActivationPlace, type Prompts, type SiteAddress } from '../task/index.ts';
import { add, gatherRows, sub, Tensor } from '../tensor/index.ts';
import type { PatchedPrompts } from './patching.ts';
import type { CurvePoint } from './results.ts';

/** What is left of a dictionary whose features of low frequency were dropped. */
export interface FeatureFilter {
  /** The number that each feature that is left had before. */
  kept: Uint32Array;
  /** How many are gone. */
  dropped: number;
  /** Features that were active on a smaller share of the training's examples are gone. */
  minFrequency: number;
}

/** One dictionary at one site. */
export interface Entry {
  /** As results.json calls it: `supervised`, or the variant and what sets it apart, such as `vanilla λ=1`. */
  name: string;
  /** `supervised` or the SAE variant: dictionaries of one variant compete for a site in the control test. */
  variant: string;
  dictionary: Dictionary;
  source: 'fitted' | 'trained' | 'loaded';
  /** weight of the sparsity term, and the number that activations were divided by in training; null where there is none or it is not known */
  lambda: number | null;
  scale: number | null;
  curve: CurvePoint[];
  /** Where a loaded dictionary's examples came from, as far as known. */
  trainedOn?: 'task' | 'text';
  filter?: FeatureFilter;
  /** Of a dictionary that reads another hook than the site's own, and how what it reads gets there. */
  through?: { hook: string; note: string };
  /** Epoch of training that an SAE is of, where several of one training are there. */
  epoch?: number | null;
  /** Features by falling F1 with each attribute's values, for edits by interpretations; the catalogue's to dispose. */
  rankings?: Rankings;
}

/** Supervised dictionaries do not compete for a site: each is a variant of its own. */
export function isSupervised({ variant }: Pick<Entry, 'variant'>): boolean {
  return variant.startsWith('supervised');
}

/** A cross-section with the sets of attributes that are edited in it, and the effect of patching it jointly where that was measured. */
export interface EditedSection extends CrossSection {
  edits: string[][];
  origin: 'discovered' | 'published' | 'given';
  effects: Record<string, number>;
}

export class Catalogue {
  private readonly entries = new Map<string, Entry[]>();
  /** Mean activations of the training prompts by site, [1, headWidth]. */
  private readonly means = new Map<string, Tensor>();

  setMean(site: SiteAddress, mean: Tensor): void {
    this.means.set(formatSite(site), mean);
  }

  add(site: SiteAddress, entry: Entry): void {
    const key = formatSite(site);
    this.entries.set(key, [...(this.entries.get(key) ?? []), entry]);
  }

  /** Sites, and what their dictionaries read. */
  places(sites: readonly SiteAddress[]): ActivationPlace[] {
    return placesOf(sites, (site) => this.at(site).map(({ dictionary }) => dictionary));
  }

  /** Dictionaries at a site, in the order they were added. */
  at(site: SiteAddress): readonly Entry[] {
    return this.entries.get(formatSite(site)) ?? [];
  }

  find(site: SiteAddress, name: string): Entry | undefined {
    return this.at(site).find((entry) => entry.name === name);
  }

  /** Names that every site of a cross-section has a dictionary of, in the order of its first site. */
  namesFor(section: CrossSection): string[] {
    const [first, ...rest] = section.sites;
    if (!first) return [];
    return this.at(first).map(({ name }) => name).filter((name) => rest.every((site) => this.find(site, name)));
  }

  /** Supervised dictionaries that every site of a cross-section has. */
  supervisedFor(section: CrossSection): string[] {
    return this.namesFor(section).filter((name) => isSupervised(this.find(section.sites[0]!, name)!));
  }

  /** SAE variants that every site of a cross-section has at least one dictionary of. */
  variantsFor(section: CrossSection): string[] {
    const [first, ...rest] = section.sites;
    if (!first) return [];
    const variants = [...new Set(this.at(first).map(({ variant }) => variant))].filter((variant) => !isSupervised({ variant }));
    return variants.filter((variant) => rest.every((site) => this.at(site).some((entry) => entry.variant === variant)));
  }

  /** The mean activation of a site: [1, headWidth]. */
  meanOf(site: SiteAddress): Tensor {
    const mean = this.means.get(formatSite(site));
    if (!mean) throw new RangeError(`no mean activation is known for ${formatSite(site)}`);
    return mean;
  }

  /** The mean activation of a site for each of `count` prompts: [count, headWidth]. */
  meanRows(site: SiteAddress, count: number): Tensor {
    const mean = this.meanOf(site);
    return gatherRows(mean, Tensor.from(mean.gpu, new Uint32Array(count), [count]));
  }

  /** Frees means and the dictionaries that were made here; loaded ones are their owner's. */
  dispose(): void {
    for (const { dictionary, source, rankings } of [...this.entries.values()].flat()) {
      if (source !== 'loaded') dictionary.dispose();
      for (const ranking of Object.values(rankings ?? {})) ranking.dispose();
    }
    for (const mean of this.means.values()) mean.dispose();
  }
}

/** Values of every attribute and property of the prompts, as dictionaries read them. */
export const attributeIds = columnIds;

/** The sites, and behind them the places that dictionaries there read instead: what examples of the sites are made of. */
export function placesOf(sites: readonly SiteAddress[], dictionariesAt: (site: SiteAddress) => readonly Pick<Dictionary, 'reads'>[]): ActivationPlace[] {
  const inputs = new Map<string, HookPlace>();
  for (const site of sites) {
    for (const { reads: hook } of dictionariesAt(site)) if (hook !== undefined) inputs.set(`${hook}@${site.position}`, { hook, position: site.position });
  }
  return [...sites, ...inputs.values()];
}

/** Examples of a site from activations at places, by written address, of these prompts; those of whole hooks at its position are their inputs. */
export function examplesFrom(activations: ReadonlyMap<string, Tensor>, site: SiteAddress, prompts: Prompts): Examples {
  const inputs: Record<string, Tensor> = {};
  for (const [address, values] of activations) {
    // A site's address has a head between its kind and its position.
    const [hook, position, ...more] = address.split('@') as [string, string, ...string[]];
    if (more.length === 0 && position === site.position) inputs[hook] = values;
  }
  return { activations: activations.get(formatSite(site))!, attributes: attributeIds(prompts), inputs };
}

/** Activations of a clean run at a site, with the prompts' attributes. */
export function examplesAt(clean: PatchedPrompts, site: SiteAddress): Examples {
  clean.at(site);
  return examplesFrom(clean.activations, site, clean.prompts);
}

/** â and ā + (a − â) for one batch: what Test 1 patches in, made once per site and dictionary. */
export class Reconstructions {
  private readonly clean: PatchedPrompts;
  private readonly catalogue: Catalogue;
  private readonly made = new Map<string, { reconstruction: Tensor; residual: Tensor }>();

  constructor(clean: PatchedPrompts, catalogue: Catalogue) {
    this.clean = clean;
    this.catalogue = catalogue;
  }

  of(site: SiteAddress, entry: Entry): { reconstruction: Tensor; residual: Tensor } {
    const key = `${formatSite(site)} ${entry.name}`;
    let result = this.made.get(key);
    if (!result) {
      const examples = examplesAt(this.clean, site);
      // Codes are far larger than what is kept.
      result = examples.activations.gpu.scope(() => {
        const reconstruction = entry.dictionary.decode(entry.dictionary.encode(examples), examples);
        const error = sub(examples.activations, reconstruction);
        return { reconstruction, residual: add(this.catalogue.meanRows(site, this.clean.prompts.count), error) };
      });
      this.made.set(key, result);
    }
    return result;
  }
}
